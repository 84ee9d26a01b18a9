"""Descriptors kept for the next segment: a process that has none left can still go on in a new file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

RAISE_LIMIT = "raise LimitNOFILE= or ulimit -n"


def too_many_open_files() -> str:
    """What EMFILE means here, with the limit of this process."""
    import resource

    return f"too many open files (limit {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"


class Reserve:
    """Up to *count* descriptors of nothing. One thread at a time; `call` gives them up one by one where that helps."""

    def __init__(self, count: int) -> None:
        """Holds nothing before the first `fill`."""
        self._count = count
        self._held: list[int] = []
        self.uses = 0
        """How often one was given up for an action."""

    def fill(self) -> None:
        """Take what is missing, as far as the process has any left."""
        # Not through the `Disk` seam: this is no file of a log.
        while len(self._held) < self._count:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return

    def release(self) -> None:
        """Give all of them up."""
        while self._held:
            os.close(self._held.pop())

    def call(self, action: Callable[[], T]) -> T:
        """What *action* gives. Where it finds no descriptor, it gets one of these and tries again.

        Raises OSError as *action* does, when nothing is held too.
        """
        while True:
            try:
                return action()
            except OSError as e:
                if e.errno != errno.EMFILE or not self._held:
                    raise
                os.close(self._held.pop())
                self.uses += 1
