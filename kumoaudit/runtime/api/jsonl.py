"""`kumo.jsonl.*` (KumoMTA section 5.4): segments as batches of records, and files of lines.

Batches, filters and latencies are Lua's (lua/kumoaudit/api/jsonl.lua); here is what waits, reads and writes.
"""

from __future__ import annotations

import os
import threading
import zoneinfo
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson

from kumoaudit.core import options as o
from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import ConfigError, KumoauditError, Problem, StorageFault, UsageError
from kumoaudit.core.units import NS
from kumoaudit.runtime.convert import text, unpack
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.works import place
from kumoaudit.segments.disk import is_directory
from kumoaudit.segments.line_files import FileSpec, LineFiles
from kumoaudit.segments.lines import MAX_LINE
from kumoaudit.segments.naming import HIDDEN, NAME_RULE
from kumoaudit.segments.tailer import Position, Tailer, read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_POLL_NS = 200_000_000
_STOP_LOOK_S = 0.2


def checkpoint_name(value: Any) -> str:
    """a name for the checkpoint: letters, digits, '.', '_', '-'"""
    if type(value) is not str or not NAME_RULE.fullmatch(value) or f".{value}" == HIDDEN:
        raise ValueError(f"expected {checkpoint_name.__doc__}, got {o.kind(value)}")
    return value


def suffix(value: Any) -> str:
    """the end of a file name"""
    if type(value) is not str or "/" in value or "\0" in value or len(value) > 64:
        raise ValueError(f"expected {suffix.__doc__}, got {o.kind(value)}")
    return value


def zone(value: Any) -> tzinfo:
    """a time zone such as 'Europe/London'"""
    try:
        return zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError(f"expected {zone.__doc__}, got {o.kind(value)}") from None


class ConsumerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One of the `consumers` of `kumo.jsonl.new_multi_tailer`; `filter` is a function of Lua's."""

    name: Annotated[str, o.text]
    max_batch_size: Annotated[int, o.whole(1, 1_000_000, "of records")] = 100
    max_batch_latency: Annotated[int, o.duration] = NS
    checkpoint_name: Annotated[str, checkpoint_name] = ""


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is read; the options of `kumo.jsonl.new_multi_tailer` but for its consumers."""

    directory: Annotated[str, o.path]
    pattern: Annotated[str, o.text] = "*"
    poll_watcher: Annotated[int, o.duration] = _POLL_NS
    tail: Annotated[bool, o.flag] = False


class TailerOptions(SourceOptions, frozen=True, kw_only=True):
    """`kumo.jsonl.new_tailer`: the source and one consumer, whose name is `default`."""

    max_batch_size: Annotated[int, o.whole(1, 1_000_000, "of records")] = 100
    max_batch_latency: Annotated[int, o.duration] = NS
    checkpoint_name: Annotated[str, checkpoint_name] = ""


class WriterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`kumo.jsonl.new_writer`."""

    log_dir: Annotated[str, o.path]
    max_file_size: Annotated[int, o.whole(1, None, "of bytes")] = 134_217_728
    max_segment_duration: Annotated[int | None, o.duration] = None
    compression_level: Annotated[int, o.whole(0, 22)] = 3
    suffix: Annotated[str, suffix] = ""
    tz: Annotated[tzinfo, zone] = UTC


