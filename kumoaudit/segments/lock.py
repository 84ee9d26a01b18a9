"""One host per directory: a lock of the kernel's on a file, never a pid file that outlives its process."""

from __future__ import annotations

import os

from kumoaudit.core.errors import LogInUse, StorageFault
from kumoaudit.core.protocols import Disk


class DirectoryLock:
    """Held from construction to `release` (or the end of the process, however it ends)."""

    def __init__(self, disk: Disk, path: str, directory: str, what: str) -> None:
        """Take the lock in file *path*. Raises LogInUse with the other's pid, StorageFault when it cannot be made."""
        self._disk, self.directory = disk, directory
        try:
            self._fd = disk.open(path, os.O_RDWR | os.O_CREAT)
        except OSError as e:
            raise StorageFault(f"{what} {directory}: {e.strerror}") from None
        if not disk.lock(self._fd):
            pid = disk.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            disk.close(self._fd)
            raise LogInUse(
                f"{what} {directory} is in use by pid {pid}\n  stop that host, or give this one another directory"
            )
        try:
            # Written over in place, at one width: on a full disk an old file needs no room for that.
            disk.pwrite(self._fd, f"{os.getpid():<15}\n".encode(), 0)
        except OSError:
            pass  # the pid only helps to find the other host; the lock itself is the kernel's

    def is_at(self, path: str) -> bool:
        """Whether the locked file is still the one at *path* (the directory may have been removed or replaced)."""
        try:
            here, there = self._disk.fstat(self._fd), self._disk.stat(path)
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Let others in. Twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk.close(fd)
