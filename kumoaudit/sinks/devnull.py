"""The sink of a log that is switched off: takes everything, keeps nothing (Tarantool `to: devnull`)."""

from __future__ import annotations

from kumoaudit.core.event import Batch, Mark


class DevNullSink:
    """A `Sink`. The writer's thread."""

    deadline_ns: int | None = None

    def open(self, mark: Mark) -> Mark:
        self._seq = mark.next_seq
        return mark

    def write(self, batch: Batch) -> Mark | None:
        self._seq += batch.count + batch.extra_count
        return Mark(batch.ring_id, batch.block, batch.start + len(batch.lines), self._seq)

    def sync(self) -> None:
        """Nothing is kept, so nothing can be lost."""

    def reopen(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """There is no file."""
