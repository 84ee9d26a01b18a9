"""A host whose clock is not the machine's: every event and every time limit goes by the host's clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.spec import RingSpec
from kumoaudit.core.timetext import rfc3339
from kumoaudit.runtime.gate import Gate, GateTimeout
from kumoaudit.runtime.watchdog import Watchdog
from tests.fakes import FakeClock, FaultyDisk, eventually, open_test_route, route_spec
from tests.policies import Inside
from tests.runtime.conftest import NS, SetClock

Host = Callable[[str], Inside]

_LOGS = {
    "audit.log": "audit.log 'x'",
    "audit.log, all fields": "audit.log { description = 'x', type = 'custom_a', user = 'u', tag = 't' }",
    "a shortcut": "audit.warning 'x'",
    "audit.new": "audit.new { module = 'm' }:log 'x'",
    "audit.event": "audit.event { type = 'user_create', args = { user = 'u' } }",
}


@pytest.mark.parametrize("call", _LOGS.values(), ids=_LOGS)
@pytest.mark.parametrize("hook", ["", "kumo.on('audit_event', function(ev) ev.tag = 'seen' return ev end)"])
def test_an_event_born_in_lua_has_the_time_of_the_hosts_clock(
    host: Host, clock: SetClock, call: str, hook: str
) -> None:
    """The first, before any log is open, goes through Python, the later ones through the generated code."""
    running = host(
        f"{hook}\nkumo.on('init', function() {call} end)\nkumo.on('go', function() for i = 1, 100 do {call} end end)"
    )
    times = [rfc3339(clock.now)]
    for _ in range(2):
        running.host.call("go")
        times += 100 * [rfc3339(clock.now)]
        clock.move(3600.042)

    rows = [r for r in map(orjson.loads, running.lines()) if r["kind"] == "custom" or r["type"] == "user_create"]
    assert [r["time"] for r in rows] == times
    assert running.host.events.in_python == {}


def test_a_time_in_local_form_is_of_the_hosts_clock_too(host: Host, clock: SetClock) -> None:
    running = host(
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', format = 'tarantool_json' } end)\n"
        "kumo.on('go', function() audit.log 'x' end)"
    )
    times = []
    for _ in range(2):
        running.host.call("go")
        times.append(clock.now / NS)
        clock.move(90_000.5)

    rows = [r for r in map(orjson.loads, running.lines("a")) if r["type"] == "message"]
    assert [datetime.fromisoformat(r["time"]).timestamp() for r in rows] == times


def beside(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """*work* on a thread of its own; what it gave or raised comes into the list."""
    out: list[Any] = []

    def run() -> None:
        try:
            out.append(work())
        except Exception as e:
            out.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, out


def test_a_policy_sleeps_by_the_hosts_clock(host: Host, clock: SetClock) -> None:
    running = host("kumo.on('go', function() audit.log 'asleep' kumo.sleep(3600) return 'awake' end)")
    thread, out = beside(lambda: running.host.call("go"))
    eventually(lambda: any(b"asleep" in line for line in running.lines()), "the handler runs")
    assert out == []

    eventually(lambda: clock.move(600) or not thread.is_alive(), "the hour goes by")

    assert out == [["awake"]]


def test_a_caller_gives_a_busy_gate_up_by_its_clock() -> None:
    clock = FakeClock()
    gate = Gate(clock)
    with gate.entered("a long handler"):
        thread, out = beside(lambda: gate.acquire("late", 3600))
        eventually(lambda: len(gate._waiting) == 1, "the caller waits")
        assert out == []

        eventually(lambda: clock.advance(600) or not thread.is_alive(), "the hour goes by")

    assert isinstance(out[0], GateTimeout)


def test_the_watchdog_measures_a_handler_by_the_hosts_clock(host: Host, clock: SetClock) -> None:
    running = host("kumo.on('go', function() end)")
    running.host.handler_timeout_s = 0.2
    found: list[tuple[str, str]] = []
    watchdog = Watchdog(running.host, lambda text, handler: found.append((text, handler)))
    watchdog.start()
    running.host.handlers.current.append("go")
    with running.host.gate.entered("the handler of 'go'"):
        eventually(lambda: clock.move(0.1) or found, "the handler counts as stuck")
    running.host.handlers.current.pop()
    watchdog.stop()

    assert [handler for _, handler in found] == ["go"]


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_full_log_is_waited_for_by_the_hosts_clock(tmp_path: Path, durability: str) -> None:
    """`block_timeout` (reliability, section 2): measured on the clock of the pipeline in the ring and in the writer."""
    clock, disk = FakeClock(), FaultyDisk()
    spec = route_spec(tmp_path / "a", ring=RingSpec(4096, 2), block_timeout_ns=3_600_000_000_000, durability=durability)
    route = open_test_route(spec, tmp_path / "spool" / "a.ring", disk=disk, clock=clock)
    disk.fail("write", 5, for_ever=True)
    thread, out = beside(lambda: [route.put(b"%04000d\n" % n, clock.now_ns()) for n in range(9)])
    eventually(lambda: route.ring.kick.is_set(), "the caller waits")
    assert out == []

    eventually(lambda: clock.advance(600) or not thread.is_alive(), "the hour goes by")

    assert isinstance(out[0], RecordRefused)
