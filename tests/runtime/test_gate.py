"""The gate in front of Lua: one at a time, in turn, never for ever."""

from __future__ import annotations

import threading

import pytest

from kumoaudit.core.clock import SystemClock
from kumoaudit.runtime.gate import Gate, GateTimeout


def test_the_same_thread_may_enter_again() -> None:
    gate = Gate(SystemClock())
    with gate.entered("outer"), gate.entered("inner"):
        assert gate.what == "outer"
    assert gate.busy_since == 0


def test_a_busy_gate_is_given_up_after_the_time_limit_and_stays_usable() -> None:
    gate = Gate(SystemClock())
    gate.acquire("a long handler")
    failed: list[str] = []

    def late() -> None:
        try:
            gate.acquire("late", 0.01)
        except GateTimeout as e:
            failed.append(str(e))

    thread = threading.Thread(target=late)
    thread.start()
    thread.join(10)
    gate.release()

    assert failed == ["the Lua runtime is busy with a long handler"]
    with gate.entered("again", 1):
        pass


def test_waiting_threads_enter_in_the_order_in_which_they_came() -> None:
    gate = Gate(SystemClock())
    order: list[int] = []
    gate.acquire("first")
    threads = []
    for number in range(5):
        queued = len(gate._waiting)

        def work(n: int = number) -> None:
            with gate.entered(f"thread {n}"):
                order.append(n)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        while len(gate._waiting) == queued:
            pass
    gate.release()
    for thread in threads:
        thread.join(10)

    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [2, 8])
def test_only_one_thread_is_inside(threads: int) -> None:
    gate = Gate(SystemClock())
    inside: list[int] = []
    worst: list[int] = []

    def work() -> None:
        for _ in range(300):
            with gate.entered("work"):
                inside.append(1)
                worst.append(len(inside))
                inside.pop()

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)

    assert max(worst) == 1
    assert len(worst) == 300 * threads
