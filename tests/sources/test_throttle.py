"""Guesses of passwords (reliability, section 8): counted by address and by name, one record a burst and one at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumoaudit.sources.http.limits import group_of
from kumoaudit.sources.http.throttle import FAILURES, Throttle
from tests.fakes import FakeClock
from tests.sources.clients import LIVENESS, UNTRUSTED, ask, basic, listening

POLICY = """
calls = 0
kumo.on('http_server_validate_auth_basic', function(user, password) calls = calls + 1; return password == 's3cret' end)
kumo.on('calls', function() return calls end)
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(clock)


def fail(throttle: Throttle, times: int, peer: str = "10.0.0.1", user: str = "alice") -> None:
    for _ in range(times):
        assert throttle.check(peer, user) == (0, None)
        throttle.failed(peer, user)


def test_the_eleventh_attempt_waits_until_the_first_failure_is_a_minute_old(
    throttle: Throttle, clock: FakeClock
) -> None:
    for _ in range(FAILURES):
        fail(throttle, 1)
        clock.advance(1)
    wait_ns, burst = throttle.check("10.0.0.1", "alice")
    assert wait_ns == 50_000_000_000
    assert burst is not None
    assert (burst.peer, burst.user, burst.failures, burst.refused) == ("10.0.0.1", "alice", FAILURES, 1)
    clock.advance(49.999)
    assert throttle.check("10.0.0.1", "alice")[0] > 0
    clock.advance(0.001)
    assert throttle.check("10.0.0.1", "alice") == (0, None)


@pytest.mark.parametrize(
    ("peer", "user", "waits"),
    [("10.0.0.1", "bob", True), ("10.0.0.2", "alice", True), ("10.0.0.2", "bob", False), ("", "bob", False), ("10.0.0.1", "", True)],
)  # fmt: skip
def test_an_address_and_a_name_wait_each_for_itself(throttle: Throttle, peer: str, user: str, waits: bool) -> None:
    fail(throttle, FAILURES)
    assert (throttle.check(peer, user)[0] > 0) is waits


def test_slow_guesses_and_refused_attempts_do_not_count(throttle: Throttle, clock: FakeClock) -> None:
    for _ in range(100):
        fail(throttle, 1)
        clock.advance(6.7)
    fail(throttle, 1)
    for _ in range(100):
        throttle.check("10.0.0.1", "alice")
    clock.advance(60)
    assert throttle.check("10.0.0.1", "alice") == (0, None)


