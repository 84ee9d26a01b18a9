"""Times as text, exact to the nanosecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.errors import UsageError
from kumoaudit.core.timetext import NS, local_time, parse_rfc3339, parse_when, rfc3339

TIMES = st.integers(0, 4_102_444_800 * NS)
SAMPLE = 1_763_628_062_798_373_949


@given(TIMES)
def test_a_time_reads_back_from_its_text(time_ns: int) -> None:
    assert parse_rfc3339(rfc3339(time_ns)) == time_ns
    assert parse_rfc3339(rfc3339(time_ns, least_digits=0)) == time_ns


@pytest.mark.parametrize(
    ("time_ns", "text", "shortest"),
    [
        (SAMPLE, "2025-11-20T08:41:02.798373949Z", "2025-11-20T08:41:02.798373949Z"),
        (SAMPLE // 1000 * 1000, "2025-11-20T08:41:02.798373Z", "2025-11-20T08:41:02.798373Z"),
        (SAMPLE // NS * NS, "2025-11-20T08:41:02.000Z", "2025-11-20T08:41:02Z"),
        (0, "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_the_fewest_decimals_that_are_exact(time_ns: int, text: str, shortest: str) -> None:
    assert rfc3339(time_ns) == text
    assert rfc3339(time_ns, least_digits=0) == shortest


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_local_time_keeps_milliseconds_and_the_zone(time_ns: int, minutes: int) -> None:
    text = local_time(time_ns, timezone(timedelta(minutes=minutes)))

    assert parse_rfc3339(text) == time_ns // 1_000_000 * 1_000_000


@pytest.mark.parametrize(
    "text",
    ["2025-11-20T08:41:02+00:00", "2025-11-20 08:41:02z", "2025-11-20T11:41:02+0300", "2025-11-20T00:41:02.0-08:00"],
)
def test_rfc_3339_in_its_spellings(text: str) -> None:
    assert parse_rfc3339(text) == SAMPLE // NS * NS


def test_a_leap_second_counts_as_the_last_of_its_minute() -> None:
    assert rfc3339(parse_rfc3339("2016-12-31T23:59:60Z")) == "2016-12-31T23:59:59.000Z"


@pytest.mark.parametrize(
    "text", ["", "2025-11-20", "2025-13-01T00:00:00Z", "2025-11-20T08:41:02", "now", "2025-11-20T25:00:00Z"]
)
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_what_people_type() -> None:
    day = datetime.fromtimestamp(SAMPLE // NS).replace(hour=0, minute=0, second=0)

    assert parse_when("now", SAMPLE) == SAMPLE
    assert parse_when("1h", SAMPLE) == SAMPLE - 3600 * NS
    assert parse_when("2 days ago", SAMPLE) == SAMPLE - 2 * 86_400 * NS
    assert parse_when("today", SAMPLE) == int(day.timestamp()) * NS
    assert parse_when("yesterday", SAMPLE) == int((day - timedelta(days=1)).timestamp()) * NS
    assert parse_when("2025-11-20T08:41:02.798373949Z", 0) == SAMPLE
    assert parse_when("2025-11-20", 0) == int(datetime(2025, 11, 20).timestamp()) * NS
    assert parse_when("2025-11-20 08:41", 0) == int(datetime(2025, 11, 20, 8, 41).timestamp()) * NS


@pytest.mark.parametrize("text", ["", "soon", "2025-02-30", "5", "-1h", "2025-11-20 99:00"])
def test_what_nobody_can_mean_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_when(text, SAMPLE)


def test_the_present_year_is_within_range() -> None:
    now = int(datetime.now(UTC).timestamp()) * NS

    assert parse_rfc3339(rfc3339(now)) == now
