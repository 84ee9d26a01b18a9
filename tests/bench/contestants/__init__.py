"""Who takes part. A contestant is a function of a `Run` that does the work, verifies it and returns its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Run(NamedTuple):
    """One run of one contestant, in a process of its own. `directory` is empty and thrown away afterwards."""

    events: int
    corpus: Path
    directory: Path
    lines: Path
    """The uncompressed lines of a run of the host (contestants that compress read it, `keep` makes it write it)."""
    keep: bool = False


class Skipped(Exception):
    """The contestant cannot take part here; the text says why."""


class Contestant(NamedTuple):
    """`share` of the run's events is enough for a slow contestant; figures are per event. `needs` is the contestant
    whose lines it works on; `note` stands beside its figures."""

    function: Callable[[Run], dict[str, Any]]
    title: str
    share: float = 1.0
    needs: str = ""
    note: str = ""


def contestants() -> dict[str, Contestant]:
    """All of them by name, in the order of a round. Imported late: they import this module."""
    from tests.bench.contestants import compressors, http, ingest, latency, loggers, lua_host, naive, python_born

    found: dict[str, Contestant] = {}
    for module in (compressors, lua_host, naive, loggers, python_born, ingest, http, latency):
        found |= module.CONTESTANTS
    return found
