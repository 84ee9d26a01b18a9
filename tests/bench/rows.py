"""What is compared with what, and the goal that stands beside it."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Row(NamedTuple):
    """`contestant`'s figure *key* divided by `against`'s figure *against_key*; without `against`, the figure itself.

    `against` with several names means the one whose figure is the least. The goal is met when the median is.
    """

    group: str
    what: str
    contestant: str
    key: str
    against: tuple[str, ...] = ()
    against_key: str = ""
    goal: tuple[Literal["<=", ">="], float] | None = None
    unit: str = "x"
    why: str = ""
    """Where the rest goes, shown when the goal is missed."""


LOGGERS = ("stdlib", "structlog", "picologging")

WALL, CPU = "rate", "cpu_ns"


def _row(
    group: str,
    what: str,
    ours: str,
    key: str,
    against: str | tuple[str, ...] = (),
    goal: tuple[Literal["<=", ">="], float] | None = None,
    *,
    against_key: str = "",
    unit: str = "x",
    why: str = "",
) -> Row:
    others = (against,) if isinstance(against, str) else against
    return Row(group, what, ours, key, others, against_key or key, goal, unit, why)


_HALF = (
    "aiohttp itself, with a task for each request, takes about 20 us of it; who asks, what they may do and both records "
    "take the rest, a third of that the records"
)

ROWS = (
    # Custom events from Lua
    _row("w1", "speed, one writer / zstd -3", "w1-one", WALL, "zstd", (">=", 1.3)),
    _row("w1", "speed, two threads / zstd -3", "w1-two", WALL, "zstd", (">=", 1.7)),
    _row("w1", "speed, two threads / `zstd -3 --single-thread`", "w1-two", WALL, "zstd-command"),
    _row("w1", "CPU, one writer / zstd -3", "w1-one", CPU, "zstd", ("<=", 1.1)),
    _row("w1", "CPU, two threads / zstd -3", "w1-two", CPU, "zstd", ("<=", 1.1)),
    _row("w1", "CPU, two threads / `zstd -3 --single-thread`", "w1-two", CPU, "zstd-command"),
    _row(
        "w1",
        "speed of the whole life of the host, one writer / zstd -3",
        "w1-one",
        "whole_rate",
        "zstd",
        against_key=WALL,
    ),
    _row(
        "w1",
        "speed of the whole life of the host, two threads / zstd -3",
        "w1-two",
        "whole_rate",
        "zstd",
        against_key=WALL,
    ),
    _row("w1", "size, one writer / zstd -3", "w1-one", "stored", "zstd"),
    _row("memory", "peak memory, one writer", "w1-one", "peak_mb", goal=("<=", 120), unit="MB"),
    _row("memory", "peak memory, two threads", "w1-two", "peak_mb", goal=("<=", 120), unit="MB"),
    # The other ways to do the same
    _row("peers", "CPU, one writer / naive path", "w1-one", CPU, "naive", ("<=", 0.1)),
    _row("peers", "CPU, two threads / naive path", "w1-two", CPU, "naive", ("<=", 0.1)),
    _row("peers", "CPU, two threads / best Python logger (uncompressed)", "w1-two", CPU, LOGGERS, ("<=", 0.1)),
    _row("peers", "CPU, two threads / bare orjson loop (uncompressed)", "w1-two", CPU, "bare"),
    _row("peers", "speed, two threads / naive path", "w1-two", WALL, "naive"),
    # Other shapes of event
    _row("varied", "varied events: speed, one writer / zstd -3", "varied-one", WALL, "zstd-varied"),
    _row("varied", "varied events: speed, two threads / zstd -3", "varied-two", WALL, "zstd-varied"),
    _row("varied", "varied events: CPU, two threads / zstd -3", "varied-two", CPU, "zstd-varied"),
    _row("w3", "`l:log 'Hello'`: CPU / naive path", "w3", CPU, "naive-w3"),
    _row("w3", "`l:log 'Hello'`: speed / naive path", "w3", WALL, "naive-w3"),
    _row("w4", "hook that masks the user: CPU / naive path", "w4", CPU, "naive-w4"),
    _row("w4", "hook that masks the user: speed / naive path", "w4", WALL, "naive-w4"),
    # Born in Python
    _row(
        "python",
        "born in Python, into the ring (the caller's thread): CPU / bare orjson loop (uncompressed)",
        "emit",
        "caller_ns",
        "bare",
        ("<=", 0.5),
        against_key=CPU,
    ),
    _row(
        "python",
        "born in Python, compressed and in the file: CPU / bare orjson loop (uncompressed)",
        "emit",
        CPU,
        "bare",
    ),
    _row(
        "python",
        "`Ring.append` alone, the caller's thread: CPU / bare orjson loop",
        "append",
        "caller_ns",
        "bare",
        against_key=CPU,
    ),
    # Sent by applications
    _row("ingest", "over a Unix socket to zstd segments: lines/s", "ingest", WALL, goal=(">=", 500_000), unit="/s"),
    _row("ingest", "over a Unix socket to zstd segments: CPU / rsyslog", "ingest", CPU, "rsyslog", ("<=", 0.4)),
    _row("ingest", "over a Unix socket to zstd segments: speed / rsyslog", "ingest", WALL, "rsyslog"),
    _row("ingest", "parsed and into the ring (the receiver's thread): CPU", "ingest-ring", CPU, unit="ns"),
    # The HTTP listener
    _row(
        "http",
        "guarded GET, Python's loop / uvicorn h11 constant: requests/s",
        "http-asyncio",
        WALL,
        "uvicorn",
        (">=", 1.0),
    ),
    _row(
        "http",
        "guarded GET, uvloop / uvicorn h11 constant: requests/s",
        "http-uvloop",
        WALL,
        "uvicorn",
        (">=", 1.8),
        why=_HALF,
    ),
    _row("http", "guarded GET, Python's loop / uvicorn h11 constant: CPU", "http-asyncio", CPU, "uvicorn", ("<=", 1.0)),
    _row(
        "http",
        "guarded GET, uvloop / uvicorn h11 constant: CPU",
        "http-uvloop",
        CPU,
        "uvicorn",
        ("<=", 0.56),
        why=_HALF,
    ),
    _row(
        "http",
        "both records of a request: CPU, recorded minus filtered",
        "http-filtered",
        "records_us",
        goal=("<=", 10),
        unit="us",
        why="two events, their way through the logs, and the writer",
    ),
    _row("http", "both records of a request, made from nothing to the file: CPU", "both-records", "both_us", unit="us"),
    _row("http", "over HTTP, batches of 1,000: records/s", "http-ingest", WALL, goal=(">=", 250_000), unit="/s"),
    _row("http", "over HTTP, batches of 1,000: CPU a record", "http-ingest", CPU, unit="ns"),
    _row("http", "one check of a password (argon2id): p50", "password", "p50_us", unit="us"),
    # One call
    _row("latency", "`Pipeline.emit`, process: p50", "call-process", "p50_us", unit="us"),
    _row("latency", "`Pipeline.emit`, process: p99", "call-process", "p99_us", unit="us"),
    _row("latency", "`audit.log`, process: p50", "lua-call-process", "p50_us", unit="us"),
    _row("latency", "`audit.log`, process: p99", "lua-call-process", "p99_us", unit="us"),
    _row(
        "latency",
        "`Pipeline.emit`, power: p50 / append + fdatasync p50",
        "call-power",
        "p50_us",
        "call-power",
        ("<=", 1.3),
        against_key="bare_p50_us",
    ),
    _row(
        "latency",
        "`Pipeline.emit`, power: p99 / append + fdatasync p99",
        "call-power",
        "p99_us",
        "call-power",
        against_key="bare_p99_us",
    ),
    _row(
        "latency",
        "`audit.log`, power: p50 / append + fdatasync p50",
        "lua-call-power",
        "p50_us",
        "call-power",
        against_key="bare_p50_us",
    ),
    _row(
        "latency",
        "rate of 8 waiting threads / single append + fdatasync",
        "call-power",
        "group_rate",
        "call-power",
        (">=", 2.0),
        against_key="bare_rate",
    ),
)

GROUPS = tuple(dict.fromkeys(row.group for row in ROWS))
