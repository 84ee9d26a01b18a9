"""What earlier runs left in a data directory: whose records a ring holds, and the spec that brings them into their log.

A ring belongs to one log (sink, directory, prefix). Whoever configures something else under the same name, or another
log in the same directory, finds these first and has them finished as they were configured.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from msgspec.structs import replace

from kumoaudit.core.predicate import AnyOf
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import Plan, RouteSpec
from kumoaudit.segments.registry import LogEntry, LogKey, Registry, read_registry
from kumoaudit.segments.spool import SpoolView


def entry_of(spec: RouteSpec, ring: str) -> LogEntry:
    """A log as the registry knows it; *ring* is the path of its ring, "" without one."""
    return LogEntry(spec.name, spec.sink, spec.path, spec.plan.format, spec.at, spec.file_prefix or spec.name, ring)


def spec_of(entry: LogEntry) -> RouteSpec:
    """The spec under which a log of an earlier run is opened to be finished; it takes nothing new."""
    plan = Plan(format=entry.format)
    return RouteSpec(
        entry.name, plan, AnyOf(()), entry.sink, entry.path, at=entry.at, file_prefix=entry.prefix or entry.name
    )


class EarlierRuns:
    """The registry of a data directory as it stands now, with places as they are today. Raises StorageFault."""

    def __init__(self, disk: Disk, data_dir: str, open_now: Collection[LogKey]) -> None:
        self._disk, self._spool, self._open = disk, os.path.join(data_dir, "spool"), open_now
        self.stored: Registry | None = read_registry(disk, data_dir)
        self.logs = [_moved_with(data_dir, e) for e in self.stored.logs] if self.stored else []

    def before(self, spec: RouteSpec) -> list[LogEntry]:
        """Logs that have to be finished before *spec* may open: they share its ring or its directory and hold records
        that are in no file yet."""
        me, ring = entry_of(spec, "").log, self.ring_of(spec)
        return [
            e
            for e in self.logs
            if e.log not in self._open
            and (e.log != me or e.format != spec.plan.format)
            and (e.ring == ring or (e.path and e.path == spec.path))
            and self.has_waiting(e)
        ]

    def ring_of(self, spec: RouteSpec) -> str:
        """The ring that *spec* had in an earlier run; for a new log the one of its name."""
        me = entry_of(spec, "").log
        had = [e.ring for e in self.logs if e.log == me and e.ring]
        return had[0] if had else os.path.join(self._spool, f"{spec.name}.ring")

    def free_ring(self, spec: RouteSpec) -> str:
        """As `ring_of`, but never one that another log uses or has left records in."""
        me, ring, number = entry_of(spec, "").log, self.ring_of(spec), 1
        while any(e.ring == ring and e.log != me and (e.log in self._open or self.has_waiting(e)) for e in self.logs):
            number += 1
            ring = os.path.join(self._spool, f"{spec.name}~{number}.ring")
        return ring

    def is_anothers(self, ring: str, log: LogKey) -> bool:
        """Whether a ring was that of another log than *log* until now."""
        return any(e.ring == ring and e.log != log for e in self.logs)

    def has_waiting(self, entry: LogEntry) -> bool:
        """Whether the ring of a log that is kept holds lines behind its last commit."""
        if not entry.ring or entry.sink != "segments":
            return False
        try:
            view = SpoolView(self._disk, entry.ring)
        except (OSError, ValueError):
            return False
        try:
            mark = view.mark
            return view.after(view.freed(), mark.ring_id, mark.block, mark.offset) != b""
        finally:
            view.close()


def _moved_with(data_dir: str, entry: LogEntry) -> LogEntry:
    """*entry* with its places where they are when the data directory was moved as a whole."""
    if not entry.ring:
        return entry
    old = os.path.dirname(os.path.dirname(entry.ring))
    if old == data_dir:
        return entry
    ring = os.path.join(data_dir, "spool", os.path.basename(entry.ring))
    inside = entry.path.startswith(old + os.sep)
    return replace(entry, ring=ring, path=os.path.join(data_dir, entry.path[len(old) + 1 :]) if inside else entry.path)
