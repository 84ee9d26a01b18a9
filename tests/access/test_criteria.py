"""The criteria tree: reading, printing, testing and explaining (KumoMTA, section 3.3)."""

from __future__ import annotations

from typing import Any

import pytest

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
    holds,
    shape,
    why,
)
from kumoaudit.access.terms import TermReader
from kumoaudit.core.event import AuthInfo, Identity

ALICE = AuthInfo("10.0.0.1", (Identity("alice", "GenericAuth"),), ("ops", "dev"))
NOBODY = AuthInfo()


def read(value: object, *, is_lua: bool = True) -> Criteria:
    reader = TermReader(is_lua=is_lua)
    tree = reader.term(value, "criteria")
    assert reader.problems == []
    return tree


def refused(value: object, *, is_lua: bool = True) -> str:
    reader = TermReader(is_lua=is_lua)
    reader.term(value, "criteria")
    return "\n".join(f"{path}: {what}\n  {fix}" for path, what, fix in reader.problems)


@pytest.mark.parametrize(
    ("value", "tree"),
    [
        ({"Identity": {"Individual": "a"}}, Individual("a")),
        ({"Identity": {"Group": "g"}}, Group("g")),
        ({"Identity": {"Machine": "0::1"}}, Machine("::1")),
        ({"Identity": "Any"}, Anyone()),
        ({"Identity": {"Any": {}}}, Anyone()),
        ({"Identity": {"Any": []}}, Anyone()),
        ({"Identity": {"Authenticated": {}}}, Authenticated()),
        ({"Identity": "Unauthenticated"}, Unauthenticated()),
        ({"Not": {"Identity": "Any"}}, Not(Anyone())),
        ({"AllOf": []}, AllOf(())),
        ({"AnyOf": {}}, AnyOf(())),
        ({"AllOf": [{"Machine": "10.0.0.1"}, {"Identity": {"Group": "g"}}]}, AllOf((Machine("10.0.0.1"), Group("g")))),
        ({"AnyOf": [{"Authenticated": {}}, "Unauthenticated"]}, AnyOf((Authenticated(), Unauthenticated()))),
        ({"Group": "g"}, Group("g")),
        ({"Not": {"AnyOf": [{"Individual": "a"}]}}, Not(AnyOf((Individual("a"),)))),
    ],
)
def test_both_spellings_and_the_short_form_are_read(value: object, tree: Criteria) -> None:
    """D3: unit matchers as a text and as an empty table. D4: a matcher where a term belongs."""
    assert read(value) == tree


