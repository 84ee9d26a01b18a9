"""The predicate tree: one language for a log's filter, a query and (later) rules; matches(), to_text().

A predicate is data: it can be printed, compared, compiled to Python here and to Lua in `core.predicate_lua`. Its text
form is read by `core.predicate_text`. An absent field counts as the empty text. Text compares exactly, but for `~` and
words without operator (case-blind) and ids (UUIDs and ULIDs are the same in any case).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec

from kumoaudit.core.event import KINDS, OUTCOMES, SEVERITIES, SEVERITY_RANK, TEXT_FIELDS, Event
from kumoaudit.core.timetext import rfc3339

FIELDS = (
    "time",
    "seq",
    "node",
    "id",
    "kind",
    "type",
    "severity",
    "outcome",
    "user",
    "host",
    "peer",
    "resource",
    "privilege",
    "scope",
    "session_type",
    "module",
    "tag",
    "source",
    "description",
)
CLOSED = {"kind": KINDS, "severity": SEVERITIES, "outcome": OUTCOMES}


class Always(msgspec.Struct, frozen=True, tag=True):
    """Every event."""


class FieldIn(msgspec.Struct, frozen=True, tag=True):
    """The field is exactly one of *values*."""

    field: str
    values: tuple[str, ...]


class Glob(msgspec.Struct, frozen=True, tag=True):
    """The field matches a pattern in which `*` stands for any text and `\\*` for a star."""

    field: str
    pattern: str


class Contains(msgspec.Struct, frozen=True, tag=True):
    """The field contains *text*, case-blind."""

    field: str
    text: str


class AnyText(msgspec.Struct, frozen=True, tag=True):
    """Any text of the event contains *text*, case-blind."""

    text: str


class Cidr(msgspec.Struct, frozen=True, tag=True):
    """The field is an address (a port is ignored) inside *network*; an IPv4-mapped address counts as IPv4."""

    field: str
    network: str


class Compare(msgspec.Struct, frozen=True, tag=True):
    """`<`, `<=`, `>`, `>=`: severity by its order, time in nanoseconds, numbers of `seq` and `detail`."""

    field: str
    op: str
    value: int | float | str


class Not(msgspec.Struct, frozen=True, tag=True):
    term: Predicate


class AllOf(msgspec.Struct, frozen=True, tag=True):
    """Every term holds; true when there is none."""

    terms: tuple[Predicate, ...]


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """At least one term holds; false when there is none."""

    terms: tuple[Predicate, ...]


Predicate = Always | FieldIn | Glob | Contains | AnyText | Cidr | Compare | Not | AllOf | AnyOf
Test = Callable[[Event, int], bool]


def matches(predicate: Predicate, event: Event, seq: int = 0) -> bool:
    """Whether *event*, record number *seq* of its log, satisfies *predicate*."""
    return compile_test(predicate)(event, seq)


def fields_of(predicate: Predicate) -> frozenset[str]:
    """The fields that a predicate looks at, as they are written in it; "*" for any text."""
    match predicate:
        case Always():
            return frozenset()
        case Not(term):
            return fields_of(term)
        case AllOf(terms) | AnyOf(terms):
            return frozenset().union(*map(fields_of, terms))
        case AnyText():
            return frozenset("*")
        case _:
            return frozenset({predicate.field})


@lru_cache(maxsize=512)
def compile_test(predicate: Predicate) -> Test:
    """The predicate as one Python function of (event, seq); decided once, not per event."""
    match predicate:
        case Always():
            return lambda event, seq: True
        case Not(term):
            inner = compile_test(term)
            return lambda event, seq: not inner(event, seq)
        case AllOf(terms):
            tests = [compile_test(t) for t in terms]
            return lambda event, seq: all(t(event, seq) for t in tests)
        case AnyOf(terms):
            tests = [compile_test(t) for t in terms]
            return lambda event, seq: any(t(event, seq) for t in tests)
        case AnyText(text):
            needle = text.lower()
            return lambda event, seq: any(needle in t.lower() for t in all_texts(event))
        case FieldIn(field, values):
            return _on_values(field, _equals(field, values))
        case Glob(field, pattern):
            regex = glob_regex(pattern, blind=field == "id")
            return _on_values(field, lambda v: regex.fullmatch(as_text(v)) is not None)
        case Contains(field, text):
            needle = text.lower()
            return _on_values(field, lambda v: needle in as_text(v).lower())
        case Cidr(field, network):
            net = ipaddress.ip_network(network)
            return _on_values(field, lambda v: _inside(as_text(v), net))
        case Compare(field, op, value):
            return _on_values(field, _compares(field, op, value))


def _equals(field: str, values: tuple[str, ...]) -> Callable[[Any], bool]:
    if field == "id":
        wanted = frozenset(v.lower() for v in values)
        return lambda v: v.lower() in wanted
    if field == "time":
        return lambda v: rfc3339(v) in values
    texts = frozenset(values)
    return lambda v: (v if isinstance(v, str) else as_text(v)) in texts


def _compares(field: str, op: str, value: int | float | str) -> Callable[[Any], bool]:
    wanted: Any = SEVERITY_RANK[str(value)] if field == "severity" else value

    def test(actual: Any) -> bool:
        if field == "severity":
            actual = SEVERITY_RANK.get(actual, -1)
        elif isinstance(actual, bool) or not isinstance(actual, (int, float)):
            if isinstance(wanted, (int, float)):
                return False
            actual = as_text(actual)
        elif isinstance(wanted, str):
            return False
        match op:
            case "<":
                return bool(actual < wanted)
            case "<=":
                return bool(actual <= wanted)
            case ">":
                return bool(actual > wanted)
            case _:
                return bool(actual >= wanted)

    return test


def _on_values(field: str, test: Callable[[Any], bool]) -> Test:
    """*test* on each value of a field: one for most, any number for `detail.x` and `metadata.x`."""
    if field == "time":
        return lambda event, seq: test(event.time_ns)
    if field == "seq":
        return lambda event, seq: test(seq)
    if field.startswith("detail."):
        path = field.split(".")[1:]
        return lambda event, seq: any(test(v) for v in _walk(event.detail, path))
    if field.startswith("metadata."):
        name = field[9:].lower()
        return lambda event, seq: any(test(v) for v in _metadata(event.metadata, name))
    return lambda event, seq: test(getattr(event, field) or "")


def _walk(value: Any, path: list[str]) -> Iterable[Any]:
    """The leaves at *path* of a detail struct; lists are looked through; an absent path is one empty text."""
    level = [value]
    for name in path:
        items = [item for v in level for item in (v if isinstance(v, list) else [v])]
        level = [item[name] for item in items if isinstance(item, dict) and name in item]
    leaves: list[Any] = []
    for v in level:
        leaves.extend(v if isinstance(v, list) else [v])
    return leaves or [""]


def _metadata(metadata: dict[str, Any] | None, name: str) -> Iterable[Any]:
    for key, value in (metadata or {}).items():
        if key.lower() == name:
            return (value or [""]) if isinstance(value, list) else [value]
    return [""]


def as_text(value: object) -> str:
    """A value as it is compared and searched: text as it is, true/false, numbers, nothing for None."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def all_texts(event: Event) -> Iterable[str]:
    """Every text of an event that a word without operator searches."""
    yield event.description
    yield event.type
    yield event.kind
    yield event.id
    yield event.node
    for name in TEXT_FIELDS:
        value = getattr(event, name)
        if value:
            yield value
    if event.outcome:
        yield event.outcome
    if event.auth_info:
        for identity in event.auth_info.identities:
            yield identity.identity
        yield from event.auth_info.groups
        if event.auth_info.peer_address:
            yield event.auth_info.peer_address
    for tree in (event.detail, event.metadata):
        if tree:
            yield from _leaf_texts(tree)


