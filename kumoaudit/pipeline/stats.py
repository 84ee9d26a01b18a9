"""Counters of the logs and of the host as plain data: for `status`, metrics and whoever asks. Any thread, no wait.

Every counter begins at 0 with the host and never falls; the paths of records only add to plain integers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kumoaudit.core.timetext import rfc3339
from kumoaudit.pipeline.state import health, log_health

if TYPE_CHECKING:
    from kumoaudit.pipeline.build import Pipeline
    from kumoaudit.pipeline.route import Route
    from kumoaudit.segments.freespace import Room

# Counters of a log that the host has in total too.
LOG_COUNTERS = ("accepted", "filtered", "written", "dropped", "refused", "failed", "segments", "bytes_written")
LOG_GAUGES = ("waiting_records", "waiting_bytes")

_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def snapshot(pipeline: Pipeline) -> dict[str, Any]:
    """What is known now, JSON-able:

    - `time` (RFC 3339), `node`, `data_dir`, `state` and `reasons` (`pipeline.state`), `is_stopping`
    - `events`: `recorded` (in at least one log), `filtered` (by every log meant for them), `own` (of the host itself)
    - `logs`: a row for each log (`log_row`), the default one first
    - `totals`: sums over the logs
    - `disk`: by directory, what was free at the last look (every 5 s): `disk_free_bytes`, `disk_free_percent`,
      `disk_free_inodes`, `disk_free_inodes_percent`; the last two are None where there is no limit of inodes
    """
    now, short = pipeline.clock.monotonic_ns(), pipeline.housekeeping.shortages
    logs = [log_row(r, now, short.get(r.spec.name, "")) for r in pipeline.open_routes]
    state, reasons = health(pipeline)
    in_lua, filtered_in_lua = pipeline.born_in_lua()
    totals = pipeline.totals
    return {
        "time": rfc3339(pipeline.clock.now_ns()),
        "node": pipeline.node,
        "data_dir": pipeline.data_dir,
        "state": state,
        "reasons": list(reasons),
        "is_stopping": pipeline.is_stopping or pipeline.is_closing,
        "events": {
            "recorded": totals.recorded + in_lua,
            "filtered": totals.filtered + filtered_in_lua,
            "own": totals.own,
        },
        "logs": logs,
        "totals": {name: sum(log[name] or 0 for log in logs) for name in (*LOG_COUNTERS, *LOG_GAUGES)},
        "disk": {path: disk_row(room) for path, room in pipeline.housekeeping.rooms.items()},
    }


def log_row(route: Route, now_ns: int, shortage: str = "") -> dict[str, Any]:
    """One log: what it is, its state, and

    - `accepted` records that were put into the ring; `filtered` events that it was meant for and did not want
    - `written` records that reached their file (those that the last run left in the ring too)
    - `dropped` losses, `refused` callers that got an error, `failed` errors of the sink
    - `waiting_records`, `waiting_bytes`: in the ring, not committed; `oldest_unwritten_s`: age of the oldest of them
      that is in no file yet, None for none
    - `last_commit` (RFC 3339, None before the first), `segments` begun and `bytes_written` (None: the sink has none)
    """
    spec, ring, writer = route.spec, route.ring, route.writer
    backlog, since = writer.backlog(), writer.unwritten_since_ns
    state, reasons = log_health(route, now_ns, shortage)
    return {
        "name": spec.name,
        "sink": spec.sink,
        "path": without_credentials(spec.path),
        "format": spec.plan.format,
        "durability": spec.durability,
        "required": spec.required,
        "at": spec.at,
        "state": state,
        "reasons": list(reasons),
        "accepted": ring.accepted,
        "filtered": route.filtered + route.filtered_in_lua.value,
        "written": writer.written,
        "dropped": ring.dropped,
        "refused": ring.refused + writer.refused,
        "failed": writer.failures,
        "waiting_records": backlog.records,
        "waiting_bytes": backlog.bytes,
        "oldest_unwritten_s": max(0.0, round((now_ns - since) / 1e9, 3)) if since else None,
        "last_commit": rfc3339(writer.last_commit_ns) if writer.last_commit_ns else None,
        "segments": getattr(writer.sink, "files_begun", None),
        "bytes_written": getattr(writer.sink, "stored_bytes", None),
    }


def disk_row(room: Room) -> dict[str, int | None]:
    """What is free in a directory, under KumoMTA's names (its section 5.7; percent are rounded down)."""
    has_inodes = room.inodes > 0
    return {
        "disk_free_bytes": room.bytes_free,
        "disk_free_percent": 100 * room.bytes_free // room.bytes_total if room.bytes_total else 0,
        "disk_free_inodes": room.inodes_free if has_inodes else None,
        "disk_free_inodes_percent": 100 * room.inodes_free // room.inodes if has_inodes else None,
    }


def without_credentials(place: str) -> str:
    """A path or URL as it may be shown."""
    return _CREDENTIALS.sub("//***@", place)
