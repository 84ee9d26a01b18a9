"""How long one call takes until its record is as safe as its log promises, in microseconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kumoaudit.core.clock import SystemClock
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime.host import PolicyHost
from kumoaudit.segments.disk import RealDisk
from tests.bench import corpus
from tests.bench.contestants import Contestant, Run
from tests.bench.contestants.python_born import SWITCH_INTERVAL_S, event, pipeline
from tests.bench.measure import percentile
from tests.bench.verify import BadOutput, check_lines
from tests.bench.workloads import WORKLOADS

_LINE = b"x" * 299 + b"\n"
_THREADS = 8
_TURN = 20

# Each call is timed inside Lua: a call from Python would measure the crossing.
_TIMED = """
local ffi = require 'ffi'
ffi.cdef 'typedef struct { long s; long ns; } bench_time; int clock_gettime(int clock, void *t);'
kumo.on('pre_init', function() kumo.audit.configure_log { name = 'bench', durability = '%s' } end)
kumo.on('main', function(n)
  local a, b, C = ffi.new 'bench_time', ffi.new 'bench_time', ffi.C
  local begin, done = ffi.cast('void *', a), ffi.cast('void *', b)
  local took = ffi.new('double[?]', n)
  for i = 0, n - 1 do
    C.clock_gettime(1, begin)
    audit.log { type = 'custom_login', user = 'eve', module = 'billing', tag = 'x', description = 'one call' }
    C.clock_gettime(1, done)
    took[i] = tonumber(b.s - a.s) * 1e6 + tonumber(b.ns - a.ns) / 1e3
  end
  local sorted = {}
  for i = 0, n - 1 do sorted[i + 1] = took[i] end
  table.sort(sorted)
  return sorted[math.floor(n * 0.5) + 1], sorted[math.floor(n * 0.99) + 1]
end)
"""


def in_process(run: Run) -> dict[str, Any]:
    """`Pipeline.emit` with `durability = 'process'`: the record survives the process when the call returns."""
    texts = corpus.read(run.corpus / "plain")
    logs = pipeline(run.directory / "data")
    calls = _emitter(logs, texts)
    took = [_timed(calls) for _ in range(run.events)]
    _close(logs, run, run.events)
    return _figures(run.events, "", took)


def power(run: Run) -> dict[str, Any]:
    """`durability = 'power'`: one caller, and eight that wait together, in turns with a bare append + fdatasync."""
    texts = corpus.read(run.corpus / "plain")
    logs = pipeline(run.directory / "data", durability="power")
    calls = _emitter(logs, texts)
    fd = os.open(run.directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append() -> None:
        os.write(fd, _LINE)
        os.fdatasync(fd)

    turns = max(1, run.events // _TURN)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(turns):
        bare += [_timed(append) for _ in range(_TURN)]
        ours += [_timed(calls) for _ in range(_TURN)]
    singles = grouped = 0.0
    each = max(2, run.events // _THREADS // 5)
    for _ in range(5):
        singles += _spent(lambda: [append() for _ in range(each * 2)])
        grouped += _spent(lambda: _together(calls, each))
    os.close(fd)
    _close(logs, run, turns * _TURN + 5 * each * _THREADS, ordered=False)
    figures = _figures(turns * _TURN, "", ours) | _figures(turns * _TURN, "bare_", bare)
    return figures | {
        "bare_rate": 5 * each * 2 / singles,
        "group_rate": 5 * each * _THREADS / grouped,
    }


def from_lua(durability: str) -> Callable[[Run], dict[str, Any]]:
    """`audit.log{...}` in a compiled loop of a (trusted) policy."""

    def measured(run: Run) -> dict[str, Any]:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        file = run.directory / "policy.lua"
        file.write_text(_TIMED % durability)
        logs = Pipeline(
            str(run.directory / "data"), "bench", RealDisk(), SystemClock(), lambda text: print(text, file=sys.stderr)
        )
        host = PolicyHost(str(file), logs, logs.say, trusted=True)
        host.load()
        with host.configuring("pre_init"):
            host.call("pre_init")
        p50, p99 = host.call("main", run.events)
        if left := logs.close():
            raise BadOutput(f"left in the ring: {left}")
        return {"events": run.events, "p50_us": p50, "p99_us": p99}

    return measured


def _emitter(logs: Pipeline, texts: list[str]) -> Callable[[], object]:
    put, mask = logs.emit, len(texts) - 1
    numbers = iter(range(1, 1 << 60))
    return lambda: put(event(texts[next(numbers) & mask]))


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e3


def _spent(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _together(call: Callable[[], object], each: int) -> None:
    threads = [threading.Thread(target=lambda: [call() for _ in range(each)]) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _figures(events: int, prefix: str, took: list[float]) -> dict[str, Any]:
    return {"events": events, f"{prefix}p50_us": percentile(took, 0.5), f"{prefix}p99_us": percentile(took, 0.99)}


def _close(logs: Pipeline, run: Run, events: int, *, ordered: bool = True) -> None:
    if left := logs.close():
        raise BadOutput(f"left in the ring: {left}")
    segments = sorted(Path(run.directory, "data", "bench").glob("bench-*"))
    if ordered:
        check_lines(segments, events, WORKLOADS["w1"], run.corpus)
    elif logs.routes[0].writer.written != events:
        raise BadOutput(f"{logs.routes[0].writer.written} of {events} records were written")


CONTESTANTS = {
    "call-process": Contestant(in_process, "one `Pipeline.emit`, durability process", 0.01),
    "call-power": Contestant(power, "one `Pipeline.emit`, durability power", 0.001),
    "lua-call-process": Contestant(from_lua("process"), "one `audit.log{...}`, durability process", 0.01),
    "lua-call-power": Contestant(from_lua("power"), "one `audit.log{...}`, durability power", 0.0003),
}
