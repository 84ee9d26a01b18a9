"""What open logs do with an event: the one `emit` that every event goes through, singly or in batches.

Which log takes what (interface section 1): a log records what it is meant for (`claims`) and its filter takes; what no
configured log is meant for goes to the default log, `<data-dir>/log`, so a policy that configures nothing still
records. The host's own records go to the default log and to every log that claims them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kumoaudit.core.catalog import HOST_TYPES
from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.event import Event
from kumoaudit.core.protocols import Clock
from kumoaudit.pipeline.encode import PythonEncoder, cut_to, has_longer
from kumoaudit.pipeline.notices import harmless, host_event
from kumoaudit.pipeline.route import Route
from kumoaudit.pipeline.totals import Totals

# Logs that record an event, and logs that only count it.
_Choice = tuple[tuple[Route, ...], tuple[Route, ...]]
# Kinds, severities and outcomes are few; this is for words that are none.
_MOST_CHOICES = 512


class Emission:
    """The open logs of a host and the way into them. `emit`, `emit_many`, `offer`, `host`: any thread."""

    def __init__(self, node: str, clock: Clock, say: Callable[[str], None]) -> None:
        self.node, self.clock = node, clock
        self.say = harmless(say)
        self.totals = totals = Totals()
        self._count_recorded, self._count_filtered, self._count_own = (
            totals.count_recorded,
            totals.count_filtered,
            totals.count_own,
        )
        self.routes: list[Route] = []
        self.default: Route | None = None
        self._in_order: tuple[Route, ...] = ()
        # The logs that record every event but the host's own, when no log asks what an event is; None: look.
        self._all: tuple[Route, ...] | None = None
        # What `_choose` says of the events of one kind, severity and outcome; None: some log looks at other fields.
        self._chosen: dict[tuple[str, str, str | None], _Choice] | None = None

    def _ensure_default(self) -> Route:
        """Open the default log if it is not; then it stands in `_in_order`. Raises StorageFault."""
        raise NotImplementedError

    @property
    def open_routes(self) -> list[Route]:
        """Every log that is open, the default one first."""
        return [*([self.default] if self.default else []), *self.routes]

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
            next(self._count_own)
        elif took:
            next(self._count_recorded)
        elif not logs:
            next(self._count_filtered)
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
        own = {i for i, e in enumerate(events) if e.kind == "system" and _is_own(e)}
        filtered = 0
        if not any(len(indices) == len(events) for indices in wanted.values()):
            filtered = len(events) - len(own.union(*wanted.values()))
        self.totals.add(recorded=sum(took) - sum(took[i] for i in own), filtered=filtered, own=len(own))

    def offer(self, route: Route, event: Event) -> tuple[bool, bool | None]:
        """Record *event* in one log as `emit` would: whether the log is meant for it, and whether it took it (None: its
        filter did not want it; False: lost, and counted). Raises RecordRefused.
        """
        wanted = route.wants(event)
        if wanted is None:
            return False, None
        if not wanted:
            next(route.count_filtered)
            return True, None
        line = route.encoder.line(event)
        if len(line) > route.max_line_bytes:
            line = self._cut(route, event, len(line))
        return True, route.put(line, event.time_ns)

    @property
    def waits_for_disk(self) -> bool:
        """Whether some log puts a record on the disk before it is acknowledged."""
        return any(r.is_power or r.writes_through for r in self._in_order)

    def may_wait(self) -> bool:
        """Whether `emit` might block its caller now: a log waits for the disk, or has hardly room left. Any thread."""
        if not self._in_order:
            return True  # the first event opens the default log
        # `Route.may_wait`, written out: this is asked for every request.
        for route in self._in_order:  # noqa: SIM110
            if route.is_durable or not (route.is_lossy or route.has_room()):
                return True
        return False

    def _logs_for(self, event: Event) -> Sequence[Route]:
        """The logs that record *event*, in order; those whose filter does not want it count it."""
        if not self._in_order:
            self._ensure_default()
        chosen = self._chosen if event.kind != "system" else None
        if chosen is None:
            logs, unwanted = self._choose(event)
        else:
            key = event.kind, event.severity, event.outcome
            if (choice := chosen.get(key)) is None:
                choice = self._choose(event)
                if len(chosen) < _MOST_CHOICES:
                    chosen[key] = choice
            logs, unwanted = choice
        for route in unwanted:
            next(route.count_filtered)
        return logs

    def _choose(self, event: Event) -> _Choice:
        """The logs that record *event*, and those that are meant for it but whose filter does not take it: the one
        place that decides (`Route.wants`, for each)."""
        in_order = self._in_order
        default = in_order[-1]
        meant = False
        logs: list[Route] = []
        unwanted: list[Route] = []
        for route in in_order:
            if route is default:
                if not meant or _is_own(event):
                    logs.append(route)
            elif (wanted := route.wants(event)) is not None:
                meant = True
                (logs if wanted else unwanted).append(route)
        return tuple(logs), tuple(unwanted)

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

    def tell_others(self, event: Event, origin: str) -> None:
        """Give an event about log *origin* to the other logs: the default one and those that claim it."""
        for route in self.open_routes:
            if route.spec.name == origin or (route is not self.default and not route.wants(event)):
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
            if name in told or route.ring.closed or (route is not self.default and not route.wants(event)):
                continue
            line = route.encoder.line(event)
            if route.ring.takes_now(len(line)):
                route.ring.append(line, event.time_ns)
                told |= {name}
            else:
                is_all = False
        return told, is_all


def _is_own(event: Event) -> bool:
    """Whether *event* is a record about the host itself."""
    return event.kind == "system" and event.type in HOST_TYPES
