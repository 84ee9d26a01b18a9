"""`kumo.string.*` (KumoMTA's, which are Rust's): splitting, trimming, replacing, wrapping.

Texts are UTF-8; bytes that are none are kept as they are. `psl_*`, `eval_template` and `normalize_smtp_response` are
not here: they need a list of domains, a template language, mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.api.serde import Tables
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

# White_Space of Unicode; Python's own idea has four more controls.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_ASCII_SPACE = re.compile("[\t\n\x0c\r ]+")
_SPACE = re.compile(f"[{WHITE_SPACE}]+")
_MAX_RESULT = 256 << 20


def _words(s: str, space: re.Pattern[str]) -> list[str]:
    return [w for w in space.split(s) if w]


def split(s: str, pattern: str) -> list[str]:
    """The parts between occurrences; an empty *pattern* is found before and behind each character."""
    return s.split(pattern) if pattern else ["", *s, ""]


def rsplit(s: str, pattern: str) -> list[str]:
    """The same from the end, the last part first."""
    return (s.rsplit(pattern) if pattern else ["", *s, ""])[::-1]


def splitn(s: str, limit: int, pattern: str) -> list[str]:
    """At most *limit* parts; the last one is the rest."""
    if limit == 0:
        return []
    if pattern:
        return s.split(pattern, limit - 1)
    parts = split(s, "")
    return [*parts[: limit - 1], *(["".join(parts[limit - 1 :])] if len(parts) >= limit else [])]


def rsplitn(s: str, limit: int, pattern: str) -> list[str]:
    """The same from the end, the last part first."""
    if limit == 0:
        return []
    if pattern:
        return s.rsplit(pattern, limit - 1)[::-1]
    parts = rsplit(s, "")
    return [*parts[: limit - 1], *(["".join(parts[limit - 1 :][::-1])] if len(parts) >= limit else [])]


def replace(s: str, old: str, new: str, count: int = -1) -> str:
    """*s* with *old* replaced, at most *count* times. Raises ValueError when the result would fill the memory."""
    found = s.count(old) if count < 0 else min(count, s.count(old))
    if len(s) + found * (len(new) - len(old)) > _MAX_RESULT:
        raise ValueError(f"the result would be longer than {_MAX_RESULT >> 20} MiB")
    return s.replace(old, new, count)


def wrap(s: str, soft: int = 75, hard: int = 900) -> str:
    """Lines of at most *hard* characters, broken with CR LF TAB at white space behind *soft* where that is possible."""
    if not 0 < soft <= hard:
        raise ValueError("the limits must be whole numbers with 0 < soft <= hard")
    out: list[str] = []
    line = ""
    for word in _words(s, _SPACE):
        if line and len(line) + 1 + len(word) > soft:
            out.append(line)
            line = ""
        line = f"{line} {word}" if line else word
        while len(line) > hard:
            out.append(line[:hard])
            line = line[hard:]
    return "\r\n\t".join([*out, line] if line else out)


FUNCTIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "split": ("ss", split),
    "rsplit": ("ss", rsplit),
    "splitn": ("sns", splitn),
    "rsplitn": ("sns", rsplitn),
    "split_whitespace": ("s", lambda s: _words(s, _SPACE)),
    "split_ascii_whitespace": ("s", lambda s: _words(s, _ASCII_SPACE)),
    "replace": ("sss", replace),
    "replacen": ("sssn", replace),
    "starts_with": ("ss", str.startswith),
    "ends_with": ("ss", str.endswith),
    "trim": ("s", lambda s: s.strip(WHITE_SPACE)),
    "trim_start": ("s", lambda s: s.lstrip(WHITE_SPACE)),
    "trim_end": ("s", lambda s: s.rstrip(WHITE_SPACE)),
    "wrap": ("s??", wrap),
}
"""Name -> arguments (s: text, n: whole number >= 0, ?: whole number that may be left out) and function."""


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    tables = host.works.tables
    return {f"kumo.string.{name}": Export(_checked(tables, name, *f), raw=True) for name, f in FUNCTIONS.items()}


def _checked(tables: Tables, name: str, kinds: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(at: str, *args: object) -> Any:
        where = f"{at}: kumo.string.{name}"
        if len(args) > len(kinds):
            raise UsageError(f"{where}: takes {len(kinds)} argument{'s' * (len(kinds) > 1)}, got {len(args)}")
        given = (*args, *[None] * (len(kinds) - len(args)))
        taken = [_argument(where, i, kind, v) for i, (kind, v) in enumerate(zip(kinds, given, strict=True), 1)]
        while taken and taken[-1] is None:
            taken.pop()
        try:
            return tables.of(function(*taken))
        except (ValueError, TypeError) as e:
            raise UsageError(f"{where}: {e}") from None

    return run


def _argument(where: str, i: int, kind: str, value: Any) -> str | int | None:
    if kind == "?" and value is None:
        return None
    if kind == "s" and isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind != "s" and is_number and 0 <= value <= 1 << 53 and int(value) == value:
        return int(value)
    expected = "a text" if kind == "s" else "a whole number >= 0"
    got = type_name(value) if kind == "s" or not isinstance(value, int | float) else str(value)
    raise UsageError(f"{where}: argument {i}: expected {expected}, got {got}")
