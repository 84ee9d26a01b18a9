"""Tailer: one stream of records from files that come, grow, end and break."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.errors import StorageFault
from kumoaudit.segments.tailer import Position, Tailer, read_checkpoint, write_checkpoint
from tests.fakes import FaultyDisk

FLUSH = zstandard.COMPRESSOBJ_FLUSH_BLOCK


def finished(path: Path, data: bytes) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(data))
    path.chmod(0o440)


def values(tailer: Tailer, most: int = 100) -> list[Any]:
    return [value for _, value in tailer.read(most)]


@given(
    data=st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=4),
    most=st.integers(1, 7),
    cuts=st.lists(st.integers(1, 40), max_size=4),
)
def test_every_record_comes_once_with_its_place_whatever_the_files_and_portions(
    tmp_path_factory: pytest.TempPathFactory, data: list[list[int]], most: int, cuts: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    tailer = Tailer(FaultyDisk(), str(directory), "*", pytest.fail)
    got: list[tuple[Position, int]] = []
    for i, numbers in enumerate(data):
        path = directory / f"s{i}"
        compressor = zstandard.ZstdCompressor().compressobj()
        stored = b"".join(compressor.compress(b"%d\n" % n) + compressor.flush(FLUSH) for n in numbers)
        stored += compressor.flush()
        at = 0
        for cut in cuts:
            path.write_bytes(stored[: at + cut])
            at += cut
            got += tailer.read(most)
        path.write_bytes(stored)
        path.chmod(0o440)
    while more := tailer.read(most):
        got += more

    assert got == [(Position(f"s{i}", k), n) for i, ns in enumerate(data) for k, n in enumerate(ns, 1)]


def test_a_directory_may_come_later_and_a_file_may_go(tmp_path: Path) -> None:
    tailer = Tailer(FaultyDisk(), str(tmp_path / "logs"), "*", pytest.fail)
    assert values(tailer) == []
    (tmp_path / "logs").mkdir()
    growing = tmp_path / "logs" / "a"
    compressor = zstandard.ZstdCompressor().compressobj()
    growing.write_bytes(compressor.compress(b"1\n") + compressor.flush(FLUSH))
    assert values(tailer) == [1]
    growing.unlink()
    finished(tmp_path / "logs" / "b", b"2\n")
    said: list[str] = []
    tailer._warn = said.append

    assert values(tailer) == [2]
    assert [s.partition(": ")[2] for s in said] == [
        "the frame has no end (still being written, or cut off); what follows line 1 is lost"
    ]


def test_a_file_that_cannot_be_opened_is_said_and_passed_over(tmp_path: Path) -> None:
    disk, said = FaultyDisk(), list[str]()
    finished(tmp_path / "a", b"1\n")
    finished(tmp_path / "b", b"2\n")
    disk.fail("open", errno.EIO, path=str(tmp_path / "a"))

    assert values(Tailer(disk, str(tmp_path), "*", said.append)) == [2]
    assert said == [f"{tmp_path}/a: Input/output error; the rest of this file is passed over"]


def test_a_damaged_middle_ends_the_file(tmp_path: Path) -> None:
    said: list[str] = []
    whole = zstandard.ZstdCompressor().compress(b"1\n")
    (tmp_path / "a").write_bytes(whole + b"garbage!" + whole)
    (tmp_path / "a").chmod(0o440)
    finished(tmp_path / "b", b"2\n")

    assert values(Tailer(FaultyDisk(), str(tmp_path), "*", said.append)) == [1, 2]
    assert said == [f"{tmp_path}/a: not a zstd frame; the rest of this file is passed over"]


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    disk, directory = FaultyDisk(), str(tmp_path)
    assert read_checkpoint(disk, directory, "me") is None
    write_checkpoint(disk, directory, "me", Position("a", 7))
    disk.fail("write", errno.ENOSPC, for_ever=True)
    with pytest.raises(StorageFault, match=r"checkpoint .*/\.me: No space left"):
        write_checkpoint(disk, directory, "me", Position("b", 1))
    disk.heal()

    assert read_checkpoint(disk, directory, "me") == Position("a", 7)
    assert [p.name for p in tmp_path.iterdir()] == [".me"]
    assert (tmp_path / ".me").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{", '{"file":"a"}', '{"file":"a","line":"1"}'])
def test_a_damaged_checkpoint_is_an_error_and_never_the_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / ".me").write_text(text)

    with pytest.raises(StorageFault, match=r"damaged\n  delete it to read from the beginning"):
        read_checkpoint(FaultyDisk(), str(tmp_path), "me")
