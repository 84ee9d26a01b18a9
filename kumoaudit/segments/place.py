"""The directory of a log: made, checked, locked against a second host, and described for readers that only have it."""

from __future__ import annotations

import errno
import os
import stat

import msgspec

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.protocols import Disk
from kumoaudit.segments.disk import write_all
from kumoaudit.segments.lock import DirectoryLock
from kumoaudit.segments.naming import hidden

# What a full disk answers: it never stops a start, for nothing that a start must write is new.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Description(msgspec.Struct, frozen=True):
    """`.kumoaudit/log.json`: what a reader that only has the directory must know."""

    name: str
    format: str
    prefix: str
    ring: str


class LogDirectory:
    """Used by the one sink that writes there. One thread at a time."""

    def __init__(self, disk: Disk, path: str, describe: Description, *, power: bool) -> None:
        """Touches nothing; with *power* the directories that `prepare` makes are synced too."""
        self._disk, self.path, self._describe, self._power = disk, path, describe, power
        self._lock: DirectoryLock | None = None

    def prepare(self) -> None:
        """Make the directory usable and hold it. Raises StorageFault or LogInUse; again is harmless."""
        directory, disk = self.path, self._disk
        try:
            missing = missing_directories(directory)
            check_directory(disk, directory)
            disk.makedirs(hidden(directory))
            if self._power:
                for made in missing:
                    disk.fsync_dir(os.path.dirname(made))
        except OSError as e:
            raise StorageFault(
                f"log_dir {directory}: {e.strerror} (running as uid {os.geteuid()})\n"
                "  make the directory writable for this user, or choose another"
            ) from None
        lock = hidden(directory, "lock")
        if self._lock is None or not self._lock.is_at(lock):
            self.release()
            self._lock = DirectoryLock(disk, lock, directory, "log_dir")
        try:
            self._write_description(hidden(directory, "log.json"))
        except OSError as e:
            if e.errno not in _FULL:
                raise
            # The description can wait.

    def _write_description(self, path: str) -> None:
        """Only when it says something new, and whole or not at all."""
        disk, text = self._disk, msgspec.json.encode(self._describe) + b"\n"
        try:
            fd = disk.open(path, os.O_RDONLY)
        except FileNotFoundError:
            pass
        else:
            try:
                if disk.pread(fd, len(text) + 1, 0) == text:
                    return
            finally:
                disk.close(fd)
        fd = disk.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(disk, fd, text)
        finally:
            disk.close(fd)
        disk.rename(path + ".new", path)

    def release(self) -> None:
        """Let another host in."""
        if self._lock:
            self._lock.release()
            self._lock = None


def missing_directories(directory: str) -> list[str]:
    """*directory* and its parents as far as they do not exist, the innermost first."""
    missing = []
    at = os.path.abspath(directory)
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    return missing


def check_directory(disk: Disk, directory: str) -> None:
    """Make *directory* if it is missing. Raises OSError; StorageFault when somebody else could swap files in it."""
    if os.path.islink(directory):
        raise StorageFault(
            f"log_dir {directory} is a symbolic link\n  give the real path: {os.path.realpath(directory)}"
        )
    disk.makedirs(directory)
    st = disk.stat(directory)
    is_foreign = st.st_uid not in (0, os.geteuid())
    # In a sticky directory nobody but the owner of a file can rename or remove it.
    is_open = st.st_mode & stat.S_IWOTH and not st.st_mode & stat.S_ISVTX
    if is_open or (is_foreign and st.st_mode & 0o022):
        mode = f"{stat.S_IMODE(st.st_mode):04o}"
        raise StorageFault(
            f"log_dir {directory} belongs to uid {st.st_uid} and others may write to it (mode {mode})\n"
            "  take the write permission from group and others, or choose another directory"
        )
