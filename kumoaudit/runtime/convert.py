"""Values between Lua and Python. Lua strings are bytes on both ways; nothing else than plain data crosses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from kumoaudit.core.text import decode


class LuaFunction(str):
    """Stands for something that is no data (function, userdata ...); the text is its Lua type."""

    __slots__ = ()


def unpack(packed: bytes) -> Any:
    """The value that `pack.value` or `pack.list` of Lua wrote; markers become `LuaFunction`."""
    return _marked(orjson.loads(packed))


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and "$lua" in value:
            return LuaFunction(value["$lua"])
        return {k: _marked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_marked(v) for v in value]
    return value


def to_lua(lua: Any, value: Any, null: Any = None) -> Any:
    """A Python value for Lua: text as UTF-8, lists and maps as tables, None as *null* inside tables."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        return lua.table_from({_key(k): _item(lua, v, null) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return lua.table_from([_item(lua, v, null) for v in value])
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 53) <= value <= 1 << 53:
        return float(value)
    return value


def _key(key: object) -> object:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def _item(lua: Any, value: Any, null: Any) -> Any:
    return null if value is None else to_lua(lua, value, null)


def text(value: object) -> str:
    """A Lua string as text (bad bytes as `\\xHH`)."""
    return decode(value) if isinstance(value, bytes) else str(value)
