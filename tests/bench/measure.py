"""CPU and wall time around a piece of work, taken inside the process that does it."""

from __future__ import annotations

import resource
import time
from typing import Any


class Meter:
    """Started when made. CPU is user + system time of the whole process, all its threads, or of its children."""

    def __init__(self, who: int = resource.RUSAGE_SELF) -> None:
        self._who = who
        self._cpu = cpu_s(who)
        self._wall = time.perf_counter()

    def figures(self, events: int) -> dict[str, Any]:
        """What has passed since the start, in all and per event."""
        wall = time.perf_counter() - self._wall
        cpu = cpu_s(self._who) - self._cpu
        return {"events": events, "wall_s": wall, "cpu_s": cpu, "cpu_ns": cpu / events * 1e9, "rate": events / wall}


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    """Seconds of CPU, user and system."""
    r = resource.getrusage(who)
    return r.ru_utime + r.ru_stime


def peak_mb() -> float:
    """The most memory that this process has held, in MB of 10^6 bytes.

    The kernel hands the peak of the process that started this one down to it, so the parent must be small.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def percentile(values: list[float], share: float) -> float:
    """The value below which *share* (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
