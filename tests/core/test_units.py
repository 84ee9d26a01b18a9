"""Durations, sizes and shares as operators write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.units import MAX_DURATION_NS, NS, Free, duration_text, parse_duration_ns, parse_free
from tests.support import vectors

DURATIONS = vectors("kumomta_acl.json")["durations"]


@pytest.mark.parametrize("case", DURATIONS, ids=lambda c: repr(c["input"]))
def test_durations_of_kumomta_mean_the_same_here(case: dict[str, Any]) -> None:
    """KumoMTA's durations, section 5.6 of its contract."""
    if case.get("error"):
        with pytest.raises(ValueError):
            parse_duration_ns(case["input"])
    else:
        assert parse_duration_ns(case["input"]) == case["seconds"] * NS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400),
        ("2 days", 172_800),
        ("1 month", 2_630_016),
        ("1M", 2_630_016),
        ("1y", 31_557_600),
        ("1w", 604_800),
    ],
)
def test_units_of_every_length(text: str, seconds: int) -> None:
    assert parse_duration_ns(text) == seconds * NS


@pytest.mark.parametrize(
    "value", ["", " ", "5", "-1s", "1.5h", "5 parsecs", "h", "5M5", "1H", True, None, [], math.nan, math.inf, "999999y"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_duration_ns(value)


def test_a_number_without_a_unit_gets_a_hint() -> None:
    with pytest.raises(ValueError, match="did you mean '90s'"):
        parse_duration_ns("90")


@given(st.integers(0, MAX_DURATION_NS))
def test_a_duration_reads_back_from_its_text(ns: int) -> None:
    assert parse_duration_ns(duration_text(ns)) == ns


@pytest.mark.parametrize(
    ("value", "free"),
    [
        ("10%", Free(10, None)),
        ("0%", Free(0, None)),
        ("255%", Free(255, None)),
        (500, Free(None, 500)),
        ("500", Free(None, 500)),
        (500.0, Free(None, 500)),
    ],
)
def test_limits_of_free_space_are_shares_or_numbers(value: object, free: Free) -> None:
    assert parse_free(value) == free


@pytest.mark.parametrize("value", ["1GB", "10 %", "10.5%", "256%", "-1", -1, 1.5, True, None, "", "%", "٣"])
def test_other_limits_are_refused(value: object) -> None:
    """KumoMTA `min_free_space`, section 5.7 of its contract."""
    with pytest.raises(ValueError):
        parse_free(value)
