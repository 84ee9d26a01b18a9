"""KumoMTA's accounting records (section 5.1): Authentication and Authorization, our additions behind its fields.

Events of other kinds are native lines beside them (interface section 1), so one log can hold both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import orjson
from msgspec.structs import replace

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.repeated import Outline, Pieces, Repeated
from kumoaudit.core.text import Plain, clean_value
from kumoaudit.core.timetext import parse_rfc3339, rfc3339
from kumoaudit.formats import native


class _Authentication(msgspec.Struct):
    timestamp: str
    attempted_identity: Identity
    success: bool
    auth_info: AuthInfo
    id: str = ""
    node: str = ""
    detail: dict[str, Any] | None = None


class _Authorization(msgspec.Struct):
    timestamp: str
    target_resource: str
    privilege: str
    access: Literal["Allow", "Deny"]
    matching_resource: str | None = None
    rule: dict[str, Any] | None = None
    auth_info: AuthInfo = AuthInfo()
    considered_resources: list[str] = []
    id: str = ""
    node: str = ""
    detail: dict[str, Any] | None = None


_authentication = msgspec.json.Decoder(_Authentication).decode
_authorization = msgspec.json.Decoder(_Authorization).decode

_AUTHN_HEAD = b'{"type":"Authentication",'
_AUTHZ_HEAD = b'{"type":"Authorization",'

# Detail of the two types that stands in KumoMTA's own fields; the rest goes into our `detail` behind them.
_AUTHN_OWN = ("attempted_identity",)
_AUTHZ_OWN = ("matching_resource", "rule", "considered_resources")


_RECORDS: dict[str, type[_Authentication] | type[_Authorization]] = {
    "Authentication": _Authentication,
    "Authorization": _Authorization,
}


def record_fields(record: str) -> tuple[str, ...]:
    """The fields of an `Authentication` or `Authorization` record that an application may send (not the node)."""
    return tuple(f for f in _RECORDS[record].__struct_fields__ if f != "node")


def event_of_fields(record: str, fields: Mapping[str, Any], time_ns: int) -> Event:
    """The event of such a record, its fields as JSON values, without type and timestamp. Raises ValidationError."""
    given = msgspec.convert({**fields, "timestamp": ""}, _RECORDS[record])
    if isinstance(given, _Authentication):
        return _from_authentication(given, time_ns)
    return _from_authorization(given, time_ns)


class KumoFormat:
    """Reads KumoMTA's own segments and writes lines that its readers take: compact JSON, fixed order, UTC."""

    name = "kumo"
    framing: Literal["line", "length"] = "line"

    def encode(self, event: Event) -> bytes:
        """One line with its newline. A timestamp has 0, 3, 6 or 9 decimals, the fewest that are exact."""
        return self.again(event) or self._write(event)

    def again(self, event: Event) -> bytes | None:
        """The line of an event like one that was written before, else None. Module and user do not stand in it."""
        detail = event.detail
        if type(detail) is not Repeated:
            return None
        outline = detail.outline
        pieces = outline.pieces
        if pieces is None:
            outline.uses += 1
            # What comes once only is not worth it.
            if outline.uses == 1 or (pieces := self._cut(event, outline)) is None:
                return None
            outline.pieces = pieces
        id, request_id = event.id, detail["request_id"]
        # Letters and digits stand in JSON as they are.
        if not (id.isalnum() and request_id.isalnum() and _is_alike(event, pieces.event)):
            return None
        _, to_time, to_id, to_request_id, to_end = pieces
        time = rfc3339(event.time_ns, least_digits=0)
        return f"{to_time}{time}{to_id}{id}{to_request_id}{request_id}{to_end}".encode()

    def _cut(self, event: Event, outline: Outline) -> Pieces | None:
        """The line of *event*, cut at its time and its ids."""
        id, request_id = os.urandom(16).hex(), os.urandom(16).hex()
        line = self._write(replace(event, id=id, detail=outline.detail(request_id))).decode()
        to_time, _, rest = line.partition(rfc3339(event.time_ns, least_digits=0))
        parts = rest.replace(request_id, id).split(id)
        if len(parts) != 3 or rest.find(request_id) < rest.find(id):
            return None
        return Pieces(event, to_time, *parts)

    def _write(self, event: Event) -> bytes:
        if event.kind in ("authn", "authz") and _is_quick(event.detail):
            try:
                return self._encode(event, event.detail or {}, is_quick=True)
            except (TypeError, ValueError):
                pass  # a text or a number that JSON cannot hold: the careful way
        return self._encode(event, clean_value(event.detail or {}), is_quick=False)

    def _encode(self, event: Event, detail: dict[str, Any], *, is_quick: bool) -> bytes:
        info = event.auth_info or AuthInfo()
        record: dict[str, Any]
        if event.type == "Authentication" and event.kind == "authn":
            record = {
                "type": event.type,
                "timestamp": rfc3339(event.time_ns, least_digits=0),
                "attempted_identity": _identity(detail.get("attempted_identity"), event),
                "success": event.outcome == "ok",
                "auth_info": _auth_info(info),
            }
            own: tuple[str, ...] = _AUTHN_OWN
        elif event.type == "Authorization" and event.kind == "authz":
            record = {
                "type": event.type,
                "timestamp": rfc3339(event.time_ns, least_digits=0),
                "target_resource": event.resource or "",
                "privilege": event.privilege or "",
                "access": "Allow" if event.outcome == "allow" else "Deny",
                "matching_resource": detail.get("matching_resource"),
                "rule": _rule(detail.get("rule")),
                "auth_info": _auth_info(info),
                "considered_resources": detail.get("considered_resources") or [],
            }
            own = _AUTHZ_OWN
        else:
            return native.FORMAT.encode(event)
        if event.id:
            record["id"] = event.id
        if event.node:
            record["node"] = event.node
        if rest := {k: v for k, v in detail.items() if k not in own}:
            # The same order of keys as clean_value gives; what stands in KumoMTA's fields keeps its own.
            record["detail"] = _sorted(rest) if is_quick else rest
        if is_quick:
            if record.get("rule"):
                record["rule"] = {k: _sorted(v) for k, v in record["rule"].items()}
            return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        return orjson.dumps(clean_record(record), option=orjson.OPT_APPEND_NEWLINE)

    def encode_many(self, events: Sequence[Event]) -> bytes:
        """The lines of *events*, one after the other."""
        return b"".join(map(self.encode, events))

    def decode(self, frame: bytes) -> Event:
        """The event of a line, KumoMTA's or native. Raises DecodeFault."""
        try:
            if frame.startswith(_AUTHN_HEAD) or b'"Authentication"' in frame[:40]:
                return _decoded(_authentication(frame))
            if frame.startswith(_AUTHZ_HEAD) or b'"Authorization"' in frame[:40]:
                return _decoded(_authorization(frame))
        except (msgspec.DecodeError, ValueError, RecursionError) as e:
            try:
                # The words may also stand in the first fields of a native line (a node of that name).
                return native.FORMAT.decode(frame)
            except DecodeFault:
                raise DecodeFault(f"not an accounting record: {e}") from None
        return native.FORMAT.decode(frame)


