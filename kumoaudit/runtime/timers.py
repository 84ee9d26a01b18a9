"""Latencies that a policy measures with `kumo.time.start_timer(label)`, kept for the metrics."""

from __future__ import annotations

import threading
from bisect import bisect_left

# KumoMTA's buckets of `user_lua_latency` (the Prometheus default), in seconds; one more counts everything above.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

MAX_LABELS = 1000
OTHER = "other"


class Latency:
    """What one label has seen: how often, how long together, and how many per bucket (not cumulative)."""

    __slots__ = ("buckets", "count", "sum_s")

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)


class Timers:
    """Latencies by label. Any thread. Past 1000 labels new ones are counted as `other`: memory stays bounded."""

    def __init__(self) -> None:
        self._by_label: dict[str, Latency] = {}
        self._lock = threading.Lock()

    def observe(self, label: str, seconds: float) -> None:
        """Count one measurement."""
        with self._lock:
            if label not in self._by_label and len(self._by_label) >= MAX_LABELS:
                label = OTHER
            latency = self._by_label.setdefault(label, Latency())
            latency.count += 1
            latency.sum_s += seconds
            latency.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def snapshot(self) -> dict[str, tuple[int, float, tuple[int, ...]]]:
        """Label -> (count, sum in seconds, counts per bucket), as they are now."""
        with self._lock:
            return {k: (v.count, v.sum_s, tuple(v.buckets)) for k, v in self._by_label.items()}
