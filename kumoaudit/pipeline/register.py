"""The registry of logs as a host keeps it, and whether an earlier run left something in a ring."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kumoaudit.core.protocols import Disk
from kumoaudit.pipeline.route import Route
from kumoaudit.segments.registry import LogEntry, merge, read_registry, write_registry
from kumoaudit.segments.spool import SpoolView


def register(disk: Disk, data_dir: str, node: str, routes: Iterable[Route], say: Callable[[str], None]) -> None:
    """Write the open logs into the registry of *data_dir*; a disk that does not take it is said, never raised."""
    entries = [
        LogEntry(
            r.spec.name,
            r.spec.sink,
            r.spec.path,
            r.spec.plan.format,
            r.spec.at,
            r.spec.file_prefix or r.spec.name,
            r.ring.path or "",
        )
        for r in routes
    ]
    before = read_registry(disk, data_dir)
    now = merge(before, node, entries)
    if now == before:
        return
    try:
        write_registry(disk, data_dir, now)
    except OSError as e:
        # A full disk never stops a start; the logs are found by their directories too.
        say(f"{data_dir}: the registry of logs could not be written: {(e.strerror or str(e)).lower()}")


def has_waiting(disk: Disk, ring: str) -> bool:
    """Whether a ring file holds lines behind its last commit."""
    try:
        view = SpoolView(disk, ring)
    except (OSError, ValueError):
        return False
    try:
        mark = view.mark
        return view.after(view.freed(), mark.ring_id, mark.block, mark.offset) != b""
    finally:
        view.close()
