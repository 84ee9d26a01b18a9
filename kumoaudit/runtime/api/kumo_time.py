"""The clock and the parsers behind `kumo.time.*`; the objects themselves are Lua's (lua/kumoaudit/api/time.lua)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.core.units import NS, parse_duration_ns
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# RFC 2822 section 4.3; letters of the military zones say nothing reliable, so only Z is taken.
_ZONES = {
    "ut": 0, "gmt": 0, "z": 0, "edt": -4, "est": -5, "cdt": -5, "cst": -6, "mdt": -6, "mst": -7, "pdt": -7, "pst": -8,
}  # fmt: skip
_RFC2822 = re.compile(
    r"(?:(?P<weekday>[a-z]{3})\s*,\s*)?(?P<day>\d{1,2})\s+(?P<month>[a-z]{3})\s+(?P<year>\d{2,})\s+"
    r"(?P<hour>\d\d)\s*:\s*(?P<minute>\d\d)(?:\s*:\s*(?P<second>\d\d))?\s+(?:(?P<sign>[+-])(?P<zh>\d\d)(?P<zm>\d\d)|(?P<zone>[a-z]+))"
)
_COMMENT = re.compile(r"\([^()]*\)")


def exports(host: PolicyHost) -> dict[str, Export]:
    """Nothing that a policy calls itself; the functions go to the host's own Lua."""

    def now() -> tuple[int, int]:
        return divmod(host.pipeline.clock.now_ns(), NS)

    def monotonic() -> float:
        return host.pipeline.clock.monotonic_ns() / NS

    def parse(kind: bytes, given: bytes) -> tuple[int, int] | tuple[None, None, bytes]:
        try:
            return divmod(_PARSERS[kind](text(given)), NS)
        except (ValueError, OverflowError) as e:
            return None, None, str(e).encode()

    def timer_done(label: bytes, seconds: float) -> None:
        host.timers.observe(text(label), seconds)

    host.python[b"time_now"] = host.guard(now)
    host.python[b"monotonic"] = host.guard(monotonic)
    host.python[b"time_parse"] = host.guard(parse)
    host.python[b"timer_done"] = host.guard(timer_done)
    return {}


def parse_rfc2822(given: str) -> int:
    """Nanoseconds since 1970 UTC of `Sun, 2 Jan 2000 03:04:05 +0000`. ValueError when it is none.

    Weekday and seconds may be missing, comments in parentheses are passed over, years of two and three digits and the
    zones' old names are read as RFC 2822 section 4 says. A weekday that does not fit its date is refused.
    """
    from datetime import UTC, datetime

    m = _RFC2822.fullmatch(_COMMENT.sub(" ", given).strip().lower())
    if not m or m["month"] not in _MONTHS or (m["zone"] and m["zone"] not in _ZONES):
        raise ValueError(f"not an RFC 2822 time: {given!r}\n  expected: 'Sun, 2 Jan 2000 03:04:05 +0000'")
    year = int(m["year"])
    if len(m["year"]) < 4:
        year += 2000 if len(m["year"]) == 2 and year < 50 else 1900
    second = int(m["second"] or 0)
    leap = second == 60  # a leap second counts as the last of its minute
    try:
        at = datetime(
            year,
            _MONTHS.index(m["month"]) + 1,
            int(m["day"]),
            int(m["hour"]),
            int(m["minute"]),
            59 if leap else second,
            tzinfo=UTC,
        )
    except ValueError as e:
        raise ValueError(f"not an RFC 2822 time: {given!r}: {e}") from None
    if m["weekday"] and m["weekday"] != _DAYS[at.weekday()]:
        raise ValueError(f"not an RFC 2822 time: {given!r}: that day is a {at:%A}")
    offset = _ZONES.get(m["zone"] or "", 0) * 3600
    if m["sign"]:
        offset = (int(m["zh"]) * 3600 + int(m["zm"]) * 60) * (-1 if m["sign"] == "-" else 1)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds - offset) * NS


_PARSERS = {b"rfc3339": parse_rfc3339, b"rfc2822": parse_rfc2822, b"duration": parse_duration_ns}
