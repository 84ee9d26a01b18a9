"""The host's quiet thread: passes announcements on, watches free space, the logs' state and the machine's clock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from kumoaudit.core.clock import Deadline
from kumoaudit.core.event import Event
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.pipeline.state import health
from kumoaudit.segments.freespace import Room, room_at, shortage

if TYPE_CHECKING:
    from kumoaudit.pipeline.build import Pipeline

ROUND_S = 1.0
SPACE_EVERY_NS = 5_000_000_000
JUMP_NS = 1_000_000_000
_MAX_KEPT = 1000


class _Item(NamedTuple):
    """An announcement: not for log *origin*; a *kept* one waits for a log that cannot take it yet."""

    event: Event
    origin: str
    is_kept: bool


class Housekeeping:
    """One thread, started with the first log. `announce`, `measure`: any thread, return at once."""

    def __init__(self, disk: Disk, clock: Clock, say: Callable[[str], None], pipeline: Pipeline) -> None:
        self._disk, self._clock, self._say, self._pipeline = disk, clock, say, pipeline
        self._inbox: queue.SimpleQueue[_Item | Literal["look", "end"]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._short: dict[str, str] = {}
        self._short_told: dict[str, str] = {}
        self.rooms: dict[str, Room] = {}
        """What was free at the last look, by directory. Replaced whole, never changed."""
        self._kept: list[tuple[Event, frozenset[str]]] = []
        self._offset = 0
        self._has_failed = False

    def start(self) -> None:
        """Begin; called once."""
        self._offset = self._clock.now_ns() - self._clock.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Pass on what is waiting, then end; a log that does not take it holds up the host no longer than that."""
        if self._thread:
            self._inbox.put("end")
            deadline = Deadline(self._clock, timeout_s)
            while self._thread.is_alive() and (step := deadline.step_s()):
                self._thread.join(step)
            self._thread = None

    def announce(self, event: Event, origin: str, *, is_kept: bool = False) -> None:
        """Give *event* to every log that wants it but *origin*, which has it already.

        With *is_kept* a log that has no room now gets it as soon as it has; else it is said that it did not.
        """
        self._inbox.put(_Item(event, origin, is_kept))

    def look_soon(self) -> None:
        """A log was opened: look at its place without waiting for the next round."""
        self.measure()
        self._inbox.put("look")

    @property
    def shortages(self) -> dict[str, str]:
        """Logs whose file system is below its `min_free_*` limits, and why."""
        return dict(self._short)

    def _run(self) -> None:
        looked = 0
        while True:
            if not looked or self._clock.monotonic_ns() - looked >= SPACE_EVERY_NS:
                looked = self._clock.monotonic_ns()
                self._do(self.look_at_space)
            try:
                item = self._inbox.get(timeout=ROUND_S)
            except queue.Empty:
                self._do(self.look_at_clock)
                self._do(self.look_at_state)
                self._do(self.tell_kept)
                continue
            if item == "look":
                looked = 0
            elif item == "end":
                self._do(self.tell_kept)
                for event, _ in self._kept:
                    self._say(f"{event.type} could not be recorded: {event.description}")
                return
            elif item.is_kept:
                self._kept.append((item.event, frozenset({item.origin})))
                self._do(self.tell_kept)
            else:
                self._do(self._pipeline.tell_others, item.event, item.origin)

    def _do(self, action: Callable[..., None], *args: object) -> None:
        try:
            action(*args)
        except Exception as e:  # noqa: BLE001 - one log's trouble must not end the thread that all of them need
            self._say(f"housekeeping: {e}")

    def tell_kept(self) -> None:
        """Give the kept announcements to the logs that have room for them now; never waits."""
        left = []
        for event, told in self._kept:
            told_now, is_all = self._pipeline.tell_at_once(event, told)
            if not is_all:
                left.append((event, told_now))
        for event, _ in left[:-_MAX_KEPT]:
            self._say(f"{event.type} could not be recorded: {event.description}")
        self._kept = left[-_MAX_KEPT:]

    def look_at_clock(self) -> None:
        """Record it when wall time and monotonic time have moved apart by more than a second."""
        offset = self._clock.now_ns() - self._clock.monotonic_ns()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > JUMP_NS:
            seconds = round(jump / 1e9, 3)
            self._pipeline.host("clock_jump", f"the machine's clock was set by {seconds} s", {"seconds": seconds})

    def look_at_state(self) -> None:
        """Say it once when callers begin to be refused, and once when that is over."""
        now = health(self._pipeline)
        if (now.state == "failed") == self._has_failed or self._pipeline.is_closing:
            return
        self._has_failed = not self._has_failed
        self._say(f"the host's state is {now.state}" + "".join(f"\n  {reason}" for reason in now.reasons))

    def measure(self) -> None:
        """Look at free space and inodes of every log and of the spool, and compare them with the limits."""
        rooms: dict[str, Room] = {}
        short: dict[str, str] = {}
        for path, limits, name in self._pipeline.places():
            try:
                room = rooms.get(path) or room_at(self._disk, path)
                rooms[path] = room
                why = shortage(room, limits, path) if limits else ""
            except OSError as e:
                why = f"{path}: {(e.strerror or str(e)).lower()}" if limits else ""
            if why:
                short[name] = why
        self.rooms, self._short = rooms, short

    def look_at_space(self) -> None:
        """Measure; say and record each change once."""
        self.measure()
        short, told = self._short, self._short_told
        self._short_told = short
        routes = {route.spec.name: route for route in self._pipeline.open_routes}
        for name, why in short.items():
            if name not in told and (route := routes.get(name)):
                self._say(f"log '{name}' is short of room: {why}")
                route.writer.short_of_room(why)
        for name in told.keys() - short.keys():
            if route := routes.get(name):
                self._say(f"log '{name}' has room again")
                route.writer.has_room_again()
