"""Predicate -> Lua expression, for events that are born in Lua and never become a Python object."""

from __future__ import annotations

from collections.abc import Mapping

from kumoaudit.core.event import SEVERITY_RANK, Event
from kumoaudit.core.predicate import (
    AllOf,
    Always,
    AnyOf,
    AnyText,
    Cidr,
    Compare,
    Contains,
    FieldIn,
    Glob,
    Not,
    Predicate,
    glob_parts,
    matches,
)


class NotInLua(Exception):
    """The predicate needs Python; the text says which part and why."""


def lua_string(text: str | bytes) -> str:
    """A Lua string literal of these bytes; every byte outside printable ASCII is written as an escape."""
    raw = text.encode() if isinstance(text, str) else text
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:03d}" for b in raw) + '"'


class LuaPredicate:
    """Collects the expression and the constant tables (sets of values) that it looks up.

    *fields* maps the fields that Lua has in hand to the names of its local variables (nil when absent), *constants*
    those that have one value for every event born in Lua. Everything else is absent, that is the empty text.
    """

    def __init__(self, fields: Mapping[str, str], constants: Mapping[str, str], *, set_prefix: str = "set") -> None:
        self._fields, self._constants, self._prefix = fields, constants, set_prefix
        self.sets: list[str] = []

    def expression(self, predicate: Predicate) -> str:
        """A Lua expression that is true or false. Raises NotInLua."""
        match predicate:
            case Always():
                return "true"
            case Not(term):
                return f"not ({self.expression(term)})"
            case AllOf(terms):
                return " and ".join(f"({self.expression(t)})" for t in terms) or "true"
            case AnyOf(terms):
                return " or ".join(f"({self.expression(t)})" for t in terms) or "false"
            case FieldIn(field, values):
                return self._in(field, values)
            case Glob(field, pattern):
                return self._glob(field, pattern)
            case Compare("severity", op, value):
                return f"(rank[severity] {op} {SEVERITY_RANK[str(value)]})"
            case Compare("time", op, int(value)):
                return f"(time_ns {op} {value}LL)"
            case Contains(field, _) | Cidr(field, _) | Compare(field, _, _):
                if self._known(field) is None:
                    raise NotInLua(f"{_KIND[type(predicate)]} on {field}")
                return self._constant(predicate)
            case AnyText():
                raise NotInLua("a word that is searched in every field")

    def _constant(self, predicate: Predicate) -> str:
        """The predicate's answer where the field is the same in every event born in Lua."""
        probe = Event(id="", time_ns=0, kind=self._constants["kind"], type="", node=self._constants["node"])
        return "true" if matches(predicate, probe) else "false"

    def _known(self, field: str) -> str | None:
        """The value that the field has in every event born in Lua, or None if it varies."""
        if field in self._fields or field in ("id", "time", "seq"):
            return None
        return self._constants.get(field, "")

    def _in(self, field: str, values: tuple[str, ...]) -> str:
        for value in values:
            if "\\x" in value:
                raise NotInLua("a value that holds \\x, which is how bad bytes are shown")
        if self._known(field) is not None:
            return self._constant(FieldIn(field, values))
        if field in ("id", "time", "seq"):
            raise NotInLua(f"a test of {field}")
        name = self._fields[field]
        # A description that is absent is the empty text in Lua.
        absent = [f"{name} == nil", f'{name} == ""'] if "" in values else []
        given = [v for v in values if v]
        if len(given) > 3:
            self.sets.append("{" + ", ".join(f"[{lua_string(v)}] = true" for v in given) + "}")
            tests = [f"({name} ~= nil and {self._prefix}{len(self.sets)}[{name}] == true)"]
        else:
            tests = [f"{name} == {lua_string(v)}" for v in given]
        return "(" + (" or ".join(absent + tests) or "false") + ")"

    def _glob(self, field: str, pattern: str) -> str:
        if "\\x" in pattern or "\\\\" in pattern:
            raise NotInLua("a pattern that holds a backslash")
        if self._known(field) is not None:
            return self._constant(Glob(field, pattern))
        if field in ("id", "time", "seq"):
            raise NotInLua(f"a pattern on {field}")
        parts = glob_parts(pattern)
        self.sets.append("{" + ", ".join(lua_string(p) for p in parts[1:-1]) + "}")
        middle = f"{self._prefix}{len(self.sets)}"
        return f"glob({self._fields[field]} or '', {lua_string(parts[0])}, {lua_string(parts[-1])}, {middle})"


_KIND: dict[type, str] = {Contains: "~", Cidr: "an address range", Compare: "an order"}
