"""Tarantool's ten-field records: json (section 3.1), with `", "` and `": "` between members as in its samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import msgspec

from kumoaudit.core.catalog import EVENT_TYPES
from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import Event
from kumoaudit.core.text import clean
from kumoaudit.core.timetext import local_time, parse_rfc3339

# Always all ten, always in this order (section 3).
RECORD_FIELDS = (
    "time",
    "uuid",
    "severity",
    "remote",
    "session_type",
    "module",
    "user",
    "type",
    "tag",
    "description",
)

_quote = json.encoder.encode_basestring  # escapes controls, quote and backslash; other text stays UTF-8


class _Record(msgspec.Struct):
    time: str
    uuid: str
    severity: str
    remote: str
    session_type: str
    module: str
    user: str
    type: str
    tag: str
    description: str


_decode = msgspec.json.Decoder(_Record).decode


def record_values(event: Event) -> tuple[str, ...]:
    """The ten values of an event, as text, in the order of `RECORD_FIELDS`."""
    return (
        local_time(event.time_ns),
        event.id,
        event.severity,
        event.peer or "",
        event.session_type or "unknown",
        event.module or "",
        event.user or "",
        event.type,
        event.tag or "",
        event.description,
    )


class TarantoolJson:
    """One object a line; every value is a text. Keeps the ten fields and nothing else of an event."""

    name = "tarantool_json"
    framing: Literal["line", "length"] = "line"

    def encode(self, event: Event) -> bytes:
        """One line with its newline, local time with milliseconds and offset."""
        pairs = zip(RECORD_FIELDS, record_values(event), strict=True)
        return ("{" + ", ".join(f'"{k}": {_quote(clean(v))}' for k, v in pairs) + "}\n").encode()

    def encode_many(self, events: Sequence[Event]) -> bytes:
        """The lines of *events*, one after the other."""
        return b"".join(map(self.encode, events))

    def decode(self, frame: bytes) -> Event:
        """The event of a line; kind and outcome come from the catalogue. Raises DecodeFault."""
        try:
            r = _decode(frame)
            time_ns = parse_rfc3339(r.time)
        except (msgspec.DecodeError, ValueError, RecursionError) as e:
            raise DecodeFault(f"not a Tarantool record: {e}") from None
        known = EVENT_TYPES.get(r.type)
        return Event(
            id=r.uuid,
            time_ns=time_ns,
            kind=known.kind if known else "custom",
            type=r.type,
            severity=r.severity,
            outcome=known.outcome if known else None,
            user=r.user or None,
            peer=r.remote or None,
            session_type=r.session_type or None,
            module=r.module or None,
            tag=r.tag or None,
            description=r.description,
        )
