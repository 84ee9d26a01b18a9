"""One connection: the deadline for its request's head, and what becomes of a message that is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp.web import BaseRequest, Server, StreamResponse
from aiohttp.web_protocol import RequestHandler

from kumoaudit.sources.http import reply

if TYPE_CHECKING:
    from kumoaudit.sources.http.listener import HttpListener

HEAD_S = 10.0
IDLE_S = 60.0
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """aiohttp's connection with a deadline of our own: it drops nobody who sends a byte a second."""

    __slots__ = ("_address", "_head_timer", "_is_counted", "_listener")

    def __init__(self, manager: Server, listener: HttpListener, **options: Any) -> None:
        super().__init__(manager, **options)
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self._address, self._is_counted = "", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        if not self._listener.admits(self._address):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            super().connection_made(transport)
            return
        self._is_counted = True
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head()
        if self._is_counted:
            self._is_counted = False
            self._listener.gone(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._request_in_progress:
            if self._head_timer is not None:
                self._forget_head()
        elif self._head_timer is None and not self._force_close:
            self._expect_head()

    def _expect_head(self) -> None:
        self._head_timer = self._loop.call_later(HEAD_S, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._messages or self._request_in_progress or self.transport is None:
            return
        if self._request_count or self._parser_has_begun():
            self._listener.refused(self._address, 408, f"no whole request head within {HEAD_S:g} s")
        self.transport.write(_TOO_SLOW)
        self.force_close()

    def _parser_has_begun(self) -> bool:
        return True

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """A message that is no HTTP request (400), or an error of our own (500): recorded, answered, closed."""
        why = message or (f"{type(exc).__name__}: {exc}" if exc else "")
        self._listener.refused(self._address, status, " ".join(why.split())[:200] or "malformed request")
        response = reply.text(status, "malformed request" if status == 400 else "try again later")
        response.force_close()
        return response


class ConnectionServer(Server):
    """Makes the connections of a listener."""

    def __init__(self, handler: Callable[[BaseRequest], Any], listener: HttpListener, **options: Any) -> None:
        super().__init__(handler, **options)
        self._listener = listener

    def __call__(self) -> RequestHandler:
        """The protocol of a new connection."""
        return Connection(self, self._listener, loop=self._loop, **self._kwargs)
