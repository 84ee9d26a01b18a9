"""Pipeline: which logs open, what happens when one cannot, and the end."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.errors import ConfigError, LogInUse, RecordRefused, StorageFault
from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.core.spec import Plan, RingSpec
from kumoaudit.pipeline import build
from kumoaudit.pipeline.build import Pipeline
from tests.crash.support import Contents
from tests.fakes import FaultyDisk, eventually, route_spec
from tests.support import event


class Host:
    """A pipeline in a directory and what it said."""

    def __init__(self, directory: Path, disk: FaultyDisk | None = None) -> None:
        self.said: list[str] = []
        self.disk = disk or FaultyDisk()
        self.pipeline = Pipeline(str(directory / "data"), "alpha", self.disk, SystemClock(), self.said.append)

    def put(self, count: int, start: int = 1, **fields: object) -> None:
        for n in range(start, start + count):
            assert self.pipeline.emit(event(n, description=f"n=1:{n}:", **fields))


def test_a_host_that_configures_nothing_still_records(tmp_path: Path) -> None:
    """Interface, section 1: what no log is meant for goes to `<data-dir>/log`."""
    host = Host(tmp_path)

    host.put(20)

    assert host.pipeline.close() == {}
    Contents(tmp_path / "data" / "log").check({1: 20})


def test_an_event_goes_to_every_log_that_is_meant_for_it_and_not_to_the_default_one(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.pipeline.open_log(route_spec(tmp_path / "b", name="b"))

    host.put(5)

    assert host.pipeline.close() == {}
    for name in ("a", "b"):
        Contents(tmp_path / name).check({1: 5})
    assert not Contents(tmp_path / "data" / "log").numbers


@pytest.mark.parametrize(
    ("second", "words"), [("name", "configured already"), ("path", "already the place of log 'a'")]
)
def test_a_name_or_a_place_is_taken_once(tmp_path: Path, second: str, words: str) -> None:
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a", at="policy.lua:3"))
    other = route_spec(tmp_path / ("a" if second == "path" else "b"), name="a" if second == "name" else "b")

    with pytest.raises(ConfigError) as refused:
        host.pipeline.open_log(other)

    assert words in str(refused.value)
    assert "policy.lua:3" in str(refused.value)
    host.pipeline.close()


def test_a_default_log_that_could_not_open_opens_at_the_next_event(tmp_path: Path) -> None:
    """A failed start leaves no lock behind, not even one of its own."""
    host = Host(tmp_path)
    host.disk.fail("preallocate", errno.ENOSPC)
    with pytest.raises(StorageFault):
        host.pipeline.emit(event())

    host.put(3)

    assert host.pipeline.close() == {}
    Contents(tmp_path / "data" / "log").check({1: 3})


def test_a_log_that_cannot_open_changes_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.put(1)
    host.disk.fail("preallocate", errno.ENOSPC)

    with pytest.raises(StorageFault):
        host.pipeline.open_log(route_spec(tmp_path / "a"))

    assert [r.spec.name for r in host.pipeline.open_routes] == ["log"]
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    assert host.pipeline.close() == {}


@pytest.mark.parametrize("kind", ["makedirs", "open"])
def test_a_data_directory_that_cannot_be_made_is_a_storage_fault(tmp_path: Path, kind: str) -> None:
    """Exit 3 with the place, not a traceback."""
    host = Host(tmp_path)
    host.disk.fail(kind, errno.EROFS)

    with pytest.raises(StorageFault) as refused:
        host.pipeline.start()

    assert str(tmp_path / "data") in str(refused.value)
    assert refused.value.exit_code == 3


def test_a_second_host_in_the_data_directory_is_refused(tmp_path: Path) -> None:
    first, second = Host(tmp_path), Host(tmp_path)
    first.pipeline.start()

    with pytest.raises(LogInUse) as refused:
        second.pipeline.start()

    assert f"in use by pid {os.getpid()}" in str(refused.value)
    first.pipeline.close()
    second.pipeline.start()
    second.pipeline.close()


def test_a_registry_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    """A full disk never stops a start."""
    host = Host(tmp_path)
    host.disk.fail("write", errno.ENOSPC, for_ever=True, path="logs.json")

    host.put(3)

    assert any("registry" in said for said in host.said)
    host.disk.heal()
    assert host.pipeline.close() == {}


def test_the_first_events_of_many_threads_open_one_default_log(tmp_path: Path) -> None:
    host = Host(tmp_path)
    threads = [threading.Thread(target=host.put, args=(10, 1 + 10 * i)) for i in range(8)]

    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert host.pipeline.close() == {}
    assert len(Contents(tmp_path / "data" / "log").numbers) == 80


def test_after_the_close_an_event_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.put(1)
    host.pipeline.close()

    with pytest.raises(RecordRefused):
        host.put(1)
    assert host.pipeline.close() == {}


def test_what_a_failing_log_could_not_write_is_counted_and_written_at_the_next_start(tmp_path: Path) -> None:
    """Stop order: what did not make it is counted and stays in the ring for the next start."""
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
    host.put(7)

    left = host.pipeline.close()

    assert left == {"a": 7}
    again = Host(tmp_path)
    again.pipeline.open_log(route_spec(tmp_path / "a"))
    assert again.pipeline.close() == {}
    Contents(tmp_path / "a").check({1: 7})
    assert b"audit_degraded" in b"".join(Contents(tmp_path / "data" / "log").lines)


def test_a_log_of_an_earlier_run_is_finished_by_the_next(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
    host.put(4)
    host.pipeline.close()

    again = Host(tmp_path)
    again.pipeline.start()
    again.pipeline.finish_left_logs()
    again.pipeline.close()

    Contents(tmp_path / "a").check({1: 4})


def test_a_disk_that_hangs_holds_up_the_end_no_longer_than_asked(tmp_path: Path) -> None:
    """SIGTERM ends within the stop deadline, a second one sooner (reliability, section 5)."""
    host = Host(tmp_path)
    hanging, released = threading.Event(), threading.Event()
    real = host.disk.write

    def write(fd: int, data: bytes | memoryview) -> int:
        if "/a/a-" in os.readlink(f"/proc/self/fd/{fd}"):
            hanging.set()
            released.wait(60)
        return real(fd, data)

    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.disk.write = write  # type: ignore[method-assign]
    host.put(3)

    left = host.pipeline.close(timeout_s=60, is_hurried=hanging.is_set)

    released.set()
    assert left == {"a": 3}


def test_an_event_that_is_too_long_for_the_ring_is_cut_to_it(tmp_path: Path) -> None:
    """Also where the ring's blocks are smaller than `max_event_size`."""
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a", ring=RingSpec(4096, 4)))

    assert host.pipeline.emit(event(description="x" * 100_000))

    assert host.pipeline.close() == {}
    (line,) = [x for x in Contents(tmp_path / "a").lines if b"custom_step" in x]
    assert b'"truncated":{"description":{"bytes":100000,' in line
    assert b"event_truncated" in b"".join(Contents(tmp_path / "data" / "log").lines)


