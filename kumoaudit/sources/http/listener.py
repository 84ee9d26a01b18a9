"""HttpListener: a bound address, its connections, the way of a request (`kumo.start_http_listener`, KumoMTA 5.2)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

from aiohttp.web import BaseRequest

from kumoaudit.access.criteria import compile_test
from kumoaudit.access.identity import TRUSTED
from kumoaudit.access.listener import ListenerOptions
from kumoaudit.core.errors import EnvironmentFault
from kumoaudit.core.event import AuthInfo
from kumoaudit.sources.http.connection import Connection, ConnectionServer, Handshake
from kumoaudit.sources.http.guard import LATER, Asked, Guard
from kumoaudit.sources.http.limits import DEFAULT, Limits, group_of
from kumoaudit.sources.http.loop import LoopThread
from kumoaudit.sources.http.reply import NotRecorded, Refused, Reply
from kumoaudit.sources.http.routes import ROUTES, Context
from kumoaudit.sources.services import Services

_MOST_KNOWN = 4096
_BURSTS_EVERY_S = 5.0


class HttpListener:
    """One address. `bind`: the thread that configures; `start`, `stop`: the daemon's. The rest: the loop's thread."""

    def __init__(
        self,
        options: ListenerOptions,
        tls: ssl.SSLContext | None,
        services: Services,
        loop: LoopThread,
        guard: Guard,
        limits: Limits = DEFAULT,
    ) -> None:
        """*guard* is that of the host: whoever guesses passwords at two listeners guesses at one host."""
        self._options, self._tls, self._services, self._loop_thread = options, tls, services, loop
        self._guard, self.limits = guard, limits
        loop.has_tls = loop.has_tls or tls is not None
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
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
        self._context = Context(self._services, self._guard, self.local, self._options.request_body_limit, self.limits)
        self._http = ConnectionServer(
            self.handle,
            self,
            access_log=None,
            keepalive_timeout=self.limits.idle_s,
            lingering_time=2.0,
            auto_decompress=False,
            max_line_size=8190,
            max_field_size=16384,
        )
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(await loop.create_server(self._protocol, sock=sock))
        self._look_at_bursts()

    def _protocol(self) -> asyncio.BaseProtocol:
        assert self._http is not None
        return Handshake(self._http, self, self._tls) if self._tls else self._http()

    def keep(self, task: asyncio.Task[None]) -> None:
        """A handshake that is under way: the loop itself holds tasks only weakly."""
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def stop(self, timeout_s: float) -> None:
        """Take no more connections, let requests that are under way end, close."""
        if not self._servers:
            for sock in self._sockets:
                sock.close()
            return
        self._loop_thread.call(self._stop(timeout_s))
        self._guard.settle(1.0)

    async def _stop(self, timeout_s: float) -> None:
        if self._sweep:
            self._sweep.cancel()
        for server in self._servers:
            server.close()
        if self._http:
            self._http.pre_shutdown()
            await self._http.shutdown(timeout_s)
        for task in list(self._handshakes):
            task.cancel()
        self._guard.look_at_bursts(all_of_them=True)
        self._servers.clear()

    def _look_at_bursts(self) -> None:
        self._guard.look_at_bursts()
        self._sweep = asyncio.get_running_loop().call_later(_BURSTS_EVERY_S, self._look_at_bursts)

    # -- connections --------------------------------------------------------------------------------------------

    def admits(self, address: str) -> bool:
        """Whether one more connection is taken; those of trusted hosts have no limit of their own."""
        group = group_of(address)
        count = self._open.get(group, 0)
        if self._connections >= self.limits.connections or (
            count >= self.limits.per_address and not self._info(address).groups
        ):
            self._services.counters.refused += 1
            return False
        self._connections += 1
        self._open[group] = count + 1
        return True

    def gone(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self._connections -= 1
        group = group_of(address)
        count = self._open.get(group, 1) - 1
        if count:
            self._open[group] = count
        else:
            self._open.pop(group, None)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._connections

    def refused(self, address: str, status: int, reason: str) -> str:
        """Record a message that reached no route (*status* 0: there was nothing to answer). The record's id."""
        self._services.counters.request("", status)
        detail = {"peer": address or None, "status": status or None, "reason": reason, "listener": self.local}
        return self._guard.note("http_refused", f"{status}: {reason}" if status else reason, detail)

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

    async def handle(self, request: BaseRequest) -> Reply:
        """One request from its head to its reply."""
        guard, context = self._guard, self._context
        assert context is not None
        peer = cast(Connection, request.protocol).address
        asked = Asked(request, self._info(peer), self._services.clock.now_ns())
        shown = ""
        try:
            if problem := no_request(request):
                asked.audit_id = self.refused(peer, 400, problem)
                raise Refused(400, "malformed request", {"Connection": "close"})
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
            if isinstance(e, NotRecorded):
                asked.audit_id = ""
            response = guard.answer(asked, e)
            if e.headers.get("Connection") == "close":
                response.force_close()
        except Exception as e:  # noqa: BLE001 - whatever it is, the caller gets an answer and the operator a line
            guard.say(f"internal error in {asked.method} {asked.path}: {type(e).__name__}: {e}")
            detail: dict[str, Any] = {"peer": asked.peer, "status": 500, "reason": f"{type(e).__name__}: {e}"}
            asked.audit_id = guard.note("http_refused", "500: internal error", detail | {"request_id": asked.audit_id})
            response = guard.answer(asked, Refused(500, LATER))
        if asked.audit_id:
            response.name_record(asked.audit_id)
        if request.protocol._upgraded:
            # Nothing is upgraded to here, and the parser has stopped.
            response.force_close()
        self._services.counters.request(shown, response.status)
        return response


def no_request(request: BaseRequest) -> str:
    """What is wrong with a message that the parser took and HTTP/1.1 does not, or ""."""
    version = tuple(request.version)
    if version not in ((1, 0), (1, 1)):
        return "unknown version of HTTP"
    hosts = len(request.headers.getall("Host", ()))
    if hosts > 1 or (not hosts and version == (1, 1)):
        return "not exactly one Host header"
    return ""
