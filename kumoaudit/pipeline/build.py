"""Pipeline: specs -> running routes, from the first log that opens to the end. Alone it knows all sinks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import ConfigError, EnvironmentFault, Problem, StorageFault
from kumoaudit.core.predicate import AnyOf, Predicate, fields_of
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import MIB, FreeSpec, Plan, RouteSpec
from kumoaudit.pipeline.emission import Emission
from kumoaudit.pipeline.encode import PythonEncoder, claims_test
from kumoaudit.pipeline.housekeeping import Housekeeping
from kumoaudit.pipeline.notices import WriterNotices, host_event
from kumoaudit.pipeline.register import EarlierRuns, entry_of, register, spec_of
from kumoaudit.pipeline.route import Route, open_route
from kumoaudit.pipeline.state import Health, health
from kumoaudit.segments.lock import DirectoryLock
from kumoaudit.segments.registry import LogEntry, LogKey

DEFAULT_LOG = "log"
# What lies in the data directory beside the directories of the logs.
RESERVED = frozenset({DEFAULT_LOG, "spool", "lock", "logs.json", "logs.json.new", "control.sock"})
NOBODY: Predicate = AnyOf(())

STOP_TIMEOUT_S = 10.0
_IN_MEMORY = ("tmpfs", "ramfs")


class Pipeline(Emission):
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
        super().__init__(node, clock, say)
        self.data_dir, self.disk = os.path.abspath(data_dir), disk
        self.max_event_bytes = MIB
        self.on_change: list[Callable[[], None]] = []
        self.on_first_log: list[Callable[[], None]] = []
        self.is_stopping = False
        """The host has been asked to stop; logs still record."""
        self.is_closing = False
        self.before_release: list[Callable[[], None]] = []
        """Called when every log is closed, while the data directory is still this host's."""
        self.born_in_lua: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Events that Lua recorded, and filtered, on its own: they do not pass `emit`."""
        self._opening = threading.RLock()
        self._encoders: dict[Plan, PythonEncoder] = {}
        self._lock: DirectoryLock | None = None
        self.housekeeping = Housekeeping(disk, clock, self.say, self)

    # -- configuration ------------------------------------------------------------------------------------------

    # -- configuration ------------------------------------------------------------------------------------------

    def check(self, spec: RouteSpec, others: Sequence[RouteSpec] = ()) -> None:
        """Refuse a log whose name or place is taken, by an open log or one of *others*, which would be open by now.

        Raises ConfigError that names the first place.
        """
        if spec.name in RESERVED:
            raise ConfigError(
                [Problem(spec.at, f"the log name {spec.name!r} is the host's own", "choose another name")]
            )
        directory, name = os.path.split(os.path.realpath(spec.path))
        if spec.path and name in RESERVED and directory == os.path.realpath(self.data_dir):
            what = "the place of the default log" if name == DEFAULT_LOG else "the host's own"
            fix = "give each log a directory of its own"
            raise ConfigError([Problem(spec.at, f"log {spec.name!r}: {spec.path} is {what}", fix)])
        for other in (*(r.spec for r in self.routes), *others):
            if other.name == spec.name:
                fix = "give each log a name of its own"
                raise ConfigError([Problem(spec.at, f"log {spec.name!r} is configured already at {other.at}", fix)])
            if spec.path and other.path and os.path.realpath(other.path) == os.path.realpath(spec.path):
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
        if (kind := self.disk.filesystem(self.data_dir)) in _IN_MEMORY:
            self.say(f"spool on {kind}: a reboot loses what is not in a segment")
        self._changed()
        self.housekeeping.start()
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
        return self._open_with(spec, earlier.take_ring(spec, self.node, self._entries()))

    def _open_with(self, spec: RouteSpec, ring: str) -> Route:
        encoder = self._encoders.setdefault(spec.plan, PythonEncoder(spec.plan))
        notices = WriterNotices(encoder, self.node, self.clock, self.housekeeping.announce, self.say)
        route = open_route(self.disk, self.clock, spec, encoder, ring, notices)
        route.writer.start()
        return route

    def _changed(self) -> None:
        self._all = self._chosen = None
        self._in_order = (*self.routes, *([self.default] if self.default else []))
        for route in self._in_order:
            route.max_line_bytes = min(self.max_event_bytes, route.ring.block_bytes)
        for i, route in enumerate(self.routes):
            alone = route.spec.claims_alone
            is_alone = alone is not None and len(self.routes) == 1
            claims = AnyOf((route.spec.claims, alone)) if is_alone and alone is not None else route.spec.claims
            self.routes[i].claims = claims_test(claims, route.spec.plan.fill)
            self.routes[i].claimed = claims
        if all(r.claims is None and r.takes is None for r in self.routes):
            self._all = tuple(self.routes) or self._in_order
        looked_at = frozenset().union(*(fields_of(p) for r in self.routes for p in (r.claimed, r.spec.plan.where)))
        # A new table for each set of logs: a thread that is choosing writes into the one that it began with.
        self._chosen = {} if looked_at <= {"kind", "severity", "outcome"} else None
        register(self._earlier_runs(), self.node, self._entries(), self.say)
        self.housekeeping.look_soon()
        for callback in self.on_change:
            callback()

    def _entries(self) -> list[LogEntry]:
        return [entry_of(r.spec, r.ring.path or "") for r in self.open_routes]

    def _open_logs(self) -> set[LogKey]:
        return {e.log for e in self._entries()}

    def _earlier_runs(self) -> EarlierRuns:
        return EarlierRuns(self.disk, self.data_dir, self._open_logs())

    # -- what the host tells about itself -----------------------------------------------------------------------

    def admin(self, kind: str, description: str, detail: dict[str, object], user: str | None = None) -> None:
        """Record what somebody let the host do (an `admin_...` type): in the default log and in each that claims it, as
        soon as they have room. Any thread; never waits."""
        if self.is_closing:
            self.say(f"{kind} could not be recorded: {description}")  # the logs are closed, or about to be
            return
        event = host_event(self.clock, self.node, kind, description, detail, user=user)
        self.housekeeping.announce(event, "", is_kept=True)

    def places(self) -> list[tuple[str, FreeSpec | None, str]]:
        """Where this host writes, the limits of free room there, and whose they are; the spool last."""
        logs = [*self.routes, *([self.default] if self.default else [])]
        spool = os.path.join(self.data_dir, "spool")
        return [(r.spec.path, r.spec.free, r.spec.name) for r in logs if r.spec.path] + [(spool, None, "spool")]

    def health(self) -> Health:
        """The host's state and the reasons for it. Any thread."""
        return health(self)

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
        deadline = Deadline(self.clock, timeout_s)
        logs = [*reversed(self.routes), *([self.default] if self.default else [])]
        for route in logs:
            if route is self.default:
                self.housekeeping.stop(max(0.1, deadline.left_s()))
            # The last ones get a little even when the first took it all: a disk that works is done by then.
            left |= self._close(route, max(0.5, deadline.left_s()), is_hurried)
        for callback in self.before_release:
            callback()
        if self._lock:
            self._lock.release()
        return left

    @staticmethod
    def _close(route: Route, timeout_s: float, is_hurried: Callable[[], bool] = lambda: False) -> dict[str, int]:
        route.ring.refuse_from_now_on()
        waiting = route.writer.stop(timeout_s, is_hurried)
        route.ring.close()
        return {route.spec.name: waiting} if waiting else {}
