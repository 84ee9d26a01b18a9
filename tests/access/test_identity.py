"""AuthInfo from plain data, its text form and its summary (KumoMTA, section 3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from kumoaudit.access.identity import INTERNAL, LOCAL_SYSTEM, TRUSTED, auth_info_of, joined, summary, text_of
from kumoaudit.core.errors import ConfigError
from kumoaudit.core.event import CONTEXTS, AuthInfo, Identity

AT = "policy.lua:9: kumo.aaa.query_resource_access"
ALICE = Identity("alice", "HttpBasicAuth")


def test_every_field_is_read() -> None:
    info = auth_info_of(
        {
            "peer_address": "192.0.2.10",
            "identities": [{"identity": "alice", "context": "HttpBasicAuth"}],
            "groups": ["ops", "dev"],
        },
        AT,
    )

    assert info == AuthInfo("192.0.2.10", (ALICE,), ("ops", "dev"))


@pytest.mark.parametrize(
    "empty",
    [
        {},
        [],
        {"groups": [], "identities": []},
        {"groups": {}, "identities": {}},
        {"peer_address": None, "groups": None},
    ],
)
def test_an_empty_table_is_an_empty_list(empty: Any) -> None:
    """In KumoMTA `groups = {}` from a handler is a 500 (the empty-table trap)."""
    assert auth_info_of(empty, AT) == AuthInfo()


def test_an_auth_info_passes_as_it_is() -> None:
    assert auth_info_of(LOCAL_SYSTEM, AT) is LOCAL_SYSTEM
    assert AuthInfo("127.0.0.1", (Identity(INTERNAL, "LocalSystem"),)) == LOCAL_SYSTEM


@pytest.mark.parametrize("context", CONTEXTS)
def test_each_context_is_taken(context: str) -> None:
    info = auth_info_of({"identities": [{"identity": "a", "context": context}]}, AT)

    assert info.identities == (Identity("a", context),)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [("0::1", "::1"), ("2001:DB8::", "2001:db8::"), ("::FFFF:10.0.0.1", "::ffff:10.0.0.1"), ("10.0.0.1", "10.0.0.1")],
)
def test_a_peer_is_kept_in_its_canonical_form(given: str, canonical: str) -> None:
    assert auth_info_of({"peer_address": given}, AT).peer_address == canonical


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "auth_info: expected a table, got nil"),
        ("alice", 'auth_info: expected a table, got "alice"'),
        ([None, [], ["g"]], "auth_info: expected named fields, got an array"),
        ({"group": ["ops"]}, "auth_info: unknown field 'group'\n  did you mean 'groups'?"),
        ({"peer_address": "10.0.0.1:80"}, "write the address alone: 10.0.0.1"),
        ({"peer_address": "[::1]:80"}, "write the address alone: ::1"),
        ({"peer_address": "10.0.0"}, "'10.0.0' is not an IP address"),
        ({"peer_address": "10.0.0.01"}, "'10.0.0.01' is not an IP address"),
        ({"peer_address": "fe80::1%2"}, "write it without the scope: fe80::1"),
        ({"peer_address": 10}, "expected the text of an IP address, got 10"),
        ({"groups": "ops"}, 'auth_info.groups: expected an array, got "ops"'),
        ({"groups": [1]}, "auth_info.groups[1]: expected a text, got 1"),
        ({"identities": ["alice"]}, 'auth_info.identities[1]: expected a table, got "alice"'),
        ({"identities": [{"identity": "a"}]}, "auth_info.identities[1]: missing field 'context'"),
        ({"identities": [{"context": "GenericAuth"}]}, "auth_info.identities[1]: missing field 'identity'"),
        ({"identities": [{"identity": "a", "context": "HttpBasic"}]}, "did you mean 'HttpBasicAuth'?  (contexts: Smtp"),
        ({"identities": [{"identity": "a", "context": "httpbasicauth"}]}, "unknown context 'httpbasicauth'"),
        ({"identities": [{"name": "a", "context": "GenericAuth"}]}, "unknown field 'name'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as e:
        auth_info_of(value, AT)
    assert said in str(e.value)
    assert all(p.where == AT for p in e.value.problems)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as e:
        auth_info_of({"group": [], "peer_address": "x", "groups": [1, "a", 2], "identities": [{}, 1]}, AT)

    assert len(e.value.problems) == 7


@pytest.mark.parametrize(
    ("info", "text", "short"),
    [
        (AuthInfo("1.2.3.4"), "<Unauthenticated>@ ip=1.2.3.4", "1.2.3.4"),
        (AuthInfo(), "<Unauthenticated>", ""),
        (AuthInfo("1.2.3.4", (), (TRUSTED,)), "<Unauthenticated>@ ip=1.2.3.4", "1.2.3.4"),
        (AuthInfo("1.2.3.4", (Identity("a", "BearerToken"), Identity("b", "GenericAuth"))), "id=[a, b]@ ip=1.2.3.4", "a"),
        (AuthInfo("::1", (Identity("a", "BearerToken"), Identity("b", "HttpBasicAuth"))), "id=[a, b]@ ip=::1", "b"),
        (AuthInfo(None, (ALICE,)), "id=[alice]", "alice"),
    ],
)  # fmt: skip
def test_the_text_and_the_summary_are_those_of_kumomta(info: AuthInfo, text: str, short: str) -> None:
    assert (text_of(info), summary(info)) == (text, short)


def test_an_answer_joins_what_the_connection_is_and_its_peer_is_ignored() -> None:
    base = AuthInfo("10.0.0.1", (), (TRUSTED,))

    assert joined(base, AuthInfo("6.6.6.6", (ALICE,), ("ops",))) == AuthInfo("10.0.0.1", (ALICE,), (TRUSTED, "ops"))
