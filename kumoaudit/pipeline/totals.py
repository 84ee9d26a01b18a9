"""Counts of events that any thread raises without a lock and without loss."""

from __future__ import annotations

import itertools
import threading


class Tally:
    """A number that is raised from any thread by `next(tally.steps)`: one call of C, so two at once both count, and no
    lock is paid for. `value` looks without disturbing: a look is a step too, and is taken off again."""

    __slots__ = ("_added", "_looks", "_mutex", "steps")

    def __init__(self) -> None:
        self.steps = itertools.count()
        self._mutex = threading.Lock()
        self._looks = self._added = 0

    def add(self, number: int) -> None:
        """Raise it by more than one, for the price of a lock."""
        with self._mutex:
            self._added += number

    @property
    def value(self) -> int:
        with self._mutex:
            steps = next(self.steps) - self._looks
            self._looks += 1
            return steps + self._added


class Totals:
    """Events since the start: `recorded` in at least one log, `filtered` by every log meant for them, `own` of the host
    about itself. Any thread; one event is counted by `next(totals.count_recorded)` and its like, a batch by `add`."""

    def __init__(self) -> None:
        self._recorded, self._filtered, self._own = Tally(), Tally(), Tally()
        self.count_recorded, self.count_filtered, self.count_own = (
            self._recorded.steps,
            self._filtered.steps,
            self._own.steps,
        )

    @property
    def recorded(self) -> int:
        return self._recorded.value

    @property
    def filtered(self) -> int:
        return self._filtered.value

    @property
    def own(self) -> int:
        return self._own.value

    def add(self, *, recorded: int, filtered: int, own: int) -> None:
        """Count a batch."""
        for tally, number in ((self._recorded, recorded), (self._filtered, filtered), (self._own, own)):
            if number:
                tally.add(number)