def test_trouble_of_one_log_is_told_in_the_others(tmp_path: Path) -> None:
    """The four records about the state of one log go to the default log too (interface, section 1)."""
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a", plan=Plan()))
    host.disk.fail("write", errno.ENOSPC, path="/a/a-")
    host.put(3)

    eventually(lambda: any("records again" in said for said in host.said), "the log recovers by itself")

    assert host.pipeline.close() == {}
    told = b"".join(Contents(tmp_path / "data" / "log").lines)
    assert told.count(b'"type":"audit_degraded"') == told.count(b'"type":"audit_restored"') == 1
    Contents(tmp_path / "a").check({1: 3})
    assert build.STOP_TIMEOUT_S >= 1


def test_nobody_to_be_told_about_trouble_ends_no_thread(tmp_path: Path) -> None:
    """Standard error on the same full disk as the log: the writer goes on, records its trouble and its end."""
    host = Host(tmp_path)

    def say(_text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    host.pipeline = Pipeline(str(tmp_path / "data"), "alpha", host.disk, SystemClock(), say)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    writer = host.pipeline.routes[0].writer
    host.disk.fail("write", errno.ENOSPC, for_ever=True, path="/a/a-")
    host.put(3)
    eventually(lambda: writer.ring.trouble, "the log is in trouble")
    host.disk.heal()
    eventually(lambda: not writer.ring.trouble, "the log recovers by itself")

    host.put(3, start=4)

    assert host.pipeline.close() == {}
    contents = Contents(tmp_path / "a")
    contents.check({1: 6})
    told = b"".join(contents.lines)
    assert told.count(b'"type":"audit_degraded"') == told.count(b'"type":"audit_restored"') == 1


def test_what_a_left_log_still_cannot_take_is_said_with_the_count(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
    host.put(4)
    host.pipeline.close()

    again = Host(tmp_path)
    again.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
    again.pipeline.start()
    again.pipeline.finish_left_logs()
    again.pipeline.close()

    assert "log 'a' of an earlier run: 4 records stay in the ring and are written at the next start" in again.said
    last = Host(tmp_path)
    last.pipeline.start()
    last.pipeline.finish_left_logs()
    last.pipeline.close()
    Contents(tmp_path / "a").check({1: 4})


def test_a_log_whose_earlier_place_fails_gets_a_ring_of_its_own(tmp_path: Path) -> None:
    """What waits for the old place stays there, however often that is tried; nothing of it enters the new one."""
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
    host.put(4)
    host.pipeline.close()
    for run in (2, 3):
        again = Host(tmp_path)
        again.disk.fail("write", errno.EIO, for_ever=True, path="/a/a-")
        again.pipeline.open_log(route_spec(tmp_path / "moved"))
        again.pipeline.finish_left_logs()
        for n in range(1, 4):
            again.pipeline.emit(event(n, description=f"n={run}:{n}:"))
        assert again.pipeline.close() == {}

    last = Host(tmp_path)
    last.pipeline.open_log(route_spec(tmp_path / "moved"))
    last.pipeline.finish_left_logs()
    last.pipeline.close()

    Contents(tmp_path / "a").check({1: 4, 2: 0, 3: 0})
    moved = Contents(tmp_path / "moved")
    moved.check({2: 3, 3: 3})
    assert len(moved.numbers) == 6


def test_a_changed_log_is_refused_when_the_change_cannot_be_noted(tmp_path: Path) -> None:
    """Else a later run would take its ring for the old log's and put its records there."""
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a"))
    host.put(2)
    host.pipeline.close()
    again = Host(tmp_path)
    again.pipeline.start()
    again.disk.fail("write", errno.ENOSPC, for_ever=True, path="logs.json")

    with pytest.raises(StorageFault, match="configured otherwise than before"):
        again.pipeline.open_log(route_spec(tmp_path / "moved"))

    again.disk.heal()
    again.pipeline.open_log(route_spec(tmp_path / "moved"))
    again.put(2, start=3)
    assert again.pipeline.close() == {}
    assert Contents(tmp_path / "moved").order == {1: [3, 4]}


def test_events_of_many_threads_are_counted_exactly(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.pipeline.open_log(route_spec(tmp_path / "a", plan=Plan(where=parse_predicate("description ~ 'n=1:'"))))
    totals = host.pipeline.totals
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def work() -> None:
            for n in range(300):
                host.pipeline.emit(event(n, description=f"n={1 + n % 2}:{n}:"))
                assert totals.recorded <= 1200

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)

    assert (totals.recorded, totals.filtered) == (1200, 1200)
    host.pipeline.close()
