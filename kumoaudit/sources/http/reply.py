"""Replies, and the errors that are replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp.web import Response

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


def text(status: int, body: str, headers: Mapping[str, str] | None = None) -> Response:
    """A plain text. What a client sent comes back as text, never as markup."""
    return _response(status, body.encode("utf-8", "backslashreplace"), TEXT, headers)


def json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON value."""
    return _response(status, orjson.dumps(value), JSON, headers)


def raw(status: int, body: bytes, content_type: str) -> Response:
    """Bytes as they are."""
    return _response(status, body, content_type, None)


def _response(status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None) -> Response:
    fields = {
        "Content-Type": content_type,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Server": "kumoaudit",
    }
    if headers:
        fields.update(headers)
    return Response(status=status, body=body, headers=fields)
