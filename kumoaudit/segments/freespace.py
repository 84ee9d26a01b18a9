"""min_free_space and min_free_inodes -> healthy or not (KumoMTA, section 5.7)."""

from __future__ import annotations

from typing import NamedTuple

from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import FreeSpec
from kumoaudit.core.units import Free, size_text


class Room(NamedTuple):
    """Space and inodes of the file system that holds a directory. `inodes` is 0 where there is no such limit."""

    bytes_free: int
    bytes_total: int
    inodes_free: int
    inodes: int


def room_at(disk: Disk, path: str) -> Room:
    """What is free for us at *path*. Raises OSError."""
    st = disk.statvfs(path)
    return Room(st.f_bavail * st.f_frsize, st.f_blocks * st.f_frsize, st.f_favail, st.f_files)


def shortage(room: Room, limits: FreeSpec, path: str) -> str:
    """Why *room* is below *limits*, or "" when it is not. A file system without inode limit never trips them."""
    if _below(limits.space, room.bytes_free, room.bytes_total):
        wanted = _wanted(limits.space, size_text(limits.space.count or 0))
        share = _percent(room.bytes_free, room.bytes_total)
        return f"{path}: {size_text(room.bytes_free)} free ({share} %), min_free_space is {wanted}"
    if room.inodes and _below(limits.inodes, room.inodes_free, room.inodes):
        wanted = _wanted(limits.inodes, str(limits.inodes.count))
        share = _percent(room.inodes_free, room.inodes)
        return f"{path}: {room.inodes_free} inodes free ({share} %), min_free_inodes is {wanted}"
    return ""


def _percent(free: int, total: int) -> int:
    return 100 * free // total if total else 0


def _below(limit: Free, free: int, total: int) -> bool:
    if limit.percent is not None:
        return _percent(free, total) < limit.percent
    return free < (limit.count or 0)


def _wanted(limit: Free, count: str) -> str:
    return f"{limit.percent} %" if limit.percent is not None else count
