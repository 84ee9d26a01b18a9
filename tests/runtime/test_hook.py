"""The hook `audit_event` (interface section 3): sees every event, may change or drop it; its failure loses nothing."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.event import Event
from tests.policies import Inside, events_of, inside, rows, run_policy


def customs(host: Inside) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.lines() if b'"kind":"system"' not in line]


def test_a_handler_sees_the_fields_of_an_event_and_its_changes_are_recorded(tmp_path: Path) -> None:
    ran = run_policy(
        tmp_path,
        """
        kumo.on('audit_event', function(ev)
          print(ev.kind, ev.type, ev.severity, ev.user, ev.peer, ev.session_type, ev.module, ev.tag, ev.description,
            #ev.id, ev.time:match('^%d+%-%d+%-%d+T%d+:%d+:%d+%.%d+Z$') ~= nil, ev.node ~= nil)
          ev.user, ev.severity, ev.type, ev.tag = ev.user:sub(1, 1) .. '***', 'ALARM', 'custom_changed', nil
        end)
        kumo.on('init', function()
          print(audit.log { type = 'custom_a', user = 'alice', remote = '1.2.3.4', module = 'm', tag = 't', description = 'd' })
        end)
        """,
    )
    assert ran.code == 0, ran.err
    seen, returned = ran.out.splitlines()
    (row,) = events_of(tmp_path)

    assert seen == "custom\tcustom_a\tINFO\talice\t1.2.3.4\tbackground\tm\tt\td\t36\ttrue\ttrue"
    assert row["id"] == returned
    assert (row["user"], row["severity"], row["type"], row.get("tag")) == ("a***", "ALARM", "custom_changed", None)


def test_false_drops_the_event_and_returns_no_id(tmp_path: Path) -> None:
    ran = run_policy(
        tmp_path,
        "kumo.on('audit_event', function(ev) return ev.description ~= 'drop' and nil end)\n"
        "kumo.on('audit_event2', function() end)\n"
        "kumo.on('init', function() print(audit.log 'keep' ~= nil) end)",
    )
    assert ran.out == "true\n"

    with inside(
        tmp_path,
        "kumo.on('audit_event', function(ev) if ev.description == 'drop' then return false end end)\n"
        "kumo.on('go', function() return audit.log 'drop' == nil, audit.log 'keep' ~= nil end)",
    ) as host:
        assert host.host.call("go") == [True, True]
        assert [r["description"] for r in customs(host)] == ["keep"]
        assert host.pipeline.totals.filtered == 1


def test_an_error_records_the_event_unchanged_and_a_handler_error_beside_it(tmp_path: Path) -> None:
    """The first of a kind is recorded, later ones are counted."""
    ran = run_policy(
        tmp_path,
        "kumo.on('audit_event', function(ev) ev.user = 'half' error 'broken' end)\n"
        "kumo.on('init', function() for i = 1, 250 do audit.log { user = 'u', description = 'x' } end end)",
    )

    assert ran.code == 0
    assert {r["user"] for r in events_of(tmp_path)} == {"u"}
    assert len(events_of(tmp_path)) == 250
    errors = rows(tmp_path, "--type", "handler_error")
    assert [r["detail"]["count"] for r in errors] == [1, 100, 200]
    assert errors[0]["description"] == "policy.lua:1: broken"


def test_a_change_that_is_not_allowed_is_an_error_of_the_handler(tmp_path: Path) -> None:
    cases = {
        "ev.id = 'x'": "'id' cannot be changed",
        "ev.time = 'x'": "'time' cannot be changed",
        "ev.kind = 'system'": "'kind' cannot be changed",
        "ev.user = 5": "field 'user' must be a string",
        "ev.severity = 'BAD'": "unknown severity 'BAD'",
        "ev.type = 'auth_ok'": "type must be 'message' or start with 'custom_'",
        "ev.nonsense = 'x'": "unknown field 'nonsense'",
        "ev.description = nil": "field 'description' must be a string",
        "ev.detail = 'x'": "field 'detail' must be a table",
    }
    for number, (change, problem) in enumerate(cases.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        with inside(
            directory,
            f"kumo.on('audit_event', function(ev) {change} end) kumo.on('go', function() return audit.log 'as it was' end)",
        ) as host:
            (id_,) = host.host.call("go")
            (row,) = customs(host)

            assert (row["id"], row["description"], row["type"]) == (id_, "as it was", "message"), change
            assert any(problem in said for said in host.said), (change, host.said)


def test_a_handler_may_add_fields_beyond_the_ten(tmp_path: Path) -> None:
    with inside(
        tmp_path,
        "kumo.on('audit_event', function(ev) ev.detail = { a = { 1, 2 } } ev.resource = 'r' ev.host = 'h' ev.outcome = 'ok' end)\n"
        "kumo.on('go', function() return audit.log 'x' end)",
    ) as host:
        (id_,) = host.host.call("go")
        (row,) = customs(host)

    assert row["id"] == id_
    assert (row["detail"], row["resource"], row["host"], row["outcome"]) == ({"a": [1, 2]}, "r", "h", "ok")


def test_events_born_in_python_pass_the_hook_and_system_events_do_not(tmp_path: Path) -> None:
    with inside(
        tmp_path,
        "kumo.on('audit_event', function(ev) if ev.user == 'gone' then return false end ev.user = 'masked' end)",
    ) as host:
        event = Event(id="01ARZ3NDEKTSV4RRFFQ69G5FAV", time_ns=1, kind="authn", type="auth_ok", user="bob", node="n1")
        assert host.host.events.emit(event)
        assert not host.host.events.emit(Event(id="x", time_ns=1, kind="authn", type="auth_ok", user="gone", node="n1"))
        assert host.host.events.emit(
            Event(id="x", time_ns=1, kind="system", type="audit_enable", user="bob", node="n1")
        )

        assert [(r["type"], r["user"]) for r in customs(host)] == [("auth_ok", "masked")]
        assert sum(b'"audit_enable"' in line and b'"bob"' in line for line in host.lines()) == 1


def test_an_event_made_inside_the_hook_is_recorded_and_does_not_call_it_again(tmp_path: Path) -> None:
    with inside(
        tmp_path,
        "local n = 0\nkumo.on('audit_event', function(ev) n = n + 1 audit.log('seen ' .. n) audit.event('role_drop', { role = 'r' }) end)\n"
        "kumo.on('go', function() local id = audit.log 'first' return n, id end)",
    ) as host:
        count, id_ = host.host.call("go")
        found = customs(host)

    assert count == 1
    assert [r["description"] for r in found] == ["seen 1", "Drop role r", "first"]
    assert found[-1]["id"] == id_


def test_threads_that_need_the_hook_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    """Architecture section 5: the emitting thread enters Lua itself, in turn."""
    with inside(tmp_path, "kumo.on('audit_event', function(ev) ev.tag = 'seen' end)") as host:

        def emit(name: str) -> None:
            for i in range(200):
                host.host.events.emit(Event(id=f"{name}{i}", time_ns=i + 1, kind="data", type="call", node="n1"))

        threads = [threading.Thread(target=emit, args=(f"t{k}-",)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        found = customs(host)

    assert len({r["id"] for r in found}) == len(found) == 1200
    assert {r["tag"] for r in found} == {"seen"}


@pytest.mark.parametrize(
    ("wait", "in_coroutine", "slow"),
    [
        ("kumo.sleep(0.2)", False, "MASKED"),
        ("kumo.sleep(0.2)", True, "MASKED"),
        # A hook that yields has failed: its event is recorded as it was.
        ("coroutine.yield()", False, "alice"),
        ("coroutine.yield()", True, "alice"),
    ],
)
def test_no_event_slips_past_a_hook_that_waits(tmp_path: Path, wait: str, in_coroutine: bool, slow: str) -> None:
    ran = run_policy(
        tmp_path,
        f"""
        kumo.on('audit_event', function(ev)
          if ev.description == 'slow' then {wait} end
          ev.user = 'MASKED'
        end)
        kumo.on('slow', function()
          local function record() audit.log {{ description = 'slow', user = 'alice' }} end
          if {str(in_coroutine).lower()} then coroutine.wrap(record)() else record() end
        end)
        kumo.on('fast', function() kumo.sleep(0.05) audit.log {{ description = 'fast', user = 'bob' }} end)
        kumo.on('init', function()
          kumo.spawn_task {{ event_name = 'slow' }}
          kumo.spawn_task {{ event_name = 'fast' }}
        end)
        """,
    )

    assert ran.code == 0, ran.err
    assert {r["description"]: r["user"] for r in events_of(tmp_path)} == {"slow": slow, "fast": "MASKED"}
    assert len(rows(tmp_path, "--type", "handler_error")) == (slow == "alice")


def test_a_hook_that_yields_is_told(tmp_path: Path) -> None:
    with inside(
        tmp_path,
        "kumo.on('audit_event', function(ev) coroutine.yield() end) kumo.on('go', function() audit.log 'x' end)",
    ) as host:
        host.host.call("go")

        assert any("audit_event: the handler cannot yield" in said for said in host.said)


RAISING = {
    "an error object that cannot be packed": (
        "error(setmetatable({}, { __pack = function() error 'boom' end }))",
        "error object: a table",
    ),
    "a table that cannot be read": (
        "return setmetatable({}, { __index = function() error 'boom' end })",
        "boom",
    ),
    "a field that cannot be packed": (
        "ev.detail = setmetatable({}, { __pack = function() error 'boom' end })",
        "boom",
    ),
}


@pytest.mark.parametrize("name", RAISING)
def test_a_metamethod_that_raises_loses_no_event(tmp_path: Path, name: str) -> None:
    """Interface section 3: it is recorded unchanged, born in Lua or in Python."""
    body, text = RAISING[name]
    with inside(
        tmp_path,
        f"kumo.on('audit_event', function(ev) {body} end) kumo.on('go', function() return audit.log 'x' end)",
    ) as host:
        (id_,) = host.host.call("go")
        born_in_python = Event(id="p1", time_ns=1, kind="data", type="call", description="y", node="n1")
        assert host.host.events.emit(born_in_python)

        assert [(r["id"], r["description"]) for r in customs(host)] == [(id_, "x"), ("p1", "y")]
        assert [text in said for said in host.said] == [True] * len(host.said) != []


def test_a_table_that_answers_otherwise_the_second_time_cannot_spoil_an_event(tmp_path: Path) -> None:
    with inside(
        tmp_path,
        """
        kumo.on('audit_event', function(ev)
          local asked = 0
          return setmetatable({}, { __index = function(_, k)
            if k ~= 'user' then return ev[k] end
            asked = asked + 1
            return asked == 1 and 'masked' or {}
          end })
        end)
        kumo.on('go', function() return audit.log { user = 'u', description = 'x' } end)
        """,
    ) as host:
        host.host.call("go")

        assert [r["user"] for r in customs(host)] == ["masked"]