def _is_alike(event: Event, other: Event) -> bool:
    """Whether the lines of two events of one outline differ in time and ids only."""
    return (
        (event.auth_info is other.auth_info or event.auth_info == other.auth_info)
        and event.node == other.node
        and event.outcome == other.outcome
        and event.resource == other.resource
        and event.privilege == other.privilege
        and event.type == other.type
        and event.kind == other.kind
    )


_LEAVES = frozenset((str, int, bool, type(None)))


def _is_quick(detail: dict[str, Any] | None) -> bool:
    """Whether `orjson` writes the detail as the careful way would, or refuses it: no NaN, no other objects, and what
    stands in KumoMTA's own fields has the usual shape. The events of every request have."""
    if detail is None or isinstance(detail, Plain):
        return True
    attempted = detail.get("attempted_identity")
    if attempted is not None and (type(attempted) is not dict or set(map(type, attempted.values())) != {str}):
        return False
    considered = detail.get("considered_resources")
    return (
        type(detail.get("matching_resource")) in _LEAVES
        and (considered is None or (type(considered) is list and _LEAVES.issuperset(map(type, considered))))
        and _is_plain(detail)
    )


def _is_plain(value: Any, depth: int = 8) -> bool:
    """Two levels at a time: a call for each text would cost more than writing it."""
    kind = type(value)
    if kind is dict and depth:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _LEAVES and not _is_plain(item, depth - 1)):
                return False
        return True
    if kind is list and depth:
        return _LEAVES.issuperset(map(type, value)) or all(_is_plain(v, depth - 1) for v in value)
    return kind in _LEAVES


def _sorted(value: Any) -> Any:
    """Keys in the order that clean_value gives."""
    return value if type(value) in _LEAVES else orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def clean_record(record: dict[str, Any]) -> dict[str, Any]:
    """The record with texts that JSON can hold, its own order kept (clean_value sorts, which is for details only)."""
    return {k: _clean_ordered(v) for k, v in record.items()}


def _clean_ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _clean_ordered(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean_ordered(v) for v in value]
    return clean_value(value)


def _auth_info(info: AuthInfo) -> dict[str, Any]:
    return {
        "peer_address": info.peer_address,
        "identities": [{"identity": i.identity, "context": i.context} for i in info.identities],
        "groups": list(info.groups),
    }


def _identity(value: object, event: Event) -> dict[str, str]:
    if isinstance(value, dict):
        return {"identity": str(value.get("identity", "")), "context": str(value.get("context", ""))}
    return {"identity": event.user or "", "context": "GenericAuth"}


def _rule(value: object) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    return {k: value[k] for k in ("criteria", "privilege", "access") if k in value}


def _decoded(r: _Authentication | _Authorization) -> Event:
    time_ns = parse_rfc3339(r.timestamp)
    return _from_authentication(r, time_ns) if isinstance(r, _Authentication) else _from_authorization(r, time_ns)


def _from_authentication(r: _Authentication, time_ns: int) -> Event:
    attempted = {"identity": r.attempted_identity.identity, "context": r.attempted_identity.context}
    return Event(
        id=r.id,
        node=r.node,
        time_ns=time_ns,
        kind="authn",
        type="Authentication",
        severity="INFO" if r.success else "ALARM",
        outcome="ok" if r.success else "fail",
        user=r.attempted_identity.identity or None,
        peer=r.auth_info.peer_address or None,
        auth_info=r.auth_info,
        detail={"attempted_identity": attempted, **(r.detail or {})},
    )


def _from_authorization(r: _Authorization, time_ns: int) -> Event:
    detail = {
        "matching_resource": r.matching_resource,
        "rule": r.rule,
        "considered_resources": r.considered_resources,
        **(r.detail or {}),
    }
    return Event(
        id=r.id,
        node=r.node,
        time_ns=time_ns,
        kind="authz",
        type="Authorization",
        severity="INFO" if r.access == "Allow" else "ALARM",
        outcome="allow" if r.access == "Allow" else "deny",
        user=r.auth_info.identities[0].identity if r.auth_info.identities else None,
        peer=r.auth_info.peer_address or None,
        resource=r.target_resource,
        privilege=r.privilege,
        auth_info=r.auth_info,
        detail=detail,
    )
