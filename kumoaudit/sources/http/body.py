"""Bodies of requests, within limits: size after decompression, ratio, and how slowly they may come."""

from __future__ import annotations

import asyncio
import io
import zlib
from typing import Any

import zstandard
from aiohttp.web import BaseRequest, RequestPayloadError

from kumoaudit.sources.http.limits import Limits

MOST_RATIO = 200
_ZSTD_WINDOW = 8 << 20
_STEP = 1 << 16
# Each member costs a copy of what is behind it.
_MOST_MEMBERS = 256


class BodyRefused(Exception):
    """A body that is not taken. `status` is what to answer; the text is the reply's body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def read_body(request: BaseRequest, limit: int, limits: Limits) -> bytes:
    """The body, decompressed. Raises BodyRefused: 413 over *limit* bytes, 408 too slow, 415 and 400 its encoding."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "zstd"):
        raise BodyRefused(415, f"Content-Encoding {encoding[:40]!r} is not taken: send identity, gzip or zstd")
    length = request.content_length
    if length is not None and length > limit:
        raise BodyRefused(413, f"the body is over request_body_limit ({limit} bytes)")
    raw = await _read(request, limit, limits)
    if encoding == "identity":
        return raw
    # Decompressing may take a while for the loop; the pool has time.
    return await asyncio.get_running_loop().run_in_executor(None, decompressed, raw, encoding, limit)


async def _read(request: BaseRequest, limit: int, limits: Limits) -> bytes:
    if (message := request.headers.get("Expect")) is not None:
        if message.lower() != "100-continue":
            raise BodyRefused(417, "only 100-continue can be expected")
        if request.transport is not None and not request.content.is_eof() and not request.content.total_bytes:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    loop = asyncio.get_running_loop()
    begin, size, parts = loop.time(), 0, []
    while not request.content.at_eof():
        left = begin + limits.body_s + size / limits.body_bytes_per_s - loop.time()
        try:
            async with asyncio.timeout(left):
                part = await request.content.readany()
        except TimeoutError:
            raise BodyRefused(408, "the body comes too slowly") from None
        except (OSError, ValueError, RequestPayloadError):
            # The client went away, or sent chunks that are none. What it asked for is recorded already.
            raise BodyRefused(400, "the body did not come whole") from None
        size += len(part)
        if size > limit:
            raise BodyRefused(413, f"the body is over request_body_limit ({limit} bytes)")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decompressed(raw: bytes, encoding: str, limit: int) -> bytes:
    """*raw* decompressed, never more than *limit* bytes nor 200 times its size in memory. Raises BodyRefused."""
    most = min(limit, max(len(raw) * MOST_RATIO, _STEP))
    try:
        whole = _gunzip(raw, most) if encoding == "gzip" else _unzstd(raw, most)
    except (zlib.error, zstandard.ZstdError, EOFError) as e:
        raise BodyRefused(400, f"the body is not whole {encoding}: {e}") from None
    if len(whole) > most:
        raise BodyRefused(413, f"the body is over request_body_limit ({limit} bytes) or {MOST_RATIO} times its size")
    return whole


def _gunzip(raw: bytes, most: int) -> bytes:
    out = bytearray()
    for _ in range(_MOST_MEMBERS):
        reader = zlib.decompressobj(wbits=31)
        out += reader.decompress(raw, most + 1 - len(out))
        if len(out) > most:
            return bytes(out)
        if not reader.eof:
            raise EOFError("it ends too early")
        raw = reader.unused_data
        if not raw:
            return bytes(out)
    raise EOFError(f"it has more than {_MOST_MEMBERS} members")


def _unzstd(raw: bytes, most: int) -> bytes:
    reader: Any = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        io.BytesIO(raw), read_across_frames=True
    )
    whole: bytes = reader.read(most + 1)
    if len(whole) > most:
        return whole
    # A torn last frame raises nothing when read as a stream.
    for _ in range(_MOST_MEMBERS):
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        frame.decompress(raw)
        if not frame.eof:
            raise EOFError("it ends too early")
        raw = frame.unused_data
        if not raw:
            return whole
    raise EOFError(f"it has more than {_MOST_MEMBERS} frames")
