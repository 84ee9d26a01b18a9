"""Hostile text: never raises, never acts on a terminal, never makes a line unreadable."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.text import clean, clean_value, decode, printable, printable_lines

any_text = st.text(st.characters(), max_size=20)
any_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text, st.binary(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(any_text, inner, max_size=3)),
    max_leaves=10,
)


def test_bytes_that_are_no_text_are_shown_one_by_one() -> None:
    assert decode(b"a\xff\xc3\xa9\xfe") == "a\\xff\u00e9\\xfe"


@given(st.binary(max_size=50))
def test_decoding_never_raises_and_gives_text_that_can_be_written(raw: bytes) -> None:
    assert decode(raw).encode().decode() == decode(raw)


@given(st.text(st.characters(categories=["L", "N", "Cs"]), max_size=20))
def test_clean_text_can_always_be_written(text: str) -> None:
    assert clean(text).encode().decode() == clean(text)


def test_a_byte_that_python_smuggled_in_is_shown_as_that_byte() -> None:
    assert clean(b"a\xff".decode("utf-8", "surrogateescape")) == "a\\xff"
    assert clean("\ud800") == "\\ud800"


@given(any_value)
def test_any_value_becomes_one_that_every_json_writer_takes(value: Any) -> None:
    cleaned = clean_value(value)

    assert orjson.loads(orjson.dumps(cleaned)) == cleaned
    assert json.loads(json.dumps(cleaned)) == cleaned


def test_what_lies_too_deep_is_cut_and_not_lost_with_all_the_rest() -> None:
    value: Any = "bottom"
    for _ in range(10_000):
        value = [value]

    assert b"<depth>" in orjson.dumps(clean_value(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.nan, "nan"), (math.inf, "inf"), (1 << 70, str(1 << 70)), (b"\xff", "\\xff"), (True, True), ((1, 2), [1, 2])],
)
def test_values_that_json_has_no_word_for(value: object, expected: object) -> None:
    assert clean_value(value) == expected


def test_keys_are_sorted_so_that_equal_structs_make_equal_lines() -> None:
    assert list(clean_value({"b": 1, "a": 2})) == ["a", "b"]


@given(any_text)
def test_printable_text_holds_nothing_that_acts_on_a_terminal(text: str) -> None:
    shown = printable(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200e\u200f\u061c\ufeff")


def test_ordinary_text_is_shown_as_it_is() -> None:
    assert printable("Zoë 東京 \U0001f600 [red]") == "Zoë 東京 \U0001f600 [red]"


def test_a_message_keeps_its_lines_and_nothing_else_that_acts() -> None:
    assert printable_lines("a\x1b[31m\n\tb\u202e\r") == "a\\x1b[31m\n        b\\u202e\\r"
