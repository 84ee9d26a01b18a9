"""Times as text: RFC 3339 in both directions, Tarantool's local form, and what people type."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

from kumoaudit.core.errors import UsageError
from kumoaudit.core.units import parse_duration_ns

NS = 1_000_000_000

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))"
)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?$")

# Begin and text of the last second asked (events come in runs). One object: a racing thread renders twice at worst, it
# never pairs a second with another's text.
_last = (0, "1970-01-01T00:00:00.")


def rfc3339(time_ns: int, *, least_digits: int = 3) -> str:
    """UTC with `Z` and the fewest of *least_digits*, 3, 6 or 9 decimals that are exact (0 <= time_ns)."""
    begin, text = _last
    fraction = time_ns - begin
    if not 0 <= fraction < NS:
        text, fraction = _begin_second(time_ns)
    if fraction % 1000:
        digits = str(fraction)
        return f"{text}{digits}Z" if len(digits) == 9 else f"{text}{digits:0>9}Z"
    if fraction % 1_000_000:
        return f"{text}{fraction // 1000:06d}Z"
    if fraction or least_digits:
        return f"{text}{fraction // 1_000_000:03d}Z"
    return f"{text[:-1]}Z"


def _begin_second(time_ns: int) -> tuple[str, int]:
    """The text of another second, with the point behind it, and the nanoseconds since it began."""
    global _last
    second, fraction = divmod(time_ns, NS)
    t = time.gmtime(second)
    text = f"{t.tm_year:04d}-{t.tm_mon:02d}-{t.tm_mday:02d}T{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}."
    _last = (second * NS, text)
    return text, fraction


def local_time(time_ns: int, zone: timezone | None = None) -> str:
    """`YYYY-MM-DDThh:mm:ss.mmm+hhmm` in *zone*, the machine's own by default (Tarantool's record, section 3)."""
    second, frac = divmod(time_ns, NS)
    at = datetime.fromtimestamp(second, zone) if zone else datetime.fromtimestamp(second).astimezone()
    return f"{at:%Y-%m-%dT%H:%M:%S}.{frac // 1_000_000:03d}{at:%z}"


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 UTC. Takes `Z`, `+03:00`, `+0300`, up to nine decimals. ValueError otherwise."""
    m = _RFC3339.fullmatch(text.strip())
    if not m:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    year, month, day, hour, minute, second = (int(m.group(i)) for i in range(1, 7))
    leap = second == 60  # a leap second counts as the last of its minute
    zone: timezone = UTC
    if m.group(9):
        offset = timedelta(hours=int(m.group(10)), minutes=int(m.group(11)))
        zone = timezone(-offset if m.group(9) == "-" else offset)
    at = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=zone)
    seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return seconds * NS + int((m.group(7) or "0").ljust(9, "0"))


def parse_when(text: str, now_ns: int) -> int:
    """A point in time as people type it: RFC 3339, `2026-11-20 [08:41[:02]]` (local), `now`, `today`, `yesterday`,
    or an age such as `1h`, `2 days` (that long before *now_ns*). UsageError names the accepted forms."""
    word = text.strip()
    if word == "now":
        return now_ns
    if word in ("today", "yesterday"):
        day = datetime.fromtimestamp(now_ns // NS).replace(hour=0, minute=0, second=0)
        if word == "yesterday":
            day -= timedelta(days=1)
        return int(day.timestamp()) * NS
    try:
        return parse_rfc3339(word)
    except ValueError:
        pass
    if m := _DATE.match(word):
        try:
            y, mo, d, h, mi, s = (int(g or 0) for g in m.group(1, 2, 3, 4, 5, 6))
            seconds = int(datetime(y, mo, d, h, mi, s).timestamp())
        except ValueError as e:
            raise UsageError(f"{text!r} is not a time: {e}") from None
        return seconds * NS + int((m.group(7) or "0").ljust(9, "0"))
    try:
        return now_ns - parse_duration_ns(word.removesuffix("ago").strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time\n  write an age (1h, '2 days'), yesterday, today, 2026-11-20, '2026-11-20 08:41' "
            "or an RFC 3339 time"
        ) from None
