"""Lists of rules and the decision (KumoMTA, sections 2.3, 3.5, 3.6): its cases, the edges, and a model of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.access.acl import Acl, acl, acl_of_rules, decide, rule
from kumoaudit.access.aclmap import default_acl, load_acl_map
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
from kumoaudit.access.identity import LOCAL_SYSTEM, TRUSTED, auth_info_of
from kumoaudit.access.resource import Resource, http_url_resource
from kumoaudit.core.errors import ConfigError
from kumoaudit.core.event import AuthInfo, Identity
from tests.support import vectors

AT = "policy.lua:9"
ANY = {"criteria": {"Identity": "Any"}, "privilege": "GET", "access": "Allow"}


def lookup(toml: str | None, rules: dict[str, Any] | None, *, fall_back: bool) -> Callable[[str], Acl | None]:
    """Where the ACLs of a case come from: its rules, its file, then the built-in map."""
    own = load_acl_map(toml, "acl.toml") if toml is not None else None
    made = {name: acl_of_rules(value, AT) for name, value in (rules or {}).items()}

    def acl_for(name: str) -> Acl | None:
        found = made.get(name) or (own.get(name) if own else None)
        return default_acl().get(name) if found is None and fall_back else found

    return acl_for


@pytest.mark.parametrize("case", vectors("kumomta_acl.json")["cases"], ids=lambda c: c["name"])
def test_the_decision_is_that_of_kumomta(case: dict[str, Any]) -> None:
    source = case["acl"]
    acl_for = lookup(source.get("toml"), source.get("rules"), fall_back=source["fall_back_to_default"])
    resource = http_url_resource(**case["resource"])

    d = decide(resource, auth_info_of(case["auth_info"], "case"), case["privilege"], acl_for)

    assert {
        "access": "Allow" if d.allow else "Deny",
        "target_resource": d.target,
        "matching_resource": d.resource,
        "rule": d.rule and d.rule.record,
        "considered_resources": list(d.considered),
    } == case["expected"]


def names(*texts: str) -> Resource:
    return Resource(texts, "/")


def test_an_acl_in_which_nothing_matched_leads_on_to_the_parent_and_is_marked() -> None:
    acls = {"a": acl([rule(Anyone(), "PUT", True, "")], ""), "c": acl([rule(Anyone(), "GET", True, "f:1")], "")}

    d = decide(names("a", "b", "c", "d"), AuthInfo(), "GET", acls.get)

    assert (d.allow, d.resource, d.considered, d.had_acl) == (True, "c", ("a", "b"), ("a",))
    assert d.rule is acls["c"].rules[0]


def test_an_acl_without_rules_is_an_acl_that_decides_nothing() -> None:
    d = decide(names("a"), AuthInfo(), "GET", {"a": acl([], "")}.get)

    assert (d.allow, d.resource, d.rule, d.considered, d.had_acl) == (False, None, None, ("a",), ("a",))


def test_nothing_behind_the_rule_that_decides_is_asked() -> None:
    asked: list[str] = []
    deny = acl([rule(Anyone(), "GET", False, "")], "")

    def acl_for(name: str) -> Acl | None:
        asked.append(name)
        return deny if name == "b" else None

    d = decide(names("a", "b", "c"), AuthInfo(), "GET", acl_for)

    assert (asked, d.allow, d.resource) == (["a", "b"], False, "b")


def test_a_deny_on_the_listener_beats_an_allow_below_any_listener() -> None:
    """Section 4: the whole branch of the listener comes before any `*` name."""
    acls = {
        "http_listener/127.0.0.1:80": acl([rule(Anyone(), "GET", False, "")], ""),
        "http_listener/*/a/b": acl([rule(Anyone(), "GET", True, "")], ""),
    }
    d = decide(http_url_resource("127.0.0.1:80", "/a/b"), AuthInfo(), "GET", acls.get)

    assert (d.allow, d.resource) == (False, "http_listener/127.0.0.1:80")


def test_what_the_look_up_raises_passes_through() -> None:
    def acl_for(name: str) -> Acl | None:
        raise RuntimeError(name)

    with pytest.raises(RuntimeError, match=r"^a$"):
        decide(names("a"), AuthInfo(), "GET", acl_for)


@pytest.mark.parametrize("privilege", ["get", "GET ", "*", "", "GE"])
def test_a_privilege_is_compared_exactly(privilege: str) -> None:
    assert not decide(names("a"), AuthInfo(), privilege, {"a": acl([rule(Anyone(), "GET", True, "")], "")}.get).allow


def test_a_star_is_a_privilege_like_any_other() -> None:
    acls = {"a": acl([rule(Anyone(), "*", True, "")], "")}

    assert decide(names("a"), AuthInfo(), "*", acls.get).allow
    assert not decide(names("a"), AuthInfo(), "GET", acls.get).allow


TRUSTED_INFO = AuthInfo("127.0.0.1", (), (TRUSTED,))
ALICE = AuthInfo("192.0.2.1", (Identity("alice", "HttpBasicAuth"),))


@pytest.mark.parametrize(
    ("path", "privilege", "trusted", "logged_in", "anonymous"),
    [
        ("/api/check-liveness/v1", "GET", True, True, True),
        ("/api/check-liveness/v1", "HEAD", False, False, False),
        ("/api/inject/v1", "POST", True, True, False),
        ("/api/admin/bump-config-epoch", "POST", True, False, False),
        ("/api/admin/reopen/v1", "POST", True, False, False),
        ("/api/admin/x", "PUT", False, False, False),
        ("/api/admin/x", "DELETE", True, False, False),
        ("/metrics", "GET", True, False, False),
        ("/metrics.json", "GET", True, False, False),
        ("/unknown", "GET", False, False, False),
        ("/proxy/status", "GET", False, False, False),
        ("/api/audit/records/v1", "POST", True, True, False),
        ("/api/audit/check/v1", "POST", True, False, False),
        ("/api/audit/query/v1", "GET", True, False, False),
        ("/api/audit/query/v1", "POST", False, False, False),
        ("/admin/auditlog/list/KIND_ACCESS", "GET", True, False, False),
        ("/", "GET", False, False, False),
    ],
)
def test_the_built_in_acl(path: str, privilege: str, trusted: bool, logged_in: bool, anonymous: bool) -> None:
    """Section 3.7 and the routes of the host; the program's own identity gets nothing by itself."""
    resource = http_url_resource("127.0.0.1:8000", path)
    found = [
        decide(resource, info, privilege, default_acl().get).allow
        for info in (TRUSTED_INFO, ALICE, AuthInfo("192.0.2.1"), LOCAL_SYSTEM)
    ]

    assert found[:3] == [trusted, logged_in, anonymous]
    assert found[3] == logged_in


