"""How many events a host has recorded and filtered since its start."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator


class Totals:
    """Events since the start: `recorded` in at least one log, `filtered` by every log meant for them.

    Counted from any thread by `next(totals.count_recorded)`: one call of C, so two at once both count, and no lock is
    paid for. The properties look without disturbing: a look is a step too, and is taken off again.
    """

    def __init__(self) -> None:
        self.count_recorded, self.count_filtered, self.count_own = (
            itertools.count(),
            itertools.count(),
            itertools.count(),
        )
        self._mutex = threading.Lock()
        self._looks: Counter[int] = Counter()

    @property
    def recorded(self) -> int:
        return self._look(self.count_recorded)

    @property
    def filtered(self) -> int:
        return self._look(self.count_filtered)

    @property
    def own(self) -> int:
        """Records of the host about itself."""
        return self._look(self.count_own)

    def _look(self, count: Iterator[int]) -> int:
        with self._mutex:
            steps = next(count) - self._looks[id(count)]
            self._looks[id(count)] += 1
            return steps
