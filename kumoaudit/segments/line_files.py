"""LineFiles: lines of a policy in zstd files of their own, as KumoMTA's `kumo.jsonl.new_writer` makes them.

These are no segments of a log: no ring, no trailers, no numbers. A line is in the file when `write` returns; a file
that is complete is read-only, which is what readers wait for.
"""

from __future__ import annotations

import os
import threading
import weakref
from datetime import datetime, tzinfo
from typing import NamedTuple

import zstandard

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.protocols import Clock, Disk
from kumoaudit.segments.disk import write_all
from kumoaudit.segments.naming import HIDDEN, NS

_FLUSH_BLOCK = zstandard.COMPRESSOBJ_FLUSH_BLOCK
_DEFAULT_LEVEL = 3


class FileSpec(NamedTuple):
    """Where, how long and how: bytes count before compression, *max_age_ns* is None for no limit."""

    directory: str
    max_bytes: int
    max_age_ns: int | None
    level: int
    suffix: str
    zone: tzinfo


class _Current:
    """The open file. Lives as long as its writer or its timer; finished at the end of the process at the latest."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.lock = threading.Lock()
        self.fd = -1
        self.compressor: zstandard.ZstdCompressionObj | None = None
        self.size = 0
        self.stored = 0
        self.timer: threading.Timer | None = None

    def end(self) -> None:
        """End the frame, mark the file as done; the lock is held. Raises OSError; nothing is open afterwards."""
        fd, compressor = self.fd, self.compressor
        self.fd, self.compressor = -1, None
        if self.timer:
            self.timer.cancel()
        if fd < 0:
            return
        try:
            if compressor:
                write_all(self.disk, fd, compressor.flush())
            self.disk.fdatasync(fd)
            self.disk.fchmod(fd, 0o440)
        finally:
            self.disk.close(fd)


def _finish(current: _Current, only: object = None) -> None:
    """Finish what is open, or *only* the file of that compressor."""
    try:
        with current.lock:
            if only is None or current.compressor is only:
                current.end()
    except OSError:
        pass  # nobody is left who could be told; the lines themselves are in the file


class LineFiles:
    """Any thread. The file is finished by `close`, when nobody holds the writer, and when the process ends."""

    def __init__(self, disk: Disk, clock: Clock, spec: FileSpec) -> None:
        """Touches nothing: a file is made by the first line."""
        self._disk, self._clock, self._spec = disk, clock, spec
        self._current = _Current(disk)
        weakref.finalize(self, _finish, self._current)

    def write(self, line: bytes) -> None:
        """Append a line (with its newline). Raises StorageFault; a line that failed is not in the file."""
        current, spec = self._current, self._spec
        with current.lock:
            try:
                if current.fd >= 0 and current.size + len(line) > spec.max_bytes:
                    current.end()
                if current.fd < 0:
                    self._open(current)
                self._append(current, line)
            except OSError as e:
                raise StorageFault(f"{spec.directory}: {e.strerror or e}") from None

    def close(self) -> None:
        """Finish the file; a later line begins a new one. Raises StorageFault."""
        try:
            with self._current.lock:
                self._current.end()
        except OSError as e:
            raise StorageFault(f"{self._spec.directory}: {e.strerror or e}") from None

    def _append(self, current: _Current, line: bytes) -> None:
        assert current.compressor is not None
        data = current.compressor.compress(line) + current.compressor.flush(_FLUSH_BLOCK)
        try:
            write_all(self._disk, current.fd, data)
        except OSError:
            # The compressor is ahead of the file: cut the file back to whole lines and leave it.
            current.compressor = None
            try:
                self._disk.ftruncate(current.fd, current.stored)
                current.end()
            except OSError:
                pass
            raise
        current.size += len(line)
        current.stored += len(data)

    def _open(self, current: _Current) -> None:
        spec = self._spec
        self._disk.makedirs(spec.directory)
        if HIDDEN in self._disk.listdir(spec.directory):
            raise OSError(0, "it belongs to a log of kumoaudit; choose another log_dir")
        now = self._clock.now_ns()
        while True:
            second, fraction = divmod(now, NS)
            stamp = datetime.fromtimestamp(second, spec.zone).strftime("%Y%m%d-%H%M%S")
            path = os.path.join(spec.directory, f"{stamp}.{fraction:09d}{spec.suffix}")
            try:
                current.fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                break
            except FileExistsError:
                now += 1
        level = spec.level or _DEFAULT_LEVEL
        current.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
        current.size = current.stored = 0
        if spec.max_age_ns is not None:
            age_s = min(spec.max_age_ns / NS, threading.TIMEOUT_MAX)
            current.timer = threading.Timer(age_s, _finish, (current, current.compressor))
            current.timer.daemon = True
            current.timer.start()
