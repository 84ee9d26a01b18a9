"""Records that are born in Python: `Pipeline.emit`, and the ring by itself."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.event import Event
from kumoaudit.core.ids import uuid4
from kumoaudit.dialects.native import NativeDialect
from kumoaudit.formats import FORMATS
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk
from tests.bench import corpus
from tests.bench.contestants import Contestant, Run
from tests.bench.measure import Meter, cpu_s
from tests.bench.verify import BadOutput, check_lines
from tests.bench.workloads import WORKLOADS

# What the daemon sets for the whole process.
SWITCH_INTERVAL_S = 0.0005


def pipeline(directory: Path, **options: object) -> Pipeline:
    """A pipeline with one native log, `bench`, open."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    made = Pipeline(str(directory), "bench", RealDisk(), SystemClock(), lambda text: print(text, file=sys.stderr))
    (spec,) = NativeDialect(str(directory)).translate({"name": "bench", **options}, "bench")
    made.open_log(spec)
    return made


def event(description: str) -> Event:
    """The record of the loggers as an event: a fresh id, the time, and eight texts."""
    return Event(
        id=uuid4(),
        time_ns=time.time_ns(),
        kind="custom",
        type="custom_login",
        user="eve",
        session_type="background",
        module="billing",
        tag="x",
        description=description,
    )


def emit(run: Run) -> dict[str, Any]:
    """Event, `Pipeline.emit`, and everything behind it until the log is closed; `caller_ns` is the caller's thread."""
    texts = corpus.read(run.corpus / "plain")
    mask = len(texts) - 1
    logs = pipeline(run.directory / "data")
    put = logs.emit
    meter = Meter()
    before = cpu_s(resource.RUSAGE_THREAD)
    for i in range(1, run.events + 1):
        put(event(texts[i & mask]))
    caller = cpu_s(resource.RUSAGE_THREAD) - before
    left = logs.close()
    figures = meter.figures(run.events) | {"caller_ns": caller / run.events * 1e9}
    if left:
        raise BadOutput(f"left in the ring: {left}")
    segments = sorted(Path(run.directory, "data", "bench").glob("bench-*"))
    size = check_lines(segments, run.events, WORKLOADS["w1"], run.corpus)
    return figures | {"bytes": size, "stored": sum(s.stat().st_size for s in segments)}


def append(run: Run) -> dict[str, Any]:
    """`Ring.append` of lines that are there already; `caller_ns` is the caller's thread: without the writer."""
    texts = corpus.read(run.corpus / "plain")
    encode = FORMATS["native"].encode
    events = [event(texts[i & (len(texts) - 1)]) for i in range(1, min(run.events, 4096) + 1)]
    lines = [(encode(e), e.time_ns) for e in events]
    logs = pipeline(run.directory / "data")
    put = logs.routes[0].ring.append
    meter = Meter()
    before = cpu_s(resource.RUSAGE_THREAD)
    count = 0
    while count < run.events:
        for line, time_ns in lines:
            put(line, time_ns)
        count += len(lines)
    caller = cpu_s(resource.RUSAGE_THREAD) - before
    logs.close()
    figures = meter.figures(count)
    written = logs.routes[0].writer.written
    if written < count:
        raise BadOutput(f"{written} of {count} records were written")
    return figures | {"caller_ns": caller / count * 1e9}


CONTESTANTS = {
    "emit": Contestant(emit, "kumoaudit, record born in Python, `Pipeline.emit`", 0.1),
    "append": Contestant(append, "kumoaudit, `Ring.append` of ready lines", 0.1),
}
