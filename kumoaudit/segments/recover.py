"""What a crash left behind: whole lines out of a torn frame, and ring lines whose pages are not certain.

Within one boot none of this is needed: the ring holds every line behind the last trailer, and the segment is cut back
to it. Here is the other case: the ring is gone, or is of another boot, so its pages may be older than its header.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import zstandard

from kumoaudit.core.protocols import Disk
from kumoaudit.segments.disk import write_all
from kumoaudit.segments.frames import Trailer, last_trailer, pack_trailer, trailers_backwards
from kumoaudit.segments.naming import hidden, parse_segment_name

_COPY = 1 << 20
_STEP = 4096


def torn_lines(torn: bytes) -> bytes:
    """The whole lines that can still be decoded from an unfinished frame; empty when nothing can."""
    text, stopped = _decoded(torn, careful_from=len(torn))
    if stopped < len(torn):
        # An error takes back what its step had decoded before it: that step again, byte by byte.
        text, _ = _decoded(torn, careful_from=stopped)
    return text[: text.rfind(b"\n") + 1]


def _decoded(torn: bytes, careful_from: int) -> tuple[bytes, int]:
    """What comes out of a frame, and the offset of the step that failed (the end when none did)."""
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    out = bytearray()
    at = 0
    while at < len(torn):
        step = 1 if at >= careful_from else _STEP
        try:
            out += decoder.decompress(torn[at : at + step])
        except zstandard.ZstdError:
            return bytes(out), at
        if decoder.eof:
            break
        at += step
    return bytes(out), len(torn)


def trusted_lines(lines: bytes, recent: Collection[bytes], decodes: Callable[[bytes], bool]) -> bytes:
    """The prefix of ring *lines* that may be believed after a reboot (reliability: who answers for what).

    After a power cut an old line can look like a new one. So a line counts only if it is whole, decodes, and is not
    byte for byte among the *recent* ones already in the log; the first that fails ends the prefix.
    """
    end = 0
    while (newline := lines.find(b"\n", end)) >= 0:
        line = lines[end : newline + 1]
        if line[:-1] in recent or not decodes(line):
            break
        end = newline + 1
    return lines[:end]


def frame_lines(disk: Disk, fd: int, trailer: Trailer) -> bytes:
    """The lines of a committed frame. Raises zstandard.ZstdError or ValueError when the file does not hold them."""
    stored = disk.pread(fd, trailer.stored, trailer.start)
    lines = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(stored)
    if len(lines) != trailer.lines_bytes:
        raise ValueError(f"frame at {trailer.start}: {len(lines)} bytes instead of {trailer.lines_bytes}")
    return lines


class Recent(NamedTuple):
    """The newest lines of a log (without newlines), and the newest trailer that a certain ring stands behind."""

    lines: set[bytes]
    trailer: Trailer | None


def recent_frames(disk: Disk, directory: str, prefix: str, ring_id: int, frames: int, size: int) -> Recent:
    """The lines of at least the last *frames* frames and *size* bytes of lines, whichever is more: frames are small
    where events are few or segments short, and a block of the ring may then hold the lines of many."""
    found: set[bytes] = set()
    own: Trailer | None = None
    for path in _newest_first(disk, directory, prefix):
        fd = disk.open(path, os.O_RDONLY)
        try:
            for trailer in trailers_backwards(disk, fd, disk.fstat(fd).st_size):
                try:
                    found.update(frame_lines(disk, fd, trailer).split(b"\n"))
                except (zstandard.ZstdError, ValueError):
                    pass  # a damaged frame is verify's business; here it only cannot help to recognise a line
                if own is None and trailer.ring_id == ring_id:
                    own = trailer
                frames, size = frames - 1, size - trailer.lines_bytes
                if frames <= 0 and size <= 0:
                    return Recent(found, own)
        finally:
            disk.close(fd)
    return Recent(found, own)


def _newest_first(disk: Disk, directory: str, prefix: str) -> list[str]:
    """Segments with trailers, by the number of their last record: names come from the clock, which may step back."""
    found: list[tuple[int, str]] = []
    for path in segment_paths(disk, directory, prefix):
        fd = disk.open(path, os.O_RDONLY)
        try:
            if last := last_trailer(disk, fd, disk.fstat(fd).st_size):
                found.append((last.first_seq, path))
        finally:
            disk.close(fd)
    return [path for _, path in sorted(found, reverse=True)]


def segment_paths(disk: Disk, directory: str, prefix: str) -> list[str]:
    """Regular files that are named like segments of this log, by name. Nothing else is ever opened: a FIFO would block,
    a symbolic link leads elsewhere."""
    found: list[tuple[tuple[object, ...], str]] = []
    for name in disk.listdir(directory):
        parsed = parse_segment_name(name)
        if parsed is None or parsed.prefix != prefix:
            continue
        path = os.path.join(directory, name)
        try:
            is_file = stat.S_ISREG(disk.lstat(path).st_mode)
        except FileNotFoundError:
            continue  # removed since the listing
        if is_file:
            found.append((parsed[1:], path))
    return [path for _, path in sorted(found)]


def repair(disk: Disk, directory: str, name: str, next_seq: int, level: int, window_log: int) -> tuple[int, int, str]:
    """Give a torn segment a whole last frame; returns (lines kept, bytes cut, sha256 of what was cut).

    Good frames and one new frame with the lines of the torn one go into a file beside it, which then takes its place:
    a crash in between leaves the torn one and the repair can be made again. What was cut is kept in `.kumoaudit/`.
    """
    path = os.path.join(directory, name)
    fd = disk.open(path, os.O_RDONLY)
    try:
        size = disk.fstat(fd).st_size
        last = last_trailer(disk, fd, size)
        end = last.end if last else 0
        torn = b"".join(iter_range(disk, fd, end, size))
        lines = torn_lines(torn)
        digest = hashlib.sha256(torn).hexdigest()
        aside = hidden(directory, name + ".repair")
        out = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for chunk in iter_range(disk, fd, 0, end):
                write_all(disk, out, chunk)
            count = lines.count(b"\n")
            if lines:
                write_all(disk, out, _frame(lines, count, next_seq, last, level, window_log))
            disk.fsync(out)
        finally:
            disk.close(out)
    finally:
        disk.close(fd)
    cut = disk.open(hidden(directory, name + ".torn"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, cut, torn)
        disk.fsync(cut)
    finally:
        disk.close(cut)
    disk.rename(aside, path)
    disk.fsync_dir(directory)
    return count, len(torn), digest


def frame_parameters(level: int, window_log: int) -> zstandard.ZstdCompressionParameters:
    """zstd's own parameters of *level* for inputs as large as the window; a checksum makes a flipped bit an error."""
    return zstandard.ZstdCompressionParameters.from_level(
        level, source_size=1 << window_log, window_log=window_log, write_checksum=True
    )


def _frame(lines: bytes, count: int, first_seq: int, last: Trailer | None, level: int, window_log: int) -> bytes:
    stored = zstandard.ZstdCompressor(compression_params=frame_parameters(level, window_log)).compress(lines)
    begin = last.time_min_ns if last else 0
    # No ring stands behind this frame any more; its times are not known better than "since the frame before".
    trailer = Trailer(
        0, first_seq, count, len(stored), len(lines), 0, 0, begin, (1 << 63) - 1, hashlib.sha256(stored).digest(), 0
    )
    return stored + pack_trailer(trailer)


def iter_range(disk: Disk, fd: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a file between two offsets, in pieces."""
    while start < end:
        chunk = disk.pread(fd, min(_COPY, end - start), start)
        if not chunk:
            return
        start += len(chunk)
        yield chunk
