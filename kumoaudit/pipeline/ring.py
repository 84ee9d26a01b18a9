"""The ring of a route: encoded lines in a mapped, preallocated file; any number of producers, one consumer.

A line is acknowledged by the store of `used` in its block's slot: from there on it survives the death of the process.
The same append exists in Lua (`lua/kumoaudit/ring.lua`), on the same header under the same mutex, which gives one
total order over both languages. The layout is in `segments.spool`.

Rules that keep it true: Lua calls no Python while it holds the mutex; no thread waits for the mutex while it holds the
GIL; the mutex lies in private memory, so that it never outlives the process.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time

from kumoaudit.core.errors import RecordRefused, StorageFault
from kumoaudit.core.event import Mark
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import RouteSpec
from kumoaudit.core.units import duration_text
from kumoaudit.pipeline.ring_file import NO_MAPPING, NoMapping, new_header, open_or_make
from kumoaudit.segments import spool
from kumoaudit.segments.spool import (
    H_BLOCK_BYTES,
    H_BLOCKS,
    H_BOOT,
    H_BOOT_HIGH,
    H_CURRENT,
    H_FREED,
    H_LIMIT,
    H_MARK,
    H_RING_ID,
    HEADER_BYTES,
    INT64_MAX,
    S_BLOCK,
    S_COUNT,
    S_DROP_MAX,
    S_DROP_MIN,
    S_DROPPED,
    S_TIME_MAX,
    S_TIME_MIN,
    S_USED,
    SLOTS_AT,
    BlockState,
)

# Held for a moment only, so mostly free: tried with the GIL held (cheap), waited for without it. Whoever waited with
# the GIL would wait for an owner that needs the GIL to go on.
_try_mutex = ctypes.PyDLL(None)["pthread_mutex_trylock"]
_wait_for_mutex = ctypes.CDLL(None)["pthread_mutex_lock"]
_unlock_mutex = ctypes.PyDLL(None)["pthread_mutex_unlock"]
_unlock_mutex.restype = None

_SLOT_WORDS = 8


class _Mutex:
    """The mutex of a ring as Python holds it; `with` blocks are short and call nothing that could wait."""

    def __init__(self) -> None:
        self._memory = (ctypes.c_uint64 * 16)()
        self.address = ctypes.addressof(self._memory)
        self.ref = ctypes.byref(self._memory)

    def __enter__(self) -> None:
        if _try_mutex(self.ref):
            _wait_for_mutex(self.ref)

    def __exit__(self, *_: object) -> None:
        _unlock_mutex(self.ref)


class Ring:
    """Blocks of `spec.ring` in one file. `append` and `turn`: any thread; the rest: the consumer's thread.

    `path` None makes a ring in private memory (where the file system can neither preallocate nor map): it promises
    nothing across the death of the process, so its route writes each record before it returns.
    """

    def __init__(self, disk: Disk, path: str | None, spec: RouteSpec) -> None:
        """Open the ring at *path*, or make it. Raises StorageFault: no room, not a ring, wrong size."""
        self._disk, self.path, self.spec = disk, path, spec
        if path is None:
            self._fd = -1
            self._map = mmap.mmap(-1, HEADER_BYTES + spec.ring.block_bytes * spec.ring.blocks)
            self._map[:HEADER_BYTES] = new_header(spec)
        else:
            self._fd = open_or_make(disk, path, spec)
            try:
                self._map = disk.map(self._fd, disk.fstat(self._fd).st_size, writable=True)
            except OSError as e:
                disk.close(self._fd)
                kind = NoMapping if e.errno in NO_MAPPING else StorageFault
                raise kind(f"{path}: cannot be mapped: {e.strerror}") from None
        self._mem = memoryview(self._map)
        self._h = self._mem[:SLOTS_AT].cast("Q")
        self.block_bytes, self.blocks, self.ring_id = self._h[H_BLOCK_BYTES], self._h[H_BLOCKS], self._h[H_RING_ID]
        self._slots = self._mem[SLOTS_AT:HEADER_BYTES].cast("Q")
        self.same_boot = (self._h[H_BOOT], self._h[H_BOOT_HIGH]) == spool.boot_id()
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        self._mutex = _Mutex()
        self.mutex_address = self._mutex.address
        self._room = threading.Condition()
        self.kick = threading.Event()
        self.flush_wanted = False
        self.closed = False
        self.trouble = ""
        """Why the writer cannot write just now; part of the error that a refused caller gets."""
        self._max_waiting = None if spec.ring.max_waiting is None else max(1, spec.ring.max_waiting)
        self._recount()

    def _recount(self) -> None:
        """Make up for a kill: the count of the open block may be one ahead of its lines."""
        h, slots = self._h, self._slots
        current, freed = h[H_CURRENT], h[H_FREED]
        at = current % self.blocks * _SLOT_WORDS
        slots[at + S_COUNT] = bytes(self.view(current, 0, slots[at + S_USED])).count(b"\n")
        self._turned_count = sum(slots[b % self.blocks * _SLOT_WORDS + S_COUNT] for b in range(freed, current))
        self._in_file = 0
        # With a limit the first append asks `turn`, which knows how many of earlier blocks still wait.
        h[H_LIMIT] = INT64_MAX if self._max_waiting is None else 0

    # -- producers ----------------------------------------------------------------------------------------------

    def append(self, line: bytes, time_ns: int, patience_ns: int | None = None) -> bool:
        """Put one line (with its newline, at most a block long) into the ring.

        True: acknowledged. False: lost and counted (`overflow = 'drop'`, or `on_failure = 'continue'` after the wait).
        Raises RecordRefused when it cannot be put there and the caller must know. Waits at most *patience_ns*, by
        default the log's `block_timeout`.
        """
        n = len(line)
        h, slots, size, mutex = self._h, self._slots, self.block_bytes, self._mutex.ref
        while True:
            # `with self._mutex`, written out: this is called for every record.
            if _try_mutex(mutex):
                _wait_for_mutex(mutex)
            try:
                k = h[H_CURRENT] % self.blocks
                i = k * _SLOT_WORDS
                at, count = slots[i + 1], slots[i + 4]
                end = at + n
                # A closed ring has a limit of 0.
                if end <= size and count < h[H_LIMIT]:
                    begin = HEADER_BYTES + k * size
                    self._mem[begin + at : begin + end] = line
                    if time_ns < slots[i + 2]:
                        slots[i + 2] = time_ns if time_ns > 0 else 0
                    if time_ns > slots[i + 3]:
                        slots[i + 3] = time_ns if time_ns < INT64_MAX else INT64_MAX
                    slots[i + 4] = count + 1
                    slots[i + 1] = end
                    return True
            finally:
                _unlock_mutex(mutex)
            if not self.turn(n, time_ns, patience_ns):
                return False

    def append_lines(
        self, lines: bytes, count: int, time_min_ns: int, time_max_ns: int, patience_ns: int | None = None
    ) -> list[int]:
        """Put *count* whole lines into the ring, as one unit in one block when they fit there, else in pieces.

        Returns the indices of those that were lost and counted, as `append` counts them: mostly none. Raises
        RecordRefused as `append` does; then the pieces before the refused one are in the ring.
        """
        lost: list[int] = []
        most = min(count, self._max_waiting or count)
        first = at = 0
        while at < len(lines):
            if len(lines) - at <= self.block_bytes and count - first <= most:
                end, n = len(lines), count - first
            else:
                end, n = _piece(lines, at, self.block_bytes, most)
            piece = lines[at:end] if end - at < len(lines) else lines
            lost += (first + k for k in self._append_piece(piece, n, time_min_ns, time_max_ns, patience_ns))
            first, at = first + n, end
        return lost

    def _append_piece(self, piece: bytes, count: int, low: int, high: int, patience_ns: int | None) -> list[int]:
        while True:
            if self._try_piece(piece, count, low, high):
                return []
            if not self._wait_for_room(len(piece), count, patience_ns):
                break
        # Losses are single lines: what still has a place between them is kept.
        if count == 1:
            self._count_drop(min(max(0, low), INT64_MAX))
            return [0]
        half, n = _piece(piece, 0, max(len(piece) // 2, piece.index(b"\n") + 1), count - 1)
        lost = self._append_piece(piece[:half], n, low, high, 0)
        return lost + [n + k for k in self._append_piece(piece[half:], count - n, low, high, 0)]

    def _try_piece(self, piece: bytes, count: int, low: int, high: int) -> bool:
        h, slots = self._h, self._slots
        with self._mutex:
            k = h[H_CURRENT] % self.blocks
            i = k * _SLOT_WORDS
            at, before = slots[i + S_USED], slots[i + S_COUNT]
            end = at + len(piece)
            if end > self.block_bytes or before + count > h[H_LIMIT]:
                return False
            begin = HEADER_BYTES + k * self.block_bytes
            self._mem[begin + at : begin + end] = piece
            slots[i + S_TIME_MIN] = min(slots[i + S_TIME_MIN], max(0, low))
            slots[i + S_TIME_MAX] = min(max(slots[i + S_TIME_MAX], high), INT64_MAX)
            slots[i + S_COUNT] = before + count
            # The acknowledgement of all of them at once.
            slots[i + S_USED] = end
        return True

    def has_room(self) -> bool:
        """Whether a block beyond the open one is free and `max_waiting` far: an append will hardly wait. No lock."""
        h = self._h
        if h[H_CURRENT] + 1 - h[H_FREED] >= self.blocks:
            return False
        if self._max_waiting is None:
            return True
        open_count = self._slots[h[H_CURRENT] % self.blocks * _SLOT_WORDS + S_COUNT]
        return self._turned_count + open_count - self._in_file < self._max_waiting * 7 // 8

    def turn(self, n: int, time_ns: int, patience_ns: int | None = None) -> bool:
        """Make room for a line of *n* bytes: True when the caller should append again, False when it was dropped.

        Waits for the writer when every block is full or `max_waiting` records wait, at most *patience_ns*, by default
        `block_timeout`.
        """
        if self._wait_for_room(n, 1, patience_ns):
            return True
        self._count_drop(min(max(0, time_ns), INT64_MAX))
        return False

    def _wait_for_room(self, n: int, count: int, patience_ns: int | None) -> bool:
        """Whether there is room for *count* lines of *n* bytes in all; False: they may be lost (else raises)."""
        if n > self.block_bytes:
            raise RecordRefused(f"a record of {n} bytes does not fit a block of {self.block_bytes}")
        spec = self.spec
        patience = spec.block_timeout_ns if patience_ns is None else min(patience_ns, spec.block_timeout_ns)
        give_up = 0.0
        with self._room:
            while True:
                if self.closed:
                    raise RecordRefused(f"log '{spec.name}' is closed: the host is stopping")
                if self._make_room(n, count):
                    return True
                self.flush_wanted = True
                self.kick.set()
                if spec.overflow == "drop":
                    return False
                now = time.monotonic()
                give_up = give_up or now + patience / 1e9
                if now >= give_up:
                    if spec.on_failure == "continue" or not spec.required:
                        return False
                    why = self.trouble or "its writer does not keep up"
                    waited = duration_text(patience)
                    raise RecordRefused(f"log '{spec.name}' did not take the record within {waited}: {why}")
                self._room.wait(min(give_up - now, threading.TIMEOUT_MAX))

    def _make_room(self, n: int, count: int) -> bool:
        h, slots = self._h, self._slots
        with self._mutex:
            current = h[H_CURRENT]
            at = current % self.blocks * _SLOT_WORDS
            fits = slots[at + S_USED] + n <= self.block_bytes
            if self._max_waiting is not None:
                waiting = self._turned_count + slots[at + S_COUNT] - self._in_file
                if waiting + count > self._max_waiting:
                    return False
                h[H_LIMIT] = slots[at + S_COUNT] + self._max_waiting - waiting
            if fits:
                return True
            if current + 1 - h[H_FREED] >= self.blocks:
                return False
            self._turned_count += slots[at + S_COUNT]
            if self._max_waiting is not None:
                h[H_LIMIT] -= slots[at + S_COUNT]
            after = (current + 1) % self.blocks * _SLOT_WORDS
            for word in (S_USED, S_TIME_MAX, S_COUNT, S_DROPPED, S_DROP_MAX):
                slots[after + word] = 0
            slots[after + S_TIME_MIN] = slots[after + S_DROP_MIN] = INT64_MAX
            slots[after + S_BLOCK] = current + 1
            h[H_CURRENT] = current + 1
        self.kick.set()
        return True

    def _count_drop(self, time_ns: int) -> None:
        """Count a loss in the slot of the open block: that is where in the log the gap belongs, and it survives."""
        h, slots = self._h, self._slots
        with self._mutex:
            at = h[H_CURRENT] % self.blocks * _SLOT_WORDS
            slots[at + S_DROPPED] += 1
            slots[at + S_DROP_MIN] = min(slots[at + S_DROP_MIN], time_ns)
            slots[at + S_DROP_MAX] = max(slots[at + S_DROP_MAX], time_ns)

    # -- the consumer -------------------------------------------------------------------------------------------

    def state(self, block: int) -> tuple[int, BlockState]:
        """The number of the open block, and the slot that block *block* lies in."""
        at = block % self.blocks * _SLOT_WORDS
        with self._mutex:
            current = self._h[H_CURRENT]
            words = self._slots[at : at + _SLOT_WORDS].tolist()
        return current, BlockState(*words)

    def view(self, block: int, start: int, end: int) -> memoryview:
        """The bytes of a block between two offsets, in place: valid until the block is freed."""
        base = HEADER_BYTES + block % self.blocks * self.block_bytes
        return self._mem[base + start : base + end]

    @property
    def freed(self) -> int:
        """Blocks below this number are in the log."""
        return self._h[H_FREED]

    def free(self, below: int, in_file: int) -> None:
        """Blocks below *below* may be used again; *in_file* records in all have reached their file."""
        with self._room:
            self._h[H_FREED] = below
            self._in_file = in_file
            self._room.notify_all()

    def in_file(self, count: int) -> None:
        """*count* records in all have reached their file (not yet committed); wakes callers that wait for it."""
        if self._max_waiting is not None:
            with self._room:
                self._in_file = count
                self._room.notify_all()

    @property
    def mark(self) -> Mark:
        """What the sink said at its last commit."""
        return spool.unpack_mark(self._mem[:SLOTS_AT], self._h[H_MARK])

    def set_mark(self, mark: Mark) -> None:
        """Remember a commit. The other cell is written first: a kill leaves the old mark or the new one."""
        index = (self._h[H_MARK] + 1) & 1
        raw = spool.pack_mark(mark)
        at = spool.mark_cell(index)
        self._mem[at : at + len(raw)] = raw
        self._h[H_MARK] = index

    def drops_told(self, block: int, count: int) -> None:
        """*count* losses in all, of those counted against *block*, are told in the log: the times of the next begin
        anew. The count itself goes on; how much of it is told stands in the mark and in the trailer."""
        at = block % self.blocks * _SLOT_WORDS
        with self._mutex:
            if self._slots[at + S_BLOCK] == block and self._slots[at + S_DROPPED] == count:
                self._slots[at + S_DROP_MIN], self._slots[at + S_DROP_MAX] = INT64_MAX, 0

    def end(self) -> tuple[int, int]:
        """The position behind the last acknowledged line (of this thread's at least)."""
        current = self._h[H_CURRENT]
        return current, self._slots[current % self.blocks * _SLOT_WORDS + S_USED]

    def wake(self) -> None:
        """Let every waiting producer look again (after `closed` or `trouble` was set)."""
        with self._room:
            self._room.notify_all()

    def refuse_from_now_on(self) -> None:
        """No line enters any more, from Python or from Lua; callers get RecordRefused."""
        with self._room:
            with self._mutex:
                self.closed = True
                self._h[H_LIMIT] = 0
            self._room.notify_all()

    def close(self) -> None:
        """Let go of the file descriptor. The map stays until the process ends: Lua may still know its address."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1


def _piece(lines: bytes, start: int, most_bytes: int, most_lines: int) -> tuple[int, int]:
    """The end of the whole lines from *start* on that fit the two limits, and how many they are; at least one line."""
    end = lines.rfind(b"\n", start, start + most_bytes) + 1 or lines.index(b"\n", start) + 1
    count = lines.count(b"\n", start, end)
    if count > most_lines:
        end, count = start, most_lines
        for _ in range(most_lines):
            end = lines.index(b"\n", end) + 1
    return end, count
