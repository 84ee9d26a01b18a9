"""The native format: one JSON object a line, fields in the order of a query's row, absent ones left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import orjson

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.text import clean, clean_value
from kumoaudit.core.timetext import parse_rfc3339, rfc3339


class NativeRow(msgspec.Struct, omit_defaults=True, gc=False):
    """A line. Interface section 6 fixes names and order; `seq` is positional and therefore not in the line."""

    id: str
    node: str
    time: str
    kind: str
    type: str
    severity: str
    outcome: str | None = None
    user: str | None = None
    host: str | None = None
    peer: str | None = None
    resource: str | None = None
    privilege: str | None = None
    scope: str | None = None
    session_type: str | None = None
    module: str | None = None
    tag: str | None = None
    source: str | None = None
    description: str = ""
    auth_info: AuthInfo | None = None
    detail: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


# Every key of a row that `query` prints, in its order.
ROW_FIELDS = ("id", "seq", *(f for f in NativeRow.__struct_fields__ if f != "id"))

_encode, _encode_lines = msgspec.json.Encoder().encode, msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(NativeRow).decode


class NativeFormat:
    """Lossless: decode(encode(event)) == event for every event whose texts are valid."""

    name = "native"
    framing: Literal["line", "length"] = "line"

    def encode(self, event: Event) -> bytes:
        """One line with its newline. Never raises: what JSON cannot hold is written as text."""
        row = _row(event, rfc3339(event.time_ns), event.detail, event.metadata)
        try:
            if row.detail is None and row.metadata is None:
                return _encode_lines([row])
            row.detail = _plain(row.detail)
            row.metadata = _plain(row.metadata)
            return _encode_lines([row])
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError):
            for name in NativeRow.__struct_fields__:
                value = getattr(row, name)
                if isinstance(value, str):
                    setattr(row, name, clean(value))
            if row.auth_info is not None:
                row.auth_info = _clean_info(row.auth_info)
            return _encode_lines([row])

    def encode_many(self, events: Sequence[Event]) -> bytes:
        """The lines of *events*, one after the other, as `encode` gives them; about half the cost of one by one."""
        rows: list[NativeRow] = []
        append = rows.append
        time_ns, text = -1, ""
        shared: dict[str, Any] | None = None
        plain: Any = None
        for event in events:
            if event.time_ns != time_ns:
                time_ns = event.time_ns
                text = rfc3339(time_ns)
            detail: Any = event.detail
            if detail is not None:
                # What a source says about itself is one object in all events of a batch: encoded once.
                if detail is not shared:
                    shared, plain = detail, clean_value(detail)
                elif type(plain) is dict:
                    plain = msgspec.Raw(_encode(plain))
                detail = plain
            metadata = event.metadata
            append(_row(event, text, detail, metadata if metadata is None else clean_value(metadata)))
        try:
            return _encode_lines(rows)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError):
            return b"".join(map(self.encode, events))

    def decode(self, frame: bytes) -> Event:
        """The event of a line. Raises DecodeFault when it is not one."""
        try:
            r = _decode(frame)
            return Event(
                id=r.id,
                node=r.node,
                time_ns=parse_rfc3339(r.time),
                kind=r.kind,
                type=r.type,
                severity=r.severity,
                outcome=r.outcome,
                user=r.user,
                host=r.host,
                peer=r.peer,
                resource=r.resource,
                privilege=r.privilege,
                scope=r.scope,
                session_type=r.session_type,
                module=r.module,
                tag=r.tag,
                source=r.source,
                description=r.description,
                auth_info=r.auth_info,
                detail=r.detail,
                metadata=r.metadata,
            )
        except (msgspec.DecodeError, ValueError, RecursionError) as e:
            raise DecodeFault(f"not a native record: {e}") from None


def _row(event: Event, time: str, detail: Any, metadata: Any) -> NativeRow:
    return NativeRow(
        event.id,
        event.node,
        time,
        event.kind,
        event.type,
        event.severity,
        event.outcome,
        event.user,
        event.host,
        event.peer,
        event.resource,
        event.privilege,
        event.scope,
        event.session_type,
        event.module,
        event.tag,
        event.source,
        event.description,
        event.auth_info,
        detail,
        metadata,
    )


def _clean_info(info: AuthInfo) -> AuthInfo:
    return AuthInfo(
        None if info.peer_address is None else clean(info.peer_address),
        tuple(Identity(clean(i.identity), clean(i.context)) for i in info.identities),
        tuple(clean(g) for g in info.groups),
    )


def _plain(value: dict[str, Any] | None) -> Any:
    """Keys sorted and values that JSON holds; the cost is paid only by events that carry a struct."""
    return None if value is None else clean_value(value)


def row(event: Event, seq: int | None) -> dict[str, Any]:
    """The fields of an event as `query` prints them: in order, absent ones left out, `seq` after `id`."""
    out: dict[str, Any] = orjson.loads(FORMAT.encode(event))
    if seq is None:
        return out
    return {"id": out.pop("id"), "seq": seq, **out}


FORMAT = NativeFormat()
