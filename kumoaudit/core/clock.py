"""The system's clock: the real implementation of the `Clock` seam."""

from __future__ import annotations

import time


class SystemClock:
    """Wall and monotonic time of the machine. Any thread."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may step back when the machine's clock is set."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never steps back."""
        return time.monotonic_ns()
