"""The criteria of an ACL rule as a tree: its JSON shape, its test, and which part held or failed (KumoMTA 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import msgspec

from kumoaudit.access.address import peer_number
from kumoaudit.core.event import AuthInfo

Test = Callable[[AuthInfo], bool]


class Individual(msgspec.Struct, frozen=True, tag=True):
    """Some identity has exactly this name; case counts, the context does not."""

    name: str


class Group(msgspec.Struct, frozen=True, tag=True):
    """The groups hold exactly this name."""

    name: str


class Machine(msgspec.Struct, frozen=True, tag=True):
    """The peer is known and equal as an address (canonical text)."""

    address: str


class MachineSet(msgspec.Struct, frozen=True, tag=True):
    """The peer is known and inside one of the networks (texts as KumoMTA prints them, in the order of its tree)."""

    networks: tuple[str, ...]


class Authenticated(msgspec.Struct, frozen=True, tag=True):
    """At least one identity."""


class Unauthenticated(msgspec.Struct, frozen=True, tag=True):
    """No identity, whatever the groups."""


class Anyone(msgspec.Struct, frozen=True, tag="Any"):
    """Always."""


class AllOf(msgspec.Struct, frozen=True, tag=True):
    """Every term holds; true when there is none."""

    terms: tuple[Criteria, ...]


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """Some term holds; false when there is none."""

    terms: tuple[Criteria, ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """The term does not hold; a peer that is unknown is in no network, so `Not` of one is true."""

    term: Criteria


Matcher = Individual | Group | Machine | MachineSet | Authenticated | Unauthenticated | Anyone
Criteria = Matcher | AllOf | AnyOf | Not


def shape(criteria: Criteria) -> dict[str, Any]:
    """The criteria as KumoMTA's records print them: `{"Identity":{"Group":"x"}}`, `{"Identity":"Any"}`."""
    match criteria:
        case AllOf(terms):
            return {"AllOf": [shape(t) for t in terms]}
        case AnyOf(terms):
            return {"AnyOf": [shape(t) for t in terms]}
        case Not(term):
            return {"Not": shape(term)}
        case Individual(name):
            return {"Identity": {"Individual": name}}
        case Group(name):
            return {"Identity": {"Group": name}}
        case Machine(address):
            return {"Identity": {"Machine": address}}
        case MachineSet(networks):
            return {"Identity": {"MachineSet": list(networks)}}
        case Authenticated():
            return {"Identity": "Authenticated"}
        case Unauthenticated():
            return {"Identity": "Unauthenticated"}
        case Anyone():
            return {"Identity": "Any"}


def compile_test(criteria: Criteria) -> Test:
    """The criteria as one function; compile once per rule, not per request."""
    match criteria:
        case AllOf(terms):
            every = [compile_test(t) for t in terms]
            return lambda info: all(test(info) for test in every)
        case AnyOf(terms):
            some = [compile_test(t) for t in terms]
            return lambda info: any(test(info) for test in some)
        case Not(term):
            inner = compile_test(term)
            return lambda info: not inner(info)
        case Individual(name):
            return lambda info: any(i.identity == name for i in info.identities)
        case Group(name):
            return lambda info: name in info.groups
        case Machine(address):
            wanted = peer_number(address)
            return lambda info: wanted is not None and peer_number(info.peer_address) == wanted
        case MachineSet(networks):
            return _inside(networks)
        case Authenticated():
            return lambda info: bool(info.identities)
        case Unauthenticated():
            return lambda info: not info.identities
        case Anyone():
            return lambda info: True


def holds(criteria: Criteria, info: AuthInfo) -> bool:
    """Whether *info* meets the criteria. Rules keep the compiled test instead."""
    return compile_test(criteria)(info)


def why(criteria: Criteria, info: AuthInfo) -> str:
    """One phrase: the part of the criteria that decided, as a fact about *info* (`not in group 'ops' (groups: dev)`).

    Of an `AllOf` that fails it is the first term that fails, of an `AnyOf` that holds the first that holds; otherwise
    every term has its say. A `Not` says the fact of its term, which is what it turns around.
    """
    match criteria:
        case AllOf(terms) | AnyOf(terms):
            name, stops_at = ("AllOf", False) if isinstance(criteria, AllOf) else ("AnyOf", True)
            if not terms:
                return f"{name} is empty, so it {'never' if stops_at else 'always'} holds"
            for term in terms:
                if holds(term, info) is stops_at:
                    return why(term, info)
            return " and ".join(why(t, info) for t in terms)
        case Not(term):
            return why(term, info)
        case Individual(name):
            return f"is {name!r}" if holds(criteria, info) else f"is not {name!r} ({_who(info)})"
        case Group(name):
            if holds(criteria, info):
                return f"in group {name!r}"
            return f"not in group {name!r} ({'groups: ' + ', '.join(info.groups) if info.groups else 'no groups'})"
        case Machine() | MachineSet() if peer_number(info.peer_address) is None:
            return "the peer is unknown"
        case Machine(address):
            return f"peer {info.peer_address} is {'' if holds(criteria, info) else 'not '}{address}"
        case MachineSet(networks):
            inside = next((n for n in networks if _inside((n,))(info)), None)
            where = inside or (f"none of {', '.join(networks)}" if networks else "no network, the set is empty")
            return f"peer {info.peer_address} is in {where}"
        case Authenticated() | Unauthenticated():
            return f"authenticated ({_who(info)})" if info.identities else "not authenticated"
        case Anyone():
            return "anyone"


def _who(info: AuthInfo) -> str:
    return f"identities: {', '.join(i.identity for i in info.identities)}" if info.identities else "no identity"


def _inside(networks: tuple[str, ...]) -> Test:
    """Membership by comparing numbers: an address object per request costs more than the whole decision."""
    ranges = []
    for text in networks:
        net = ip_network(text)
        ranges.append((net.version, int(net.network_address), int(net.broadcast_address)))

    def test(info: AuthInfo) -> bool:
        peer = peer_number(info.peer_address)
        if peer is None:
            return False
        version, number = peer
        return any(v == version and low <= number <= high for v, low, high in ranges)

    return test
