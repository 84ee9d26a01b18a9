"""Clients and hosts for the suites of the HTTP listener."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kumoaudit.access.listener import ListenerOptions
from kumoaudit.core.protocols import Clock
from kumoaudit.runtime.services import HostServices
from kumoaudit.sources.http.guard import Guard
from kumoaudit.sources.http.limits import DEFAULT, Limits
from kumoaudit.sources.http.listener import HttpListener
from kumoaudit.sources.http.loop import LoopThread
from tests.crash.hosts import HostProcess, host
from tests.policies import Inside, inside
from tests.support import kumoaudit, rows

LIVENESS = "/api/check-liveness/v1"
UNTRUSTED = "127.0.0.2"
"""Another address of this machine, which listeners do not trust by default."""

ALICE = {"alice": "s3cret"}


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers.get("X-Audit-Id", "")


def basic(user: str, password: str = "s3cret") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def ask(
    address: str,
    path: str = LIVENESS,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    source: str = "",
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 30,
) -> Reply:
    """One request on a connection of its own."""
    name, _, port = address.rpartition(":")
    at = (source, 0) if source else None
    connection: http.client.HTTPConnection
    if tls:
        connection = http.client.HTTPSConnection(
            name.strip("[]"), int(port), timeout=timeout_s, source_address=at, context=tls
        )
    else:
        connection = http.client.HTTPConnection(name.strip("[]"), int(port), timeout=timeout_s, source_address=at)
    try:
        connection.request(method, path, body, dict(headers or {}))
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read().decode())
    finally:
        connection.close()


def connect(address: str, source: str = "", timeout_s: float = 30) -> socket.socket:
    """A bare connection."""
    name, _, port = address.rpartition(":")
    return socket.create_connection((name.strip("[]"), int(port)), timeout_s, (source, 0) if source else None)


def read_all(sock: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    out = b""
    try:
        while data := sock.recv(65536):
            out += data
    except ConnectionResetError:
        pass
    return out


def raw(address: str, data: bytes, source: str = "") -> bytes:
    """Send bytes as they are; what comes back until the server closes."""
    with connect(address, source) as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # the server had enough
        return read_all(sock)


def statuses(answer: bytes) -> list[int]:
    """The status codes in what came back on one connection."""
    return [int(n) for n in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


@contextmanager
def serving(directory: Path, policy: str) -> Iterator[tuple[HostProcess, list[str]]]:
    """A real host, ready; the addresses of its listeners in order."""
    with host(directory, policy) as process:
        process.wait_for("ready: ")
        yield process, re.findall(r"https?://([\w.:\[\]]+:\d+)", process.said)


def found(process: HostProcess, *options: str) -> list[dict[str, Any]]:
    """Records of a host by `kumoaudit query`, oldest first."""
    done = kumoaudit("query", "--reverse", "--format", "json", "--data-dir", process.data, *options)
    assert done.returncode == 0, done.stderr
    return rows(done.stdout)


class Served(NamedTuple):
    """A listener inside the test's process."""

    address: str
    listener: HttpListener
    host: Inside
    guard: Guard

    def records(self, type_: str = "") -> list[dict[str, Any]]:
        """Records in the default log, of a type if given, oldest first."""
        self.guard.settle(5)
        return [r for r in map(json.loads, self.host.lines()) if not type_ or r["type"] == type_]


@contextmanager
def listening(
    directory: Path,
    policy: str = "",
    *,
    limits: Limits = DEFAULT,
    clock: Clock | None = None,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> Iterator[Served]:
    """A listener with limits and a clock of the test's own."""
    loop = LoopThread()
    with inside(directory, policy, clock=clock) as running:
        services = HostServices(lambda: running.host)
        guard = Guard(services)
        listener = HttpListener(ListenerOptions(listen=("127.0.0.1", 0), **options), tls, services, loop, guard, limits)
        listener.bind()
        listener.start()
        try:
            yield Served(listener.local, listener, running, guard)
        finally:
            listener.stop(2)
            loop.stop()
