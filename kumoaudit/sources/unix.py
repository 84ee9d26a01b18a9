"""Records over a Unix stream socket: JSON lines in, one line of answer for each batch."""

from __future__ import annotations

import errno
import re
import socket
import struct
import threading
import time
from collections.abc import Callable

import msgspec

from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.protocols import Clock
from kumoaudit.sources.batch import Content, Parted
from kumoaudit.sources.ingest import BadBatch, Ingest, PeerInfo, failed
from kumoaudit.sources.socketfile import SocketFile

MAX_CONNECTIONS = 64
MAX_LINE_BYTES = 8 << 20

# A batch: what arrives without a pause this long, but not more than so many bytes of whole lines.
_PAUSE_S = 0.005
_BATCH_BYTES = 256 << 10
_READ_BYTES = 256 << 10
# A line that does not go on, and a client that does not read its answers.
_PATIENCE_S = 30.0
# When all connections are taken, one that said nothing for so long makes room.
_IDLE_NS = 60_000_000_000

_encode = msgspec.json.Encoder().encode


class SocketListener:
    """A socket at *path* that takes records. `start` and `stop`: one thread; each connection has a thread of its own.

    The uid, gid and pid of the peer, as the kernel knows them, go into its records.
    """

    def __init__(self, path: str, mode: int, ingest: Ingest, clock: Clock, say: Callable[[str], None]) -> None:
        self.path, self.name = path, f"unix:{path}"
        self._file = SocketFile(path, mode)
        self._ingest, self._clock, self._say = ingest, clock, say
        self._listening: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Serve from now on. Raises EnvironmentFault: the path is taken, or cannot be used."""
        self._listening = self._file.listen()
        self._thread = threading.Thread(target=self._accept, args=(self._listening,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more; what has arrived is recorded and answered, at most *timeout_s* long."""
        deadline = Deadline(self._clock, timeout_s)
        self._stopping.set()
        if self._listening is None:
            return
        self._file.remove()
        try:
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        except OSError:
            pass
        if self._thread:
            self._thread.join(deadline.left_s())
        self._listening.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.finish()
        for connection in connections:
            connection.thread.join(deadline.left_s())
            connection.drop()

    def _accept(self, listening: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                peer, _ = listening.accept()
            except OSError as e:
                if self._stopping.is_set():
                    return
                if e.errno not in (errno.ECONNABORTED, errno.EINTR):
                    # Out of descriptors or memory: others will let go of theirs.
                    self._say(f"{self.name}: {(e.strerror or str(e)).lower()}")
                    time.sleep(0.2)
                continue
            self._take(peer)

    def _take(self, peer: socket.socket) -> None:
        with self._lock:
            count = len(self._connections)
            idle = min(self._connections, key=lambda c: c.last_ns, default=None) if count >= MAX_CONNECTIONS else None
        if idle is not None:
            if self._clock.monotonic_ns() - idle.last_ns < _IDLE_NS:
                _refuse(peer, f"too many connections, at most {MAX_CONNECTIONS} are served")
                return
            idle.finish()
            idle.thread.join(1.0)
        connection = _Connection(peer, self._ingest, self._clock, self._forget)
        with self._lock:
            self._connections.add(connection)
        try:
            connection.thread.start()
        except RuntimeError:
            self._forget(connection)
            _refuse(peer, "no thread can be started for this connection")

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


def _refuse(peer: socket.socket, reason: str) -> None:
    try:
        peer.setblocking(False)
        peer.send(_encode({"error": reason, "retry_after": 1}) + b"\n")
    except OSError:
        pass  # it has gone already
    peer.close()


class _Connection:
    """One client, on a thread of its own."""

    def __init__(
        self, peer: socket.socket, ingest: Ingest, clock: Clock, forget: Callable[[_Connection], None]
    ) -> None:
        self._peer, self._ingest, self._clock, self._forget = peer, ingest, clock, forget
        pid, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self._who = PeerInfo(uid=uid, gid=gid, pid=pid)
        self.last_ns = self._clock.monotonic_ns()
        """When it last sent something."""
        self.thread = threading.Thread(target=self._serve, name=f"unix-{pid}", daemon=True)

    def finish(self) -> None:
        """Read no further than what has arrived."""
        try:
            self._peer.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # closed already

    def drop(self) -> None:
        """Let go at once, if it is still there."""
        try:
            self._peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _serve(self) -> None:
        try:
            self._read()
        except (OSError, TimeoutError):
            pass  # the client has gone, or does not read its answers; what was acknowledged is recorded
        finally:
            self._peer.close()
            self._forget(self)

    def _read(self) -> None:
        peer = self._peer
        waiting: list[bytes] = []
        """What has arrived and is not taken: whole lines, and behind them perhaps the begin of one."""
        size = 0
        has_lines = False
        while True:
            peer.settimeout(_PAUSE_S if has_lines else _PATIENCE_S if size else None)
            try:
                chunk = peer.recv(_READ_BYTES)
            except TimeoutError:
                if not has_lines:
                    self._answer({"error": f"a line did not end within {_PATIENCE_S:g} s"})
                    return
                chunk = b""
                is_over = False
            else:
                is_over = not chunk
                self.last_ns = self._clock.monotonic_ns()
            waiting.append(chunk)
            size += len(chunk)
            has_lines = has_lines or b"\n" in chunk
            is_whole = is_over or (has_lines and (not chunk or size >= _BATCH_BYTES))
            if is_whole or (has_lines and _ends_batch(waiting)):
                data = b"".join(waiting)
                end = len(data) if is_over else data.rfind(b"\n") + 1
                self._take(data[:end])
                rest = data[end:]
                waiting, size, has_lines = [rest], len(rest), b"\n" in rest
            if is_over:
                return
            if size > MAX_LINE_BYTES:
                self._answer({"error": f"a line is longer than {MAX_LINE_BYTES} bytes"})
                return

    def _take(self, data: bytes) -> None:
        """The batches of *data*: parted by empty lines."""
        if data.endswith((b"\n\n", b"\r\n")):
            data = data.rstrip(b"\r\n")
        if not data or data.isspace():
            return
        try:
            self._record(data, "stream")
        except Parted:
            for batch in _EMPTY_LINES.split(data):
                if batch and not batch.isspace():
                    self._record(batch, "lines")

    def _record(self, batch: bytes, content: Content) -> None:
        try:
            answer = self._ingest.take(batch, content, self._who).json()
        except (BadBatch, RecordRefused) as e:
            answer = _encode(failed(e))
        self._peer.settimeout(_PATIENCE_S)
        self._peer.sendall(answer + b"\n")

    def _answer(self, error: dict[str, str]) -> None:
        self._peer.settimeout(_PATIENCE_S)
        self._peer.sendall(_encode(error) + b"\n")
        # What the client still sends must not take the answer from it: a close with unread bytes would reset.
        self._peer.shutdown(socket.SHUT_WR)
        deadline = Deadline(self._clock, 1.0)
        while left := deadline.left_s():
            self._peer.settimeout(left)
            if not self._peer.recv(_READ_BYTES):
                return


# A line that is empty ends a batch; several of them end one.
_EMPTY_LINES = re.compile(rb"(?:\r?\n){2,}")


def _ends_batch(parts: list[bytes]) -> bool:
    """Whether what has arrived ends with an empty line. One further in is found when the batch is taken: no later than
    a pause of the client."""
    last = parts[-1]
    if len(last) < 3 and len(parts) > 1:
        last = parts[-2][-3:] + last
    return last.endswith((b"\n\n", b"\n\r\n"))
