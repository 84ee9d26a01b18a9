"""ACL maps: the TOML file of `kumo.aaa.load_acl_map` (KumoMTA, section 3.4), and the built-in one."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from typing import Any

import msgspec

from kumoaudit.access.acl import Acl, Rule, acl, rule
from kumoaudit.access.criteria import Criteria
from kumoaudit.access.terms import TermReader
from kumoaudit.access.toml_lines import EntryLines
from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.core.options import kind, suggest

DEFAULT_NAME = "default_acl.toml"

_KEYS = ("allow", "privileges", "identity", "criteria")
_FORM = 'write [[acl."http_listener/*/api"]] with allow, privileges and identity or criteria'


class Entry(msgspec.Struct, frozen=True, eq=False):
    """One `[[acl."resource"]]`: the *number*-th (from 1) of its resource, written at `file:line`."""

    resource: str
    number: int
    at: str
    allow: bool
    privileges: tuple[str, ...]
    criteria: Criteria


class AclMap(msgspec.Struct, frozen=True, eq=False):
    """The ACLs of one file by resource name, and its entries as they were written. Any thread."""

    name: str
    acls: dict[str, Acl]
    entries: tuple[Entry, ...]
    places: dict[str, str]
    """Resource name -> `file:line` where it is first written; also of resources without an entry."""

    def get(self, resource: str) -> Acl | None:
        """The ACL written for exactly this name."""
        return self.acls.get(resource)


def load_acl_map(text: str, name: str) -> AclMap:
    """The map in *text*; *name* is its file, for messages and for the place of each rule.

    Raises ConfigError with every problem: file and line, resource, number of the entry, and the allowed words.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ConfigError([_syntax_problem(e, text, name)]) from None
    reader = _MapReader(name, EntryLines(text))
    found = reader.read(data)
    if reader.problems:
        raise ConfigError(reader.problems)
    return found


@lru_cache(maxsize=1)
def default_acl() -> AclMap:
    """The built-in map: KumoMTA's own (section 3.7) and the routes of this host."""
    from importlib.resources import files  # not worth its time in a host that decides nothing

    text = files("kumoaudit.access").joinpath(DEFAULT_NAME).read_text("utf-8")
    return load_acl_map(text, DEFAULT_NAME)


