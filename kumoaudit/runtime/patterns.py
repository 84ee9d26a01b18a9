"""Regular expressions in KumoMTA's syntax and with its results, each search bounded in time. Any thread.

KumoMTA takes Rust's `regex` with the extensions of `fancy-regex`. The engine here is the `regex` package (version 1
behaviour: nested classes, set operations, scoped flags), which other than Python's own can be given a time limit and
lets other threads run meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_PATTERN = 64 << 10
MAX_TEXT = 16 << 20
_MAX_RESULT = 256 << 20

_HEX = "0-9A-Fa-f"
_TEMPLATE = re.compile(r"\$(?:(\$)|(\w+)|\{([^}]*)\})", re.ASCII)
_MULTILINE = re.compile(r"\(\?[a-zA-Z]*m")
_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}|\\(.)", re.DOTALL)


class TooSlow(Exception):
    """The search took its whole time without an answer."""


class Pattern:
    """A compiled pattern; its methods take the text and the seconds that they may take, and raise TooSlow."""

    def __init__(self, pattern: str) -> None:
        """Raises ValueError with what is wrong with it."""
        import regex

        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"the pattern is longer than {MAX_PATTERN} characters")
        try:
            self._compiled: Any = regex.compile(translated(pattern), regex.V1)
        except (regex.error, OverflowError, RecursionError) as e:
            raise ValueError(str(getattr(e, "msg", e) or "it is nested too deeply")) from None

    def matches(self, text: str, limit_s: float) -> Iterator[Any]:
        """Matches that do not overlap. As in Rust, an empty one does not touch the one before it."""
        end = -1
        try:
            for m in self._compiled.finditer(text, timeout=limit_s, concurrent=True):
                if m.end() > m.start() or m.start() != end:
                    end = m.end()
                    yield m
        except TimeoutError:
            raise TooSlow from None

    def captures(self, text: str, limit_s: float) -> dict[int | str, str] | None:
        """The groups of the first match by number (0 is all of it) and name; without those that took no part."""
        m = next(self.matches(text, limit_s), None)
        if m is None:
            return None
        names: dict[str, str | None] = m.groupdict()
        groups: list[tuple[int | str, str | None]] = [(0, m[0]), *enumerate(m.groups(), 1), *names.items()]
        return {k: v for k, v in groups if v is not None}

    def is_match(self, text: str, limit_s: float) -> bool:
        return next(self.matches(text, limit_s), None) is not None

    def find(self, text: str, limit_s: float) -> str | None:
        """The text of the first match."""
        m = next(self.matches(text, limit_s), None)
        return None if m is None else str(m[0])

    def find_all(self, text: str, limit_s: float) -> list[str]:
        return [m[0] for m in self.matches(text, limit_s)]

    def split(self, text: str, limit_s: float) -> list[str]:
        """What lies between the matches."""
        parts, last = [], 0
        for m in self.matches(text, limit_s):
            parts.append(text[last : m.start()])
            last = m.end()
        return [*parts, text[last:]]

    def replacen(self, text: str, limit_s: float, limit: int, template: str) -> str:
        """*text* with the first *limit* matches (0: all) replaced by what *template* gives for each.

        Raises ValueError when the result would fill the memory."""
        parts: list[str] = []
        last = size = 0
        for n, m in enumerate(self.matches(text, limit_s), 1):
            parts += (text[last : m.start()], expanded(template, m))
            last = m.end()
            size += len(parts[-1])
            if size > _MAX_RESULT:
                raise ValueError(f"the result would be longer than {_MAX_RESULT >> 20} MiB")
            if n == limit:
                break
        return "".join((*parts, text[last:]))


def expanded(template: str, m: Any) -> str:
    """`$1`, `$name`, `${name}` replaced by groups of a match (nothing for one that does not exist), `$$` by `$`."""

    def group(t: re.Match[str]) -> str:
        if t[1]:
            return "$"
        name = t[2] or t[3]
        try:
            return m[int(name) if name.isdecimal() else name] or ""
        except (IndexError, KeyError):
            return ""

    return _TEMPLATE.sub(group, template)


def escape(text: str) -> str:
    """*text* as a pattern that matches just it."""
    return re.sub(r"[\\.+*?()|\[\]{}^$#&\-~]", r"\\\g<0>", text)


def translated(pattern: str) -> str:
    """The same pattern for the engine: `$` and `\\z` are the very end, `\\Z` also before a last newline, `\\h` is a
    hexadecimal digit, `\\x{...}` a character."""
    dollar = "$" if _MULTILINE.search(pattern) else r"\Z"
    out: list[str] = []
    at = depth = 0
    while at < len(pattern):
        if m := _ESCAPE.match(pattern, at):
            out.append(_escaped(m, in_class=depth > 0))
            at = m.end()
            continue
        c = pattern[at]
        at += 1
        if c == "[":
            depth += 1
            # A `]` that comes first is an item of the class.
            first = re.compile(r"\^?\]?").match(pattern, at)
            c += (first[0] if first else "").replace("]", r"\]")
            at = first.end() if first else at
        elif c == "]":
            depth = max(0, depth - 1)
        elif c == "$" and not depth:
            c = dollar
        out.append(c)
    return "".join(out)


def _escaped(m: re.Match[str], *, in_class: bool) -> str:
    if m[1]:
        code = int(m[1], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError(f"\\x{{{m[1]}}} is no character")
        return re.escape(chr(code))
    match m[2]:
        case "z" if not in_class:
            return r"\Z"
        case "Z" if not in_class:
            return r"(?=\n?\Z)"
        case "h":
            return _HEX if in_class else f"[{_HEX}]"
    return m[0]
