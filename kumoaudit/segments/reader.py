"""SegmentLog: the records of one log, newest or oldest first, whatever wrote its files and whatever happened to them.

Our own segments are walked by their trailers, one frame at a time, so the newest ten records cost one frame. Files
without trailers (KumoMTA's segments, plain, gzip and zstd JSON lines) are read as streams; their records have no
number, which is `seq` 0.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import msgspec

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import compile_test
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import Query
from kumoaudit.formats import FORMATS
from kumoaudit.segments.coverage import Coverage
from kumoaudit.segments.frames import TRAILER_BYTES, Trailer, last_trailer, unpack_trailer
from kumoaudit.segments.lines import Block, Kind, blocks_backwards, blocks_forwards, kind_of
from kumoaudit.segments.look import Described, LogPlace, Look, Segment, frame_text
from kumoaudit.segments.prefilter import Prefilter

# In the order in which an unknown line is tried: `kumo` also reads native lines.
_GUESSES = ("kumo", "tarantool_json", "native")


class StoredRecord(NamedTuple):
    """A record as it lies in a log: its number there (0: the file has none), the event, the line without newline."""

    seq: int
    event: Event
    line: bytes


class _Stream(NamedTuple):
    """A file without trailers, open; `forwards` (from an offset `start`) and `backwards` give its whole lines."""

    fd: int
    kind: Kind
    forwards: Callable[..., Iterator[Block]]
    backwards: Callable[[], Iterator[Block]]


class _Gap(NamedTuple):
    """Bytes of a segment that no whole trailer accounts for, between the trailers *before* and *behind*."""

    start: int
    end: int
    before: Trailer | None
    behind: Trailer | None


class SegmentLog:
    """A `Reader` of a directory of segments, or (*only*) of one file. One thread at a time; any number of processes.

    *format* names what the lines should be; a line that is something else is recognised by itself, as all are with "".
    *ring* is the path of the ring that feeds the log, "" for none. Bad data is never raised, it is in `coverage`.
    """

    def __init__(
        self, disk: Disk, directory: str, described: Described | None = None, *, only: str = "", rotated: bool = False
    ) -> None:
        d = described or Described()
        self._disk = disk
        self.path = os.path.join(directory, only) if only else directory
        self.name = d.name or self.path
        self.coverage = Coverage()
        self._decode = line_decoder(d.format)
        self._is_file = bool(only)
        self._place = LogPlace(
            disk, directory, self.coverage, prefix=d.prefix, ring="" if only else d.ring, only=only, rotated=rotated
        )

    def look(self) -> Look:
        """What the log consists of now; `records` of it give the same whatever is written meanwhile."""
        return self._place.look(self._is_record)

    def scan(self, query: Query) -> Iterator[tuple[int, Event]]:
        """Number and event of every record that may satisfy *query* (`Reader`)."""
        return ((r.seq, r.event) for r in self.records(query))

    def records(self, query: Query, look: Look | None = None) -> Iterator[StoredRecord]:
        """Every record that may satisfy *query*, in the order of the log or (newest first) against it. Lazy: what is
        not asked for is not read. `query.limit` is the caller's business."""
        look = look or self.look()
        parts: list[Callable[[_Scan], Iterator[StoredRecord]]] = [
            partial(self._numbered, s, following) if s.last else partial(self._unnumbered, s)
            for s, following in zip(look.segments, _following(look), strict=True)
        ]
        parts.append(partial(self._tail, look))
        scan = _Scan(query, self._decode, self.coverage)
        for part in reversed(parts) if query.newest_first else parts:
            yield from part(scan)

    def news(self, query: Query, old: Look, new: Look) -> Iterator[StoredRecord]:
        """What *new* has and *old* had not, oldest first. Numbers of lines that were in no frame yet may have moved
        (the writer puts its own records between them), so those are recognised by their bytes."""
        scan = _Scan(msgspec.structs.replace(query, newest_first=False), self._decode, self.coverage, live=True)
        sizes = {s.identity: s.size for s in old.segments}
        for s in new.segments:
            if s.last is None and s.size != (had := sizes.get(s.identity, 0)):
                yield from self._grown(s, had if had < s.size else 0, scan)
        given = Counter(old.tail)
        for s, following in zip(new.segments, _following(new), strict=True):
            if s.last and s.last.first_seq + s.last.count > old.tail_seq:
                for record in self._numbered(s, following, scan, from_seq=old.tail_seq):
                    if given[record.line]:
                        given[record.line] -= 1
                    else:
                        yield record
        for record in self._tail(new, scan):
            if given[record.line]:
                given[record.line] -= 1
            elif record.seq >= old.tail_seq:
                yield record

    def _is_record(self, line: bytes) -> bool:
        try:
            self._decode(line)
        except DecodeFault:
            return False
        return True

    def _open(self, s: Segment) -> int | None:
        """The file of a look; None (reported) when it cannot be read, or another one has its name by now."""
        try:
            fd = self._disk.open(s.path, os.O_RDONLY)
        except FileNotFoundError:
            self.coverage.unreadable(s.path, 0, "was removed while it was about to be read", 0)
            return None
        except OSError as e:
            self.coverage.unreadable(s.path, 0, e.strerror or str(e), 0)
            return None
        st = self._disk.fstat(fd)
        if (st.st_dev, st.st_ino) != s.identity:
            self._disk.close(fd)
            self.coverage.unreadable(s.path, 0, "was replaced while it was about to be read; ask again", 0)
            return None
        self.coverage.file(s.path)
        return fd

    # -- files with trailers ------------------------------------------------------------------------------------

    def _numbered(self, s: Segment, following: int | None, scan: _Scan, *, from_seq: int = 0) -> Iterator[StoredRecord]:
        """Records of a segment's frames with number *from_seq* or later. *following* is the first number of the next
        segment, None when what lies behind the last trailer is not this segment's share."""
        if s.last is None or (fd := self._open(s)) is None:
            return
        try:
            regions = self._regions(fd, s, s.last, following, from_seq)
            for region in regions if scan.newest_first else reversed(list(regions)):
                if isinstance(region, Trailer):
                    records = self._frame(fd, s, region, scan)
                else:
                    records = self._gap(fd, s, region, scan)
                for record in records:
                    if record.seq >= from_seq or not record.seq:
                        yield record
        finally:
            self._disk.close(fd)

    def _regions(
        self, fd: int, s: Segment, last: Trailer, following: int | None, from_seq: int
    ) -> Iterator[Trailer | _Gap]:
        """Frames and gaps from the end of the segment to its beginning, one small read each."""
        if s.size > last.end and following is not None and following > last.first_seq + last.count:
            # Not written again elsewhere: the numbers that are missing may be in the torn tail.
            yield _Gap(last.end, s.size, last, None)
        t = last
        while t.first_seq + t.count > from_seq:
            yield t
            if t.start <= 0:
                return
            at = t.start - TRAILER_BYTES
            before = unpack_trailer(self._disk.pread(fd, TRAILER_BYTES, at), 0, at) if at >= 0 else None
            if before is None:
                before = last_trailer(self._disk, fd, t.start)
                yield _Gap(before.end if before else 0, t.start, before, t)
                if before is None:
                    return
            t = before

    def _frame(self, fd: int, s: Segment, t: Trailer, scan: _Scan) -> Iterator[StoredRecord]:
        if not scan.may_hold(t):
            return
        try:
            text = frame_text(self._disk, fd, t)
        except ValueError as e:
            self.coverage.unreadable(s.path, t.start, str(e), t.count)
            return
        self.coverage.times(t.time_min_ns, t.time_max_ns)
        yield from scan.block(Block(t.start, text), t.first_seq, s.path, in_frame=True)

    def _gap(self, fd: int, s: Segment, gap: _Gap, scan: _Scan) -> Iterator[StoredRecord]:
        """Records of frames whose trailer is damaged or missing; numbered when the trailers around them tell how."""
        first = gap.before.first_seq + gap.before.count if gap.before else 0
        missing = gap.behind.first_seq - first if gap.behind and first else 0
        if gap.behind and first and missing <= 0:
            strange = f"{gap.end - gap.start} bytes that hold no record of this log"
            self.coverage.unreadable(s.path, gap.start, strange, 0)
            return
        self.coverage.unreadable(s.path, gap.start, "a frame without its trailer", 0)
        bad = self._bad(s.path)
        blocks = list(blocks_forwards(self._disk, fd, gap.end, bad, kind="zstd", start=gap.start))
        text = b"".join(b.text for b in blocks)
        count = text.count(b"\n")
        if missing > count:
            self.coverage.unreadable(s.path, gap.start, f"{missing - count} records are missing here", missing - count)
        if not first and gap.behind:
            first = max(0, gap.behind.first_seq - count)
        yield from scan.block(Block(gap.start, text), first, s.path, in_frame=True)

    def _tail(self, look: Look, scan: _Scan) -> Iterator[StoredRecord]:
        if look.tail:
            self.coverage.file(look.tail_from)
            text = b"\n".join(look.tail) + b"\n"
            yield from scan.block(Block(0, text), look.tail_seq, look.tail_from, in_frame=True)

    # -- files without ------------------------------------------------------------------------------------------

    @contextmanager
    def _stream(self, s: Segment) -> Iterator[_Stream | None]:
        """The file for the block; None (reported) as from `_open`."""
        fd = self._open(s)
        if fd is None:
            yield None
            return
        try:
            kind, bad = kind_of(self._disk, fd), self._bad(s.path)
            forwards = partial(blocks_forwards, self._disk, fd, s.size, bad, kind=kind)
            yield _Stream(fd, kind, forwards, partial(blocks_backwards, self._disk, fd, s.size, bad))
        finally:
            self._disk.close(fd)

    def _unnumbered(self, s: Segment, scan: _Scan) -> Iterator[StoredRecord]:
        with self._stream(s) as file:
            if file is None:
                return
            if not scan.newest_first or file.kind == "plain":
                for block in file.backwards() if scan.newest_first else file.forwards():
                    yield from scan.block(block, 0, s.path)
                return
            # There is no way backwards through a stream: read it all, keep the newest that really match.
            kept: deque[StoredRecord] = deque(maxlen=scan.query.limit)
            turned = scan.turned()
            for block in file.forwards():
                kept.extend(r for r in turned.block(block, 0, s.path) if scan.satisfies(r))
        yield from reversed(kept)

    def _grown(self, s: Segment, had: int, scan: _Scan) -> Iterator[StoredRecord]:
        """Records of a file without trailers behind its first *had* bytes."""
        with self._stream(s) as file:
            if file is None:
                return
            if file.kind == "plain":
                for block in file.forwards(start=self._line_start(file.fd, had)):
                    yield from scan.block(block, 0, s.path)
                return
            if self._is_file and not had:
                return  # a compressed copy of what was followed already
            skip = self._whole_lines(file.fd, had, file.kind)
            for block in file.forwards():
                n = block.text.count(b"\n")
                if skip >= n:
                    skip -= n
                    continue
                fresh = block.text.split(b"\n", skip)[-1]
                skip = 0
                yield from scan.block(Block(block.offset, fresh), 0, s.path)

    def _whole_lines(self, fd: int, end: int, kind: Kind) -> int:
        blocks = blocks_forwards(self._disk, fd, end, lambda *_: None, kind=kind)
        return sum(b.text.count(b"\n") for b in blocks)

    def _line_start(self, fd: int, end: int) -> int:
        """Where the line begins that was not whole at *end*; *end* itself when that line was taken for a record."""
        for block in blocks_backwards(self._disk, fd, end, lambda *_: None):
            begun = block.text[block.text.rfind(b"\n") + 1 :]
            return end if self._is_record(begun) else end - len(begun)
        return 0

    def _bad(self, path: str) -> Callable[[int, str, int], None]:
        return lambda offset, reason, lines: self.coverage.unreadable(path, offset, reason, lines)


