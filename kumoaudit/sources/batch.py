"""Bytes of JSON, from a request or a socket -> the events of one batch, all of them or none.

Plain custom records, one a line, are decoded all at once into one struct; whatever that refuses goes the long way, an
object at a time (`records.parse_record`), which alone words what is wrong. Both give the same events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from kumoaudit.core.errors import KumoauditError, UsageError
from kumoaudit.core.event import Event
from kumoaudit.core.ids import looks_like_id, uuid4
from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.sources.records import Base, check_struct, parse_record

MAX_EVENTS = 100_000

Content = Literal["json", "lines", "stream", "auto"]
_EMPTY_LINE = re.compile(rb"\n\r?\n")


class BadBatch(KumoauditError):
    """A batch of which nothing was recorded: `index` of the first bad record (from 0; None: the whole), `reason`."""

    def __init__(self, index: int | None, reason: str, *, is_too_large: bool = False) -> None:
        self.index, self.reason, self.is_too_large = index, reason, is_too_large
        super().__init__(reason if index is None else f"record {index}: {reason}")


class Parted(Exception):
    """Empty lines part the data: it is more than one batch."""


class Parsed(NamedTuple):
    """The events of a batch, and of each the id that the caller gave as a key against repetition, or None; `keys` is
    None when no record has one."""

    events: list[Event]
    keys: list[str | None] | None


class _Ten(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A plain custom record with nothing but Tarantool's ten fields. Only what is right decodes."""

    description: str
    record: Literal["custom"] = "custom"
    type: str = "message"
    severity: Literal["VERBOSE", "INFO", "WARNING", "ALARM"] = "INFO"
    time: str | None = None
    uuid: str | None = None
    remote: str | None = None
    session_type: str | None = None
    module: str | None = None
    user: str | None = None
    tag: str | None = None


class _Custom(_Ten, forbid_unknown_fields=True, gc=False):
    """A plain custom record with fields that are ours, too."""

    id: str | None = None
    timestamp: str | None = None
    host: str | None = None
    peer: str | None = None
    resource: str | None = None
    privilege: str | None = None
    scope: str | None = None
    source: str | None = None
    outcome: Literal["ok", "fail", "allow", "deny", "error"] | None = None
    detail: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


_OURS = ("host", "resource", "privilege", "scope", "source", "outcome", "metadata", "detail")

_ten_lines = msgspec.json.Decoder(_Ten).decode_lines
_custom_lines = msgspec.json.Decoder(_Custom).decode_lines
_decode = msgspec.json.Decoder().decode


def parse_batch(data: bytes, content: Content, base: Base) -> Parsed:
    """One object or an array (`json`), JSON lines (`lines`), or what it looks like (`auto`). Raises BadBatch.

    At most 100,000 records. Of a key that stands twice in an object the last counts. `stream` are lines of a stream, in
    which an empty line ends a batch: raises Parted when there is one before other lines.
    """
    if content != "json":
        parsed = _plain_lines(data, base)
        if parsed is not None:
            return parsed
    if content == "stream" and _EMPTY_LINE.search(data.strip(b"\r\n")):
        # Looked for only here: plain records have as many line ends as lines, and looking costs a third of taking them.
        raise Parted
    start = data[:64].lstrip()[:1]
    if content == "json" or (content == "auto" and start == b"["):
        return _parse_objects(_whole(data), base)
    lines = data.split(b"\n")
    if content == "auto" and start == b"{" and not _is_object(lines[0]):
        # An object written over several lines.
        return _parse_objects(_whole(data), base)
    return _parse_objects([line for line in lines if line and not line.isspace()], base)


