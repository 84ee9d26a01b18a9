"""One look at a log: which files it has, how far each goes, and the lines that are acknowledged but in no frame yet.

The order of asking is what makes a look consistent with a host that goes on writing: first what the ring has freed,
then the segments and their last trailers, then the ring behind the later of the two. A block that was reused meanwhile
shows by its number, and the look is taken again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec
import zstandard

from kumoaudit.core.protocols import Disk
from kumoaudit.segments.coverage import Coverage
from kumoaudit.segments.frames import Trailer, last_trailer, trailers_backwards
from kumoaudit.segments.lines import ZSTD_MAGIC, committed_lines, line_blocks, zstd_pieces
from kumoaudit.segments.naming import hidden, parse_segment_name
from kumoaudit.segments.spool import SpoolView

_ATTEMPTS = 20

# A frame of ours is one block of a ring and what its writer adds; more than this is not ours.
MAX_FRAME_TEXT = 256 << 20


class Described(msgspec.Struct, frozen=True):
    """`.kumoaudit/log.json` of a directory: what its host knows and its files do not say."""

    name: str = ""
    format: str = ""
    prefix: str = ""
    ring: str = ""


class Segment(NamedTuple):
    """A file of a log as one look found it. `last` is None for files without trailers: everything up to *size* counts.

    With trailers, the frames up to `last.end` are the file's share; what lies behind is in `Look.tail` if it counts.
    """

    path: str
    identity: tuple[int, int]
    size: int
    last: Trailer | None


class Look(NamedTuple):
    """Segments oldest first, then *tail*: the lines (without newline) that follow them, numbered from *tail_seq*."""

    segments: tuple[Segment, ...] = ()
    tail: tuple[bytes, ...] = ()
    tail_seq: int = 1
    tail_from: str = ""

    @property
    def next_seq(self) -> int:
        """The number of the record that would come next."""
        return self.tail_seq + len(self.tail)


def read_description(disk: Disk, directory: str) -> Described | None:
    """What the host wrote beside the segments; None where there is nothing (usable). Raises OSError when it is there
    but may not be read."""
    try:
        fd = disk.open(hidden(directory, "log.json"), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return msgspec.json.decode(disk.pread(fd, 1 << 20, 0), type=Described)
    except msgspec.DecodeError:
        return None  # torn by a full disk; the files speak for themselves
    finally:
        disk.close(fd)


class LogPlace:
    """Where a log lies. One thread at a time.

    *only* limits it to one file of the directory (with *rotated* also what was rotated away from it); otherwise it is
    the segments with *prefix* ("" takes any).
    """

    def __init__(
        self, disk: Disk, directory: str, coverage: Coverage, *, prefix: str, ring: str, only: str, rotated: bool
    ) -> None:
        self._disk, self.directory, self._coverage = disk, directory, coverage
        self._prefix, self._ring, self._only, self._rotated = prefix, ring, only, rotated
        self._known: dict[tuple[int, int], tuple[int, int, Trailer | None]] = {}

    def look(self, decodes: Callable[[bytes], bool]) -> Look:
        """The log as it is now. *decodes* says whether a line is a record; needed after a reboot only. Never raises
        for what is wrong with the files: that is in the coverage."""
        for _ in range(_ATTEMPTS):
            spool = self._open_ring()
            try:
                freed = spool.freed() if spool else 0
                listed = self._list()
                look = self._assemble(listed, spool, freed, decodes)
            finally:
                if spool:
                    spool.close()
            if look:
                return look
        self._coverage.unreadable(self._ring, 0, f"the ring was turned round during each of {_ATTEMPTS} looks", 0)
        return self._assemble(self._list(), None, 0, decodes) or Look()

    # -- files --------------------------------------------------------------------------------------------------

    def _list(self) -> list[Segment]:
        """Files of the log, oldest first: by name, those with trailers among themselves by the number of their records
        (a clock that was set back gives a later segment an earlier name)."""
        try:
            names = self._names(self._disk.listdir(self.directory))
        except OSError as e:
            self._coverage.unreadable(self.directory, 0, e.strerror or str(e), 0)
            return []
        found = [s for name in names if (s := self._segment(name))]
        numbered = iter(sorted((s for s in found if s.last), key=lambda s: s.last.first_seq if s.last else 0))
        return [next(numbered) if s.last else s for s in found]

    def _names(self, names: list[str]) -> list[str]:
        if self._only:
            rotated = rotated_files(self._only, names) if self._rotated else []
            return [*rotated, *(n for n in names if n == self._only)]
        parsed = [(p, n) for n in names if (p := parse_segment_name(n)) and self._prefix in ("", p.prefix)]
        return [n for p, n in sorted(parsed, key=lambda pn: (pn[0].began, pn[0].clash, pn[1]))]

    def _segment(self, name: str) -> Segment | None:
        path = os.path.join(self.directory, name)
        try:
            st = self._disk.stat(path)
            if not stat.S_ISREG(st.st_mode):
                return None
            identity = (st.st_dev, st.st_ino)
            known = self._known.get(identity)
            if known is None or known[:2] != (st.st_size, st.st_mtime_ns):
                fd = self._disk.open(path, os.O_RDONLY)
                try:
                    known = (st.st_size, st.st_mtime_ns, last_trailer(self._disk, fd, st.st_size))
                finally:
                    self._disk.close(fd)
                self._known[identity] = known
        except FileNotFoundError:
            return None  # expired or renamed since the listing
        except OSError as e:
            self._coverage.unreadable(path, 0, e.strerror or str(e), 0)
            return None
        return Segment(path, identity, st.st_size, known[2])

    # -- the live end -------------------------------------------------------------------------------------------

    def _open_ring(self) -> SpoolView | None:
        if not self._ring:
            return None
        try:
            if not stat.S_ISREG(self._disk.stat(self._ring).st_mode):
                raise ValueError(f"{self._ring} is not a ring")
            return SpoolView(self._disk, self._ring)
        except FileNotFoundError:
            return None
        except OSError as e:
            reason = f"{e.strerror}: the newest records may be missing"
        except ValueError:
            reason = "not a ring: the newest records may be missing"
        self._coverage.unreadable(self._ring, 0, reason, 0)
        return None

    def _assemble(
        self, listed: list[Segment], spool: SpoolView | None, freed: int, decodes: Callable[[bytes], bool]
    ) -> Look | None:
        """The look, or None when the ring was turned round meanwhile."""
        newest = max((s for s in listed if s.last), key=lambda s: s.last.first_seq if s.last else 0, default=None)
        last = newest.last if newest else None
        unfinished = self._unfinished(listed, newest)
        segments = tuple(s for s in listed if s not in unfinished)
        seq = last.first_seq + last.count if last else spool.mark.next_seq if spool else 1
        ring: tuple[bytes, ...] = ()
        if spool:
            text = spool.after(freed, last.ring_id, last.block, last.offset) if last else spool.after(freed, 0, 0, 0)
            if text is None:
                return None
            ring = tuple(text.split(b"\n")[:-1])
            if spool.same_boot and last and last.ring_id == spool.ring_id:
                # What lies behind the last trailer is in the ring too, whole or not.
                return Look(segments, ring, seq, spool.path)
        torn = [(newest, last.end)] if newest and last and newest.size > last.end else []
        torn += [(s, 0) for s in unfinished]
        kept, troubles = self._torn_lines(torn)
        if not (spool and spool.same_boot and set(kept) <= set(ring)):
            for path, offset, reason, lines in troubles:
                self._coverage.unreadable(path, offset, reason, lines)
        if spool:
            in_file = frozenset(kept)
            ring = tuple(line for line in ring if line not in in_file)
            if not spool.same_boot:
                ring = self._believed(ring, listed, spool, decodes)
        return Look(segments, kept + ring, seq, torn[0][0].path if torn else spool.path if spool else "")

    def _unfinished(self, listed: list[Segment], newest: Segment | None) -> list[Segment]:
        """Segments of ours whose first frame has not ended: no trailer yet, still writable, and unlike in KumoMTA's
        own segments the frames carry a checksum. Only a log with a ring has them."""
        return [s for s in listed if s.last is None and s is not newest and self._ring and self._is_begun(s)]

    def _is_begun(self, s: Segment) -> bool:
        try:
            fd = self._disk.open(s.path, os.O_RDONLY)
            try:
                writable = self._disk.fstat(fd).st_mode & 0o222
                head = self._disk.pread(fd, 18, 0)
            finally:
                self._disk.close(fd)
            return bool(writable) and head[:4] == ZSTD_MAGIC and zstandard.get_frame_parameters(head).has_checksum
        except (OSError, zstandard.ZstdError):
            return False

    def _torn_lines(self, torn: list[tuple[Segment, int]]) -> tuple[tuple[bytes, ...], list[tuple[str, int, str, int]]]:
        """Whole lines of frames without an end, and what could not be read of them."""
        lines: list[bytes] = []
        troubles: list[tuple[str, int, str, int]] = []
        for segment, start in torn:

            def bad(offset: int, reason: str, count: int, path: str = segment.path) -> None:
                troubles.append((path, offset, reason, count))

            try:
                fd = self._disk.open(segment.path, os.O_RDONLY)
            except OSError as e:
                bad(start, e.strerror or str(e), 0)
                continue
            try:
                for block in line_blocks(zstd_pieces(self._disk, fd, start, segment.size, bad), 0, bad):
                    whole, _, partial = block.text.rpartition(b"\n")
                    if whole:
                        lines.extend(whole.split(b"\n"))
                    if partial:
                        bad(start, f"the last line is not whole ({len(partial)} bytes of it are there)", 1)
            finally:
                self._disk.close(fd)
        return tuple(lines), troubles

    def _believed(
        self, ring: tuple[bytes, ...], listed: list[Segment], spool: SpoolView, decodes: Callable[[bytes], bool]
    ) -> tuple[bytes, ...]:
        """Ring lines that may be believed after a reboot: pages of the ring may be older than its header, so an old
        line can look like a new one. The first that is not a record, or is one of the last frames, ends them."""
        recent: set[bytes] = set()
        for n, text in enumerate(self._last_frames(listed)):
            if n >= spool.blocks:
                break
            recent.update(text.split(b"\n"))
        for i, line in enumerate(ring):
            if line in recent or not decodes(line):
                self._coverage.unreadable(
                    spool.path, 0, f"of another boot: {i} lines of it could be verified, the rest is left out", 0
                )
                return ring[:i]
        return ring

    def _last_frames(self, listed: list[Segment]) -> Iterator[bytes]:
        for s in reversed([s for s in listed if s.last]):
            try:
                fd = self._disk.open(s.path, os.O_RDONLY)
            except OSError:
                continue
            try:
                for t in trailers_backwards(self._disk, fd, s.size):
                    try:
                        yield frame_text(self._disk, fd, t)
                    except ValueError:
                        continue  # reported when the frame itself is read
            finally:
                self._disk.close(fd)


def frame_text(disk: Disk, fd: int, t: Trailer) -> bytes:
    """The lines of a committed frame. Raises ValueError when the file does not hold what the trailer says."""
    if t.start < 0 or t.lines_bytes > MAX_FRAME_TEXT:
        raise ValueError(f"its trailer promises {t.stored} bytes that hold {t.lines_bytes}: not a frame of ours")
    return committed_lines(disk, fd, t.start, t.stored, t.lines_bytes)


def rotated_files(name: str, names: Iterable[str]) -> list[str]:
    """Those of *names* that were rotated away from the file *name*, oldest first: `audit-2026-11-20T08-41-02.500.log`,
    `audit.log-20261120`, `audit.log.1` (the higher the older), each also with `.gz` or `.zst`."""
    stem, ext = os.path.splitext(name)
    rule = re.compile(
        rf"(?:{re.escape(stem)}-(?P<stamp>\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{3}}){re.escape(ext)}"
        rf"|{re.escape(name)}(?:\.(?P<number>\d{{1,9}})|-(?P<day>\d{{8}}(?:-\d{{1,10}})?)))(?:\.gz|\.zst)?"
    )
    found = [(m["stamp"] or m["day"] or "", -int(m["number"] or 0), n) for n in names if (m := rule.fullmatch(n))]
    return [n for *_, n in sorted(found)]