@pytest.mark.parametrize(
    "tree",
    [
        Individual("a"), Group("g"), Machine("::1"), MachineSet(("10.0.0.0/8", "::1")), Anyone(), Authenticated(),
        Unauthenticated(), AllOf((Group("a"), Not(AnyOf((Anyone(),))))), AnyOf(()), Not(Authenticated()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_lua", [True, False])
def test_what_is_printed_reads_back(tree: Criteria, is_lua: bool) -> None:
    assert read(shape(tree), is_lua=is_lua) == tree


@pytest.mark.parametrize(
    ("tree", "printed"),
    [
        (Group("x"), {"Identity": {"Group": "x"}}),
        (Anyone(), {"Identity": "Any"}),
        (Not(AllOf((Authenticated(),))), {"Not": {"AllOf": [{"Identity": "Authenticated"}]}}),
        (AnyOf((Machine("::1"),)), {"AnyOf": [{"Identity": {"Machine": "::1"}}]}),
    ],
)
def test_the_shape_is_that_of_kumomtas_records(tree: Criteria, printed: dict[str, Any]) -> None:
    assert shape(tree) == printed


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        (["10.0.0.1"], ["10.0.0.1"]),
        (["10.0.0.1/32", "::1/128"], ["10.0.0.1", "::1"]),
        (["::1", "192.168.1.0/24", "127.0.0.1"], ["127.0.0.1", "192.168.1.0/24", "::1"]),
        (["192.168.1.24", "192.168.1.0/24"], ["192.168.1.0/24"]),
        (["10.0.7.0/24", "10.0.3.0/24", "10.0.4.0/24"], ["10.0.3.0/24", "10.0.4.0/24", "10.0.7.0/24"]),
        (["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/24"]),
        (["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]),
        (["0.0.0.0/0", "1.2.3.4"], ["0.0.0.0/0"]),
        ([], []),
    ],
)
def test_a_machine_set_is_printed_in_the_order_of_the_address_tree(given: list[str], printed: list[str]) -> None:
    """The set of KumoMTA's own test (crates/cidr-map), covered entries dropped and halves joined."""
    assert shape(read({"Identity": {"MachineSet": given}})) == {"Identity": {"MachineSet": printed}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "criteria: an empty table\n  expected one of Identity, AllOf, AnyOf, Not"),
        ({"AllOf": [], "Not": {}}, "a table with a single key, got 2 keys: AllOf, Not"),
        ({"identity": "Any"}, "unknown word 'identity'\n  did you mean 'Identity'?"),
        ({"OneOf": []}, "unknown word 'OneOf'"),
        ({"Identity": {"User": "bob"}}, "unknown word 'User'\n  expected one of Individual, Group, Machine"),
        ({"Identity": {"group": "bob"}}, "did you mean 'Group'?"),
        ({"Identity": {"Group": "a", "Machine": "::1"}}, "criteria.Identity: expected a table with a single key"),
        ({"Identity": "Group"}, "Group needs a value"),
        ({"Identity": "Anyone"}, "did you mean 'Any'?"),
        ({"Identity": {"Any": True}}, "criteria.Identity.Any: takes no value, got true"),
        ({"Identity": {"Any": {"x": 1}}}, "takes no value, got a table"),
        ({"Identity": {"Group": 5}}, "criteria.Identity.Group: expected a text, got 5"),
        ({"Identity": {"Group": ["a"]}}, "expected a text, got a table"),
        ({"Identity": {"Machine": "10.0.0.0/8"}}, "a network goes into MachineSet"),
        ({"Identity": {"Machine": ["10.0.0.1"]}}, "several addresses or networks go into MachineSet"),
        ({"Identity": {"MachineSet": ["10.0.0.1/8"]}}, "MachineSet[1]: '10.0.0.1/8' has host bits set\n  did you mean '10.0.0.0/8' or '10.0.0.1'?"),
        ({"Identity": {"MachineSet": ["10.0.0.0/33"]}}, "'10.0.0.0/33' is not a network"),
        ({"Identity": {"MachineSet": ["10.0.0.0/255.0.0.0"]}}, "is not a network"),
        ({"Identity": {"MachineSet": ["fe80::1/64"]}}, "did you mean 'fe80::/64'"),
        ({"Identity": {"MachineSet": "10.0.0.0/8"}}, "expected an array of networks"),
        ({"Identity": {"MachineSet": [8]}}, "expected the text of a network, got 8"),
        ({"Identity": ["Any"]}, "criteria.Identity: expected a table with a single key, got an array"),
        ([{"Identity": "Any"}], "say how they combine"),
        ({"AllOf": {"Identity": "Any"}}, "put the term into an array"),
        ({"AllOf": ["alice"]}, "criteria.AllOf[1]: unknown word 'alice'"),
        ({"Not": []}, "criteria.Not: expected a table with a single key"),
        (True, "got true"),
        (None, "got nil"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_allowed_words(value: object, said: str) -> None:
    assert said in refused(value)


def test_an_array_after_a_unit_matcher_is_refused_in_toml() -> None:
    assert "takes no value" in refused({"Identity": {"Any": []}}, is_lua=False)


def test_terms_nested_too_deeply_are_refused_and_not_a_crash() -> None:
    value: dict[str, Any] = {"Identity": "Any"}
    for _ in range(5000):
        value = {"Not": value}

    assert "nested deeper than 100 levels" in refused(value)


@pytest.mark.parametrize(
    ("tree", "info", "result", "phrase"),
    [
        (Individual("alice"), ALICE, True, "is 'alice'"),
        (Individual("Alice"), ALICE, False, "is not 'Alice' (identities: alice)"),
        (Individual("alice"), NOBODY, False, "is not 'alice' (no identity)"),
        (Individual("*"), ALICE, False, "is not '*' (identities: alice)"),
        (Group("ops"), ALICE, True, "in group 'ops'"),
        (Group("op"), ALICE, False, "not in group 'op' (groups: ops, dev)"),
        (Group("ops"), NOBODY, False, "not in group 'ops' (no groups)"),
        (Machine("10.0.0.1"), ALICE, True, "peer 10.0.0.1 is 10.0.0.1"),
        (Machine("10.0.0.2"), ALICE, False, "peer 10.0.0.1 is not 10.0.0.2"),
        (Machine("10.0.0.1"), NOBODY, False, "the peer is unknown"),
        (Machine("10.0.0.1"), AuthInfo("::ffff:10.0.0.1"), False, "peer ::ffff:10.0.0.1 is not 10.0.0.1"),
        (Machine("::1"), AuthInfo("0:0::1"), True, "peer 0:0::1 is ::1"),
        (Machine("fe80::1"), AuthInfo("fe80::1%eth0"), True, "peer fe80::1%eth0 is fe80::1"),
        (Machine("10.0.0.1"), AuthInfo("unix"), False, "the peer is unknown"),
        (Not(Machine("10.0.0.1")), NOBODY, True, "the peer is unknown"),
        (MachineSet(("10.0.0.0/8", "::/0")), ALICE, True, "peer 10.0.0.1 is in 10.0.0.0/8"),
        (MachineSet(("::/0",)), ALICE, False, "peer 10.0.0.1 is in none of ::/0"),
        (MachineSet(("10.0.0.0/8",)), AuthInfo("::ffff:10.0.0.1"), False, "peer ::ffff:10.0.0.1 is in none of 10.0.0.0/8"),
        (MachineSet(()), ALICE, False, "peer 10.0.0.1 is in no network, the set is empty"),
        (MachineSet(("0.0.0.0/0",)), NOBODY, False, "the peer is unknown"),
        (Authenticated(), ALICE, True, "authenticated (identities: alice)"),
        (Authenticated(), AuthInfo(None, (), ("ops",)), False, "not authenticated"),
        (Unauthenticated(), AuthInfo(None, (), ("ops",)), True, "not authenticated"),
        (Unauthenticated(), ALICE, False, "authenticated (identities: alice)"),
        (Anyone(), NOBODY, True, "anyone"),
        (AllOf(()), NOBODY, True, "AllOf is empty, so it always holds"),
        (AnyOf(()), ALICE, False, "AnyOf is empty, so it never holds"),
        (AllOf((Group("ops"), Individual("bob"), Group("x"))), ALICE, False, "is not 'bob' (identities: alice)"),
        (AllOf((Group("ops"), Individual("alice"))), ALICE, True, "in group 'ops' and is 'alice'"),
        (AnyOf((Group("x"), Group("dev"))), ALICE, True, "in group 'dev'"),
        (AnyOf((Group("x"), Authenticated())), NOBODY, False, "not in group 'x' (no groups) and not authenticated"),
        (Not(Group("ops")), ALICE, False, "in group 'ops'"),
    ],
)  # fmt: skip
def test_each_term_holds_when_it_should_and_says_why(tree: Criteria, info: AuthInfo, result: bool, phrase: str) -> None:
    assert (holds(tree, info), why(tree, info)) == (result, phrase)
