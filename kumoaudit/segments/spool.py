"""The layout of a ring file, and a look at it from outside: what is acknowledged but in no segment yet.

A ring is a mapped file: one page of header (identity, two counters, the sink's mark, one slot a block), then blocks.
Blocks are numbered for ever; block n lies in slot n mod count. A position is (block, offset). The producers' and the
consumer's side is `pipeline.ring`; readers only look, so that a query never disturbs a host.
"""

from __future__ import annotations

import os
import struct

import msgspec

from kumoaudit.core.event import Mark
from kumoaudit.core.protocols import Disk

MAGIC = int.from_bytes(b"KAuRing1", "little")
HEADER_BYTES = 4096
SLOTS_AT = 1024
SLOT_BYTES = 64
MAX_BLOCKS = (HEADER_BYTES - SLOTS_AT) // SLOT_BYTES

# 64-bit words of the header ...
H_MAGIC, H_RING_ID, H_BLOCK_BYTES, H_BLOCKS, H_CURRENT, H_FREED, H_LIMIT, H_BOOT, H_BOOT_HIGH, H_MARK = range(10)
# ... and of a slot. H_LIMIT is how many records the current block may hold (back_pressure).
S_BLOCK, S_USED, S_TIME_MIN, S_TIME_MAX, S_COUNT, S_DROPPED, S_DROP_MIN, S_DROP_MAX = range(8)

INT64_MAX = (1 << 63) - 1

# Two cells for the sink's mark; word H_MARK names the one that counts. Written in turn, so a kill never tears one.
_MARK_CELLS = (128, 512)
_MARK = struct.Struct("<QQQQQQ")
MARK_STATE_MAX = 256


class BlockState(msgspec.Struct, frozen=True):
    """One block as its slot tells: whose number, bytes and records in it, their times, losses counted against it."""

    block: int
    used: int
    time_min_ns: int
    time_max_ns: int
    count: int
    dropped: int
    drop_min_ns: int
    drop_max_ns: int


def boot_id() -> tuple[int, int]:
    """This boot of the machine as two words: pages of a mapped file are only certain within one boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            raw = bytes.fromhex(f.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return (0, 0)
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:16], "little")


def pack_mark(mark: Mark) -> bytes:
    """A mark as it stands in a cell."""
    if len(mark.state) > MARK_STATE_MAX:
        raise ValueError(f"a sink's mark has {len(mark.state)} bytes, at most {MARK_STATE_MAX} fit")
    return _MARK.pack(mark.ring_id, mark.block, mark.offset, mark.next_seq, mark.dropped, len(mark.state)) + mark.state


def mark_cell(index: int) -> int:
    """Byte offset of mark cell *index* (0 or 1)."""
    return _MARK_CELLS[index & 1]


def unpack_mark(header: bytes | memoryview, index: int) -> Mark:
    """The mark in cell *index* of a header."""
    at = mark_cell(index)
    ring, block, offset, seq, dropped, n = _MARK.unpack_from(header, at)
    state = bytes(header[at + _MARK.size : at + _MARK.size + min(n, MARK_STATE_MAX)])
    return Mark(ring, block, offset, max(1, seq), state, dropped)


class SpoolView:
    """A ring file seen from outside, read with pread; any process, any time. One look is consistent or taken again."""

    def __init__(self, disk: Disk, path: str) -> None:
        """Raises OSError when the file cannot be read, ValueError when it is not a ring."""
        self._disk, self.path = disk, path
        self._fd = disk.open(path, os.O_RDONLY)
        head = disk.pread(self._fd, HEADER_BYTES, 0)
        words = struct.unpack_from("<10Q", head) if len(head) == HEADER_BYTES else (0,) * 10
        if words[H_MAGIC] != MAGIC or not 2 <= words[H_BLOCKS] <= MAX_BLOCKS:
            disk.close(self._fd)
            raise ValueError(f"{path} is not a ring")
        self.ring_id, self.block_bytes, self.blocks = words[H_RING_ID], words[H_BLOCK_BYTES], words[H_BLOCKS]
        self.same_boot = (words[H_BOOT], words[H_BOOT_HIGH]) == boot_id()
        self.mark = unpack_mark(head, words[H_MARK])

    def close(self) -> None:
        self._disk.close(self._fd)

    def _word(self, index: int) -> int:
        return int.from_bytes(self._disk.pread(self._fd, 8, 8 * index), "little")

    def _slot(self, block: int) -> tuple[int, int]:
        at = SLOTS_AT + block % self.blocks * SLOT_BYTES
        owner, used = struct.unpack("<2Q", self._disk.pread(self._fd, 16, at))
        # After a power cut the slot may hold anything; no more than a block is ever asked for.
        return owner, min(used, self.block_bytes)

    def freed(self) -> int:
        """Blocks below this number are in the log. Ask before looking for the last trailer: then the trailer found,
        or the start of this block, whichever is later, is where the ring's share begins."""
        return self._word(H_FREED)

    def after(self, freed: int, ring_id: int, block: int, offset: int) -> bytes | None:
        """The lines acknowledged after the later of (*block*, *offset*) of ring *ring_id* and block *freed*.

        None when the host reused a block during the look: begin again with `freed`.
        """
        start = (freed, 0)
        if ring_id == self.ring_id:
            start = max(start, (block, offset))
        return self._copy(*start, self._word(H_CURRENT))

    def _copy(self, block: int, offset: int, current: int) -> bytes | None:
        parts: list[bytes] = []
        for number in range(block, current + 1):
            owner, used = self._slot(number)
            if owner != number:
                # An older owner: the position is the end of the last block that was turned to, nothing follows.
                return None if owner > number else b"".join(parts)
            at = offset if number == block else 0
            base = HEADER_BYTES + number % self.blocks * self.block_bytes
            data = self._disk.pread(self._fd, max(0, used - at), base + at)
            if self._slot(number)[0] != number:
                return None
            parts.append(data)
        return b"".join(parts)
