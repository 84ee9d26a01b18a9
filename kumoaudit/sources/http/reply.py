"""Replies, and the errors that are replies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import HttpVersion11
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web import BaseRequest, Response, StreamResponse
from multidict import CIMultiDict

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
RETRY_S = 1


class Refused(Exception):
    """A request that is answered with an error: status, body, further headers."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})


class NotRecorded(Refused):
    """A request that is refused because nothing could be recorded of it: its reply names no record."""


def text(status: int, body: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A plain text. What a client sent comes back as text, never as markup."""
    return Reply(status, body.encode("utf-8", "backslashreplace"), TEXT, headers)


def json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON value."""
    return Reply(status, orjson.dumps(value), JSON, headers)


def raw(status: int, body: bytes, content_type: str) -> Reply:
    """Bytes as they are."""
    return Reply(status, body, content_type, None)


class Reply(Response):
    """A reply that is written in one piece, as its head is known: aiohttp works the head out for each reply, which
    costs more than all that the listener does for a request. One that is unusual in any way goes the usual way."""

    def __init__(self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None) -> None:
        super().__init__(status=status, body=body, headers=_fields(content_type))
        if headers:
            self.headers.update(headers)
        self._is_usual = not headers
        self._type = content_type
        self._audit_id = ""

    def name_record(self, audit_id: str) -> None:
        """Say under which id the request is recorded."""
        self._audit_id = audit_id

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the reply, or at least begin with it."""
        if (
            self._is_usual
            and not self.prepared
            and self.keep_alive is None
            and request.keep_alive
            and request.version == HttpVersion11
            and request.method != "HEAD"
        ):
            self._keep_alive = True
            body = self.body
            assert isinstance(body, bytes)
            named = f"X-Audit-Id: {self._audit_id}\r\n" if self._audit_id else ""
            own = f"{named}Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
            writer = self._payload_writer = request._payload_writer
            await writer.write(f"{_head(self.status, self.reason, self._type)}{own}".encode() + body)
            # Who does not read its replies gets no more of them.
            await writer.drain()
            return writer
        self._is_usual = False
        if self._audit_id:
            self.headers["X-Audit-Id"] = self._audit_id
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Write what `prepare` left."""
        if self._is_usual:
            await StreamResponse.write_eof(self)
        else:
            await super().write_eof(data)


@lru_cache(maxsize=64)
def _fields(content_type: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "Content-Type": content_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Server": "kumoaudit",
        }
    )


@lru_cache(maxsize=256)
def _head(status: int, reason: str, content_type: str) -> str:
    fields = "".join(f"{name}: {value}\r\n" for name, value in _fields(content_type).items())
    return f"HTTP/1.1 {status} {reason}\r\n{fields}"
