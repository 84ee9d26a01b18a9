"""The state of logs and host: what is late, what is lost, what refuses its callers."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.spec import FreeSpec, RingSpec
from kumoaudit.core.units import Free
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.route import Route
from kumoaudit.pipeline.state import Health, disk_too_full, liveness, log_health
from tests.fakes import Announced, FakeClock, FaultyDisk, eventually, open_test_route, route_spec
from tests.pipeline.test_housekeeping import Nearly, told
from tests.support import event, stored

SMALL = RingSpec(4096, 2)


class World:
    """A log whose writer the test steps."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock, self.disk = FakeClock(), FaultyDisk()
        spec = route_spec(directory / "a", **{"ring": SMALL, "block_timeout_ns": 0, **options})
        ring = directory / "spool" / "a.ring"
        self.route: Route = open_test_route(spec, ring, disk=self.disk, clock=self.clock, announced=Announced())

    def step(self, seconds: float = 2.0) -> None:
        self.clock.advance(seconds)
        self.route.writer.step()

    def put(self) -> bool:
        return self.route.ring.append(stored(event(1, description="x" * 900)) + b"\n", 1)

    def fill(self) -> None:
        """Until a caller is refused or a record is lost."""
        for _ in range(100):
            try:
                if not self.put():
                    return
            except RecordRefused:
                return
        raise AssertionError("the ring never fills")

    def break_disk(self) -> None:
        self.disk.fail("write", errno.EIO, for_ever=True)
        self.put()
        self.step(0.2)
        self.step(1.0)

    def health(self) -> Health:
        return log_health(self.route, self.clock.monotonic_ns())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path, **options))
        return made[-1]

    yield make
    for w in made:
        w.disk.heal()
        w.route.ring.refuse_from_now_on()
        w.route.writer.stop(10)
        w.route.ring.close()


def test_a_log_that_writes_is_healthy(make: Any) -> None:
    w = make()
    w.put()
    w.step()

    assert w.health() == ("healthy", ())


def test_a_log_that_cannot_write_is_degraded_while_its_ring_takes_records(make: Any) -> None:
    """Reliability, section 3: late, still recording."""
    w = make()
    w.break_disk()

    state, (reason,) = w.health()

    assert state == "degraded"
    assert reason.startswith("log 'a' is late: ")
    assert "input/output error" in reason


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "failed"),
        ({"on_failure": "continue"}, "failed"),
        ({"overflow": "drop"}, "failed"),
        ({"required": False}, "degraded"),
    ],
)
def test_a_required_log_that_takes_no_record_any_more_has_failed(
    make: Any, options: dict[str, Any], state: str
) -> None:
    w = make(**options)
    w.break_disk()
    w.fill()

    assert w.health().state == state


def test_a_log_that_promises_power_has_failed_as_soon_as_it_cannot_write(make: Any) -> None:
    """Its callers are refused although the ring has room."""
    w = make(durability="power")
    w.break_disk()

    assert w.health().state == "failed"


def test_a_log_is_healthy_again_when_its_disk_is(make: Any) -> None:
    w = make()
    w.break_disk()
    w.fill()
    w.disk.heal()
    w.step()

    assert w.health() == ("healthy", ())


def test_a_full_ring_alone_is_no_failure(make: Any) -> None:
    """Back-pressure: the callers wait, the writer writes."""
    w = make()
    w.fill()

    assert w.health().state == "healthy"


def test_losses_degrade_the_log_until_it_tells_them(make: Any) -> None:
    w = make(overflow="drop")
    w.fill()

    assert w.health() == ("degraded", ("log 'a' lost 1 record",))

    w.step(0.2)
    w.step(61.0)
    assert w.health() == ("healthy", ())


def test_a_disk_that_does_not_answer_is_told_after_ten_seconds(make: Any) -> None:
    """Reliability, section 5: `log_dir has not answered for 10 s`."""
    w = make()
    answers: list[Health] = []

    def hang(batch: Any) -> None:
        for seconds in (8.0, 2.0):
            w.clock.advance(seconds)
            answers.append(w.health())

    whole = w.route.writer.sink.write
    w.put()
    w.step(0.2)
    w.route.writer.sink.write = lambda batch: (hang(batch), whole(batch))[1]
    w.step(1.0)

    assert [a.state for a in answers] == ["healthy", "degraded"]
    assert "has not answered for 11 s" in answers[-1].reasons[0]
    assert w.health().state == "healthy"


# -- the host ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[Pipeline]:
    disk = Nearly()
    disk.percent = 9
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", disk, FakeClock(), lambda _: None)
    pipeline.open_log(route_spec(tmp_path / "a", free=FreeSpec(Free(10, None), Free(10, None))))
    yield pipeline
    pipeline.close()


def test_too_little_room_is_known_as_soon_as_the_log_is_open(nearly_full: Pipeline, tmp_path: Path) -> None:
    """KumoMTA 5.7; the first request after the start is refused already."""
    assert nearly_full.health().state == "degraded"
    assert liveness(nearly_full) == "storage is too full"
    assert "min_free_space is 10 %" in disk_too_full(nearly_full)
    eventually(lambda: told(tmp_path, "audit_degraded"), "the shortage is recorded")


def test_a_host_that_stops_says_so_first(nearly_full: Pipeline) -> None:
    nearly_full.is_stopping = True

    assert liveness(nearly_full) == "shutting down"


def test_the_host_is_as_well_as_its_worst_log(tmp_path: Path) -> None:
    disk = FaultyDisk()
    said: list[str] = []
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", disk, FakeClock(), said.append)
    route = pipeline.open_log(route_spec(tmp_path / "a"))
    assert (liveness(pipeline), disk_too_full(pipeline)) == ("", "")

    route.ring.trouble, route.ring.is_full = "a: no space left on device", True

    assert pipeline.health() == ("failed", ("log 'a' does not record: a: no space left on device",))
    assert liveness(pipeline) == "log 'a' does not record: a: no space left on device"
    for _ in range(2):
        pipeline.housekeeping.look_at_state()
    assert [s for s in said if "state" in s] == [
        "the host's state is failed\n  log 'a' does not record: a: no space left on device"
    ]
    route.ring.trouble, route.ring.is_full = "", False
    pipeline.housekeeping.look_at_state()
    assert said[-1] == "the host's state is healthy"
    pipeline.close()
