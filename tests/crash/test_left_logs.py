"""A log that is configured otherwise after kill -9: what was acknowledged before stays in the log it was meant for."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from kumoaudit.segments.naming import parse_segment_name
from tests.crash.hosts import host
from tests.crash.support import Contents
from tests.fakes import eventually
from tests.support import kumoaudit

_COUNT = 50

_RECORDS = """
kumo.on('init', function()
  kumo.audit.configure_log{ %(log)s }
  kumo.spawn_task{ event_name = 'load', args = {} }
end)
kumo.on('load', function()
  for i = 1, 50 do audit.log{ description = 'n=%(group)d:' .. i .. ':' } end
  io.open('noted-%(group)d', 'w'):close()
  kumo.sleep(600)
end)
"""

_NEXT = "kumo.on('init', function() kumo.audit.configure_log{ %s } end)\n"


def record_and_kill(directory: Path, log: str, group: int = 1) -> None:
    """A host with *log* acknowledges `n=GROUP:1:` to `n=GROUP:50:` and is killed."""
    with host(directory, _RECORDS % {"log": log, "group": group}) as h:
        eventually((directory / f"noted-{group}").exists, "the records are acknowledged")
        h.send(signal.SIGKILL)
        h.wait()


def run_next(directory: Path, log: str) -> str:
    """A run with *log* in its place, to its end; gives what it said."""
    (directory / "next.lua").write_text(_NEXT % log)
    done = kumoaudit("run", "next.lua", "--data-dir", "data", cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stderr


def found(directory: Path, group: int = 1) -> list[int]:
    """Numbers of the test records that a query of the data directory finds, in their order."""
    done = kumoaudit("query", "--data-dir", "data", "--reverse", "--format", "json", cwd=directory)
    assert done.returncode == 0, done.stderr
    texts = [json.loads(line).get("description", "") for line in done.stdout.splitlines()]
    return [int(t.split(":")[1]) for t in texts if t.startswith(f"n={group}:")]


def unfinished(directory: Path) -> list[Path]:
    return [p for p in directory.rglob("*") if parse_segment_name(p.name) and p.stat().st_mode & 0o222]


_ALL = list(range(1, _COUNT + 1))

_CHANGES = {
    "switched off": ("name = 'a'", "name = 'a', to = 'devnull'"),
    "renamed in its directory": ("name = 'a', path = 'shared'", "name = 'b', path = 'shared'"),
    "moved": ("name = 'a', path = 'here'", "name = 'a', path = 'there'"),
    "taken out": ("name = 'a'", "name = 'c'"),
    "in another format": ("name = 'a'", "name = 'a', format = 'tarantool_json'"),
}


@pytest.mark.parametrize(("before", "after"), _CHANGES.values(), ids=_CHANGES)
def test_acknowledged_records_survive_that_their_log_is_changed_after_a_kill(
    tmp_path: Path, before: str, after: str
) -> None:
    """Reliability, sentence 1, whatever the next policy says; and back again."""
    record_and_kill(tmp_path, before)

    run_next(tmp_path, after)

    assert found(tmp_path) == _ALL
    assert not unfinished(tmp_path)
    run_next(tmp_path, before)
    shutil.rmtree(tmp_path / "data" / "spool")
    assert found(tmp_path) == _ALL


def test_what_goes_to_a_log_that_was_switched_off_is_not_shown_as_the_old_logs(tmp_path: Path) -> None:
    record_and_kill(tmp_path, "name = 'a'")
    record_and_kill(tmp_path, "name = 'a', to = 'devnull'", group=2)

    assert found(tmp_path) == _ALL
    assert found(tmp_path, group=2) == []
    run_next(tmp_path, "name = 'a'")
    assert found(tmp_path) == _ALL
    assert found(tmp_path, group=2) == []
    Contents(tmp_path / "data" / "a").check({1: _COUNT})


def test_a_log_under_two_names_in_one_directory_is_found_under_both(tmp_path: Path) -> None:
    """By the registry and by the directory alone."""
    log = "name = '%s', path = 'shared'"
    record_and_kill(tmp_path, log % "a")
    record_and_kill(tmp_path, log % "b", group=2)
    run_next(tmp_path, log % "b")

    assert (found(tmp_path), found(tmp_path, group=2)) == (_ALL, _ALL)
    for path in ("data", "shared"):
        done = kumoaudit("query", path, "--where", "kind = custom", "--format", "json", cwd=tmp_path)
        assert len(done.stdout.splitlines()) == 2 * _COUNT, (path, done.stderr)


def test_a_data_directory_that_was_moved_takes_its_logs_along(tmp_path: Path) -> None:
    record_and_kill(tmp_path / "old", "name = 'a'")
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "data").rename(tmp_path / "new" / "data")

    run_next(tmp_path / "new", "name = 'c'")

    assert found(tmp_path / "new") == _ALL
    assert not unfinished(tmp_path / "new")
    assert not (tmp_path / "old" / "data").exists()


def test_a_script_finishes_left_logs_too(tmp_path: Path) -> None:
    record_and_kill(tmp_path, "name = 'a'")
    (tmp_path / "script.lua").write_text("kumo.on('main', function() end)\n")

    done = kumoaudit("run", "--script", "script.lua", "--data-dir", "data", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert not unfinished(tmp_path)
    (tmp_path / "data" / "spool" / "a.ring").unlink()
    Contents(tmp_path / "data" / "a").check({1: _COUNT})