class Tail:
    """A tailer in the hands of a policy: one task reads at a time, any may close."""

    def __init__(self, tailer: Tailer, directory: str, poll_ns: int) -> None:
        self.tailer, self.directory, self.poll_s = tailer, directory, max(poll_ns / NS, 0.001)
        self.busy = threading.Lock()
        self.closed = threading.Event()


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions themselves are Lua's."""
    disk = host.pipeline.disk

    def new_tailer(at: bytes, packed: bytes, *, is_multi: bool) -> Any:
        call = "kumo.jsonl.new_multi_tailer" if is_multi else "kumo.jsonl.new_tailer"
        where = f"{host.place_of(at)}: {call}"
        given = unpack(packed)
        source: SourceOptions
        if is_multi:
            source, consumers = _multi(given, where)
        else:
            one = o.read_options(TailerOptions, given, where)
            source, consumers = one, [_consumer_of(one)]
        directory = os.path.abspath(source.directory)
        try:
            starts = [
                read_checkpoint(disk, directory, c.checkpoint_name) if c.checkpoint_name and not source.tail else None
                for c in consumers
            ]
        except StorageFault as e:
            raise StorageFault(f"{where}: {e}") from None
        first = None if None in starts else min(s for s in starts if s)
        tailer = Tailer(
            disk,
            directory,
            source.pattern,
            lambda what: host.say(f"{where}: warning: {what}"),
            start=first,
            newest=source.tail,
        )
        number = host.objects.add(Tail(tailer, directory, source.poll_watcher))
        described = [
            {
                "name": c.name,
                "size": c.max_batch_size,
                "latency": c.max_batch_latency / NS,
                "checkpoint": c.checkpoint_name,
                "file": s.file if s else "",
                "line": s.line if s else 0,
            }
            for c, s in zip(consumers, starts, strict=True)
        ]
        return host.works.tables.of({"number": number, "consumers": described})

    def read(at: bytes, number: float, most: float, wait_s: float) -> Any:
        """Records with their positions and the seconds that were waited, or None when it is over. Waits *wait_s* at
        most for the first record; negative: without limit."""
        tail = host.objects.get(number, Tail)
        now = host.pipeline.clock.monotonic_ns
        began = now()
        while not (tail.closed.is_set() or host.stopping.is_set()):
            with tail.busy:
                found = tail.tailer.read(int(most))
            waited = (now() - began) / 1e9
            if found or 0 <= wait_s <= waited:
                positions, records = [p for p, _ in found], [r for _, r in found]
                return records, [p.file for p in positions], [p.line for p in positions], waited
            pause = Deadline(host.pipeline.clock, min(tail.poll_s, wait_s - waited if wait_s >= 0 else tail.poll_s))
            while (left := pause.left_s()) and not tail.closed.is_set():
                if host.stopping.wait(min(left, _STOP_LOOK_S)):
                    break
        return None

    def commit(at: bytes, number: float, name: bytes, file: bytes, line: float) -> None:
        tail = host.objects.get(number, Tail)
        if host.validating:
            return
        try:
            write_checkpoint(disk, tail.directory, text(name), Position(os.fsdecode(file), int(line)))
        except StorageFault as e:
            raise StorageFault(f"{place(at, 'batch:commit')}: {e}") from None

    def close(number: float) -> None:
        tail = host.objects.get(number, Tail)
        tail.closed.set()
        # A task that reads just now sees it; its file is closed when nobody holds the tailer.
        if tail.busy.acquire(blocking=False):
            tail.tailer.close()
            tail.busy.release()

    def new_writer(at: bytes, packed: bytes) -> float:
        where = f"{host.place_of(at)}: kumo.jsonl.new_writer"
        options = o.read_options(WriterOptions, unpack(packed), where)
        directory = os.path.abspath(options.log_dir)
        if problem := _taken(host, directory):
            raise UsageError(f"{where}: log_dir {options.log_dir}: {problem}\n  choose a directory of its own")
        spec = FileSpec(
            directory,
            options.max_file_size,
            options.max_segment_duration,
            options.compression_level,
            options.suffix,
            options.tz,
        )
        return float(host.objects.add(LineFiles(disk, host.pipeline.clock, spec)))

    def write(at: bytes, number: float, method: bytes, line: bytes) -> None:
        where = place(at, f"writer:{text(method)}")
        files = host.objects.get(number, LineFiles)
        line = line.removesuffix(b"\n")
        if len(line) + 1 > MAX_LINE:
            raise UsageError(f"{where}: the record is longer than {MAX_LINE >> 20} MiB")
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError as e:
            raise UsageError(f"{where}: the line is not JSON: {e}") from None
        if b"\n" in line:
            raise UsageError(f"{where}: a record is one line; this has several")
        if not host.validating:
            _attempt(where, lambda: files.write(line + b"\n"))

    def close_writer(at: bytes, number: float) -> None:
        files = host.objects.get(number, LineFiles)
        _attempt(place(at, "writer:close"), files.close)

    host.python[b"jsonl_tailer"] = host.guard(lambda at, packed: new_tailer(at, packed, is_multi=False))
    host.python[b"jsonl_multi_tailer"] = host.guard(lambda at, packed: new_tailer(at, packed, is_multi=True))
    host.python[b"jsonl_close"] = host.guard(close)
    host.python[b"jsonl_writer"] = host.guard(new_writer)
    host.works[b"jsonl_read"] = read
    host.works[b"jsonl_commit"] = commit
    host.works[b"jsonl_write"] = write
    host.works[b"jsonl_close_writer"] = close_writer
    return {}


def _attempt(where: str, action: Any) -> None:
    try:
        action()
    except KumoauditError as e:
        raise type(e)(f"{where}: {e}") from None


def _consumer_of(one: TailerOptions) -> ConsumerOptions:
    return ConsumerOptions(
        name="default",
        max_batch_size=one.max_batch_size,
        max_batch_latency=one.max_batch_latency,
        checkpoint_name=one.checkpoint_name,
    )


def _multi(given: Any, where: str) -> tuple[SourceOptions, list[ConsumerOptions]]:
    source, problems = o.collect_options(SourceOptions, given, where, ignore=("consumers",))
    listed = given.get("consumers") if isinstance(given, dict) else None
    consumers: list[ConsumerOptions] = []
    if not isinstance(listed, list) or not listed:
        problems.append(Problem(where, f"consumers: expected a list of tables, got {o.kind(listed)}"))
        listed = []
    for i, item in enumerate(listed, 1):
        one, wrong = o.collect_options(ConsumerOptions, item, f"{where}: consumers[{i}]", ignore=("filter",))
        problems += wrong
        if one:
            consumers.append(one)
    for what in ("name", "checkpoint_name"):
        values = [getattr(c, what) for c in consumers if getattr(c, what)]
        problems += [
            Problem(where, f"consumers: the {what} {v!r} is there twice", "give each consumer its own")
            for v in sorted({v for v in values if values.count(v) > 1})
        ]
    if problems or source is None:
        raise ConfigError(problems)
    return source, consumers


def _taken(host: PolicyHost, directory: str) -> str:
    """Why a writer may not have this directory, or ""."""
    real = os.path.realpath(directory)
    if is_directory(host.pipeline.disk, os.path.join(real, HIDDEN)):
        return "it belongs to a log of kumoaudit"
    data = os.path.realpath(host.pipeline.data_dir)
    if real == data or real.startswith(data + os.sep):
        return "it is the data directory of this host or lies in it"
    specs = [r.spec for r in host.pipeline.open_routes] + host.validated
    for spec in specs:
        if spec.path and os.path.realpath(spec.path) == real:
            return f"log {spec.name!r} of this host ({spec.at}) writes there"
    return ""