# -- make_access_control_list -----------------------------------------------------------------------------------------


def test_the_rules_of_a_policy_keep_their_order_and_place() -> None:
    made = acl_of_rules([ANY, {**ANY, "access": "Deny", "privilege": "PUT"}], AT)

    assert [(r.privilege, r.allow, r.at) for r in made.rules] == [("GET", True, AT), ("PUT", False, AT)]
    assert made.source == AT
    assert list(made.rules[0].record) == ["criteria", "privilege", "access"]


@pytest.mark.parametrize("empty", [[], {}])
def test_an_empty_array_is_an_acl_without_rules(empty: Any) -> None:
    assert acl_of_rules(empty, AT).rules == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (ANY, "expected an array of rules, got a single rule\n  put it into an array"),
        ({"rules": []}, "expected an array of rules, got a table with rules"),
        (None, "expected an array of rules, got nil"),
        ("x", 'expected an array of rules, got "x"'),
        (["x"], 'rule 1: expected a table, got "x"'),
        ([{}], "rule 1: missing field 'criteria'"),
        ([ANY, {"criteria": {"Identity": "Any"}, "access": "Allow"}], "rule 2: missing field 'privilege'"),
        ([{**ANY, "acess": "Deny"}], "rule 1: unknown field 'acess'\n  did you mean 'access'?"),
        ([{**ANY, "access": "allow"}], "access: expected 'Allow' or 'Deny', got \"allow\"\n  did you mean 'Allow'?"),
        ([{**ANY, "access": False}], "did you mean 'Deny'?"),
        ([{**ANY, "privilege": ["GET"]}], "privilege: expected a text, got a table\n  write one rule for each"),
        ([{**ANY, "criteria": {"Identity": {"Grp": "x"}}}], "rule 1: criteria.Identity: unknown word 'Grp'"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as e:
        acl_of_rules(value, AT)
    assert said in str(e.value)
    assert str(e.value).startswith("policy.lua:9: kumo.aaa.make_access_control_list: ")


def test_all_problems_of_a_list_come_at_once() -> None:
    with pytest.raises(ConfigError) as e:
        acl_of_rules([{**ANY, "x": 1, "access": "No"}, {"criteria": {"AllOf": [{"A": 1}, {"B": 1}]}}], AT)

    assert len(e.value.problems) == 6


# -- a model ----------------------------------------------------------------------------------------------------------

WORDS = ("a", "b", "c")
NAMES = tuple(http_url_resource("127.0.0.1:80", "/a/b").names)
leaves = st.one_of(
    st.builds(Individual, st.sampled_from(WORDS)),
    st.builds(Group, st.sampled_from(WORDS)),
    st.builds(Machine, st.sampled_from(["10.0.0.1", "::1"])),
    st.builds(MachineSet, st.sampled_from([(), ("10.0.0.0/8",), ("10.0.0.0/31", "::/0")])),
    st.sampled_from([Authenticated(), Unauthenticated(), Anyone()]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
rules = st.builds(rule, trees, st.sampled_from(["GET", "PUT"]), st.booleans(), st.just("f:1"))
maps = st.dictionaries(st.sampled_from(NAMES), st.lists(rules, max_size=4).map(lambda r: acl(r, "f")), max_size=4)
infos = st.builds(
    AuthInfo,
    st.sampled_from([None, "10.0.0.1", "10.0.0.2", "::1", "::ffff:10.0.0.1", "192.0.2.1"]),
    st.lists(st.builds(Identity, st.sampled_from(WORDS), st.just("GenericAuth")), max_size=2).map(tuple),
    st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
)
# Who is in which network, written down and not computed.
INSIDE = {
    ("10.0.0.0/8", "10.0.0.1"), ("10.0.0.0/8", "10.0.0.2"), ("10.0.0.0/31", "10.0.0.1"),
    ("::/0", "::1"), ("::/0", "::ffff:10.0.0.1"),
}  # fmt: skip


def model_holds(tree: Criteria, info: AuthInfo) -> bool:
    if isinstance(tree, AllOf):
        return not [t for t in tree.terms if not model_holds(t, info)]
    if isinstance(tree, AnyOf):
        return bool([t for t in tree.terms if model_holds(t, info)])
    if isinstance(tree, Not):
        return not model_holds(tree.term, info)
    if isinstance(tree, Individual):
        return tree.name in [i.identity for i in info.identities]
    if isinstance(tree, Group):
        return tree.name in info.groups
    if isinstance(tree, Machine):
        return tree.address == info.peer_address
    if isinstance(tree, MachineSet):
        return any((network, info.peer_address) in INSIDE for network in tree.networks)
    return isinstance(tree, Anyone) or bool(info.identities) == isinstance(tree, Authenticated)


@given(maps, infos, st.sampled_from(["GET", "PUT", "DELETE"]))
def test_the_decision_agrees_with_a_search_through_everything(
    acls: dict[str, Acl], info: AuthInfo, privilege: str
) -> None:
    hits = [
        (n, r)
        for n, name in enumerate(NAMES)
        for r in (acls[name].rules if name in acls else ())
        if r.privilege == privilege and model_holds(r.criteria, info)
    ]

    d = decide(Resource(NAMES, "/a/b"), info, privilege, acls.get)

    n, r = hits[0] if hits else (len(NAMES), None)
    assert d.allow == (r is not None and r.allow)
    assert d.rule is r
    assert d.resource == (NAMES[n] if hits else None)
    assert d.considered == NAMES[:n]
    assert d.had_acl == tuple(name for name in NAMES[:n] if name in acls)
    assert (d.target, d.privilege, d.auth_info) == (NAMES[0], privilege, info)
