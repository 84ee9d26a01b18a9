"""Names of segments: `<prefix>-YYYYMMDD-HHMMSS.nnnnnnnnn` in UTC, with `.1`, `.2` ... on a clash."""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

NS = 1_000_000_000

# What is ours but no segment lies here, out of the way of other readers: lock, description, repairs.
HIDDEN = ".kumoaudit"

NAME_RULE = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")

_SEGMENT = re.compile(
    r"(?P<prefix>.+)-(?P<day>\d{8})-(?P<time>\d{6})(?:\.(?P<fraction>\d{3}|\d{6}|\d{9}))?(?:\.(?P<clash>\d{1,6}))?"
)


class SegmentName(NamedTuple):
    """The parts of a segment's name that order it: when it was begun, and which of several in the same instant."""

    prefix: str
    began: str
    clash: int


def segment_name(prefix: str, time_ns: int, clash: int = 0) -> str:
    """The name of a segment begun at *time_ns* (always nine digits of fraction: one form of KumoMTA's, D9)."""
    second, fraction = divmod(time_ns, NS)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(second))
    return f"{prefix}-{stamp}.{fraction:09d}" + (f".{clash}" if clash else "")


def parse_segment_name(name: str) -> SegmentName | None:
    """The parts of a segment's name, KumoMTA's own included (fraction of 0, 3, 6 or 9 digits); None for other files."""
    m = _SEGMENT.fullmatch(name)
    if not m:
        return None
    began = f"{m['day']}{m['time']}.{(m['fraction'] or '').ljust(9, '0')}"
    return SegmentName(m["prefix"], began, int(m["clash"] or 0))


def began_ns(name: str) -> int:
    """When the segment of this name was begun, nanoseconds since 1970; 0 for a name that is not a segment's."""
    parsed = parse_segment_name(name)
    if parsed is None:
        return 0
    try:
        import calendar

        seconds = calendar.timegm(time.strptime(parsed.began[:14], "%Y%m%d%H%M%S"))
    except ValueError:
        return 0
    return seconds * NS + int(parsed.began[15:])


def hidden(directory: str, *names: str) -> str:
    """A path in the directory that holds what is ours beside the segments."""
    return os.path.join(directory, HIDDEN, *names)
