"""What tests share: events, hand-made logs (segments, trailers, rings) and the command line as a real process.

The log made here is written from the description of the format alone, not with the package's own writer, so that a
reader is tested against what stands on the disk and not against the writer's idea of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zstandard

from kumoaudit.core.event import Event, Mark
from kumoaudit.core.ids import ulid
from kumoaudit.formats import FORMATS
from kumoaudit.segments.frames import Trailer, pack_trailer
from kumoaudit.segments.naming import hidden, segment_name
from kumoaudit.segments.spool import HEADER_BYTES, MAGIC, SLOT_BYTES, SLOTS_AT, boot_id, mark_cell, pack_mark

T0 = 1_790_000_000_000_000_000
SECOND = 1_000_000_000

_REPO = Path(__file__).resolve().parent.parent
_VECTORS = Path(__file__).resolve().parent / "vectors"


def vectors(name: str) -> Any:
    """A file of test vectors: cases as data, in `tests/vectors`."""
    return json.loads((_VECTORS / name).read_text())


def event(n: int = 0, **fields: Any) -> Event:
    """The n-th event of a log: a second after the one before; any field can be given."""
    time_ns = T0 + n * SECOND
    given = {
        "id": ulid(time_ns),
        "time_ns": time_ns,
        "kind": "custom",
        "type": "custom_step",
        "node": "alpha",
        "description": f"step {n}",
        **fields,
    }
    return Event(**given)


def events(count: int, start: int = 0, **fields: Any) -> list[Event]:
    return [event(n, **fields) for n in range(start, start + count)]


def stored(event_: Event, format_name: str = "native") -> bytes:
    """The line of an event, without its newline."""
    return FORMATS[format_name].encode(event_).removesuffix(b"\n")


def compressed(text: bytes, *, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=checksum).compress(text)


def open_frame(text: bytes, *, checksum: bool = True) -> bytes:
    """A frame that was flushed but not ended: what a reader of the file sees while the host writes."""
    out = zstandard.ZstdCompressor(level=3, write_checksum=checksum).compressobj()
    return out.compress(text) + out.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def frame_with_trailer(
    lines: Sequence[bytes],
    first_seq: int,
    *,
    ring_id: int = 7,
    block: int = 0,
    offset: int = 0,
    times: tuple[int, int] = (T0, T0 + 10_000 * SECOND),
) -> bytes:
    text = b"".join(line + b"\n" for line in lines)
    data = compressed(text)
    digest = hashlib.sha256(data).digest()
    trailer = Trailer(ring_id, first_seq, len(lines), len(data), len(text), block, offset, *times, digest, 0)
    return data + pack_trailer(trailer)


class HandMadeLog:
    """A log directory and its ring, made step by step: `append` acknowledges, `commit` ends a frame, `flush` leaves one
    open, `rotate` begins another segment, `save` writes the ring file."""

    def __init__(
        self,
        directory: Path,
        *,
        ring: Path | None = None,
        format_name: str = "native",
        prefix: str = "log",
        ring_id: int = 7,
        block_bytes: int = 1 << 16,
        blocks: int = 4,
    ) -> None:
        self.directory, self.ring, self.format_name, self.prefix = directory, ring, format_name, prefix
        self.ring_id, self.block_bytes, self.block_count = ring_id, block_bytes, blocks
        self.current = self.freed = 0
        self.blocks: dict[int, bytes] = {0: b""}
        self.waiting: list[tuple[bytes, int, int]] = []  # line, block and offset behind it
        self.next_seq = 1
        self.segments = 0
        self.in_file: list[bytes] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.rotate()

    def describe(self) -> None:
        Path(hidden(str(self.directory))).mkdir(exist_ok=True)
        text = {
            "name": self.prefix,
            "format": self.format_name,
            "prefix": self.prefix,
            "ring": str(self.ring) if self.ring else "",
        }
        Path(hidden(str(self.directory), "log.json")).write_text(json.dumps(text))

    def rotate(self) -> None:
        self.segment = self.directory / segment_name(self.prefix, T0 + self.segments * 3600 * SECOND)
        self.segments += 1

    def append(self, these: Iterable[Event | bytes]) -> list[bytes]:
        """Acknowledge events (or raw lines); gives their lines."""
        lines = [e if isinstance(e, bytes) else stored(e, self.format_name) for e in these]
        for line in lines:
            if len(self.blocks[self.current]) + len(line) + 1 > self.block_bytes:
                self.current += 1
                self.blocks[self.current] = b""
            self.blocks[self.current] += line + b"\n"
            self.waiting.append((line, self.current, len(self.blocks[self.current])))
        return lines

    def commit(self, count: int | None = None, *, extra: Sequence[bytes] = ()) -> None:
        """End a frame with the next *count* waiting lines (all of them by default), *extra* lines behind them."""
        taken = self.waiting[: len(self.waiting) if count is None else count]
        self.waiting = self.waiting[len(taken) :]
        block, offset = (taken[-1][1], taken[-1][2]) if taken else (self.current, 0)
        lines = [line for line, _, _ in taken] + list(extra)
        data = frame_with_trailer(lines, self.next_seq, ring_id=self.ring_id, block=block, offset=offset)
        with self.segment.open("ab") as f:
            f.write(data)
        self.next_seq += len(lines)
        self.in_file += lines

    def flush(self, count: int | None = None, *, cut: int = 0) -> None:
        """Write the waiting lines as a frame without an end; *cut* bytes of it never reached the file."""
        taken = self.waiting[: len(self.waiting) if count is None else count]
        data = open_frame(b"".join(line + b"\n" for line, _, _ in taken))
        with self.segment.open("ab") as f:
            f.write(data[: len(data) - cut])

    def save(self, *, same_boot: bool = True) -> None:
        """Write the ring as it stands, and the description beside the segments."""
        assert self.ring is not None
        boot = boot_id() if same_boot else (1, 2)
        header = bytearray(HEADER_BYTES)
        words = (MAGIC, self.ring_id, self.block_bytes, self.block_count, self.current, self.freed, 0, *boot, 0)
        struct.pack_into("<10Q", header, 0, *words)
        mark = pack_mark(Mark(self.ring_id, 0, 0, 1))
        header[mark_cell(0) : mark_cell(0) + len(mark)] = mark
        data = bytearray(self.block_bytes * self.block_count)
        for number in sorted(self.blocks):
            if number > self.current or number <= self.current - self.block_count:
                continue
            text = self.blocks[number]
            slot = number % self.block_count
            struct.pack_into("<2Q", header, SLOTS_AT + slot * SLOT_BYTES, number, len(text))
            data[slot * self.block_bytes : slot * self.block_bytes + len(text)] = text
        self.ring.parent.mkdir(parents=True, exist_ok=True)
        # A real ring is mapped and never half there; renaming is the nearest to that.
        aside = self.ring.with_suffix(".new")
        aside.write_bytes(bytes(header) + bytes(data))
        aside.rename(self.ring)
        self.describe()


def register(data_dir: Path, *logs: HandMadeLog) -> None:
    """A registry of *logs*, as a host leaves it in its data directory."""
    rows = [
        {
            "name": log.prefix,
            "sink": "segments",
            "path": str(log.directory),
            "format": log.format_name,
            "prefix": log.prefix,
            "ring": str(log.ring) if log.ring else "",
        }
        for log in logs
    ]
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "logs.json").write_text(json.dumps({"version": 1, "node": "alpha", "logs": rows}))


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child process: nothing of ours from outside, times in UTC."""
    drop = ("KUMOAUDIT_DATA_DIR", "KUMOAUDIT_DEBUG", "STATE_DIRECTORY", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    kept = {k: v for k, v in os.environ.items() if k not in drop}
    path = os.pathsep.join(p for p in (str(_REPO), kept.get("PYTHONPATH")) if p)
    return {**kept, "PYTHONPATH": path, "TZ": "UTC", **extra}


def command_line(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "kumoaudit", *map(str, args)]


def kumoaudit(
    *args: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; standard output is a pipe."""
    return subprocess.run(
        command_line(*args), cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=60, check=False
    )


def rows(text: str) -> list[dict[str, Any]]:
    """JSON lines as a list."""
    return [json.loads(line) for line in text.splitlines()]
