"""SIGKILL of a forked writer with a small ring: thousands of kills a minute, producers in Python and in Lua.

Where `test_kill_host` proves the whole, this one turns the ring round as often as it can: 32 KiB blocks times four, so a
kill meets blocks that are turned, freed and reused, torn frames, rotations and recoveries that are killed themselves.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lupa.luajit21 as lupa
import pytest
import zstandard

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.predicate import Always
from kumoaudit.core.spec import Plan, RingSpec, RotationSpec, RouteSpec
from kumoaudit.pipeline import writer as pipeline_writer
from kumoaudit.pipeline.encode import PythonEncoder
from kumoaudit.pipeline.notices import WriterNotices
from kumoaudit.pipeline.route import Route, open_route
from kumoaudit.runtime.host import lua_directory
from kumoaudit.segments.disk import RealDisk
from tests.crash.support import Contents, seed
from tests.support import event, stored

_PRODUCERS = 3  # 0 is Lua, the others are Python threads

# Words of the page that parent and child share: per producer the last number issued and the last acknowledged.
_ISSUED, _ACKNOWLEDGED, _PHASE = 0, 8, 16


def _open(directory: Path) -> Route:
    spec = RouteSpec(
        "a",
        Plan(),
        Always(),
        "segments",
        str(directory / "a"),
        ring=RingSpec(32768, 4),
        rotation=RotationSpec(max_bytes=200_000),
    )
    encoder = PythonEncoder(spec.plan)
    notices = WriterNotices(encoder, "alpha", SystemClock(), lambda *_: None, lambda _: None)
    (directory / "spool").mkdir(parents=True, exist_ok=True)
    return open_route(RealDisk(), SystemClock(), spec, encoder, str(directory / "spool" / "a.ring"), notices)


def _line(producer: int, number: int) -> bytes:
    made = event(number, description=f"n={producer}:{number}:" + "x" * (number % 300))
    return stored(made) + b"\n"


def _template() -> tuple[bytes, bytes]:
    before, after = _line(0, 1).split(b"n=0:1:x")
    return before, after


def _lua_producer(route: Route, words_at: int, base: int, pause_s: float) -> None:
    """The Lua half of the ring under a loop of its own, as a policy's `audit.log` drives it."""
    lua = lupa.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    lua.execute(b"package.path = ... .. '/?.lua'", str(lua_directory()).encode())

    def turn(n: float, time_ns: float) -> tuple[bool, bool]:
        return True, route.ring.turn(int(n), int(time_ns))

    before, after = _template()
    run: Any = lua.execute(
        b"""return function(address, mutex, turn, shared, base, pause, sleep, before, after)
          local ffi = require 'ffi'
          local ring = require 'kumoaudit.ring'
          local r = ring.open(address, mutex, turn)
          local words = ffi.cast('volatile uint64_t *', shared)
          local pad = string.rep('x', 300)
          local i = base
          while true do
            i = i + 1
            words[0] = i
            local text = before .. 'n=0:' .. i .. ':' .. pad:sub(1, i % 300) .. after
            if ring.append(r, text, #text, 1790000000000000000LL + i) == nil then return end
            words[8] = i
            if pause > 0 then sleep(pause) end
          end
        end"""
    )
    run(route.ring.address, route.ring.mutex_address, turn, words_at, base, pause_s, time.sleep, before, after)


