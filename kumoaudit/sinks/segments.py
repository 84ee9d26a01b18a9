"""The segments sink of a route: zstd segments in a directory (`segments.writer` does the work)."""

from __future__ import annotations

from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.core.spec import RouteSpec
from kumoaudit.segments.place import Description
from kumoaudit.segments.writer import SegmentSink


def segment_sink(disk: Disk, clock: Clock, spec: RouteSpec, ring: str) -> SegmentSink:
    """A sink for *spec*, not open yet; *ring* is the path of its ring, for readers that have only the directory."""
    return SegmentSink(
        disk,
        clock,
        spec.path,
        Description(spec.name, spec.plan.format, spec.file_prefix or spec.name, ring),
        spec.rotation,
        spec.compression,
        power=spec.durability == "power",
    )