def _leaf_texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for v in value.values():
            yield from _leaf_texts(v)
    elif isinstance(value, list):
        for v in value:
            yield from _leaf_texts(v)
    else:
        yield as_text(value)


def glob_parts(pattern: str) -> list[str]:
    """The literal texts between the stars of a pattern; one part means there is no star."""
    parts, literal, escaped = [], "", False
    for c in pattern:
        if escaped:
            literal += c if c in "*\\" else "\\" + c
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == "*":
            parts.append(literal)
            literal = ""
        else:
            literal += c
    return [*parts, literal + ("\\" if escaped else "")]


@lru_cache(maxsize=512)
def glob_regex(pattern: str, *, blind: bool = False) -> re.Pattern[str]:
    """A wildcard pattern as a compiled regular expression for fullmatch()."""
    text = ".*".join(re.escape(p) for p in glob_parts(pattern))
    return re.compile(text, re.DOTALL | (re.IGNORECASE if blind else 0))


def peer_address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:5678`, `::1`, `[::1]:5678`; IPv4-mapped as IPv4; None for anything else."""
    text = peer
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _inside(peer: str, net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    address = peer_address(peer)
    return address is not None and address.version == net.version and address in net


def to_text(predicate: Predicate) -> str:
    """The predicate in the language of `core.predicate_text`, which reads it back as an equal tree."""
    match predicate:
        case Always():
            return ""
        case FieldIn(field, (value,)):
            return f"{field} = {_quote(value, star=True)}"
        case FieldIn(field, values):
            return f"{field} in ({', '.join(_quote(v, star=True) for v in values)})"
        case Glob(field, pattern):
            return f"{field} = {_quote(pattern)}"
        case Contains(field, text):
            return f"{field} ~ {_quote(text)}"
        case AnyText(text):
            return _quote(text)
        case Cidr(field, network):
            return f"{field} in {network}"
        case Compare("time", op, int(value)):
            return f"time {op} {rfc3339(value)}"
        case Compare(field, op, value):
            return f"{field} {op} {value if not isinstance(value, str) else _quote(value)}"
        case Not(term):
            return f"not ({to_text(term) or _EVERYTHING})"
        case AllOf(terms):
            return " and ".join(f"({to_text(t) or _EVERYTHING})" for t in terms)
        case AnyOf(()):
            return f"not {_EVERYTHING}"
        case AnyOf(terms):
            return " or ".join(f"({to_text(t) or _EVERYTHING})" for t in terms)


# Inside another term "every event" needs a text: the empty word, which every text contains.
_EVERYTHING = '""'

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")
_WORDS = frozenset({"and", "or", "not", "in"})


def _quote(value: str, *, star: bool = False) -> str:
    if star:
        value = value.replace("\\", "\\\\").replace("*", "\\*")
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + value.replace('"', '""') + '"'
