"""What is no request, what never ends, and too many of them: refused, recorded, and nobody else notices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kumoaudit.sources.http.connection import without_data
from kumoaudit.sources.http.limits import Limits, peer_of
from tests.fakes import eventually
from tests.sources.clients import LIVENESS, UNTRUSTED, Served, ask, basic, connect, listening, raw, read_all, statuses

SHORT = Limits(head_s=0.6, body_s=0.6, body_bytes_per_s=1024, idle_s=1.5, handshake_s=0.6)
SECRET = "hunter2secret"
GET = f"GET {LIVENESS} HTTP/1.1\r\n".encode()
HOST = b"Host: x\r\n"
POST = b"POST /api/audit/check/v1 HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

MALFORMED: dict[str, bytes] = {
    "two content-lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "content-length and chunks": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and content-length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a folded header": GET + HOST + b"X: a\r\n b\r\n\r\n",
    "bare line feeds": GET.replace(b"\r\n", b"\n") + b"Host: x\n\n",
    "a bare carriage return": GET + HOST + b"X: a\rb\r\n\r\n",
    "NUL in a header": GET + HOST + b"X: a\0b\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nhello",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\nhellohello",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "a length of another script": POST + "Content-Length: ٥\r\n\r\nhello".encode(),
    "a huge chunk": POST + CHUNKED + b"\r\n" + b"f" * 40 + b"\r\nx",
    "a chunk that is none": POST + CHUNKED + b"\r\nzz\r\nx\r\n0\r\n\r\n",
    "a chunk with a sign": POST + CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
    "2000 headers": GET + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(2000)) + b"\r\n",
    "a header of 200 KB": GET + HOST + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    "a target of 200 KB": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad method": b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad version": f"GET {LIVENESS} HTTP/9.9\r\nHost: x\r\n\r\n".encode(),
    "no version": f"GET {LIVENESS}\r\nHost: x\r\n\r\n".encode(),
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space before the colon": GET + b"Host : x\r\n\r\n",
    "a space in a name": GET + HOST + b"X Y: 1\r\n\r\n",
    "no name": GET + HOST + b": 1\r\n\r\n",
    "a header without a colon": GET + HOST + b"Authorization\r\n\r\n",
    "two hosts": GET + HOST + b"Host: y\r\n\r\n",
    "no host": GET + b"X: 1\r\n\r\n",
    "TLS to a port without": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "noise": bytes(range(256)) * 4,
    "a broken header with credentials": GET + HOST + f"Authorization: Basic {SECRET}\0\r\n\r\n".encode(),
    "a broken target with credentials": f"GET /{SECRET} x HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with listening(tmp_path_factory.mktemp("hostile"), limits=SHORT) as it:
        yield it


def refused(served: Served, count: int) -> list[dict[str, object]]:
    eventually(lambda: len(served.records("http_refused")) >= count, "it is recorded")
    return served.records("http_refused")


@pytest.mark.parametrize("smuggled", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_is_refused_recorded_and_reaches_no_route(served: Served, name: str, smuggled: bool) -> None:
    """Alone, and with a good request behind it, which must not be taken for one."""
    before, decided = len(served.records("http_refused")), len(served.records("Authorization"))

    answer = raw(served.address, MALFORMED[name] + (GET + HOST + b"\r\n") * smuggled, UNTRUSTED)

    assert statuses(answer.replace(b"HTTP/0.9", b"HTTP/1.0")) == [400], answer[:200]
    found = refused(served, before + 1)
    assert len(found) == before + 1
    assert len(served.records("Authorization")) == decided
    record = found[-1]
    assert (record["severity"], record["outcome"], record["peer"]) == ("WARNING", "error", UNTRUSTED)
    assert record["detail"]["status"] == 400  # type: ignore[index]
    assert f"X-Audit-Id: {record['id']}".encode() in answer
    assert SECRET not in str(found)
    assert SECRET.encode() not in answer


def test_each_outcome_leaves_the_listener_as_it_was(served: Served) -> None:
    assert ask(served.address).status == 200
    eventually(lambda: served.listener.connections == 0, "every connection was counted off")
    assert served.listener._open == {}


@pytest.mark.parametrize(
    "rest", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"f" * 40 + b"\r\n", b"-1\r\n\r\n"]
)
def test_a_body_that_breaks_after_its_head_was_taken(served: Served, rest: bytes) -> None:
    before = len(served.records("http_refused"))
    with connect(served.address) as sock:
        sock.sendall(POST + CHUNKED + b"\r\n")
        time.sleep(0.1)
        begin = time.monotonic()
        sock.sendall(rest + GET + HOST + b"\r\n")
        answer = read_all(sock)
    assert set(statuses(answer)) == {400}
    assert time.monotonic() - begin < 0.55
    assert len(refused(served, before)) - before <= 1
    assert ask(served.address).status == 200


def drip(sock: socket.socket, data: bytes, every_s: float) -> None:
    """Send byte by byte until the other end has had enough."""
    try:
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])
            time.sleep(every_s)
    except OSError:
        pass


def test_a_head_that_comes_byte_by_byte_is_cut_off_at_the_deadline(served: Served) -> None:
    before = len(served.records("http_refused"))
    with connect(served.address, UNTRUSTED) as sock:
        begin = time.monotonic()
        dripping = threading.Thread(target=drip, args=(sock, GET + HOST + b"X: " + b"a" * 1000, 0.05))
        dripping.start()
        answer = read_all(sock)
        took = time.monotonic() - begin
        sock.close()
        dripping.join()
    # A byte that was on its way may cost the client the reply; the record is there in any case.
    assert statuses(answer) in ([408], [])
    assert SHORT.head_s <= took < SHORT.head_s + 2
    assert refused(served, before + 1)[-1]["detail"]["status"] == 408  # type: ignore[index]


def test_a_second_head_on_the_same_connection_has_a_deadline_too(served: Served) -> None:
    with connect(served.address) as sock:
        sock.sendall(GET + HOST + b"\r\n" + GET)
        answer = read_all(sock)
    assert statuses(answer) in ([200], [200, 408])


def test_a_body_that_comes_byte_by_byte_is_cut_off(served: Served) -> None:
    with connect(served.address) as sock:
        begin = time.monotonic()
        sock.sendall(POST + b"Content-Length: 100000\r\n\r\n")
        dripping = threading.Thread(target=drip, args=(sock, b" " * 1000, 0.05))
        dripping.start()
        answer = read_all(sock)
        sock.close()
        dripping.join()
    assert statuses(answer) in ([408], [])
    assert time.monotonic() - begin < SHORT.body_s + 4
    assert not answer or b"too slowly" in answer


@pytest.mark.parametrize("first", [b"", GET + HOST + b"\r\n"])
def test_an_idle_connection_is_closed_without_a_record(served: Served, first: bytes) -> None:
    before = len(served.records("http_refused"))
    with connect(served.address) as sock:
        sock.sendall(first)
        assert statuses(read_all(sock)) == [200] * bool(first)
    assert len(served.records("http_refused")) == before


def test_a_head_in_many_pieces_within_the_deadline_is_one(served: Served) -> None:
    request = GET + HOST + b"Connection: close\r\n\r\n"
    with connect(served.address) as sock:
        for i in range(0, len(request), 5):
            sock.sendall(request[i : i + 5])
            time.sleep(0.005)
        assert statuses(read_all(sock)) == [200]


def test_a_client_that_reads_nothing_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Pipelined requests whose answers nobody takes: reading stops, and others are served."""
    with listening(tmp_path) as served, connect(served.address) as sock:
        sock.setblocking(False)
        sent, request, idle = 0, (GET + HOST + b"\r\n") * 100, 0
        while sent < 64 << 20 and idle < 20:
            try:
                sent += sock.send(request)
                idle = 0
            except BlockingIOError:
                idle += 1
                time.sleep(0.05)
        assert sent < 64 << 20
        assert ask(served.address).status == 200


