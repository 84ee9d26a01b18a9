"""The registry of a data directory, `logs.json`: every log that a host wrote there, so that readers find them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.protocols import Disk
from kumoaudit.segments.disk import write_all

FILE = "logs.json"


class LogEntry(msgspec.Struct, frozen=True):
    """One log: its kind of sink, directory or file, format, the ring that feeds it, and the file:line that set it.

    `configured` is false once a later run no longer has it; its records stay findable.
    """

    name: str
    sink: str
    path: str
    format: str
    at: str = ""
    prefix: str = ""
    ring: str = ""
    configured: bool = True

    @property
    def log(self) -> LogKey:
        """What makes it the same log in another run; a second name in one directory is a second log."""
        return LogKey(self.sink, self.path, self.prefix or self.name)


class LogKey(NamedTuple):
    """Where the records of a log are: kind of sink, directory, prefix of the segments there."""

    sink: str
    path: str
    prefix: str


class Registry(msgspec.Struct, frozen=True):
    version: int
    node: str
    logs: list[LogEntry]


def read_registry(disk: Disk, data_dir: str) -> Registry | None:
    """The registry of *data_dir*, or None where no host has ever written. Raises StorageFault when it is damaged."""
    path = os.path.join(data_dir, FILE)
    try:
        fd = disk.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise StorageFault(f"{path}: {e.strerror}") from None
    try:
        return msgspec.json.decode(disk.pread(fd, 1 << 22, 0), type=Registry)
    except msgspec.DecodeError as e:
        raise StorageFault(
            f"{path}: not a registry of logs ({e})\n  delete it; the next start of the host writes it anew"
        ) from None
    finally:
        disk.close(fd)


def write_registry(disk: Disk, data_dir: str, registry: Registry) -> None:
    """Replace the registry whole (written aside, synced, renamed). Raises OSError."""
    path = os.path.join(data_dir, FILE)
    aside = path + ".new"
    fd = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, fd, msgspec.json.format(msgspec.json.encode(registry)) + b"\n")
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
    disk.rename(aside, path)


def merge(old: Iterable[LogEntry], node: str, now: list[LogEntry]) -> Registry:
    """The logs of this run, and behind them what earlier runs wrote elsewhere, marked as no longer configured."""
    logs, rings = {e.log for e in now}, {e.ring for e in now}
    gone = [e for e in old if e.log not in logs]
    # A ring that another log feeds from now on holds nothing of the old one's any more.
    return Registry(
        1,
        node,
        now + [msgspec.structs.replace(e, configured=False, ring="" if e.ring in rings else e.ring) for e in gone],
    )
