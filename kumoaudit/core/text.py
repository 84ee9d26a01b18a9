"""Hostile text made harmless: bad bytes, values that JSON cannot hold, controls on a terminal."""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 200

_SURROGATES = re.compile("[\ud800-\udfff]")
# C0 and C1 controls, DEL, line and paragraph separators, bidi controls, zero-width characters, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Plain(dict[str, Any]):
    """A struct that the host itself made of texts, numbers, truth values, lists and dicts: JSON holds it as it is."""

    __slots__ = ()


def decode(raw: bytes) -> str:
    """UTF-8, each byte that is not part of a valid character shown as `\\xHH` (Tarantool section 3.4)."""
    return raw.decode("utf-8", "backslashreplace")


def clean(text: str) -> str:
    """*text* with lone surrogates (how Python carries bytes that were not UTF-8) shown as `\\xHH` or `\\uHHHH`."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return _SURROGATES.sub(
        lambda m: f"\\x{ord(m[0]) - 0xDC00:02x}" if 0xDC80 <= ord(m[0]) <= 0xDCFF else f"\\u{ord(m[0]):04x}", text
    )


def clean_value(value: Any, depth: int = 0) -> Any:
    """A value that every JSON writer takes and that no reader refuses.

    NaN and infinities become text, integers over 64 bits become text, bytes are decoded, other objects become their
    text; what lies deeper than 200 levels becomes `"<depth>"`. Nothing raises: an event is never lost to its content.
    """
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return decode(value)
    if depth >= MAX_DEPTH:
        return "<depth>"
    if isinstance(value, dict):
        return {clean(str(k)): clean_value(v, depth + 1) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean_value(v, depth + 1) for v in value]
    return clean(str(value))


def printable(text: str) -> str:
    """*text* for a terminal: every control, bidi override and zero-width character as a visible escape."""
    return _UNSAFE.sub(lambda m: _ESCAPES.get(m[0]) or f"\\u{ord(m[0]):04x}", text)


def printable_lines(text: str) -> str:
    """A message of several lines for a terminal: its line ends stay, tabs become spaces, the rest as `printable`."""
    return "\n".join(printable(line.expandtabs(8)) for line in text.split("\n"))


_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b"}
