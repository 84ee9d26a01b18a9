"""Names of segments: ours are written and read back, KumoMTA's are understood, others are left alone."""

from __future__ import annotations

import pytest

from kumoaudit.segments.naming import NAME_RULE, SegmentName, began_ns, hidden, parse_segment_name, segment_name

_TIME = 1_790_000_000_123_456_789


def test_a_name_has_the_time_in_utc_with_nine_digits() -> None:
    """Interface, section 8: `<prefix>-YYYYMMDD-HHMMSS.nnnnnnnnn`, UTC."""
    assert segment_name("acct", _TIME) == "acct-20260921-141320.123456789"
    assert segment_name("acct", _TIME, 3) == "acct-20260921-141320.123456789.3"


@pytest.mark.parametrize("clash", [0, 1, 17])
@pytest.mark.parametrize("prefix", ["acct", "a-20260101-000000", "x.y"])
def test_what_is_named_is_recognised(prefix: str, clash: int) -> None:
    name = segment_name(prefix, _TIME, clash)

    assert parse_segment_name(name) == SegmentName(prefix, "20260921141320.123456789", clash)
    assert began_ns(name) == _TIME


@pytest.mark.parametrize(("name", "fraction"), [("a-20260921-133320", "0" * 9), ("a-20260921-133320.123", "123000000")])
def test_the_fractions_that_kumomta_writes_are_understood(name: str, fraction: str) -> None:
    """KumoMTA writes 0, 3, 6 or 9 digits (its D9)."""
    parsed = parse_segment_name(name)

    assert parsed is not None
    assert parsed.began == f"20260921133320.{fraction}"


@pytest.mark.parametrize(
    "name", ["", "acct", "acct-2026-09-21", "acct-20260921-133320.tmp", "acct-20260921-133320.zst"]
)
def test_other_files_are_no_segments(name: str) -> None:
    assert parse_segment_name(name) is None
    assert began_ns(name) == 0


def test_a_name_of_no_real_day_has_no_beginning() -> None:
    assert began_ns("a-20261399-999999") == 0


def test_later_segments_sort_behind_earlier_ones() -> None:
    names = [segment_name("a", _TIME + n, c) for n in (0, 1, 10**9) for c in (0, 1, 2, 10)]

    assert sorted(names, key=lambda n: (parse_segment_name(n) or ("",))[1:]) == names


@pytest.mark.parametrize("name", ["..", ".a", "a/b", "", "a" * 65, "a b", "a\n"])
def test_names_of_logs_cannot_leave_their_directory(name: str) -> None:
    """Reliability, section 8."""
    assert not NAME_RULE.fullmatch(name)


def test_what_is_ours_lies_in_a_hidden_directory() -> None:
    assert hidden("/log", "lock") == "/log/.kumoaudit/lock"
