"""The gate: one thread at a time is inside Lua, in turn, and nobody waits for ever.

It stands in front of lupa's own lock, which has no time-out and is not fair.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import KumoauditError
from kumoaudit.core.protocols import Clock


class GateTimeout(KumoauditError):
    """The runtime stayed busy for as long as the caller was willing to wait."""


class Gate:
    """A re-entrant lock that is handed over first come, first served. Any thread.

    `busy_since` (monotonic time of the clock in nanoseconds, 0 when nobody is inside) and `what` are for the watchdog.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._owner = 0
        self._depth = 0
        self.busy_since = 0
        self.what = ""

    @contextmanager
    def entered(self, what: str, timeout_s: float | None = None) -> Iterator[None]:
        """Be inside for the block. Raises GateTimeout after *timeout_s* seconds (None waits as long as it takes)."""
        self.acquire(what, timeout_s)
        try:
            yield
        finally:
            self.release()

    def acquire(self, what: str, timeout_s: float | None = None) -> None:
        """Enter, or raise GateTimeout."""
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        with self._mutex:
            if not self._owner and not self._waiting:
                self._enter(me, what)
                return
            ticket = threading.Lock()
            ticket.acquire()
            self._waiting.append(ticket)
        if timeout_s is None:
            got = ticket.acquire()
        else:
            deadline = Deadline(self._clock, timeout_s)
            while not (got := ticket.acquire(timeout=deadline.step_s())) and deadline.left_s():
                pass
        with self._mutex:
            # A ticket that is no longer queued was handed over in the very moment: take it.
            if not got and ticket in self._waiting:
                self._waiting.remove(ticket)
                raise GateTimeout(f"the Lua runtime is busy with {self.what or 'another call'}")
            self._enter(me, what)

    def _enter(self, me: int, what: str) -> None:
        self._owner, self._depth = me, 1
        self.what, self.busy_since = what, self._clock.monotonic_ns()

    def release(self) -> None:
        """Leave; the one who has waited longest is let in."""
        self._depth -= 1
        if self._depth:
            return
        with self._mutex:
            self._owner, self.busy_since, self.what = 0, 0, ""
            if self._waiting:
                # Owner 0 with a ticket handed out: a newcomer still sees the queue or the ticket's holder enter.
                self._owner = -1
                self._waiting.popleft().release()