def test_a_burst_is_one_whatever_it_is_over(throttle: Throttle, clock: FakeClock) -> None:
    """Address and name together; a second address for the same name joins; it ends once, with its count."""
    fail(throttle, FAILURES)
    bursts = [throttle.check(peer, "alice")[1] for peer in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")]
    assert len({id(b) for b in bursts}) == 1
    assert throttle.over() == []
    clock.advance(60)
    (ended,) = throttle.over()
    assert ended is bursts[0]
    assert ended.refused == 4
    assert throttle.over() == []
    fail(throttle, FAILURES)
    again = throttle.check("10.0.0.1", "alice")[1]
    assert again is not None
    assert again is not ended
    assert again.refused == 1


def test_two_bursts_side_by_side_end_each_with_its_own_count(throttle: Throttle, clock: FakeClock) -> None:
    for n in (1, 2):
        fail(throttle, FAILURES, f"10.0.0.{n}", f"user{n}")
        for _ in range(n):
            throttle.check(f"10.0.0.{n}", f"user{n}")
    clock.advance(61)
    assert sorted((b.user, b.refused) for b in throttle.over()) == [("user1", 1), ("user2", 2)]


def test_failures_without_an_attempt_after_them_are_no_burst(throttle: Throttle, clock: FakeClock) -> None:
    fail(throttle, FAILURES)
    clock.advance(61)
    assert throttle.over() == []
    assert not throttle._seen


def test_at_the_stop_every_burst_ends(throttle: Throttle) -> None:
    fail(throttle, FAILURES)
    throttle.check("10.0.0.1", "alice")
    assert [b.refused for b in throttle.over(all_of_them=True)] == [1]


def test_made_up_names_push_out_no_burst_and_memory_stays_bounded(throttle: Throttle) -> None:
    fail(throttle, FAILURES)
    throttle.check("10.0.0.1", "alice")
    for n in range(30_000):
        throttle.failed("", f"made-up-{n}")
    assert throttle.check("10.0.0.9", "alice")[0] > 0
    assert len(throttle._seen) <= 10_000


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_one_ipv6_customer_is_one(address: str, group: str) -> None:
    assert group_of(address) == group


def test_over_http_429_with_one_record_at_the_start_and_one_at_the_end(tmp_path: Path, clock: FakeClock) -> None:
    with listening(tmp_path, POLICY, clock=clock) as served:
        at, wrong = served.address, basic("alice", "wrong")
        assert [ask(at, headers=wrong, source=UNTRUSTED).status for _ in range(FAILURES)] == [401] * FAILURES
        refused = [ask(at, headers=wrong, source=UNTRUSTED) for _ in range(7)]

        assert [r.status for r in refused] == [429] * 7
        assert {r.headers["Retry-After"] for r in refused} == {"60"}
        assert len(served.records("Authentication")) == FAILURES
        assert served.host.host.call("calls") == [FAILURES]
        (begin,) = served.records("auth_throttled")
        assert {r.id for r in refused} == {begin["id"]}
        assert (begin["severity"], begin["user"], begin["peer"]) == ("WARNING", "alice", UNTRUSTED)
        assert begin["detail"]["failures"] == FAILURES

        # Neither the good password: a guesser must not learn that it is; nor another user from there.
        assert ask(at, headers=basic("alice"), source=UNTRUSTED).status == 429
        assert ask(at, headers=basic("bob"), source=UNTRUSTED).status == 429
        assert ask(at, LIVENESS, source=UNTRUSTED).status == 200
        assert ask(at, headers=basic("bob"), source="127.0.0.3").status == 200

        clock.advance(61)
        assert ask(at, headers=basic("alice"), source=UNTRUSTED).status == 200
        served.listener._loop_thread.call(_sweep(served.guard))
        first, end = served.records("auth_throttled")
        assert first == begin
        assert (end["detail"]["refused"], end["detail"]["ended"], end["detail"]["began"]) == (9, True, begin["id"])
        assert "wrong" not in str(served.records())


async def _sweep(guard: object) -> None:
    guard.look_at_bursts()  # type: ignore[attr-defined]


def test_good_credentials_that_are_known_pass_a_burst(tmp_path: Path, clock: FakeClock) -> None:
    """Who guesses alice's password does not lock out alice who is at work."""
    with listening(tmp_path, POLICY, clock=clock) as served:
        at = served.address
        assert ask(at, headers=basic("alice"), source="127.0.0.3").status == 200
        for n in range(FAILURES + 1):
            ask(at, headers=basic("alice", "wrong"), source=f"127.0.0.{10 + n % 2}")
        assert ask(at, headers=basic("alice", "wrong"), source="127.0.0.10").status == 429
        assert ask(at, headers=basic("alice"), source="127.0.0.3").status == 200
        assert [r["outcome"] for r in served.records("Authentication")][-1] == "ok"


def test_malformed_headers_count_as_guesses_too(tmp_path: Path, clock: FakeClock) -> None:
    with listening(tmp_path, POLICY, clock=clock) as served:
        for _ in range(FAILURES):
            assert ask(served.address, headers={"Authorization": "Basic !"}, source=UNTRUSTED).status == 400
        assert ask(served.address, headers=basic("alice"), source=UNTRUSTED).status == 429


def test_the_stop_of_a_listener_ends_its_bursts(tmp_path: Path, clock: FakeClock) -> None:
    with listening(tmp_path, POLICY, clock=clock) as served:
        for _ in range(FAILURES + 3):
            ask(served.address, headers=basic("alice", "wrong"), source=UNTRUSTED)
        served.listener.stop(1)
        assert [r["detail"].get("refused") for r in served.records("auth_throttled")] == [None, 3]
