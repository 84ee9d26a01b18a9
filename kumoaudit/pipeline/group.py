"""Group commit: of the threads that wait for the disk at once, one does the work for all.

Who comes while it works waits for the next round. A thread whose record a round has covered goes on at once, it never
queues behind the round after it; of those left over, the first leads the next round. Before its work a leader lets
those come that were there the last time: one fdatasync then serves them all.
"""

from __future__ import annotations

import threading
from typing import Literal

from kumoaudit.core.clock import Deadline

Position = tuple[int, int]


# About what an fdatasync takes: whoever records one thing after the other is back within it.
_GATHER_S = 0.00015


class _Waiter:
    __slots__ = ("leads", "lock", "want")

    def __init__(self, want: Position) -> None:
        self.want, self.leads = want, False
        self.lock = threading.Lock()
        self.lock.acquire()


class GroupCommit:
    """Any thread. A plain lock per waiter: `threading.Condition` would cost more than the disk it waits for."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._has_leader = False
        self._durable: Position = (0, 0)
        # Threads that were here when the last round ended, its leader among them.
        self._company = 1
        self._gathering: threading.Lock | None = None

    def gather(self) -> None:
        """The leader lets those come that were here the last time; alone it goes on at once."""
        with self._mutex:
            if len(self._waiting) + 1 >= self._company:
                return
            self._gathering = all_here = threading.Lock()
            all_here.acquire()
        all_here.acquire(timeout=_GATHER_S)
        with self._mutex:
            self._gathering = None

    def join(self, want: Position, deadline: Deadline) -> Literal["lead", "done", "late"]:
        """`lead`: do the work and call `finish`. `done`: it is done up to *want*. `late`: *deadline* went by."""
        with self._mutex:
            if self._durable >= want:
                return "done"
            if not self._has_leader:
                self._has_leader = True
                return "lead"
            me = _Waiter(want)
            self._waiting.append(me)
            if self._gathering is not None and len(self._waiting) + 1 >= self._company:
                self._gathering.release()
                self._gathering = None
        while not me.lock.acquire(timeout=deadline.step_s()):
            if deadline.left_s():
                continue
            with self._mutex:
                if me in self._waiting:
                    self._waiting.remove(me)
                    return "late"
        return "lead" if me.leads else "done"

    def finish(self, durable: Position) -> None:
        """The leader's work is over, and everything before *durable* is safe (what it was before, after an error)."""
        with self._mutex:
            self._durable = max(self._durable, durable)
            self._company = 1 + len(self._waiting)
            left = []
            for waiter in self._waiting:
                if waiter.want <= durable:
                    waiter.lock.release()
                else:
                    left.append(waiter)
            self._has_leader = bool(left)
            if left:
                left[0].leads = True
                left.pop(0).lock.release()
            self._waiting = left
