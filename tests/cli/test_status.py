"""`kumoaudit status` and `kumoaudit control` against a real host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_startup import HEAVY, modules
from tests.crash.hosts import HostProcess, host
from tests.fakes import eventually
from tests.support import kumoaudit, rows

POLICY = """
kumo.on('init', function()
  kumo.audit.configure_log { name = 'alarms', where = 'severity >= ALARM' }
  kumo.spawn_task { event_name = 'work', args = {} }
end)
kumo.on('work', function()
  for i = 1, 3 do audit.alarm('fire ' .. i) end
  audit.info('step')
  while true do kumo.sleep(0.05) end
end)
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[HostProcess]:
    with host(tmp_path, POLICY) as h:
        h.wait_for("ready")
        yield h


def asked(h: HostProcess, *args: str) -> tuple[int, str, str]:
    done = kumoaudit(*args, "--data-dir", h.data)
    return done.returncode, done.stdout, done.stderr


def recorded(h: HostProcess, kind: str) -> list[dict[str, object]]:
    return rows(kumoaudit("query", "--data-dir", h.data, "--type", kind).stdout)


def test_a_script_reads_what_the_host_does(running: HostProcess) -> None:
    def status() -> dict[str, object]:
        code, out, err = asked(running, "status")
        assert (code, err) == (0, "")
        found: dict[str, object] = json.loads(out)
        return found

    def is_done() -> bool:
        return status()["events"]["recorded"] == 4  # type: ignore[index]

    eventually(is_done, "all four events are recorded")
    found = status()

    assert (found["pid"], found["state"], found["policy"]) == (running.process.pid, "healthy", "policy.lua")
    assert (found["is_running"], found["listeners"], found["is_stopping"]) == (True, [], False)
    # How long a right that was taken away may live on can be read at run time (KumoMTA, D1).
    ages = {name: cache["ttl_s"] for name, cache in found["caches"].items()}  # type: ignore[attr-defined]
    assert ages == {"acl_definition": 0.3, "acl_check": 0.3, "http_server_auth": 10.0}
    logs = {log["name"]: log for log in found["logs"]}  # type: ignore[attr-defined]
    assert logs["alarms"]["accepted"] == 3
    assert logs["log"]["accepted"] == 1 + 2  # audit_start, audit_config
    assert set(found["disk"]) == {str(running.data / p) for p in ("alarms", "log", "spool")}  # type: ignore[call-overload]


def test_a_person_reads_a_table(running: HostProcess) -> None:
    code, out, _ = asked(running, "status", "--format", "table")

    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("healthy: kumoaudit ")
    assert f"pid {running.process.pid}, " in lines[0]
    assert f"data       {running.data}" in lines
    assert "caches     acl_definition 0.3 s (0), acl_check 0.3 s (0), http_server_auth 10 s (0)" in lines
    head = next(i for i, line in enumerate(lines) if line.startswith("LOG "))
    assert lines[head].split()[:4] == ["LOG", "STATE", "ACCEPTED", "WRITTEN"]
    assert [line.split()[:2] for line in lines[head + 1 : head + 3]] == [["log", "healthy"], ["alarms", "healthy"]]
    assert any(line.startswith(str(running.data / "spool")) for line in lines)


def test_a_living_host_is_alive(running: HostProcess) -> None:
    assert asked(running, "control", "liveness") == (0, "OK\n", "")


def test_a_reopened_log_goes_on_in_a_new_file_and_the_record_says_who_asked(running: HostProcess) -> None:
    eventually(lambda: list((running.data / "alarms").glob("alarms-*")), "there is a segment")

    assert asked(running, "control", "reopen") == (0, "reopened: log, alarms\n", "")

    eventually(
        lambda: any(not p.stat().st_mode & 0o222 for p in (running.data / "alarms").glob("alarms-*")),
        "the segment is finished",
    )
    (record,) = eventually(lambda: recorded(running, "admin_reopen"), "the command is recorded")
    assert record["kind"] == "admin"
    assert set(record["detail"]) == {"command", "uid", "gid", "pid"}  # type: ignore[call-overload]
    assert [r["detail"]["reason"] for r in recorded(running, "audit_reopen")] == ["control socket"]  # type: ignore[index]


def test_a_reload_says_what_came_of_it(running: HostProcess) -> None:
    unchanged = (0, "no file of the policy has changed\n", "")
    eventually(lambda: asked(running, "control", "reload") == unchanged, "the host is ready to reload")

    (running.directory / "policy.lua").write_text("this is no Lua\n")
    code, out, err = asked(running, "control", "reload")

    assert (code, out) == (1, "")
    assert err.startswith("policy not reloaded (control socket), the last good one stays: policy.lua:1: ")
    eventually(lambda: len(recorded(running, "admin_reload")) >= 2, "both commands are recorded")


def test_a_host_that_is_told_to_stop_drains_and_leaves_no_socket(running: HostProcess) -> None:
    code, out, _ = asked(running, "control", "shutdown")

    assert (code, out) == (0, f"pid {running.process.pid} is stopping\n")
    assert running.wait() == 0
    assert not (running.data / "control.sock").exists()
    assert [r["description"] for r in recorded(running, "audit_stop")] == ["the host stops: shutdown"]
    assert len(recorded(running, "admin_shutdown")) == 1

    code, out, err = asked(running, "status")
    assert (code, err) == (1, f"no host is running in {running.data}\n")
    last = json.loads(out)
    assert (last["is_running"], [log["name"] for log in last["logs"]]) == (False, ["log", "alarms"])
    code, out, _ = asked(running, "status", "--format", "table")
    assert code == 1
    assert "policy.lua:3" in out


def test_the_socket_of_a_killed_host_is_replaced_by_the_next(running: HostProcess, tmp_path: Path) -> None:
    running.process.kill()
    running.process.wait()
    assert (running.data / "control.sock").exists()
    assert asked(running, "control", "liveness")[0] == 1

    with host(tmp_path, POLICY) as again:
        eventually(lambda: again.said.count("ready") == 2, "the second host is ready")

        assert asked(again, "control", "liveness") == (0, "OK\n", "")


@pytest.mark.parametrize("command", [["status"], ["control", "liveness"], ["control", "shutdown"]])
def test_where_no_host_runs_the_answer_is_negative(tmp_path: Path, command: list[str]) -> None:
    done = kumoaudit(*command, "--data-dir", tmp_path / "nothing")

    assert done.returncode == 1
    assert done.stderr == f"no host is running in {tmp_path / 'nothing'}\n"
    assert not (tmp_path / "nothing").exists()


def test_an_unknown_command_is_a_usage_error() -> None:
    done = kumoaudit("control", "reboot")

    assert done.returncode == 2
    assert "'liveness', 'reopen', 'reload', 'shutdown'" in done.stderr


def test_asking_a_host_starts_none(tmp_path: Path) -> None:
    for words in (["status"], ["control", "liveness"]):
        _, loaded = modules(*words, "--data-dir", str(tmp_path))

        assert not loaded & {*HEAVY, "lupa", "kumoaudit.runtime", "kumoaudit.pipeline", "kumoaudit.daemon"}
