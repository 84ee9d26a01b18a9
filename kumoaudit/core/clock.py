"""The system's clock: the real implementation of the `Clock` seam; and time limits that are measured on any clock."""

from __future__ import annotations

import time

from kumoaudit.core.protocols import Clock

_STEP_S = 0.2
_STEP_NS = 200_000_000
# For ever, in seconds: three hundred years.
_FOREVER_S = 1e10
_FOREVER_NS = 10**19


class SystemClock:
    """Wall and monotonic time of the machine. Any thread."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may step back when the machine's clock is set."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never steps back."""
        return time.monotonic_ns()


class Deadline:
    """A limit in seconds from now, measured on a clock. Any thread.

    Who waits for something real waits `step_s` at a time and looks again: a clock that somebody moves is noticed.
    """

    __slots__ = ("_clock", "_end_ns")

    def __init__(self, clock: Clock, seconds: float) -> None:
        # NaN and what is below zero are none at all.
        ahead_ns = int(seconds * 1e9) if 0 < seconds < _FOREVER_S else _FOREVER_NS if seconds > 0 else 0
        self._clock, self._end_ns = clock, clock.monotonic_ns() + ahead_ns

    def left_s(self) -> float:
        """Seconds until then, 0.0 when it is over."""
        left = self._end_ns - self._clock.monotonic_ns()
        return left / 1e9 if left > 0 else 0.0

    def step_s(self) -> float:
        """How long to wait for real before the next look: what is left, at most a fifth of a second."""
        left = self._end_ns - self._clock.monotonic_ns()
        if left >= _STEP_NS:
            return _STEP_S
        return left / 1e9 if left > 0 else 0.0
