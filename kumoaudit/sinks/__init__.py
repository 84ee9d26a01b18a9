"""Batch -> somewhere. `SINKS` is the table of names; only `pipeline.build` reads it."""

from __future__ import annotations

from collections.abc import Callable

from kumoaudit.core.protocols import Clock, Disk, Sink
from kumoaudit.core.spec import RouteSpec
from kumoaudit.sinks.devnull import DevNullSink
from kumoaudit.sinks.segments import segment_sink

Factory = Callable[[Disk, Clock, RouteSpec, str], Sink]
"""(disk, clock, spec, path of the ring) -> a sink that is not open yet."""

SINKS: dict[str, Factory] = {
    "segments": segment_sink,
    "devnull": lambda disk, clock, spec, ring: DevNullSink(),
}
