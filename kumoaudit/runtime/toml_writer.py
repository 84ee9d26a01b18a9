"""Plain data -> TOML text. Keys in order of the given maps; what TOML cannot say is refused with its place."""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class NotToml(ValueError):
    """The value has no form in TOML; the message begins with the place (`.a.b: `)."""


def dumps(value: Any, *, is_pretty: bool = False, inlines_empty: bool = False) -> str:
    """The text of *value*, which must be a map (an empty list counts as an empty map: Lua cannot tell them apart).

    With *is_pretty*, lists stand one item per line; with *inlines_empty*, an empty map is `key = {}` instead of a
    header. Raises NotToml: null, integers over 64 bits, a top level that is no map.
    """
    if value == []:
        value = {}
    if not isinstance(value, dict):
        raise NotToml("TOML needs a table with names at the top")
    out: list[str] = []
    _table(value, (), out, is_pretty, inlines_empty)
    return "\n".join(out) + "\n" if out else ""


def _table(table: dict[str, Any], path: tuple[str, ...], out: list[str], is_pretty: bool, inlines_empty: bool) -> None:
    """Plain values first: behind a header they would belong to that header's table."""
    below = {}
    for key, value in table.items():
        is_header = isinstance(value, dict) and (value or not inlines_empty)
        if is_header or (isinstance(value, list) and value and all(isinstance(v, dict) for v in value)):
            below[key] = value
        else:
            out.append(f"{_key(key)} = {_value(value, (*path, key), is_pretty, '')}")
    for key, value in below.items():
        at = (*path, key)
        name = ".".join(map(_key, at))
        for item in value if isinstance(value, list) else (value,):
            # A header of a table that holds only tables says nothing.
            if isinstance(value, list) or not item or any(not _is_below(v, inlines_empty) for v in item.values()):
                out += [*([""] if out else []), f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            _table(item, at, out, is_pretty, inlines_empty)


def _is_below(value: Any, inlines_empty: bool) -> bool:
    if isinstance(value, dict):
        return bool(value) or not inlines_empty
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _value(value: Any, path: tuple[str, ...], is_pretty: bool, indent: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise NotToml(f"{_shown(path)}: {value} is beyond 64 bits")
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        inner = indent + "    "
        items = [_value(v, (*path, str(i)), is_pretty, inner) for i, v in enumerate(value, 1)]
        if is_pretty and items:
            return "[\n" + "".join(f"{inner}{item},\n" for item in items) + f"{indent}]"
        return f"[{', '.join(items)}]"
    if isinstance(value, dict):
        # An inline table must stay on its line (TOML 1.0), and so must everything in it.
        items = [f"{_key(k)} = {_value(v, (*path, k), False, '')}" for k, v in value.items()]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    raise NotToml(f"{_shown(path)}: TOML has no null; leave the key out")


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _shown(path: tuple[str, ...]) -> str:
    return "." + ".".join(path)
