"""The Unix socket: batches and their answers, clients that misbehave, its file, and the real host around it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.errors import EnvironmentFault, RecordRefused
from kumoaudit.core.event import Event
from kumoaudit.sources import unix
from kumoaudit.sources.ingest import Ingest
from kumoaudit.sources.unix import SocketListener
from tests.crash.hosts import host
from tests.crash.support import Contents
from tests.fakes import eventually
from tests.policies import kumoaudit, run_policy


class Server:
    """A listener in the test's own process, and what it took."""

    def __init__(self, path: Path, mode: int = 0o660) -> None:
        self.path = path
        self.events: list[Event] = []
        self.said: list[str] = []
        self.refuses = False
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        self.listener = SocketListener(
            str(path), mode, Ingest(self._emit_many, SystemClock()), SystemClock(), self.said.append
        )

    def _emit_many(self, events: list[Event], patience_ns: int | None = None, /) -> list[bool]:
        assert self.gate.wait(20)
        if self.refuses:
            raise RecordRefused("log 'a' is full")
        with self._lock:
            self.events += events
        return [True] * len(events)

    @property
    def descriptions(self) -> list[str]:
        return [e.description for e in self.events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    it = Server(path)
    it.listener.start()
    yield it
    it.gate.set()
    it.listener.stop(10)


@contextmanager
def client(path: Path) -> Iterator[Client]:
    it = Client(path)
    try:
        yield it
    finally:
        it._file.close()
        it.socket.close()


class Client:
    """A connection that reads answers line by line."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def answer(self) -> Any:
        line = self._file.readline()
        return json.loads(line) if line else None

    def ask(self, data: bytes) -> Any:
        self.socket.sendall(data)
        return self.answer()

    def end(self) -> list[Any]:
        """Send no more; every answer that still comes."""
        self.socket.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in self._file]


def records(start: int, count: int) -> bytes:
    return b"".join(b'{"description":"n=1:%d:"}\n' % n for n in range(start, start + count))


# -- batches -------------------------------------------------------------------------------------------------------------


def test_each_batch_has_one_line_of_answer(server: Server, path: Path) -> None:
    """An empty line, a pause and the end of the stream each end a batch."""
    with client(path) as c:
        c.socket.sendall(records(0, 2) + b"\n" + records(2, 3) + b"\r\n" + b"\n\n" + b'{"nothing":1}\n\n')
        first, second, bad = c.answer(), c.answer(), c.answer()
        paused = c.ask(records(5, 1))
        c.socket.sendall(records(6, 2).rstrip())
        last = c.end()

    assert [a["accepted"] for a in (first, second, paused, *last)] == [2, 3, 1, 2]
    assert bad == {"error": "unknown field 'nothing'; known: " + bad["error"].split("known: ")[1], "index": 0}
    assert server.descriptions == [f"n=1:{n}:" for n in range(8)]
    assert [e.id for e in server.events[:2]] == first["ids"]


def test_a_batch_is_taken_whole_or_not_at_all(server: Server, path: Path) -> None:
    with client(path) as c:
        answer = c.ask(records(0, 3) + b'{"description":1}\n' + records(3, 3) + b"\n")

    assert answer == {"error": "custom: field 'description' must be a string", "index": 3}
    assert server.events == []


def test_the_peer_as_the_kernel_knows_it_stands_in_the_record(server: Server, path: Path) -> None:
    with client(path) as c:
        c.ask(b'{"description":"x","detail":{"a":1}}\n\n')

    me = {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()}
    assert server.events[0].detail == {"a": 1, "peer": me}


def test_a_log_that_refuses_is_answered_and_the_connection_goes_on(server: Server, path: Path) -> None:
    with client(path) as c:
        server.refuses = True
        refused = c.ask(records(0, 1) + b"\n")
        server.refuses = False
        taken = c.ask(records(0, 1) + b"\n")

    assert refused == {"error": "log 'a' is full", "retry_after": 1}
    assert taken["accepted"] == 1


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_however_a_stream_is_cut_its_lines_are_whole(server: Server, path: Path, step: int) -> None:
    data = records(0, 60 if step == 1 else 30_000)
    with client(path) as c:

        def send() -> None:
            for at in range(0, len(data), step):
                c.socket.sendall(data[at : at + step])
            c.socket.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        count = 0
        while answer := c.answer():
            count += answer["accepted"]
        sender.join()

    assert count == data.count(b"\n")
    assert server.descriptions == [f"n=1:{n}:" for n in range(count)]


# -- clients that misbehave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(5000).replace(b"\n", b"") + b"\n",
        b"\x00" * 1000 + b"\n",
        b'{"description":"\xff\xfe"}\n',
        b'{"description":"x","detail":' + b"[" * 50_000 + b"]" * 50_000 + b"}\n",
        b'{"description":"x","description":',
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["garbage", "nul", "utf-8", "deep", "half", "http"],
)
def test_garbage_is_answered_with_an_error(server: Server, path: Path, data: bytes) -> None:
    with client(path) as c:
        c.socket.sendall(data)
        answers = c.end()
    with client(path) as c:
        assert c.ask(records(0, 1) + b"\n")["accepted"] == 1

    assert answers
    assert all("error" in a for a in answers)
    assert len(server.events) == 1


def test_a_line_without_end_is_refused_and_the_connection_closed(server: Server, path: Path) -> None:
    with client(path) as c:
        try:
            c.socket.sendall(b'{"description":"' + b"x" * (10 << 20))
        except OSError:
            pass  # closed in the middle
        answer = c.answer()
        assert c.answer() is None

    assert answer == {"error": f"a line is longer than {unix.MAX_LINE_BYTES} bytes"}
    assert server.events == []


def test_a_line_that_does_not_go_on_is_given_up(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "_PATIENCE_S", 0.05)
    with client(path) as c:
        assert "did not end" in c.ask(b'{"descr')["error"]
        assert c.answer() is None


def test_a_client_that_goes_away_leaves_the_whole_lines_it_sent(server: Server, path: Path) -> None:
    with client(path) as c:
        c.socket.sendall(records(0, 5) + b"\n" + b'{"desc')
    eventually(lambda: len(server.events) == 5, "the lines are there")
    eventually(lambda: not server.listener._connections, "the connection is gone")


def test_a_client_that_reads_no_answer_is_let_go(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "_PATIENCE_S", 0.2)
    with client(path) as c:
        c.socket.settimeout(0.5)
        try:
            while True:
                c.socket.sendall(records(0, 5000))
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        eventually(lambda: not server.listener._connections, "the connection is gone")
    with client(path) as c:
        assert c.ask(records(0, 1) + b"\n")["accepted"] == 1


def test_fifty_clients_at_once(server: Server, path: Path) -> None:
    totals = []

    def work(n: int) -> None:
        with client(path) as c:
            c.socket.sendall(records(n * 100, 50) + b"\n" + records(n * 100 + 50, 50))
            totals.append(sum(a["accepted"] for a in c.end()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert totals == [100] * 50
    assert sorted(server.descriptions) == sorted(f"n=1:{n}:" for n in range(5000))


def test_more_connections_than_are_served_are_told_so(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "MAX_CONNECTIONS", 2)
    with client(path) as a, client(path) as b, client(path) as c:
        assert c.answer() == {"error": "too many connections, at most 2 are served", "retry_after": 1}
        assert a.ask(records(0, 1) + b"\n")["accepted"] == 1
        # One that says nothing for long makes room.
        monkeypatch.setattr(unix, "_IDLE_NS", 0)
        with client(path) as d:
            assert d.ask(records(1, 1) + b"\n")["accepted"] == 1
        assert b.answer() is None


# -- the end -------------------------------------------------------------------------------------------------------------


def test_what_has_arrived_is_recorded_and_answered_at_the_stop(path: Path) -> None:
    server = Server(path)
    server.listener.start()
    with client(path) as c:
        server.gate.clear()
        c.socket.sendall(records(0, 3) + b"\n" + records(3, 3))
        eventually(lambda: server.listener._connections, "it is connected")
        stopper = threading.Thread(target=server.listener.stop, args=(10,))
        stopper.start()
        eventually(lambda: not path.exists(), "the socket is gone")
        server.gate.set()
        stopper.join()

        assert [c.answer()["accepted"], c.answer()["accepted"], c.answer()] == [3, 3, None]
    assert len(server.events) == 6


def test_an_idle_client_holds_up_no_stop(path: Path) -> None:
    server = Server(path)
    server.listener.start()
    with client(path):
        eventually(lambda: server.listener._connections, "it is connected")
        server.listener.stop(60)
        assert not server.listener._connections
    server.listener.stop(60)


# -- the file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_socket_has_its_mode_whatever_the_umask(path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        server = Server(path, mode)
        server.listener.start()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    server.listener.stop(5)
    assert not path.exists()


def test_a_socket_that_a_dead_host_left_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = Server(path)

    server.listener.start()

    with client(path) as c:
        assert c.ask(records(0, 1) + b"\n")["accepted"] == 1
    server.listener.stop(5)


def test_a_running_host_is_not_pushed_aside(server: Server, path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="another running host listens there"):
        Server(path).listener.start()

    with client(path) as c:
        assert c.ask(records(0, 1) + b"\n")["accepted"] == 1


def test_a_foreign_server_is_not_pushed_aside(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        with pytest.raises(EnvironmentFault, match="another process listens there"):
            Server(path).listener.start()


def test_what_is_no_socket_is_left_alone(tmp_path: Path, path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    for make in (lambda: path.write_text("precious"), lambda: path.symlink_to(tmp_path / "target"), path.mkdir):
        make()
        with pytest.raises(EnvironmentFault, match="is not a socket"):
            Server(path).listener.start()
        path.rmdir() if path.is_dir() else path.unlink()
    assert (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 120, "at most 103 bytes"), ("missing/s", "must exist and be writable")]
)
def test_a_path_that_cannot_be_says_why(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(EnvironmentFault, match=words):
        Server(tmp_path / name).listener.start()


def test_a_socket_that_another_host_took_over_is_not_removed(path: Path) -> None:
    server = Server(path)
    server.listener.start()
    path.unlink()
    path.write_text("another's")

    server.listener.stop(5)

    assert path.read_text() == "another's"


# -- the real host -------------------------------------------------------------------------------------------------------

_POLICY = """
kumo.on('init', function()
  kumo.audit.configure_log{ name = 'a' }
  kumo.audit.start_socket_listener{ path = 's', mode = '0600' }
end)
"""
_HOOK = "kumo.on('audit_event', function(ev) if ev.user == 'x' then return false end ev.tag = 'seen' return ev end)\n"


def test_a_host_serves_until_a_signal_and_the_policy_sees_each_record(tmp_path: Path) -> None:
    with host(tmp_path, _POLICY + _HOOK) as h:
        h.wait_for("ready")
        with client(tmp_path / "s") as c:
            answer = c.ask(b'{"description":"a"}\n{"description":"b","user":"x"}\n\n')
        assert f"listeners unix:{tmp_path}/s" in h.said
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        h.send(signal.SIGTERM)
        assert h.wait() == 0
        assert not (tmp_path / "s").exists()

    found = kumoaudit("query", "--data-dir", "data", "--format", "json", "--where", "kind=custom", cwd=tmp_path)
    (row,) = [json.loads(line) for line in found.out.splitlines()]
    assert (answer["accepted"], answer["recorded"]) == (2, 1)
    assert (row["id"], row["tag"], row["node"]) == (answer["ids"][0], "seen", os.uname().nodename)


def test_what_was_answered_is_found_after_kill_9(tmp_path: Path) -> None:
    answered = 0
    for group in range(3):
        with host(tmp_path, _POLICY) as h:
            h.wait_for(f"ready: pid {h.process.pid}")
            with client(tmp_path / "s") as c:
                for _ in range(20):
                    answered += c.ask(records(answered + 1, 37) + b"\n")["accepted"]
                h.send(signal.SIGKILL)
                h.wait()
        assert answered == (group + 1) * 740
    with host(tmp_path, _POLICY) as h:
        h.wait_for(f"ready: pid {h.process.pid}")
        h.send(signal.SIGTERM)
        assert h.wait() == 0

    Contents(tmp_path / "data" / "a").check({1: answered})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("kumo.audit.start_socket_listener{ path = 's', mod = 1 }", "unknown option 'mod'"),
        ("kumo.audit.start_socket_listener{ path = 's', mode = 660 }", "write it in quotes: '0660'"),
        ("kumo.audit.start_socket_listener{ path = 's', mode = '0999' }", "octal digits"),
        ("kumo.audit.start_socket_listener{}", "missing option 'path'"),
        (
            "kumo.audit.start_socket_listener{ path = 's' } kumo.audit.start_socket_listener{ path = './s' }",
            "already served by the call at policy.lua:1",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_call_that_cannot_be_says_why(tmp_path: Path, command: str, call: str, words: str) -> None:
    (tmp_path / "policy.lua").write_text(f"kumo.on('init', function() {call} end)")

    ran = kumoaudit(command, "policy.lua", cwd=tmp_path)

    assert ran.code == 2
    assert "policy.lua:1: kumo.audit.start_socket_listener" in ran.err
    assert words in ran.err
    assert not (tmp_path / "s").exists()


def test_it_is_called_in_init_only(tmp_path: Path) -> None:
    call = "kumo.on('%s', function() kumo.audit.start_socket_listener{ path = 's' } end)"
    ran = run_policy(tmp_path, call % "pre_init")
    script = run_policy(tmp_path, call % "main", script_args=())

    for it in (ran, script):
        assert it.code != 0
        assert "may be called only in the handler of 'init'" in it.err


def test_a_check_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "policy.lua").write_text(_POLICY)

    ran = kumoaudit("check", "policy.lua", cwd=tmp_path)

    assert (ran.code, sorted(os.listdir(tmp_path))) == (0, ["policy.lua"])


def test_a_socket_that_cannot_be_made_ends_the_start_with_3(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    ran = run_policy(tmp_path, _POLICY)

    assert ran.code == 3
    assert "is not a socket" in ran.err
    assert (tmp_path / "s").read_text() == "precious"
