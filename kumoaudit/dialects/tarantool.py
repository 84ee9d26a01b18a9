"""Tarantool's audit module (sections 7 and 9): the rules of its calls, their error texts, and its system events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kumoaudit.core.catalog import EVENT_TYPES, EventType
from kumoaudit.core.errors import UsageError
from kumoaudit.core.event import SEVERITIES, Event
from kumoaudit.core.ids import is_uuid, uuid4
from kumoaudit.core.options import type_name
from kumoaudit.core.text import clean_value

# What a caller may give; `time` never.
FIELDS = ("type", "severity", "user", "module", "tag", "remote", "session_type", "uuid", "description")
_EVENT_FIELDS = ("type", "args", "user", "remote", "session_type", "tag", "uuid")


def check_type(call: str, value: str) -> str | None:
    """Why *value* cannot be the type of a custom event, or None: exactly `message`, or beginning with `custom_`."""
    if value == "message" or value.startswith("custom_"):
        return None
    return f"{call}: type must be 'message' or start with 'custom_', got '{value}'"


def check_fields(call: str, fields: object, *, has_description: bool) -> str | None:
    """The first problem of a table given to `audit.log`, `audit.new` or a shortcut, or None. Values are text by now
    (numbers were made text); *has_description* is true where a description is inherited or not needed yet."""
    if not isinstance(fields, Mapping):
        # An empty Lua table is a map; a list has positions, which are no fields.
        if isinstance(fields, list) and fields:
            return f"{call}: unknown field '1'"
        if not isinstance(fields, list):
            return f"{call}: expected a text or a table, got {type_name(fields)}"
        fields = {}
    for name in fields:
        if name not in FIELDS:
            return f"{call}: unknown field '{name}'"
    if "description" not in fields and not has_description:
        return f"{call}: field 'description' is required"
    for name in FIELDS:
        if name in fields and (not isinstance(fields[name], str) or _is_marker(fields[name])):
            return f"{call}: field '{name}' must be a string"
    severity = fields.get("severity")
    if severity is not None and severity not in SEVERITIES:
        return f"{call}: unknown severity '{severity}', expected VERBOSE, INFO, WARNING or ALARM"
    if "type" in fields and (problem := check_type(call, fields["type"])):
        return problem
    if "uuid" in fields and not is_uuid(fields["uuid"]):
        return f"{call}: field 'uuid' must be a UUID, got '{fields['uuid']}'"
    return None


def check_text(call: str, value: object, further: int) -> str:
    """Why *value* is no event (nil, boolean, function, or a table with *further* arguments behind it)."""
    if isinstance(value, (dict, list)) and not _is_marker(value):
        return f"{call}: a table of fields takes no further arguments, got {further}"
    return f"{call}: expected a text or a table, got {type_name(value)}"


class SystemEvent(NamedTuple):
    """A system event of section 9, checked: its row of the catalogue, description, arguments, and who and where."""

    row: EventType
    description: str
    args: dict[str, Any]
    fields: dict[str, str]


def system_event(values: list[Any]) -> SystemEvent:
    """The arguments of `audit.event` -> a system event. UsageError has Tarantool's text (no position)."""
    if values and isinstance(values[0], str) and not _is_marker(values[0]):
        if len(values) > 2 or (len(values) == 2 and not _is_map(values[1])):
            raise UsageError("audit.event: expected a type and a table of arguments")
        given: dict[str, Any] = {"type": values[0], "args": values[1] if len(values) > 1 else {}}
    elif len(values) == 1 and _is_map(values[0]):
        given = dict(values[0] or {})
    else:
        raise UsageError(
            f"audit.event: expected a table or a type and its arguments, got {type_name(values[0] if values else None)}"
        )
    return system_event_of(given)


