"""A cache of bounded size and age."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from kumoaudit.core.protocols import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class TtlCache(Generic[K, V]):
    """Keeps the *capacity* entries that were used last, each for *ttl_ns* nanoseconds. Any thread.

    An entry keeps the time at which it came in, not when it ends: a lower `ttl_ns` counts at once for what is already
    there, so a right that was taken away does not live on (KumoMTA keeps the old age, section 2.6). A TTL of 0 means
    no cache. Put answers in, never errors: one that failed is asked again (section 5.8, item 6).
    """

    def __init__(self, clock: Clock, capacity: int, ttl_ns: int) -> None:
        _check(capacity, ttl_ns)
        self._now = clock.monotonic_ns
        self._capacity = capacity
        self._ttl_ns = ttl_ns
        self._entries: OrderedDict[K, tuple[int, V]] = OrderedDict()
        self._lock = Lock()
        self.generation = 0
        """How often the cache was cleared."""

    def get(self, key: K, default: D) -> V | D:
        """What was put under *key*, or *default* when there is nothing, or nothing young enough.

        A value may be None ("this resource has no ACL"); a caller that stores None passes a mark of its own.
        """
        entry = self.entry(key)
        return default if entry is None else entry[1]

    def entry(self, key: K) -> tuple[int, V] | None:
        """What was put under *key* and since when it counts (monotonic nanoseconds), if it is young enough."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if self._now() - entry[0] >= self._ttl_ns:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry

    def put(self, key: K, value: V, *, generation: int | None = None, since_ns: int | None = None) -> int:
        """Keep *value*; its age counts from now, or from *since_ns* when it was worked out of something older. Returns
        since when. The entry that was not used for longest goes when there is no room.

        With *generation*, read before the value was worked out, a value from before a `clear` is not kept.
        """
        since = self._now() if since_ns is None else since_ns
        with self._lock:
            if not self._ttl_ns or (generation is not None and generation != self.generation):
                return since
            self._entries[key] = (since, value)
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        return since

    @property
    def ttl_ns(self) -> int:
        """How long an entry is good for, in nanoseconds; setting it counts at once, also for what is there."""
        return self._ttl_ns

    @ttl_ns.setter
    def ttl_ns(self, ttl_ns: int) -> None:
        _check(self._capacity, ttl_ns)
        with self._lock:
            self._ttl_ns = ttl_ns
            if not ttl_ns:
                self._entries.clear()

    @property
    def capacity(self) -> int:
        """The largest number of entries."""
        return self._capacity

    def resize(self, capacity: int) -> None:
        """Another capacity (from 1); what is too much goes, oldest use first."""
        _check(capacity, self._ttl_ns)
        with self._lock:
            self._capacity = capacity
            while len(self._entries) > capacity:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything (a policy or an ACL file was read again)."""
        with self._lock:
            self.generation += 1
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def _check(capacity: int, ttl_ns: int) -> None:
    if capacity < 1:
        raise ValueError(f"the capacity of a cache is at least 1, got {capacity}")
    if ttl_ns < 0:
        raise ValueError(f"the TTL of a cache cannot be negative, got {ttl_ns}")
