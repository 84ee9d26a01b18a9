"""A line that is only filled in, because one like it was written before, is the line that is written from nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kumoaudit.access.acl import Decision, rule
from kumoaudit.access.criteria import Anyone, Group, Individual, Not
from kumoaudit.access.records import authentication_event, decision_event
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.text import Plain
from kumoaudit.formats.kumo import KumoFormat
from kumoaudit.formats.native import NativeFormat
from tests.strategies import times
from tests.support import T0

KUMO, NATIVE = KumoFormat(), NativeFormat()

# What JSON escapes, what it cannot hold, and what looks like a part of a line.
hostile = st.text(st.sampled_from('ak5 "\\/\n\x00\x7fé\u202e\U0001f600\ud800\udcff{}:,'), max_size=8)
names = st.lists(hostile, max_size=3).map(tuple)
infos = st.builds(AuthInfo, st.none() | hostile, st.lists(st.builds(Identity, hostile, hostile)).map(tuple), names)
criteria = st.one_of(st.just(Anyone()), st.builds(Group, hostile), st.builds(Not, st.builds(Individual, hostile)))
rules = st.builds(rule, criteria, hostile, st.booleans(), hostile)
decisions = st.builds(
    Decision, st.booleans(), st.none() | hostile, st.none() | rules, hostile, names, names, hostile, infos
)
ids = st.one_of(
    hostile, st.sampled_from(["01M7WQGFZH70YRPBXS41XVVCRK", "é", "0", "0b6ef9b1-5bd0-4d2b-a5a1-5ad4d7a3b1c0"])
)
moments = st.lists(st.tuples(times, ids, ids), min_size=3, max_size=5)


def from_nothing(event: Event) -> Event:
    """*event* with a detail that nothing is known of."""
    return replace(event, detail=dict(event.detail or {}))


def both_ways(events: list[Event]) -> list[tuple[bytes, bytes]]:
    return [(form.encode(e), form.encode(from_nothing(e))) for e in events for form in (KUMO, NATIVE)]


@settings(max_examples=200, deadline=None)
@given(decisions, moments, hostile)
def test_a_decision_that_comes_again_is_written_as_the_first_time(
    decision: Decision, moments: list[tuple[int, str, str]], node: str
) -> None:
    events = [
        decision_event(decision, id=id, time_ns=time_ns, node=node, request={"request_id": request_id})
        for time_ns, id, request_id in moments
    ]

    assert all(again == first for again, first in both_ways(events))


@settings(max_examples=200, deadline=None)
@given(hostile, hostile, infos, moments, hostile)
def test_a_login_that_comes_again_is_written_as_the_first_time(
    user: str, context: str, info: AuthInfo, moments: list[tuple[int, str, str]], node: str
) -> None:
    events = [
        authentication_event(
            Identity(user, context), True, info, id=id, time_ns=time_ns, node=node, request={"request_id": request_id}
        )
        for time_ns, id, request_id in moments
    ]

    assert all(again == first for again, first in both_ways(events))


def repeated(id: str = "A1", request_id: str = "R1") -> Event:
    info = AuthInfo("192.0.2.1", (Identity("eve", "HttpBasicAuth"),))
    return authentication_event(
        info.identities[0], True, info, id=id, time_ns=T0, node="alpha", request={"request_id": request_id}
    )


def test_the_third_line_of_a_login_is_filled_in() -> None:
    first, second, third = (repeated(f"A{n}", f"R{n}") for n in range(3))
    KUMO.encode(first), KUMO.encode(second)

    assert KUMO.again(third) == KUMO.encode(from_nothing(third))


@pytest.mark.parametrize(
    "change",
    [
        {"node": "beta"}, {"outcome": "fail"}, {"auth_info": AuthInfo("192.0.2.2")}, {"auth_info": None},
        {"type": "custom", "kind": "custom"}, {"detail": {"attempted_identity": None}}, {"detail": None},
        {"user": "mallory"}, {"module": "m"}, {"id": ""}, {"id": 'a"b'},
    ],
)  # fmt: skip
def test_an_event_that_was_changed_is_written_as_it_is(change: dict[str, Any]) -> None:
    for n in range(3):
        KUMO.encode(repeated(f"A{n}"))
    changed = replace(repeated(), **change)

    assert KUMO.encode(changed) == KUMO.encode(from_nothing(changed) if changed.detail else changed)


def test_what_is_known_of_the_request_beside_its_id_is_written() -> None:
    info = AuthInfo("192.0.2.1")
    for n in range(3):
        about = {"request_id": f"R{n}", "method": "GET"}
        e = authentication_event(Identity("eve", "GenericAuth"), True, info, id="A", time_ns=T0, request=about)

        assert type(e.detail) is Plain
        assert f'"detail":{{"method":"GET","request_id":"R{n}"}}'.encode() in KUMO.encode(e)
