"""Signals and policies that misbehave: a real host drains, says what happened, and ends with the promised code."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import orjson
import pytest

from tests.crash.hosts import host
from tests.crash.support import Contents
from tests.fakes import eventually
from tests.support import command_line, environment, kumoaudit

# Records n=1:1:, n=1:2: ... as long as it is let; `noted` has the last number whose call has returned.
_LOAD = """
kumo.on('init', function()
  kumo.audit.configure_log{ name = 'a' }
  kumo.spawn_task{ event_name = 'load', args = {} }
end)
kumo.on('load', function()
  local out = io.open('noted', 'w')
  out:setvbuf('no')
  for i = 1, 100000000 do
    audit.log{ description = 'n=1:' .. i .. ':' }
    if i %% %(every)d == 0 then out:write(i .. '\\n') end
    if i %% %(every)d == 0 then kumo.sleep(%(pause)s) end
  end
end)
"""

_BUSY = _LOAD % {"every": 500, "pause": "0.001"}
_QUIET = _LOAD % {"every": 1, "pause": "0.01"}


def noted(directory: Path) -> int:
    """The last number that is known to be acknowledged."""
    path = directory / "noted"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return int(whole[-1]) if whole else 0


def types(contents: Contents) -> list[str]:
    return [orjson.loads(line)["type"] for line in contents.lines]


@pytest.mark.parametrize("policy", [_BUSY, _QUIET], ids=["busy", "quiet"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drains_and_ends_with_zero(tmp_path: Path, number: signal.Signals, policy: str) -> None:
    """Interface, section 1: SIGTERM and SIGINT drain and stop; `audit_stop` with counts is the last record."""
    with host(tmp_path, policy) as h:
        eventually(lambda: noted(tmp_path) > 50, "the policy records")

        h.send(number)

        assert h.wait() == 0, h.said
    contents = Contents(h.data / "a")
    contents.check({1: noted(tmp_path)})
    own = Contents(h.data / "log")
    assert types(own)[-1] == "audit_stop"
    stop = orjson.loads(own.lines[-1])["detail"]
    assert (stop["reason"], stop["dropped"]) == (number.name, 0)
    assert stop["recorded"] == len(contents.numbers)
    assert not [p for p in (h.data / "a").glob("a-*") if p.stat().st_mode & 0o222]


def test_a_second_sigterm_does_no_harm_to_what_was_acknowledged(tmp_path: Path) -> None:
    """Reliability, section 5: first drain with a deadline, second stop now; what is left is in the ring."""
    with host(tmp_path, _BUSY) as h:
        eventually(lambda: noted(tmp_path) > 500, "the policy records")
        for _ in range(3):
            h.send(signal.SIGTERM)

        assert h.wait() in (0, 3), h.said
    contents = Contents(h.data / "a")
    contents.check({1: noted(tmp_path)})
    done = kumoaudit("run", tmp_path / "empty.lua", "--data-dir", h.data) if _write_empty(tmp_path) else None
    assert done is not None
    assert done.returncode == 0, done.stderr
    Contents(h.data / "a").check({1: noted(tmp_path)})


def _write_empty(directory: Path) -> bool:
    (directory / "empty.lua").write_text("kumo.on('init', function() kumo.audit.configure_log{ name = 'a' } end)\n")
    return True


@pytest.mark.parametrize("policy", [_BUSY, _QUIET], ids=["busy", "quiet"])
def test_each_sighup_begins_a_new_segment_and_nothing_is_lost(tmp_path: Path, policy: str) -> None:
    """Interface, section 1: SIGHUP reopens files."""
    log = tmp_path / "data" / "a"
    with host(tmp_path, policy) as h:
        eventually(lambda: noted(tmp_path) > 20, "the policy records")
        for n in range(1, 6):
            h.send(signal.SIGHUP)
            eventually(lambda n=n: len(list(log.glob("a-*"))) > n, f"segment {n + 1} is begun")
        h.send(signal.SIGTERM)
        assert h.wait() == 0, h.said

    assert len(list(log.glob("a-*"))) >= 6
    Contents(log).check({1: noted(tmp_path)})


def test_a_hundred_hangups_in_a_row_lose_nothing(tmp_path: Path) -> None:
    """Reliability, section 5: SIGHUP under load, 0 lost, 0 double, each file well formed."""
    with host(tmp_path, _BUSY) as h:
        eventually(lambda: noted(tmp_path) > 500, "the policy records")
        for _ in range(100):
            before = noted(tmp_path)
            h.send(signal.SIGHUP)
            eventually(lambda before=before: noted(tmp_path) > before, "the policy goes on")
        h.send(signal.SIGTERM)
        assert h.wait() == 0, h.said

    contents = Contents(h.data / "a")
    contents.check({1: noted(tmp_path)})
    assert not contents.coverage.places


def test_a_hangup_before_anything_is_open_is_harmless(tmp_path: Path) -> None:
    with host(tmp_path, _QUIET) as h:
        for _ in range(20):
            if not (tmp_path / "noted").exists():
                break
            h.send(signal.SIGHUP)
        eventually(lambda: noted(tmp_path) > 5, "the policy records")
        h.send(signal.SIGHUP)
        h.send(signal.SIGTERM)
        assert h.wait() == 0, h.said


_ENDLESS = """
kumo.on('pre_init', function() kumo.audit.configure_host{ handler_timeout = 0.5 } end)
kumo.on('init', function()
  kumo.audit.configure_log{ name = 'a' }
  for i = 1, 1000 do audit.log{ description = 'n=1:' .. i .. ':' } end
  kumo.spawn_task{ event_name = 'stuck', args = {} }
end)
kumo.on('stuck', function() while true do end end)
"""


def test_a_handler_that_never_returns_is_recorded_and_ends_the_host(tmp_path: Path) -> None:
    """Reliability, section 7: the watchdog writes `handler_stuck`, lets the writers drain, and exits 3."""
    with host(tmp_path, _ENDLESS) as h:
        assert h.wait() == 3, h.said

    contents = Contents(h.data / "a")
    contents.check({1: 1000})
    own = Contents(h.data / "log")
    assert types(own)[-2:] == ["handler_stuck", "audit_stop"]
    assert orjson.loads(own.lines[-2])["detail"]["handler"] == "stuck"
    assert "has not returned for 0.5 s" in h.said
    assert "Traceback" not in h.said


def test_a_stop_signal_ends_a_host_whose_handler_never_returns(tmp_path: Path) -> None:
    """A patient handler may take long; a stop signal does not wait for it for ever."""
    policy = "kumo.on('init', function() audit.log{ description = 'n=1:1:' } io.open('noted', 'w'):close() while true do end end)"
    with host(tmp_path, policy) as h:
        eventually((tmp_path / "noted").exists, "the loop is reached")

        h.send(signal.SIGTERM)
        h.send(signal.SIGTERM)

        assert h.wait() == 3, h.said
    assert "did not return" in h.said
    Contents(h.data / "log").check({1: 1})


def test_a_description_of_a_hundred_megabytes_is_recorded_cut(tmp_path: Path) -> None:
    """Reliability, section 5: recorded with long strings cut, size and sha256 kept, and `event_truncated` says so."""
    policy = "kumo.on('init', function() audit.log{ description = 'n=1:1:' .. string.rep('x', 100000000) } end)"
    with host(tmp_path, policy) as h:
        assert h.wait() == 0, h.said

    contents = Contents(h.data / "log")
    contents.check({1: 1})
    assert "event_truncated" in types(contents)
    (line,) = [line for line in contents.lines if b"n=1:1:" in line]
    assert 900_000 < len(line) <= 1 << 20
    assert orjson.loads(line)["detail"]["truncated"]["description"]["bytes"] == 100_000_006


def test_a_host_in_the_same_data_directory_is_refused_by_pid(tmp_path: Path) -> None:
    """Reliability, section 5: the second exits 3, "in use by pid 4711"."""
    with host(tmp_path, _QUIET) as h:
        eventually(lambda: noted(tmp_path) > 0, "the policy records")
        _write_empty(tmp_path)

        second = kumoaudit("run", tmp_path / "empty.lua", "--data-dir", h.data)

        assert second.returncode == 3
        assert f"in use by pid {h.process.pid}" in second.stderr
        h.send(signal.SIGTERM)
        assert h.wait() == 0


_GATE_HELD = """
kumo.on('shutdown', function() end)
kumo.on('busy', function() io.open('noted', 'w'):close() while true do end end)
kumo.on('init', function() audit.log{ description = 'n=1:1:' } kumo.spawn_task{ event_name = 'busy' } end)
"""
_SHUTDOWN_LOOPS = """
kumo.on('shutdown', function() while true do end end)
kumo.on('rest', function() io.open('noted', 'w'):close() kumo.sleep(600) end)
kumo.on('init', function() audit.log{ description = 'n=1:1:' } kumo.spawn_task{ event_name = 'rest' } end)
"""


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("policy", [_GATE_HELD, _SHUTDOWN_LOOPS], ids=["a task loops", "shutdown loops"])
def test_a_shutdown_handler_that_cannot_end_does_not_hold_up_the_stop(
    tmp_path: Path, policy: str, signals: int
) -> None:
    """The main thread never waits for Lua: what was acknowledged is drained, and the process ends with 3."""
    with host(tmp_path, policy) as h:
        eventually((tmp_path / "noted").exists, "the task is reached")
        for _ in range(signals):
            h.send(signal.SIGTERM)

        assert h.wait() == 3, h.said
    assert "did not return" in h.said
    own = Contents(h.data / "log")
    own.check({1: 1})
    assert types(own)[-1] == "audit_stop"


_SHUTDOWN = """
kumo.on('shutdown', function()
  local out = io.open('noted', 'a')
  out:write('shutdown\\n')
  out:close()
  audit.log{ description = 'n=1:1:' }
  %s
end)
kumo.on('rest', function() io.open('resting', 'w'):close() kumo.sleep(600) end)
kumo.on('init', function() audit.log 'x' %s end)
"""


@pytest.mark.parametrize("when", ["at rest", "in shutdown"])
def test_shutdown_runs_once_and_its_records_count(tmp_path: Path, when: str) -> None:
    """Also when the signal comes while the policy's own end has called it already."""
    wait = "local give_up = os.time() + 2 while os.time() < give_up do kumo.sleep(0.01) end"
    task = "kumo.spawn_task{ event_name = 'rest' }"
    with host(tmp_path, _SHUTDOWN % (("", task) if when == "at rest" else (wait, ""))) as h:
        eventually((tmp_path / ("resting" if when == "at rest" else "noted")).exists, "the policy is there")
        h.send(signal.SIGTERM)

        assert h.wait() == 0, h.said
    assert (tmp_path / "noted").read_text() == "shutdown\n"
    Contents(h.data / "log").check({1: 1})


