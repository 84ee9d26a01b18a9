"""Bytes of files -> blocks of whole lines: plain, gzip and zstd, from anywhere, damaged or still being written.

Nothing here raises for bad data: it is reported to the `bad` callable (offset, reason, lines lost) and reading goes on
where it can. Memory is bounded whatever the data expands to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

import zstandard

from kumoaudit.core.protocols import Disk

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC = b"\x1f\x8b"
_SKIPPABLE, _SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0

MAX_WINDOW = 8 << 20
MAX_LINE = 16 << 20

_READ = 1 << 20
# 2 KiB of hostile zstd expand to at most 64 MiB (128 KiB from each block of four bytes); a step is all that is held.
_STEP = 1 << 11

NO_END = "the frame has no end (still being written, or cut off)"

Bad = Callable[[int, str, int], None]


class Source(Protocol):
    """What bytes are read from; a `Disk` is one."""

    def pread(self, fd: int, size: int, offset: int) -> bytes: ...


Kind = Literal["zstd", "gzip", "plain"]


class Block(NamedTuple):
    """Whole lines (the last of a file may lack its newline) and where they begin, in bytes of the text."""

    offset: int
    text: bytes


def kind_of(disk: Disk, fd: int) -> Kind:
    """How a file is stored, by its first bytes."""
    head = disk.pread(fd, 4, 0)
    if head == ZSTD_MAGIC or (len(head) == 4 and int.from_bytes(head, "little") & _SKIPPABLE_MASK == _SKIPPABLE):
        return "zstd"
    return "gzip" if head[:2] == GZIP_MAGIC else "plain"


def blocks_forwards(disk: Disk, fd: int, end: int, bad: Bad, *, kind: Kind, start: int = 0) -> Iterator[Block]:
    """The lines of the file between offsets *start* and *end*, oldest first."""
    match kind:
        case "zstd":
            pieces = zstd_pieces(disk, fd, start, end, bad)
        case "gzip":
            pieces = _gzip_pieces(disk, fd, start, end, bad)
        case "plain":
            pieces = _plain_pieces(disk, fd, start, end)
    return line_blocks(pieces, start if kind == "plain" else 0, bad)


def blocks_backwards(disk: Disk, fd: int, end: int, bad: Bad) -> Iterator[Block]:
    """The lines of a plain file up to offset *end*, the last block first; lines within a block are in file order."""
    rest = b""
    dropping = False
    at = end
    while at > 0:
        n = min(_READ, at)
        at -= n
        data = disk.pread(fd, n, at)
        if dropping:
            # The tail of this block is the head of a line that was given up.
            cut = data.rfind(b"\n") + 1
            if not cut:
                continue
            data, dropping = data[:cut], False
        data += rest
        cut = data.find(b"\n") + 1 if at else 0
        if at and not cut:
            rest = data
            if len(rest) > MAX_LINE:
                bad(at, f"a line of more than {MAX_LINE} bytes", 1)
                rest, dropping = b"", True
            continue
        rest = data[:cut]
        if len(data) > cut:
            yield Block(at + cut, data[cut:])


def line_blocks(pieces: Iterable[bytes], offset: int, bad: Bad) -> Iterator[Block]:
    """Pieces of text cut anywhere, joined to blocks of whole lines. *offset* is that of the first byte.

    An empty piece (there is no more yet) comes out as an empty block."""
    held: list[bytes] = []
    size = 0
    dropping = False
    for piece in pieces:
        if not piece:
            yield Block(offset, b"")
            continue
        cut = piece.rfind(b"\n") + 1
        if cut:
            if dropping:
                first = piece.find(b"\n") + 1
                offset, dropping = offset + size + first, False
                held, size, piece, cut = [], 0, piece[first:], cut - first
            text = b"".join((*held, piece[:cut]))
            if text:
                yield Block(offset, text)
            offset += len(text)
            held, size = [piece[cut:]], len(piece) - cut
        else:
            size += len(piece)
            if not dropping:
                held.append(piece)
        if size > MAX_LINE and not dropping:
            bad(offset, f"a line of more than {MAX_LINE} bytes", 1)
            held, dropping = [], True
    if not dropping and (text := b"".join(held)):
        yield Block(offset, text)


def zstd_pieces(
    disk: Source, fd: int, start: int, end: int, bad: Bad, grows: Callable[[], bool] | None = None
) -> Iterator[bytes]:
    """The text of all zstd frames between two file offsets; skippable frames are passed over.

    After damage it goes on at the next frame; a newline is put in between, so that no line is glued together. A file
    that *grows* gives an empty piece where it ends for now, and goes on there when it is asked again.
    """
    at = start
    while at < end:
        head = disk.pread(fd, min(8, end - at), at)
        if grows and len(head) < 8:
            if grows():
                yield b""
                continue
            head = disk.pread(fd, min(8, end - at), at)
            if not head:
                return
        if len(head) == 8 and int.from_bytes(head[:4], "little") & _SKIPPABLE_MASK == _SKIPPABLE:
            at += 8 + int.from_bytes(head[4:], "little")
            continue
        if head[:4] == ZSTD_MAGIC:
            stopped, error = yield from _frame_pieces(disk, fd, at, end, grows)
            if not error:
                at = stopped
                continue
            bad(at, error, 0)
        else:
            stopped = at + 1
            bad(at, "not a zstd frame" if len(head) >= 4 else "cut off", 0)
        at = _next_frame(disk, fd, max(stopped, at + 1), end)
        if at < end:
            yield b"\n"


def committed_lines(disk: Disk, fd: int, start: int, stored: int, expanded: int) -> bytes:
    """The text of one whole frame of *stored* bytes that promises *expanded* bytes.

    Raises ValueError when the file does not hold that.
    """
    if expanded == 0:
        return b""
    frame = disk.pread(fd, stored, start)
    try:
        states = zstandard.get_frame_parameters(frame).content_size
        # A size in the header overrides the limit given to decompress(), so it is checked before.
        if states not in (zstandard.CONTENTSIZE_UNKNOWN, expanded):
            raise ValueError(f"the frame holds {states} bytes, its trailer says {expanded}")
        text = zstandard.ZstdDecompressor().decompress(frame, max_output_size=expanded)
    except zstandard.ZstdError as e:
        raise ValueError(f"the frame is damaged ({e})") from None
    if len(text) != expanded:
        raise ValueError(f"the frame holds {len(text)} bytes, its trailer says {expanded}")
    return text


def _frame_pieces(
    disk: Source, fd: int, start: int, end: int, grows: Callable[[], bool] | None
) -> Generator[bytes, None, tuple[int, str]]:
    """One frame; gives the offset behind it, or where decoding stopped and why."""
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
    at = start
    while at < end:
        chunk = disk.pread(fd, min(_READ, end - at), at)
        if not chunk:
            if grows and grows():
                yield b""
                continue
            chunk = disk.pread(fd, min(_READ, end - at), at) if grows else b""
        if not chunk:
            break
        for i in range(0, len(chunk), _STEP):
            step = chunk[i : i + _STEP]
            try:
                text = decoder.decompress(step)
            except zstandard.ZstdError as e:
                return at + i, f"the frame is damaged ({e})"
            if text:
                yield text
            if decoder.eof:
                return at + i + len(step) - len(decoder.unused_data), ""
        at += len(chunk)
    return end, NO_END


def _next_frame(disk: Source, fd: int, at: int, end: int) -> int:
    """The offset of the next frame magic at or behind *at*; *end* when there is none."""
    while at < end:
        data = disk.pread(fd, min(_READ, end - at), at)
        found = data.find(ZSTD_MAGIC)
        if found >= 0:
            return at + found
        if len(data) < 4:
            return end
        at += len(data) - 3
    return end


def _gzip_pieces(disk: Disk, fd: int, start: int, end: int, bad: Bad) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    for chunk in _plain_pieces(disk, fd, start, end):
        data = chunk
        while data:
            if decoder.eof:
                data = data.lstrip(b"\0")  # tape-style padding behind the last member
                if not data:
                    break
                decoder = zlib.decompressobj(31)
            try:
                text = decoder.decompress(data, _READ)
            except zlib.error as e:
                bad(0, f"the rest of this gzip file is damaged ({e})", 0)
                return
            if text:
                yield text
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if not decoder.eof:
        bad(0, "the gzip data has no end (still being written, or cut off)", 0)


def _plain_pieces(disk: Disk, fd: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        chunk = disk.pread(fd, min(_READ, end - start), start)
        if not chunk:
            return
        start += len(chunk)
        yield chunk
