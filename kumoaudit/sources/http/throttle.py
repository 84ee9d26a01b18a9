"""Guesses of passwords: after ten failures a minute an address, and a name, has to wait (reliability, section 8)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

from kumoaudit.core.protocols import Clock

FAILURES = 10
WINDOW_NS = 60_000_000_000
_MOST_KEYS = 10_000


class Burst(NamedTuple):
    """A run of refused attempts: who (`peer` or `user`, and which), failures before it, attempts refused in it."""

    what: str
    who: str
    failures: int
    refused: int


class _Seen:
    """One address or one name."""

    __slots__ = ("failures", "refused")

    def __init__(self) -> None:
        self.failures: deque[int] = deque(maxlen=FAILURES)
        self.refused = 0


class Throttle:
    """Counts failed logins by address and by name. One thread (the listener's loop).

    An attempt that is refused does not count as a failure, so a caller who stops guessing is let in again a minute
    after the tenth failure before.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def wait_ns(self, peer: str, user: str) -> tuple[int, list[Burst]]:
        """How long an attempt from *peer* for *user* must wait (0: it may go on), and bursts that began with it."""
        now, longest, begun = self._clock.monotonic_ns(), 0, []
        for key in (("peer", peer), ("user", user)):
            seen = self._seen.get(key)
            if not key[1] or seen is None or len(seen.failures) < FAILURES:
                continue
            left = seen.failures[0] + WINDOW_NS - now
            if left > 0:
                longest = max(longest, left)
                seen.refused += 1
                if seen.refused == 1:
                    begun.append(Burst(*key, len(seen.failures), 1))
        return longest, begun

    def failed(self, peer: str, user: str) -> None:
        """A login failed."""
        now = self._clock.monotonic_ns()
        for key in (("peer", peer), ("user", user)):
            if not key[1]:
                continue
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = _Seen()
                if len(self._seen) > _MOST_KEYS:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(key)
            seen.failures.append(now)

    def over(self) -> list[Burst]:
        """Bursts that ended since the last call, with how many attempts each refused. Call it now and then."""
        now, ended = self._clock.monotonic_ns(), []
        for key, seen in list(self._seen.items()):
            if seen.refused and seen.failures[0] + WINDOW_NS <= now:
                ended.append(Burst(*key, len(seen.failures), seen.refused))
                seen.refused = 0
            if seen.failures[-1] + WINDOW_NS <= now:
                del self._seen[key]
        return ended
