"""The real disk: the `Disk` seam on the operating system's calls, with what every log file needs decided once."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import re
import stat

from kumoaudit.core.protocols import Disk

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_NOCOW_FL = 0x00800000

# In the table of mounts a space of a path is \040.
_ESCAPED = re.compile(r"\\([0-7]{3})")


class RealDisk:
    """Straight calls; any thread. Files get their mode at creation whatever the umask, directories 0750."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        """A descriptor that no child inherits and no symlink diverts; a file made here has exactly *mode*."""
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        if not flags & os.O_CREAT:
            return os.open(path, flags)
        while True:
            if not flags & os.O_EXCL:
                try:
                    return os.open(path, flags & ~os.O_CREAT)
                except FileNotFoundError:
                    pass
            try:
                fd = os.open(path, flags | os.O_EXCL, mode)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                continue  # somebody else made it between the two attempts
            try:
                os.fchmod(fd, mode)
            except OSError:
                os.close(fd)
                raise
            return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync_dir(self, path: str) -> None:
        """Make the names in a directory durable: a new, renamed or removed file is only then safe from a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def preallocate(self, fd: int, size: int) -> None:
        """Room on the disk for *size* bytes, or OSError now instead of SIGBUS at a later store into the map."""
        os.posix_fallocate(fd, 0, size)

    def map(self, fd: int, size: int, *, writable: bool) -> mmap.mmap:
        prot = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        return mmap.mmap(fd, size, mmap.MAP_SHARED, prot)

    def fchmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path)

    def lstat(self, path: str) -> os.stat_result:
        """Of a symbolic link itself, not of what it leads to."""
        return os.lstat(path)

    def access(self, path: str, mode: int) -> bool:
        """Whether *path* is there and this user may use it so: *mode* is made of `os.F_OK`, `R_OK`, `W_OK`, `X_OK`."""
        return os.access(path, mode)

    def statvfs(self, path: str) -> os.statvfs_result:
        return os.statvfs(path)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def makedirs(self, path: str) -> None:
        """The directory and its missing parents, each 0750; one that exists is left as it is."""
        missing = []
        at = os.path.abspath(path)
        while not os.path.isdir(at):
            missing.append(at)
            at = os.path.dirname(at)
        for part in reversed(missing):
            try:
                os.mkdir(part, 0o750)
            except FileExistsError:
                if not os.path.isdir(part):
                    raise
                continue
            os.chmod(part, 0o750)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def lock(self, fd: int) -> bool:
        """Take the exclusive lock of an open file; False when another process has it. Freed by the kernel."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def no_copy_on_write(self, fd: int) -> bool:
        """Whether stores into a map of this (empty) file stay in place. On btrfs that needs an attribute: without it
        a full disk turns a store into SIGBUS even when the file was preallocated."""
        try:
            flags = array.array("L", [0])
            fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags, True)
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, array.array("L", [flags[0] | _FS_NOCOW_FL]))
        except OSError:
            return _filesystem(f"/proc/self/fd/{fd}") != "btrfs"
        return True

    def filesystem(self, path: str) -> str:
        """As the table of mounts says."""
        return _filesystem(path)


def _filesystem(path: str) -> str:
    """The type of the innermost mount that holds *path*; of two on one place the later."""
    target = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                _, at, fs, *_ = line.split(" ")
                at = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), at)
                if len(at) >= len(best) and (target == at or target.startswith(at.rstrip("/") + "/")):
                    best, kind = at, fs
    except (OSError, ValueError):
        return ""
    return kind


def is_directory(disk: Disk, path: str) -> bool:
    """Whether *path* is a directory, or a link to one; False when it cannot be looked at."""
    try:
        return stat.S_ISDIR(disk.stat(path).st_mode)
    except OSError:
        return False


def write_all(disk: Disk, fd: int, data: bytes | memoryview) -> None:
    """Write every byte or raise OSError; a short write is normal on a full disk and is followed up."""
    view = memoryview(data)
    while view:
        view = view[disk.write(fd, view) :]
