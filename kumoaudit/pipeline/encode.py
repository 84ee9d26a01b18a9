"""PythonEncoder: the reference implementation of a Plan. Short, obvious, the definition of correct."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kumoaudit.core.event import TEXT_FIELDS, Event
from kumoaudit.core.predicate import Always, Predicate, compile_test
from kumoaudit.core.spec import Fill, Plan
from kumoaudit.formats import FORMATS
from kumoaudit.formats.kumo import KumoFormat


class PythonEncoder:
    """One plan: fill, filter, format. Any thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        format = FORMATS[plan.format]
        self._again = format.again if isinstance(format, KumoFormat) else None
        self._encode, self._encode_many = format.encode, format.encode_many
        self._test = None if isinstance(plan.where, Always) else compile_test(plan.where)
        self.has_filter = self._test is not None
        self._module, self._user = plan.fill.module, plan.fill.user

    def takes(self, event: Event) -> bool:
        """Whether the plan's filter takes *event* (as filled in)."""
        return self._test is None or self._test(fill(self.plan.fill, event), 0)

    def line(self, event: Event) -> bytes:
        """The line of *event*, whatever the filter says."""
        if self._again is not None and (line := self._again(event)) is not None:
            return line
        if event.module is None or (self._user and event.user is None):
            event = fill(self.plan.fill, event)
        return self._encode(event)

    def lines(self, events: Sequence[Event]) -> bytes:
        """The lines of *events*, one after the other, whatever the filter says."""
        if self._user or any(event.module is None for event in events):
            values = self.plan.fill
            events = [fill(values, event) for event in events]
        return self._encode_many(events)

    def encode(self, event: Event) -> bytes | None:
        """The line of *event*, or None when the filter does not take it."""
        return self.line(event) if self.takes(event) else None


def fill(values: Fill, event: Event) -> Event:
    """*event* with the log's own module and user where it has none."""
    module, user = event.module or values.module, event.user or values.user
    if module == event.module and user == event.user:
        return event
    return msgspec.structs.replace(event, module=module, user=user)


def has_longer(lines: bytes, max_bytes: int) -> bool:
    """Whether one of *lines* has more than *max_bytes* with its newline; looks at few of them."""
    at = 0
    while len(lines) - at > max_bytes:
        at = lines.rfind(b"\n", at, at + max_bytes) + 1
        if not at:
            return True
    return False


def claims_test(claims: Predicate, values: Fill) -> Any:
    """Whether a log is meant for an event: a function of the event, or None for all events."""
    if isinstance(claims, Always):
        return None
    test = compile_test(claims)
    return lambda event: test(fill(values, event), 0)


# Texts up to this many characters are never cut.
_SHORT = 64
# What the note about a cut takes in the line, roughly: its size and its sha256.
_NOTE_BYTES = 200
_MOST_BYTES_A_CHARACTER = 6


def cut_to(event: Event, max_bytes: int, encode: Callable[[Event], bytes]) -> Event:
    """*event* with its longest texts cut until `encode(event)` has at most *max_bytes*.

    What was cut keeps its size in bytes and its sha256 in `detail.truncated`, so the original can be recognised.
    """
    has_structs = True
    while (over := len(encode(event)) - max_bytes) > 0:
        sizes = {name: len(getattr(event, name) or "") for name in ("description", *TEXT_FIELDS)}
        longest = max(sizes, key=lambda name: sizes[name])
        length = sizes[longest]
        if length <= _SHORT or (has_structs and sum(sizes.values()) * _MOST_BYTES_A_CHARACTER < over):
            # The bulk is in a struct: keep only its size and hash.
            if not has_structs:
                return event
            event, has_structs = _without_structs(event), False
            continue
        text = getattr(event, longest)
        stored = len(encode(event)) - len(encode(msgspec.structs.replace(event, **{longest: ""})))
        excess = -(-(over + _NOTE_BYTES) * length // max(1, stored))
        kept = text[: max(_SHORT // 2, length - excess)]
        event = msgspec.structs.replace(event, **{longest: kept, "detail": _note(event.detail, longest, text)})
    return event


def _note(detail: dict[str, Any] | None, name: str, text: str) -> dict[str, Any]:
    noted = _truncated(detail)
    # Cut a second time: the note is about the original.
    return {**(detail or {}), "truncated": {name: _digest(text.encode("utf-8", "surrogateescape")), **noted}}


def _truncated(detail: dict[str, Any] | None) -> dict[str, Any]:
    noted = (detail or {}).get("truncated")
    return noted if isinstance(noted, dict) else {}


def _digest(raw: bytes) -> dict[str, Any]:
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _without_structs(event: Event) -> Event:
    notes = dict(_truncated(event.detail))
    for name in ("detail", "metadata"):
        struct = getattr(event, name)
        if struct:
            notes[name] = _digest(repr(struct).encode("utf-8", "backslashreplace"))
    return msgspec.structs.replace(event, detail={"truncated": notes}, metadata=None)
