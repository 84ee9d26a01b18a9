"""Guesses of passwords: after ten failures a minute an address, and a name, has to wait (reliability, section 8)."""

from __future__ import annotations

from collections import OrderedDict, deque

from kumoaudit.core.protocols import Clock
from kumoaudit.sources.http.limits import group_of

FAILURES = 10
WINDOW_NS = 60_000_000_000
_MOST_KEYS = 10_000


class Burst:
    """A run of refused attempts: `peer` and `user` are what was over its limit ("": was not), `id` its first record."""

    __slots__ = ("failures", "id", "keys", "peer", "refused", "user")

    def __init__(self) -> None:
        self.peer = self.user = self.id = ""
        self.failures = self.refused = 0
        self.keys: set[tuple[str, str]] = set()

    def take(self, key: tuple[str, str], failures: int) -> None:
        """Let the address or name *key* belong to it."""
        self.keys.add(key)
        self.failures = max(self.failures, failures)
        setattr(self, key[0], getattr(self, key[0]) or key[1])


class _Seen:
    """One address or one name."""

    __slots__ = ("burst", "failures")

    def __init__(self) -> None:
        self.failures: deque[int] = deque(maxlen=FAILURES)
        self.burst: Burst | None = None


class Throttle:
    """Counts failed logins by address (IPv6: by /64) and by name. One thread (the listeners' loop).

    An attempt that is refused does not count as a failure, so a caller who stops guessing is let in again a minute
    after the tenth failure before. An address and a name that are refused by the same attempt are one burst.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()
        self._bursts: list[Burst] = []

    def check(self, peer: str, user: str) -> tuple[int, Burst | None]:
        """How long in nanoseconds an attempt from *peer* for *user* must still wait, and the burst that it belongs to
        (`refused == 1`: it begins with this attempt); (0, None) when it may go on."""
        now, longest = self._clock.monotonic_ns(), 0
        over: list[tuple[tuple[str, str], _Seen]] = []
        for key in _keys(peer, user):
            seen = self._seen.get(key)
            if seen is None or len(seen.failures) < FAILURES:
                continue
            left = seen.failures[0] + WINDOW_NS - now
            if left > 0:
                longest = max(longest, left)
                over.append((key, seen))
        if not over:
            return 0, None
        burst = next((s.burst for _, s in over if s.burst is not None), None)
        if burst is None:
            burst = Burst()
            self._bursts.append(burst)
        burst.refused += 1
        for key, seen in over:
            if seen.burst is None:
                seen.burst = burst
                burst.take(key, len(seen.failures))
        return longest, burst

    def failed(self, peer: str, user: str) -> None:
        """A login failed."""
        now = self._clock.monotonic_ns()
        for key in _keys(peer, user):
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = _Seen()
                if len(self._seen) > _MOST_KEYS:
                    self._forget_one()
            self._seen.move_to_end(key)
            seen.failures.append(now)

    def _forget_one(self) -> None:
        # Names cost an attacker nothing: those that wait are not pushed out by new ones while there are others.
        for key, seen in self._seen.items():
            if seen.burst is None:
                del self._seen[key]
                return
        self._seen.popitem(last=False)

    def over(self, *, all_of_them: bool = False) -> list[Burst]:
        """Bursts that ended since the last call (or every one: the host stops), each once. Call it now and then."""
        now = self._clock.monotonic_ns()
        for key, seen in list(self._seen.items()):
            if seen.burst is not None and (seen.failures[0] + WINDOW_NS <= now or all_of_them):
                seen.burst.keys.discard(key)
                seen.burst = None
            if seen.failures[-1] + WINDOW_NS <= now:
                del self._seen[key]
        ended = [b for b in self._bursts if all_of_them or not any(self._waits(key, b) for key in b.keys)]
        self._bursts = [b for b in self._bursts if b not in ended]
        return ended

    def _waits(self, key: tuple[str, str], burst: Burst) -> bool:
        seen = self._seen.get(key)
        return seen is not None and seen.burst is burst


def _keys(peer: str, user: str) -> list[tuple[str, str]]:
    return [key for key in (("peer", group_of(peer)), ("user", user)) if key[1]]
