"""Segments of a directory as one stream of JSON records, with a place to go on from (KumoMTA section 5.4).

Files are taken by name. One is complete when its mode is read-only; before that its end is waited for. Of our own
unfinished segments only committed frames count: what lies behind the last trailer is cut off after a crash.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import orjson

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.protocols import Disk
from kumoaudit.core.text import MAX_DEPTH, clean_value
from kumoaudit.segments.disk import write_all
from kumoaudit.segments.frames import last_trailer
from kumoaudit.segments.lines import NO_END, Block, line_blocks, zstd_pieces
from kumoaudit.segments.look import read_description

_ANYWHERE = 1 << 62


class Position(NamedTuple):
    """Behind line *line* (from 1) of the file with this name; in the order of reading."""

    file: str
    line: int


class Checkpoint(msgspec.Struct, frozen=True):
    """What lies in `<directory>/.<name>`."""

    file: str
    line: int


def read_checkpoint(disk: Disk, directory: str, name: str) -> Position | None:
    """Where a reader of this name was; None when it has none. Raises StorageFault when it cannot be read."""
    path = os.path.join(directory, f".{name}")
    try:
        fd = disk.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise StorageFault(f"checkpoint {path}: {e.strerror}") from None
    try:
        found = msgspec.json.decode(disk.pread(fd, 1 << 16, 0), type=Checkpoint)
    except msgspec.DecodeError:
        raise StorageFault(f"checkpoint {path}: damaged\n  delete it to read from the beginning") from None
    finally:
        disk.close(fd)
    return Position(os.path.basename(found.file), found.line)


def write_checkpoint(disk: Disk, directory: str, name: str, at: Position) -> None:
    """Replace the checkpoint whole: written aside, synced, renamed. Raises StorageFault."""
    path = os.path.join(directory, f".{name}")
    aside = f"{path}.{os.getpid()}.new"
    try:
        fd = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(disk, fd, msgspec.json.encode(Checkpoint(os.path.join(directory, at.file), at.line)))
            disk.fdatasync(fd)
        finally:
            disk.close(fd)
        disk.rename(aside, path)
    except OSError as e:
        with suppress(OSError):
            disk.unlink(aside)
        raise StorageFault(f"checkpoint {path}: {e.strerror}") from None


class _OpenSegment:
    """A segment that may still grow, as a source of bytes: only what counts of it is there."""

    def __init__(self, disk: Disk, path: str, *, is_ours: bool) -> None:
        """Raises OSError."""
        self._disk, self._is_ours = disk, is_ours
        self.fd = disk.open(path, os.O_RDONLY)
        self._limit = 0
        self.grows()

    def grows(self) -> bool:
        """Whether there may be more later; looks how far the file counts now."""
        st = self._disk.fstat(self.fd)
        if not st.st_mode & 0o222 or not st.st_nlink:
            self._limit = _ANYWHERE
            return False
        if self._is_ours:
            trailer = last_trailer(self._disk, self.fd, st.st_size)
            self._limit = trailer.end if trailer else 0
        else:
            self._limit = _ANYWHERE
        return True

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return self._disk.pread(fd, max(0, min(size, self._limit - offset)), offset)

    def close(self) -> None:
        self._disk.close(self.fd)


class Tailer:
    """One reader of a directory. One thread at a time."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        pattern: str,
        warn: Callable[[str], None],
        *,
        start: Position | None = None,
        newest: bool = False,
    ) -> None:
        """Begins behind *start*, or at the beginning, or with the *newest* file that is there at the first `read`."""
        self._disk, self._directory, self._pattern, self._warn = disk, directory, pattern, warn
        self._start, self._newest = start or Position("", 0), newest
        self._bad: set[str] = set()
        self._name = ""
        self._file: _OpenSegment | None = None
        self._blocks: Iterator[Block] = iter(())
        self._lines: deque[bytes] = deque()
        self._line = 0
        self._trouble: list[str] = []

    def read(self, most: int) -> list[tuple[Position, Any]]:
        """What there is now, at most *most* records, each with the position behind it. [] when it has to be waited
        for. What cannot be read is said to *warn* and passed over."""
        out: list[tuple[Position, Any]] = []
        while len(out) < most:
            if not self._lines:
                if not self._more():
                    break
                continue
            line = self._lines.popleft()
            self._line += 1
            if self._name == self._start.file and self._line <= self._start.line:
                continue
            try:
                value = orjson.loads(line)
                if line.count(b"[") + line.count(b"{") > MAX_DEPTH:
                    value = clean_value(value)  # what is nested too deeply for other readers
                out.append((Position(self._name, self._line), value))
            except orjson.JSONDecodeError as e:
                self._give_up(f"line {self._line} is not JSON ({e})")
        return out

    def close(self) -> None:
        """Twice is harmless."""
        file, self._file = self._file, None
        self._lines.clear()
        if file:
            file.close()

    def __del__(self) -> None:
        self.close()

    def _more(self) -> bool:
        """Fetch lines of the file, or go to the next file. False when there is nothing now."""
        if self._file is None:
            return self._next_file()
        block = next(self._blocks, None)
        if trouble := [t for t in self._trouble if t is not NO_END]:
            self._give_up(trouble[0])
        elif block is None:
            if self._trouble:
                self._warn(f"{self._path()}: {NO_END}; what follows line {self._line} is lost")
            self.close()
        elif not block.text:
            return False
        elif not block.text.endswith(b"\n"):
            *whole, torn = block.text.split(b"\n")
            self._lines.extend(whole)
            self._warn(f"{self._path()}: the last line is not whole; {len(torn)} bytes of it are passed over")
        else:
            self._lines.extend(block.text[:-1].split(b"\n"))
        return True

    def _next_file(self) -> bool:
        names = self._names()
        if self._newest and names:
            names, self._newest = names[-1:], False
        for name in names:
            try:
                is_ours = self._is_ours(name)
                self._name = name
                self._file = _OpenSegment(self._disk, self._path(), is_ours=is_ours)
            except FileNotFoundError:
                continue
            except OSError as e:
                self._give_up(e.strerror or str(e))
                continue
            self._line, self._trouble = 0, []
            f, bad = self._file, self._bad_data
            self._blocks = line_blocks(zstd_pieces(f, f.fd, 0, _ANYWHERE, bad, f.grows), 0, bad)
            return True
        return False

    def _bad_data(self, _offset: int, reason: str, _lines: int) -> None:
        self._trouble.append(reason)

    def _names(self) -> list[str]:
        """Files that are still to be read, in order."""
        try:
            listed = sorted(fnmatch.filter(self._disk.listdir(self._directory), self._pattern))
        except OSError:
            return []  # not made yet, or gone for the moment
        out = []
        for name in listed:
            if name.startswith(".") or name <= self._name or name < self._start.file or name in self._bad:
                continue
            try:
                if stat.S_ISREG(self._disk.stat(os.path.join(self._directory, name)).st_mode):
                    out.append(name)
            except OSError:
                continue
        return out

    def _is_ours(self, name: str) -> bool:
        described = read_description(self._disk, self._directory)
        return described is not None and name.startswith(f"{described.prefix or described.name}-")

    def _path(self) -> str:
        return os.path.join(self._directory, self._name)

    def _give_up(self, why: str) -> None:
        self._warn(f"{self._path()}: {why}; the rest of this file is passed over")
        self._bad.add(self._name)
        self.close()
