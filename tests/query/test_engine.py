"""run_query: several logs as one answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from kumoaudit.core.event import Event
from kumoaudit.core.predicate import Predicate, matches
from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.core.spec import Query
from kumoaudit.query.engine import Follower, covered, run_query
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.look import Described
from kumoaudit.segments.reader import SegmentLog
from tests.strategies import events as any_events
from tests.strategies import predicates
from tests.support import SECOND, T0, HandMadeLog, event, events


def log_of(directory: Path, these: list[Event], *, committed: int | None = None) -> HandMadeLog:
    made = HandMadeLog(directory, ring=directory.parent / f"{directory.name}.ring", block_bytes=1 << 20)
    made.append(these)
    made.commit(committed)
    made.save()
    return made


def reader(made: HandMadeLog) -> SegmentLog:
    return SegmentLog(
        RealDisk(), str(made.directory), Described(made.directory.name, made.format_name, made.prefix, str(made.ring))
    )


def found(query: Query, *logs: HandMadeLog) -> list[str]:
    return [a.event.description for a in run_query(query, [reader(log) for log in logs])]


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", [event(n) for n in (0, 3, 4)])
    b = log_of(tmp_path / "b", [event(n) for n in (1, 2, 5)])

    assert found(Query(newest_first=False), a, b) == [f"step {n}" for n in range(6)]
    assert found(Query(limit=4), a, b) == [f"step {n}" for n in (5, 4, 3, 2)]


def test_each_log_keeps_its_own_order_when_its_times_go_back(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", [event(n) for n in (5, 1, 6)])
    b = log_of(tmp_path / "b", [event(2)])

    answers = found(Query(newest_first=False), a, b)

    assert [x for x in answers if x != "step 2"] == ["step 5", "step 1", "step 6"]
    assert sorted(answers) == ["step 1", "step 2", "step 5", "step 6"]


def test_an_event_that_two_logs_took_comes_once(tmp_path: Path) -> None:
    both = events(4)
    a = log_of(tmp_path / "a", both)
    b = log_of(tmp_path / "b", both[1:3])

    assert found(Query(), a, b) == ["step 3", "step 2", "step 1", "step 0"]
    assert found(Query(limit=3), a, b) == ["step 3", "step 2", "step 1"]


def test_within_one_log_nothing_is_left_out(tmp_path: Path) -> None:
    same = event(1)
    a = log_of(tmp_path / "a", [same, same, same])
    b = log_of(tmp_path / "b", [same, same])

    assert len(found(Query(), a)) == 3
    assert len(found(Query(), a, b)) == 3


def test_events_without_an_id_are_never_taken_for_each_other(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", [event(1, id="")])
    b = log_of(tmp_path / "b", [event(1, id="")])

    assert len(found(Query(), a, b)) == 2


def test_since_is_inclusive_and_until_exclusive(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", events(5))

    query = Query(since_ns=T0 + SECOND, until_ns=T0 + 3 * SECOND, newest_first=False)

    assert found(query, a) == ["step 1", "step 2"]


def test_a_question_can_ask_for_numbers(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", events(5), committed=3)

    assert found(Query(where=parse_predicate("seq > 2 and seq <= 4"), newest_first=False), a) == ["step 2", "step 3"]


def test_a_limit_of_nothing_gives_nothing(tmp_path: Path) -> None:
    assert found(Query(limit=0), log_of(tmp_path / "a", events(1))) == []


@settings(max_examples=150, deadline=None)
@given(these=st.lists(any_events(), max_size=12), predicate=predicates, newest_first=st.booleans(), data=st.data())
def test_what_the_reader_leaves_out_and_the_engine_checks_is_what_a_full_look_finds(
    tmp_path_factory: pytest.TempPathFactory,
    these: list[Event],
    predicate: Predicate,
    newest_first: bool,
    data: st.DataObject,
) -> None:
    base = tmp_path_factory.mktemp("q")
    limit = data.draw(st.one_of(st.none(), st.integers(1, 5)))
    made = log_of(base / "a", these, committed=len(these) // 2)
    wanted = [(n, e.description) for n, e in enumerate(these, 1) if matches(predicate, e, n)]
    if newest_first:
        wanted.reverse()

    answers = run_query(Query(where=predicate, limit=limit, newest_first=newest_first), [reader(made)])

    assert [(a.seq, a.event.description) for a in answers] == wanted[:limit]


def test_a_follower_gives_the_newest_and_then_only_what_is_new(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", events(5))
    b = log_of(tmp_path / "b", events(1, start=9))
    follower = Follower(Query(limit=3), [reader(a), reader(b)])

    assert [x.event.description for x in follower.first()] == ["step 3", "step 4", "step 9"]
    assert follower.news() == []
    shared = event(12)
    a.append([event(11), shared])
    a.save()
    assert [x.event.description for x in follower.news()] == ["step 11", "step 12"]
    b.append([shared, event(13)])
    b.commit()
    b.save()
    assert [x.event.description for x in follower.news()] == ["step 13"]


def test_a_ring_that_is_out_of_reach_for_a_moment_repeats_nothing(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", events(5), committed=3)
    follower = Follower(Query(), [reader(a)])
    follower.first()
    assert a.ring
    away = a.ring.rename(tmp_path / "away")

    assert follower.news() == []
    away.rename(a.ring)
    a.append([event(5)])
    a.save()
    assert [x.event.description for x in follower.news()] == ["step 5"]


def test_a_log_that_was_begun_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    a = log_of(tmp_path / "a", events(5))
    follower = Follower(Query(), [reader(a)])
    follower.first()
    a.segment.unlink()
    log_of(tmp_path / "a", [event(50)])

    found = [x.event.description for _ in range(20) for x in follower.news()]

    assert found == ["step 50"]


def test_coverage_sums_what_was_read(tmp_path: Path) -> None:
    a, b = (reader(log_of(tmp_path / name, events(2))) for name in "ab")
    list(run_query(Query(), [a, b]))

    total = covered([a, b])

    assert len(total.files) == 2
    assert total.time_min_ns == T0


def test_one_event_in_logs_of_two_formats_is_given_once(tmp_path: Path) -> None:
    """One keeps nanoseconds and no user, the other milliseconds and a filled-in user."""
    native = event(0, id="94454e46-9a0e-493a-bb9f-d59e44a43581", time_ns=T0 + 123_456_789)
    shaped = HandMadeLog(tmp_path / "b", ring=tmp_path / "b.ring", format_name="tarantool_json")
    shaped.append([structs.replace(native, user="admin")])
    shaped.commit()
    shaped.save()

    assert len(found(Query(), log_of(tmp_path / "a", [native]), shaped)) == 1