def system_event_of(given: Mapping[str, Any]) -> SystemEvent:
    """The object form: `{type, args, user, remote, session_type, tag, uuid}`; also what HTTP and the socket send."""
    for name in given:
        if name not in _EVENT_FIELDS:
            raise UsageError(f"audit.event: unknown field '{name}'")
    kind = given.get("type")
    if not isinstance(kind, str) or _is_marker(kind):
        raise UsageError(
            "audit.event: field 'type' is required" if kind is None else "audit.event: field 'type' must be a string"
        )
    if kind in ("message", "custom") or kind.startswith("custom_"):
        raise UsageError("audit.event: use audit.log for custom events")
    row = EVENT_TYPES.get(kind)
    if row is None or row.family != "tarantool":
        raise UsageError(f"audit.event: unknown event type '{kind}'")
    fields = {}
    for name in ("user", "remote", "session_type", "tag", "uuid"):
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = _scalar(value)
        if not isinstance(value, str) or _is_marker(value):
            raise UsageError(f"audit.event: field '{name}' must be a string")
        fields[name] = value
    if "uuid" in fields and not is_uuid(fields["uuid"]):
        raise UsageError(f"audit.event: field 'uuid' must be a UUID, got '{fields['uuid']}'")
    args = given.get("args") or {}
    if not _is_map(args):
        raise UsageError("audit.event: field 'args' must be a table")
    return SystemEvent(row, *_described(row, dict(args)), fields)


def record_of(e: SystemEvent, time_ns: int, id: str | None = None) -> Event:
    """The event of a system event; its id is *id*, or the uuid that was given, or a new one."""
    fields = e.fields
    return Event(
        id=id or fields.get("uuid") or uuid4(),
        time_ns=time_ns,
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


def _described(row: EventType, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if "func" in args and "function" in row.args:
        # `function` is a reserved word in Lua.
        args.setdefault("function", args.pop("func"))
    for name in row.args:
        if args.get(name) is None:
            raise UsageError(f"audit.event: missing argument '{name}' for event '{row.name}'")
    for name in args:
        if name not in row.args and name not in row.optional:
            raise UsageError(f"audit.event: unknown argument '{name}' for event '{row.name}'")
    texts = {name: _argument(row, name, value) for name, value in args.items() if value is not None}
    template = row.template or ""
    for needed, alternative in row.alternatives:
        if all(name in texts for name in needed):
            template = alternative
            break
    return render(template, texts), {name: args[name] for name in args if args[name] is not None}


_PLACEHOLDER = re.compile(r"<([A-Z_]+)>")


def render(template: str, texts: Mapping[str, str]) -> str:
    """Fill the placeholders once, from the left; values are not looked at again. An empty object name (universe)
    goes with the space before it."""
    out, at = "", 0
    for m in _PLACEHOLDER.finditer(template):
        out += template[at : m.start()]
        value = texts.get(m.group(1).lower(), "")
        if not value and m.group(1) == "OBJECT_NAME":
            out = out.removesuffix(" ")
        out += value
        at = m.end()
    return out + template[at:]


# Lists of values, shown as JSON; a text among these arguments is taken as already rendered.
_RENDERED = ("tuple", "new_tuple", "key", "args")


def _argument(row: EventType, name: str, value: Any) -> str:
    if _is_marker(value):
        raise UsageError(f"audit.event: argument '{name}' of event '{row.name}' cannot be a {type_name(value)}")
    if isinstance(value, str):
        return value
    if name in _RENDERED:
        return json_text([] if value == {} else value)
    if name in ("privilege", "events") and isinstance(value, list):
        return ",".join(json_text(v) if not isinstance(v, str) else v for v in value)
    if name == "duration" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.3f}s"
    if isinstance(value, (int, float)):
        return _scalar(value)
    if value == {} and name == "object_name":
        return ""
    raise UsageError(f"audit.event: argument '{name}' of event '{row.name}' must be a string")


def json_text(value: object) -> str:
    """JSON with `, ` between items and text as UTF-8, as Tarantool shows tuples and keys."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _scalar(value: int | float) -> str:
    return json_text(int(value) if isinstance(value, float) and value.is_integer() else value)


def _is_marker(value: object) -> bool:
    """Whether the value stands for something that is no data (the runtime marks functions and the like)."""
    return type(value) is not str and isinstance(value, str)


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping) or value == []
