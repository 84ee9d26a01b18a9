"""Replies: written in one piece or the usual way, a client reads the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp.http_writer import StreamWriter
from aiohttp.test_utils import make_mocked_request

from kumoaudit.sources.http import reply
from tests.sources.clients import connect, listening, raw, read_all, statuses

PATHS = ["/api/check-liveness/v1", "/metrics.json", "/nothing"]


def shape(answer: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Status line and fields of the first reply in *answer*, without what is another in each."""
    first, *fields = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    named = dict(f.split(b": ", 1) for f in fields)
    return first, {k: v for k, v in named.items() if k not in (b"Connection", b"Date", b"Content-Length")} | {
        b"X-Audit-Id": b"%d letters" % len(named[b"X-Audit-Id"])
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_reply_in_one_piece_has_the_head_of_one_that_aiohttp_writes(tmp_path: Path, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n%s\r\n"
    with listening(tmp_path) as served:
        kept = raw(served.address, (request % "" + request % "Connection: close\r\n").encode())
        closed = raw(served.address, (request % "Connection: close\r\n").encode())

    assert len(statuses(kept)) == 2
    assert shape(kept) == shape(closed)
    assert b"Connection" not in kept.partition(b"\r\n\r\n")[0]
    assert b"\r\nConnection: close\r\n" in closed


def test_many_requests_at_once_are_all_answered_in_order(tmp_path: Path) -> None:
    request = b"GET /api/check-liveness/v1 HTTP/1.1\r\nHost: x\r\n\r\n"
    with listening(tmp_path) as served, connect(served.address) as sock:
        sock.sendall(request * 300 + b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = read_all(sock)

    assert len(statuses(answer)) == 301
    assert statuses(answer)[-1] == 404


def test_replies_do_not_share_their_fields() -> None:
    first, second = reply.text(503, "full", {"Retry-After": "1"}), reply.text(503, "full")

    assert first.headers["Retry-After"] == "1"
    assert "Retry-After" not in second.headers


def test_a_reply_waits_for_a_client_that_does_not_read() -> None:
    async def prepared() -> list[str]:
        said: list[str] = []
        read = asyncio.Event()

        class Full(StreamWriter):
            def __init__(self) -> None:
                self.length = None

            async def write(self, chunk: Any, **_: Any) -> None:
                said.append("written")

            async def drain(self) -> None:
                await read.wait()

        request = make_mocked_request("GET", "/", writer=Full())
        waiting = asyncio.ensure_future(reply.text(200, "OK").prepare(request))
        waiting.add_done_callback(lambda _: said.append("done"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        said.append("read")
        read.set()
        await waiting
        await asyncio.sleep(0)
        return said

    assert asyncio.run(prepared()) == ["written", "read", "done"]
