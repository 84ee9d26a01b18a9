"""Pipeline: specs -> running routes, and the one `emit` that every event goes through. Alone it knows all sinks.

Which log takes what (interface section 1): a log records what it is meant for (`claims`) and its filter takes; what no
configured log is meant for goes to the default log, `<data-dir>/log`, so a policy that configures nothing still
records. The host's own records go to the default log and to every log that claims them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kumoaudit.core.catalog import HOST_TYPES
from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import ConfigError, EnvironmentFault, Problem, RecordRefused, StorageFault
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import AnyOf, Predicate
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import MIB, FreeSpec, Plan, RouteSpec
from kumoaudit.pipeline.encode import PythonEncoder, claims_test, cut_to, has_longer
from kumoaudit.pipeline.housekeeping import Housekeeping
from kumoaudit.pipeline.notices import WriterNotices, host_event
from kumoaudit.pipeline.register import has_waiting, register
from kumoaudit.pipeline.route import Route, open_route
from kumoaudit.pipeline.state import Health, health
from kumoaudit.segments.lock import DirectoryLock
from kumoaudit.segments.registry import read_registry

DEFAULT_LOG = "log"
# What lies in the data directory beside the directories of the logs.
RESERVED = frozenset({DEFAULT_LOG, "spool", "lock", "logs.json", "logs.json.new", "control.sock"})
NOBODY: Predicate = AnyOf(())

STOP_TIMEOUT_S = 10.0
_IN_MEMORY = ("tmpfs", "ramfs")


class Totals:
    """Events since the start: `recorded` in at least one log, `filtered` by every log meant for them."""

    def __init__(self) -> None:
        self.recorded = self.filtered = self.own = 0


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
        self.data_dir, self.node, self.disk, self.clock, self.say = os.path.abspath(data_dir), node, disk, clock, say
        self.max_event_bytes = MIB
        self.totals = Totals()
        self.routes: list[Route] = []
        self.default: Route | None = None
        self._in_order: tuple[Route, ...] = ()
        # The logs that record every event but the host's own, when no log asks what an event is; None: look.
        self._all: tuple[Route, ...] | None = None
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
        self.housekeeping = Housekeeping(disk, clock, say, self)

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
        registry = read_registry(self.disk, self.data_dir)
        open_names = {r.spec.name for r in self.open_routes}
        for entry in registry.logs if registry else []:
            if entry.sink != "segments" or entry.name in open_names or not has_waiting(self.disk, entry.ring):
                continue
            plan = Plan(format=entry.format)
            spec = RouteSpec(entry.name, plan, NOBODY, entry.sink, entry.path, at=entry.at, file_prefix=entry.prefix)
            try:
                self._close(self._open(spec), STOP_TIMEOUT_S)
            except EnvironmentFault as e:
                self.say(f"log '{entry.name}' of an earlier run holds records that are in no file yet: {e}")

    def _open(self, spec: RouteSpec) -> Route:
        encoder = self._encoders.setdefault(spec.plan, PythonEncoder(spec.plan))
        notices = WriterNotices(encoder, self.node, self.clock, self.housekeeping.announce, self.say)
        ring_path = os.path.join(self.data_dir, "spool", f"{spec.name}.ring")
        route = open_route(self.disk, self.clock, spec, encoder, ring_path, notices)
        route.writer.start()
        return route

    def _changed(self) -> None:
        self._all = None
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
        register(self.disk, self.data_dir, self.node, self.open_routes, self.say)
        self.housekeeping.look_soon()
        for callback in self.on_change:
            callback()

    @property
    def open_routes(self) -> list[Route]:
        """Every log that is open, the default one first."""
        return [*([self.default] if self.default else []), *self.routes]

    # -- events -------------------------------------------------------------------------------------------------

    def emit(self, event: Event, patience_ns: int | None = None) -> bool:
        """Record *event* where it belongs; whether any log did. Raises RecordRefused when a required log could not.

        Waits for a log that is full at most *patience_ns*, by default the log's `block_timeout`; for the disk (a log
        with `durability = 'power'`) always.
        """
        if not event.node:
            event = replace(event, node=self.node)
        logs = (self._all if event.kind != "system" else None) or self._logs_for(event)
        took = False
        refused = ""
        encoder: PythonEncoder | None = None
        line = b""
        for route in logs:
            if route.encoder is not encoder:
                # Logs with equal plans share an encoder, and so a line.
                encoder = route.encoder
                line = encoder.line(event)
            if len(line) > route.max_line_bytes:
                line = self._cut(route, event, len(line))
            try:
                if route.put(line, event.time_ns, patience_ns):
                    took = True
            except RecordRefused as e:
                refused = f"{refused}; {e}" if refused else str(e)
        is_own = _is_own(event)
        if is_own:
            self.totals.own += 1
        elif took:
            self.totals.recorded += 1
        elif not logs:
            self.totals.filtered += 1
        if refused and not (is_own and took):
            raise RecordRefused(refused)
        return took

    def emit_many(self, events: Sequence[Event], patience_ns: int | None = None) -> list[bool]:
        """As `emit` for each of *events* in their order; whether any log recorded it, for each.

        Costs about half, and a log with `durability = 'power'` waits for the disk once. Raises RecordRefused when a
        required log did not take one of them; others of the batch may then be recorded, and are once more if the
        caller tries again.
        """
        events = [e if e.node else replace(e, node=self.node) for e in events]
        took = [False] * len(events)
        refused: list[str] = []
        hit: set[int] = set()
        wanted = self._logs_for_many(events)
        encoder: PythonEncoder | None = None
        before: Sequence[int] = ()
        lines = b""
        for route, indices in wanted.items():
            chosen = events if len(indices) == len(events) else [events[i] for i in indices]
            if route.encoder is not encoder or indices != before:
                encoder, before = route.encoder, indices
                lines = encoder.lines(chosen)
            if has_longer(lines, route.max_line_bytes):
                lines, encoder = self._cut_lines(route, chosen), None
            times = {e.time_ns for e in chosen}
            try:
                lost = route.put_lines(lines, len(chosen), min(times), max(times), patience_ns)
            except RecordRefused as e:
                refused.append(str(e))
                hit.update(indices)
                continue
            if not lost and chosen is events:
                took = [True] * len(events)
                continue
            gone = {indices[k] for k in lost}
            for i in indices:
                took[i] = took[i] or i not in gone
        self._count_many(events, took, wanted)
        if refused and not all(took[i] and _is_own(events[i]) for i in hit):
            raise RecordRefused("; ".join(refused))
        return took

    def _count_many(self, events: Sequence[Event], took: list[bool], wanted: dict[Route, Sequence[int]]) -> None:
        own = {i for i, e in enumerate(events) if _is_own(e)}
        self.totals.own += len(own)
        self.totals.recorded += sum(took) - sum(took[i] for i in own)
        if not any(len(indices) == len(events) for indices in wanted.values()):
            self.totals.filtered += len(events) - len(own.union(*wanted.values()))

    @property
    def waits_for_disk(self) -> bool:
        """Whether some log puts a record on the disk before it is acknowledged."""
        return any(r.is_power or r.writes_through for r in self._in_order)

    def may_wait(self) -> bool:
        """Whether `emit` might block its caller now: a log waits for the disk, or has hardly room left. Any thread."""
        if not self._in_order:
            return True  # the first event opens the default log
        return any(route.may_wait() for route in self._in_order)

    def _logs_for(self, event: Event) -> Sequence[Route]:
        """The logs that record *event*, in order: the one place that decides."""
        in_order = self._in_order
        if not in_order:
            self._ensure_default()
            in_order = self._in_order
        default = in_order[-1]
        meant = False
        logs = []
        for route in in_order:
            if route is default:
                if not meant or _is_own(event):
                    logs.append(route)
            elif (claims := route.claims) is None or claims(event):
                meant = True
                if (takes := route.takes) is None or takes(event):
                    logs.append(route)
                else:
                    route.filtered += 1
        return logs

    def _logs_for_many(self, events: Sequence[Event]) -> dict[Route, Sequence[int]]:
        """Each log that records some of *events*, and the indices of these."""
        logs = self._all
        if logs is not None and "system" not in {e.kind for e in events}:
            return {route: range(len(events)) for route in logs} if events else {}
        wanted: dict[Route, list[int]] = {}
        for i, event in enumerate(events):
            for route in self._logs_for(event):
                wanted.setdefault(route, []).append(i)
        # In the logs' own order, so that those with one encoder stand together.
        return {route: wanted[route] for route in self._in_order if route in wanted}

    def _cut_lines(self, route: Route, events: Sequence[Event]) -> bytes:
        out = []
        for event in events:
            line = route.encoder.line(event)
            out.append(line if len(line) <= route.max_line_bytes else self._cut(route, event, len(line)))
        return b"".join(out)

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

    def admin(self, kind: str, description: str, detail: dict[str, object], user: str | None = None) -> None:
        """Record what somebody let the host do (an `admin_...` type): in the default log and in each that claims it, as
        soon as they have room. Any thread; never waits."""
        if self.is_closing:
            self.say(f"{kind} could not be recorded: {description}")  # the logs are closed, or about to be
            return
        event = host_event(self.clock, self.node, kind, description, detail, user=user)
        self.housekeeping.announce(event, "", is_kept=True)

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

    def tell_at_once(self, event: Event, told: frozenset[str]) -> tuple[frozenset[str], bool]:
        """As `tell_others`, without waiting: the logs that have *event* now, and whether those are all."""
        is_all = True
        for route in self.open_routes:
            name = route.spec.name
            if name in told or route.ring.closed or (route is not self.default and not self._wants(route, event)):
                continue
            line = route.encoder.line(event)
            if route.ring.takes_now(len(line)):
                route.ring.append(line, event.time_ns)
                told |= {name}
            else:
                is_all = False
        return told, is_all

    def places(self) -> list[tuple[str, FreeSpec | None, str]]:
        """Where this host writes, the limits of free room there, and whose they are; the spool last."""
        logs = [*self.routes, *([self.default] if self.default else [])]
        spool = os.path.join(self.data_dir, "spool")
        return [(r.spec.path, r.spec.free, r.spec.name) for r in logs if r.spec.path] + [(spool, None, "spool")]

    def health(self) -> Health:
        """The host's state and the reasons for it. Any thread."""
        return health(self)

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


def _is_own(event: Event) -> bool:
    """Whether *event* is a record about the host itself."""
    return event.kind == "system" and event.type in HOST_TYPES
