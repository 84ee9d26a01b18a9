"""The cache of bounded size and age."""

from __future__ import annotations

from threading import Thread

import pytest

from kumoaudit.access.cache import TtlCache
from tests.fakes import FakeClock

S = 1_000_000_000


def made(capacity: int = 3, ttl_ns: int = S) -> tuple[TtlCache[str, int | None], FakeClock]:
    clock = FakeClock()
    return TtlCache(clock, capacity, ttl_ns), clock


def test_an_entry_lives_as_long_as_the_ttl_and_no_longer() -> None:
    cache, clock = made()
    cache.put("a", 1)
    clock.advance(0.999)
    assert cache.get("a", None) == 1
    clock.advance(0.001)
    assert cache.get("a", None) is None
    assert len(cache) == 0


def test_reading_does_not_make_an_entry_younger() -> None:
    cache, clock = made()
    cache.put("a", 1)
    clock.advance(0.6)
    cache.get("a", None)
    clock.advance(0.6)
    assert cache.get("a", None) is None


def test_a_lower_ttl_counts_at_once_and_a_higher_one_too() -> None:
    """KumoMTA keeps the old age of what is already there (section 2.6)."""
    cache, clock = made(ttl_ns=300 * S)
    cache.put("a", 1)
    clock.advance(2)
    cache.ttl_ns = S
    assert cache.get("a", None) is None
    cache.put("b", 2)
    clock.advance(2)
    cache.ttl_ns = 3 * S
    assert (cache.get("b", None), cache.ttl_ns) == (2, 3 * S)


def test_a_ttl_of_zero_is_no_cache() -> None:
    cache, _ = made(ttl_ns=0)
    cache.put("a", 1)
    assert len(cache) == 0
    cache.ttl_ns = S
    cache.put("a", 1)
    cache.ttl_ns = 0
    assert (cache.get("a", None), len(cache)) == (None, 0)


def test_the_entry_not_used_for_longest_makes_room() -> None:
    cache, _ = made(capacity=2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a", None)
    cache.put("c", 3)
    assert [cache.get(k, None) for k in "abc"] == [1, None, 3]


def test_putting_again_replaces_and_renews() -> None:
    cache, clock = made(capacity=2)
    cache.put("a", 1)
    cache.put("b", 2)
    clock.advance(0.9)
    cache.put("a", 3)
    clock.advance(0.9)
    assert (cache.get("a", None), cache.get("b", None), len(cache)) == (3, None, 1)


def test_a_smaller_capacity_lets_the_oldest_go() -> None:
    cache, _ = made()
    for k in "abc":
        cache.put(k, 1)
    cache.resize(1)
    assert (cache.capacity, len(cache), cache.get("c", None)) == (1, 1, 1)


def test_none_can_be_kept() -> None:
    cache, _ = made()
    missing = object()
    cache.put("a", None)
    assert cache.get("a", missing) is None
    assert cache.get("b", missing) is missing


def test_what_was_worked_out_before_a_clear_is_not_kept() -> None:
    """A decision that was under way while the rules were read again must not outlive them."""
    cache, _ = made()
    before = cache.generation
    cache.clear()
    cache.put("a", 1, generation=before)
    assert cache.get("a", None) is None
    cache.put("a", 2, generation=cache.generation)
    assert cache.get("a", None) == 2


@pytest.mark.parametrize(("capacity", "ttl_ns"), [(0, 1), (-1, 1), (1, -1)])
def test_a_size_of_nothing_and_a_negative_age_are_refused(capacity: int, ttl_ns: int) -> None:
    with pytest.raises(ValueError, match="of a cache"):
        made(capacity, ttl_ns)
    cache, _ = made()
    with pytest.raises(ValueError, match="capacity"):
        cache.resize(0)
    with pytest.raises(ValueError, match="TTL"):
        cache.ttl_ns = -1


def test_threads_share_it_and_it_never_grows_beyond_its_capacity() -> None:
    cache: TtlCache[int, int] = TtlCache(FakeClock(), 8, S)
    wrong: list[object] = []

    def work(start: int) -> None:
        try:
            for n in range(start, start + 2000):
                cache.put(n % 32, n % 32)
                got = cache.get(n % 32, n % 32)
                if got != n % 32 or len(cache) > 9:
                    wrong.append((n, got, len(cache)))
        except Exception as e:
            wrong.append(e)

    threads = [Thread(target=work, args=(n * 7,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert wrong == []
    assert len(cache) == 8
