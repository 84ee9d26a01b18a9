"""JSON with comments, TOML and YAML -> Python values; every error with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


class NotParsed(ValueError):
    """The text is not of that format; the message begins with `line L column C: ` where that is known."""


# Texts are kept, comments become blanks of the same size, so that places in messages stay right.
_JSON_PIECES = re.compile(r'"(?:\\.|[^"\\])*"?|/\*.*?\*/|//[^\n]*|#[^\n]*|(?P<open>/\*)', re.DOTALL)
_NOT_NEWLINE = re.compile(r"[^\n]")


def parse_json(raw: bytes) -> Any:
    """JSON in which `/* */`, `//` and `#` comments may stand. Bytes that are not UTF-8 are kept (as surrogates)."""
    import json

    text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")

    def blank(m: re.Match[str]) -> str:
        piece = m.group()
        if piece[0] == '"':
            return piece
        if m["open"]:
            raise NotParsed(f"{_place(text, m.start())}: the comment does not end")
        return _NOT_NEWLINE.sub(" ", piece)

    def constant(name: str) -> Any:
        raise NotParsed(f"{name} is not JSON")

    try:
        # Most texts have no comments; looking for them takes longer than reading.
        return json.loads(text, parse_constant=constant)
    except json.JSONDecodeError:
        pass
    except ValueError as e:
        raise NotParsed(str(e)) from None
    try:
        return json.loads(_JSON_PIECES.sub(blank, text), parse_constant=constant)
    except json.JSONDecodeError as e:
        message = e.msg[0].lower() + e.msg[1:]
        raise NotParsed(f"line {e.lineno} column {e.colno}: {message}") from None
    except ValueError as e:
        if isinstance(e, NotParsed):
            raise
        raise NotParsed(str(e)) from None


def parse_toml(raw: bytes) -> Any:
    """TOML 1.0."""
    import tomllib

    text = _utf8(raw)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        message = str(e)
        m = re.search(r" \(at (?:line (\d+), column (\d+)|(end of document))\)$", message)
        if not m:
            raise NotParsed(message) from None
        what = message[: m.start()]
        place = _place(text, len(text)) if m[3] else f"line {m[1]} column {m[2]}"
        raise NotParsed(f"{place}: {what[0].lower()}{what[1:]}") from None
    except ValueError as e:
        raise NotParsed(str(e)) from None


def parse_yaml(raw: bytes) -> Any:
    """YAML 1.2, one document; duplicate keys and tags of other languages are refused."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml.load(_utf8(raw))
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        what = (e.problem or e.context or "not YAML").split("\n")[0]
        raise NotParsed(f"{place}{what}") from None
    except YAMLError as e:
        raise NotParsed(str(e).split("\n")[0]) from None
    except (ValueError, TypeError) as e:
        if isinstance(e, NotParsed):
            raise
        raise NotParsed(str(e).split("\n")[0]) from None


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise NotParsed(f"line {line}: byte 0x{raw[e.start]:02x} is not UTF-8") from None


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1} column {at - (text.rfind(chr(10), 0, at) + 1) + 1}"


PARSERS: dict[str, Callable[[bytes], Any]] = {"json": parse_json, "toml": parse_toml, "yaml": parse_yaml}
