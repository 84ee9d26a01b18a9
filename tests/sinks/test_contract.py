"""What every sink promises, whatever it writes to: one suite over all of them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kumoaudit.core.event import Batch, Mark
from kumoaudit.core.protocols import Sink
from kumoaudit.sinks import SINKS
from tests.crash.support import Contents
from tests.fakes import FakeClock, FaultyDisk, route_spec
from tests.memory_sink import MemorySink
from tests.support import T0, event, stored

_RING = 7


class Made(NamedTuple):
    """A sink, and how to see what it holds: committed lines in order, or None where nothing is kept."""

    sink: Sink
    disk: FaultyDisk
    again: Callable[[], Sink]
    lines: Callable[[], list[bytes] | None]


def made_segments(directory: Path) -> Made:
    disk, clock, spec = FaultyDisk(), FakeClock(), route_spec(directory / "a")

    def make() -> Sink:
        return SINKS["segments"](disk, clock, spec, "")

    return Made(make(), disk, make, lambda: Contents(directory / "a").lines)


def made_devnull(directory: Path) -> Made:
    disk, clock, spec = FaultyDisk(), FakeClock(), route_spec(directory / "a", sink="devnull")

    def make() -> Sink:
        return SINKS["devnull"](disk, clock, spec, "")

    return Made(make(), disk, make, lambda: None)


def made_memory(directory: Path) -> Made:
    sink = MemorySink()
    return Made(sink, FaultyDisk(), lambda: sink, lambda: [line.rstrip(b"\n") for line in sink.lines])


MAKERS = {"segments": made_segments, "devnull": made_devnull, "memory": made_memory}


@pytest.fixture(params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return MAKERS[request.param](tmp_path)


def lines(count: int, start: int = 0) -> list[bytes]:
    return [stored(event(n, id=f"{n:026d}")) for n in range(start, start + count)]


def batch(these: list[bytes], start: int, *, commit: bool, extra: list[bytes] | None = None) -> Batch:
    text, said = (b"".join(line + b"\n" for line in part) for part in (these, extra or []))
    return Batch(
        memoryview(text), len(these), T0, T0, _RING, 0, start, commit, extra=said, extra_count=len(extra or [])
    )


def size(these: list[bytes]) -> int:
    return sum(len(line) + 1 for line in these)


def test_every_sink_of_the_table_is_tried_here() -> None:
    """A sink that is added to `SINKS` gets a maker in this file."""
    assert set(SINKS) <= set(MAKERS)


def test_lines_come_out_in_order_and_once(made: Made) -> None:
    all_ = lines(30)
    made.sink.open(Mark(_RING))

    for at in range(0, 30, 5):
        made.sink.write(batch(all_[at : at + 5], size(all_[:at]), commit=at % 10 == 5))
    made.sink.close()

    assert made.lines() in (all_, None)


def test_a_commit_gives_a_mark_behind_its_lines(made: Made) -> None:
    """The ring may forget what lies before it; `next_seq` counts every record, the writer's own too."""
    all_ = lines(7)
    made.sink.open(Mark(_RING, 0, 0, 1))

    made.sink.write(batch(all_[:3], 0, commit=False))
    mark = made.sink.write(batch(all_[3:5], size(all_[:3]), commit=True, extra=all_[5:]))

    assert mark is not None
    assert (mark.ring_id, mark.block, mark.offset, mark.next_seq) == (_RING, 0, size(all_[:5]), 8)
    made.sink.close()
    assert made.lines() in (all_, None)


def test_an_opened_sink_says_where_it_was(made: Made) -> None:
    """What the ring remembers, or later; and the numbers go on."""
    all_ = lines(4)
    made.sink.open(Mark(_RING))
    mark = made.sink.write(batch(all_, 0, commit=True))
    assert mark is not None
    made.sink.close()

    again = made.again()
    resumed = again.open(mark)

    assert (resumed.block, resumed.offset, resumed.next_seq) == (mark.block, mark.offset, 5)
    again.close()


def test_opening_again_takes_back_what_was_not_committed(made: Made) -> None:
    """After an error the writer opens the sink and offers the lines again: nothing twice."""
    all_ = lines(6)
    made.sink.open(Mark(_RING))
    mark = made.sink.write(batch(all_[:2], 0, commit=True))
    assert mark is not None
    flushed = made.sink.write(batch(all_[2:4], size(all_[:2]), commit=False))

    resumed = made.sink.open(flushed or mark)
    made.sink.write(
        batch([x for x in all_ if size(all_[: all_.index(x)]) >= resumed.offset], resumed.offset, commit=True)
    )
    made.sink.close()

    assert made.lines() in (all_, None)


def test_a_write_that_failed_can_be_made_again(made: Made) -> None:
    all_ = lines(5)
    mark = made.sink.open(Mark(_RING))
    made.disk.fail("write", errno.ENOSPC, path="/a-")
    try:
        mark = made.sink.write(batch(all_, 0, commit=True)) or mark
    except OSError:
        mark = made.sink.open(mark)
        assert mark.offset == 0
        made.sink.write(batch(all_, 0, commit=True))
    made.sink.close()

    assert made.lines() in (all_, None)


def test_reopening_between_commits_changes_nothing_in_the_order(made: Made) -> None:
    all_ = lines(6)
    made.sink.open(Mark(_RING))
    for at in range(0, 6, 2):
        made.sink.reopen()
        made.sink.write(batch(all_[at : at + 2], size(all_[:at]), commit=True))
        made.sink.sync()
        made.sink.reopen()
    made.sink.close()

    assert made.lines() in (all_, None)


def test_a_commit_of_the_writers_own_records_alone_needs_no_lines(made: Made) -> None:
    made.sink.open(Mark(_RING))

    mark = made.sink.write(batch([], 0, commit=True, extra=lines(1)))

    assert mark is not None
    assert (mark.offset, mark.next_seq) == (0, 2)
    made.sink.close()


def test_a_sink_that_got_nothing_closes_and_opens(made: Made) -> None:
    made.sink.open(Mark(_RING))
    made.sink.sync()
    made.sink.close()

    again = made.again()

    assert again.open(Mark(_RING)).next_seq == 1
    again.close()
