"""Predicate text -> tree: `severity >= ALARM and (user = bob or peer in 10.0.0.0/8) and not type = custom_*`."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kumoaudit.core.errors import PredicateError
from kumoaudit.core.predicate import (
    CLOSED,
    FIELDS,
    AllOf,
    Always,
    AnyOf,
    AnyText,
    Cidr,
    Compare,
    Contains,
    FieldIn,
    Glob,
    Not,
    Predicate,
    glob_parts,
)
from kumoaudit.core.timetext import NS, parse_when, rfc3339

_MAX_DEPTH = 100
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')
    | (?P<op><=|>=|!=|=|<|>|~)
    | (?P<punct>[(),])
    | (?P<word>[^\s()<>=!~,"']+)
    )""",
    re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_predicate(text: str, *, now_ns: int = 0, allow_seq: bool = True) -> Predicate:
    """Read a predicate (interface section 6). An empty text is every event.

    *now_ns* is what ages such as `time > 1h` count from. With `allow_seq=False` (a log's filter) `seq` is refused: a
    record has its number only once it is written; so are ages, `now`, `today` and `yesterday`: a filter stays as it was
    read, also when its day is over. Raises PredicateError that shows the place.
    """
    return _Parser(text, now_ns, allow_seq).parse()


def predicate_from_table(table: Mapping[str, object], *, allow_seq: bool = False) -> Predicate:
    """`{ type = {'custom_a', 'custom_b*'}, severity = 'ALARM' }`: every field equals one of its values."""
    terms = []
    for field, wanted in table.items():
        values = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
        if not values or any(isinstance(v, (dict, list)) or v is None for v in values):
            raise PredicateError(f"where.{field}: expected a value or a list of values")
        name = _field_name(field, f"where.{field}", allow_seq)
        now_ns = 0 if allow_seq else None
        tests = [_equal(name, str(v) if not isinstance(v, bool) else str(v).lower(), now_ns, "") for v in values]
        terms.append(_any(tests))
    return _all(terms)


class _Parser:
    def __init__(self, text: str, now_ns: int, allow_seq: bool) -> None:
        self.text, self.allow_seq = text, allow_seq
        self.now_ns = now_ns if allow_seq else None
        self.tokens = self._split()
        self.i = 0
        self.depth = 0

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            m = _TOKEN.match(self.text, at)
            if not m or m.end() == at:
                bad = re.match(r"\s*", self.text[at:])
                raise self._error("cannot be read", at + (bad.end() if bad else 0))
            kind = m.lastgroup or ""
            tokens.append(_Token(kind, m.group(kind), m.start(kind)))
            at = m.end()
        return tokens

    def _error(self, what: str, at: int, fix: str = "") -> PredicateError:
        pointer = " " * min(at, 200) + "^"
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        return PredicateError(f"{what} at column {at + 1}\n  {shown}\n  {pointer}" + (f"\n  {fix}" if fix else ""))

    def _peek(self) -> _Token | None:
        return self.tokens[self.i] if self.i < len(self.tokens) else None

    def _is_word(self, word: str) -> bool:
        t = self._peek()
        return t is not None and t.kind == "word" and t.text.lower() == word

    def _take(self) -> _Token:
        t = self._peek()
        if t is None:
            raise self._error("ends too early", len(self.text))
        self.i += 1
        return t

    def parse(self) -> Predicate:
        if not self.tokens:
            return Always()
        tree = self._or()
        if (t := self._peek()) is not None:
            raise self._error(f"did not expect {t.text!r}", t.at, "join conditions with 'and' or 'or'")
        return tree

    def _or(self) -> Predicate:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise PredicateError(f"more than {_MAX_DEPTH} parentheses inside each other")
        terms = [self._and()]
        while self._is_word("or"):
            self.i += 1
            terms.append(self._and())
        self.depth -= 1
        return _any(terms)

    def _and(self) -> Predicate:
        terms = [self._not()]
        while self._is_word("and"):
            self.i += 1
            terms.append(self._not())
        return _all(terms)

    def _not(self) -> Predicate:
        negate = False
        while self._is_word("not"):
            self.i += 1
            negate = not negate
        term = self._term()
        return Not(term) if negate else term

    def _term(self) -> Predicate:
        t = self._take()
        if t.kind == "punct" and t.text == "(":
            inner = self._or()
            close = self._take()
            if close.text != ")":
                raise self._error(f"expected ')', got {close.text!r}", close.at)
            return inner
        if t.kind == "quoted":
            return AnyText(_unquote(t.text))
        if t.kind != "word":
            raise self._error(f"did not expect {t.text!r}", t.at, "a condition reads: field operator value")
        op = self._peek()
        if op is not None and op.kind == "op":
            self.i += 1
            return self._comparison(t, op)
        if op is not None and op.kind == "word" and op.text.lower() == "in":
            self.i += 1
            return self._in(t)
        if t.text.lower() in ("and", "or", "in"):
            raise self._error(f"did not expect {t.text!r}", t.at, "quote it to search for the word")
        return AnyText(t.text)

    def _value(self) -> str:
        t = self._take()
        if t.kind == "quoted":
            return _unquote(t.text)
        if t.kind != "word":
            raise self._error(f"expected a value, got {t.text!r}", t.at, "quote values that hold operators or commas")
        return t.text

    def _field(self, t: _Token) -> str:
        try:
            return _field_name(t.text, "", self.allow_seq)
        except PredicateError as e:
            what, _, fix = str(e).partition("\n  ")
            raise self._error(what, t.at, fix) from None

    def _comparison(self, t: _Token, op: _Token) -> Predicate:
        field = self._field(t)
        at = self._peek()
        value = self._value()
        where = at.at if at else t.at
        try:
            if op.text == "~":
                return Contains(field, value)
            if op.text == "=":
                return _equal(field, value, self.now_ns, "")
            if op.text == "!=":
                return Not(_equal(field, value, self.now_ns, ""))
            return _ordered(field, op.text, value, self.now_ns)
        except PredicateError as e:
            what, _, fix = str(e).partition("\n  ")
            raise self._error(what, where, fix) from None

    def _in(self, t: _Token) -> Predicate:
        field = self._field(t)
        values: list[str] = []
        first = self._peek()
        if first is not None and first.text == "(" and first.kind == "punct":
            self.i += 1
            while True:
                values.append(self._value())
                sep = self._take()
                if sep.text == ")":
                    break
                if sep.text != ",":
                    raise self._error(f"expected ',' or ')', got {sep.text!r}", sep.at)
        else:
            values.append(self._value())
        try:
            return _any([_equal(field, v, self.now_ns, "") for v in values])
        except PredicateError as e:
            what, _, fix = str(e).partition("\n  ")
            raise self._error(what, first.at if first else t.at, fix) from None


