"""Option tables of a configuration -> a frozen struct, or every problem at once with did-you-mean.

An options struct annotates each field with a parser: `max_file_size: Annotated[int, whole(0)] = 1_000_000_000`.
A parser takes the raw value and returns what the field holds, or raises ValueError with a text that says what is
expected. A field without default is required.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

import msgspec

from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.core.units import parse_duration_ns, parse_free

Parser = Callable[[Any], Any]
T = TypeVar("T", bound=msgspec.Struct)


def read_options(options: type[T], values: object, at: str) -> T:
    """The struct of *values*. *at* goes before every problem (`policy.lua:3: kumo.aaa.configure_acct_log`).

    Raises ConfigError with all problems: unknown keys, missing ones, and each value that its parser refuses.
    """
    parsed, problems = collect_options(options, values, at)
    if problems or parsed is None:
        raise ConfigError(problems)
    return parsed


def collect_options(
    options: type[T], values: object, at: str, *, ignore: tuple[str, ...] = ()
) -> tuple[T | None, list[Problem]]:
    """As `read_options`, but the problems are returned, so that several tables can be reported together. Keys in
    *ignore* are the caller's own affair."""
    if isinstance(values, list) and not values:
        values = {}
    if not isinstance(values, Mapping):
        return None, [Problem(at, f"expected a table of options, got {kind(values)}")]
    parsers = parsers_of(options)
    problems = []
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in ignore:
            continue
        if name not in parsers:
            problems.append(Problem(at, f"unknown option {name!r}", _suggest(name, list(parsers))))
        elif value is not None:
            try:
                found[name] = parsers[name](value)
            except ValueError as e:
                what, _, fix = str(e).partition("\n")
                problems.append(Problem(at, f"{name}: {what}", fix.strip()))
    missing = [f.name for f in msgspec.structs.fields(options) if f.required and f.name not in values]
    problems += [Problem(at, f"missing option {name!r}", _about(parsers[name])) for name in missing]
    return (None, problems) if problems else (options(**found), [])


@lru_cache(maxsize=64)
def parsers_of(options: type[msgspec.Struct]) -> dict[str, Parser]:
    """The parser of each option: first the struct's own, then what it shares with others."""
    hints = get_type_hints(options, include_extras=True)
    own = [name for name in options.__struct_fields__ if name in options.__annotations__]
    shared = [name for name in options.__struct_fields__ if name not in own]
    return {name: hints[name].__metadata__[0] for name in (*own, *shared)}


def kind(value: object) -> str:
    """What a value is, for messages: `"10%"` for a text, `a table`, `true`, `12`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is str:
        return f'"{value if len(value) <= 60 else value[:57] + "..."}"'
    if isinstance(value, str):  # the runtime's mark of a function and the like
        return f"a {value}"
    if isinstance(value, (Mapping, list)):
        return "a table"
    return "nil" if value is None else str(value)


def type_name(value: object) -> str:
    """The Lua name of a value's type, for messages."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str) and type(value) is not str:  # the runtime's mark of a function and the like
        return str(value)
    return "string" if isinstance(value, (str, bytes)) else "table"


def suggest(name: str, allowed: list[str]) -> str:
    """The nearest allowed word, or ""."""
    near = difflib.get_close_matches(name, allowed, 1, 0.6)
    return near[0] if near else ""


def _suggest(name: str, allowed: list[str]) -> str:
    near = suggest(name, allowed)
    options = f"(options: {', '.join(allowed)})"
    return f"did you mean {near!r}?  {options}" if near else options[1:-1]


def _about(parser: Parser) -> str:
    return f"expected {parser.__doc__}" if parser.__doc__ else ""


# -- parsers ----------------------------------------------------------------------------------------------------------


def _named(parser: Parser, about: str) -> Parser:
    parser.__doc__ = about
    return parser


# Above this a number of Lua does not hold every whole number, and a ring's header (64 bits) soon none.
_MOST = 1 << 53


def whole(low: int, high: int | None = None, unit: str = "") -> Parser:
    """A whole number in a range, 2^53 at most; Lua's 3.0 counts, 1.5 does not."""
    span = f"from {low} to {high}" if high is not None else f">= {low}"
    about = f"a whole number {unit + ' ' if unit else ''}{span}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or int(value) != value:
            fix = f"\nremove the quotes: {value}" if type(value) is str and value.isdigit() else ""
            raise ValueError(f"expected {about}, got {kind(value)}{fix}")
        if value < low or (high is not None and value > high):
            raise ValueError(f"expected {about}, got {int(value)}")
        if value > _MOST:
            raise ValueError(f"expected {about} and at most {_MOST}, got {int(value)}")
        return int(value)

    return _named(parse, about)


def flag(value: Any) -> bool:
    """true or false"""
    if not isinstance(value, bool):
        hint = "\nwrite true or false" if str(value).lower() in ("yes", "no", "on", "off", "1", "0", "1.0") else ""
        raise ValueError(f"expected true or false, got {kind(value)}{hint}")
    return value


def text(value: Any) -> str:
    """a text"""
    if type(value) is not str:
        raise ValueError(f"expected a text, got {kind(value)}")
    return value


def path(value: Any) -> str:
    """a path"""
    if type(value) is not str or not value:
        raise ValueError(f"expected a path, got {kind(value)}")
    if "\0" in value:
        raise ValueError("a path cannot hold a NUL")
    return value


def duration(value: Any) -> int:
    """a duration such as '5 minutes' or a number of seconds"""
    if type(value) is not str and (isinstance(value, (bool, str)) or not isinstance(value, (int, float))):
        raise ValueError(f"expected a duration such as '5 minutes', '1h30m' or a number of seconds, got {kind(value)}")
    return parse_duration_ns(value)


def duration_of_at_least(low_ns: int, shown: str) -> Parser:
    """A duration with a lower limit; *shown* is the limit as people write it."""

    def parse(value: Any) -> int:
        found = duration(value)
        if found < low_ns:
            raise ValueError(f"expected at least {shown}, got {kind(value)}")
        return found

    return _named(parse, f"{duration.__doc__}, at least {shown}")


def free(value: Any) -> Any:
    """'N%' or a whole number"""
    return parse_free(value)


def one_of(*words: str) -> Parser:
    """One of the given words."""
    listed = ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]

    def parse(value: Any) -> str:
        if type(value) is not str or value not in words:
            near = suggest(value, list(words)) if type(value) is str else ""
            raise ValueError(f"expected {listed}, got {kind(value)}" + (f"\ndid you mean {near!r}?" if near else ""))
        return value

    return _named(parse, listed)
