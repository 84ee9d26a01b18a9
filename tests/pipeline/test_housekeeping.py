"""The quiet thread: free space, the machine's clock, and news for the other logs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import orjson
import pytest

from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.core.spec import FreeSpec, Plan
from kumoaudit.core.units import Free
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk
from tests.crash.support import Contents
from tests.fakes import FakeClock, FaultyDisk, eventually, route_spec
from tests.support import event


class Nearly(FaultyDisk):
    """A file system with as much room as the test says."""

    percent = 50

    def statvfs(self, path: str) -> os.statvfs_result:
        self._meet("statvfs", path)
        return os.statvfs_result(
            (4096, 4096, 1000, 1000 * self.percent // 100, 10 * self.percent, 1000, 900, 900, 0, 255)
        )


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = Pipeline(str(tmp_path / "data"), "alpha", Nearly(), FakeClock(), lambda _: None)
    made.open_log(route_spec(tmp_path / "a", free=FreeSpec(Free(10, None), Free(10, None))))
    made.housekeeping.stop()
    return made


def told(tmp_path: Path, type_: str) -> list[dict[str, object]]:
    return [r for r in map(orjson.loads, Contents(tmp_path / "data" / "log").lines) if r["type"] == type_]


def test_a_shortage_of_space_is_recorded_once_and_so_is_its_end(pipeline: Pipeline, tmp_path: Path) -> None:
    """KumoMTA `min_free_space`; stderr and records once per change, not per look."""
    disk = pipeline.disk
    assert isinstance(disk, Nearly)
    for percent in (50, 9, 5, 9, 50, 60):
        disk.percent = percent
        pipeline.housekeeping.look_at_space()
        assert bool(pipeline.housekeeping.shortages) == (percent < 10)
    pipeline.housekeeping.start()
    pipeline.close()

    assert len(told(tmp_path, "audit_degraded")) == len(told(tmp_path, "audit_restored")) == 1
    assert "min_free_space is 10 %" in orjson.dumps(told(tmp_path, "audit_degraded")).decode()


def test_a_place_that_does_not_answer_is_a_shortage(pipeline: Pipeline) -> None:
    disk = pipeline.disk
    assert isinstance(disk, Nearly)
    disk.fail("statvfs", errno.EIO)

    pipeline.housekeeping.look_at_space()

    assert "input/output error" in pipeline.housekeeping.shortages["a"]
    pipeline.close()


@pytest.mark.parametrize("seconds", [3600, -3600, 0.5, -0.5])
def test_a_jump_of_the_clock_is_recorded_when_it_is_more_than_a_second(
    pipeline: Pipeline, tmp_path: Path, seconds: float
) -> None:
    """Reliability, section 5."""
    clock = pipeline.clock
    assert isinstance(clock, FakeClock)
    pipeline.housekeeping.look_at_clock()
    clock.advance(1000)
    pipeline.housekeeping.look_at_clock()

    clock.step(seconds)
    pipeline.housekeeping.look_at_clock()
    pipeline.housekeeping.look_at_clock()
    pipeline.close()

    jumps = [r["detail"] for r in told(tmp_path, "clock_jump")]
    assert jumps == ([{"seconds": seconds}] if abs(seconds) > 1 else [])


def test_news_of_one_log_reach_the_default_log_and_one_failure_does_not_end_them(tmp_path: Path) -> None:
    said: list[str] = []
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), FakeClock(), said.append)
    pipeline.start()
    whole, calls = pipeline.tell_others, [0]

    def tell(*args: object) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("a bug")
        whole(*args)  # type: ignore[arg-type]

    pipeline.tell_others = tell  # type: ignore[method-assign]
    for n in range(3):
        pipeline.housekeeping.announce(event(n, kind="system", type="audit_gap"), "other")

    pipeline.close()

    assert len(told(tmp_path, "audit_gap")) == 2
    assert said == ["housekeeping: a bug"]


def test_a_log_that_is_opened_is_looked_at_at_once(tmp_path: Path) -> None:
    """Not after the next round: the first request is refused already."""
    disk = Nearly()
    disk.percent = 9
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", disk, FakeClock(), lambda _: None)

    pipeline.open_log(route_spec(tmp_path / "a", free=FreeSpec(Free(10, None), Free(10, None))))

    assert set(pipeline.housekeeping.shortages) == {"a"}
    eventually(lambda: pipeline.housekeeping._short_told, "it is said and recorded without waiting for the clock")
    pipeline.close()
    assert len(told(tmp_path, "audit_degraded")) == 1


@pytest.mark.parametrize(("kind", "is_told"), [("tmpfs", True), ("ramfs", True), ("ext4", False), ("", False)])
def test_a_spool_in_memory_is_told_at_the_start(tmp_path: Path, kind: str, is_told: bool) -> None:
    """Reliability, section 4."""

    class On(FaultyDisk):
        def filesystem(self, path: str) -> str:
            assert path == str(tmp_path / "data")
            return kind

    said: list[str] = []
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", On(), FakeClock(), said.append)
    pipeline.start()
    pipeline.close()

    assert said == ([f"spool on {kind}: a reboot loses what is not in a segment"] if is_told else [])


def test_the_real_disk_knows_its_file_systems() -> None:
    disk = RealDisk()

    assert disk.filesystem("/proc") == disk.filesystem("/proc/self/") == "proc"
    assert disk.filesystem("/") not in ("", "proc")


def test_a_shortage_is_told_in_the_log_itself_whatever_its_filter(tmp_path: Path) -> None:
    """Interface, section 1: the records about the state of a log stand in that log too."""
    disk = Nearly()
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", disk, FakeClock(), lambda _: None)
    nothing = parse_predicate("severity >= ALARM")
    plan = Plan(where=nothing)
    pipeline.open_log(
        route_spec(tmp_path / "a", plan=plan, claims=nothing, free=FreeSpec(Free(10, None), Free(10, None)))
    )
    pipeline.housekeeping.stop()
    for percent in (5, 50):
        disk.percent = percent
        pipeline.housekeeping.look_at_space()
    pipeline.housekeeping.start()
    pipeline.close()

    types = [orjson.loads(line)["type"] for line in Contents(tmp_path / "a").lines]
    assert types == ["audit_degraded", "audit_restored"]
    assert len(told(tmp_path, "audit_degraded")) == len(told(tmp_path, "audit_restored")) == 1
