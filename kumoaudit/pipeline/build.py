"""Pipeline: specs -> running routes, and the one `emit` that every event goes through. Alone it knows all sinks.

Which log takes what (interface section 1): a log records what it is meant for (`claims`) and its filter takes; what no
configured log is meant for goes to the default log, `<data-dir>/log`, so a policy that configures nothing still
records. The host's own records go to the default log and to every log that claims them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from kumoaudit.core.catalog import HOST_TYPES
from kumoaudit.core.errors import ConfigError, EnvironmentFault, Problem, RecordRefused, StorageFault
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import AnyOf, Predicate
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import MIB, Plan, RouteSpec
from kumoaudit.pipeline.encode import PythonEncoder, claims_test, cut_to
from kumoaudit.pipeline.housekeeping import Housekeeping
from kumoaudit.pipeline.left import EarlierRuns, entry_of, spec_of
from kumoaudit.pipeline.notices import WriterNotices, harmless, host_event
from kumoaudit.pipeline.route import Route, open_route
from kumoaudit.pipeline.totals import Totals
from kumoaudit.segments.lock import DirectoryLock
from kumoaudit.segments.registry import LogEntry, LogKey, merge, write_registry

DEFAULT_LOG = "log"
RESERVED = frozenset({DEFAULT_LOG, "spool"})
NOBODY: Predicate = AnyOf(())

STOP_TIMEOUT_S = 10.0


class Pipeline:
    """The logs of one host. `emit` and `host`: any thread; `open_log` and `close`: the thread that configures."""

    def __init__(
        self,
        data_dir: str,
        node: str,
        disk: Disk,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Touches nothing: the data directory is made by the first log that opens."""
        self.data_dir, self.node, self.disk, self.clock = os.path.abspath(data_dir), node, disk, clock
        self.say = harmless(say)
        self.max_event_bytes = MIB
        self.totals = totals = Totals()
        self._count_recorded, self._count_filtered, self._count_own = (
            totals.count_recorded,
            totals.count_filtered,
            totals.count_own,
        )
        self.routes: list[Route] = []
        self.default: Route | None = None
        self._in_order: tuple[Route, ...] = ()
        self.on_change: list[Callable[[], None]] = []
        self.on_first_log: list[Callable[[], None]] = []
        self.is_closing = False
        self._opening = threading.RLock()
        self._encoders: dict[Plan, PythonEncoder] = {}
        self._lock: DirectoryLock | None = None
        self.housekeeping = Housekeeping(disk, clock, self.say, self)

    # -- configuration ------------------------------------------------------------------------------------------

    def check(self, spec: RouteSpec) -> None:
        """Refuse a log whose name or place is taken. Raises ConfigError that names the first place."""
        if spec.name in RESERVED:
            raise ConfigError(
                [Problem(spec.at, f"the log name {spec.name!r} is the host's own", "choose another name")]
            )
        for route in self.routes:
            other = route.spec
            if other.name == spec.name:
                fix = "give each log a name of its own"
                raise ConfigError([Problem(spec.at, f"log {spec.name!r} is configured already at {other.at}", fix)])
            if other.path and other.path == spec.path:
                fix = "give each log a directory of its own"
                raise ConfigError(
                    [Problem(spec.at, f"{spec.path} is already the place of log {other.name!r} ({other.at})", fix)]
                )

    def open_log(self, spec: RouteSpec) -> Route:
        """Bring up a configured log. Raises ConfigError, StorageFault, LogInUse; then nothing has changed."""
        self.check(spec)
        self._ensure_default()
        route = self._open(spec)
        self.routes.append(route)
        self._changed()
        return route

    def start(self) -> None:
        """Make sure that there is a log: the default one opens with the first event or here, whichever is earlier."""
        self._ensure_default()

    def _ensure_default(self) -> Route:
        # Other threads see the default log when everything about it is in place, not before.
        if self.default is not None and self._in_order:
            return self.default
        with self._opening:
            return self.default or self._open_default()

    def _open_default(self) -> Route:
        try:
            self.disk.makedirs(os.path.join(self.data_dir, "spool"))
        except OSError as e:
            raise StorageFault(
                f"data directory {self.data_dir}: {e.strerror} (running as uid {os.geteuid()})\n"
                "  free space, make it writable, or choose another --data-dir"
            ) from None
        lock = DirectoryLock(self.disk, os.path.join(self.data_dir, "lock"), self.data_dir, "data directory")
        place = os.path.join(self.data_dir, DEFAULT_LOG)
        try:
            self.default = self._open(RouteSpec(DEFAULT_LOG, Plan(), NOBODY, "segments", place, at="default"))
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        self.housekeeping.start()
        self._changed()
        for callback in self.on_first_log:
            callback()
        return self.default

    def finish_left_logs(self) -> None:
        """Logs of an earlier run that this one does not have: what a crash left in their rings goes into their files.

        Called when all logs of this run are open. A log that cannot be opened stays as it is and is said.
        """
        earlier = self._earlier_runs()
        for entry in earlier.logs:
            if entry.log not in self._open_logs() and earlier.has_waiting(entry):
                self._finish_left(entry)

    def _finish_left(self, entry: LogEntry) -> None:
        """Bring what the ring of an earlier run's log holds into its files; what cannot be is said."""
        try:
            left = self._close(self._open_with(spec_of(entry), entry.ring), STOP_TIMEOUT_S)
        except EnvironmentFault as e:
            self.say(f"log '{entry.name}' of an earlier run holds records that are in no file yet: {e}")
            return
        for count in left.values():
            what = f"{count} records stay in the ring and are written at the next start"
            self.say(f"log '{entry.name}' of an earlier run: {what}")

    def _open(self, spec: RouteSpec) -> Route:
        """Open a log of this run. One that takes the ring or the directory of another, which a crash left unfinished,
        waits until that one is finished as it was configured: its acknowledged records are no part of the new log."""
        earlier = self._earlier_runs()
        for entry in earlier.before(spec):
            self._finish_left(entry)
        ring = earlier.free_ring(spec)
        entry = entry_of(spec, ring)
        if earlier.is_anothers(ring, entry.log):
            # Whose ring it is must be on the disk before the first record enters it.
            try:
                self._write_registry(earlier, [*self._entries(), entry])
                self.disk.unlink(ring)
            except FileNotFoundError:
                pass
            except OSError as e:
                raise StorageFault(
                    f"{self.data_dir}: log '{spec.name}' is configured otherwise than before; that could not be noted:"
                    f" {(e.strerror or str(e)).lower()}\n  free space or make the directory writable"
                ) from None
        return self._open_with(spec, ring)

    def _open_with(self, spec: RouteSpec, ring: str) -> Route:
        encoder = self._encoders.setdefault(spec.plan, PythonEncoder(spec.plan))
        notices = WriterNotices(encoder, self.node, self.clock, self.housekeeping.announce, self.say)
        route = open_route(self.disk, self.clock, spec, encoder, ring, notices)
        route.writer.start()
        return route

    def _changed(self) -> None:
        self._in_order = (*self.routes, *([self.default] if self.default else []))
        for route in self._in_order:
            route.max_line_bytes = min(self.max_event_bytes, route.ring.block_bytes)
        for i, route in enumerate(self.routes):
            alone = route.spec.claims_alone
            is_alone = alone is not None and len(self.routes) == 1
            claims = AnyOf((route.spec.claims, alone)) if is_alone and alone is not None else route.spec.claims
            self.routes[i].claims = claims_test(claims, route.spec.plan.fill)
            self.routes[i].claimed = claims
        self._register()
        for callback in self.on_change:
            callback()

    def _register(self) -> None:
        try:
            self._write_registry(self._earlier_runs(), self._entries())
        except OSError as e:
            # A full disk never stops a start; the logs are found by their directories too.
            self.say(f"{self.data_dir}: the registry of logs could not be written: {(e.strerror or str(e)).lower()}")

    def _write_registry(self, earlier: EarlierRuns, entries: list[LogEntry]) -> None:
        now = merge(earlier.logs, self.node, entries)
        if now != earlier.stored:
            write_registry(self.disk, self.data_dir, now)

    def _entries(self) -> list[LogEntry]:
        return [entry_of(r.spec, r.ring.path or "") for r in self.open_routes]

    def _open_logs(self) -> set[LogKey]:
        return {e.log for e in self._entries()}

    def _earlier_runs(self) -> EarlierRuns:
        return EarlierRuns(self.disk, self.data_dir, self._open_logs())

    @property
    def open_routes(self) -> list[Route]:
        """Every log that is open, the default one first."""
        return [*([self.default] if self.default else []), *self.routes]

    # -- events -------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> bool:
        """Record *event* where it belongs; whether any log did. Raises RecordRefused when a required log could not."""
        if not event.node:
            event = replace(event, node=self.node)
        in_order = self._in_order
        if not in_order:
            self._ensure_default()
            in_order = self._in_order
        default = in_order[-1]
        is_own = event.kind == "system" and event.type in HOST_TYPES
        meant = took = lost = False
        refused = ""
        encoder: PythonEncoder | None = None
        line = b""
        for route in in_order:
            if route is default:
                if meant and not is_own:
                    break
            elif (claims := route.claims) is None or claims(event):
                meant = True
                if (takes := route.takes) is not None and not takes(event):
                    continue
            else:
                continue
            if route.encoder is not encoder:
                # Logs with equal plans share an encoder, and so a line.
                encoder = route.encoder
                line = encoder.line(event)
            if len(line) > route.max_line_bytes:
                line = self._cut(route, event, len(line))
            try:
                if route.put(line, event.time_ns):
                    took = True
                else:
                    lost = True
            except RecordRefused as e:
                refused = f"{refused}; {e}" if refused else str(e)
        if is_own:
            next(self._count_own)
        elif took:
            next(self._count_recorded)
        elif not (refused or lost):
            next(self._count_filtered)
        if refused and not (is_own and took):
            raise RecordRefused(refused)
        return took

    def offer(self, route: Route, event: Event) -> tuple[bool, bool | None]:
        """Record *event* in one log as `emit` would: whether the log is meant for it, and whether it took it (None: its
        filter did not want it; False: lost, and counted). Raises RecordRefused.

        `emit` has the same steps written out: a call for each log would be felt there.
        """
        if route.claims is not None and not route.claims(event):
            return False, None
        if route.takes is not None and not route.takes(event):
            return True, None
        line = route.encoder.line(event)
        if len(line) > route.max_line_bytes:
            line = self._cut(route, event, len(line))
        return True, route.put(line, event.time_ns)

    def _cut(self, route: Route, event: Event, size: int) -> bytes:
        """An event that is too long is recorded all the same, with its longest texts cut, and the log says so."""
        limit = route.max_line_bytes
        cut = cut_to(event, limit, route.encoder.line)
        if event.type != "event_truncated":
            self.host(
                "event_truncated",
                f"event {event.id} of {size} bytes was cut to max_event_size ({limit} bytes)",
                {"event": event.id, "bytes": size, "limit": limit},
            )
        return route.encoder.line(cut)

    def host(self, kind: str, description: str, detail: dict[str, object] | None = None) -> None:
        """Record something about the host itself; that a log cannot take it is said, never raised."""
        try:
            self.emit(host_event(self.clock, self.node, kind, description, detail))
        except RecordRefused as e:
            self.say(f"{kind} could not be recorded: {e}")

    def tell_others(self, event: Event, origin: str) -> None:
        """Give an event about log *origin* to the other logs: the default one and those that claim it."""
        for route in self.open_routes:
            if route.spec.name == origin or (route is not self.default and not self._wants(route, event)):
                continue
            try:
                route.put(route.encoder.line(event), event.time_ns)
            except RecordRefused as e:
                # A log that has been closed already is no news while the host stops.
                if not route.ring.closed:
                    self.say(f"{event.type} could not be recorded: {e}")

    @staticmethod
    def _wants(route: Route, event: Event) -> bool:
        return (route.claims is None or route.claims(event)) and (route.takes is None or route.takes(event))

    # -- the end ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Everything acknowledged so far is in the files. Raises RecordRefused."""
        for route in self.open_routes:
            route.writer.flush()

    def close(
        self, timeout_s: float = STOP_TIMEOUT_S, is_hurried: Callable[[], bool] = lambda: False
    ) -> dict[str, int]:
        """Write what is left and finish every log, the default one last; what stayed in a ring, by log.

        The time is for all logs together; *is_hurried* is asked meanwhile, and True leaves each log a second at most.
        """
        self.is_closing = True
        left: dict[str, int] = {}
        give_up = time.monotonic() + timeout_s
        logs = [*reversed(self.routes), *([self.default] if self.default else [])]
        for route in logs:
            if route is self.default:
                self.housekeeping.stop(max(0.1, give_up - time.monotonic()))
            # The last ones get a little even when the first took it all: a disk that works is done by then.
            left |= self._close(route, max(0.5, give_up - time.monotonic()), is_hurried)
        if self._lock:
            self._lock.release()
        return left

    @staticmethod
    def _close(route: Route, timeout_s: float, is_hurried: Callable[[], bool] = lambda: False) -> dict[str, int]:
        route.ring.refuse_from_now_on()
        waiting = route.writer.stop(timeout_s, is_hurried)
        route.ring.close()
        return {route.spec.name: waiting} if waiting else {}