# -- how many ---------------------------------------------------------------------------------------------------------


def held(served: Served, stack: ExitStack, count: int, source: str) -> list[socket.socket]:
    """So many connections, as far as the listener keeps them."""
    socks = [stack.enter_context(connect(served.address, source)) for _ in range(count)]
    time.sleep(0.3)
    return [s for s in socks if is_open(s)]


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_the_limit_of_an_untrusted_address(tmp_path: Path) -> None:
    with listening(tmp_path) as served, ExitStack() as stack:
        assert len(held(served, stack, 40, UNTRUSTED)) == 32
        assert len(held(served, stack, 5, "127.0.0.3")) == 5
        assert len(held(served, stack, 100, "")) == 100
        assert ask(served.address).status == 200
        assert served.host.host is not None
        stack.close()
        eventually(lambda: served.listener.connections == 0, "all are counted off")
        assert ask(served.address, source=UNTRUSTED).status == 200


def test_the_limit_of_all_connections_counts_trusted_hosts_too(tmp_path: Path) -> None:
    with listening(tmp_path) as served, ExitStack() as stack:
        assert served.listener.limits.connections == 1024
        assert len(held(served, stack, 1030, "")) == 1024
        stack.close()
        eventually(lambda: served.listener.connections == 0, "all are counted off")
        assert ask(served.address).status == 200


def _reset(address: str) -> None:
    with connect(address, UNTRUSTED) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(GET)


ENDS: dict[str, Callable[[str], object]] = {
    "a request": lambda a: ask(a, source=UNTRUSTED),
    "a malformed one": lambda a: raw(a, MALFORMED["noise"], UNTRUSTED),
    "closed at once": lambda a: connect(a, UNTRUSTED).close(),
    "reset": _reset,
    "a failed login": lambda a: ask(a, headers=basic("x"), source=UNTRUSTED),
    "too slow": lambda a: raw(a, GET, UNTRUSTED),
}


@pytest.mark.parametrize("name", ENDS)
def test_no_way_to_end_a_connection_leaks_its_count(tmp_path: Path, name: str) -> None:
    with listening(tmp_path, limits=SHORT._replace(per_address=4, head_s=0.05)) as served:
        for _ in range(30):
            try:
                ENDS[name](served.address)
            except OSError:
                eventually(lambda: not served.listener.connections, "those before have ended")
        eventually(lambda: not served.listener.connections, "every connection was counted off")
        assert served.listener._open == {}
        assert ask(served.address, source=UNTRUSTED).status in (200, 429)


def test_the_messages_of_the_parser_are_cut_before_what_they_quote() -> None:
    assert (
        without_data("Invalid header value char:\n\n  b'Authorization: Basic c2VjcmV0'\n    ^")
        == "Invalid header value char"
    )
    assert without_data("Invalid HTTP header: b'secret'") == "Invalid HTTP header"
    assert without_data("Bad status line 'secret'") == "Bad status line"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("127.0.0.1", 1), "127.0.0.1"),
        (("::ffff:10.0.0.1", 1, 0, 0), "10.0.0.1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1"),
        (None, ""),
    ],
)
def test_the_address_of_a_peer(peer: object, address: str) -> None:
    class Transport:
        def get_extra_info(self, name: str) -> object:
            return peer

    assert peer_of(Transport()) == address
