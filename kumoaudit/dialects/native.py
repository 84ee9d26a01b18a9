"""The native dialect: `kumo.audit.configure_log{...}` and `configure_host{...}` (interface sections 4, 5)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from kumoaudit.core import options as o
from kumoaudit.core.errors import ConfigError, PredicateError, Problem
from kumoaudit.core.predicate import Always, Predicate
from kumoaudit.core.predicate_text import parse_predicate, predicate_from_table
from kumoaudit.core.spec import CompressionSpec, Fill, Plan, RotationSpec, RouteSpec

FORMATS = ("native", "kumo", "tarantool_json")
DESTINATIONS = ("segments", "devnull")

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")


def log_name(value: Any) -> str:
    """a name of 1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'"""
    if type(value) is not str or not _NAME.fullmatch(value):
        raise ValueError(f"expected {log_name.__doc__}, got {o.kind(value)}")
    return value


def where(value: Any) -> Predicate:
    """a predicate such as 'severity >= ALARM', or a table of field = value(s)"""
    try:
        if type(value) is str:
            return parse_predicate(value, allow_seq=False)
        if isinstance(value, Mapping):
            return predicate_from_table(value)
    except PredicateError as e:
        raise ValueError(str(e)) from None
    raise ValueError(f"expected {where.__doc__}, got {o.kind(value)}")


class SharedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What every log of every dialect takes under these names (interface section 3)."""

    durability: Annotated[str, o.one_of("process", "power")] = "process"
    overflow: Annotated[str, o.one_of("block", "drop")] = "block"
    on_failure: Annotated[str, o.one_of("refuse", "continue")] = "refuse"
    required: Annotated[bool | None, o.flag] = None
    block_timeout: Annotated[int, o.duration] = 10_000_000_000
    where: Annotated[Predicate, where] = Always()
    compression_window: Annotated[int, o.whole(10, 23, "(power of two)")] = 17
    compression_threads: Annotated[int, o.whole(1, 16)] = 2


class LogOptions(SharedOptions, frozen=True, kw_only=True):
    """`kumo.audit.configure_log{...}`: one native log."""

    name: Annotated[str, log_name]
    to: Annotated[str, o.one_of(*DESTINATIONS)] = "segments"
    path: Annotated[str | None, o.path] = None
    format: Annotated[str, o.one_of(*FORMATS)] = "native"
    max_file_size: Annotated[int, o.whole(0, None, "of uncompressed bytes")] = 1_000_000_000
    max_segment_duration: Annotated[int | None, o.duration] = None
    compression_level: Annotated[int, o.whole(0, 21)] = 0


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`kumo.audit.configure_host{...}`: what holds for the whole host."""

    node: Annotated[str | None, o.text] = None
    # With less the watchdog would end a host whose handlers are only slow.
    handler_timeout: Annotated[int, o.duration_of_at_least(100_000_000, "100ms")] = 10_000_000_000
    max_event_size: Annotated[int, o.whole(1024, 1 << 20, "of bytes")] = 1 << 20


# Options that say how a file is written.
_OF_FILES = (
    "path",
    "max_file_size",
    "max_segment_duration",
    "compression_level",
    "compression_window",
    "compression_threads",
    "durability",
)


def _meaningless(config: object, at: str) -> list[Problem]:
    """What was given to a log that writes no file."""
    if not isinstance(config, Mapping) or config.get("to") != "devnull":
        return []
    given = [name for name in _OF_FILES if config.get(name) is not None]
    log = f"log {config.get('name')!r}"
    return [Problem(at, f"{log}: {option!r} has no meaning with to = 'devnull'", "remove it") for option in given]


class NativeDialect:
    """`configure_log` -> one route."""

    name = "native"

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir

    def translate(self, config: Mapping[str, object], at: str) -> tuple[RouteSpec, ...]:
        """Raises ConfigError with every problem of the table."""
        opt, problems = o.collect_options(
            LogOptions, config, f"{at}: kumo.audit.configure_log" if at else "kumo.audit.configure_log"
        )
        problems += _meaningless(config, at)
        if problems or opt is None:
            raise ConfigError(problems)
        directory = os.path.abspath(opt.path or os.path.join(self._data_dir, opt.name)) if opt.to == "segments" else ""
        spec = RouteSpec(
            name=opt.name,
            plan=Plan(opt.where, Fill(), opt.format),
            # A native log is meant for exactly what its filter takes.
            claims=opt.where,
            sink=opt.to,
            path=directory,
            at=at,
            rotation=RotationSpec(opt.max_file_size, opt.max_segment_duration),
            compression=CompressionSpec(opt.compression_level, opt.compression_window, opt.compression_threads),
        )
        return (with_shared(spec, opt),)


def with_shared(spec: RouteSpec, opt: SharedOptions) -> RouteSpec:
    """*spec* with the options that every dialect shares."""
    is_local = spec.sink == "segments"
    return msgspec.structs.replace(
        spec,
        durability=opt.durability,
        overflow=opt.overflow,
        on_failure=opt.on_failure,
        required=is_local if opt.required is None else opt.required,
        block_timeout_ns=opt.block_timeout,
    )
