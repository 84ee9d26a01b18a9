"""`emit_many` and `append_lines`: what single calls do, for a batch; and callers that must not wait."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import Always, Compare, FieldIn
from kumoaudit.core.spec import Fill, Plan, RingSpec
from kumoaudit.formats import FORMATS
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.encode import has_longer
from kumoaudit.pipeline.ring import Ring
from kumoaudit.segments.disk import RealDisk
from tests import strategies as ours
from tests.fakes import FaultyDisk, route_spec
from tests.support import event, events


def ring(spec: RingSpec, **options: object) -> Ring:
    return Ring(
        RealDisk(), SystemClock(), None, route_spec("/nowhere", ring=spec, **{"block_timeout_ns": 0, **options})
    )


def content(r: Ring) -> bytes:
    current, _ = r.state(0)
    return b"".join(bytes(r.view(n, 0, r.state(n)[1].used)) for n in range(r.freed, current + 1))


def pipeline(directory: Path, disk: FaultyDisk | None = None) -> Pipeline:
    return Pipeline(str(directory), "alpha", disk or FaultyDisk(), SystemClock(), lambda _: None)


lines_of = st.lists(st.integers(0, 60).map(lambda n: b"x" * n + b"\n"), min_size=1, max_size=40)


# -- the ring ----------------------------------------------------------------------------------------------------------


@given(lines_of, st.integers(0, 99), st.sampled_from([None, 3, 17]))
def test_a_batch_leaves_the_lines_that_single_appends_leave(lines: list[bytes], used: int, limit: int | None) -> None:
    """However the lines lie on the blocks: none is cut, none lost, none in another order."""
    r = ring(RingSpec(100, 48, limit))
    r.append(b"y" * used + b"\n", 5) if used else None

    lost = None
    refused = False
    try:
        lost = r.append_lines(b"".join(lines), len(lines), 10, 20)
    except RecordRefused:
        refused = True  # more than may wait, and nobody writes

    there = content(r).removeprefix(b"y" * used + b"\n" if used else b"")
    assert b"".join(lines).startswith(there)
    assert refused == (there != b"".join(lines))
    assert lost in ([], None)
    current, _ = r.state(0)
    assert sum(r.state(n)[1].count for n in range(current + 1)) == content(r).count(b"\n")
    assert not refused or limit is not None


def test_a_batch_that_fits_a_block_lies_in_one() -> None:
    r = ring(RingSpec(1000, 4))
    r.append(b"a" * 399 + b"\n", 1)

    r.append_lines(b"b" * 99 + b"\n" + b"c" * 599 + b"\n", 2, 7, 9)

    current, state = r.state(1)
    assert (current, state.used, state.count, state.time_min_ns, state.time_max_ns) == (1, 700, 2, 7, 9)


def test_a_batch_longer_than_a_block_is_cut_between_lines() -> None:
    lines = [bytes([97 + n]) * 299 + b"\n" for n in range(8)]
    r = ring(RingSpec(1000, 4))

    assert r.append_lines(b"".join(lines), 8, 1, 1) == []

    assert content(r) == b"".join(lines)
    assert [r.state(n)[1].count for n in range(3)] == [3, 3, 2]


@pytest.mark.parametrize("options", [{"overflow": "drop"}, {"on_failure": "continue"}, {"required": False}])
def test_what_has_no_room_is_counted_line_by_line(options: dict[str, object]) -> None:
    """The lines that still fit are kept, as they would be one by one."""
    lines = [b"%03d" % n + b"x" * 96 + b"\n" for n in range(40)]
    r = ring(RingSpec(1000, 3), **options)

    lost = r.append_lines(b"".join(lines), 40, 1, 1)

    assert lost == list(range(30, 40))
    assert content(r) == b"".join(lines[:30])
    assert r.state(2)[1].dropped == 10


def test_a_full_ring_refuses_who_must_not_wait_at_once(tmp_path: Path) -> None:
    r = ring(RingSpec(1000, 2), block_timeout_ns=3_600_000_000_000)
    r.append_lines(b"x\n" * 1000, 1000, 1, 1)

    for call in (lambda: r.append(b"x\n", 1, 0), lambda: r.append_lines(b"x\n", 1, 1, 1, 0), lambda: r.turn(2, 1, 0)):
        with pytest.raises(RecordRefused, match="did not take the record"):
            call()
    assert content(r) == b"x\n" * 1000


@given(lines_of, st.integers(1, 62))
def test_a_line_over_the_limit_is_seen(lines: list[bytes], limit: int) -> None:
    assert has_longer(b"".join(lines), limit) == any(len(line) > limit for line in lines)


# -- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(st.lists(ours.events(), max_size=5))
def test_a_format_writes_many_as_it_writes_one(name: str, given_: list[Event]) -> None:
    shared = [*given_, *given_]

    assert FORMATS[name].encode_many(shared) == b"".join(map(FORMATS[name].encode, shared))


def test_many_with_a_text_that_json_cannot_hold_are_written_as_one_by_one() -> None:
    batch = [event(1), event(2, user="\ud800x"), event(3)]

    assert FORMATS["native"].encode_many(batch) == b"".join(map(FORMATS["native"].encode, batch))


# -- the pipeline ------------------------------------------------------------------------------------------------------

_LOGS = (
    ("plain", Plan(), Always()),
    ("alarms", Plan(Compare("severity", ">=", "ALARM")), Always()),
    ("custom", Plan(), FieldIn("kind", ("custom",))),
    ("filled", Plan(fill=Fill("m", "u")), FieldIn("user", ("eve",))),
    ("other", Plan(format="tarantool_json"), Always()),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            event,
            st.integers(0, 9),
            severity=st.sampled_from(["INFO", "ALARM"]),
            kind=st.sampled_from(["custom", "authn"]),
            user=st.sampled_from([None, "eve", "bob"]),
            node=st.sampled_from(["", "beta"]),
        ),
        max_size=8,
    ),
    st.sets(st.sampled_from(range(len(_LOGS)))),
)
def test_a_batch_goes_where_its_events_would_go_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, batch: list[Event], chosen: set[int]
) -> None:
    found = []
    for is_many in (False, True):
        directory = tmp_path_factory.mktemp("p")
        p = pipeline(directory / "data")
        for n in sorted(chosen):
            name, plan, claims = _LOGS[n]
            spec = route_spec(directory / name, name=name, plan=plan, claims=claims)
            p.open_log(spec)
        p.start()
        took = p.emit_many(batch) if is_many else [p.emit(e) for e in batch]
        totals = (p.totals.recorded, p.totals.filtered)
        found.append((took, totals, {r.spec.name: content(r.ring) for r in p.open_routes}))
        p.close()

    (took, totals, logs), many = found
    assert many[:2] == (took, totals)
    for name, text in logs.items():
        # The host's own first record has an id and a time of its own.
        assert [x for x in many[2][name].splitlines() if b"audit_" not in x] == [
            x for x in text.splitlines() if b"audit_" not in x
        ]


def test_an_event_that_is_too_long_is_cut_alone(tmp_path: Path) -> None:
    p = pipeline(tmp_path / "data")
    p.max_event_bytes = 2000
    p.open_log(route_spec(tmp_path / "a"))

    assert p.emit_many([event(1), event(2, description="x" * 5000), event(3)]) == [True] * 3

    lines = content(p.routes[0].ring).splitlines()
    assert [b"truncated" in line for line in lines if b"custom_step" in line] == [False, True, False]
    assert max(map(len, lines)) <= 2000
    p.close()


def test_a_batch_is_refused_when_a_required_log_refuses_it(tmp_path: Path) -> None:
    p = pipeline(tmp_path / "data")
    p.open_log(route_spec(tmp_path / "a"))
    p.open_log(route_spec(tmp_path / "b", name="b"))
    p.routes[0].ring.refuse_from_now_on()

    with pytest.raises(RecordRefused, match="log 'a' is closed"):
        p.emit_many(events(3))

    assert content(p.routes[1].ring).count(b"custom_step") == 3
    p.close()


def test_a_batch_for_a_power_log_waits_for_the_disk_once(tmp_path: Path) -> None:
    disk = FaultyDisk()
    p = pipeline(tmp_path / "data", disk)
    p.open_log(route_spec(tmp_path / "a", durability="power"))
    before = disk.kinds["fdatasync"]

    p.emit_many(events(500))

    assert disk.kinds["fdatasync"] == before + 1
    p.close()


def test_no_events_are_no_batch(tmp_path: Path) -> None:
    p = pipeline(tmp_path / "data")

    assert p.emit_many([]) == []
    assert p.default is None


@pytest.mark.parametrize(
    ("options", "full", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"overflow": "drop"}, True, False),
        ({"durability": "power"}, False, True),
        ({"ring": RingSpec(1 << 20, 8, 100)}, True, True),
    ],
)
def test_whether_an_emit_may_wait(tmp_path: Path, options: dict[str, object], full: bool, expected: bool) -> None:
    p = pipeline(tmp_path / "data")
    assert p.may_wait(), "the first event opens the default log"
    p.open_log(route_spec(tmp_path / "a", **options))
    route = p.routes[0]
    if full:
        # The writer stands, as behind a disk that does.
        with route.writer._sink_lock:
            limit = route.ring._max_waiting
            count = 95 if limit else route.ring.blocks
            for _ in range(count):
                route.ring.append_lines(b"x" * (99 if limit else route.ring.block_bytes - 1) + b"\n", 1, 1, 1, 0)
            assert p.may_wait() == expected
    else:
        assert p.may_wait() == expected
    p.close()


def test_many_threads_of_batches_and_single_events_lose_nothing(tmp_path: Path) -> None:
    p = pipeline(tmp_path / "data")
    p.open_log(route_spec(tmp_path / "a", ring=RingSpec(1 << 16, 4)))

    def work(group: int) -> None:
        rng = random.Random(group)
        for n in range(60):
            batch = [event(n, description=f"n={group}:{n}:") for _ in range(rng.randrange(1, 40))]
            if rng.random() < 0.3:
                assert all(p.emit(e) for e in batch)
            else:
                assert all(p.emit_many(batch))
            counts[group] += len(batch)

    counts = [0] * 4
    threads = [threading.Thread(target=work, args=(g,)) for g in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    written = p.routes[0].writer
    assert p.close() == {}
    assert written.written >= sum(counts)
    assert p.totals.recorded == sum(counts)