def _child(directory: Path, shared: mmap.mmap, saturating: bool) -> None:
    """Recover, then produce until killed."""
    words = memoryview(shared).cast("Q")
    words[_PHASE] = 1
    # Frames are flushed and ended within milliseconds, so that a kill finds them in every state.
    pipeline_writer.TICK_S, pipeline_writer.FLUSH_NS, pipeline_writer.FRAME_NS = 0.001, 1_000_000, 6_000_000
    route = _open(directory)
    words[_PHASE] = 2
    route.writer.start()

    def produce(p: int) -> None:
        while True:
            number = words[_ISSUED + p] + 1
            words[_ISSUED + p] = number
            route.ring.append(_line(p, number), time.time_ns())
            words[_ACKNOWLEDGED + p] = number
            if not saturating:
                time.sleep(0.0005)

    for p in range(1, _PRODUCERS):
        threading.Thread(target=produce, args=(p,), daemon=True).start()
    address = ctypes.addressof(ctypes.c_char.from_buffer(shared))
    _lua_producer(route, address, words[_ISSUED], 0.0 if saturating else 0.0005)


class Forks:
    """Writers of one log, killed one after the other."""

    def __init__(self, directory: Path, random_: random.Random) -> None:
        self.directory, self.random = directory, random_
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.words = memoryview(self.shared).cast("Q")
        self.skipped: set[tuple[int, int]] = set()
        self.phases: dict[int, int] = {}
        directory.mkdir(parents=True)

    def kill_one(self, saturating: bool) -> None:
        self.words[_PHASE] = 0
        pid = os.fork()
        if pid == 0:
            try:
                _child(self.directory, self.shared, saturating)
            except BaseException:
                import traceback

                traceback.print_exc()
            os._exit(9)
        if self.random.random() < 0.35:
            while self.words[_PHASE] < 1:
                time.sleep(0)
            time.sleep(self.random.random() * 0.002)
        else:
            time.sleep(self.random.random() * (0.08 if saturating else 0.03))
        phase = self.words[_PHASE]
        self.phases[phase] = self.phases.get(phase, 0) + 1
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        for p in range(_PRODUCERS):
            # Issued and not acknowledged: may be there or not. Its number is not used again.
            for n in range(self.words[_ACKNOWLEDGED + p] + 1, self.words[_ISSUED + p] + 1):
                self.skipped.add((p, n))
            self.words[_ACKNOWLEDGED + p] = self.words[_ISSUED + p]

    def check(self) -> int:
        """A reader finds everything while no writer runs, and again after one that ended in order."""
        self._check_once()
        route = _open(self.directory)
        route.ring.refuse_from_now_on()
        assert route.writer.stop(60) == 0
        found = self._check_once()
        # Every other reader too finds each record once: no torn frame was left in the middle of a segment.
        raw = b""
        for segment in (self.directory / "a").glob("a-*"):
            with segment.open("rb") as f:
                raw += zstandard.ZstdDecompressor().stream_reader(f, read_across_frames=True).read()
        assert raw.count(b"n=") == found, "other readers find something else than ours"
        return found

    def _check_once(self) -> int:
        contents = Contents(self.directory / "a")
        for key in self.skipped:
            contents.numbers.setdefault(key, 0)
        contents.check({p: self.words[_ISSUED + p] for p in range(_PRODUCERS)})
        return sum(contents.numbers.values())


def run(directory: Path, kills: int, seed_: int, every: int) -> None:
    random_ = random.Random(seed_)
    found, phases = 0, dict.fromkeys(range(3), 0)
    for epoch in range(0, kills, every):
        forks = Forks(directory / str(epoch), random_)
        for k in range(min(every, kills - epoch)):
            # Each load finds faults that the other misses.
            forks.kill_one(saturating=k % 2 == 0)
        found += forks.check()
        for phase, count in forks.phases.items():
            phases[phase] += count
        shutil.rmtree(directory / str(epoch))
    print(f"{kills} kills (not begun, recovering, running: {list(phases.values())}), {found} records found")


def test_a_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """Architecture, section 5: the store of `used` is the acknowledgement; the trailer and `freed` say what is in the log."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    run(tmp_path, 300, seed_, every=150)


@pytest.mark.nightly
def test_eight_thousand_killed_writers_lose_nothing(tmp_path: Path) -> None:
    """The same with 8,000 kills."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    run(tmp_path, 8000, seed_, every=200)
