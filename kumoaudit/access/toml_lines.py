"""Where things stand in a TOML text: `tomllib` gives values without lines, and a message needs the line.

For texts that `tomllib` has accepted. What is written in an unusual form gets the line of what holds it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

# A text, a comment, an end of line, a bracket, or a run of anything else. Texts first: they may hold the others.
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|\n|[\[\]{}=,]"
    r"|[^\n\[\]{}=,\"'#]+|[\"']",
    re.DOTALL,
)


class _Statement(NamedTuple):
    line: int
    keys: tuple[str, ...]
    header: str
    items: tuple[int, ...]  # of an array of inline tables: the line of each


class _Entry(NamedTuple):
    line: int
    keys: dict[str, int]


class EntryLines:
    """The lines of an ACL map: of its entries, of their keys, of the names, of the top-level keys."""

    def __init__(self, text: str) -> None:
        self._entries: dict[str, list[_Entry]] = {}
        self._names: dict[str, int] = {}
        self._tops: dict[str, int] = {}
        prefix: tuple[str, ...] = ()
        for s in _statements(text):
            if s.header:
                prefix = s.keys
            self._note(s, s.keys if s.header else prefix + s.keys)

    def of(self, name: str, entry: int = 1, key: str = "") -> int:
        """The line of *key* in the entry (counted from 1) of *name*, or of what holds it; at least 1."""
        entries = self._entries.get(name, [])
        if 1 <= entry <= len(entries):
            found = entries[entry - 1]
            return found.keys.get(key, found.line)
        return self._names.get(name) or self.of_top("acl")

    def of_top(self, key: str) -> int:
        """The line where a top-level key is first seen, or 1."""
        return self._tops.get(key, 1)

    def _note(self, s: _Statement, path: tuple[str, ...]) -> None:
        self._tops.setdefault(path[0], s.line)
        if path[0] != "acl" or len(path) < 2:
            return
        name = path[1]
        self._names.setdefault(name, s.line)
        entries = self._entries.setdefault(name, [])
        if len(path) == 2:
            if s.header == "[[":
                entries.append(_Entry(s.line, {}))
            elif not s.header:
                entries += [_Entry(line, {}) for line in s.items]
        elif entries:
            entries[-1].keys.setdefault(path[2], s.line)


def _statements(text: str) -> Iterator[_Statement]:
    """Headers and key/value pairs with the lines on which they begin."""
    line = 1
    tokens = iter(_TOKEN.findall(text))
    for token in tokens:
        began = line
        line += token.count("\n")
        if not token.strip() or token.startswith("#"):
            continue
        raw, header, items = "", "", []
        depth, at_value = 0, False
        if token == "[":
            header = "["
        else:
            raw = token
        for part in tokens:
            if part == "\n" and not depth:
                line += 1
                break
            if at_value:
                if part in ("[", "{"):
                    if part == "{" and depth == 1:
                        items.append(line)
                    depth += 1
                elif part in ("]", "}"):
                    depth -= 1
            elif header:
                if part == "[" and not raw:
                    header = "[["
                elif part != "]" and not part.startswith("#"):
                    raw += part
            elif part == "=":
                at_value = True
            else:
                raw += part
            line += part.count("\n")
        yield _Statement(began, _path(raw), header, tuple(items))


def _path(raw: str) -> tuple[str, ...]:
    """The parts of a dotted key; `tomllib` itself knows how they are quoted."""
    try:
        value: object = tomllib.loads(f"{raw.strip()} = 0")
    except tomllib.TOMLDecodeError:
        return (raw.strip(),)
    parts = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)
