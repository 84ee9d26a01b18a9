"""The registry of a data directory, `logs.json`: every log that a host wrote there, so that readers find them."""

from __future__ import annotations

import os

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


def merge(old: Registry | None, node: str, now: list[LogEntry]) -> Registry:
    """The logs of this run, and behind them what earlier runs wrote elsewhere, marked as no longer configured."""
    places = {(e.sink, e.path) for e in now}
    gone = [] if old is None else [e for e in old.logs if (e.sink, e.path) not in places]
    return Registry(1, node, now + [msgspec.structs.replace(e, configured=False) for e in gone])
