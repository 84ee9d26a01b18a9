"""What a reading of logs covered, and what it could not read: a reader reports here and never raises for bad data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kumoaudit.core.event import Event

# How many unreadable places are kept one by one; all are counted.
MAX_PLACES = 100

# How many places are recognised when they are reported again.
_REMEMBERED = 10_000

_NO_TIME = 1 << 62


class Unreadable(NamedTuple):
    """One place that gave no records: file, offset in it, why, how many lines are known to be affected (0: unknown).

    In a compressed file the offset is that of the frame; where there are no frames to name, the reason says that it
    counts bytes of the decompressed text.
    """

    file: str
    offset: int
    reason: str
    lines: int = 1

    def text(self) -> str:
        return f"{self.file} at {self.offset}: {self.reason}"


class Coverage:
    """Counts of one reading. One thread at a time. Times are nanoseconds since 1970, None before the first record."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.places: list[Unreadable] = []
        self.unread_places = 0
        self.unread_lines = 0
        self._gap_ids: set[str] = set()
        self.time_min_ns: int | None = None
        self.time_max_ns: int | None = None
        self._seen: set[tuple[str, int, str]] = set()

    @property
    def gaps(self) -> int:
        """Gaps recorded; a gap of one log is told in that log and in the default one, and is still one."""
        return len(self._gap_ids)

    def file(self, path: str) -> None:
        """*path* was opened and read, at least in part."""
        self.files[path] = None

    def unreadable(self, file: str, offset: int, reason: str, lines: int = 1) -> None:
        """Report a place once; *lines* is how many lines were lost to the reader there, 0 when nobody can know."""
        place = (file, offset, reason)
        if place in self._seen:
            return  # following a log looks at the same place again and again
        if len(self._seen) < _REMEMBERED:
            self._seen.add(place)
        self.unread_places += 1
        self.unread_lines += lines
        if len(self.places) < MAX_PLACES:
            self.places.append(Unreadable(file, offset, reason, lines))

    def times(self, first_ns: int, last_ns: int) -> None:
        """Records between these two times were looked at. Open ends (0, far future) are not times and are left out."""
        if first_ns > 0 and (self.time_min_ns is None or first_ns < self.time_min_ns):
            self.time_min_ns = first_ns
        if 0 < last_ns < _NO_TIME and (self.time_max_ns is None or last_ns > self.time_max_ns):
            self.time_max_ns = last_ns

    def event(self, event: Event) -> None:
        """A record was decoded."""
        self.times(event.time_ns, event.time_ns)
        if event.type == "audit_gap":
            self._gap_ids.add(event.id)


def merged(coverages: Iterable[Coverage]) -> Coverage:
    """The sum of several readings."""
    total = Coverage()
    for c in coverages:
        total.files.update(c.files)
        total.places.extend(c.places[: MAX_PLACES - len(total.places)])
        total.unread_places += c.unread_places
        total.unread_lines += c.unread_lines
        total._gap_ids |= c._gap_ids
        total.times(c.time_min_ns or 0, c.time_max_ns or 0)
    return total
