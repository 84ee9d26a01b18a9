"""zstd alone on the bytes that the host wrote: nothing that packs them at level 3 can be faster in one thread."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from typing import Any

import zstandard

from tests.bench.contestants import Contestant, Run, Skipped
from tests.bench.measure import Meter
from tests.bench.verify import BadOutput, digest

_STEP = 1 << 20


def library(run: Run) -> dict[str, Any]:
    """One stream of level 3, from memory to a file, on one thread."""
    lines = memoryview(run.lines.read_bytes())
    packed = run.directory / "lines.zst"
    meter = Meter()
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    fd = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for at in range(0, len(lines), _STEP):
        if piece := stream.compress(lines[at : at + _STEP]):
            os.write(fd, piece)
    os.write(fd, stream.flush())
    os.close(fd)
    return _checked(run, meter.figures(run.events))


def command(run: Run) -> dict[str, Any]:
    """`zstd -3 --single-thread`, from file to file."""
    if not shutil.which("zstd"):
        raise Skipped("the command zstd is not installed")
    run.lines.read_bytes()  # into the page cache
    meter = Meter(resource.RUSAGE_CHILDREN)
    packed = run.directory / "lines.zst"
    subprocess.run(["zstd", "-3", "--single-thread", "-q", "-f", str(run.lines), "-o", str(packed)], check=True)
    return _checked(run, meter.figures(run.events))


def _checked(run: Run, figures: dict[str, Any]) -> dict[str, Any]:
    packed = run.directory / "lines.zst"
    if digest(packed) != digest(run.lines):
        raise BadOutput("the packed bytes are not the given ones")
    return figures | {"bytes": run.lines.stat().st_size, "stored": packed.stat().st_size}


CONTESTANTS = {
    "zstd": Contestant(library, "zstd -3, python-zstandard, same bytes", needs="w1-two"),
    "zstd-command": Contestant(command, "`zstd -3 --single-thread`, same bytes", needs="w1-two"),
    "zstd-varied": Contestant(library, "zstd -3, python-zstandard, bytes of the varied events", needs="varied-two"),
}
