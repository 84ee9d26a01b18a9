"""PythonEncoder: the reference implementation of a Plan. Short, obvious, the definition of correct."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from kumoaudit.core.event import TEXT_FIELDS, Event
from kumoaudit.core.predicate import Always, Predicate, compile_test
from kumoaudit.core.spec import Fill, Plan
from kumoaudit.formats import FORMATS


class PythonEncoder:
    """One plan: fill, filter, format. Any thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._encode = FORMATS[plan.format].encode
        self._test = None if isinstance(plan.where, Always) else compile_test(plan.where)
        self._module, self._user = plan.fill.module, plan.fill.user

    def takes(self, event: Event) -> bool:
        """Whether the plan's filter takes *event* (as filled in)."""
        return self._test is None or self._test(fill(self.plan.fill, event), 0)

    def line(self, event: Event) -> bytes:
        """The line of *event*, whatever the filter says."""
        if (event.module is None and self._module) or (event.user is None and self._user):
            event = fill(self.plan.fill, event)
        return self._encode(event)

    def encode(self, event: Event) -> bytes | None:
        """The line of *event*, or None when the filter does not take it."""
        return self.line(event) if self.takes(event) else None


def fill(values: Fill, event: Event) -> Event:
    """*event* with the log's own module and user where it has none."""
    module, user = event.module or values.module, event.user or values.user
    if module == event.module and user == event.user:
        return event
    return msgspec.structs.replace(event, module=module, user=user)


def claims_test(claims: Predicate, values: Fill) -> Any:
    """Whether a log is meant for an event: a function of the event, or None for all events."""
    if isinstance(claims, Always):
        return None
    test = compile_test(claims)
    return lambda event: test(fill(values, event), 0)


def cut_to(event: Event, max_bytes: int, encode: Any) -> Event:
    """*event* with its longest texts cut until `encode(event)` has at most *max_bytes*.

    What was cut keeps its size in bytes and its sha256 in `detail.truncated`, so the original can be recognised.
    """
    originals: dict[str, str] = {}
    while (over := len(encode(event)) - max_bytes) > 0:
        sizes = {name: len(getattr(event, name) or "") for name in ("description", *TEXT_FIELDS)}
        longest = max(sizes, key=lambda name: sizes[name])
        text = getattr(event, longest) or ""
        if len(text) <= 64:
            # The bulk is in a struct: keep only its size and hash.
            event = _without_structs(event)
            if len(encode(event)) > max_bytes:
                return event
            continue
        originals.setdefault(longest, text)
        # Room for the note about the cut, written once per field.
        kept = text[: max(32, len(text) - over - 200)]
        event = msgspec.structs.replace(event, **{longest: kept, "detail": _note(event.detail, originals)})
    return event


def _note(detail: dict[str, Any] | None, originals: dict[str, str]) -> dict[str, Any]:
    notes = {name: _digest(text.encode("utf-8", "surrogateescape")) for name, text in originals.items()}
    return {**(detail or {}), "truncated": {**(detail or {}).get("truncated", {}), **notes}}


def _digest(raw: bytes) -> dict[str, Any]:
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _without_structs(event: Event) -> Event:
    notes = dict((event.detail or {}).get("truncated", {}))
    for name in ("detail", "metadata"):
        struct = getattr(event, name)
        if struct:
            notes[name] = _digest(repr(struct).encode("utf-8", "backslashreplace"))
    return msgspec.structs.replace(event, detail={"truncated": notes}, metadata=None)
