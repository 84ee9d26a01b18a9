"""Durations, sizes and shares as operators write them -> numbers."""

from __future__ import annotations

import math
import re

import msgspec

NS = 1_000_000_000

# KumoMTA's durations (humantime): case counts, `M` is a month of 30.44 days, `m` a minute.
_UNITS: dict[str, int] = {}
for _names, _ns in (
    ("ns nsec nanos nanosecond nanoseconds", 1),
    ("us usec micros microsecond microseconds", 1_000),
    ("ms msec millis millisecond milliseconds", 1_000_000),
    ("s sec secs second seconds", NS),
    ("m min mins minute minutes", 60 * NS),
    ("h hr hrs hour hours", 3600 * NS),
    ("d day days", 86_400 * NS),
    ("w wk wks week weeks", 7 * 86_400 * NS),
    ("M month months", 2_630_016 * NS),
    ("y yr yrs year years", 31_557_600 * NS),
):
    for _name in _names.split():
        _UNITS[_name] = _ns

_PART = re.compile(r"(\d+)\s*([A-Za-z]+)\s*")

# A hundred years: far beyond use, and well inside what 64-bit nanoseconds hold when added to a time of today.
MAX_DURATION_NS = 100 * 31_557_600 * NS


def parse_duration_ns(value: object) -> int:
    """Nanoseconds of a number of seconds (whole or fraction) or a text such as `5 minutes`, `1h30m`, `250ms`.

    KumoMTA's rule (a text without unit, a sign or an empty text is refused). Raises ValueError with a text that
    says what would be accepted.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("expected a duration such as '5 minutes', '1h30m' or a number of seconds")
    if isinstance(value, (int, float)):
        if not math.isfinite(value) or value < 0:
            raise ValueError(
                f"a duration cannot be {value}; write a number of seconds >= 0 or a text such as '5 minutes'"
            )
        total = round(value * NS)
    else:
        text = value.strip()
        at = total = 0
        while m := _PART.match(text, at):
            unit = _UNITS.get(m.group(2))
            if unit is None:
                raise ValueError(f"unknown unit {m.group(2)!r} in duration {value!r}; units: ns us ms s m h d w M y")
            total += int(m.group(1)) * unit
            at = m.end()
        if not text or at != len(text):
            hint = f"; did you mean '{text}s'?" if text.isdigit() else ""
            raise ValueError(f"{value!r} is not a duration such as '5 minutes', '1h30m' or '250ms'{hint}")
    if total > MAX_DURATION_NS:
        raise ValueError(f"duration {value!r} is too long")
    return total


def duration_text(ns: int) -> str:
    """The shortest exact text of a duration: `1h30m`, `250ms`, `0s`; parse_duration_ns reads it back."""
    out = []
    for name, unit in (
        ("d", 86_400 * NS),
        ("h", 3600 * NS),
        ("m", 60 * NS),
        ("s", NS),
        ("ms", 1_000_000),
        ("us", 1000),
        ("ns", 1),
    ):
        n, ns = divmod(ns, unit)
        if n:
            out.append(f"{n}{name}")
    return "".join(out) or "0s"


class Free(msgspec.Struct, frozen=True):
    """A lower limit of what must stay free: a share of the whole in percent, or an absolute number."""

    percent: int | None
    count: int | None


_PERCENT = re.compile(r"(\d{1,3})%")


def parse_free(value: object) -> Free:
    """`"N%"` with a whole N of 0..255, a whole number, or a decimal text (KumoMTA `min_free_space`, section 5.7).

    Everything else (`1GB`, `10 %`, `10.5%`, fractions, negatives, booleans) raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Free(None, value)
    if isinstance(value, float) and value.is_integer() and value >= 0:
        return Free(None, int(value))
    if isinstance(value, str):
        if (m := _PERCENT.fullmatch(value)) and int(m.group(1)) <= 255:
            return Free(int(m.group(1)), None)
        if value.isascii() and value.isdigit():
            return Free(None, int(value))
    raise ValueError(f"expected 'N%' with a whole N, or a whole number, got {value!r}")


def size_text(n: int) -> str:
    """A number of bytes for people: `1.05 MB`."""
    from humanfriendly import format_size

    return str(format_size(n))
