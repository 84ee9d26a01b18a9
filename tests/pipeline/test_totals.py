"""Counts that many threads raise."""

from __future__ import annotations

import sys
import threading

from kumoaudit.pipeline.totals import Tally, Totals


def test_looking_at_a_tally_does_not_count() -> None:
    tally = Tally()
    next(tally.steps)
    tally.add(5)

    assert [tally.value for _ in range(3)] == [6, 6, 6]
    next(tally.steps)
    assert tally.value == 7


def test_single_events_and_batches_are_counted_together_without_loss() -> None:
    totals = Totals()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def work() -> None:
            for _ in range(500):
                next(totals.count_recorded)
                totals.add(recorded=2, filtered=1, own=0)
                assert totals.recorded <= 6 * 500 * 3

        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)

    assert (totals.recorded, totals.filtered, totals.own) == (9000, 3000, 0)
