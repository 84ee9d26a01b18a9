"""SegmentSink: batches of lines -> zstd segments of frames with trailers; rotation, done mark, recovery at the start.

The ring is the journal of the open frame: what lies behind the last trailer is still in the ring, so going back to the
last commit (`open`) is the one answer to a kill, to a full disk and to an I/O error.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import zstandard

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.event import Batch, Mark
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import CompressionSpec, RotationSpec
from kumoaudit.segments.cut import cut_after_line, cut_at_line
from kumoaudit.segments.disk import write_all
from kumoaudit.segments.frames import (
    Trailer,
    last_trailer,
    pack_trailer,
    trailers_backwards,
)
from kumoaudit.segments.lines import ZSTD_MAGIC
from kumoaudit.segments.naming import began_ns, segment_name
from kumoaudit.segments.place import Description, LogDirectory
from kumoaudit.segments.recover import frame_parameters, iter_range, repair, segment_paths
from kumoaudit.segments.reserve import RAISE_LIMIT, Reserve, too_many_open_files

_FLUSH_BLOCK = zstandard.COMPRESSOBJ_FLUSH_BLOCK
_DEFAULT_LEVEL = 3
_WRITE_BITS = 0o222
_OPEN_MODE = 0o640
_DONE_MODE = 0o440
_CLASHES = 1000


class Recovery(NamedTuple):
    """What `open` found of a crash: bytes behind the last trailer, and lines that only they still held."""

    segment: str
    bytes_cut: int
    sha256: str
    lines_kept: int


class _Segment(NamedTuple):
    name: str
    size: int
    is_unfinished: bool
    last: Trailer | None

    @property
    def next_seq(self) -> int:
        return self.last.first_seq + self.last.count if self.last else 0


class Moved(OSError):
    """The open segment is no longer the file under its name (removed, replaced or changed by somebody else)."""


class SegmentSink:
    """A `Sink`. All methods from one thread at a time, but `prepare` from any.

    Lines are promised to be whole in every segment, and segments to keep to `rotation.max_bytes` of uncompressed lines;
    a single line that is longer gets a segment of its own.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        directory: str,
        describe: Description,
        rotation: RotationSpec,
        compression: CompressionSpec,
        *,
        power: bool = False,
    ) -> None:
        self._disk, self._clock, self.directory, self._describe = disk, clock, directory, describe
        self._rotation, self._power = rotation, power
        self._level = compression.level or _DEFAULT_LEVEL
        self._window_log = compression.window_log
        self.threads = compression.threads
        self._local = threading.local()
        self.deadline_ns: int | None = None
        self.recovery: Recovery | None = None
        self._place = LogDirectory(disk, directory, describe, power=power)
        self._fd = -1
        self._path = ""
        self._name = ""
        self._identity = (0, 0)
        self._size = 0
        self._raw = 0
        self._end = 0
        self._seq = 1
        self._told = (0, 0)
        self._synced = 0
        self._new_name = False
        self._suspect = False
        self._doubtful: dict[tuple[int, int], int] = {}
        self._last_name = (0, 0)
        self.say: Callable[[str], None] = lambda text: None
        """Where a word for the operator goes."""
        self.files_begun = self.stored_bytes = 0
        """Since the start: segments that were begun, bytes that were written to segments."""
        # The name of a new segment is made durable through a descriptor of the directory.
        self._reserve = Reserve(2 if power else 1)
        self._has_told_limit = False
        self._forget_frame()

    # -- Sink ---------------------------------------------------------------------------------------------------

    def open(self, mark: Mark) -> Mark:
        """Cut the unfinished segment back to its last trailer (or repair it when no ring stands behind it), and say
        where to go on. Raises StorageFault or LogInUse when the directory cannot be used, OSError in the middle."""
        self._drop_descriptor()
        self._reserve.release()
        self._place.prepare()
        self.recovery = None
        segments = self._segments()
        newest = max((s for s in segments if s.last), key=lambda s: s.next_seq, default=None)
        last = newest.last if newest else None
        # In the order of the log, not of the names: a clock may step back. What has no trailer yet is the youngest.
        unfinished = sorted((s for s in segments if s.is_unfinished), key=lambda s: (s.last is None, s.next_seq))
        for s in unfinished:
            goes_on = s is unfinished[-1] and (s is newest or s.last is None) and not self._suspect
            next_seq = s.next_seq or max(mark.next_seq, last.first_seq + last.count if last else 1)
            end = self._resume(s, mark, next_seq, goes_on=goes_on)
            if end and (last is None or end.first_seq > last.first_seq):
                last = end
        self._suspect = False
        self._seq = max(mark.next_seq, last.first_seq + last.count if last else 1)
        position = (mark.block, mark.offset, mark.dropped)
        if last and mark.ring_id and last.ring_id == mark.ring_id:
            position = max(position, (last.block, last.offset, last.dropped))
        block, offset, dropped = position
        self._told = (block, dropped)
        self._reserve.fill()
        return Mark(mark.ring_id, block, offset, self._seq, mark.state, dropped)

    def prepare(self, lines: memoryview) -> bytes:
        """Compress a full block ahead of its turn. Any thread."""
        return self._compressor().compress(lines)

    def write(self, batch: Batch) -> Mark | None:
        """Write the lines of *batch*; end the frame when it asks for a commit, and where a segment is full."""
        self._check_place()
        lines, count, start, prepared = batch.lines, batch.count, batch.start, batch.prepared
        mark: Mark | None = None
        while len(lines) > (room := self._room()):
            n = cut_at_line(lines, room)
            if n == 0 and self._has_lines():
                # Not even one line fits: this segment is full as it is.
                mark = self._end_frame(batch, start) or mark
                self._finish()
                continue
            n = n or cut_after_line(lines)
            part = bytes(lines[:n]).count(b"\n")
            mark = self._commit(batch, lines[:n], part, start + n, None)
            self._finish()
            lines, count, start, prepared = lines[n:], count - part, start + n, None
        if batch.commit:
            end = start + len(lines)
            if batch.extra and len(lines) + len(batch.extra) > self._room() and (lines or self._has_lines()):
                # What the writer says itself keeps to the limit too, in a segment of its own if need be.
                if lines or self._frame is not None:
                    mark = self._commit(batch, lines, count, end, None)
                self._finish()
                lines, count = lines[:0], 0
            if batch.extra or lines or self._frame is not None:
                mark = self._commit(batch, lines, count, end, prepared, is_last=True)
            if self._fd >= 0 and self._is_full():
                self._finish()
        elif lines:
            self._flush(batch, lines, count)
        return mark

    def sync(self) -> None:
        """fdatasync of the segment; of a new one also of its name. An error is final for the descriptor."""
        if self._fd < 0:
            return
        try:
            self._disk.fdatasync(self._fd)
            if self._new_name:
                self._reserve.call(partial(self._disk.fsync_dir, self.directory))
                self._new_name = False
        except OSError:
            # The kernel may call the pages clean now and the next fdatasync succeed: never trust this file again.
            self._suspect = True
            raise
        self._synced = self._size - self._frame_stored

    def reopen(self) -> None:
        """Finish the segment; the next line begins another. Call between commits only."""
        if self._fd >= 0:
            self._finish()

    def close(self) -> None:
        """Finish the segment (done mark) and let go of the directory."""
        try:
            if self._fd >= 0:
                if self._suspect or self._frame is not None or self._disk.fstat(self._fd).st_size != self._end:
                    # An error ended it in the middle: the next start brings it to a whole end. Never seal a torn one.
                    self._drop_descriptor()
                else:
                    self._finish()
        finally:
            self._reserve.release()
            self._place.release()

    # -- frames -------------------------------------------------------------------------------------------------

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            params = frame_parameters(self._level, self._window_log)
            compressor = self._local.compressor = zstandard.ZstdCompressor(compression_params=params)
        return compressor

    def _forget_frame(self) -> None:
        self._frame: zstandard.ZstdCompressionObj | None = None
        self._frame_stored = self._frame_lines = self._frame_count = 0
        self._frame_times = ((1 << 63) - 1, 0)
        self._frame_hash = hashlib.sha256()

    def _account(self, stored: bytes, lines: int, count: int, batch: Batch) -> None:
        self._frame_hash.update(stored)
        self._frame_stored += len(stored)
        self._frame_lines += lines
        self._frame_count += count
        low, high = self._frame_times
        self._frame_times = (min(low, batch.time_min_ns), max(high, batch.time_max_ns))

    def _flush(self, batch: Batch, lines: memoryview, count: int) -> None:
        """Make lines visible to readers of the file; the frame stays open."""
        self._begin_segment()
        if self._frame is None:
            self._frame = self._compressor().compressobj()
        stored = self._frame.compress(lines) + self._frame.flush(_FLUSH_BLOCK)
        self._put(stored)
        self._account(stored, len(lines), count, batch)

    def _commit(
        self,
        batch: Batch,
        lines: memoryview,
        count: int,
        offset: int,
        prepared: bytes | None,
        *,
        is_last: bool = False,
    ) -> Mark:
        """End the frame with these lines: frame and trailer in one write, so that they are there together or not.

        With *is_last* the batch is whole, and what the writer says itself goes in too."""
        extra, extra_count = (batch.extra, batch.extra_count) if is_last else (b"", 0)
        dropped = batch.dropped if is_last else self._told[1] if self._told[0] == batch.block else 0
        self._begin_segment()
        if self._frame is not None:
            tail = self._frame.compress(lines) + (self._frame.compress(extra) if extra else b"") + self._frame.flush()
        elif extra:
            tail = self._compressor().compress(b"".join((lines, extra)))
        else:
            tail = prepared if prepared is not None else self._compressor().compress(lines)
        self._account(tail, len(lines) + len(extra), count + extra_count, batch)
        low, high = self._frame_times
        trailer = Trailer(
            batch.ring_id,
            self._seq,
            self._frame_count,
            self._frame_stored,
            self._frame_lines,
            batch.block,
            offset,
            low,
            high,
            self._frame_hash.digest(),
            0,
            dropped,
        )
        self._put(b"".join((tail, pack_trailer(trailer))))
        self._end = self._size
        self._seq += self._frame_count
        self._raw += self._frame_lines
        self._told = (batch.block, dropped)
        self._forget_frame()
        return Mark(batch.ring_id, batch.block, offset, self._seq, b"", dropped)

    def _end_frame(self, batch: Batch, offset: int) -> Mark | None:
        if self._frame is None:
            return None
        return self._commit(batch, batch.lines[:0], 0, offset, None)

    def _put(self, data: bytes) -> None:
        try:
            write_all(self._disk, self._fd, data)
        except OSError as e:
            # A full disk may have room later; after an I/O error the file itself is in doubt: go on in another.
            self._suspect = self._suspect or e.errno == errno.EIO
            raise
        self._size += len(data)
        self.stored_bytes += len(data)

    # -- segments -----------------------------------------------------------------------------------------------

    def _room(self) -> int:
        if self._rotation.max_age_ns == 0:
            return 0  # a segment per record, as with a size of 0
        return max(0, self._rotation.max_bytes - self._raw - self._frame_lines)

    def _is_full(self) -> bool:
        return self._raw >= self._rotation.max_bytes or self._rotation.max_age_ns == 0

    def _has_lines(self) -> bool:
        return self._fd >= 0 and (self._raw + self._frame_lines) > 0

    def _begin_segment(self) -> None:
        if self._fd >= 0:
            return
        self._reserve.fill()
        uses = self._reserve.uses
        now = self._clock.now_ns()
        first = self._last_name[1] + 1 if self._last_name[0] == now else 0
        for clash in range(first, first + _CLASHES):
            name = segment_name(self._describe.prefix, now, clash)
            path = os.path.join(self.directory, name)
            try:
                fd = self._reserve.call(partial(self._create, path))
                break
            except FileExistsError:
                continue
        else:
            raise StorageFault(f"{self.directory}: no free name for a segment at this instant")
        self._tell_limit(is_met=self._reserve.uses > uses)
        self._last_name = (now, clash)
        self.files_begun += 1
        self._take(fd, path, name, 0, 0)
        self._set_deadline(0)

    def _create(self, path: str) -> int:
        return self._disk.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, _OPEN_MODE)

    def _tell_limit(self, *, is_met: bool) -> None:
        """Once, as long as every new segment meets it."""
        is_news, self._has_told_limit = is_met and not self._has_told_limit, is_met
        if is_news:
            self.say(f"{too_many_open_files()}; the next segment takes the reserved descriptor ({RAISE_LIMIT})")

    def _take(self, fd: int, path: str, name: str, size: int, raw: int) -> None:
        self._fd, self._path, self._name, self._size, self._raw = fd, path, name, size, raw
        self._end = self._synced = size
        # After a start too: a name that is in no directory yet is lost with the power, whoever made it.
        self._new_name = True
        st = self._disk.fstat(fd)
        self._identity = (st.st_dev, st.st_ino)

    def _set_deadline(self, age_ns: int) -> None:
        limit = self._rotation.max_age_ns
        if limit is not None:
            self.deadline_ns = self._clock.monotonic_ns() + max(0, limit - max(0, age_ns))

    def _finish(self) -> None:
        """The segment is complete: durable if the log promises that, and read-only, which tells every reader."""
        fd = self._fd
        if self._power:
            self.sync()
        self._fd, self.deadline_ns, self._raw = -1, None, 0
        self._forget_frame()
        try:
            if self._size == 0:
                self._disk.unlink(self._path)
            else:
                self._disk.fchmod(fd, _DONE_MODE)
        finally:
            self._disk.close(fd)

    def _check_place(self) -> None:
        """A write to a removed file succeeds, so only a look finds out that nobody will ever read it."""
        if self._fd < 0:
            return
        try:
            st = self._disk.stat(self._path)
        except FileNotFoundError:
            raise Moved(errno.ENOENT, "segment or log_dir was removed", self._path) from None
        if (st.st_dev, st.st_ino) != self._identity:
            raise Moved(errno.ESTALE, "segment was replaced", self._path)
        if st.st_size != self._size:
            self._suspect = True
            raise Moved(errno.ESTALE, "segment was changed by another process", self._path)

    # -- start and recovery -------------------------------------------------------------------------------------

    def _drop_descriptor(self) -> None:
        fd, self._fd, self.deadline_ns = self._fd, -1, None
        self._forget_frame()
        if fd >= 0:
            if self._suspect and self._power:
                # Nothing behind the last successful fdatasync is certain, trailer or not; it is still in the ring.
                self._doubtful[self._identity] = self._synced
            self._disk.close(fd)

    def _segments(self) -> list[_Segment]:
        found = []
        for path in segment_paths(self._disk, self.directory, self._describe.prefix):
            fd = self._disk.open(path, os.O_RDONLY)
            try:
                st = self._disk.fstat(fd)
                certain = min(st.st_size, self._doubtful.get((st.st_dev, st.st_ino), st.st_size))
                last = last_trailer(self._disk, fd, certain)
                unfinished = bool(st.st_mode & _WRITE_BITS) and (last is not None or self._is_begun(fd, st))
                found.append(_Segment(os.path.basename(path), st.st_size, unfinished, last))
            finally:
                self._disk.close(fd)
        return found

    def _is_begun(self, fd: int, st: os.stat_result) -> bool:
        """Whether a file without a trailer is a segment of ours that was just begun, and no foreign one (KumoMTA's own
        segments have such names too, but frames without checksum): only that may be cut or repaired."""
        if st.st_uid != os.geteuid():
            return False
        if st.st_size == 0:
            return st.st_mode & 0o777 == _OPEN_MODE
        head = self._disk.pread(fd, 18, 0)
        try:
            return head[:4] == ZSTD_MAGIC[: len(head)] and (
                len(head) < 18 or zstandard.get_frame_parameters(head).has_checksum
            )
        except zstandard.ZstdError:
            return False

    def _resume(self, s: _Segment, mark: Mark, next_seq: int, *, goes_on: bool) -> Trailer | None:
        """Bring an unfinished segment to a whole end; go on in it if wanted and it has room, else finish it."""
        path = os.path.join(self.directory, s.name)
        end = s.last.end if s.last else 0
        torn = s.size - end
        if torn and not mark.ring_id:
            kept, cut, digest = repair(self._disk, self.directory, s.name, next_seq, self._level, self._window_log)
            self.recovery = Recovery(s.name, cut, digest, kept)
        fd = self._disk.open(path, os.O_RDWR | os.O_APPEND)
        try:
            if torn and mark.ring_id:
                digest = hashlib.sha256(b"".join(iter_range(self._disk, fd, end, s.size))).hexdigest()
                self._disk.ftruncate(fd, end)
                self.recovery = Recovery(s.name, torn, digest, 0)
            st = self._disk.fstat(fd)
            self._doubtful.pop((st.st_dev, st.st_ino), None)
            last = last_trailer(self._disk, fd, st.st_size)
            raw = sum(t.lines_bytes for t in trailers_backwards(self._disk, fd, st.st_size))
            self._take(fd, path, s.name, st.st_size, raw)
        except BaseException:
            self._fd = -1
            self._disk.close(fd)
            raise
        if goes_on and st.st_size and not self._is_full():
            self._set_deadline(self._clock.now_ns() - began_ns(s.name))
        else:
            self._finish()
        return last
