"""A sink that keeps what it is given, for tests of what stands before a sink."""

from __future__ import annotations

from collections.abc import Callable

from kumoaudit.core.event import Batch, Mark


class MemorySink:
    """A `Sink`. `lines` holds every line in order, `marks` every commit. `on_write` may raise to play a fault."""

    deadline_ns: int | None = None

    def __init__(self, on_write: Callable[[Batch], None] | None = None) -> None:
        self.lines: list[bytes] = []
        self.marks: list[Mark] = []
        self.opened = self.reopened = self.synced = 0
        self.is_closed = False
        self._on_write = on_write
        self._open: list[bytes] = []
        self._seq = 1

    def open(self, mark: Mark) -> Mark:
        self.opened += 1
        self._open.clear()
        self._seq = mark.next_seq
        return mark

    def write(self, batch: Batch) -> Mark | None:
        if self._on_write:
            self._on_write(batch)
        self._open += bytes(batch.lines).splitlines(keepends=True)
        if not batch.commit:
            return None
        self._open += batch.extra.splitlines(keepends=True)
        self._seq += len(self._open)
        self.lines += self._open
        self._open.clear()
        mark = Mark(batch.ring_id, batch.block, batch.start + len(batch.lines), self._seq)
        self.marks.append(mark)
        return mark

    def sync(self) -> None:
        self.synced += 1

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.is_closed = True
