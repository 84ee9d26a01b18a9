"""Texts that a stored line must hold to satisfy a predicate: lines and whole blocks are passed over without decoding.

May let too much through, never too little. A clause is a set of texts of which one must be there. Where a text could
stand in a line in another form there is doubt, and doubt lets the line through: JSON's `\\u` escapes, letters that fold
to ASCII ones, fields that KumoMTA's and Tarantool's lines do not spell out but imply.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kumoaudit.core.event import KINDS, OUTCOMES, SEVERITIES, SEVERITY_RANK
from kumoaudit.core.predicate import (
    AllOf,
    AnyOf,
    AnyText,
    Compare,
    Contains,
    FieldIn,
    Glob,
    Predicate,
    glob_parts,
)

# What JSON may write with a two-character escape ends a literal; everything else is itself or a `\u` escape.
_SPLIT = re.compile('[\x00-\x1f"\\\\/\ud800-\udfff]+')
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")

# Letters outside ASCII that a case-blind comparison takes for an ASCII letter: I with dot, dotless i, Kelvin, long s.
_FOLDING = tuple(c.encode() for c in "\u0130\u0131\u212a\u017f")

# Fields that only native lines spell out; in the lines of other shapes they follow from the type.
_DERIVED_FIELDS = ("kind", "severity", "outcome")
_DERIVED_TEXTS = tuple(t.lower() for t in (*KINDS, *OUTCOMES, *SEVERITIES))
_DERIVING = (b'"Authentication"', b'"Authorization"', b'"uuid"')

# A text made of these alone may be a number, which JSON can spell in several ways.
_NUMBER = re.compile(r"[0-9.eE+\-infatyINFATY]*")


class Clause(NamedTuple):
    """One of *exact*, or one of *blind* (lower case, found whatever the case), must be in the line."""

    exact: tuple[bytes, ...] = ()
    blind: tuple[bytes, ...] = ()
    derived: bool = False

    @property
    def weight(self) -> int:
        """How selective it is: the length of its shortest text."""
        return min((len(t) for t in self.exact + self.blind), default=1 << 30)


class Prefilter:
    """The clauses of a predicate; all must hold. Immutable, any thread."""

    def __init__(self, predicate: Predicate) -> None:
        self.clauses = clauses_of(predicate)

    def may_match(self, data: bytes) -> bool:
        """False only when no line in *data* (one line or many) can satisfy the predicate."""
        if not self.clauses or b"\\u" in data:
            return True
        lowered: bytes | None = None
        for clause in self.clauses:
            if any(t in data for t in clause.exact):
                continue
            if clause.blind:
                lowered = data.lower() if lowered is None else lowered
                if any(t in lowered for t in clause.blind):
                    continue
                if not data.isascii() and any(t in data for t in _FOLDING):
                    continue
            if clause.derived and any(t in data for t in _DERIVING):
                continue
            return False
        return True


def clauses_of(predicate: Predicate) -> tuple[Clause, ...]:
    """The clauses that follow from *predicate*; none when nothing can be said."""
    match predicate:
        case FieldIn(field, values):
            return _field_in(field, values)
        case Glob(field, pattern) if not _is_struct(field) and field not in ("time", "seq"):
            return _one(field, _longest(glob_parts(pattern)))
        case Contains(field, text) if not _is_struct(field) and field not in ("time", "seq"):
            return _blind(text, field in _DERIVED_FIELDS)
        case AnyText(text) if not _NUMBER.fullmatch(text):
            return _blind(text, any(text.lower() in t for t in _DERIVED_TEXTS))
        case Compare("severity", op, str(value)) if op in (">", ">="):
            # Only upwards: an unknown severity ranks below all, and its text is anybody's guess.
            least = SEVERITY_RANK[value] + (op == ">")
            return (Clause(exact=tuple(s.encode() for s in SEVERITIES[least:]), derived=True),)
        case AllOf(terms):
            return tuple(c for t in terms for c in clauses_of(t))
        case AnyOf(terms):
            return _any_of(terms)
        case _:
            return ()


def _is_struct(field: str) -> bool:
    return field.startswith(("detail.", "metadata."))


def _field_in(field: str, values: tuple[str, ...]) -> tuple[Clause, ...]:
    if field in ("time", "seq"):
        return ()
    exact: list[bytes] = []
    blind: list[bytes] = []
    for value in values:
        # A leaf of a struct may be a number or a whole object, whose text is not what stands in the line.
        if _is_struct(field) and (_NUMBER.fullmatch(value) or value[:1] in ("{", "[")):
            return ()
        clauses = _one(field, value)
        if not clauses:
            return ()
        exact.extend(clauses[0].exact)
        blind.extend(clauses[0].blind)
    return (Clause(tuple(exact), tuple(blind), field in _DERIVED_FIELDS),)


def _one(field: str, text: str) -> tuple[Clause, ...]:
    if field == "id":
        return _blind(text, False)
    literal = _longest(_SPLIT.split(text))
    return (Clause(exact=(literal.encode(),), derived=field in _DERIVED_FIELDS),) if literal else ()


def _blind(text: str, derived: bool) -> tuple[Clause, ...]:
    runs = [r for part in _SPLIT.split(text.lower()) for r in _NOT_ASCII.split(part)]
    literal = _longest(runs)
    return (Clause(blind=(literal.encode(),), derived=derived),) if literal else ()


def _any_of(terms: tuple[Predicate, ...]) -> tuple[Clause, ...]:
    """One alternative must hold, so of each the most selective clause, joined; nothing when one says nothing."""
    exact: list[bytes] = []
    blind: list[bytes] = []
    derived = False
    for term in terms:
        clauses = clauses_of(term)
        if not clauses:
            return ()
        best = max(clauses, key=lambda c: c.weight)
        exact.extend(best.exact)
        blind.extend(best.blind)
        derived = derived or best.derived
    return (Clause(tuple(exact), tuple(blind), derived),)


def _longest(parts: list[str]) -> str:
    return max(parts, key=len, default="")
