"""A file system that is full, really: a tmpfs of one megabyte."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.spec import RingSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk
from tests.crash.hosts import host
from tests.crash.support import Contents
from tests.fakes import eventually, route_spec
from tests.support import event, kumoaudit


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A mounted tmpfs of 1 MiB and 64 inodes."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")
    place.chmod(0o750)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path) -> Path:
    """Take every byte that is free."""
    filler = place / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (65536, 4096, 1):
            while True:
                try:
                    os.write(fd, b"x" * size)
                except OSError:
                    break
    finally:
        os.close(fd)
    return filler


def test_a_full_log_dir_loses_nothing_and_goes_on_when_there_is_room(small: Path, tmp_path: Path) -> None:
    """Reliability, section 5, ENOSPC: lines stay in the ring, partial bytes are removed, retry every second."""
    said: list[str] = []
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", RealDisk(), SystemClock(), said.append)
    pipeline.open_log(route_spec(small / "a", ring=RingSpec(1 << 20, 8)))
    filler = None
    for n in range(1, 4001):
        if n == 100:
            filler = fill(small)
        assert pipeline.emit(event(n, description=f"n=1:{n}:" + os.urandom(40).hex()))
    assert filler is not None
    eventually(lambda: any("no space left on device" in text for text in said), "the host says that the disk is full")

    filler.unlink()
    eventually(lambda: any("records again" in text for text in said), "the host goes on by itself")

    assert pipeline.close() == {}
    contents = Contents(small / "a")
    contents.check({1: 4000})
    assert not contents.coverage.places
    found = [orjson.loads(line)["type"] for line in contents.lines]
    assert found.count("audit_degraded") == found.count("audit_restored") == 1
    assert len([text for text in said if "free space or lower retention" in text]) == 1


def test_no_inodes_left_is_survived_like_no_space(small: Path, tmp_path: Path) -> None:
    """Creating does not work, writing does: the next segment waits, nothing is lost."""
    said: list[str] = []
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", RealDisk(), SystemClock(), said.append)
    route = pipeline.open_log(route_spec(small / "a"))
    taken = []
    for n in range(100):
        try:
            (small / f"x{n}").touch()
        except OSError:
            break
        taken.append(small / f"x{n}")
    for n in range(1, 51):
        assert pipeline.emit(event(n, description=f"n=1:{n}:"))
    route.writer.reopen()
    eventually(lambda: any("no space left on device" in text for text in said), "there is no inode for a segment")

    for path in taken:
        path.unlink()
    eventually(lambda: any("records again" in text for text in said), "the host goes on by itself")

    assert pipeline.close() == {}
    Contents(small / "a").check({1: 50})


def test_no_room_for_the_ring_at_the_first_start_is_said_with_how_much_and_where(small: Path, tmp_path: Path) -> None:
    """Reliability, section 4, the ring file: exit 3, says how much and where."""
    (tmp_path / "policy.lua").write_text("kumo.on('init', function() audit.log{ description = 'x' } end)")

    done = kumoaudit("run", tmp_path / "policy.lua", "--data-dir", small / "data")

    assert done.returncode == 3
    assert f"{small}/data/spool/log.ring" in done.stderr
    assert "No space left on device" in done.stderr
    assert str(4096 + 8 * (1 << 20)) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("killed", [True, False])
def test_a_host_restarts_on_a_full_disk_and_records(small: Path, tmp_path: Path, killed: bool) -> None:
    """A full disk never stops a restart; what is acknowledged meanwhile is in the ring, and in the file afterwards."""
    policy = """
    kumo.on('init', function()
      kumo.audit.configure_log{ name = 'a', path = '%s' }
      kumo.spawn_task{ event_name = 'load', args = {} }
    end)
    kumo.on('load', function()
      for i = 1, 500 do audit.log{ description = 'n=%d:' .. i .. ':' } end
      io.open('noted%d', 'w'):close()
      while true do kumo.sleep(0.05) end
    end)
    """
    with host(tmp_path, policy % (small / "a", 1, 1)) as h:
        eventually((tmp_path / "noted1").exists, "the policy has recorded")
        h.send(signal.SIGKILL if killed else signal.SIGTERM)
        h.wait()
    filler = fill(small)

    with host(tmp_path, policy % (small / "a", 2, 2)) as h:
        eventually((tmp_path / "noted2").exists, "the policy has recorded on a full disk")
        h.wait_for("no space left on device")
        filler.unlink()
        h.wait_for("records again")
        h.send(signal.SIGTERM)
        assert h.wait() == 0, h.said

    Contents(small / "a").check({1: 500, 2: 500})


_FILLS = """
kumo.on('init', function()
  kumo.audit.configure_log { name = 'full', where = 'type = custom_big', path = 'SMALL/full', block_timeout = '10ms' }
  kumo.spawn_task { event_name = 'work', args = {} }
end)
kumo.on('work', function()
  local pad = ('x'):rep(60000)
  local n = 0
  while true do
    local ok = pcall(audit.log, { type = 'custom_big', description = tostring(n) .. pad })
    n = n + 1
    if not ok then
      print('refused')
      kumo.sleep(0.2)
    end
  end
end)
"""


def test_who_comes_to_free_the_disk_is_let_in(small: Path, tmp_path: Path) -> None:
    """Reliability, section 2, the escape hatch: while the log refuses, the control socket answers and records."""
    filler = fill(small)
    with host(tmp_path, _FILLS.replace("SMALL", str(small))) as h:

        def ask(*words: str) -> tuple[int, str]:
            done = kumoaudit(*words, "--data-dir", h.data)
            return done.returncode, done.stdout

        h.wait_for("the host's state is failed")
        state = orjson.loads(ask("status")[1])
        code, reason = ask("control", "liveness")

        assert (state["state"], code) == ("failed", 1)
        assert reason.startswith("log 'full' does not record: ")
        assert "no space left on device" in reason
        assert ask("control", "reopen") == (0, "reopened: log, full\n")

        filler.unlink()
        eventually(lambda: ask("control", "liveness")[0] == 0, "the host takes records again")
        assert ask("control", "shutdown")[0] == 0
        h.wait()
    types = [orjson.loads(line)["type"] for line in Contents(h.data / "log").lines]
    assert types.count("admin_reopen") == types.count("admin_shutdown") == 1


DOOR = """
kumo.on('http_server_validate_auth_basic', function(user, password) return password == 'wonderland' end)
kumo.on('init', function()
  kumo.aaa.configure_acct_log { log_dir = 'LOG', durability = 'power', block_timeout = '200ms' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
end)
"""


def test_who_cannot_be_recorded_is_not_let_in(small: Path, tmp_path: Path) -> None:
    """One rule for logins and decisions; KumoMTA lets the first pass and stops the second."""
    with host(tmp_path / "host", DOOR.replace("LOG", str(small / "acct"))) as process:
        process.wait_for("ready: ")
        (url,) = re.findall(r"http://[\d.:]+", process.said)

        def status(login: str) -> int:
            headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
            try:
                request = urllib.request.Request(f"{url}/api/check-liveness/v1", headers=headers)
                with urllib.request.urlopen(request, timeout=30) as reply:
                    return int(reply.status)
            except urllib.error.HTTPError as e:
                return e.code

        assert [status("alice:wonderland"), status("")] == [200, 200]
        filler = fill(small)
        # Until the room that the log had set aside is used up.
        eventually(lambda: status("") == 503, "the log is full")
        assert [status("alice:wonderland"), status("alice:guess"), status("")] == [503, 503, 503]
        filler.unlink()
        eventually(lambda: status("alice:wonderland") == 200, "the host lets callers in again")
