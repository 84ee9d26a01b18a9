"""Group commit: who leads, who is served, and whom a leader waits for."""

from __future__ import annotations

import threading
import time

from kumoaudit.core.clock import Deadline, SystemClock
from kumoaudit.pipeline.group import GroupCommit


def _join(group: GroupCommit, want: int, seconds: float = 5.0) -> str:
    return group.join((0, want), Deadline(SystemClock(), seconds))


def _started(target: threading.Thread) -> threading.Thread:
    target.start()
    return target


def test_a_leader_that_is_alone_waits_for_nobody() -> None:
    group = GroupCommit()
    for n in range(1, 4):
        assert _join(group, n) == "lead"
        group.gather()
        group.finish((0, n))
    assert _join(group, 3) == "done"


def test_those_that_are_covered_go_on_and_the_first_of_the_rest_leads() -> None:
    group, answers = GroupCommit(), dict[int, str]()
    assert _join(group, 1) == "lead"

    def wait(want: int) -> None:
        answers[want] = _join(group, want)

    waiting = [_started(threading.Thread(target=wait, args=(want,))) for want in (2, 9)]
    while len(group._waiting) < 2:
        time.sleep(0.001)
    group.finish((0, 2))
    for thread in waiting:
        thread.join()
    assert answers == {2: "done", 9: "lead"}
    group.gather()  # who was there the last time does not come back: the leader goes on all the same
    group.finish((0, 9))
    assert _join(group, 9) == "done"


def test_a_leader_lets_those_come_that_were_there_the_last_time() -> None:
    group = GroupCommit()
    group._company = 3
    assert _join(group, 1) == "lead"
    gathered = _started(threading.Thread(target=lambda: group.gather()))
    waiting = [_started(threading.Thread(target=_join, args=(group, want))) for want in (2, 3)]
    gathered.join()
    while len(group._waiting) < 2:
        time.sleep(0.001)
    group.finish((0, 3))
    for thread in waiting:
        thread.join()
    assert group._company == 3
    assert group._gathering is None


def test_a_waiter_goes_when_its_time_is_up() -> None:
    group = GroupCommit()
    assert _join(group, 1) == "lead"
    assert _join(group, 2, 0.05) == "late"
    assert not group._waiting
