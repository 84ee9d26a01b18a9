"""Finding logs: through the registry of a data directory, or at the paths that somebody names."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from kumoaudit.core.errors import NoSuchLog, StorageFault
from kumoaudit.core.protocols import Disk
from kumoaudit.segments.disk import is_directory
from kumoaudit.segments.lines import kind_of
from kumoaudit.segments.look import Described, read_description
from kumoaudit.segments.naming import parse_segment_name
from kumoaudit.segments.reader import SegmentLog
from kumoaudit.segments.registry import FILE as REGISTRY
from kumoaudit.segments.registry import LogEntry, read_registry

DEFAULT_DATA_DIR = "kumoaudit-data"
_READABLE_SINKS = ("segments", "file")


def data_dir_of(option: str | None, env: Mapping[str, str]) -> tuple[str, str]:
    """The data directory and what named it: the option, `$KUMOAUDIT_DATA_DIR`, `$STATE_DIRECTORY`, the default."""
    if option:
        return option, "--data-dir"
    for name in ("KUMOAUDIT_DATA_DIR", "STATE_DIRECTORY"):
        if value := env.get(name):
            # systemd joins several state directories with colons; the first is the one of the service itself.
            return (value.split(":")[0] if name == "STATE_DIRECTORY" else value), f"${name}"
    return os.path.join(".", DEFAULT_DATA_DIR), "the default"


def find_logs(
    disk: Disk, data_dir: str | None, paths: Sequence[str], env: Mapping[str, str], *, rotated: bool = False
) -> list[SegmentLog]:
    """The logs at *paths* (log directories, data directories, files), or all of the data directory when there is none.

    With *rotated* a file also stands for what was rotated away from it. Raises NoSuchLog where there is nothing to
    read, StorageFault where reading is not allowed.
    """
    found: dict[tuple[str, str], SegmentLog] = {}
    if not paths:
        directory, origin = data_dir_of(data_dir, env)
        for log, key in _registered(disk, directory, origin):
            found.setdefault(key, log)
    for path in paths:
        for log, key in _at_path(disk, path, rotated):
            found.setdefault(key, log)
    return list(found.values())


_Found = list[tuple[SegmentLog, tuple[str, str]]]


def _registered(disk: Disk, directory: str, origin: str) -> _Found:
    registry = read_registry(disk, directory)
    if registry is None:
        there = (
            "it holds no logs.json: no host has recorded there"
            if is_directory(disk, directory)
            else "no such directory"
        )
        raise NoSuchLog(
            f"{directory} ({origin}): {there}\n"
            "  name the data directory with --data-dir or $KUMOAUDIT_DATA_DIR, or give the path of a log"
        )
    readable = [e for e in registry.logs if e.sink in _READABLE_SINKS]
    if not readable:
        sinks = ", ".join(sorted({e.sink for e in registry.logs})) or "none"
        raise NoSuchLog(
            f"{directory} ({origin}): none of its logs can be read back (they go to: {sinks})\n"
            "  give the path of a file that holds the records"
        )
    return [_entry(disk, e) for e in readable]


def _entry(disk: Disk, e: LogEntry) -> tuple[SegmentLog, tuple[str, str]]:
    described = Described(e.name, e.format, e.prefix, e.ring)
    if e.sink == "file":
        real = os.path.realpath(e.path)
        directory, name = os.path.split(real)
        return SegmentLog(disk, directory, described, only=name, rotated=True), (real, "")
    return SegmentLog(disk, e.path, described), (os.path.realpath(e.path), e.prefix)


def _at_path(disk: Disk, path: str, rotated: bool) -> _Found:
    # A link may be named on the command line; files themselves are then opened without following any.
    real = os.path.realpath(path)
    try:
        mode = disk.stat(real).st_mode
        if stat.S_ISREG(mode):
            return _file(disk, path, real, rotated)
        if stat.S_ISDIR(mode):
            return _directory(disk, path, real)
    except FileNotFoundError:
        raise NoSuchLog(f"{path}: no such file or directory") from None
    except OSError as e:
        raise StorageFault(
            f"{path}: {e.strerror}\n  reading needs read permission on the files, nothing else"
        ) from None
    raise NoSuchLog(f"{path}: neither a file nor a directory")


def _file(disk: Disk, path: str, real: str, rotated: bool) -> _Found:
    directory, name = os.path.split(real)
    log = SegmentLog(disk, directory, Described(name=path), only=name, rotated=rotated)
    disk.close(disk.open(real, os.O_RDONLY))  # not being allowed to read it is an error here, not a remark at the end
    return [(log, (real, ""))]


def _directory(disk: Disk, path: str, real: str) -> _Found:
    names = disk.listdir(real)
    if REGISTRY in names:
        return _registered(disk, real, "given as a path")
    description = read_description(disk, real)
    prefixes = sorted({p.prefix for n in names if (p := parse_segment_name(n))})
    if description is not None:
        # Whoever else wrote there (a log under its earlier name) has no ring to look into.
        others = [p for p in prefixes if description.prefix not in ("", p)]
        return [
            (SegmentLog(disk, real, description), (real, description.prefix)),
            *((SegmentLog(disk, real, Described(name=f"{path}/{p}", prefix=p)), (real, p)) for p in others),
        ]
    if prefixes:
        # Each prefix is a log of its own; without a description there is no ring to look into.
        many = len(prefixes) > 1
        return [
            (SegmentLog(disk, real, Described(name=f"{path}/{p}" if many else path, prefix=p)), (real, p))
            for p in prefixes
        ]
    files = [n for n in sorted(names) if not n.startswith(".") and _holds_records(disk, os.path.join(real, n))]
    if not files:
        raise NoSuchLog(f"{path}: no log in this directory\n  give a log directory, a data directory or a file")
    return [f for n in files for f in _file(disk, os.path.join(path, n), os.path.join(real, n), False)]


def _holds_records(disk: Disk, path: str) -> bool:
    """Whether a file of a directory that says nothing about itself looks like JSON lines, as they are or compressed."""
    try:
        if not stat.S_ISREG(disk.stat(path).st_mode):
            return False
        fd = disk.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return kind_of(disk, fd) != "plain" or disk.pread(fd, 1, 0) == b"{"
    finally:
        disk.close(fd)
