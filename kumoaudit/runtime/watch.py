"""Watching the files of a policy: their directories, so that renames, symlinks and `..data` swaps are seen.

What happened is not asked for, only that something did: contents are compared afterwards.
"""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kumoaudit.runtime.tracked import alternatives

if TYPE_CHECKING:
    from kumoaudit.runtime.shared import HostState

# Changes are taken together until nothing has happened for so long: an editor writes in several steps.
_QUIET_MS = 200
_AT_MOST_MS = 2000
# File systems that tell nothing (network mounts), and directories that were replaced, are looked at this often.
_LOOK_MS = 5000

_MAX_LINKS = 40


class Watch:
    """One thread, from `start` to the end of the process."""

    def __init__(
        self,
        shared: HostState,
        watched: Callable[[], tuple[list[str], tuple[str, ...]]],
        changed: Callable[[], None],
    ) -> None:
        """*watched()* gives absolute paths and patterns; *changed()* is called on the thread of the watch."""
        self._shared, self._watched, self._changed = shared, watched, changed

    def start(self) -> None:
        """Begin to watch; returns at once."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def _run(self) -> None:
        from watchfiles import watch

        again, stopping = self._shared.watch_changed, self._shared.stopping
        while not stopping.is_set():
            again.clear()
            there = self._directories()
            changes = watch(
                *there,
                watch_filter=None,
                debounce=_AT_MOST_MS,
                step=_QUIET_MS,
                stop_event=_StopEvent(self._changed, again, stopping),
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
            try:
                for _ in changes:
                    self._changed()
                    if again.is_set() or self._directories() != there:
                        break
            except OSError:
                # A directory went away in this moment, or the system allows no more watches: look now and then.
                stopping.wait(_LOOK_MS / 1000)
                self._changed()

    def _directories(self) -> list[str]:
        paths, patterns = self._watched()
        found: set[str] = set()
        for path in paths:
            found |= directories_of(path)
        for pattern in patterns:
            for one in alternatives(os.path.abspath(pattern)):
                found |= directories_of_pattern(one)
        return sorted(d for d in found if os.path.isdir(d))


class _StopEvent(threading.Event):
    """Set when one of *events* is. *begun()* is called the first time that it is asked.

    watchfiles asks when it watches already: what changed before is seen by then, and what changes later is told.
    """

    def __init__(self, begun: Callable[[], None], *events: threading.Event) -> None:
        super().__init__()
        self._begun: Callable[[], None] | None = begun
        self._events = events

    def is_set(self) -> bool:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun()
        return any(e.is_set() for e in self._events)


def directories_of(path: str) -> set[str]:
    """The directories in which something happens when *path* leads to another content: its own, and that of every
    symbolic link on the way."""
    found = {os.path.dirname(path)}
    waiting = [path]
    for _ in range(_MAX_LINKS):
        if not waiting:
            break
        at = "/"
        parts = waiting.pop().strip("/").split("/")
        for i, part in enumerate(parts):
            link = os.path.join(at, part)
            if os.path.islink(link):
                found.add(at)
                try:
                    target = os.path.join(at, os.readlink(link), *parts[i + 1 :])
                except OSError:
                    break
                waiting.append(os.path.normpath(target))
                found.add(os.path.dirname(os.path.normpath(target)))
                break
            at = link
    return found


def directories_of_pattern(pattern: str) -> set[str]:
    """The directories that *pattern* looks into, and one above them, where others may appear."""
    head = pattern
    while glob.has_magic(head):
        head = os.path.dirname(head)
    found = {head if os.path.isdir(head) else os.path.dirname(head)}
    middle: Iterable[str] = ()
    if "**" in pattern:
        middle = (d for d, _, _ in os.walk(head))
    elif glob.has_magic(directory := os.path.dirname(pattern)):
        middle = glob.iglob(directory)
    return found | set(middle)
