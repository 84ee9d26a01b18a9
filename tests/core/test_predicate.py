"""The predicate language: reading, printing, meaning, and messages that show the place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from kumoaudit.core.errors import PredicateError
from kumoaudit.core.event import AuthInfo, Event, Identity
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
    matches,
    to_text,
)
from kumoaudit.core.predicate_text import parse_predicate, predicate_from_table
from tests.strategies import events, predicates
from tests.support import SECOND, T0, event


def takes(where: str, seq: int = 1, **fields: Any) -> bool:
    return matches(parse_predicate(where, now_ns=T0), event(**fields), seq)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", Always()),
        ("user = bob", FieldIn("user", ("bob",))),
        ("USER = bob", FieldIn("user", ("bob",))),
        ("user = 'it''s'", FieldIn("user", ("it's",))),
        ("user != bob", Not(FieldIn("user", ("bob",)))),
        ("user in (a, 'b c')", FieldIn("user", ("a", "b c"))),
        ("user = a or user = b", FieldIn("user", ("a", "b"))),
        ("type = custom_*", Glob("type", "custom_*")),
        ("type = custom_\\*", FieldIn("type", ("custom_*",))),
        ("description ~ Den", Contains("description", "Den")),
        ("refused", AnyText("refused")),
        ("'two words'", AnyText("two words")),
        ("peer in 10.0.0.0/8", Cidr("peer", "10.0.0.0/8")),
        ("severity >= alarm", Compare("severity", ">=", "ALARM")),
        ("seq > 5", Compare("seq", ">", 5)),
        ("detail.n >= 1.5", Compare("detail.n", ">=", 1.5)),
        ("not not user = a", FieldIn("user", ("a",))),
        ("a and b or c", AnyOf((AllOf((AnyText("a"), AnyText("b"))), AnyText("c")))),
        ("a and (b or c)", AllOf((AnyText("a"), AnyOf((AnyText("b"), AnyText("c")))))),
    ],
)
def test_texts_read_as_trees(text: str, tree: Predicate) -> None:
    assert parse_predicate(text) == tree


@settings(max_examples=400, deadline=None)
@given(predicate=predicates, a=events())
def test_what_is_printed_reads_back_with_the_same_meaning(predicate: Predicate, a: Event) -> None:
    again = parse_predicate(to_text(predicate))

    # An address that was given as text reads back as a network of one host, which also takes it with a port.
    if not _has_peer_text(predicate):
        assert matches(again, a, 1) == matches(predicate, a, 1)
    assert parse_predicate(to_text(again)) == again


def _has_peer_text(p: Predicate) -> bool:
    match p:
        case FieldIn("peer", _):
            return True
        case Not(term):
            return _has_peer_text(term)
        case AllOf(terms) | AnyOf(terms):
            return any(map(_has_peer_text, terms))
        case _:
            return False


@pytest.mark.parametrize("predicate", [AllOf(()), AnyOf(()), AllOf((Always(), AnyText("x"))), Not(Always())])
def test_trees_without_terms_print_as_what_they_mean(predicate: Predicate) -> None:
    for a in (event(description="x"), event(description="y")):
        assert matches(parse_predicate(to_text(predicate)), a) == matches(predicate, a)


@pytest.mark.parametrize(
    ("where", "fields", "expected"),
    [
        ("user = bob", {"user": "bob"}, True),
        ("user = bob", {"user": "Bob"}, False),
        ("user = ''", {"user": None}, True),
        ("user != bob", {"user": None}, True),
        ("user ~ OB", {"user": "bob"}, True),
        ("user = b*b", {"user": "blob\nb"}, True),
        ("id = 01ARZ3NDEKTSV4RRFFQ69G5FAV", {"id": "01arz3ndektsv4rrffq69g5fav"}, True),
        ("severity >= WARNING", {"severity": "ALARM"}, True),
        ("severity > WARNING", {"severity": "WARNING"}, False),
        ("outcome = deny", {"outcome": "deny"}, True),
        ("peer in 10.0.0.0/8", {"peer": "10.1.2.3:5678"}, True),
        ("peer in 10.0.0.0/8", {"peer": "::ffff:10.1.2.3"}, True),
        ("peer in 10.0.0.0/8", {"peer": "[::ffff:10.1.2.3]:99"}, True),
        ("peer in 10.0.0.0/8", {"peer": "unix"}, False),
        ("peer = 10.1.2.3", {"peer": "10.1.2.3:80"}, True),
        ("peer in (10.0.0.0/8, ::1)", {"peer": "::1"}, True),
        ("detail.space = bank", {"detail": {"space": "bank"}}, True),
        ("detail.space = bank", {"detail": {"space": ["shop", "bank"]}}, True),
        ("detail.a.b = 5", {"detail": {"a": [{"b": 4}, {"b": 5}]}}, True),
        ("detail.a >= 5", {"detail": {"a": 5}}, True),
        ("detail.a >= 5", {"detail": {"a": "text"}}, False),
        ("detail.none = ''", {"detail": {}}, True),
        ("metadata.X-Id = 7", {"metadata": {"x-id": ["6", "7"]}}, True),
        ("EVE", {"detail": {"deep": [{"who": "eve"}]}}, True),
        ("admins", {"auth_info": AuthInfo("::1", (Identity("a", "GenericAuth"),), ("admins",))}, True),
        ("nowhere", {}, False),
        ("seq = 1", {}, True),
        ("seq >= 2", {}, False),
    ],
)
def test_what_a_predicate_takes(where: str, fields: dict[str, Any], expected: bool) -> None:
    assert takes(where, **fields) is expected


def test_times_are_compared_as_points_and_ages() -> None:
    """`event()` without a number happened at T0, which is also the present of these predicates."""
    assert takes("time > 1h")
    assert not takes("time < 1h")
    assert takes("time >= 2026-09-21T14:13:20Z and time <= 2026-09-21T14:13:20Z")
    assert takes("time = 2026-09-21T14:13:20Z")
    assert not takes("time > now", time_ns=T0 - SECOND)


def test_a_table_is_all_of_its_fields_and_any_of_their_values() -> None:
    tree = predicate_from_table({"type": ["custom_a", "custom_b*"], "severity": "alarm"})

    assert matches(tree, event(type="custom_bx", severity="ALARM"))
    assert not matches(tree, event(type="custom_bx", severity="INFO"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user =", "ends too early at column 7"),
        ("(user = a", "ends too early"),
        ("user = a b", "join conditions with 'and' or 'or'"),
        ("usr = a", "did you mean 'user'?"),
        ("kind = autn", "did you mean 'authn'?"),
        ("severity >= LOUD", "values: VERBOSE INFO WARNING ALARM"),
        ("user > 5", "for text use"),
        ("seq > many", "seq is a number"),
        ("peer in 10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("time > someday", "is not a time"),
        ("user in (a b)", "expected ',' or ')'"),
        ("and", "quote it to search for the word"),
        ("= a", "field operator value"),
        ("user = 'open", "cannot be read at column 8"),
        ("(" * 200 + "a" + ")" * 200, "parentheses"),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_place(text: str, says: str) -> None:
    with pytest.raises(PredicateError) as refused:
        parse_predicate(text)

    assert says in str(refused.value)


def test_a_filter_cannot_ask_for_a_number_that_is_not_there_yet() -> None:
    with pytest.raises(PredicateError, match="seq"):
        parse_predicate("seq > 5", allow_seq=False)
    with pytest.raises(PredicateError, match="seq"):
        predicate_from_table({"seq": 5})


@pytest.mark.parametrize("value", ["1h", "2 days ago", "now", "today", "yesterday"])
def test_a_filter_cannot_count_from_now(value: str) -> None:
    """It is read once and would stay at that day."""
    for text in (f"time > '{value}'", f"time = '{value}'", f"not time in ('{value}')"):
        with pytest.raises(PredicateError) as refused:
            parse_predicate(text, allow_seq=False)
        assert f"'{value}' counts from now" in str(refused.value)
        assert parse_predicate(text, now_ns=T0)


@pytest.mark.parametrize("value", ["2026-11-20", "2026-11-20 08:41", "2026-11-20T08:41:02Z"])
def test_a_filter_may_name_a_point_in_time(value: str) -> None:
    assert parse_predicate(f"time > '{value}'", allow_seq=False) == parse_predicate(f"time > '{value}'", now_ns=T0)
