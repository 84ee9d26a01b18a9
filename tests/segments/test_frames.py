"""Trailers: what is packed is found again, from the end of any file, and nothing else is taken for one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.frames import (
    TRAILER_BYTES,
    Trailer,
    last_trailer,
    pack_trailer,
    trailers_backwards,
    unpack_trailer,
)
from tests.support import frame_with_trailer

_TRAILER = Trailer(7, 11, 3, 120, 400, 5, 4096, 1, 2, b"h" * 32, 0, 9)


def find(path: Path) -> Trailer | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return last_trailer(RealDisk(), fd, path.stat().st_size)
    finally:
        os.close(fd)


def test_a_trailer_is_unpacked_as_it_was_packed() -> None:
    """All of it: ring and position, numbers, lengths, times, hash, and how many losses are told."""
    raw = pack_trailer(_TRAILER)

    assert len(raw) == TRAILER_BYTES
    assert unpack_trailer(b"xx" + raw, 2, 100) == replace(_TRAILER, end=100 + 2 + TRAILER_BYTES)


@pytest.mark.parametrize("at", range(0, TRAILER_BYTES, 7))
def test_a_flipped_bit_makes_it_no_trailer(at: int) -> None:
    """A trailer is a commit: it counts whole or not at all."""
    raw = bytearray(pack_trailer(_TRAILER))
    raw[at] ^= 4

    assert unpack_trailer(bytes(raw), 0, 0) is None


def test_a_trailer_that_was_cut_is_none() -> None:
    assert unpack_trailer(pack_trailer(_TRAILER)[:-1], 0, 0) is None


@pytest.mark.parametrize("torn", [0, 1, 4000, 4096, 4200, 1 << 20, (1 << 20) + 4000, 3 << 20])
def test_the_last_trailer_is_found_whatever_lies_behind_it(tmp_path: Path, torn: int) -> None:
    """Recovery looks backwards from the end over a torn frame of any size, also where a trailer lies across a read."""
    for shift in (0, 1, TRAILER_BYTES - 1, TRAILER_BYTES):
        head = frame_with_trailer([b"a", b"b"], 1) + frame_with_trailer([b"c"], 3)
        path = tmp_path / f"s{shift}"
        path.write_bytes(head + random.Random(1).randbytes(torn + shift))

        found = find(path)

        assert found is not None
        assert (found.first_seq, found.count, found.end) == (3, 1, len(head))


def test_no_trailer_is_found_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"\x50\x2a\x4d\x18" * 100_000)

    assert find(path) is None


def test_a_cut_trailer_is_passed_over_for_the_whole_one_before_it(tmp_path: Path) -> None:
    """A kill in the middle of the one write of frame and trailer leaves the commit before it."""
    first, second = frame_with_trailer([b"a"], 1), frame_with_trailer([b"b"], 2)
    path = tmp_path / "s"
    for cut in range(1, len(second)):
        path.write_bytes(first + second[:-cut])

        found = find(path)

        assert found is not None
        assert found.end == len(first)


def test_the_chain_of_trailers_goes_back_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"".join(frame_with_trailer([b"x" * 50] * 5, 1 + 5 * i) for i in range(40)))
    fd = os.open(path, os.O_RDONLY)

    chain = [t.first_seq for t in trailers_backwards(RealDisk(), fd, path.stat().st_size)]

    os.close(fd)
    assert chain == [1 + 5 * i for i in reversed(range(40))]
