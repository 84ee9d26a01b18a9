"""SegmentLog: every acknowledged record once, in order, from whatever state the files are in."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoaudit.core.predicate import FieldIn
from kumoaudit.core.spec import Query
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.look import Described, read_description
from kumoaudit.segments.reader import SegmentLog
from tests.support import (
    SECOND,
    T0,
    HandMadeLog,
    compressed,
    event,
    events,
    frame_with_trailer,
    open_frame,
    stored,
)

OLDEST = Query(newest_first=False)
NEWEST = Query()


class CountingDisk(RealDisk):
    """Counts the bytes that are read."""

    def __init__(self) -> None:
        self.bytes_read = 0

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        self.bytes_read += len(data)
        return data


@pytest.fixture
def log(tmp_path: Path) -> HandMadeLog:
    return HandMadeLog(tmp_path / "log", ring=tmp_path / "spool" / "log.ring")


def opened(made: HandMadeLog) -> SegmentLog:
    disk = RealDisk()
    return SegmentLog(disk, str(made.directory), read_description(disk, str(made.directory)))


def numbered(log: SegmentLog, query: Query = OLDEST) -> list[tuple[int, str]]:
    return [(r.seq, r.event.description) for r in log.records(query)]


def steps(first: int, last: int) -> list[tuple[int, str]]:
    """Record number n of these logs is step n - 1."""
    return [(n, f"step {n - 1}") for n in range(first, last + 1)]


def test_records_of_frames_and_of_the_ring_come_in_order_with_their_numbers(log: HandMadeLog) -> None:
    log.append(events(5))
    log.commit()
    log.append(events(5, start=5))
    log.commit()
    log.append(events(3, start=10))
    log.save()

    reader = opened(log)

    assert steps(1, 13) == numbered(reader)
    assert steps(1, 13)[::-1] == numbered(reader, NEWEST)
    assert reader.coverage.unread_places == 0


def test_the_protocol_gives_number_and_event(log: HandMadeLog) -> None:
    log.append([event(0)])
    log.save()

    assert [(seq, e.description) for seq, e in opened(log).scan(NEWEST)] == [(1, "step 0")]


def test_an_open_frame_is_ignored_while_the_ring_holds_its_lines(log: HandMadeLog) -> None:
    log.append(events(4))
    log.commit(2)
    log.flush(1)
    log.save()

    reader = opened(log)

    assert steps(1, 4) == numbered(reader)
    assert reader.coverage.unread_places == 0


def test_the_first_segment_counts_before_its_first_frame_has_ended(log: HandMadeLog) -> None:
    log.append(events(4))
    log.flush(3, cut=2)
    log.save()

    reader = opened(log)

    assert steps(1, 4) == numbered(reader)
    assert reader.coverage.unread_places == 0


def test_the_torn_frame_is_decoded_when_the_ring_is_gone(log: HandMadeLog) -> None:
    log.append(events(6))
    log.commit(2)
    log.flush(3)
    log.save()
    assert log.ring
    log.ring.unlink()

    reader = opened(log)

    assert steps(1, 5) == numbered(reader)
    assert [str(log.segment)] == [p.file for p in reader.coverage.places]


def test_the_torn_first_frame_of_a_segment_is_decoded_when_the_ring_is_gone(log: HandMadeLog) -> None:
    log.append(events(6))
    log.commit(4)
    log.rotate()
    log.flush(2)
    log.describe()

    assert steps(1, 6) == numbered(opened(log))


def test_a_line_that_the_cut_divides_is_left_out_and_reported(log: HandMadeLog) -> None:
    log.append([*events(3), event(3, description="x" * 5000)])
    log.commit(1)
    text = b"".join(line + b"\n" for line, _, _ in log.waiting)
    with log.segment.open("ab") as f:
        f.write(open_frame(text[:-2000]))
    log.describe()

    reader = opened(log)

    assert steps(1, 3) == numbered(reader)
    assert reader.coverage.unread_lines == 1
    assert any("not whole" in p.reason for p in reader.coverage.places)


def test_a_ring_that_was_made_anew_follows_what_the_old_one_left_in_the_torn_frame(log: HandMadeLog) -> None:
    log.append(events(4))
    log.commit(2)
    log.flush(2)
    log.ring_id = 8
    log.blocks = {0: b""}
    log.append(events(2, start=4))
    log.save()

    assert steps(1, 6) == numbered(opened(log))


def test_a_line_that_is_in_the_torn_frame_and_in_a_new_ring_comes_once(log: HandMadeLog) -> None:
    log.append(events(2))
    log.commit()
    log.ring_id = 8
    log.blocks = {0: b""}
    log.append(events(4, start=2))
    log.flush(2)
    log.save()

    assert steps(1, 6) == numbered(opened(log))


def test_after_a_reboot_only_verified_ring_lines_follow_the_torn_frame(log: HandMadeLog) -> None:
    """Reliability, who answers for what: a ring line counts if it decodes, is whole and is not an old one."""
    old = log.append(events(3))
    log.commit()
    log.append(events(4, start=3))
    log.flush(2)
    log.append([old[1], event(99)])
    log.save(same_boot=False)

    reader = opened(log)

    assert steps(1, 7) == numbered(reader)
    assert any("another boot" in p.reason for p in reader.coverage.places)


def test_after_a_reboot_a_ring_line_that_is_no_record_ends_the_ring(log: HandMadeLog) -> None:
    log.append(events(2))
    log.commit()
    log.append([event(2), b"\x00\x00garbage", event(3)])
    log.save(same_boot=False)

    assert steps(1, 3) == numbered(opened(log))


def test_a_slot_with_impossible_sizes_does_not_ask_for_more_than_a_block(log: HandMadeLog) -> None:
    log.append(events(2))
    log.save()
    assert log.ring
    raw = bytearray(log.ring.read_bytes())
    raw[1024 + 8 : 1024 + 16] = b"\xff" * 8
    log.ring.write_bytes(raw)

    assert steps(1, 2) == numbered(opened(log))[:2]


def test_a_file_that_is_no_ring_is_reported_and_the_segments_are_read(log: HandMadeLog) -> None:
    log.append(events(3))
    log.commit()
    log.save()
    assert log.ring
    log.ring.write_bytes(b"something else")

    reader = opened(log)

    assert steps(1, 3) == numbered(reader)
    assert [str(log.ring)] == [p.file for p in reader.coverage.places]


def test_segments_are_ordered_by_number_when_the_clock_was_set_back(log: HandMadeLog) -> None:
    log.segments = 5
    log.rotate()
    log.append(events(2))
    log.commit()
    log.segments = 1
    log.rotate()
    log.append(events(2, start=2))
    log.commit()
    log.save()

    assert steps(1, 4) == numbered(opened(log))


def test_lines_that_were_written_again_in_the_next_segment_come_once(log: HandMadeLog) -> None:
    """After an I/O error a segment is given up with an open frame, whose lines go into a new one."""
    log.append(events(6))
    log.commit(2)
    log.flush(2)
    log.rotate()
    log.commit(4)
    log.save()

    assert steps(1, 6) == numbered(opened(log))


def test_a_torn_tail_that_was_not_written_again_is_decoded(log: HandMadeLog) -> None:
    log.append(events(6))
    log.commit(2)
    log.flush(2)
    log.rotate()
    log.waiting = log.waiting[2:]
    log.next_seq += 2
    log.commit()
    log.save()

    assert steps(1, 6) == numbered(opened(log))


def test_a_damaged_frame_is_reported_with_its_count_and_the_others_are_read(log: HandMadeLog) -> None:
    for start in (0, 3, 6):
        log.append(events(3, start=start))
        log.commit()
    log.save()
    raw = bytearray(log.segment.read_bytes())
    at = len(raw) // 2
    raw[at] ^= 0xFF
    log.segment.write_bytes(raw)

    reader = opened(log)

    assert steps(1, 3) + steps(7, 9) == numbered(reader)
    assert reader.coverage.unread_lines == 3


@pytest.mark.parametrize("query", [OLDEST, NEWEST], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_damaged_trailer_costs_no_record(log: HandMadeLog, which: int, query: Query) -> None:
    ends = []
    for start in (0, 3, 6):
        log.append(events(3, start=start))
        log.commit()
        ends.append(log.segment.stat().st_size)
    log.save()
    raw = bytearray(log.segment.read_bytes())
    raw[ends[which] - 5] ^= 0xFF
    log.segment.write_bytes(raw)

    reader = opened(log)
    found = numbered(reader, query)

    assert steps(1, 9) == (found if query is OLDEST else found[::-1])
    assert (which < 2) == any("trailer" in p.reason for p in reader.coverage.places)


def test_lines_that_are_no_records_are_reported_with_file_and_offset(log: HandMadeLog) -> None:
    log.append([event(0), b"not a record", event(2)])
    log.commit()
    log.save()

    reader = opened(log)

    assert numbered(reader) == [(1, "step 0"), (3, "step 2")]
    (place,) = reader.coverage.places
    assert (str(log.segment), 0, 1) == (place.file, place.offset, place.lines)
    assert "line 2" in place.reason


def test_the_newest_ten_do_not_read_the_whole_log(log: HandMadeLog) -> None:
    log.block_bytes, log.block_count = 1 << 20, 4
    for start in range(0, 4000, 100):
        log.append([event(n, description=os.urandom(400).hex()) for n in range(start, start + 100)])
        log.commit()
    log.save()
    disk = CountingDisk()
    reader = SegmentLog(disk, str(log.directory), read_description(disk, str(log.directory)))

    records = reader.records(NEWEST)
    found = [next(records).seq for _ in range(10)]

    assert list(range(4000, 3990, -1)) == found
    assert disk.bytes_read < log.segment.stat().st_size // 10


def test_frames_outside_the_time_asked_for_are_not_read(log: HandMadeLog) -> None:
    frames = [
        frame_with_trailer([stored(event(n))], n + 1, times=(T0 + n * SECOND, T0 + n * SECOND)) for n in range(50)
    ]
    log.segment.write_bytes(b"".join(frames))
    log.describe()
    reader = opened(log)

    found = numbered(reader, Query(since_ns=T0 + 20 * SECOND, until_ns=T0 + 23 * SECOND, newest_first=False))

    assert found == [(21, "step 20"), (22, "step 21"), (23, "step 22")]


def test_other_logs_and_strange_files_in_the_directory_are_left_alone(log: HandMadeLog) -> None:
    log.append(events(2))
    log.commit()
    log.save()
    other = log.directory / log.segment.name.replace("log-", "other-")
    other.write_bytes(frame_with_trailer([stored(event(7))], 1))
    (log.directory / "notes.txt").write_text("hello")
    (log.directory / "log-20260101-000000.000000000").mkdir()

    assert steps(1, 2) == numbered(opened(log))


def test_an_audit_gap_is_counted_whatever_was_asked(log: HandMadeLog) -> None:
    log.append([event(0), event(1, kind="system", type="audit_gap", description="3 lost"), event(2, user="eve")])
    log.commit()
    log.save()
    reader = opened(log)

    found = [r.event.user for r in reader.records(Query(where=FieldIn("user", ("eve",))))]

    assert "eve" in found
    assert reader.coverage.gaps == 1


# -- files of others ---------------------------------------------------------------------------------------------


def test_segments_of_kumomta_are_read_without_numbers(tmp_path: Path) -> None:
    """One endless frame, no checksum, no trailers; its readers sort by name."""
    for i, name in enumerate(("acct-20261120-084102.5", "acct-20261120-094102.500")):
        lines = [
            stored(event(n, kind="authn", type="Authentication", outcome="fail", user=f"u{n}"), "kumo")
            for n in range(3 * i, 3 * i + 3)
        ]
        (tmp_path / (name + "0" * (9 - len(name.split(".")[1])))).write_bytes(
            compressed(b"\n".join(lines) + b"\n", checksum=False)
        )
    reader = SegmentLog(RealDisk(), str(tmp_path))

    found = [(r.seq, r.event.user) for r in reader.records(NEWEST)]

    assert [(0, f"u{n}") for n in range(5, -1, -1)] == found


def test_a_live_segment_of_kumomta_gives_its_whole_lines(tmp_path: Path) -> None:
    lines = [stored(event(n, kind="authz", type="Authorization", outcome="deny"), "kumo") for n in range(3)]
    path = tmp_path / "acct-20261120-084102.500000000"
    path.write_bytes(open_frame(b"\n".join(lines) + b"\n" + lines[0][:40], checksum=False))
    reader = SegmentLog(RealDisk(), str(tmp_path))

    assert len(list(reader.records(NEWEST))) == 3
    assert reader.coverage.unread_lines == 1


@pytest.mark.parametrize("query", [OLDEST, NEWEST], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("store", [bytes, gzip.compress, compressed], ids=["plain", "gzip", "zstd"])
def test_json_lines_files_are_read_however_they_are_stored(tmp_path: Path, store, query: Query) -> None:  # type: ignore[no-untyped-def]
    lines = [
        stored(event(0)),
        stored(event(1, kind="authn", type="Authentication", outcome="ok", user="eve"), "kumo"),
        stored(event(2, type="custom", description="third"), "tarantool_json"),
    ]
    path = tmp_path / "mixed.log"
    path.write_bytes(store(b"\n".join(lines) + b"\n"))
    reader = SegmentLog(RealDisk(), str(tmp_path), only="mixed.log")

    found = [(r.event.type, r.line) for r in reader.records(query)]

    wanted = list(zip(["custom_step", "Authentication", "custom"], lines, strict=True))
    assert (wanted if query is OLDEST else wanted[::-1]) == found
    assert reader.coverage.unread_places == 0


def test_a_stream_keeps_only_the_newest_that_were_asked_for(tmp_path: Path) -> None:
    lines = b"".join(stored(event(n, user="eve" if n % 2 else "bob")) + b"\n" for n in range(1000))
    (tmp_path / "x.gz").write_bytes(gzip.compress(lines))
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.gz")

    found = [r.event.description for r in reader.records(Query(where=FieldIn("user", ("eve",)), limit=3))]

    assert found == ["step 999", "step 997", "step 995"]


def test_a_bad_line_of_a_plain_file_is_named_by_its_offset(tmp_path: Path) -> None:
    first = stored(event(0)) + b"\n"
    (tmp_path / "x.log").write_bytes(first + b"{broken\n" + stored(event(1)) + b"\n" + stored(event(2))[:30])
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.log")

    assert [r.event.description for r in reader.records(OLDEST)] == ["step 0", "step 1"]
    assert len(first) == reader.coverage.places[0].offset
    assert reader.coverage.unread_lines == 2


def test_a_last_line_without_a_newline_counts_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(stored(event(0)) + b"\n" + stored(event(1)))
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.log")

    assert [r.event.description for r in reader.records(NEWEST)] == ["step 1", "step 0"]


def test_after_damage_in_a_stream_of_frames_reading_goes_on_at_the_next_frame(tmp_path: Path) -> None:
    parts = [compressed(b"".join(stored(e) + b"\n" for e in events(50, start=50 * i))) for i in range(3)]
    bad = bytearray(parts[1])
    bad[len(bad) // 2] ^= 0xFF
    (tmp_path / "x.zst").write_bytes(parts[0] + bytes(bad) + parts[2])
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.zst")

    found = {r.event.description for r in reader.records(OLDEST)}

    assert {f"step {n}" for n in (*range(50), *range(100, 150))} <= found
    assert reader.coverage.unread_places


def test_a_bomb_is_read_in_bounded_memory_and_reported(tmp_path: Path) -> None:
    bomb = compressed(bytes(1 << 28))
    (tmp_path / "x.zst").write_bytes(bomb + compressed(stored(event(0)) + b"\n"))
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.zst")

    found = list(reader.records(OLDEST))

    assert len(found) <= 1
    assert any("a line of more than" in p.reason for p in reader.coverage.places)


def test_a_window_larger_than_eight_mebibytes_is_refused(tmp_path: Path) -> None:
    params = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    out = zstandard.ZstdCompressor(compression_params=params).compressobj()
    data = out.compress(stored(event(0)) + b"\n" + os.urandom(1 << 20)) + out.flush()
    (tmp_path / "x.zst").write_bytes(data)
    reader = SegmentLog(RealDisk(), str(tmp_path), only="x.zst")

    assert list(reader.records(OLDEST)) == []
    assert reader.coverage.unread_places == 1


def test_a_file_that_may_not_be_read_is_reported(log: HandMadeLog) -> None:
    log.append(events(2))
    log.commit()
    log.rotate()
    os.symlink("/nonexistent/elsewhere", log.segment)
    log.save()

    reader = opened(log)

    assert steps(1, 2) == numbered(reader)


def test_rotated_files_come_before_the_current_one(tmp_path: Path) -> None:
    def put(name: str, n: int) -> None:
        data = stored(event(n)) + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    put("audit.log", 5)
    put("audit.log.1", 4)
    put("audit.log.2.gz", 3)
    put("audit-2026-11-20T08-41-02.500.log", 2)
    put("audit-2026-11-20T07-41-02.500.log.gz", 1)
    put("audit.json", 9)
    put("audit.logger", 9)
    reader = SegmentLog(RealDisk(), str(tmp_path), only="audit.log", rotated=True)

    found = sorted(r.event.description for r in reader.records(OLDEST))

    assert [f"step {n}" for n in range(1, 6)] == found
    assert next(reader.records(NEWEST)).event.description == "step 5"


# -- following ---------------------------------------------------------------------------------------------------------


def test_news_are_what_came_since_the_last_look_across_commit_and_rotation(log: HandMadeLog) -> None:
    log.append(events(3))
    log.commit(2)
    log.save()
    reader = opened(log)
    looks = [reader.look()]

    def news() -> list[str]:
        looks.append(reader.look())
        return [r.event.description for r in reader.news(OLDEST, looks[-2], looks[-1])]

    assert news() == []
    log.append(events(2, start=3))
    log.save()
    assert news() == ["step 3", "step 4"]
    log.commit()
    log.rotate()
    log.append(events(2, start=5))
    log.commit(1)
    log.save()
    assert news() == ["step 5", "step 6"]
    assert news() == []


def test_a_record_of_the_writer_between_known_lines_is_news_and_the_known_ones_are_not(log: HandMadeLog) -> None:
    """The number of a line is final when its frame has ended: the writer puts its own records behind a block."""
    log.append(events(4))
    log.save()
    reader = opened(log)
    before = reader.look()
    log.commit(2, extra=[stored(event(9, type="audit_gap", kind="system", description="gap"))])
    log.save()

    found = list(reader.news(OLDEST, before, reader.look()))

    assert [(r.seq, r.event.description) for r in found] == [(3, "gap")]


def test_a_plain_file_is_followed_through_growth_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(stored(event(0)) + b"\n" + stored(event(1))[:20])
    reader = SegmentLog(RealDisk(), str(tmp_path), only="audit.log", rotated=True)
    looks = [reader.look()]

    def news() -> list[str]:
        looks.append(reader.look())
        return [r.event.description for r in reader.news(OLDEST, looks[-2], looks[-1])]

    with path.open("ab") as f:
        f.write(stored(event(1))[20:] + b"\n")
    assert news() == ["step 1"]
    with path.open("ab") as f:
        f.write(stored(event(2)) + b"\n")
    path.rename(tmp_path / "audit.log.1")
    path.write_bytes(stored(event(3)) + b"\n")
    assert news() == ["step 2", "step 3"]
    assert news() == []
    assert reader.coverage.unread_places == 0


def test_a_file_that_was_replaced_since_the_look_is_not_mistaken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(stored(event(0)) + b"\n")
    reader = SegmentLog(RealDisk(), str(tmp_path), only="audit.log")
    look = reader.look()
    path.rename(tmp_path / "gone")
    path.write_bytes(stored(event(1)) + b"\n")

    assert list(reader.records(OLDEST, look)) == []
    assert [p.reason[:12] for p in reader.coverage.places] == ["was replaced"]


def test_a_live_zstd_stream_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "acct-20261120-084102.500000000"
    lines = [stored(event(n)) + b"\n" for n in range(4)]
    out = zstandard.ZstdCompressor().compressobj()

    def grow(text: bytes) -> None:
        with path.open("ab") as f:
            f.write(out.compress(text) + out.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))

    grow(b"".join(lines[:2]) + lines[2][:10])
    reader = SegmentLog(RealDisk(), str(tmp_path))
    first = reader.look()
    grow(lines[2][10:] + lines[3])

    found = [r.event.description for r in reader.news(OLDEST, first, reader.look())]

    assert found == ["step 2", "step 3"]


# -- properties --------------------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("commit"), st.integers(0, 60)),
        st.tuples(st.just("rotate"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, flushed=st.integers(0, 20), cut=st.integers(0, 200), newest_first=st.booleans())
def test_every_acknowledged_line_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[str, int]],
    flushed: int,
    cut: int,
    newest_first: bool,
) -> None:
    base = tmp_path_factory.mktemp("log")
    log = HandMadeLog(base / "log", ring=base / "ring", block_bytes=4096, blocks=8)
    written: list[bytes] = []
    for what, n in actions:
        if what == "append" and log.current < 7:
            written += log.append(events(min(n, 20), start=len(written)))
        elif what == "commit" and log.waiting:
            log.commit(max(1, n))
        elif what == "rotate":
            log.rotate()
    if log.waiting and flushed:
        log.flush(flushed, cut=min(cut, 20))
    log.save()

    found = [(r.seq, r.line) for r in opened(log).records(Query(newest_first=newest_first))]

    wanted = list(enumerate(written, 1))
    assert (wanted[::-1] if newest_first else wanted) == found


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), share=st.floats(0, 1))
def test_any_prefix_of_a_segment_reads_back_as_a_prefix_of_its_records(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], share: float
) -> None:
    base = tmp_path_factory.mktemp("log")
    log = HandMadeLog(base / "log")
    lines: list[bytes] = []
    for n in sizes:
        lines += log.append(events(n, start=len(lines)))
        log.commit()
    raw = log.segment.read_bytes()
    log.segment.write_bytes(raw[: round(share * len(raw))])

    reader = SegmentLog(RealDisk(), str(log.directory), Described(prefix="log"))
    found = [r.line for r in reader.records(OLDEST)]

    assert lines[: len(found)] == found


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=3000), head=st.sampled_from([b"", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"{"]))
def test_no_bytes_whatever_make_the_reader_raise(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    base = tmp_path_factory.mktemp("log")
    (base / "log-20261120-084102.500000000").write_bytes(head + data)

    assert list(SegmentLog(RealDisk(), str(base)).records(NEWEST)) == []
