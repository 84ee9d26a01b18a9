"""`kumo.time`: KumoMTA's Time and TimeDelta objects, its parsers, its timer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.policies import Inside, run_policy
from tests.runtime.conftest import SetClock
from tests.support import vectors

Lua = Callable[..., Any]


def test_the_documented_example_of_with_ymd_hms_holds(tmp_path: Path) -> None:
    """KumoMTA docs, kumo.time/with_ymd_hms.md, run as a script by the real command."""
    ran = run_policy(
        tmp_path,
        """
        local kumo = require 'kumo'
        local utils = require 'policy-extras.policy_utils'
        kumo.on('main', function(year)
          local t = kumo.time.with_ymd_hms(tonumber(year), 01, 02, 03, 04, 05)
          utils.assert_eq(tostring(t), '2000-01-02 03:04:05 UTC')
          utils.assert_eq(t.year, 2000)
          utils.assert_eq(t.month, 1)
          utils.assert_eq(t.day, 2)
          utils.assert_eq(t.hour, 3)
          utils.assert_eq(t.minute, 4)
          utils.assert_eq(t.second, 5)
          utils.assert_eq(t.unix_timestamp, 946782245)
          utils.assert_eq(t.rfc2822, 'Sun, 2 Jan 2000 03:04:05 +0000')
          utils.assert_eq(t.rfc3339, '2000-01-02T03:04:05+00:00')
          print 'all hold'
          utils.assert_eq(t, kumo.time.now())
        end)
        """,
        script_args=("2000",),
    )

    assert ran.out == "all hold\n"
    assert ran.code == 1
    assert ran.err.startswith("policy.lua:17: expected\n2000-01-02 03:04:05 UTC\n == \n")


def test_now_and_elapsed_are_the_clocks_to_the_nanosecond(host: Callable[[str], Inside], clock: SetClock) -> None:
    running = host(
        "local t = kumo.time.now()\n"
        "kumo.on('go', function() return tostring(t), t.elapsed.nanoseconds, kumo.time.now() - t == t.elapsed end)"
    ).host
    clock.now += 12_345_678_901

    assert running.call("go") == ["2026-09-21 14:13:20 UTC", 12_345_678_901, True]


def test_arithmetic_keeps_nanoseconds_that_a_double_cannot_hold(lua: Lua) -> None:
    assert lua(
        """
        local t = kumo.time.parse_rfc3339 '2026-11-20T08:41:02.123456789Z'
        local ns = kumo.time.parse_duration '1ns'
        local later = t + ns + kumo.time.parse_duration '200 days'
        local delta = later - t
        return tostring(later), tostring(delta.nanoseconds), delta.milliseconds, (later - delta) == t, t < later,
          t.unix_timestamp, t.unix_timestamp_millis, (t - later).nanoseconds == -delta.nanoseconds, t == 5
        """
    ) == [
        "2027-06-08 08:41:02.123456790 UTC",
        "17280000000000001LL",
        17_280_000_000,
        True,
        True,
        1_795_164_062,
        1_795_164_062_123,
        True,
        False,
    ]


def test_a_delta_shows_itself_in_every_unit(lua: Lua) -> None:
    assert lua(
        """
        local d = kumo.time.parse_duration(-90.5)
        return d.seconds, d.milliseconds, d.microseconds, d.nanoseconds, d.human, tostring(-d),
          kumo.time.parse_duration(0).human, kumo.time.parse_duration '400 days 26h 1ms 2us 3ns'.human,
          kumo.time.parse_duration '1h' - kumo.time.parse_duration '5m' == kumo.time.parse_duration(3300),
          kumo.serde.json_encode { kumo.time.parse_duration '1500ms', kumo.time.from_unix_timestamp(1.5) }
        """
    ) == [
        -90.5,
        -90_500,
        -90_500_000,
        -90_500_000_000,
        "-1m 30s 500ms",
        "1m 30s 500ms",
        "0s",
        "1year 1month 5days 9h 26m 24s 1ms 2us 3ns",
        True,
        '[1.5,"1970-01-01T00:00:01.500+00:00"]',
    ]


@pytest.mark.parametrize("case", vectors("kumomta_acl.json")["durations"], ids=lambda c: repr(c["input"]))
def test_every_duration_of_the_vectors_is_read_alike(case: dict[str, Any], lua: Lua) -> None:
    """KumoMTA section 5.6; numbers of either sign are `parse_duration`'s own addition."""
    ok, seconds = lua(
        "local ok, d = pcall(kumo.time.parse_duration, (...)); return ok, ok and d.seconds or false", case["input"]
    )

    if case.get("error") and isinstance(case["input"], str):
        assert not ok
    else:
        assert seconds == (case["seconds"] if "seconds" in case else case["input"])


