"""One connection: its TLS, the deadline for a request's head, and what becomes of a message that is none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp.web import BaseRequest, Server, StreamResponse
from aiohttp.web_protocol import RequestHandler

from kumoaudit.sources.http import reply
from kumoaudit.sources.http.limits import peer_of

if TYPE_CHECKING:
    from kumoaudit.sources.http.listener import HttpListener

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """aiohttp's connection with a deadline of our own: it drops nobody who sends a byte a second."""

    __slots__ = ("_address", "_early", "_has_begun", "_head_timer", "_is_counted", "_is_lost", "_is_made", "_listener")

    def __init__(self, manager: Server, listener: HttpListener, **options: Any) -> None:
        super().__init__(manager, **options)
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self._address = ""
        self._is_counted = self._is_made = self._is_lost = self._has_begun = False
        # What came with the end of a TLS handshake, before the connection was told that it is made.
        self._early: list[bytes] = []

    def admitted(self, address: str) -> None:
        """The listener has counted this connection already (before TLS)."""
        self._address, self._is_counted = address, True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._is_made = True
        if not self._is_counted:
            self._address = peer_of(transport)
            if not self._listener.admits(self._address):
                cast(asyncio.Transport, transport).abort()
                super().connection_made(transport)
                return
            self._is_counted = True
        super().connection_made(transport)
        self._expect_head()
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._is_lost = True
        self._forget_head()
        if self._is_counted:
            self._is_counted = False
            self._listener.gone(self._address)
        if self._is_made:
            super().connection_lost(exc)

    @property
    def address(self) -> str:
        """The address of the other end."""
        return self._address

    @property
    def is_lost(self) -> bool:
        """Whether it ended already."""
        return self._is_lost

    def data_received(self, data: bytes) -> None:
        if not self._is_made:
            self._early.append(data)
            return
        waiting = len(self._messages)
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._forget_head()
            if len(self._messages) > waiting:
                self._end_broken_body()
        elif self._keepalive and not self._force_close and not self._close:
            self._has_begun = self._has_begun or bool(data)
            if self._head_timer is None:
                self._expect_head()

    def _end_broken_body(self) -> None:
        # A body whose chunks are no chunks: its request would wait for the rest until its deadline.
        request = self._current_request
        exc = getattr(self._messages[-1][0], "exc", None)
        if request is not None and exc is not None and not request.content.is_eof():
            request.content.set_exception(ValueError("malformed body"))

    def _expect_head(self) -> None:
        self._head_timer = self._loop.call_later(self._listener.limits.head_s, self._head_is_late)

    def _forget_head(self) -> None:
        self._has_begun = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._messages or self._request_in_progress or self.transport is None:
            return
        # Who never sent a byte asked for nothing; the connection is closed and that is all.
        if self._has_begun:
            limit = self._listener.limits.head_s
            self._listener.refused(self._address, 408, f"no whole request head within {limit:g} s")
            self.transport.write(_TOO_SLOW)
        self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """A message that is no HTTP request (400), or an error of our own (500): recorded, answered, closed."""
        audit_id = self._listener.refused(self._address, status, without_data(message or "") or type(exc).__name__)
        response = reply.text(status, "malformed request" if status == 400 else "try again later")
        if audit_id:
            response.name_record(audit_id)
        response.force_close()
        return response


def without_data(problem: str) -> str:
    """What a parser says of a message, without the bytes that it shows: they may hold credentials."""
    text = problem
    for mark in (":", "\n", "'", '"'):
        text = text.partition(mark)[0]
    return text.strip()[:100]


class ConnectionServer(Server):
    """Makes the connections of a listener."""

    def __init__(self, handler: Callable[[BaseRequest], Any], listener: HttpListener, **options: Any) -> None:
        super().__init__(handler, **options)
        self._listener = listener

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self, self._listener, loop=self._loop, **self._kwargs)


class Handshake(asyncio.Protocol):
    """A connection until its TLS stands: it counts from its first moment, and one that fails leaves a record."""

    def __init__(self, server: ConnectionServer, listener: HttpListener, context: ssl.SSLContext) -> None:
        self._server, self._listener, self._context = server, listener, context
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with TLS, if there is room for the connection."""
        # uvloop's transports are of no class of asyncio's.
        raw = cast(asyncio.Transport, transport)
        address = peer_of(raw)
        if not self._listener.admits(address):
            raw.abort()
            return
        # Nothing may be read before TLS is there to read it.
        raw.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._secure(raw, address))
        self._listener.keep(self._task)

    async def _secure(self, transport: asyncio.Transport, address: str) -> None:
        connection, limits = self._server(), self._listener.limits
        connection.admitted(address)
        loop = asyncio.get_running_loop()
        try:
            secure = await loop.start_tls(
                transport,
                connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=limits.handshake_s,
                ssl_shutdown_timeout=2.0,
            )
        except Exception as e:  # noqa: BLE001 - whatever a handshake dies of, the connection is gone
            transport.abort()
            if not connection.is_lost:
                connection.connection_lost(None)
            self._listener.refused(address, 0, f"no TLS: {_why(e)}")
            return
        if connection.is_lost or secure is None:
            return
        connection.connection_made(secure)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, (TimeoutError, ConnectionAbortedError)):
        return "the handshake did not end in time"
    return "the connection ended within the handshake" if isinstance(error, OSError) else type(error).__name__
