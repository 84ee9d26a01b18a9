"""The reader beside a host that writes, and after one that was killed: never a gap, never a line twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kumoaudit.core.spec import Query
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.look import read_description
from kumoaudit.segments.reader import SegmentLog
from tests.support import environment, kumoaudit, rows

# Small blocks and segments, so that blocks are reused and segments rotate all the time. Prints how many are certain.
_HOST = """
import sys
from kumoaudit.core.clock import SystemClock
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import Always
from kumoaudit.core.spec import Plan, RingSpec, RotationSpec, RouteSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk

data_dir, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
pipeline = Pipeline(data_dir, "alpha", RealDisk(), SystemClock(), lambda text: None)
spec = RouteSpec(
    "main", Plan(), Always(), "segments", data_dir + "/main",
    ring=RingSpec(block_bytes=8192, blocks=4), rotation=RotationSpec(max_bytes=100_000),
)
pipeline.open_log(spec)
import time
for n in range(count):
    pipeline.emit(Event(id=str(n), time_ns=time.time_ns(), kind="custom", type="custom_n", description="x" * (n % 300)))
    if n % 50 == 49:
        print(n + 1, flush=True)
        time.sleep(pause)
print("done", flush=True)
sys.stdin.read()
pipeline.close()
"""


def start(data_dir: Path, count: int, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOST, str(data_dir), str(count), str(pause)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def open_log(data_dir: Path) -> SegmentLog:
    disk = RealDisk()
    return SegmentLog(disk, str(data_dir / "main"), read_description(disk, str(data_dir / "main")))


def numbers(log: SegmentLog, query: Query) -> list[int]:
    """The events' own numbers, oldest first; that their places in the log have no gap is checked on the way."""
    found = list(log.records(query))
    if query.newest_first:
        found.reverse()
    assert [r.seq for r in found] == list(range(1, len(found) + 1))
    return [int(r.event.id) for r in found if r.event.type == "custom_n"]


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
def test_each_look_at_a_writing_host_is_a_gapless_beginning_that_only_grows(tmp_path: Path, newest_first: bool) -> None:
    with start(tmp_path, 6000, 0.001) as host:
        assert host.stdout
        last = certain = 0
        for line in host.stdout:
            if line == "done\n":
                break
            certain = int(line)
            log = open_log(tmp_path)
            found = numbers(log, Query(newest_first=newest_first))
            assert found == list(range(len(found)))
            assert len(found) >= max(certain, last)
            last = len(found)
            assert log.coverage.unread_lines == 0, log.coverage.places
        host.communicate("")
    assert numbers(open_log(tmp_path), Query()) == list(range(6000))


def test_everything_that_was_acknowledged_is_found_after_a_kill(tmp_path: Path) -> None:
    with start(tmp_path, 100_000, 0.0) as host:
        assert host.stdout
        certain = 0
        for line in host.stdout:
            certain = int(line)
            if certain >= 3000:
                break
        host.send_signal(signal.SIGKILL)
        certain = max([certain, *(int(line) for line in host.stdout if line.endswith("\n"))])
        host.wait()
        found = numbers(open_log(tmp_path), Query())

    assert found == list(range(len(found)))
    assert len(found) >= certain
    assert len(rows(kumoaudit("query", tmp_path, "--where", "type = custom_n").stdout)) == len(found)


def test_following_a_writing_host_gives_every_record_once(tmp_path: Path) -> None:
    seen: list[str] = []
    with start(tmp_path, 4000, 0.002) as host:
        assert host.stdout
        host.stdout.readline()
        log = open_log(tmp_path)
        look = log.look()
        seen += [r.event.id for r in log.records(Query(newest_first=False), look)]
        for _ in host.stdout:
            now = log.look()
            seen += [r.event.id for r in log.news(Query(), look, now)]
            look = now
            if len(seen) >= 4000:
                break
        host.communicate("")

    assert [s for s in seen if s.isdigit()] == [str(n) for n in range(4000)]