def test_both_parsers_read_zones_and_refuse_what_is_no_time(lua: Lua) -> None:
    assert lua(
        """
        local function rfc2822(text)
          local ok, t = pcall(kumo.time.parse_rfc2822, text)
          return ok and t.unix_timestamp
        end
        local function rfc3339(text)
          local ok, t = pcall(kumo.time.parse_rfc3339, text)
          return ok and t.rfc3339
        end
        return {
          rfc2822 'Sun, 2 Jan 2000 03:04:05 +0000', rfc2822 '02 Jan 2000 03:04 -0130 (a comment)', rfc2822 '2 Jan 00 03:04:05 EST',
          rfc2822 'Sun, 02 Jan 2000 03:04:60 GMT', rfc2822 'Mon, 2 Jan 2000 03:04:05 +0000', rfc2822 '30 Feb 2000 03:04:05 +0000',
          rfc2822 'yesterday', rfc2822 '2 Jan 2000 03:04:05',
        }, {
          rfc3339 '2026-11-20T08:41:02+03:00', rfc3339 '9999-12-31T23:59:59.5Z', rfc3339 '1583-01-01T00:00:00Z', rfc3339 '2026-11-20',
          rfc3339 '2026-13-20T08:41:02Z',
        }
        """
    ) == [
        [946782245, 946787640, 946800245, 946782299, False, False, False, False],
        ["2026-11-20T05:41:02+00:00", "9999-12-31T23:59:59.500+00:00", "1583-01-01T00:00:00+00:00", False, False],
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("%Y-%m-%dT%H:%M:%S%.f%:z", "2027-01-03T00:05:09.012300+00:00"),
        ("%C %y %b %B %h %e %-d %_d %0e", "20 27 Jan January Jan  3 3  3 03"),
        ("%a %A %w %u %U %W %j", "Sun Sunday 0 7 01 00 003"),
        ("%G-W%V-%u %g", "2026-W53-7 26"),
        ("%I:%M %p %P %l %k", "12:05 AM am 12  0"),
        ("%f %3f %6f %9f %.3f %.6f %.9f", "012300000 012 012300 012300000 .012 .012300 .012300000"),
        ("%D %x %F %v %R %T %X %r", "01/03/27 01/03/27 2027-01-03  3-Jan-2027 00:05 00:05:09 00:05:09 12:05:09 AM"),
        (
            "%c|%s|%Z|%z|%::z|%+",
            "Sun Jan  3 00:05:09 2027|1798934709|UTC|+0000|+00:00:00|2027-01-03T00:05:09.012300+00:00",
        ),
        ("100%% %t%n.", "100% \t\n."),
    ],
)
def test_format_follows_chronos_strftime(spec: str, expected: str, lua: Lua) -> None:
    assert lua("return kumo.time.parse_rfc3339 '2027-01-03T00:05:09.0123Z':format(...)", spec) == [expected]


def test_dates_agree_with_the_calendar_of_python_over_the_centuries(lua: Lua) -> None:
    from datetime import UTC, datetime

    seconds = [s * 86_400 * 1231 + 12_345 * s for s in range(-110, 2300, 7)]
    expected = [datetime.fromtimestamp(s, UTC) for s in seconds]

    assert lua(
        """
        local out = {}
        for i, s in ipairs((...)) do
          local t = kumo.time.from_unix_timestamp(s)
          assert(kumo.time.with_ymd_hms(t.year, t.month, t.day, t.hour, t.minute, t.second) == t)
          out[i] = t:format '%Y-%m-%d %H:%M:%S %a %j %U %W %G %V %I'
        end
        return out
        """,
        seconds,
    ) == [[f"{e:%Y-%m-%d %H:%M:%S %a %j %U %W %G %V %I}" for e in expected]]


def test_a_timer_gives_seconds_once_and_counts_them_under_its_label(
    host: Callable[[str], Inside], clock: SetClock
) -> None:
    running = host(
        "local timer = kumo.time.start_timer 'look-up'\n"
        "kumo.on('go', function() return timer:done(), timer:done() == nil end)"
    ).host
    clock.move(0.07)

    (seconds, again), snapshot = running.call("go"), running.timers.snapshot()

    assert (seconds, again) == (pytest.approx(0.07), True)
    count, total, buckets = snapshot["look-up"]
    assert (count, total) == (1, pytest.approx(0.07))
    assert buckets == (0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)


def test_sleep_has_one_implementation(lua: Lua) -> None:
    assert lua("return kumo.time.sleep == kumo.sleep") == [True]


def test_misuse_is_said_with_the_line_and_the_way_out(refused: Callable[..., list[str]]) -> None:
    assert refused(
        "kumo.time.parse_duration '5 parsecs'",
        "kumo.time.parse_duration {}",
        "kumo.time.from_unix_timestamp(0/0)",
        "kumo.time.with_ymd_hms(2026, 2, 29, 0, 0, 0)",
        "kumo.time.with_ymd_hms(2026, 2)",
        "kumo.time.now() + 5",
        "kumo.time.now() + kumo.time.now()",
        "kumo.time.now().yaer",
        "kumo.time.now():format '%Q'",
        "rawset(_G, 'x', kumo.time.now()) and (function() x.year = 1 end)()",
        "kumo.time.start_timer()",
        "kumo.time.from_unix_timestamp(1e300)",
    ) == [
        "kumo.time.parse_duration: unknown unit 'parsecs' in duration '5 parsecs'; units: ns us ms s m h d w M y",
        "kumo.time.parse_duration: expected a number of seconds or a text such as '5 minutes', got a table",
        "kumo.time.from_unix_timestamp: expected a number of seconds, got nan",
        "kumo.time.with_ymd_hms: day 29 is not 1..28",
        "kumo.time.with_ymd_hms: day: expected a whole number, got nil",
        "to a Time only a TimeDelta can be added, got 5\n  write: time + kumo.time.parse_duration(...)",
        "to a Time only a TimeDelta can be added, got a Time\n  write: time + kumo.time.parse_duration(...)",
        'Time has no field "yaer"\n  fields: year, month, day, hour, minute, second, unix_timestamp, '
        "unix_timestamp_millis, rfc2822, rfc3339, elapsed; method: format",
        "Time:format: '%Q' is no specifier of strftime (at byte 1); a percent sign is written %%",
        'Time: field "year" cannot be set',
        "kumo.time.start_timer: expected a label, got nil",
        "kumo.time: the result is out of range",
    ]
