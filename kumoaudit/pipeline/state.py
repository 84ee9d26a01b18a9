"""The state of a log and of the host, from what writers and housekeeping already know. Any thread; takes no lock.

`healthy`: everything is recorded in time. `degraded`: something is late, lost or about to be, but records are taken.
`failed`: a required log does not take records, so their callers are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from kumoaudit.pipeline.build import Pipeline
    from kumoaudit.pipeline.route import Route

State = Literal["healthy", "degraded", "failed"]
_RANK: dict[State, int] = {"healthy": 0, "degraded": 1, "failed": 2}

# A log whose disk has not answered for so long is late, whatever it is waiting for.
STALL_NS = 10_000_000_000

SHUTTING_DOWN = "shutting down"
TOO_FULL = "storage is too full"


class Health(NamedTuple):
    """A state, and why it is not healthy: one text for each thing that is wrong, the worst first."""

    state: State
    reasons: tuple[str, ...] = ()


def log_health(route: Route, now_ns: int, shortage: str = "") -> Health:
    """The state of one log at monotonic time *now_ns*; *shortage* says that its place is below `min_free_*`."""
    spec, ring, writer = route.spec, route.ring, route.writer
    found: list[tuple[State, str]] = []
    since, trouble = writer.unwritten_since_ns, ring.trouble
    stalled_s = (now_ns - since) // 1_000_000_000 if since and now_ns - since >= STALL_NS else 0
    if trouble or stalled_s:
        why = trouble or f"{spec.path or spec.sink} has not answered for {stalled_s} s"
        # What waits for its file is as safe as a log of durability `process` promises, so long as the ring has room.
        is_refusing = ring.is_full or route.is_power or route.writes_through
        if is_refusing and spec.required:
            found.append(("failed", f"log '{spec.name}' does not record: {why}"))
        else:
            found.append(("degraded", f"log '{spec.name}' is late: {why}"))
    if shortage:
        found.append(("degraded", f"log '{spec.name}' is short of room: {shortage}"))
    if untold := writer.backlog().untold:
        found.append(("degraded", f"log '{spec.name}' lost {untold} record{'s' if untold > 1 else ''}"))
    return _worst(found)


def health(pipeline: Pipeline) -> Health:
    """The state of the host: that of its worst log."""
    now, short = pipeline.clock.monotonic_ns(), pipeline.housekeeping.shortages
    found: list[tuple[State, str]] = []
    for route in pipeline.open_routes:
        state, reasons = log_health(route, now, short.get(route.spec.name, ""))
        found += [(state, reason) for reason in reasons]
    return _worst(found)


def _worst(found: list[tuple[State, str]]) -> Health:
    found.sort(key=lambda item: -_RANK[item[0]])
    return Health(found[0][0] if found else "healthy", tuple(reason for _, reason in found))


def liveness(pipeline: Pipeline) -> str:
    """Why the host should get no work just now, or "": what a check of liveness answers (KumoMTA's order)."""
    if pipeline.is_stopping or pipeline.is_closing:
        return SHUTTING_DOWN
    now = health(pipeline)
    if now.state == "failed":
        return now.reasons[0]
    return TOO_FULL if pipeline.housekeeping.shortages else ""


def disk_too_full(pipeline: Pipeline) -> str:
    """Which place is below its `min_free_*` limit, or "": new records from outside are refused then, before the disk
    is full (KumoMTA's `disk is too full`)."""
    return next(iter(pipeline.housekeeping.shortages.values()), "")
