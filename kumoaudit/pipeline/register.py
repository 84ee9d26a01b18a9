"""The registry of logs as a host keeps it; whose records a ring of an earlier run holds, and how they reach their log.

A ring belongs to one log (sink, directory, prefix). Whoever configures something else under the same name, or another
log in the same directory, finds these first and has them finished as they were configured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from msgspec.structs import replace

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.predicate import AnyOf
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import Plan, RouteSpec
from kumoaudit.segments.registry import LogEntry, LogKey, Registry, merge, read_registry, write_registry
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
        self._disk, self.data_dir, self._open = disk, data_dir, open_now
        self._spool = os.path.join(data_dir, "spool")
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

    def take_ring(self, spec: RouteSpec, node: str, open_now: list[LogEntry]) -> str:
        """The path of the ring that *spec* opens with. One that was another log's is noted as this one's, and begun
        anew. Raises StorageFault."""
        ring = self.free_ring(spec)
        entry = entry_of(spec, ring)
        if any(e.ring == ring and e.log != entry.log for e in self.logs):
            # Whose ring it is must be on the disk before the first record enters it.
            try:
                self.write(node, [*open_now, entry])
                self._disk.unlink(ring)
            except FileNotFoundError:
                pass
            except OSError as e:
                raise StorageFault(
                    f"{self.data_dir}: log '{spec.name}' is configured otherwise than before; that could not be noted:"
                    f" {(e.strerror or str(e)).lower()}\n  free space or make the directory writable"
                ) from None
        return ring

    def write(self, node: str, entries: list[LogEntry]) -> None:
        """Write the open logs into the registry, if it says otherwise. Raises OSError."""
        now = merge(self.logs, node, entries)
        if now != self.stored:
            write_registry(self._disk, self.data_dir, now)

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


def register(earlier: EarlierRuns, node: str, entries: list[LogEntry], say: Callable[[str], None]) -> None:
    """Write the open logs into the registry; a disk that does not take it is said, never raised."""
    try:
        earlier.write(node, entries)
    except OSError as e:
        # A full disk never stops a start; the logs are found by their directories too.
        say(f"{earlier.data_dir}: the registry of logs could not be written: {(e.strerror or str(e)).lower()}")
