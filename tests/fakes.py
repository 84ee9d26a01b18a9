"""Fakes at the seams: a clock that stands until it is moved, and a disk that fails when told to."""

from __future__ import annotations

import errno
import mmap
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import Always
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import Plan, RouteSpec
from kumoaudit.pipeline.encode import PythonEncoder
from kumoaudit.pipeline.notices import WriterNotices
from kumoaudit.pipeline.route import Route, open_route
from kumoaudit.segments.disk import RealDisk
from tests.support import T0


class FakeClock:
    """A `Clock` that stands still. `advance` moves both times, `step` the wall clock alone, as an operator would."""

    def __init__(self, now_ns: int = T0) -> None:
        self._now, self._monotonic = now_ns, 1_000_000_000_000

    def now_ns(self) -> int:
        return self._now

    def monotonic_ns(self) -> int:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += round(seconds * 1e9)
        self._monotonic += round(seconds * 1e9)

    def step(self, seconds: float) -> None:
        self._now += round(seconds * 1e9)


class FaultyDisk(RealDisk):
    """The real disk, with faults: `fail` lets the N-th call from now of a kind end with an errno, once or for ever.

    Kinds are the names of `Disk`'s methods, or "" for any of them. `kinds` counts the calls, `log` lists them. It lies
    about syncing: every `fsync` succeeds at once unless it is told to fail.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.kinds: Counter[str] = Counter()
        self.log: list[tuple[str, Any]] = []
        self.short = 0
        """A write takes at most so many bytes (0: all)."""
        self._faults: list[tuple[str, int, int, bool, str]] = []
        self._was_short = False

    def fail(self, kind: str, code: int, *, nth: int = 1, for_ever: bool = False, path: str = "") -> None:
        """From now on the *nth* call of *kind* (whose path contains *path*, if given) raises *code*."""
        self._faults.append((kind, nth, code, for_ever, path))

    def heal(self) -> None:
        self._faults.clear()

    def _meet(self, kind: str, what: object) -> None:
        self.calls += 1
        self.kinds[kind] += 1
        self.log.append((kind, what))
        for i, (wanted, nth, code, for_ever, path) in enumerate(self._faults):
            if (wanted and wanted != kind) or (path and path not in str(what)):
                continue
            if nth > 1:
                self._faults[i] = (wanted, nth - 1, code, for_ever, path)
            else:
                if not for_ever:
                    del self._faults[i]
                raise OSError(code, os.strerror(code), str(what))

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        self._meet("open", path)
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        try:
            self._meet("write", _path_of(fd))
        except OSError as e:
            if e.errno != errno.ENOSPC or self._was_short or len(data) < 2:
                self._was_short = False
                raise
            # As the system does it: what fits is taken, and the next call says that nothing more does.
            self._was_short = True
            if not any(kind == "write" for kind, *_ in self._faults):
                self.fail("write", errno.ENOSPC)
            return super().write(fd, memoryview(data)[: len(data) // 2])
        return super().write(fd, memoryview(data)[: self.short] if self.short else data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._meet("pread", _path_of(fd))
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._meet("pwrite", _path_of(fd))
        return super().pwrite(fd, data, offset)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._meet("close", fd)

    def fsync(self, fd: int) -> None:
        self._meet("fsync", _path_of(fd))

    def fdatasync(self, fd: int) -> None:
        self._meet("fdatasync", _path_of(fd))

    def fsync_dir(self, path: str) -> None:
        self._meet("fsync_dir", path)

    def ftruncate(self, fd: int, size: int) -> None:
        self._meet("ftruncate", _path_of(fd))
        super().ftruncate(fd, size)

    def preallocate(self, fd: int, size: int) -> None:
        self._meet("preallocate", _path_of(fd))
        super().preallocate(fd, size)

    def map(self, fd: int, size: int, *, writable: bool) -> mmap.mmap:
        self._meet("map", _path_of(fd))
        return super().map(fd, size, writable=writable)

    def fchmod(self, fd: int, mode: int) -> None:
        self._meet("fchmod", _path_of(fd))
        super().fchmod(fd, mode)

    def fstat(self, fd: int) -> os.stat_result:
        self._meet("fstat", _path_of(fd))
        return super().fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        self._meet("stat", path)
        return super().stat(path)

    def lstat(self, path: str) -> os.stat_result:
        self._meet("lstat", path)
        return super().lstat(path)

    def access(self, path: str, mode: int) -> bool:
        try:
            self._meet("access", path)
        except OSError:
            return False
        return super().access(path, mode)

    def rename(self, old: str, new: str) -> None:
        self._meet("rename", new)
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._meet("unlink", path)
        super().unlink(path)

    def makedirs(self, path: str) -> None:
        self._meet("makedirs", path)
        super().makedirs(path)

    def listdir(self, path: str) -> list[str]:
        self._meet("listdir", path)
        return super().listdir(path)


def _path_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return str(fd)


class Announced:
    """Where a route's notices go: `events` to the other logs, `said` to the operator."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.said: list[str] = []

    def announce(self, event: Event, _origin: str) -> None:
        self.events.append(event)

    def types(self) -> list[str]:
        return [e.type for e in self.events]


def route_spec(directory: Any, **options: Any) -> RouteSpec:
    """A segments log `a` of native lines in *directory*; any field of RouteSpec can be given."""
    given: dict[str, Any] = {
        "name": "a",
        "plan": Plan(),
        "claims": Always(),
        "sink": "segments",
        "path": str(directory),
        **options,
    }
    return RouteSpec(**given)


def open_test_route(
    spec: RouteSpec,
    ring_path: Any,
    *,
    disk: Disk | None = None,
    clock: Clock | None = None,
    announced: Announced | None = None,
) -> Route:
    """A route as the pipeline opens it, its writer's thread not started: the test steps it."""
    heard = announced or Announced()
    encoder = PythonEncoder(spec.plan)
    clock = clock or SystemClock()
    notices = WriterNotices(encoder, "alpha", clock, heard.announce, heard.said.append)
    ring_path.parent.mkdir(parents=True, exist_ok=True)
    return open_route(disk or RealDisk(), clock, spec, encoder, str(ring_path), notices)


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Wait until *condition* holds and give what it gave; fails the test with *what* when it never does."""
    import time

    give_up = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"it never happened: {what}")
        time.sleep(0.005)
