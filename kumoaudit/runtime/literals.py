"""Marks calls `audit.log{...}` whose fields stand written out in the policy's source and are all known.

A misspelt field must be refused, so every key of an event's table has to be looked at. For a table that was built at
run time that means to ask the table; doing so keeps LuaJIT from never making it at all, which costs more than the whole
rest of the call (about 350 instead of 150 ns an event, most of it allocation and collection: `python -m tests.bench
--only w1`). But in nearly every call the table is a literal, and its keys can be read once, when the file is loaded:
such a call gets a second argument that says so. Lines stay where they are; values are checked as ever; a call that is
not understood completely is left alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kumoaudit.dialects.tarantool import FIELDS

# The name in the policy's environment of the value that marks a call. Giving it by hand only skips a check.
MARK = "_audit_fields_known"

_CALLS = frozenset({b"log", b"verbose", b"info", b"warning", b"alarm"})
_FIELDS = frozenset(f.encode() for f in FIELDS)

_TOKEN = re.compile(
    rb"""
      (?P<skip>\s+|--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
    | (?P<text>\[(?P<s>=*)\[.*?\](?P=s)\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>\.?[0-9](?:[eEpP][+-]|[A-Za-z0-9_.])*)
    | (?P<other>\.{2,3}|[=~<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: bytes
    start: int
    end: int


def mark_known_fields(source: bytes) -> bytes:
    """*source* with its understood `audit.log{...}` calls marked; anything else as it is. Never raises."""
    tokens = [
        _Token(m.lastgroup or "", m.group(), m.start(), m.end())
        for m in _TOKEN.finditer(source)
        if m.group("skip") is None
    ]
    if not _audit_is_ours(tokens):
        return source
    inserts: list[tuple[int, bytes]] = []
    for i in range(len(tokens) - 3):
        if tokens[i].text == b"audit" and tokens[i].kind == "name":
            inserts += _marked_call(tokens, i)
    out, at = [], 0
    for place, text in inserts:
        out += [source[at:place], text]
        at = place
    return b"".join([*out, source[at:]])


def _audit_is_ours(tokens: list[_Token]) -> bool:
    """Whether the name `audit` can only be the module: it is bound nowhere but by `local audit = require 'audit'`."""
    for i, t in enumerate(tokens):
        if t.kind != "name" or t.text != b"audit":
            continue
        after = tokens[i + 1].text if i + 1 < len(tokens) else b""
        before = tokens[i - 1].text if i else b""
        if before in (b".", b":") or (after in (b".", b":") and before not in (b"local", b"function")):
            continue
        words = [x.text for x in tokens[i - 1 : i + 6] if x.text not in (b"(", b")")] if i else []
        if words[:4] != [b"local", b"audit", b"=", b"require"] or words[4:5] not in ([b"'audit'"], [b'"audit"']):
            return False
    return True


def _marked_call(tokens: list[_Token], i: int) -> list[tuple[int, bytes]]:
    """What to insert for the call at token *i*, in order; nothing when it is not one to mark."""
    before = tokens[i - 1].text if i else b""
    if before in (b".", b":", b"function") or tokens[i + 1].text != b"." or tokens[i + 2].text not in _CALLS:
        return []
    name, at = tokens[i + 2], i + 3
    has_parenthesis = tokens[at].text == b"(" and tokens[at].kind == "other"
    at += has_parenthesis
    if at >= len(tokens) or tokens[at].text != b"{" or tokens[at].kind != "other":
        return []
    close = _end_of_fields(tokens, at + 1)
    if close is None:
        return []
    end = tokens[close].end
    if not has_parenthesis:
        # Right behind the name: a parenthesis that begins a line could begin a statement.
        return [(name.end, b"("), (end, f",{MARK})".encode())]
    if close + 1 < len(tokens) and tokens[close + 1].text == b")":
        return [(end, f",{MARK}".encode())]
    return []


def _end_of_fields(tokens: list[_Token], at: int) -> int | None:
    """Index of the brace that closes a table of known named fields, or None."""
    while at < len(tokens):
        if tokens[at].text == b"}" and tokens[at].kind == "other":
            return at
        if (
            tokens[at].kind != "name"
            or tokens[at].text not in _FIELDS
            or at + 1 >= len(tokens)
            or tokens[at + 1].text != b"="
        ):
            return None
        at += 2
        depth = 0
        while at < len(tokens):
            t = tokens[at]
            if t.kind == "other":
                if depth == 0 and t.text in (b",", b";", b"}"):
                    break
                depth += (t.text in (b"(", b"{", b"[")) - (t.text in (b")", b"}", b"]"))
                if depth < 0:
                    return None
            elif t.kind == "name" and t.text == b"function":
                return None
            at += 1
        if at < len(tokens) and tokens[at].text != b"}":
            at += 1
    return None
