"""What a route is, as plain frozen data: the only thing that dialects produce and the pipeline consumes."""

from __future__ import annotations

from typing import Literal

import msgspec

from kumoaudit.core.predicate import Always, Predicate
from kumoaudit.core.units import Free

MIB = 1 << 20


class Fill(msgspec.Struct, frozen=True):
    """What a log writes where an event has no value (the Tarantool section fills in `tarantool` and `admin`)."""

    module: str | None = "kumoaudit"
    user: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """How an event becomes a line of a log: which, with what filled in, in which shape. Equal plans share a line."""

    where: Predicate = Always()
    fill: Fill = Fill()
    format: str = "native"


class RotationSpec(msgspec.Struct, frozen=True):
    """When a segment ends. `max_bytes` counts uncompressed bytes; `max_age_ns` None means never by time."""

    max_bytes: int = 1_000_000_000
    max_age_ns: int | None = None


class CompressionSpec(msgspec.Struct, frozen=True):
    """zstd's settings: level 0..21 (0 = 3), window as a power of two, threads that compress full blocks ahead."""

    level: int = 0
    window_log: int = 17
    threads: int = 2


class RingSpec(msgspec.Struct, frozen=True):
    """Size of a ring, and how many records may be waiting for their file (`back_pressure`; None = what fits)."""

    block_bytes: int = MIB
    blocks: int = 8
    max_waiting: int | None = None


class FreeSpec(msgspec.Struct, frozen=True):
    """Lower limits of free space and inodes under which the log's state is not healthy (KumoMTA `min_free_*`)."""

    space: Free
    inodes: Free


class RouteSpec(msgspec.Struct, frozen=True):
    """One configured log.

    `claims` says which events the log is meant for (and `claims_alone` what more while no other log is configured); of
    those it records what `plan.where` takes. `at` is the place that configured it, `path` its directory or file.
    """

    name: str
    plan: Plan
    claims: Predicate
    sink: str
    path: str
    claims_alone: Predicate | None = None
    at: str = ""
    file_prefix: str = ""
    ring: RingSpec = RingSpec()
    rotation: RotationSpec = RotationSpec()
    compression: CompressionSpec = CompressionSpec()
    free: FreeSpec | None = None
    durability: Literal["process", "power"] = "process"
    overflow: Literal["block", "drop"] = "block"
    block_timeout_ns: int = 10_000_000_000
    required: bool = True
    on_failure: Literal["refuse", "continue"] = "refuse"
    dialect: str = "native"


class Query(msgspec.Struct, frozen=True):
    """A question to a log: what, from when to when (nanoseconds, until is exclusive), how many, which end first."""

    where: Predicate = Always()
    since_ns: int | None = None
    until_ns: int | None = None
    limit: int | None = None
    newest_first: bool = True
