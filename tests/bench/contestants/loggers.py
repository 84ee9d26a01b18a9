"""Logging packages of Python, and no package at all: the same record, written uncompressed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.bench import corpus
from tests.bench.contestants import Contestant, Run, Skipped
from tests.bench.contestants.records import record
from tests.bench.measure import Meter
from tests.bench.verify import check_lines
from tests.bench.workloads import WORKLOADS

# Gives the function that records one description and the one that closes the file.
Maker = Callable[[Path], tuple[Callable[[str], Any], Callable[[], Any]]]

_FIELDS = {"user": "eve", "module": "billing", "type": "custom_login", "tag": "x"}


def loop(make: Maker, run: Run) -> dict[str, Any]:
    """Record the descriptions of the plain corpus one after the other."""
    texts = corpus.read(run.corpus / "plain")
    mask = len(texts) - 1
    path = run.directory / "log.jsonl"
    try:
        one, close = make(path)
    except ImportError as e:
        raise Skipped(f"{e.name} is not installed") from None
    meter = Meter()
    for i in range(1, run.events + 1):
        one(texts[i & mask])
    close()
    figures = meter.figures(run.events)
    size = check_lines([path], run.events, WORKLOADS["w1"], run.corpus)
    return figures | {"bytes": size, "stored": path.stat().st_size}


def standard_library(path: Path) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """`logging` with a formatter that writes JSON; the fields travel as `extra`."""
    import logging

    class Json(logging.Formatter):
        def format(self, r: logging.LogRecord) -> str:
            d = r.__dict__
            fields = record(
                r.getMessage(),
                type=d["type_"],
                severity=r.levelname,
                user=d["user_"],
                module=d["module_"],
                tag=d["tag_"],
            )
            return json.dumps(fields, ensure_ascii=False)

    logger = logging.getLogger("bench")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(Json())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    extra = {f"{name}_": value for name, value in _FIELDS.items()}
    return lambda text: logger.info(text, extra=extra), handler.close


def structlog(path: Path) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """structlog in its fastest form: bytes from orjson, no stdlib logger."""
    import structlog

    f = path.open("wb")

    def fields(_logger: object, method: str, e: Any) -> dict[str, Any]:
        return record(
            e["event"], type=e["type"], severity=method.upper(), user=e["user"], module=e["module"], tag=e["tag"]
        )

    structlog.configure(
        processors=[fields, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        logger_factory=structlog.BytesLoggerFactory(f),
        cache_logger_on_first_use=True,
    )
    logger = structlog.get_logger()
    return lambda text: logger.info(text, **_FIELDS), f.close


def picologging(path: Path) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """picologging with orjson. It drops `extra`, so the fields are constants of the formatter: less work."""
    import picologging

    class Json(picologging.Formatter):  # type: ignore[misc]
        def format(self, r: Any) -> str:
            return orjson.dumps(record(r.getMessage(), severity=r.levelname)).decode()

    logger = picologging.getLogger("bench")
    handler = picologging.FileHandler(str(path))
    handler.setFormatter(Json())
    logger.addHandler(handler)
    logger.setLevel(picologging.INFO)
    return logger.info, handler.close


def bare(path: Path) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """No logger: orjson and a buffered file."""
    f = path.open("wb", buffering=1 << 20)

    def one(text: str) -> None:
        f.write(orjson.dumps(record(text), option=orjson.OPT_APPEND_NEWLINE))

    return one, f.close


def _logger(make: Maker, title: str, share: float, note: str = "uncompressed") -> Contestant:
    return Contestant(functools.partial(loop, make), title, share, note=note)


CONTESTANTS = {
    "stdlib": _logger(standard_library, "stdlib logging + json", 0.03),
    "structlog": _logger(structlog, "structlog + orjson", 0.03),
    "picologging": _logger(picologging, "picologging + orjson", 0.03, "uncompressed; drops `extra`"),
    "bare": _logger(bare, "bare loop, orjson + buffered file", 0.1),
}
