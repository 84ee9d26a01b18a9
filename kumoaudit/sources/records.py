"""One record that an application sent, as a JSON object -> an event: the table `RECORDS`, a parser for each kind.

A parser takes the object without its `record` and `time`, and a `Base` with what the host knows; it gives an event or
raises UsageError with the reason. No parser makes a record about the host itself, whatever the object says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from kumoaudit.core.catalog import HOST_TYPES
from kumoaudit.core.errors import UsageError
from kumoaudit.core.event import OUTCOMES, SEVERITIES, TEXT_FIELDS, AuthInfo, Event
from kumoaudit.core.ids import looks_like_id, ulid, uuid4
from kumoaudit.core.options import kind as shown
from kumoaudit.core.options import suggest
from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.dialects import tarantool
from kumoaudit.formats import kumo

MAX_DEPTH = 64

_STRUCTS = ("detail", "metadata")
# What the host itself says; a caller that could would forge.
_HOSTS_OWN = ("node", "seq")


class PeerInfo(msgspec.Struct, frozen=True):
    """Who sends records: the address of a connection, or the credentials of a Unix peer; an HTTP caller's identity and
    the id of its request. `address` is the `peer` of records that have none; the rest stands in `detail.peer`."""

    address: str | None = None
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    auth_info: AuthInfo | None = None
    request_id: str | None = None

    def detail(self) -> dict[str, Any] | None:
        """`{"peer": {...}}`, or None when there is nothing to say."""
        said: dict[str, Any] = {
            name: value for name in ("uid", "gid", "pid") if (value := getattr(self, name)) is not None
        }
        if self.auth_info is not None and self.auth_info.identities:
            said["identities"] = [{"identity": i.identity, "context": i.context} for i in self.auth_info.identities]
        if self.request_id:
            said["request_id"] = self.request_id
        return {"peer": said} if said else None


class Base(NamedTuple):
    """What the host adds to every record of a batch. `detail` is one object for all of them; `node` may be left to
    the pipeline."""

    now_ns: int
    peer: str | None
    detail: dict[str, Any] | None
    node: str = ""


Parser = Callable[[dict[str, Any], int, Base], Event]


def parse_record(given: object, base: Base) -> tuple[Event, bool]:
    """The event of one object, and whether the caller gave its `id`. Raises UsageError with the reason."""
    if not isinstance(given, dict):
        raise UsageError(f"expected an object, got {shown(given)}")
    fields = {k: v for k, v in given.items() if v is not None}
    record = fields.pop("record", "custom")
    parser = RECORDS.get(record) if isinstance(record, str) else None
    if parser is None:
        raise UsageError(f"unknown record {shown(record)}{_near(str(record), RECORDS)}")
    for name in _HOSTS_OWN:
        if name in fields:
            raise UsageError(f"field '{name}' is the host's own")
    if is_deeper(fields, MAX_DEPTH):
        raise UsageError(f"the record is nested deeper than {MAX_DEPTH} levels")
    for name in _STRUCTS:
        if name in fields:
            check_struct(name, fields[name])
    if "id" in fields and not (isinstance(fields["id"], str) and looks_like_id(fields["id"])):
        raise UsageError(f"field 'id' must be a UUID or a ULID, got {shown(fields['id'])}")
    time_ns = _time_of(fields, base.now_ns)
    return parser(fields, time_ns, base), "id" in given and given["id"] is not None


def check_struct(name: str, value: object) -> None:
    """Refuse what cannot be a `detail` or `metadata` of a sent record. Raises UsageError."""
    if not isinstance(value, dict):
        raise UsageError(f"field '{name}' must be an object, got {shown(value)}")
    if name == "detail" and "peer" in value:
        raise UsageError("field 'detail.peer' is the host's own")
    if is_deeper(value, MAX_DEPTH - 1):
        raise UsageError(f"the record is nested deeper than {MAX_DEPTH} levels")


def is_deeper(value: object, levels: int) -> bool:
    """Whether a JSON value has objects and lists in more than *levels* levels."""
    if isinstance(value, dict):
        return levels < 1 or any(is_deeper(v, levels - 1) for v in value.values())
    return isinstance(value, list) and (levels < 1 or any(is_deeper(v, levels - 1) for v in value))


def _time_of(fields: dict[str, Any], now_ns: int) -> int:
    given = [name for name in ("time", "timestamp") if name in fields]
    if not given:
        return now_ns
    if len(given) > 1:
        raise UsageError("give 'time' or 'timestamp', not both")
    value = fields.pop(given[0])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 33:
        return round(value * 1_000_000_000)  # seconds since 1970, as Prosody has them
    try:
        time_ns = parse_rfc3339(value) if isinstance(value, str) else -1
    except ValueError:
        time_ns = -1
    if time_ns < 0:
        raise UsageError(f"field '{given[0]}' must be an RFC 3339 time since 1970, got {shown(value)}")
    return time_ns


def _near(name: str, known: Iterable[str]) -> str:
    near = suggest(name, list(known))
    return f"; did you mean '{near}'?" if near else f"; known: {', '.join(known)}"


def _only(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            raise UsageError(f"unknown field '{name}'{_near(name, known)}")


def _text(fields: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = fields.get(name)
    if value is None and required:
        raise UsageError(f"field '{name}' is required")
    if value is not None and not isinstance(value, str):
        raise UsageError(f"field '{name}' must be a string, got {shown(value)}")
    return value or None


def _with_peer(detail: dict[str, Any] | None, base: Base) -> dict[str, Any] | None:
    return {**detail, **(base.detail or {})} if detail else base.detail


def _checked_outcome(fields: Mapping[str, Any]) -> str | None:
    outcome = _text(fields, "outcome")
    if outcome is not None and outcome not in OUTCOMES:
        raise UsageError(f"unknown outcome '{outcome}', expected {', '.join(OUTCOMES)}")
    return outcome


# -- custom: Tarantool's ten fields and ours --------------------------------------------------------------------------

_MORE = ("id", "host", "peer", "detail", "metadata", "outcome", "resource", "privilege", "scope", "source")


def _custom(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
    _only(fields, (*tarantool.FIELDS, *_MORE))
    theirs = {name: fields[name] for name in tarantool.FIELDS if name in fields}
    # The record as Tarantool writes it has an empty text where a field is absent.
    if problem := tarantool.check_fields("custom", theirs, has_description=False):
        raise UsageError(problem)
    if "remote" in fields and "peer" in fields:
        raise UsageError("give 'remote' or 'peer', not both")
    if "uuid" in fields and "id" in fields:
        raise UsageError("give 'uuid' or 'id', not both")
    return Event(
        id=fields.get("id") or fields.get("uuid") or uuid4(),
        time_ns=time_ns,
        kind="custom",
        type=fields.get("type", "message"),
        severity=fields.get("severity", "INFO"),
        outcome=_checked_outcome(fields),
        user=_text(fields, "user"),
        host=_text(fields, "host"),
        peer=_text(fields, "remote") or _text(fields, "peer") or base.peer,
        resource=_text(fields, "resource"),
        privilege=_text(fields, "privilege"),
        scope=_text(fields, "scope"),
        session_type=_text(fields, "session_type"),
        module=_text(fields, "module"),
        tag=_text(fields, "tag"),
        source=_text(fields, "source"),
        description=fields["description"],
        detail=_with_peer(fields.get("detail"), base),
        metadata=fields.get("metadata") or None,
    )


# -- event: Tarantool's system events ---------------------------------------------------------------------------------


def _system_event(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
    if "id" in fields and "uuid" in fields:
        raise UsageError("give 'uuid' or 'id', not both")
    id_ = fields.pop("id", None)
    event = tarantool.record_of(tarantool.system_event_of(fields), time_ns, id_)
    return msgspec.structs.replace(event, peer=event.peer or base.peer, detail=_with_peer(event.detail, base))


# -- authentication, authorization: KumoMTA's accounting records ------------------------------------------------------


def _accounting(name: str) -> Parser:
    known = kumo.record_fields(name)

    def parse(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
        if fields.pop("type", name) != name:
            raise UsageError(f"field 'type' of this record must be '{name}'")
        _only(fields, known)
        try:
            event = kumo.event_of_fields(name, fields, time_ns)
        except msgspec.ValidationError as e:
            raise UsageError(f"{name}: {e}") from None
        return msgspec.structs.replace(
            event,
            id=event.id or ulid(time_ns),
            peer=event.peer or base.peer,
            detail=_with_peer(event.detail, base),
        )

    return parse


# -- access, decision: rows of the native format ----------------------------------------------------------------------

_ROW = ("id", "type", "severity", "outcome", *TEXT_FIELDS, "description", "auth_info", "detail", "metadata")


def _row(kind: str) -> Parser:
    def parse(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
        _only(fields, _ROW)
        outcome = _checked_outcome(fields)
        severity = _text(fields, "severity") or ("ALARM" if outcome in ("fail", "deny") else "INFO")
        if severity not in SEVERITIES:
            raise UsageError(f"unknown severity '{severity}', expected VERBOSE, INFO, WARNING or ALARM")
        name = _text(fields, "type") or kind
        if name in HOST_TYPES:
            raise UsageError(f"type '{name}' is the host's own")
        texts: dict[str, Any] = {field: _text(fields, field) for field in TEXT_FIELDS}
        try:
            info = msgspec.convert(fields.get("auth_info"), AuthInfo | None)
        except msgspec.ValidationError as e:
            raise UsageError(f"field 'auth_info': {e}") from None
        texts["peer"] = texts["peer"] or (info.peer_address if info else None) or base.peer
        return Event(
            id=fields.get("id") or ulid(time_ns),
            time_ns=time_ns,
            kind=kind,
            type=name,
            severity=severity,
            outcome=outcome,
            description=_text(fields, "description") or "",
            auth_info=info,
            detail=_with_peer(fields.get("detail"), base),
            metadata=fields.get("metadata") or None,
            **texts,
        )

    return parse


# -- action: what a control plane did (Kuma's words) ------------------------------------------------------------------

_ACTION_MORE = ("reason", "zone", "instance")
_ACTION = ("id", "access", "type", "name", "mesh", "user", "outcome", *_ACTION_MORE, "detail", "metadata")


def _action(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
    _only(fields, _ACTION)
    user = fields.get("user", {})
    if not isinstance(user, dict):
        raise UsageError(f"field 'user' must be an object with 'name' and 'groups', got {shown(user)}")
    _only(user, ("name", "groups"))
    groups = user.get("groups") or []
    if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
        raise UsageError("field 'user.groups' must be a list of strings")
    access, name = _text(fields, "access", required=True), _text(fields, "name", required=True)
    kind, outcome = _text(fields, "type", required=True), _checked_outcome(fields)
    more = {key: text for key in _ACTION_MORE if (text := _text(fields, key))}
    detail = {**fields.get("detail", {}), "access": access, "type": kind, "name": name, **more}
    if groups:
        detail["groups"] = groups
    return Event(
        id=fields.get("id") or ulid(time_ns),
        time_ns=time_ns,
        kind="access",
        type="action",
        severity="ALARM" if outcome in ("fail", "deny") else "INFO",
        outcome=outcome,
        user=_text(user, "name"),
        peer=base.peer,
        resource=f"{kind}/{name}",
        privilege=access,
        scope=_text(fields, "mesh"),
        description=f"{access} {kind} {name}",
        detail=_with_peer(detail, base),
        metadata=fields.get("metadata") or None,
    )


# -- module: what a module of a server reports (Prosody's words) ------------------------------------------------------

_MODULE = ("id", "host", "source", "user", "event_type", "session", "custom", "description", "metadata")
_SESSION = ("id", "type", "ip", "client")


def _module(fields: dict[str, Any], time_ns: int, base: Base) -> Event:
    _only(fields, _MODULE)
    session, custom = fields.get("session", {}), fields.get("custom", [])
    if not isinstance(session, dict):
        raise UsageError(f"field 'session' must be an object, got {shown(session)}")
    _only(session, _SESSION)
    session = {name: text for name in _SESSION if (text := _text(session, name))}
    if not isinstance(custom, (dict, list)):
        raise UsageError(f"field 'custom' must be an object or a list, got {shown(custom)}")
    kind = _text(fields, "event_type", required=True) or ""
    if kind in HOST_TYPES or not kind:
        raise UsageError(f"event_type '{kind}' cannot be recorded by a module")
    detail = {key: value for key, value in (("session", session), ("custom", custom)) if value}
    return Event(
        id=fields.get("id") or ulid(time_ns),
        time_ns=time_ns,
        kind="custom",
        type=kind,
        user=_text(fields, "user"),
        host=_text(fields, "host", required=True),
        peer=session.get("ip") or base.peer,
        session_type=session.get("type"),
        source=_text(fields, "source", required=True),
        description=_text(fields, "description") or "",
        detail=_with_peer(detail, base),
        metadata=fields.get("metadata") or None,
    )


RECORDS: dict[str, Parser] = {
    "custom": _custom,
    "event": _system_event,
    "authentication": _accounting("Authentication"),
    "authorization": _accounting("Authorization"),
    "access": _row("access"),
    "decision": _row("decision"),
    "action": _action,
    "module": _module,
}
