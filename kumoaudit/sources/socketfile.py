"""The file of a Unix socket: made with its mode, never through a symbolic link, never taken from a running host."""

from __future__ import annotations

import fcntl
import os
import socket
import stat

from kumoaudit.core.errors import EnvironmentFault

_BACKLOG = 128
# What the kernel takes as the path of a socket.
MAX_PATH_BYTES = 107


class SocketFile:
    """A socket at *path*. Another host that serves there is found by its lock and left alone."""

    def __init__(self, path: str, mode: int) -> None:
        self.path, self.mode = path, mode
        self._lock = -1
        self._identity = (0, 0)

    def listen(self) -> socket.socket:
        """A socket that listens at the path. Raises EnvironmentFault; then nothing was changed there.

        It is bound under another name, gets its mode there and is then renamed, so nobody connects before it has it.
        """
        directory = os.path.dirname(self.path) or "."
        if len(os.fsencode(self.path)) + len(".new") > MAX_PATH_BYTES:
            raise EnvironmentFault(
                f"{self.path}: the path of a socket has at most {MAX_PATH_BYTES - 4} bytes\n  choose a shorter one"
            )
        try:
            self._take_lock(f"{self.path}.lock")
            self._look()
            listening = self._bind(f"{self.path}.new")
        except OSError as e:
            self._release()
            why = (e.strerror or str(e)).lower()
            raise EnvironmentFault(
                f"{self.path}: {why}\n  the directory {directory} must exist and be writable"
            ) from None
        except EnvironmentFault:
            self._release()
            raise
        return listening

    def remove(self) -> None:
        """Take the socket away, if it is still ours, and let another host have the path."""
        try:
            if _identity(self.path) == self._identity:
                os.unlink(self.path)
        except OSError:
            pass  # gone already, or the directory is
        self._release()

    def _take_lock(self, path: str) -> None:
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFault(
                f"{self.path}: another running host listens there\n  stop it or choose another path"
            ) from None

    def _look(self) -> None:
        """Refuse a path that is not ours to replace: no socket, or one that somebody serves."""
        try:
            is_socket = stat.S_ISSOCK(os.lstat(self.path).st_mode)
        except FileNotFoundError:
            return
        if not is_socket:
            raise EnvironmentFault(f"{self.path} exists and is not a socket\n  move it away or choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(self.path)
            except (ConnectionRefusedError, FileNotFoundError):
                return  # left over by a host that died
        raise EnvironmentFault(f"{self.path}: another process listens there\n  stop it or choose another path")

    def _bind(self, aside: str) -> socket.socket:
        try:
            if stat.S_ISSOCK(os.lstat(aside).st_mode):
                os.unlink(aside)  # of a host that died between its bind and its rename; we hold the lock
        except FileNotFoundError:
            pass
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The mode at the bind: nobody else in between. Linux takes it from the descriptor.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(aside)
            os.chmod(aside, self.mode)
            listening.listen(_BACKLOG)
            self._identity = _identity(aside)
            os.rename(aside, self.path)
        except BaseException:
            listening.close()
            try:
                os.unlink(aside)
            except OSError:
                pass
            raise
        return listening

    def _release(self) -> None:
        if self._lock >= 0:
            # The lock's file stays: were it removed, two hosts could hold locks of the same name.
            os.close(self._lock)
            self._lock = -1


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
