"""`kumo.serde.*`: JSON, TOML and YAML into Lua tables and back (KumoMTA section 6).

Into Lua: a null inside a table is `kumo.null`, lists keep their tag so that an empty one stays a list, texts keep bytes
that are not UTF-8, dates of TOML and YAML become RFC 3339 texts. An integer that a Lua number cannot hold exactly
(beyond 2^53) becomes a text with all its digits: as a number it would be a different one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime import convert, toml_writer
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.parsers import PARSERS

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost
    from kumoaudit.runtime.tracked import Tracked

_EXACT = 1 << 53


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    tables = Tables(host.lua)
    out = {}
    for name in PARSERS:
        for kind in ("parse", "load"):
            call = f"kumo.serde.{name}_{kind}"
            tracked = host.tracked if kind == "load" else None
            out[call] = Export(_reader(tables, name, call, tracked), raw=True)
    host.python[b"serde_encode"] = host.guard(_encode)
    return out


def _reader(tables: Tables, name: str, call: str, tracked: Tracked | None) -> Callable[..., Any]:
    """The function *call*; one that reads files (*tracked* is given) has them reload the policy when they change."""
    is_file = tracked is not None

    def read(at: str, given: object = None, *rest: object) -> Any:
        if not isinstance(given, bytes) or rest:
            what = "one path" if is_file else "one text"
            got = type_name(given) if not rest else f"{len(rest) + 1} arguments"
            raise UsageError(f"{at}: {call}: expected {what}, got {got}")
        raw = read_file(given, f"{at}: {call}: reading file") if is_file else given
        what = convert.text(given) if is_file else "the text"
        if tracked is not None:
            tracked.add(os.fsdecode(given), raw, PARSERS[name])
        try:
            return tables.of(PARSERS[name](raw))
        except ValueError as e:
            raise UsageError(f"{at}: {call}: parsing {what} as {name}: {e}") from None
        except RecursionError:
            raise UsageError(f"{at}: {call}: parsing {what} as {name}: nested too deeply") from None

    return read


def read_file(path: bytes, doing: str) -> bytes:
    """A whole file; *path* is relative to the working directory. Raises UsageError `<doing> <path>: <cause>`."""
    shown = convert.text(path)
    if not path or b"\0" in path:
        raise UsageError(f"{doing} {shown!r}: not a path")
    try:
        with open(os.fsdecode(path), "rb") as f:
            return f.read()
    except OSError as e:
        raise UsageError(f"{doing} {shown}: {(e.strerror or str(e)).lower()}") from None


class Tables:
    """Python values -> Lua tables. Only on the thread that is inside Lua."""

    def __init__(self, lua: Any) -> None:
        self._lua = lua
        # Fetched once: inside a call from a coroutine, lupa reads table items off the wrong stack.
        self._null, self._array = lua.execute(
            b"local pack, setmetatable = require 'kumoaudit.pack', setmetatable "
            b"return pack.null, function(t) return setmetatable(t, pack.array_tag) end"
        )

    def of(self, value: Any) -> Any:
        """The value for Lua; a null that stands alone is nil."""
        return None if value is None else self._value(value, {})

    def _value(self, value: Any, seen: dict[int, Any]) -> Any:
        if value is None:
            return self._null
        if isinstance(value, bool | float | bytes):
            return value
        if isinstance(value, str):
            return _bytes(value)
        if isinstance(value, int):
            return value if -_EXACT <= value <= _EXACT else str(value).encode()
        if isinstance(value, dict | list):
            # One value that YAML's aliases show in many places is one table: else a short text could fill the memory.
            known = seen.get(id(value))
            if known is None:
                known = seen[id(value)] = self._table(value, seen)
            return known
        return _text_of(value).encode()

    def _table(self, value: dict[Any, Any] | list[Any], seen: dict[int, Any]) -> Any:
        if isinstance(value, list):
            return self._array(self._lua.table_from([self._value(v, seen) for v in value]))
        return self._lua.table_from({self._key(k): self._value(v, seen) for k, v in value.items()})

    def _key(self, key: Any) -> Any:
        if isinstance(key, str | int | float) and key == key:
            return self._value(key, {})
        return _text_of(key).encode()


def _bytes(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")  # half of a pair, written as \uD800 in JSON


def _text_of(value: Any) -> str:
    """Dates and times in the form of RFC 3339; UTC as `Z`."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    return str(value)


def _encode(style: bytes, packed: bytes) -> bytes | tuple[None, bytes]:
    value = convert.unpack(packed)
    try:
        return _ENCODERS[style](value)
    except toml_writer.NotToml as e:
        return None, str(e).encode()


def _yaml(value: Any) -> bytes:
    from io import BytesIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1 << 20
    out = BytesIO()
    yaml.dump(value, out)
    # A value that is no table gets an end mark that nobody needs.
    return out.getvalue().removesuffix(b"...\n")


_ENCODERS: dict[bytes, Callable[[Any], bytes]] = {
    b"json_pretty": lambda v: orjson.dumps(v, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
    b"toml": lambda v: toml_writer.dumps(v).encode(),
    b"toml_pretty": lambda v: toml_writer.dumps(v, is_pretty=True).encode(),
    b"toml_pretty_compact": lambda v: toml_writer.dumps(v, is_pretty=True, inlines_empty=True).encode(),
    b"yaml": _yaml,
}
