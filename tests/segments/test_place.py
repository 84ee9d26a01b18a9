"""The place of a log: what stands in the way is found through the disk's seam, before anything is made."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kumoaudit.core.errors import StorageFault
from kumoaudit.segments.disk import RealDisk, is_directory
from kumoaudit.segments.place import check_directory, missing_directories, place_problem
from tests.fakes import FaultyDisk


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("dir", None),
        ("dir/not/yet", None),
        ("link", "link is a symbolic link"),
        ("file", "file is not a directory"),
        ("file/below", "file is not a directory"),
        ("not/yet", None),
    ],
)
def test_a_place_is_judged_by_what_is_there_and_nothing_is_made(tmp_path: Path, path: str, problem: str | None) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("dir")
    before = sorted(tmp_path.rglob("*"))

    found = place_problem(RealDisk(), str(tmp_path / path))

    assert (found is None) == (problem is None)
    assert found is None or found[0].endswith(f"/{problem}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_that_may_not_be_written_is_a_problem(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("access", errno.EACCES)

    found = place_problem(disk, str(tmp_path))

    assert found is not None
    assert "is not writable for uid" in found[0]


def test_a_disk_that_answers_nothing_ends_no_look_in_a_loop(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("stat", errno.EIO, for_ever=True)
    disk.fail("access", errno.EIO, for_ever=True)

    assert place_problem(disk, str(tmp_path)) is None
    assert missing_directories(disk, str(tmp_path))[0] == str(tmp_path)


def test_a_link_is_no_log_directory_whatever_it_leads_to(tmp_path: Path) -> None:
    for name, target in (("dead", "nowhere"), ("live", ".")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(StorageFault, match="is a symbolic link"):
            check_directory(RealDisk(), str(tmp_path / name))


def test_a_disk_that_cannot_look_at_the_place_is_reported(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("lstat", errno.EIO)

    with pytest.raises(OSError, match="Input/output error"):
        check_directory(disk, str(tmp_path / "a"))


def test_is_directory_follows_links_and_takes_an_error_for_no(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    disk = FaultyDisk()

    assert [is_directory(disk, str(tmp_path / name)) for name in ("", "link", "file", "none")] == [
        True, True, False, False,
    ]  # fmt: skip
    disk.fail("stat", errno.EACCES)
    assert not is_directory(disk, str(tmp_path))