class _MapReader:
    def __init__(self, name: str, lines: EntryLines) -> None:
        self.name, self.lines = name, lines
        self.problems: list[Problem] = []

    def read(self, data: dict[str, Any]) -> AclMap:
        for key in data:
            if key != "acl":
                fix = (
                    f"did you mean [[acl.{_quoted(key)}]]?" if suggest(key, ["acl"]) != "acl" else "did you mean 'acl'?"
                )
                self._refuse(
                    self.lines.of_top(key), f"unknown top-level key {key!r}", f"{fix}  (only 'acl' is allowed)"
                )
        table = data.get("acl")
        if table is None:
            if not data:
                self._refuse(1, "no table 'acl': this is no ACL map", f"{_FORM}; for a map without rules, write [acl]")
            table = {}
        elif not isinstance(table, dict):
            self._refuse(self.lines.of_top("acl"), f"acl: expected a table of resources, got {kind(table)}", _FORM)
            table = {}
        acls: dict[str, Acl] = {}
        entries: list[Entry] = []
        places: dict[str, str] = {}
        for resource, value in table.items():
            places[resource] = f"{self.name}:{self.lines.of(resource)}"
            rules: list[Rule] = []
            for n, item in enumerate(self._listed(resource, value), 1):
                entry = self._entry(resource, n, item)
                if entry is not None:
                    entries.append(entry)
                    rules += [rule(entry.criteria, p, entry.allow, entry.at) for p in entry.privileges]
            acls[resource] = acl(rules, self.name)
        return AclMap(self.name, acls, tuple(entries), places)

    def _listed(self, resource: str, value: object) -> list[Any]:
        line = self.lines.of(resource)
        if isinstance(value, list):
            return value
        if isinstance(value, dict):
            # Without quotes, the dots and slashes of a name make tables of their own.
            fix = f"write [[acl.{_quoted(resource)}]] with two brackets"
            self._refuse(line, f"{resource}: expected an array of tables, got a plain table", fix)
        else:
            self._refuse(line, f"{resource}: expected an array of tables, got {kind(value)}", _FORM)
        return []

    def _entry(self, resource: str, n: int, value: object) -> Entry | None:
        if not isinstance(value, dict):
            self._say(resource, n, "", f"expected a table, got {kind(value)}", _FORM)
            return None
        before = len(self.problems)
        for key in value:
            if key not in _KEYS:
                near = suggest(key, list(_KEYS))
                listed = f"(keys: {', '.join(_KEYS)})"
                self._say(
                    resource,
                    n,
                    key,
                    f"unknown key {key!r}",
                    f"did you mean {near!r}?  {listed}" if near else listed[1:-1],
                )
        allow = value.get("allow")
        if allow is None:
            self._say(resource, n, "", "missing key 'allow'", "write allow = true or allow = false")
        elif not isinstance(allow, bool):
            self._say(
                resource,
                n,
                "allow",
                f"allow: expected true or false, got {kind(allow)}",
                "write allow = true or allow = false",
            )
        privileges = self._privileges(resource, n, value)
        criteria = self._criteria(resource, n, value)
        if criteria is None or len(self.problems) > before:
            return None
        return Entry(resource, n, f"{self.name}:{self.lines.of(resource, n)}", bool(allow), privileges, criteria)

    def _privileges(self, resource: str, n: int, value: dict[str, Any]) -> tuple[str, ...]:
        given = value.get("privileges")
        if given is None:
            self._say(resource, n, "", "missing key 'privileges'", 'write privileges = ["GET"]')
        elif not isinstance(given, list):
            fix = f'write privileges = ["{given}"]' if isinstance(given, str) else ""
            self._say(resource, n, "privileges", f"privileges: expected an array of texts, got {kind(given)}", fix)
        else:
            for p in given:
                if not isinstance(p, str):
                    self._say(resource, n, "privileges", f"privileges: expected texts, got {kind(p)}")
            return tuple(p for p in given if isinstance(p, str))
        return ()

    def _criteria(self, resource: str, n: int, value: dict[str, Any]) -> Criteria | None:
        given = [key for key in ("identity", "criteria") if key in value]
        if len(given) != 1:
            fix = "write identity for one matcher, criteria for AllOf, AnyOf or Not"
            what = "both 'identity' and 'criteria'" if given else "neither 'identity' nor 'criteria'"
            self._say(resource, n, given[-1] if given else "", f"{what}; exactly one is needed", fix)
            if not given:
                return None
        reader = TermReader(is_lua=False)
        tree = None
        for key in given:
            tree = (reader.matcher if key == "identity" else reader.term)(value[key], key)
        for path, what, fix in reader.problems:
            self._say(resource, n, path.partition(".")[0], f"{path}: {what}", fix)
        return tree

    def _say(self, resource: str, n: int, key: str, what: str, fix: str = "") -> None:
        self._refuse(self.lines.of(resource, n, key), f"{resource}, entry {n}: {what}", fix)

    def _refuse(self, line: int, what: str, fix: str = "") -> None:
        self.problems.append(Problem(f"{self.name}:{line}", what, fix))


def _quoted(name: str) -> str:
    return "'" + name + "'" if '"' in name or "\\" in name else f'"{name}"'


def _syntax_problem(error: Exception, text: str, name: str) -> Problem:
    """`tomllib` puts the place at the end: `Invalid value (at line 3, column 5)`."""
    if isinstance(error, RecursionError):
        return Problem(name, "tables or arrays are nested too deeply")
    what, _, place = str(error).rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    if len(words) == 4 and words[0] == "line":
        return Problem(f"{name}:{words[1]}", f"not TOML: {what}, column {words[3]}")
    return Problem(f"{name}:{text.count(chr(10)) + 1}", f"not TOML: {what or error}", "the text ends too early")