def _field_name(name: str, where: str, allow_seq: bool) -> str:
    prefix = f"{where}: " if where else ""
    lower = name.lower()
    if lower == "seq" and not allow_seq:
        raise PredicateError(f"{prefix}'seq' is not known when a log decides what it takes")
    if lower in FIELDS:
        return lower
    head, _, rest = name.partition(".")
    if head.lower() in ("detail", "metadata") and rest and all(rest.split(".")):
        return f"{head.lower()}.{rest}"
    near = difflib.get_close_matches(lower, FIELDS, 1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise PredicateError(f"{prefix}unknown field {name!r}\n  {guess}fields: {' '.join(FIELDS)} detail.x metadata.x")


def _unquote(text: str) -> str:
    q = text[0]
    return text[1:-1].replace(q + q, q)


def _closed_value(field: str, value: str) -> str:
    for allowed in CLOSED[field]:
        if value.lower() == allowed.lower():
            return allowed
    near = difflib.get_close_matches(value.lower(), [v.lower() for v in CLOSED[field]], 1)
    guess = f"did you mean {next(v for v in CLOSED[field] if v.lower() == near[0])!r}? " if near else ""
    raise PredicateError(f"unknown {field} {value!r}\n  {guess}values: {' '.join(CLOSED[field])}")


def _time(value: str, now_ns: int | None) -> int:
    """A point in time; with *now_ns* None only one that is the same whenever it is read."""
    try:
        found = parse_when(value, now_ns or 0)
        is_relative = now_ns is None and parse_when(value, 400 * 86_400 * NS) != found
    except Exception as e:  # noqa: BLE001 - any refusal of the time becomes a refusal of the predicate
        raise PredicateError(str(e)) from None
    if is_relative:
        raise PredicateError(
            f"{value!r} counts from now, and the filter of a log is read once\n"
            "  write a point in time: 2026-11-20, '2026-11-20 08:41' or an RFC 3339 time"
        )
    return found


def _equal(field: str, value: str, now_ns: int | None, _: str) -> Predicate:
    parts = glob_parts(value)
    if field in CLOSED and len(parts) == 1 and value:
        return FieldIn(field, (_closed_value(field, value),))
    if field == "time":
        return FieldIn(field, (rfc3339(_time(value, now_ns)),))
    if field == "peer" and len(parts) == 1:
        try:
            return Cidr(field, str(ipaddress.ip_network(value)))
        except ValueError as e:
            if "/" in value and "host bits" in str(e):
                net = ipaddress.ip_network(value, strict=False)
                raise PredicateError(f"{value} has host bits set\n  did you mean {net}?") from None
    if len(parts) == 1:
        return FieldIn(field, (parts[0],))
    return Glob(field, value)


def _ordered(field: str, op: str, value: str, now_ns: int | None) -> Predicate:
    if field == "severity":
        return Compare(field, op, _closed_value(field, value))
    if field == "time":
        return Compare(field, op, _time(value, now_ns))
    if field == "seq" or field.startswith("detail."):
        try:
            return Compare(field, op, int(value))
        except ValueError:
            pass
        try:
            return Compare(field, op, float(value))
        except ValueError:
            if field == "seq":
                raise PredicateError(f"seq is a number, got {value!r}") from None
            return Compare(field, op, value)
    raise PredicateError(f"{op} needs severity, time, seq or a detail, not {field!r}\n  for text use = != ~ in")


def _all(terms: list[Predicate]) -> Predicate:
    return terms[0] if len(terms) == 1 else AllOf(tuple(terms))


def _any(terms: list[Predicate]) -> Predicate:
    """One term as it is; equalities on one field as one set, so that filters become one table look-up."""
    if len(terms) == 1:
        return terms[0]
    if all(isinstance(t, FieldIn) for t in terms) and len({t.field for t in terms if isinstance(t, FieldIn)}) == 1:
        sets = [t for t in terms if isinstance(t, FieldIn)]
        return FieldIn(sets[0].field, tuple(dict.fromkeys(v for t in sets for v in t.values)))
    return AnyOf(tuple(terms))