def _whole(data: bytes) -> list[Any]:
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadBatch(None, _not_json(e)) from None
    return value if isinstance(value, list) else [value]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _parse_objects(objects: list[Any], base: Base) -> Parsed:
    """Objects, or lines that are to be one each."""
    if len(objects) > MAX_EVENTS:
        raise _too_many(len(objects))
    events, keys = [], []
    for index, given in enumerate(objects):
        try:
            value = _decode(given) if isinstance(given, bytes) else given
            event, has_id = parse_record(value, base)
        except UsageError as e:
            raise BadBatch(index, str(e)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise BadBatch(index, _not_json(e)) from None
        events.append(event)
        keys.append(event.id if has_id else None)
    return Parsed(events, keys if any(keys) else None)


def _too_many(count: int) -> BadBatch:
    return BadBatch(None, f"{count} records in one batch, at most {MAX_EVENTS} are taken", is_too_large=True)


def _not_json(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "not JSON that is taken: nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not JSON: not UTF-8 ({error.reason})"
    return f"not JSON: {str(error).removeprefix('JSON is malformed: ')}"


def _records(data: bytes) -> Sequence[_Ten]:
    """The plain custom records of *data*, of one class; none when it holds anything else."""
    for decode in (_ten_lines, _custom_lines):
        try:
            return decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return ()


def _plain_lines(data: bytes, base: Base) -> Parsed | None:
    """The batch when every line is a plain custom record in order, else None."""
    records = _records(data)
    # Two objects on a line, or one over several: the long way says what it thinks of that.
    if not 0 < len(records) <= MAX_EVENTS or data.count(b"\n") + (not data.endswith(b"\n")) != len(records):
        return None
    if not all(name == "message" or name.startswith("custom_") for name in {r.type for r in records}):
        return None
    uuids = [r.uuid for r in records if r.uuid is not None]
    if uuids and not _are_uuids(uuids):
        return None
    now_ns, address, detail, node = base
    read = _Clock().read
    events = []
    try:
        for r in records:
            time_ns = now_ns if r.time is None else read(r.time)
            # Ten fields here, ours behind: a struct is made at a cost that grows with its fields.
            event = Event(
                id=r.uuid or uuid4(),
                time_ns=time_ns,
                kind="custom",
                type=r.type,
                node=node,
                severity=r.severity,
                user=r.user or None,
                peer=r.remote or address,
                session_type=r.session_type or None,
                module=r.module or None,
                tag=r.tag or None,
                description=r.description,
                detail=detail,
            )
            events.append(event)
        if not isinstance(records[0], _Custom):
            return Parsed(events, None)
        ours = [r for r in records if isinstance(r, _Custom)]
        events = [_with_more(event, r, base) for event, r in zip(events, ours, strict=True)]
    except ValueError:
        return None
    keys = [r.id for r in ours]
    return Parsed(events, keys if any(keys) else None)


def _with_more(event: Event, r: _Custom, base: Base) -> Event:
    """*event* with the fields that are ours. Raises ValueError for what is not right."""
    more: dict[str, Any] = {name: value for name in _OURS if (value := getattr(r, name))}
    if r.id is not None:
        if r.uuid is not None or not looks_like_id(r.id):
            raise ValueError("id")
        more["id"] = r.id
    if r.timestamp is not None:
        if r.time is not None:
            raise ValueError("timestamp")
        more["time_ns"] = _Clock().read(r.timestamp)
    if r.peer is not None:
        if r.remote is not None:
            raise ValueError("peer")
        more["peer"] = r.peer or base.peer
    try:
        for name in ("detail", "metadata"):
            if name in more:
                check_struct(name, more[name])
    except UsageError as e:
        raise ValueError(name) from e
    if r.detail:
        more["detail"] = {**r.detail, **(base.detail or {})}
    return msgspec.structs.replace(event, **more) if more else event


_UUID_SHAPE = bytes.maketrans(b"0123456789abcdefABCDEF", b"x" * 22)
_ONE_UUID = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"


def _are_uuids(texts: list[str]) -> bool:
    """`is_uuid` of all of them, at a fraction of the cost."""
    shape = "\n".join(texts).encode("utf-8", "replace")
    # An `x` of the caller's own would look like a digit.
    return b"x" not in shape and shape.translate(_UUID_SHAPE) == b"\n".join([_ONE_UUID] * len(texts))


class _Clock:
    """Reads the times of a batch: those with milliseconds and the second and zone of the last one at little cost."""

    def __init__(self) -> None:
        self._text = self._second = self._zone = ""
        self._begin = self._time_ns = 0

    def read(self, text: str) -> int:
        """Nanoseconds since 1970. Raises ValueError when the text is no time since then."""
        if text == self._text:
            return self._time_ns
        fraction = text[20:23]
        if text[:20] == self._second and text[23:] == self._zone and fraction.isdigit() and fraction.isascii():
            time_ns = self._begin + int(fraction) * 1_000_000
        else:
            time_ns = parse_rfc3339(text)
            if time_ns < 0:
                raise ValueError(text)
            # `2026-11-20T08:41:02.` and what follows three digits, which cannot be a digit itself.
            if (
                text[19:20] == "."
                and fraction.isdigit()
                and len(fraction) == 3
                and text[23:]
                and not text[23].isdigit()
            ):
                self._second, self._zone = text[:20], text[23:]
                self._begin = time_ns - int(fraction) * 1_000_000
        self._text, self._time_ns = text, time_ns
        return time_ns
