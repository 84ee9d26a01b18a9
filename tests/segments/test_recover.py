"""What a crash left: torn frames become whole ones, ring lines of another boot are believed only as far as the rule goes."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from kumoaudit.core.event import Mark
from kumoaudit.core.spec import CompressionSpec, RotationSpec
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.place import Description
from kumoaudit.segments.recover import recent_frames, repair, torn_lines, trusted_lines
from kumoaudit.segments.writer import SegmentSink
from tests.crash.support import Contents
from tests.fakes import FakeClock, FaultyDisk
from tests.support import event, frame_with_trailer, open_frame, stored

_RING = 7
_NAME = "a-20260921-141320.000000000"


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [stored(event(n, description=os.urandom(20).hex())) for n in range(start, start + count)]


def sink(directory: Path, disk: RealDisk | None = None) -> SegmentSink:
    return SegmentSink(
        disk or RealDisk(),
        FakeClock(),
        str(directory),
        Description("a", "native", "a", ""),
        RotationSpec(),
        CompressionSpec(),
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a" / ".kumoaudit").mkdir(parents=True)
    return tmp_path / "a"


def test_every_whole_line_that_was_flushed_is_read_from_a_torn_frame() -> None:
    """Reliability, section 4: with block flushes every complete batch before the cut is recovered."""
    lines = numbered(50)
    whole = open_frame(joined(lines))

    assert torn_lines(whole) == joined(lines)
    for cut in range(0, len(whole), 97):
        kept = torn_lines(whole[:cut])
        assert joined(lines).startswith(kept)
        assert kept == b"" or kept.endswith(b"\n")


def test_what_is_no_frame_gives_no_lines() -> None:
    assert torn_lines(b"") == torn_lines(b"\0" * 5000) == torn_lines(b"garbage" * 1000) == b""


def test_a_frame_whose_trailer_was_cut_keeps_its_lines() -> None:
    lines = numbered(5)

    assert torn_lines(frame_with_trailer(lines, 1)[:-30]) == joined(lines)


def test_a_torn_segment_is_repaired_aside_and_the_cut_bytes_are_kept(directory: Path) -> None:
    """Reliability, section 4: good frames and one new frame take its place; what was cut lies in `.torn`."""
    good, torn = frame_with_trailer(numbered(3), 11), open_frame(joined(numbered(4)))
    (directory / _NAME).write_bytes(good + torn + b"half a block")

    kept, cut, digest = repair(RealDisk(), str(directory), _NAME, 14, 3, 17)

    assert (kept, cut) == (4, len(torn) + 12)
    assert digest == hashlib.sha256(torn + b"half a block").hexdigest()
    assert (directory / ".kumoaudit" / f"{_NAME}.torn").read_bytes() == torn + b"half a block"
    assert (directory / _NAME).read_bytes().startswith(good)
    assert sorted(os.listdir(directory / ".kumoaudit")) == [f"{_NAME}.torn"]


def test_a_crash_at_any_call_of_the_repair_leaves_it_repeatable(directory: Path) -> None:
    """Never truncate in place here: no ring holds the torn frame."""
    lines = numbered(4)
    data = frame_with_trailer(numbered(3), 1) + open_frame(joined(lines))
    for n in range(1, 100):
        (directory / _NAME).write_bytes(data)
        disk = FaultyDisk()
        disk.fail("", errno.EIO, nth=n)
        try:
            repair(disk, str(directory), _NAME, 4, 3, 17)
        except OSError:
            again = sink(directory)
            mark = again.open(Mark())
            again.close()
        else:
            break
        assert mark.next_seq == 8
        (directory / _NAME).chmod(0o640)
    assert n > 10
    assert Contents(directory).lines[3:] == lines


@pytest.mark.parametrize("ring_stands", [True, False])
def test_a_torn_tail_is_cut_when_the_ring_holds_it_and_kept_when_not(directory: Path, ring_stands: bool) -> None:
    """Reliability, section 4, Start and Repair."""
    lines = numbered(4)
    torn = open_frame(joined(lines))
    (directory / _NAME).write_bytes(frame_with_trailer(numbered(3), 1, ring_id=_RING, block=2, offset=99) + torn)
    (directory / _NAME).chmod(0o640)
    it = sink(directory)

    mark = it.open(Mark(_RING if ring_stands else 0, 1, 5, 2))
    it.close()

    assert it.recovery is not None
    assert (it.recovery.bytes_cut, it.recovery.lines_kept) == (len(torn), 0 if ring_stands else 4)
    if ring_stands:
        assert (mark.block, mark.offset, mark.next_seq) == (2, 99, 4)
        assert len(Contents(directory).lines) == 3
    else:
        assert mark.next_seq == 8
        assert Contents(directory).lines[3:] == lines


def test_the_ring_of_another_log_says_nothing_about_the_position(directory: Path) -> None:
    (directory / _NAME).write_bytes(frame_with_trailer(numbered(3), 1, ring_id=99, block=50, offset=99))
    it = sink(directory)

    mark = it.open(Mark(_RING, 1, 5, 2))
    it.close()

    assert (mark.block, mark.offset, mark.next_seq) == (1, 5, 4)


def test_a_torn_first_frame_is_numbered_behind_the_segments_before_it(directory: Path) -> None:
    """A stale mark must not give a number twice."""
    (directory / _NAME).write_bytes(frame_with_trailer(numbered(30), 1))
    (directory / _NAME).chmod(0o440)
    begun = directory / "a-20260921-151320.000000000"
    begun.write_bytes(open_frame(joined(numbered(5))))
    begun.chmod(0o640)
    it = sink(directory)

    mark = it.open(Mark(0, 0, 0, 3))
    it.close()

    assert mark.next_seq == 36
    Contents(directory).check({})


def test_several_unfinished_segments_are_finished_and_the_newest_goes_on(directory: Path) -> None:
    """By number, not by name: with a clock that stepped back the newest has the earlier name."""
    newest, older = directory / _NAME, directory / "a-20260921-151320.000000000"
    older.write_bytes(frame_with_trailer(numbered(3), 1, ring_id=_RING, block=0, offset=10))
    newest.write_bytes(frame_with_trailer(numbered(3), 4, ring_id=_RING, block=0, offset=20))
    for path in (newest, older):
        path.chmod(0o640)
    it = sink(directory)

    mark = it.open(Mark(_RING, 0, 0, 1))

    assert (mark.offset, mark.next_seq) == (20, 7)
    assert older.stat().st_mode & 0o777 == 0o440
    assert newest.stat().st_mode & 0o777 == 0o640
    it.close()


def test_ring_lines_are_believed_up_to_the_first_that_fails() -> None:
    """Reliability, section 2: it decodes, is whole, and is not among the lines of the last frames."""
    lines = numbered(5)

    def decodes(line: bytes) -> bool:
        return line.startswith(b"{")

    assert trusted_lines(joined(lines), set(), decodes) == joined(lines)
    assert trusted_lines(joined(lines), {lines[3]}, decodes) == joined(lines[:3])
    assert trusted_lines(joined(lines[:2]) + b"\0\0\n" + joined(lines[2:]), set(), decodes) == joined(lines[:2])
    assert trusted_lines(joined(lines)[:-1], set(), decodes) == joined(lines[:4])


def test_the_last_lines_of_a_log_are_found_over_many_small_frames(directory: Path) -> None:
    """A block of the ring may be in many frames: as many are looked at as hold what the ring can hold."""
    lines = numbered(60)
    for n in range(0, 60, 2):
        path = directory / f"a-20260921-141320.0000000{n:02d}"
        path.write_bytes(frame_with_trailer(lines[n : n + 2], 1 + n, ring_id=_RING if n < 40 else 0, offset=n))

    few = recent_frames(RealDisk(), str(directory), "a", _RING, 4, 0)
    many = recent_frames(RealDisk(), str(directory), "a", _RING, 4, 10**6)

    assert {*lines[52:]} <= few.lines
    assert lines[51] not in few.lines
    assert {*lines} <= many.lines
    assert many.trailer is not None
    assert many.trailer.offset == 38
