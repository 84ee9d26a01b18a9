"""HttpListener: a bound address, its connections, the way of a request (`kumo.start_http_listener`, KumoMTA 5.2)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from aiohttp.web import BaseRequest, Response

from kumoaudit.access.criteria import compile_test
from kumoaudit.access.identity import TRUSTED
from kumoaudit.access.listener import ListenerOptions
from kumoaudit.core.errors import EnvironmentFault
from kumoaudit.core.event import AuthInfo
from kumoaudit.sources.http.connection import IDLE_S, ConnectionServer
from kumoaudit.sources.http.guard import LATER, Asked, Guard
from kumoaudit.sources.http.loop import LoopThread
from kumoaudit.sources.http.reply import Refused
from kumoaudit.sources.http.routes import ROUTES, Context
from kumoaudit.sources.services import Services

MOST_CONNECTIONS = 1024
MOST_FROM_ONE = 32
_MOST_KNOWN = 4096
_HANDSHAKE_S = 10.0
_BURSTS_EVERY_S = 5.0


class HttpListener:
    """One address. `bind`: the thread that configures; `start`, `stop`: the daemon's. The rest: the loop's thread."""

    def __init__(
        self, options: ListenerOptions, tls: ssl.SSLContext | None, services: Services, loop: LoopThread
    ) -> None:
        self._options, self._tls, self._services, self._loop_thread = options, tls, services, loop
        self._sockets: list[socket.socket] = []
        self._guard: Guard | None = None
        self._servers: list[asyncio.Server] = []
        self._http: ConnectionServer | None = None
        self._open: dict[str, int] = {}
        self._connections = 0
        self._known: dict[str, AuthInfo] = {}
        self._context: Context | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._is_trusted = compile_test(options.trusted_hosts)
        self.local = self.name = ""
        """The bound address, canonical; and the same for the ready line: `http://127.0.0.1:8000`."""

    def bind(self) -> None:
        """Take the address, so that a taken port is an error of the call that asked for it. Raises EnvironmentFault."""
        host, port = self._options.listen
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(1024)
            sock.setblocking(False)
        except OSError as e:
            sock.close()
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise EnvironmentFault(
                f"cannot listen on {shown}: {(e.strerror or str(e)).lower()}\n"
                "  choose another address or port, or stop what uses it"
            ) from None
        bound = sock.getsockname()
        self.local = f"[{bound[0]}]:{bound[1]}" if family == socket.AF_INET6 else f"{bound[0]}:{bound[1]}"
        self.name = f"{'https' if self._tls else 'http'}://{self.local}"
        self._sockets.append(sock)

    def start(self) -> None:
        """Begin to serve."""
        self._loop_thread.call(self._start())

    async def _start(self) -> None:
        self._guard = Guard(self._services)
        self._context = Context(self._services, self._guard, self.local, self._options.request_body_limit)
        self._http = ConnectionServer(
            self.handle,
            self,
            access_log=None,
            keepalive_timeout=IDLE_S,
            lingering_time=2.0,
            auto_decompress=False,
            max_line_size=8190,
            max_field_size=16384,
        )
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            handshake_s = _HANDSHAKE_S if self._tls else None
            server = await loop.create_server(self._http, sock=sock, ssl=self._tls, ssl_handshake_timeout=handshake_s)
            self._servers.append(server)
        self._look_at_bursts()

    def stop(self, timeout_s: float) -> None:
        """Take no more connections, let requests that are under way end, close."""
        if not self._servers:
            for sock in self._sockets:
                sock.close()
            return
        self._loop_thread.call(self._stop(timeout_s))

    async def _stop(self, timeout_s: float) -> None:
        if self._sweep:
            self._sweep.cancel()
        for server in self._servers:
            server.close()
        if self._http:
            self._http.pre_shutdown()
            await self._http.shutdown(timeout_s)
        if self._guard:
            self._guard.look_at_bursts()
            self._guard.close()
        self._servers.clear()

    def _look_at_bursts(self) -> None:
        assert self._guard is not None
        self._guard.look_at_bursts()
        self._sweep = asyncio.get_running_loop().call_later(_BURSTS_EVERY_S, self._look_at_bursts)

    # -- connections --------------------------------------------------------------------------------------------

    def admits(self, address: str) -> bool:
        """Whether one more connection is taken; those of trusted hosts have no limit of their own."""
        if self._connections >= MOST_CONNECTIONS:
            self._services.counters.refused += 1
            return False
        count = self._open.get(address, 0)
        if count >= MOST_FROM_ONE and not self._info(address).groups:
            self._services.counters.refused += 1
            return False
        self._connections += 1
        self._open[address] = count + 1
        return True

    def gone(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self._connections -= 1
        count = self._open.get(address, 1) - 1
        if count:
            self._open[address] = count
        else:
            self._open.pop(address, None)

    def refused(self, address: str, status: int, reason: str) -> None:
        """Record a message that reached no route."""
        self._services.counters.request("", status)
        if self._guard:
            detail = {"peer": address or None, "status": status, "reason": reason, "listener": self.local}
            self._guard.note("http_refused", f"{status}: {reason}", detail)

    def _info(self, address: str) -> AuthInfo:
        """What a caller is known by from its address alone."""
        info = self._known.get(address)
        if info is None:
            info = AuthInfo(address or None)
            if self._is_trusted(info):
                info = AuthInfo(address, (), (TRUSTED,))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[address] = info
        return info

    # -- requests -----------------------------------------------------------------------------------------------

    async def handle(self, request: BaseRequest) -> Response:
        """One request from its head to its reply."""
        guard, context = self._guard, self._context
        assert guard is not None
        assert context is not None
        peer = request.protocol.peername
        asked = Asked(request, self._info(peer[0] if peer else ""), self._services.clock.now_ns())
        shown = ""
        try:
            guard.locate(asked, self.local)
            methods = ROUTES.get(asked.path)
            if methods is None:
                await guard.record_denial(asked, "no such route")
                raise Refused(404, "no such route")
            shown = asked.path
            await guard.authenticate(asked)
            await guard.authorize(asked)
            route = methods.get(asked.method)
            if route is None:
                raise Refused(405, f"{asked.method} is not offered here", {"Allow": ", ".join(methods)})
            response = await route(context, asked)
        except Refused as e:
            response = guard.answer(asked, e)
            if e.headers.get("Connection") == "close":
                response.force_close()
        except Exception as e:  # noqa: BLE001 - whatever it is, the caller gets an answer and the operator a line
            self._services.say(f"internal error in {asked.method} {asked.path}: {type(e).__name__}: {e}")
            detail: dict[str, Any] = {"peer": asked.peer, "status": 500, "reason": f"{type(e).__name__}: {e}"}
            guard.note("http_refused", "500: internal error", detail | {"request_id": asked.audit_id})
            response = guard.answer(asked, Refused(500, LATER))
        response.headers["X-Audit-Id"] = asked.audit_id
        self._services.counters.request(shown, response.status)
        return response
