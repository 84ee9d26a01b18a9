"""`kumo.fs.open`, `metadata_for_path` and `symlink_metadata_for_path`; reading and writing run outside the gate."""

from __future__ import annotations

import io
import itertools
import os
import stat
import threading
import weakref
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import StorageFault, UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.works import place

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

MAX_READ = 1 << 30

MODES = {
    b"r": os.O_RDONLY,
    b"w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    b"a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    b"r+": os.O_RDWR | os.O_CREAT,
    b"w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    b"a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}
_WHENCE = {b"set": os.SEEK_SET, b"cur": os.SEEK_CUR, b"end": os.SEEK_END}
# Fields of the operating system, under its names for them.
_STAT_FIELDS = ("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks")


class OpenFile:
    """A file without a buffer of its own; one call at a time, from any thread. Closed when nobody holds it any more."""

    def __init__(self, path: bytes, flags: int) -> None:
        """Raises OSError."""
        fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
        kind = "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "wb" if flags & os.O_ACCMODE == os.O_WRONLY else "r+b"
        self._file = io.FileIO(fd, kind)
        weakref.finalize(self, self._file.close)
        self._busy = threading.Lock()

    def read(self, size: int | None) -> bytes:
        """At most *size* bytes, or everything that is left (at most MAX_READ: ValueError)."""
        with self._busy:
            if size is not None:
                return self._file.read(min(size, MAX_READ)) or b""
            parts: list[bytes] = []
            total = 0
            while part := self._file.read(1 << 20):
                parts.append(part)
                total += len(part)
                if total > MAX_READ:
                    raise ValueError(f"more than {MAX_READ >> 30} GiB are left; read them in pieces: file:read(size)")
            return b"".join(parts)

    def write(self, data: bytes) -> None:
        """All of it."""
        with self._busy:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]

    def seek(self, whence: int, offset: int) -> int:
        """The new position."""
        with self._busy:
            return self._file.seek(offset, whence)

    def flush(self) -> None:
        """Nothing is held back; only says when the file is closed (ValueError)."""
        self._file.flush()

    def close(self) -> None:
        """Twice is harmless."""
        with self._busy:
            self._file.close()


def exports(host: PolicyHost) -> dict[str, Export]:
    """The objects are Lua's (lua/kumoaudit/api/files.lua)."""

    # Opened outside the gate, but numbers of objects are given inside.
    opened: dict[int, OpenFile] = {}
    numbers = itertools.count(1)

    def open_file(at: bytes, path: object, mode: object) -> float:
        where = place(at, "kumo.fs.open")
        name = _path(where, path)
        flags = MODES.get(mode.replace(b"b", b"", 1)) if isinstance(mode, bytes) else None
        if flags is None:
            raise UsageError(f"{where}: the mode must be r, w, a, r+, w+ or a+, and may have a b")
        if host.validating and flags != os.O_RDONLY:
            name, flags = os.fsencode(os.devnull), os.O_RDWR  # `check` makes and changes nothing
        try:
            number = next(numbers)
            opened[number] = OpenFile(name, flags)
            return float(number)
        except OSError as e:
            raise StorageFault(f"{where}: {text(path)}: {(e.strerror or str(e)).lower()}") from None

    def use(at: bytes, number: float, method: bytes, first: Any = None, second: Any = None) -> Any:
        where = place(at, f"file:{text(method)}")
        file = host.objects.get(number, OpenFile)
        try:
            match method:
                case b"read":
                    return file.read(_whole(where, "the size", first, 0))
                case b"write":
                    return file.write(first)
                case b"seek":
                    whence = _WHENCE.get(first or b"cur")
                    if whence is None:
                        raise UsageError(f"{where}: the first argument must be set, cur or end")
                    return float(file.seek(whence, _whole(where, "the position", second, -(1 << 53)) or 0))
                case b"flush":
                    return file.flush()
                case _:
                    return file.close()
        except io.UnsupportedOperation:
            raise UsageError(f"{where}: the file is not open for that; see the mode of kumo.fs.open") from None
        except ValueError as e:
            raise UsageError(f"{where}: {'the file is closed' if 'closed file' in str(e) else e}") from None
        except OSError as e:
            raise StorageFault(f"{where}: {(e.strerror or str(e)).lower()}") from None

    def metadata(at: bytes, call: bytes, path: object) -> Any:
        where = f"{host.place_of(at)}: kumo.fs.{text(call)}"
        name = _path(where, path)
        try:
            st = os.lstat(name) if call.startswith(b"symlink") else os.stat(name)
        except OSError as e:
            raise UsageError(f"{where}: {text(path)}: {(e.strerror or str(e)).lower()}") from None
        found: dict[str, Any] = {f: getattr(st, f"st_{f}") for f in _STAT_FIELDS}
        found |= {
            "path": name,
            "is_file": stat.S_ISREG(st.st_mode),
            "is_dir": stat.S_ISDIR(st.st_mode),
            "is_symlink": stat.S_ISLNK(st.st_mode),
            "len": st.st_size,
            "readonly": not st.st_mode & 0o222,
            "mtime": st.st_mtime,
            "atime": st.st_atime,
            "ctime": st.st_ctime,
        }
        return host.works.tables.of(found)

    host.python[b"file_metadata"] = host.guard(metadata)
    host.python[b"file_opened"] = host.guard(lambda number: float(host.objects.add(opened.pop(int(number)))))
    host.works[b"file_open"] = open_file
    host.works[b"file_use"] = use
    return {}


def _path(where: str, path: object) -> bytes:
    if not isinstance(path, bytes) or not path or b"\0" in path:
        raise UsageError(f"{where}: expected a path, got {type_name(path)}")
    return path


def _whole(where: str, what: str, value: Any, low: int) -> int | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and low <= value <= 1 << 53 and int(value) == value:
        return int(value)
    raise UsageError(f"{where}: {what} must be a whole number" + (" >= 0" if low == 0 else ""))
