"""`cut_to`: a record that is too long is recorded all the same (reliability, section 5: event too big)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.spec import Plan
from kumoaudit.pipeline.encode import PythonEncoder, cut_to
from tests.support import event

_ENCODE = PythonEncoder(Plan()).line


def digest(text: str) -> dict[str, object]:
    return {"bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_an_event_that_fits_is_not_touched() -> None:
    whole = event(description="x" * 100)

    assert cut_to(whole, len(_ENCODE(whole)), _ENCODE) is whole


@pytest.mark.parametrize("character", ["x", "\u20ac", '"', "\x01", "\U0001f600"])
def test_the_longest_text_is_cut_and_keeps_its_size_and_hash(character: str) -> None:
    """As much of it is kept as has room, whatever its characters take."""
    text = character * 100_000

    cut = cut_to(event(description=text, user="alice"), 10_000, _ENCODE)

    assert 9_000 <= len(_ENCODE(cut)) <= 10_000
    assert text.startswith(cut.description)
    assert cut.user == "alice"
    assert cut.detail == {"truncated": {"description": digest(text)}}


def test_several_long_texts_are_cut_and_each_is_noted() -> None:
    long = {name: name[0] * 50_000 for name in ("description", "user", "tag")}

    cut = cut_to(event(**long), 3_000, _ENCODE)

    assert len(_ENCODE(cut)) <= 3_000
    assert cut.detail is not None
    assert cut.detail["truncated"] == {name: digest(text) for name, text in long.items()}


def test_a_bulky_detail_is_replaced_and_the_texts_are_left() -> None:
    text = "what happened, in a sentence of more than sixty-four characters, all of it"

    cut = cut_to(event(description=text, detail={"rows": ["x" * 100] * 1000}, metadata={"a": "b"}), 2_000, _ENCODE)

    assert len(_ENCODE(cut)) <= 2_000
    assert cut.description == text
    assert cut.detail is not None
    assert set(cut.detail["truncated"]) == {"detail", "metadata"}


def test_a_field_of_the_callers_own_called_truncated_does_no_harm() -> None:
    cut = cut_to(event(description="x" * 5000, detail={"truncated": "mine"}), 2_000, _ENCODE)

    assert len(_ENCODE(cut)) <= 2_000


@given(
    st.fixed_dictionaries(
        {
            "description": st.text(max_size=3000),
            "user": st.text(min_size=1, max_size=3000),
            "tag": st.none() | st.text(min_size=1, max_size=500),
            "detail": st.none() | st.dictionaries(st.text(max_size=20), st.text(max_size=2000), max_size=5),
        }
    )
)
def test_whatever_is_in_it_the_line_fits_afterwards(fields: dict[str, object]) -> None:
    assert len(_ENCODE(cut_to(event(**fields), 1_500, _ENCODE))) <= 1_500
