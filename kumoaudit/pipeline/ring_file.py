"""The file of a ring: made whole under another name, preallocated, and never taken for one when it is not."""

from __future__ import annotations

import errno
import os
import struct

from kumoaudit.core.errors import StorageFault
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import RouteSpec
from kumoaudit.segments import spool
from kumoaudit.segments.spool import (
    H_BLOCK_BYTES,
    H_BLOCKS,
    H_BOOT,
    H_BOOT_HIGH,
    H_LIMIT,
    H_MAGIC,
    H_RING_ID,
    HEADER_BYTES,
    INT64_MAX,
    SLOTS_AT,
)


def new_header(spec: RouteSpec) -> bytes:
    """The first bytes of an empty ring."""
    ring = spec.ring
    if not 2 <= ring.blocks <= spool.MAX_BLOCKS:
        raise ValueError(f"a ring has 2 to {spool.MAX_BLOCKS} blocks, not {ring.blocks}")
    head = bytearray(HEADER_BYTES)
    words = [0] * 10
    words[H_MAGIC], words[H_RING_ID] = spool.MAGIC, int.from_bytes(os.urandom(7), "little") | 1
    words[H_BLOCK_BYTES], words[H_BLOCKS], words[H_LIMIT] = ring.block_bytes, ring.blocks, INT64_MAX
    words[H_BOOT], words[H_BOOT_HIGH] = spool.boot_id()
    struct.pack_into("<10Q", head, 0, *words)
    struct.pack_into("<8Q", head, SLOTS_AT, 0, 0, INT64_MAX, 0, 0, 0, INT64_MAX, 0)
    return bytes(head)


def open_or_make(disk: Disk, path: str, spec: RouteSpec) -> int:
    """The descriptor of the ring at *path*, made if need be. Raises StorageFault, NoMapping."""
    size = HEADER_BYTES + spec.ring.block_bytes * spec.ring.blocks
    try:
        fd = disk.open(path, os.O_RDWR)
    except FileNotFoundError:
        return _make(disk, path, spec, size)
    except OSError as e:
        raise StorageFault(f"{path}: {e.strerror}") from None
    head = disk.pread(fd, HEADER_BYTES, 0)
    if not head.strip(b"\0"):
        # A power cut has taken the header, if there was one: without it nothing in the blocks can be believed.
        disk.close(fd)
        return _make(disk, path, spec, size)
    words = struct.unpack_from("<10Q", head.ljust(80, b"\0"))
    whole = HEADER_BYTES + words[H_BLOCK_BYTES] * words[H_BLOCKS]
    if words[H_MAGIC] != spool.MAGIC or disk.fstat(fd).st_size != whole:
        disk.close(fd)
        raise StorageFault(f"{path} is not a ring of this version\n  move it away; what it holds is then not recovered")
    return fd


def _make(disk: Disk, path: str, spec: RouteSpec, size: int) -> int:
    """A new ring under another name, preallocated, then renamed: a ring that exists under its name is whole."""
    aside = path + ".new"
    try:
        fd = disk.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    except OSError as e:
        raise StorageFault(f"{path}: {e.strerror}") from None
    try:
        if not disk.no_copy_on_write(fd):
            raise NoMapping(f"{path}: the file system copies on write and cannot be told not to")
        disk.preallocate(fd, size)
        disk.pwrite(fd, new_header(spec), 0)
        # The name must not reach the disk before the header: a power cut would leave a file that is no ring.
        disk.fsync(fd)
        disk.rename(aside, path)
    except BaseException as e:
        disk.close(fd)
        try:
            disk.unlink(aside)
        except OSError:
            pass  # the first error is the one to report
        if isinstance(e, OSError):
            if e.errno in NO_MAPPING:
                raise NoMapping(f"{path}: {e.strerror}") from None
            raise StorageFault(
                f"{path}: {e.strerror} (the ring of log '{spec.name}' needs {size} bytes there)\n"
                "  free space or choose another --data-dir"
            ) from None
        raise
    return fd


class NoMapping(StorageFault):
    """The file system can neither preallocate nor map in place; the route must write through instead."""


NO_MAPPING = frozenset({errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL, errno.ENOSYS})
