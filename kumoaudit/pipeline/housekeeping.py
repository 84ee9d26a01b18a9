"""The host's quiet thread: passes announcements on, watches free space and the machine's clock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kumoaudit.core.event import Event
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.pipeline.notices import host_event
from kumoaudit.segments.freespace import room_at, shortage

if TYPE_CHECKING:
    from kumoaudit.pipeline.build import Pipeline
    from kumoaudit.pipeline.route import Route

ROUND_S = 1.0
SPACE_EVERY_S = 5.0
JUMP_NS = 1_000_000_000


class Housekeeping:
    """One thread, started with the first log. `announce`: any thread, returns at once."""

    def __init__(self, disk: Disk, clock: Clock, say: Callable[[str], None], pipeline: Pipeline) -> None:
        self._disk, self._clock, self._say, self._pipeline = disk, clock, say, pipeline
        self._inbox: queue.SimpleQueue[tuple[Event, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._short: dict[str, str] = {}
        self._offset = 0

    def start(self) -> None:
        """Begin; called once."""
        self._offset = self._clock.now_ns() - self._clock.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Pass on what is waiting, then end; a log that does not take it holds up the host no longer than that."""
        if self._thread:
            self._inbox.put(None)
            self._thread.join(timeout_s)
            self._thread = None

    def announce(self, event: Event, origin: str) -> None:
        """Give *event* to every log that wants it but *origin*, which has it already."""
        self._inbox.put((event, origin))

    @property
    def shortages(self) -> dict[str, str]:
        """Logs whose file system is below its `min_free_*` limits, and why."""
        return dict(self._short)

    def _run(self) -> None:
        waited = SPACE_EVERY_S
        while True:
            try:
                item = self._inbox.get(timeout=ROUND_S)
            except queue.Empty:
                waited += ROUND_S
                self._do(self.look_at_clock)
                if waited >= SPACE_EVERY_S:
                    waited = 0.0
                    self._do(self.look_at_space)
                continue
            if item is None:
                return
            self._do(self._pipeline.tell_others, *item)

    def _do(self, action: Callable[..., None], *args: object) -> None:
        try:
            action(*args)
        except Exception as e:  # noqa: BLE001 - one log's trouble must not end the thread that all of them need
            self._say(f"housekeeping: {e}")

    def look_at_clock(self) -> None:
        """Record it when wall time and monotonic time have moved apart by more than a second."""
        offset = self._clock.now_ns() - self._clock.monotonic_ns()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > JUMP_NS:
            seconds = round(jump / 1e9, 3)
            self._pipeline.host("clock_jump", f"the machine's clock was set by {seconds} s", {"seconds": seconds})

    def look_at_space(self) -> None:
        """Compare free space and inodes of every log with its limits; say and record each change once."""
        for route in self._pipeline.open_routes:
            limits, name, path = route.spec.free, route.spec.name, route.spec.path
            if limits is None:
                continue
            try:
                why = shortage(room_at(self._disk, path), limits, path)
            except OSError as e:
                why = f"{path}: {(e.strerror or str(e)).lower()}"
            before = self._short.get(name, "")
            if why and not before:
                self._short[name] = why
                self._say(f"log '{name}' is short of room: {why}")
                self._tell(route, "audit_degraded", "is short of room", {"log": name, "reason": why})
            elif before and not why:
                del self._short[name]
                self._say(f"log '{name}' has room again")
                self._tell(route, "audit_restored", "has room again", {"log": name})

    def _tell(self, route: Route, kind: str, what: str, detail: dict[str, object]) -> None:
        """Record the state of a log in the log itself, whatever its filter, and in the others that want it."""
        name = route.spec.name
        event = host_event(self._clock, self._pipeline.node, kind, f"log '{name}' {what}", detail)
        route.writer.note(route.encoder.line(event))
        self._pipeline.tell_others(event, name)
