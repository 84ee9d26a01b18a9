"""Rules, the lists of them, and the decision: who may use which privilege on which resource (KumoMTA 2.3, 3.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from kumoaudit.access.criteria import Criteria, Test, compile_test, shape
from kumoaudit.access.resource import Resource
from kumoaudit.access.terms import TermReader
from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.core.event import AuthInfo
from kumoaudit.core.options import kind, suggest

_RULE_FIELDS = ("criteria", "privilege", "access")
_RULE_FORM = "write { { criteria = { Identity = { Group = 'ops' } }, privilege = 'GET', access = 'Allow' } }"


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One rule. `at` is where it was written (`acl.toml:12`). Make it with `rule`.

    `holds` is the compiled criteria, `record` what the log says of the rule; records share it, so nobody changes it.
    """

    criteria: Criteria
    privilege: str
    allow: bool
    at: str
    holds: Test
    record: dict[str, Any]


class Acl(msgspec.Struct, frozen=True, eq=False):
    """Rules in their order, and where they come from. Make it with `acl`.

    `by_privilege` holds the same rules by their privilege: privileges are compared exactly, so no other rule decides.
    """

    rules: tuple[Rule, ...]
    source: str
    by_privilege: dict[str, tuple[Rule, ...]]


class Decision(msgspec.Struct, frozen=True, eq=False):
    """How an access was decided.

    `rule` and `resource` (the name whose ACL holds the rule) are None when nothing matched, which denies. `considered`
    are the names looked at before, most specific first; `had_acl` are those of them that have an ACL, in which no rule
    matched. `target` is the first name of what was asked for.
    """

    allow: bool
    resource: str | None
    rule: Rule | None
    target: str
    considered: tuple[str, ...]
    had_acl: tuple[str, ...]
    privilege: str
    auth_info: AuthInfo


def rule(criteria: Criteria, privilege: str, allow: bool, at: str) -> Rule:
    """A rule with its test and its record made once."""
    record = {"criteria": shape(criteria), "privilege": privilege, "access": "Allow" if allow else "Deny"}
    return Rule(criteria, privilege, allow, at, compile_test(criteria), record)


def acl(rules: Iterable[Rule], source: str) -> Acl:
    """An ACL of *rules* in their order."""
    listed = tuple(rules)
    sorted_: dict[str, list[Rule]] = {}
    for r in listed:
        sorted_.setdefault(r.privilege, []).append(r)
    return Acl(listed, source, {privilege: tuple(some) for privilege, some in sorted_.items()})


def decide(resource: Resource, auth_info: AuthInfo, privilege: str, acl_for: Callable[[str], Acl | None]) -> Decision:
    """Walk the names of *resource*; the first rule for *privilege* whose criteria hold decides, else it is denied.

    *acl_for* gives the ACL of a name or None; what it raises passes through, and nothing is decided (section 3.5).
    """
    names = resource.names
    had_acl: list[str] | None = None
    for n, name in enumerate(names):
        found = acl_for(name)
        if found is None:
            continue
        for r in found.by_privilege.get(privilege, ()):
            if r.holds(auth_info):
                before = tuple(had_acl) if had_acl else ()
                return Decision(r.allow, name, r, names[0], names[:n], before, privilege, auth_info)
        if had_acl is None:
            had_acl = [name]
        else:
            had_acl.append(name)
    return Decision(False, None, None, names[0], names, tuple(had_acl or ()), privilege, auth_info)


def acl_of_rules(value: object, at: str) -> Acl:
    """The ACL of a Lua array of `{criteria=, privilege=, access=}` (`kumo.aaa.make_access_control_list`).

    *at* is the place of the call (`policy.lua:9`) and goes before every problem, which come all at once in one
    ConfigError. Keys that KumoMTA does not know are ignored there (a misspelt one never helps); here they are errors. A
    single rule without the outer array would be an ACL without rules in KumoMTA; here it is an error.
    """
    call = f"{at}: kumo.aaa.make_access_control_list" if at else "kumo.aaa.make_access_control_list"
    if isinstance(value, Mapping) and value:
        what = f"expected an array of rules, got a table with {', '.join(sorted(map(str, value)))}"
        if any(name in value for name in _RULE_FIELDS):
            what = "expected an array of rules, got a single rule"
        raise ConfigError([Problem(call, what, "put it into an array: { { criteria = ... } }")])
    if not isinstance(value, (list, tuple, Mapping)):
        raise ConfigError([Problem(call, f"expected an array of rules, got {kind(value)}", _RULE_FORM)])
    problems: list[Problem] = []
    rules = [_rule_of(item, n, at, call, problems) for n, item in enumerate(value, 1)]
    if problems:
        raise ConfigError(problems)
    return acl((r for r in rules if r is not None), at)


def _rule_of(value: object, n: int, at: str, call: str, problems: list[Problem]) -> Rule | None:
    where = f"rule {n}"
    if not isinstance(value, Mapping):
        problems.append(Problem(call, f"{where}: expected a table, got {kind(value)}", _RULE_FORM))
        return None
    before = len(problems)
    for name in value:
        if name not in _RULE_FIELDS:
            near = suggest(str(name), list(_RULE_FIELDS))
            listed = f"(fields: {', '.join(_RULE_FIELDS)})"
            fix = f"did you mean {near!r}?  {listed}" if near else listed[1:-1]
            problems.append(Problem(call, f"{where}: unknown field {name!r}", fix))
    missing = [name for name in _RULE_FIELDS if value.get(name) is None]
    problems += [Problem(call, f"{where}: missing field {name!r}", _RULE_FORM) for name in missing]
    privilege, access, criteria = (value.get(name) for name in ("privilege", "access", "criteria"))
    if privilege is not None and type(privilege) is not str:
        fix = "write one rule for each privilege" if isinstance(privilege, (list, tuple)) else ""
        problems.append(Problem(call, f"{where}: privilege: expected a text, got {kind(privilege)}", fix))
    if access is not None and access not in ("Allow", "Deny"):
        near = str(access).capitalize()
        fix = f"did you mean '{near}'?" if near in ("Allow", "Deny") else ""
        if isinstance(access, bool):
            fix = f"did you mean '{'Allow' if access else 'Deny'}'?"
        problems.append(Problem(call, f"{where}: access: expected 'Allow' or 'Deny', got {kind(access)}", fix))
    if criteria is None:
        return None
    reader = TermReader(is_lua=True)
    tree = reader.term(criteria, "criteria")
    problems += [Problem(call, f"{where}: {path}: {what}", fix) for path, what, fix in reader.problems]
    return None if len(problems) > before else rule(tree, str(privilege), access == "Allow", at)
