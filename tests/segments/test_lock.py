"""One host per directory, by a lock of the kernel's."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kumoaudit.core.errors import LogInUse, StorageFault
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.lock import DirectoryLock
from tests.fakes import FaultyDisk
from tests.support import environment

_HOLD = """
import sys
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.lock import DirectoryLock
lock = DirectoryLock(RealDisk(), sys.argv[1], sys.argv[2], 'log_dir')
print('held', flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its input is closed."""
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), str(path.parent)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_a_second_host_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """Reliability, section 5: "log_dir is in use by pid 4711", by flock and not by a pid file."""
    other = hold(tmp_path / "lock")
    try:
        with pytest.raises(LogInUse) as refused:
            DirectoryLock(RealDisk(), str(tmp_path / "lock"), str(tmp_path), "log_dir")
    finally:
        other.communicate("")

    assert f"in use by pid {other.pid}" in str(refused.value)
    assert refused.value.exit_code == 3


def test_a_killed_host_leaves_no_lock_behind(tmp_path: Path) -> None:
    """However the process ends, the directory is free again, and a stale pid misleads nobody."""
    other = hold(tmp_path / "lock")
    other.kill()
    other.wait()

    lock = DirectoryLock(RealDisk(), str(tmp_path / "lock"), str(tmp_path), "log_dir")

    assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    lock.release()


def test_released_is_free_for_the_next_and_twice_is_harmless(tmp_path: Path) -> None:
    first = DirectoryLock(RealDisk(), str(tmp_path / "lock"), str(tmp_path), "log_dir")
    first.release()
    first.release()

    DirectoryLock(RealDisk(), str(tmp_path / "lock"), str(tmp_path), "log_dir").release()


def test_a_full_disk_does_not_refuse_the_lock(tmp_path: Path) -> None:
    """A full disk never stops a restart: the pid is only a help, the lock is the kernel's."""
    disk = FaultyDisk()
    disk.fail("pwrite", errno.ENOSPC, for_ever=True)

    DirectoryLock(disk, str(tmp_path / "lock"), str(tmp_path), "log_dir").release()


def test_a_lock_that_cannot_be_made_is_a_storage_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageFault) as refused:
        DirectoryLock(RealDisk(), str(tmp_path / "none" / "lock"), str(tmp_path), "log_dir")

    assert str(tmp_path) in str(refused.value)


def test_a_lock_knows_when_its_directory_was_replaced(tmp_path: Path) -> None:
    """After `mv log_dir elsewhere` the lock on the old directory keeps nobody out of the new one."""
    place = tmp_path / "log"
    place.mkdir()
    lock = DirectoryLock(RealDisk(), str(place / "lock"), str(place), "log_dir")
    assert lock.is_at(str(place / "lock"))

    place.rename(tmp_path / "elsewhere")
    assert not lock.is_at(str(place / "lock"))
    place.mkdir()
    (place / "lock").write_text("")

    assert not lock.is_at(str(place / "lock"))
    lock.release()


def test_the_lock_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    """Interface, section 8: 0640 whatever the umask."""
    old = os.umask(0o077)
    try:
        DirectoryLock(RealDisk(), str(tmp_path / "lock"), str(tmp_path), "log_dir").release()
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o640
