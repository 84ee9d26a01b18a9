"""The control socket of a host: commands of the operator as JSON lines, for root and the host's own user alone.

A request is one line, `{"command": "status"}`; its answer is one line. Commands run on the socket's own thread, touch
no log and wait for none, so that they work when nothing else does any more (a full disk, logs that refuse).
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from kumoaudit.core.errors import EnvironmentFault, UsageError
from kumoaudit.segments.reserve import Reserve

FILE = "control.sock"

_MODE = 0o600
_MAX_PATH = 107
_MAX_REQUEST = 1 << 16
_ANSWER_TIMEOUT_S = 2.0
_ASK_TIMEOUT_S = 10.0
_CLIENTS = 32
_CREDENTIALS = struct.Struct("3i")


class Peer(NamedTuple):
    """Who asks, as the kernel says."""

    pid: int
    uid: int
    gid: int


class Command(NamedTuple):
    """A command: *run* gets the request and gives the fields of the answer, at once; *record* is the type of the event
    that it leaves ("" for those that only look)."""

    run: Callable[[dict[str, Any]], dict[str, Any]]
    record: str = ""


class NotRunning(EnvironmentFault):
    """No host answers in a data directory."""

    exit_code = 1


class ControlSocket:
    """One thread, from `start` to `stop`. `commands` may grow at any time: it is the registry.

    *on_record(type, name, peer)* is called for a command that leaves a record, before it is done; it must not wait.
    """

    def __init__(self, data_dir: str, on_record: Callable[[str, str, Peer], None], say: Callable[[str], None]) -> None:
        self.path = os.path.join(data_dir, FILE)
        self.commands: dict[str, Command] = {}
        self._on_record, self._say = on_record, say
        self._uids = {0, os.geteuid()}
        self._listener: socket.socket | None = None
        self._identity = (0, 0)
        self._wake, self._woken = -1, -1
        # A host out of descriptors can still be asked what it is out of.
        self._reserve = Reserve(1)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. What lies at the path is replaced, so the data directory must be this host's alone. A host without
        the socket still records: that it cannot be made is said, not raised."""
        try:
            self._listen()
        except OSError as e:
            self._say(
                f"{self.path}: no control socket: {(e.strerror or str(e)).lower()}; 'kumoaudit status' cannot ask"
            )
            return
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC)
        self._reserve.fill()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more and remove the socket. Again is harmless."""
        if self._thread is None:
            return
        os.write(self._wake, b"x")
        self._thread.join(_ANSWER_TIMEOUT_S + 1)
        self._thread = None
        try:
            st = os.lstat(self.path)
            if (st.st_dev, st.st_ino) == self._identity:
                os.unlink(self.path)
        except OSError:
            pass  # whoever removed it was first

    def _listen(self) -> None:
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise OSError(errno.EEXIST, "something that is no socket is in its place")
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self.path) as path:
                listener.bind(path)
            # Nobody can connect before `listen`, so there is no moment with another mode.
            os.chmod(self.path, _MODE)
            st = os.lstat(self.path)
            self._identity = (st.st_dev, st.st_ino)
            listener.listen(_CLIENTS)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._listener = listener

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._listener is not None
        clients: dict[int, _Client] = {}
        with selectors.PollSelector() as selector:  # needs no descriptor
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._woken:
                        self._close(clients)
                        return
                    client = clients.get(key.fd)
                    if client is None:
                        client = self._accept(len(clients) < _CLIENTS)
                        if client:
                            clients[client.socket.fileno()] = client
                            selector.register(client.socket, selectors.EVENT_READ)
                    elif not self._serve(client):
                        selector.unregister(client.socket)
                        del clients[key.fd]
                        client.socket.close()
                        self._reserve.fill()

    def _close(self, clients: dict[int, _Client]) -> None:
        for client in clients.values():
            client.socket.close()
        assert self._listener is not None
        self._listener.close()
        self._reserve.release()
        os.close(self._woken)
        os.close(self._wake)

    def _accept(self, has_room: bool) -> _Client | None:
        assert self._listener is not None
        try:
            accepted, _ = self._reserve.call(self._listener.accept)
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):
                # It stays in the queue and makes the socket readable: look again later, not in a circle.
                threading.Event().wait(0.1)
            return None
        accepted.settimeout(_ANSWER_TIMEOUT_S)
        raw = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        client = _Client(accepted, Peer(*_CREDENTIALS.unpack(raw)))
        if has_room and client.peer.uid in self._uids:
            return client
        client.send(_error("too many connections" if not has_room else "only root and the host's user may ask"))
        accepted.close()
        self._reserve.fill()
        return None

    def _serve(self, client: _Client) -> bool:
        """Answer every whole line; False when the client is done or talks nonsense without end."""
        try:
            data = client.socket.recv(_MAX_REQUEST)
        except OSError:
            return False
        client.pending += data
        *lines, client.pending = client.pending.split(b"\n")
        if not data and client.pending:
            lines, client.pending = [client.pending], b""
        for line in lines:
            if line.strip() and not client.send(self.answer(line, client.peer)):
                return False
        return bool(data) and len(client.pending) <= _MAX_REQUEST

    def answer(self, line: bytes, peer: Peer) -> bytes:
        """The line that answers one request. Never raises."""
        try:
            request = orjson.loads(line)
            name = request["command"]
            command = self.commands[name]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            known = ", ".join(sorted(self.commands))
            return _error(f'no such command; write {{"command": NAME}}, NAME is one of {known}')
        if command.record:
            # Before it is done: a shutdown leaves no time afterwards, and what fails was asked for too.
            self._on_record(command.record, name, peer)
        try:
            return orjson.dumps(command.run(request)) + b"\n"
        except Exception as e:  # noqa: BLE001 - one command's bug must not close the way in for the others
            return _error(f"{name}: {e}")


class _Client:
    """A connection, and the part of a line that has come so far."""

    def __init__(self, accepted: socket.socket, peer: Peer) -> None:
        self.socket, self.peer, self.pending = accepted, peer, b""

    def send(self, answer: bytes) -> bool:
        """False when it does not take the answer."""
        try:
            self.socket.sendall(answer)
        except OSError:
            return False
        return True


def _error(text: str) -> bytes:
    return orjson.dumps({"error": text}) + b"\n"


@contextmanager
def _short(path: str) -> Iterator[str]:
    """*path*, or a way to it that fits into the address of a socket (107 bytes). Raises OSError."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def ask(data_dir: str, request: dict[str, Any], timeout_s: float = _ASK_TIMEOUT_S) -> dict[str, Any]:
    """The answer of the host that runs in *data_dir*.

    Raises NotRunning when there is none, EnvironmentFault when it does not answer or may not be asked, UsageError with
    what it says is wrong with the request.
    """
    path = os.path.join(data_dir, FILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(timeout_s)
        try:
            with _short(path) as short:
                s.connect(short)
            try:
                s.sendall(orjson.dumps(request) + b"\n")
            except BrokenPipeError:
                pass  # who turns us away does not listen, but has said why
            raw = b"".join(_until_newline(s))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NotRunning(f"no host is running in {data_dir}") from None
        except PermissionError:
            raise EnvironmentFault(f"{path}: only root and the host's user may ask it") from None
        except TimeoutError:
            raise EnvironmentFault(f"{path}: the host does not answer within {timeout_s:g} s") from None
        except OSError as e:
            raise EnvironmentFault(f"{path}: {e.strerror or e}") from None
    if not raw.endswith(b"\n"):
        raise NotRunning(f"no host is running in {data_dir}: it stopped without an answer")
    answer: dict[str, Any] = orjson.loads(raw)
    if "error" in answer:
        raise UsageError(f"{path}: {answer['error']}")
    return answer


def _until_newline(s: socket.socket) -> Iterator[bytes]:
    while part := s.recv(1 << 16):
        yield part
        if part.endswith(b"\n"):
            return
