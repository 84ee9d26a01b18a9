"""What a writer says about its own log: a line for the log itself, an event for the others, a word to the operator."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kumoaudit.core.catalog import EVENT_TYPES
from kumoaudit.core.event import Event
from kumoaudit.core.ids import ulid
from kumoaudit.core.protocols import Clock
from kumoaudit.pipeline.encode import PythonEncoder

Announce = Callable[[Event, str], None]
"""Give an event to every log but the named one; returns at once (the emitting happens on another thread)."""


def harmless(say: Callable[[str], None]) -> Callable[[str], None]:
    """*say* as the pipeline's threads call it: that nobody can be told (standard error on a full disk, the terminal
    gone) ends none of them."""

    def call(text: str) -> None:
        try:
            say(text)
        except (OSError, ValueError):
            pass  # the records are what counts

    return call


def host_event(
    clock: Clock, node: str, kind: str, description: str, detail: dict[str, object] | None, *, user: str | None = None
) -> Event:
    """A record of the host about itself: `kind` is a type of the host's in the catalogue."""
    now = clock.now_ns()
    return Event(
        id=ulid(now),
        time_ns=now,
        node=node,
        kind=EVENT_TYPES[kind].kind,
        type=kind,
        severity=EVENT_TYPES[kind].severity,
        user=user,
        module="kumoaudit",
        description=description,
        detail=detail or None,
    )


class WriterNotices:
    """The `Notices` of one route. Any thread; never blocks."""

    def __init__(
        self, encoder: PythonEncoder, node: str, clock: Clock, announce: Announce, say: Callable[[str], None]
    ) -> None:
        self._encoder, self._node, self._clock = encoder, node, clock
        self._announce, self.say = announce, say
        self._causes: set[str] = set()
        self._lock = threading.Lock()

    def record(self, kind: str, log: str, description: str, detail: dict[str, object]) -> bytes:
        """The line for *log*, whatever its filter; the other logs get the same event."""
        event = host_event(self._clock, self._node, kind, description, detail)
        self._announce(event, log)
        return self._encoder.line(event)

    def degraded(self, cause: str, log: str, description: str, detail: dict[str, object]) -> bytes | None:
        """As `record` with `audit_degraded`, when the log was well until now; None when it is told already that it is
        not. *cause* is what `restored` names when that is over (`sink`, `room`)."""
        with self._lock:
            is_news = not self._causes
            self._causes.add(cause)
        return self.record("audit_degraded", log, description, detail) if is_news else None

    def restored(self, cause: str, log: str, description: str, detail: dict[str, object]) -> bytes | None:
        """As `record` with `audit_restored`, when nothing else is the matter with the log."""
        with self._lock:
            self._causes.discard(cause)
            is_well = not self._causes
        return self.record("audit_restored", log, description, detail) if is_well else None
