"""Criteria as a policy or an ACL file writes them -> the tree, or every problem with the allowed words."""

from __future__ import annotations

from collections.abc import Mapping

from kumoaudit.access.address import address_text, network_set, network_text, parse_address, parse_network
from kumoaudit.access.criteria import (
    AllOf,
    AnyOf,
    Anyone,
    Authenticated,
    Criteria,
    Group,
    Individual,
    Machine,
    MachineSet,
    Not,
    Unauthenticated,
)
from kumoaudit.core.options import kind, suggest

TERMS = ("Identity", "AllOf", "AnyOf", "Not")
MATCHERS = ("Individual", "Group", "Machine", "MachineSet", "Authenticated", "Unauthenticated", "Any")
MAX_DEPTH = 100

_UNITS: dict[str, Criteria] = {
    "Authenticated": Authenticated(),
    "Unauthenticated": Unauthenticated(),
    "Any": Anyone(),
}
_EXAMPLE = "write { Identity = { Group = 'ops' } }"

# What stands for a part that has a problem; it never leaves this module, since the problems are reported.
_BROKEN = Anyone()


class TermReader:
    """Reads terms and gathers `problems` as (path, what, fix); a tree is good only when there are none.

    *is_lua*: an empty Lua table may arrive as an empty list, so `{}` after a unit matcher may be one; in TOML `[]` is
    refused there, as KumoMTA does. `{Machine = ...}` where a term belongs is read as `{Identity = {Machine = ...}}`,
    the form of KumoMTA's documentation.
    """

    def __init__(self, *, is_lua: bool) -> None:
        self.is_lua = is_lua
        self.problems: list[tuple[str, str, str]] = []

    def term(self, value: object, path: str, depth: int = 0) -> Criteria:
        """A term: a table with exactly one key, or the bare name of a unit matcher."""
        if depth > MAX_DEPTH:
            return self._refuse(path, f"criteria are nested deeper than {MAX_DEPTH} levels")
        if type(value) is str and value in _UNITS:
            return _UNITS[value]
        if not isinstance(value, Mapping):
            return self._not_a_table(value, path, TERMS)
        key = self._only_key(value, path, TERMS)
        if key is None:
            return _BROKEN
        inner = value[key]
        where = f"{path}.{key}"
        if key == "Identity":
            return self.matcher(inner, where)
        if key == "Not":
            return Not(self.term(inner, where, depth + 1))
        if key in ("AllOf", "AnyOf"):
            terms = self._terms(inner, where, depth)
            return AllOf(terms) if key == "AllOf" else AnyOf(terms)
        if key in MATCHERS:
            return self.matcher(value, path)
        return self._unknown(key, path, (*TERMS, *MATCHERS), "expected one of " + ", ".join(TERMS))

    def matcher(self, value: object, path: str) -> Criteria:
        """What stands behind `Identity`: a table with exactly one matcher, or the name of a unit matcher."""
        if type(value) is str:
            if value in _UNITS:
                return _UNITS[value]
            if value in MATCHERS:
                return self._refuse(path, f"{value} needs a value", f"write {{ {value} = ... }}")
            return self._unknown(value, path, MATCHERS, "expected one of " + ", ".join(MATCHERS))
        if not isinstance(value, Mapping):
            return self._not_a_table(value, path, MATCHERS)
        key = self._only_key(value, path, MATCHERS)
        if key is None:
            return _BROKEN
        inner, where = value[key], f"{path}.{key}"
        if key in _UNITS:
            if (inner == {} and isinstance(inner, Mapping)) or (self.is_lua and isinstance(inner, list) and not inner):
                return _UNITS[key]
            return self._refuse(
                where, f"takes no value, got {kind(inner)}", f"write '{key}' or {{ {key} = {{}} }} and nothing inside"
            )
        if key in ("Individual", "Group"):
            if type(inner) is not str:
                return self._refuse(where, f"expected a text, got {kind(inner)}")
            return Individual(inner) if key == "Individual" else Group(inner)
        if key == "Machine":
            return self._machine(inner, where)
        if key == "MachineSet":
            return self._machine_set(inner, where)
        return self._unknown(key, path, (*MATCHERS, *TERMS), "expected one of " + ", ".join(MATCHERS))

    def _terms(self, value: object, path: str, depth: int) -> tuple[Criteria, ...]:
        if self.is_lua and value == {}:
            return ()
        if not isinstance(value, (list, tuple)):
            fix = "put the term into an array: { { Identity = ... } }" if isinstance(value, Mapping) else ""
            self._refuse(path, f"expected an array of terms, got {kind(value)}", fix)
            return ()
        return tuple(self.term(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value, 1))

    def _machine(self, value: object, path: str) -> Criteria:
        if type(value) is not str:
            fix = "several addresses or networks go into MachineSet" if isinstance(value, (list, tuple)) else ""
            return self._refuse(path, f"expected the text of an IP address, got {kind(value)}", fix)
        try:
            return Machine(address_text(parse_address(value)))
        except ValueError as e:
            what, _, fix = str(e).partition("\n")
            return self._refuse(path, what, fix)

    def _machine_set(self, value: object, path: str) -> Criteria:
        if self.is_lua and value == {}:
            return MachineSet(())
        if not isinstance(value, (list, tuple)):
            fix = f"write {{ {value!r} }}" if type(value) is str else ""
            return self._refuse(path, f"expected an array of networks, got {kind(value)}", fix)
        networks = []
        for n, item in enumerate(value, 1):
            try:
                if type(item) is not str:
                    raise ValueError(f"expected the text of a network, got {kind(item)}")
                networks.append(parse_network(item))
            except ValueError as e:
                what, _, fix = str(e).partition("\n")
                self._refuse(f"{path}[{n}]", what, fix)
        return MachineSet(tuple(network_text(n) for n in network_set(networks)))

    def _only_key(self, value: Mapping[object, object], path: str, words: tuple[str, ...]) -> str | None:
        """The one key of a table; anything else is a problem."""
        keys = [str(k) for k in value]
        if len(keys) == 1 and isinstance(next(iter(value)), str):
            return keys[0]
        if not keys:
            self._refuse(path, "an empty table", f"expected one of {', '.join(words)}")
            return None
        found = ", ".join(sorted(keys))
        fix = "combine them: { AllOf = { {...}, {...} } } or { AnyOf = { {...}, {...} } }"
        self._refuse(path, f"expected a table with a single key, got {len(keys)} keys: {found}", fix)
        return None

    def _not_a_table(self, value: object, path: str, words: tuple[str, ...]) -> Criteria:
        if type(value) is str:
            return self._unknown(value, path, (*words, *_UNITS), f"expected one of {', '.join(words)}")
        fix = f"expected one of {', '.join(words)}: {_EXAMPLE if words is TERMS else _EXAMPLE[6:]}"
        if isinstance(value, (list, tuple)) and value and words is TERMS:
            fix = "say how they combine: { AllOf = {...} } or { AnyOf = {...} }"
        got = "an array" if isinstance(value, (list, tuple)) and value else kind(value)
        return self._refuse(path, f"expected a table with a single key, got {got}", fix)

    def _unknown(self, word: str, path: str, words: tuple[str, ...], expected: str) -> Criteria:
        near = suggest(word, list(words))
        return self._refuse(
            path, f"unknown word {word!r}", f"did you mean {near!r}?  ({expected})" if near else expected
        )

    def _refuse(self, path: str, what: str, fix: str = "") -> Criteria:
        self.problems.append((path, what, fix))
        return _BROKEN
