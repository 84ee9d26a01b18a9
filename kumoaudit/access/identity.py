"""Who somebody is: `AuthInfo` from plain data, its text form and its summary (KumoMTA, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumoaudit.access.address import address_text, parse_address
from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.core.event import CONTEXTS, AuthInfo, Identity
from kumoaudit.core.options import kind, suggest

TRUSTED = "kumomta:http-listener-trusted-ip"
"""The group of callers whose TCP peer is among the listener's `trusted_hosts`; no identity (section 3.2)."""

INTERNAL = "kumomta.internal"
"""The identity of the program's own actions. ACLs give it nothing by themselves."""

LOCAL_SYSTEM = AuthInfo("127.0.0.1", (Identity(INTERNAL, "LocalSystem"),))

_FIELDS = ("peer_address", "identities", "groups")
_IDENTITY_FIELDS = ("identity", "context")


def auth_info_of(value: object, where: str) -> AuthInfo:
    """The AuthInfo of a table as it comes from Lua or JSON. An empty table, as a value or as a list, is empty.

    *where* goes before every problem. Raises ConfigError with all of them: unknown fields (KumoMTA ignores them, and
    `group=` loses the groups), wrong types, a positional array, a bad address or context.
    """
    if isinstance(value, AuthInfo):
        return value
    problems: list[Problem] = []
    info = _auth_info(value, where, problems)
    if problems:
        raise ConfigError(problems)
    return info


def joined(base: AuthInfo, more: AuthInfo) -> AuthInfo:
    """*base* with the identities and groups of *more* behind its own; the peer is that of *base*.

    How the answer of an authentication handler joins what the connection is known by (section 5.1).
    """
    return AuthInfo(base.peer_address, base.identities + more.identities, base.groups + more.groups)


def text_of(info: AuthInfo) -> str:
    """The form of KumoMTA's HTTP bodies: `<Unauthenticated>@ ip=1.2.3.4`, `id=[a, b]@ ip=1.2.3.4`; no groups."""
    who = f"id=[{', '.join(i.identity for i in info.identities)}]" if info.identities else "<Unauthenticated>"
    return f"{who}@ ip={info.peer_address}" if info.peer_address else who


def summary(info: AuthInfo) -> str:
    """KumoMTA's "http_auth": the first HttpBasicAuth identity, else the first identity, else the peer, else ""."""
    for identity in info.identities:
        if identity.context == "HttpBasicAuth":
            return identity.identity
    return info.identities[0].identity if info.identities else info.peer_address or ""


def _auth_info(value: object, where: str, problems: list[Problem]) -> AuthInfo:
    if isinstance(value, (list, tuple)):
        if value:
            problems.append(Problem(where, "auth_info: expected named fields, got an array", _written()))
        return AuthInfo()
    if not isinstance(value, Mapping):
        problems.append(Problem(where, f"auth_info: expected a table, got {kind(value)}", _written()))
        return AuthInfo()
    _refuse_unknown(value, _FIELDS, "auth_info", where, problems)
    peer = None
    if (given := value.get("peer_address")) is not None:
        try:
            if type(given) is not str:
                raise ValueError(f"expected the text of an IP address, got {kind(given)}")
            peer = address_text(parse_address(given))
        except ValueError as e:
            problems.append(_problem(where, "auth_info.peer_address", e))
    identities = tuple(
        _identity(item, f"auth_info.identities[{n}]", where, problems)
        for n, item in enumerate(_list(value, "identities", where, problems), 1)
    )
    groups = []
    for n, group in enumerate(_list(value, "groups", where, problems), 1):
        if type(group) is str:
            groups.append(group)
        else:
            problems.append(Problem(where, f"auth_info.groups[{n}]: expected a text, got {kind(group)}"))
    return AuthInfo(peer, identities, tuple(groups))


def _identity(value: object, path: str, where: str, problems: list[Problem]) -> Identity:
    form = "write { identity = 'alice', context = 'HttpBasicAuth' }"
    if not isinstance(value, Mapping):
        problems.append(Problem(where, f"{path}: expected a table, got {kind(value)}", form))
        return Identity("", "")
    _refuse_unknown(value, _IDENTITY_FIELDS, path, where, problems)
    for name in _IDENTITY_FIELDS:
        given = value.get(name)
        if given is None:
            problems.append(Problem(where, f"{path}: missing field {name!r}", form))
        elif type(given) is not str:
            problems.append(Problem(where, f"{path}.{name}: expected a text, got {kind(given)}"))
        elif name == "context" and given not in CONTEXTS:
            near = suggest(given, list(CONTEXTS))
            fix = f"(contexts: {', '.join(CONTEXTS)})"
            fix = f"did you mean {near!r}?  {fix}" if near else fix[1:-1]
            problems.append(Problem(where, f"{path}.context: unknown context {given!r}", fix))
    return Identity(str(value.get("identity")), str(value.get("context")))


def _list(value: Mapping[Any, Any], name: str, where: str, problems: list[Problem]) -> list[Any]:
    given = value.get(name)
    if given is None or given == {}:
        return []
    if not isinstance(given, (list, tuple)):
        problems.append(Problem(where, f"auth_info.{name}: expected an array, got {kind(given)}"))
        return []
    return list(given)


def _refuse_unknown(
    value: Mapping[Any, Any], fields: tuple[str, ...], path: str, where: str, problems: list[Problem]
) -> None:
    for name in value:
        if name not in fields:
            near = suggest(name, list(fields)) if isinstance(name, str) else ""
            listed = f"(fields: {', '.join(fields)})"
            fix = f"did you mean {near!r}?  {listed}" if near else listed[1:-1]
            problems.append(Problem(where, f"{path}: unknown field {name!r}", fix))


def _problem(where: str, path: str, error: ValueError) -> Problem:
    what, _, fix = str(error).partition("\n")
    return Problem(where, f"{path}: {what}", fix)


def _written() -> str:
    return "write { peer_address = '192.0.2.1', identities = {...}, groups = {...} }; every field may be left out"