_STUCK_EARLY = """
kumo.on('pre_init', function()
  kumo.audit.configure_host{ handler_timeout = 0.5 }
  while true do end
end)
"""


def test_a_stuck_host_whose_data_directory_is_in_use_ends_all_the_same(tmp_path: Path) -> None:
    """The record of it cannot be made; the end is not forgotten over that."""
    with host(tmp_path / "first", _QUIET) as first:
        eventually(lambda: noted(tmp_path / "first") > 0, "the first host records")
        with host(tmp_path / "second", _STUCK_EARLY, "--data-dir", first.data) as second:
            assert second.wait() == 3, second.said

        assert "has not returned for 0.5 s" in second.said
        assert f"in use by pid {first.process.pid}" in second.said
        assert "Traceback" not in second.said
        first.send(signal.SIGTERM)
        assert first.wait() == 0


@pytest.mark.parametrize(("policy", "code"), [("audit.log 'x'", 0), ("error 'no'", 2)])
def test_a_standard_error_that_takes_nothing_changes_neither_records_nor_exit_code(
    tmp_path: Path, policy: str, code: int
) -> None:
    """It may lie on the very disk that is full."""
    (tmp_path / "policy.lua").write_text(f"kumo.on('init', function() audit.log 'n=1:1:' {policy} end)")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command_line("run", "policy.lua", "--data-dir", "data"),
            cwd=tmp_path,
            env=environment(),
            stderr=full,
            check=False,
        )
        checked = subprocess.run(
            command_line("check", "policy.lua", "--data-dir", "data"),
            cwd=tmp_path,
            env=environment(),
            stderr=full,
            stdout=subprocess.DEVNULL,
            check=False,
        )

    assert (done.returncode, checked.returncode) == (code, code)
    Contents(tmp_path / "data" / "log").check({1: 1})
