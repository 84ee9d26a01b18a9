"""Events that are born in Lua, and the hook: what the generated path asks of Python, and where it is installed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from kumoaudit.core.errors import RecordRefused, UsageError
from kumoaudit.core.event import SEVERITIES, TEXT_FIELDS, Event
from kumoaudit.core.ids import uuid4
from kumoaudit.core.text import clean_value
from kumoaudit.core.timetext import rfc3339
from kumoaudit.dialects import tarantool
from kumoaudit.runtime import convert, hotpath
from kumoaudit.runtime.gate import GateTimeout

if TYPE_CHECKING:
    from kumoaudit.core.spec import RouteSpec
    from kumoaudit.pipeline.route import Route
    from kumoaudit.runtime.host import PolicyHost

# An error of the hook is recorded the first time, then only counted: an endless stream of them helps nobody.
_ERRORS_EACH = 100

# What a handler of `audit_event` sees and may change; the rest of an event is fixed.
_CHANGEABLE = ("type", "severity", "outcome", *TEXT_FIELDS, "description", "detail", "metadata")


class LuaEvents:
    """The `audit` module's other half. Its methods are called from Lua, so on the thread that is inside."""

    def __init__(self, host: PolicyHost) -> None:
        self._host = host
        self._routes: list[Route] = []
        self._hook_errors: dict[str, int] = {}
        self.in_python: dict[str, str] = {}
        """Logs that events from Lua reach through Python, and why."""
        functions: dict[bytes, Callable[..., Any]] = {
            b"check": self._check,
            b"check_text": self._check_text,
            b"accept_type": self._accept_type,
            b"event": self._event,
            b"custom": self._custom,
            b"offer": self._offer,
            b"sync": self._sync,
            b"full_event": self._full_event,
            b"hook_failed": self._hook_failed,
            b"hook_dropped": self._hook_dropped,
        }
        for name, function in functions.items():
            host.python[name] = host.guard(function)

    def attach(self) -> None:
        """Put the generated functions in place, now and whenever a log is opened."""
        host = self._host
        # Fetched once: inside a call from a coroutine, lupa reads table items off the wrong stack.
        audit = host.boot[b"audit"]
        self._set_emit, self._run_hook, self._set_node = audit[b"set_emit"], audit[b"run_hook"], audit[b"set_node"]
        self._encode, self._open_ring, self._counters_at = host.lua.execute(
            b"""local encode, ring, ffi = require 'kumoaudit.encode', require 'kumoaudit.ring', require 'ffi'
            local predicate = require 'kumoaudit.predicate'
            encode.append, encode.copy, encode.string_of, encode.error = ring.append, ffi.copy, ffi.string, error
            encode.rank, encode.glob = predicate.rank, predicate.glob
            return encode, ring.open, function(address) return ffi.cast('uint64_t *', address) end"""
        )
        self._has_jit = host.lua.execute(b"return (jit.status())")
        if not self._has_jit:
            host.say("the JIT compiler is off on this machine: events from Lua go through Python, many times slower")
        self.install()
        self._host.pipeline.on_change.append(self.install)

    def install(self) -> None:
        """Generate and install the path for the logs that are open now."""
        host, pipeline = self._host, self._host.pipeline
        if pipeline.default is None or host.validating or not self._has_jit:
            # Nothing is open yet: the first event opens the default log, on its way through Python.
            self._use(hotpath.generate_for_python(), [])
            return
        routes = [*pipeline.routes, pipeline.default]
        hot = [
            hotpath.HotRoute(
                r.spec.name,
                r.spec.plan,
                r.claimed,
                r.is_power or r.writes_through,
                r is pipeline.default,
            )
            for r in routes
        ]
        generated = hotpath.generate(hot, pipeline.node, pipeline.max_event_bytes)
        self._routes, self.in_python = routes, generated.in_python
        self._use(generated.source, routes)

    def _use(self, source: str, routes: list[Route]) -> None:
        host = self._host
        rings = [self._open_ring(r.ring.address, r.ring.mutex_address, host.guard(_turn(r))) for r in routes]
        chunk = host.lua.compile(source.encode(), name=b"=generated")
        counters = self._counters_at(ctypes.addressof(host.counters))
        emit, record = chunk(self._encode, host.lua.table_from(rings), host.python, counters)
        self._set_node(host.pipeline.node.encode())
        self._set_emit(emit, record)

    def why_in_python(self, spec: RouteSpec) -> str:
        """Why a log would get events from Lua through Python, or ""."""
        hot = hotpath.HotRoute(spec.name, spec.plan, spec.claims, False, False)
        return hotpath.why_not_in_lua(hot, self._host.pipeline.node)

    # -- rules --------------------------------------------------------------------------------------------------

    def _check(self, call: bytes, packed: bytes, has_description: bool) -> bytes | None:
        name = convert.text(call)
        is_new = name == "audit.new"
        problem = tarantool.check_fields(name, convert.unpack(packed), has_description=has_description or is_new)
        return problem.encode() if problem else None

    def _check_text(self, call: bytes, packed: bytes, further: float) -> bytes:
        return tarantool.check_text(convert.text(call), convert.unpack(packed), int(further)).encode()

    def _accept_type(self, call: bytes, value: bytes) -> bytes | None:
        problem = tarantool.check_type(convert.text(call), convert.text(value))
        return problem.encode() if problem else None

    # -- events -------------------------------------------------------------------------------------------------

    def _made(self, sec: float, ms: float, id: bytes, *fields: bytes | None) -> Event:
        """The event of the ten-field path: severity, peer, session_type, module, user, type, tag, description."""
        severity, peer, session, module, user, kind, tag, description = (
            None if f is None else convert.text(f) for f in fields
        )
        return Event(
            id=convert.text(id),
            time_ns=int(sec) * 1_000_000_000 + int(ms) * 1_000_000,
            node=self._host.pipeline.node,
            kind="custom",
            type=kind or "message",
            severity=severity or "INFO",
            user=user,
            peer=peer,
            session_type=session,
            module=module,
            tag=tag,
            description=description or "",
        )

    def _custom(self, sec: float, ms: float, id: bytes, *fields: bytes | None) -> bytes | None:
        if self._host.validating:
            return None
        event = self._made(sec, ms, id, *fields)
        return event.id.encode() if self._host.pipeline.emit(event) else None

    def _offer(self, index: float, sec: float, ms: float, id: bytes, *fields: bytes | None) -> tuple[bool, bool | None]:
        """An event for one log whose filter Lua cannot express: whether the log is meant for it, and whether it took
        it (None: its filter did not want it; False: it was lost, and counted)."""
        route = self._routes[int(index)]
        event = self._made(sec, ms, id, *fields)
        if route.claims is not None and not route.claims(event):
            return False, None
        line = route.encoder.encode(event)
        return True, None if line is None else route.put(line, event.time_ns)

    def _sync(self, index: float) -> None:
        self._routes[int(index)].make_durable()

    def _event(self, at: bytes, packed: bytes) -> bytes | None:
        """`audit.event`: a system event of Tarantool's section 9."""
        e = tarantool.system_event(convert.unpack(packed))
        fields = e.fields
        event = Event(
            id=fields.get("uuid") or uuid4(),
            time_ns=self._host.pipeline.clock.now_ns(),
            node=self._host.pipeline.node,
            kind=e.row.kind,
            type=e.row.name,
            severity=e.row.severity,
            outcome=e.row.outcome,
            user=fields.get("user") or None,
            peer=fields.get("remote") or None,
            scope=e.args.get("space") if isinstance(e.args.get("space"), str) else None,
            session_type=fields.get("session_type") or "background",
            tag=fields.get("tag") or None,
            description=e.description,
            detail=clean_value(e.args) or None,
        )
        return event.id.encode() if self.emit(event) else None

    def emit(self, event: Event, patience_ns: int | None = None) -> bool:
        """What every source outside Lua calls: the policy's hook, then the logs. Any thread.

        *patience_ns*: how long to wait for a full log, as in `Pipeline.emit`. Waits for the runtime at most the
        handlers' time limit; then, or when the hook fails, the event is recorded unchanged and a `handler_error` beside
        it. Events of kind `system` do not pass the hook.
        """
        host = self._host
        if host.validating:
            return False
        if event.kind == "system" or not host.has("audit_event"):
            return host.pipeline.emit(event, patience_ns)
        try:
            with host.gate.entered("the handler of 'audit_event'", host.handler_timeout_s):
                answer = self._run_hook(convert.to_lua(host.lua, shown_to_hook(event)))
        except GateTimeout as e:
            self._hook_failed(str(e).encode())
            return host.pipeline.emit(event, patience_ns)
        verdict, *rest = answer if isinstance(answer, tuple) else (answer,)
        if verdict == b"drop":
            self._hook_dropped()
            return False
        if verdict == b"error":
            self._hook_failed(rest[0])
        elif verdict == b"change":
            try:
                event = changed_by_hook(event, convert.unpack(rest[0]))
            except UsageError as e:
                self._hook_failed(str(e).encode())
        return host.pipeline.emit(event, patience_ns)

    def _full_event(self, sec: float, ms: float, packed: bytes) -> Any:
        """A custom event to which the hook gave fields beyond Tarantool's ten: id, nothing, or {what is wrong}."""
        values = convert.unpack(packed)
        try:
            base = Event(
                id=values["id"],
                time_ns=int(sec) * 1_000_000_000 + int(ms) * 1_000_000,
                node=self._host.pipeline.node,
                kind="custom",
                type=values["type"],
            )
            event = changed_by_hook(base, values)
        except UsageError as e:
            return self._host.lua.table_from([str(e).encode()])
        return event.id.encode() if self._host.pipeline.emit(event) else None

    def _hook_dropped(self) -> None:
        self._host.pipeline.totals.filtered += 1

    def _hook_failed(self, message: bytes) -> None:
        """Record an error of the hook: the first of its kind, then one of every hundred, with the count."""
        text = convert.text(message)
        count = self._hook_errors.get(text, 0) + 1
        if len(self._hook_errors) > 1000:
            self._hook_errors.clear()
        self._hook_errors[text] = count
        if count == 1 or count % _ERRORS_EACH == 0:
            self._host.say(f"{text}\n  {self._host.handlers.describe('audit_event')}; the event was recorded unchanged")
            detail = {"handler": "audit_event", "message": text, "count": count}
            try:
                self._host.pipeline.host("handler_error", text, detail)
            except RecordRefused as e:
                self._host.say(str(e))


