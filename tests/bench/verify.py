"""Whether a contestant wrote what it was given: outside the measured region, after each run."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from tests.bench import corpus
from tests.bench.workloads import Workload

_CHUNK = 8 << 20


class Line(msgspec.Struct):
    """What is looked at of a line; the rest of it is parsed all the same."""

    id: str
    time: str
    kind: str
    type: str
    description: str = ""
    user: str | None = None
    module: str | None = None
    tag: str | None = None
    peer: str | None = None


class BadOutput(Exception):
    """The output of a contestant is not what it should be."""


def raw_chunks(path: Path) -> Iterator[bytes]:
    """The uncompressed bytes of a file, compressed or not."""
    with path.open("rb") as f:
        is_zstd = f.read(4) == b"\x28\xb5\x2f\xfd"
        f.seek(0)
        reader: Any = zstandard.ZstdDecompressor().stream_reader(f, read_across_frames=True) if is_zstd else f
        while chunk := reader.read(_CHUNK):
            yield chunk


def check_lines(paths: list[Path], events: int, workload: Workload, pools: Path, *, keep: Path | None = None) -> int:
    """Check that *paths* hold the custom events 1 to *events* of *workload*, in order; returns the uncompressed bytes.

    With *keep* the uncompressed lines, the host's own among them, are written there.
    """
    texts = {f: corpus.read(pools / workload.corpus, f) for f in workload.pools}
    decode = msgspec.json.Decoder(Line).decode_lines
    ids: set[str] = set()
    number = total = 0
    out = keep.open("wb") if keep else None
    try:
        rest = b""
        for chunk in itertools.chain.from_iterable(map(raw_chunks, paths)):
            total += len(chunk)
            if out:
                out.write(chunk)
            end = chunk.rfind(b"\n") + 1
            for line in decode(rest + chunk[:end]) if end else ():
                if line.kind == "custom":
                    number += 1
                    ids.add(line.id)
                    _check(line, number, workload, texts)
            rest = chunk[end:] if end else rest + chunk
    finally:
        if out:
            out.close()
    if rest:
        raise BadOutput(f"{len(rest)} bytes behind the last line")
    if number != events:
        raise BadOutput(f"{number} events of {events} were written")
    if len(ids) != events:
        raise BadOutput(f"{events - len(ids)} ids are not unique")
    return total


class _Sent(msgspec.Struct):
    uuid: str
    description: str


def check_sent(paths: list[Path], sent: bytes) -> int:
    """Check that *paths* hold each of the lines that were *sent*, once, in any order; returns the uncompressed bytes."""
    left = {line.uuid: line.description for line in msgspec.json.Decoder(_Sent).decode_lines(sent)}
    events, number, total = len(left), 0, 0
    for path in paths:
        whole = b"".join(raw_chunks(path))
        total += len(whole)
        for line in msgspec.json.Decoder(Line).decode_lines(whole):
            if line.kind != "custom":
                continue
            number += 1
            if left.pop(line.id, None) != line.description:
                raise BadOutput(f"not what was sent, or not once: {line}")
    if left:
        raise BadOutput(f"{number} events of {events} were written")
    return total


def _check(line: Line, number: int, workload: Workload, texts: dict[str, list[str]]) -> None:
    k = number & (len(texts["description"]) - 1)
    description = workload.description or texts["description"][k]
    user = texts["user"][k] if "user" in texts else workload.user
    is_right = line.description == description and line.user == user and len(line.id) == 36 and line.time[10] == "T"
    if is_right and "type" in texts:
        given = (texts["type"][k], texts["module"][k], texts["tag"][k] or None, texts["remote"][k])
        is_right = given == (line.type, line.module, line.tag, line.peer)
    if not is_right:
        raise BadOutput(f"event {number} is not what was recorded: {line}")


def digest(path: Path) -> str:
    """The sha256 of the uncompressed bytes of a file."""
    h = hashlib.sha256()
    for chunk in raw_chunks(path):
        h.update(chunk)
    return h.hexdigest()
