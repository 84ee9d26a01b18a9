"""A zstd frame of whole lines and the trailer behind it: pack, find the last one, walk.

The trailer is a zstd skippable frame, so every zstd reader passes over it. It is the commit of its frame: up to where
the ring is in the file, the number of the first record, how many, from when to when, and the hash of the stored bytes.
Behind the frame, not before it: several readers stop at a leading skippable frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from kumoaudit.core.protocols import Disk

_SKIPPABLE = 0x184D2A5B
_MARK = b"KAT1"
# mark, layout, ring id, first seq, count, stored length, length of the lines, losses told, block, offset, times, sha256
_BODY = struct.Struct("<4sIQQIIIIQQqq32s")
_HEAD = struct.Struct("<II")
_CRC = struct.Struct("<I")
_PREFIX = _HEAD.pack(_SKIPPABLE, _BODY.size + _CRC.size) + _MARK
TRAILER_BYTES = _HEAD.size + _BODY.size + _CRC.size
_LAYOUT = 1

# One read of this size finds the last trailer of a finished file; a torn tail needs the next size up.
_FIRST_LOOK = 1 << 12
_NEXT_LOOK = 1 << 20


class Trailer(msgspec.Struct, frozen=True):
    """A committed frame. `block`, `offset`: the ring `ring_id` is in the file up to there. `end` is the file offset
    behind the trailer; the frame itself lies at `[end - TRAILER_BYTES - stored, end - TRAILER_BYTES)`. `dropped` of the
    losses that the ring counts against `block` are told up to here; it stands here so that no kill tells them twice."""

    ring_id: int
    first_seq: int
    count: int
    stored: int
    lines_bytes: int
    block: int
    offset: int
    time_min_ns: int
    time_max_ns: int
    sha256: bytes
    end: int
    dropped: int = 0

    @property
    def start(self) -> int:
        """File offset of the first byte of the frame."""
        return self.end - TRAILER_BYTES - self.stored


def pack_trailer(t: Trailer) -> bytes:
    """The bytes of a trailer (`TRAILER_BYTES` long; `t.end` is not stored)."""
    body = _BODY.pack(
        _MARK,
        _LAYOUT,
        t.ring_id,
        t.first_seq,
        t.count,
        t.stored,
        t.lines_bytes,
        min(t.dropped, 0xFFFFFFFF),
        t.block,
        t.offset,
        t.time_min_ns,
        t.time_max_ns,
        t.sha256,
    )
    return _HEAD.pack(_SKIPPABLE, len(body) + _CRC.size) + body + _CRC.pack(zlib.crc32(body))


def unpack_trailer(data: bytes, at: int, base: int) -> Trailer | None:
    """The trailer at offset *at* of *data*, which was read at file offset *base*; None if there is none whole."""
    if len(data) - at < TRAILER_BYTES or data[at : at + len(_PREFIX)] != _PREFIX:
        return None
    body = data[at + _HEAD.size : at + _HEAD.size + _BODY.size]
    if _CRC.unpack_from(data, at + _HEAD.size + _BODY.size)[0] != zlib.crc32(body):
        return None
    _, layout, ring, first, count, stored, lines, dropped, block, offset, t0, t1, sha = _BODY.unpack(body)
    if layout != _LAYOUT:
        return None
    return Trailer(ring, first, count, stored, lines, block, offset, t0, t1, sha, base + at + TRAILER_BYTES, dropped)


def last_trailer(disk: Disk, fd: int, size: int) -> Trailer | None:
    """The last whole trailer of a file of *size* bytes, whatever lies behind it; None when there is none."""
    window, upto = _FIRST_LOOK, size
    while upto > 0:
        base = max(0, upto - window)
        # The window reaches one trailer further than searched before, so none is missed on the border.
        data = disk.pread(fd, min(size, upto + TRAILER_BYTES) - base, base)
        at = data.rfind(_PREFIX)
        while at >= 0:
            if trailer := unpack_trailer(data, at, base):
                return trailer
            at = data.rfind(_PREFIX, 0, at)
        upto, window = base, _NEXT_LOOK
    return None


def trailers_backwards(disk: Disk, fd: int, size: int) -> Iterator[Trailer]:
    """The chain of trailers from the last to the first, one small read each; stops where the chain is broken."""
    trailer = last_trailer(disk, fd, size)
    while trailer is not None:
        yield trailer
        before = trailer.start - TRAILER_BYTES
        if before < 0:
            return
        trailer = unpack_trailer(disk.pread(fd, TRAILER_BYTES, before), 0, before)
