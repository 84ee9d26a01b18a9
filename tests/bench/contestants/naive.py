"""The plain way from Lua to a compressed file: a Python function per event, a dict, orjson, one zstd stream."""

from __future__ import annotations

import functools
from typing import Any

import lupa.luajit21 as lupa
import orjson
import zstandard

from tests.bench.contestants import Contestant, Run
from tests.bench.contestants.records import record
from tests.bench.measure import Meter
from tests.bench.verify import check_lines
from tests.bench.workloads import WORKLOADS, naive_chunk


def through_python(workload: str, run: Run) -> dict[str, Any]:
    """The loop of *workload* with a Python `audit`."""
    chosen = WORKLOADS[workload]
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    packed = run.directory / "log.zst"
    with packed.open("wb", buffering=1 << 20) as f:
        compress = zstandard.ZstdCompressor(level=3).compressobj()
        hook = lua.eval(chosen.hook) if chosen.hook else None

        def log(given: Any) -> None:
            if hook:
                given = hook(given)
            d = dict(given.items())
            kind, user = d.get("type", "message"), d.get("user")
            fields = record(d["description"], type=kind, user=user, module=d.get("module"), tag=d.get("tag"))
            f.write(compress.compress(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)))

        def log_text(text: str, d: dict[str, Any]) -> None:
            fields = record(text, type=d["type"], user=d.get("user"), module=d.get("module"), tag=d.get("tag"))
            f.write(compress.compress(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)))

        class Logger:
            def __init__(self, given: Any) -> None:
                self._defaults = dict(given.items())

            def log(self, text: str) -> None:
                log_text(text, self._defaults)

        loop = lua.execute(naive_chunk(chosen, run.corpus), lua.table_from({"log": log, "new": Logger}), run.events)
        meter = Meter()
        loop()
        f.write(compress.flush())
        f.flush()
        figures = meter.figures(run.events)
    size = check_lines([packed], run.events, chosen, run.corpus)
    return figures | {"bytes": size, "stored": packed.stat().st_size}


def _naive(workload: str, title: str) -> Contestant:
    return Contestant(functools.partial(through_python, workload), f"naive path, {title}", 0.05)


CONTESTANTS = {
    "naive": _naive("w1", "custom events"),
    "naive-w3": _naive("w3", "`l:log 'Hello'`"),
    "naive-w4": _naive("w4", "hook that masks the user"),
}
