"""LineFiles: what a policy writes as lines is whole, whatever happens to the disk."""

from __future__ import annotations

import errno
from datetime import UTC
from pathlib import Path

import pytest
import zstandard

from kumoaudit.core.errors import StorageFault
from kumoaudit.segments.line_files import FileSpec, LineFiles
from tests.fakes import FakeClock, FaultyDisk


def files_in(directory: Path) -> list[Path]:
    return sorted(p for p in directory.iterdir() if p.is_file())


def text_of(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


def made(directory: Path, disk: FaultyDisk, max_bytes: int = 1000) -> LineFiles:
    return LineFiles(disk, FakeClock(), FileSpec(str(directory), max_bytes, None, 3, "", UTC))


def test_nothing_is_made_before_the_first_line(tmp_path: Path) -> None:
    made(tmp_path / "out", FaultyDisk()).close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_line_that_failed_is_not_in_the_file_and_the_next_one_is_in_a_new_file(tmp_path: Path, code: int) -> None:
    disk = FaultyDisk()
    files = made(tmp_path, disk)
    files.write(b'{"n":1}\n')
    disk.fail("write", code)
    with pytest.raises(StorageFault, match=str(tmp_path)):
        files.write(b'{"n":2}\n')
    disk.heal()
    files.write(b'{"n":3}\n')
    files.close()

    first, second = files_in(tmp_path)
    assert (text_of(first), text_of(second)) == (b'{"n":1}\n', b'{"n":3}\n')
    assert {p.stat().st_mode & 0o777 for p in (first, second)} == {0o440}


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageFault, match="file/out: "):
        made(tmp_path / "file" / "out", FaultyDisk()).write(b"1\n")


def test_a_line_that_is_longer_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    files = made(tmp_path, FaultyDisk(), 10)
    for line in (b"1\n", b'"' + b"x" * 20 + b'"\n', b"2\n"):
        files.write(line)
    files.close()

    assert [len(text_of(p)) for p in files_in(tmp_path)] == [2, 23, 2]


def test_a_writer_that_nobody_holds_finishes_its_file(tmp_path: Path) -> None:
    files = made(tmp_path, FaultyDisk())
    files.write(b"1\n")
    del files

    assert [p.stat().st_mode & 0o777 for p in files_in(tmp_path)] == [0o440]
