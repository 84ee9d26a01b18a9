"""Errors of Lua -> what the author of the policy reads: file:line, the source line, the handler, the way out."""

from __future__ import annotations

import re

from kumoaudit.core.errors import PolicyError

_PLACE = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+): (?P<text>.*)$", re.DOTALL)

# Constructs of later Lua versions that LuaJIT's parser stumbles over, in the order they are looked for.
_NEWER = (
    (
        re.compile(r"<\s*(const|close)\s*>"),
        "the attribute <{0}> is Lua 5.4",
        "use a plain local; call :close() or :done() yourself",
    ),
    (re.compile(r"//"), "the operator // (integer division) is Lua 5.3", "write math.floor(a / b)"),
    (re.compile(r">>"), "the operator >> is Lua 5.3", "write bit.rshift(a, n) or bit.arshift(a, n)"),
    (re.compile(r"<<"), "the operator << is Lua 5.3", "write bit.lshift(a, n)"),
    (re.compile(r"&"), "the operator & is Lua 5.3", "write bit.band(a, b)"),
    (re.compile(r"\|"), "the operator | is Lua 5.3", "write bit.bor(a, b)"),
    (re.compile(r"~(?!=)"), "the operator ~ is Lua 5.3", "write bit.bxor(a, b) or bit.bnot(a)"),
)


class Sources:
    """The policy's files by chunk name, to show the line that failed."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, text: str) -> None:
        self._lines[name] = text.split("\n")

    def line(self, name: str, number: int) -> str:
        """Line *number* (from 1) of a file, or "" when it is not known."""
        lines = self._lines.get(name, [])
        return lines[number - 1] if 0 < number <= len(lines) else ""


def policy_error(
    sources: Sources, text: str, place: str = "", traceback: str = "", handler: str = "", exit_code: int = 2
) -> PolicyError:
    """The error of a handler or of loading a file.

    *text* is Lua's message; *place* (`file:line`) is the innermost line of the policy, for messages that carry none.
    """
    known = _split(sources, text)
    if known is None and place:
        text = f"{place}: {text}"
        known = _split(sources, text)
    excerpt = ""
    if known:
        name, number, _ = known
        line = sources.line(name, number).rstrip()
        if line:
            excerpt = f"  {number:>5} | {line.expandtabs(2)}"
    return PolicyError(text, excerpt=excerpt, handler=handler, traceback=traceback, exit_code=exit_code)


def syntax_error(sources: Sources, text: str) -> PolicyError:
    """The error of a file that does not compile; a construct of a later Lua is named with its line."""
    known = _split(sources, text)
    if known:
        name, number, message = known
        # The parser may notice on the line after the construct.
        for at in range(number, max(0, number - 2), -1):
            found = newer_construct(sources.line(name, at))
            if found:
                what, fix = found
                text = f"{name}:{at}: {what}; this host runs LuaJIT (Lua 5.1)\n  {fix}\n  (parser: {message})"
                break
        else:
            text = f"{name}:{number}: syntax error: {message}"
    return policy_error(sources, text)


def newer_construct(line: str) -> tuple[str, str] | None:
    """What in a line is newer than Lua 5.1, and what to write instead; texts and comments do not count."""
    code = re.sub(r"--.*$", "", re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', '""', line))
    for pattern, what, fix in _NEWER:
        if m := pattern.search(code):
            return what.format(*m.groups()), fix
    return None


def _split(sources: Sources, text: str) -> tuple[str, int, str] | None:
    m = _PLACE.match(text)
    if m and sources.line(m["file"], int(m["line"])):
        return m["file"], int(m["line"]), m["text"]
    return None
