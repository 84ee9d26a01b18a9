"""Prefilter: it may let too much through, never too little."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings

from kumoaudit.core.event import Event
from kumoaudit.core.predicate import AnyText, Contains, FieldIn, Predicate, matches
from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.formats import FORMATS
from kumoaudit.segments.prefilter import Prefilter
from tests.strategies import events, predicates
from tests.support import event, stored


@pytest.mark.parametrize("format_name", sorted(FORMATS))
@settings(max_examples=400, deadline=None)
@given(a=events(), other=events(), predicate=predicates)
@example(event(user="\u212aarl"), event(), Contains("user", "karl"))
@example(event(user="x", detail={"a": 1e22}), event(), AnyText("10000000000000000000000"))
def test_a_line_that_matches_passes_alone_and_in_a_block(
    format_name: str, a: Event, other: Event, predicate: Predicate
) -> None:
    form = FORMATS[format_name]
    line = form.encode(a)
    if matches(predicate, form.decode(line), 1):
        assert Prefilter(predicate).may_match(line[:-1])
        assert Prefilter(predicate).may_match(form.encode(other) + line + form.encode(other))


@settings(max_examples=200, deadline=None)
@given(a=events(), predicate=predicates)
def test_a_match_is_not_lost_when_another_writer_escapes_more_than_ours(a: Event, predicate: Predicate) -> None:
    form = FORMATS["native"]
    escaped = json.dumps(json.loads(form.encode(a))).replace("/", "\\/").encode()
    if matches(predicate, form.decode(escaped), 1):
        assert Prefilter(predicate).may_match(escaped)


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ("user = eve", True),
        ("user = bob", False),
        ("user = e*", True),
        ("user = *x*", False),
        ("severity >= WARNING", True),
        ("severity = VERBOSE", False),
        ("user = bob or user = eve", True),
        ("user = bob or host = nowhere", False),
        ("user = eve and tag = none", False),
        ("not user = eve", True),
        ("STEP", True),
        ("nonsense", False),
        ("detail.space = accounts", False),
        ("detail.n = 5", True),
        ("user = 'qx\"b'", False),
        ("peer in 10.0.0.0/8", True),
    ],
)
def test_blocks_without_the_words_of_the_question_are_passed_over(where: str, passes: bool) -> None:
    lines = b"\n".join(stored(event(n, user="eve", severity="ALARM")) for n in range(3)) + b"\n"

    assert Prefilter(parse_predicate(where)).may_match(lines) is passes


def test_an_id_is_found_in_any_case() -> None:
    line = stored(event(id="ABCDEFGH"))

    assert Prefilter(FieldIn("id", ("abcdefgh",))).may_match(line)
    assert not Prefilter(FieldIn("id", ("abcdefgx",))).may_match(line)