class _Scan:
    """One pass: which lines to decode, in which order. *live* says that a last line without newline is still coming."""

    def __init__(
        self, query: Query, decode: Callable[[bytes], Event], coverage: Coverage, *, live: bool = False
    ) -> None:
        self.query, self._decode, self._coverage, self._live = query, decode, coverage, live
        self.newest_first = query.newest_first
        self._filter = Prefilter(query.where)
        self._test = compile_test(query.where)

    def turned(self) -> _Scan:
        return _Scan(msgspec.structs.replace(self.query, newest_first=False), self._decode, self._coverage)

    def may_hold(self, t: Trailer) -> bool:
        """Whether a frame can hold records of the time that is asked for. Its range may be too wide, not too narrow."""
        since, until = self.query.since_ns, self.query.until_ns
        return (since is None or t.time_max_ns >= since) and (until is None or t.time_min_ns < until)

    def satisfies(self, record: StoredRecord) -> bool:
        """The whole question, for those who must throw away before the engine can ask it."""
        return within(self.query, record.event) and self._test(record.event, record.seq)

    def block(self, block: Block, first_seq: int, path: str, *, in_frame: bool = False) -> Iterator[StoredRecord]:
        """Records of a block of lines that may satisfy the predicate, and every `audit_gap`: gaps are told whatever was
        asked. *in_frame*: the block's offset is that of a frame in the file, not of its first line."""
        text = block.text
        may_match = self._filter.may_match
        if not may_match(text) and b"audit_gap" not in text:
            return
        lines = text.split(b"\n")
        is_whole = not lines[-1]
        if is_whole:
            lines.pop()
        numbers = range(len(lines) - 1, -1, -1) if self.newest_first else range(len(lines))
        for i in numbers:
            line = lines[i]
            if not may_match(line) and b"audit_gap" not in line:
                continue
            try:
                event = self._decode(line)
            except DecodeFault as e:
                if line.strip() and not (self._live and not is_whole and i == len(lines) - 1):
                    at = block.offset if in_frame else block.offset + sum(len(x) + 1 for x in lines[:i])
                    where = f"line {i + 1} of this frame is " if in_frame else ""
                    self._coverage.unreadable(path, at, where + str(e))
                continue
            self._coverage.event(event)
            yield StoredRecord(first_seq + i if first_seq else 0, event, line)


def within(query: Query, event: Event) -> bool:
    """Whether the event lies in the time that is asked for (until is exclusive)."""
    return (query.since_ns is None or event.time_ns >= query.since_ns) and (
        query.until_ns is None or event.time_ns < query.until_ns
    )


def line_decoder(format_name: str) -> Callable[[bytes], Event]:
    """A function from a line to its event: the named format first, then the others. It raises the DecodeFault of the
    first format that was tried."""
    names = dict.fromkeys(([format_name] if format_name in FORMATS else []) + [n for n in _GUESSES if n in FORMATS])
    first, *others = (FORMATS[n].decode for n in names)

    def decode(line: bytes) -> Event:
        try:
            return first(line)
        except DecodeFault:
            for other in others:
                try:
                    return other(line)
                except DecodeFault:
                    continue
            raise

    return decode


def _following(look: Look) -> list[int | None]:
    """For each segment the first number of the next one that has numbers; None for the last and those without."""
    out: list[int | None] = []
    following: int | None = None
    for s in reversed(look.segments):
        out.append(following if s.last else None)
        if s.last:
            following = s.last.first_seq
    return out[::-1]
