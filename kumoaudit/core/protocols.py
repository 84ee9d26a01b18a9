"""The seams of the package. Read this file first.

Everything else is either a value (`core.event`, `core.spec`), a pure function, or one implementation of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from mmap import mmap
from os import stat_result, statvfs_result
from typing import TYPE_CHECKING, Literal, Protocol

from kumoaudit.core.event import Batch, Event, Mark

if TYPE_CHECKING:
    from kumoaudit.core.spec import Query, RouteSpec

Emit = Callable[[Event], bool]
"""Where sources put events. Says whether any log recorded it; may block (back-pressure); raises `RecordRefused`
rather than lose an event silently. Any thread."""


class Source(Protocol):
    """Where events come from: the Lua policy, a listener, a socket."""

    def start(self, emit: Emit) -> None: ...
    def stop(self, timeout_s: float) -> None: ...


class Format(Protocol):
    """One event <-> one frame: a line with its newline, or length-prefixed bytes."""

    name: str
    framing: Literal["line", "length"]

    def encode(self, event: Event) -> bytes: ...
    def encode_many(self, events: Sequence[Event]) -> bytes:
        """The frames of *events* in order, exactly as `encode` makes them one by one."""
        ...

    def decode(self, frame: bytes) -> Event:
        """The event as far as the format keeps it. Raises DecodeFault."""
        ...


class Sink(Protocol):
    """Takes encoded batches, in order, from one thread."""

    deadline_ns: int | None
    """Monotonic time at which the sink wants its open work committed and `reopen` called; None for never."""

    def open(self, mark: Mark) -> Mark:
        """Go back to the last commit and say where it was: at the start, and after an error of `write` or `sync`.

        *mark* is what the ring remembers of the last commit; a sink that keeps its own account (segments) returns
        the later one. `mark.ring_id` is 0 when no ring holds what lies behind the last commit."""
        ...

    def write(self, batch: Batch) -> Mark | None:
        """None: visible to readers, not committed. A mark: the ring may forget what lies before it."""
        ...

    def sync(self) -> None:
        """Everything written so far survives the loss of power when this returns."""
        ...

    def reopen(self) -> None:
        """Go on in a new file; called between commits only."""
        ...

    def close(self) -> None:
        """Finish. What was committed is complete for every reader."""
        ...


class Reader(Protocol):
    """Records of one log, newest or oldest first. May return too much, never too little: the engine re-checks."""

    def scan(self, query: Query) -> Iterator[tuple[int, Event]]: ...


class Dialect(Protocol):
    """Someone else's configuration -> our routes. *at* is `file:line` or an option path, for messages."""

    name: str

    def translate(self, config: Mapping[str, object], at: str) -> tuple[RouteSpec, ...]: ...


class Clock(Protocol):
    """The only source of time."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class Disk(Protocol):
    """The only way to touch log files and rings. Raises OSError as the system does; tests inject faults here."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int: ...
    def close(self, fd: int) -> None: ...
    def write(self, fd: int, data: bytes | memoryview) -> int: ...
    def pread(self, fd: int, size: int, offset: int) -> bytes: ...
    def pwrite(self, fd: int, data: bytes, offset: int) -> int: ...
    def fsync(self, fd: int) -> None: ...
    def fdatasync(self, fd: int) -> None: ...
    def fsync_dir(self, path: str) -> None: ...
    def ftruncate(self, fd: int, size: int) -> None: ...
    def preallocate(self, fd: int, size: int) -> None: ...
    def map(self, fd: int, size: int, *, writable: bool) -> mmap: ...
    def fchmod(self, fd: int, mode: int) -> None: ...
    def fstat(self, fd: int) -> stat_result: ...
    def stat(self, path: str) -> stat_result: ...
    def statvfs(self, path: str) -> statvfs_result: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def makedirs(self, path: str) -> None: ...
    def listdir(self, path: str) -> list[str]: ...
    def lock(self, fd: int) -> bool: ...
    def no_copy_on_write(self, fd: int) -> bool: ...