def _turn(route: Route) -> Any:
    # The time comes as a Lua number, which holds the milliseconds of an event born in Lua but not every nanosecond.
    return lambda n, time_ns: route.ring.turn(int(n), round(time_ns / 1e6) * 1_000_000)


def shown_to_hook(event: Event) -> dict[str, Any]:
    """An event as a handler of `audit_event` sees it: the fields of section 6 that it has, `time` as text."""
    out: dict[str, Any] = {"id": event.id, "time": rfc3339(event.time_ns), "kind": event.kind, "node": event.node}
    for name in _CHANGEABLE:
        value = getattr(event, name)
        if value is not None:
            out[name] = value
    return out


def changed_by_hook(event: Event, values: Any) -> Event:
    """*event* with what the handler changed. Raises UsageError: an unknown field, a wrong type, a fixed field."""
    if not isinstance(values, dict):
        raise UsageError("audit_event: the handler returned no event")
    fixed = {"id": event.id, "time": rfc3339(event.time_ns), "kind": event.kind, "node": event.node}
    changes: dict[str, Any] = {name: None for name in _CHANGEABLE if name not in ("type", "severity", "description")}
    for name, value in values.items():
        if name in fixed:
            if value != fixed[name]:
                raise UsageError(f"audit_event: '{name}' cannot be changed")
        elif name not in _CHANGEABLE:
            raise UsageError(f"audit_event: unknown field '{name}'")
        elif name in ("detail", "metadata"):
            if value is not None and not isinstance(value, dict):
                if value == []:
                    continue
                raise UsageError(f"audit_event: field '{name}' must be a table")
            changes[name] = clean_value(value) or None
        elif type(value) is not str:
            raise UsageError(f"audit_event: field '{name}' must be a string")
        else:
            changes[name] = value or ("" if name == "description" else None)
    severity = changes.get("severity", event.severity)
    if severity not in SEVERITIES:
        raise UsageError(f"audit_event: unknown severity '{severity}', expected VERBOSE, INFO, WARNING or ALARM")
    kind = changes.get("type", event.type)
    if kind != event.type:
        problem = (
            tarantool.check_type("audit_event", str(kind))
            if event.kind == "custom"
            else "audit_event: the type of this event cannot be changed"
        )
        if problem:
            raise UsageError(problem)
    return structs.replace(event, **changes)
