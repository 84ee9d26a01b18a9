"""`min_free_space` and `min_free_inodes` (KumoMTA, section 5.7)."""

from __future__ import annotations

import pytest

from kumoaudit.core.spec import FreeSpec
from kumoaudit.core.units import Free
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.freespace import Room, room_at, shortage

_PERCENT = FreeSpec(Free(10, None), Free(10, None))
_COUNT = FreeSpec(Free(None, 5000), Free(None, 50))


@pytest.mark.parametrize(
    ("room", "limits"),
    [
        (Room(100, 1000, 100, 1000), _PERCENT),
        (Room(109, 1000, 100, 1000), _PERCENT),
        (Room(5000, 10**9, 50, 1000), _COUNT),
        (Room(100, 1000, 0, 0), _PERCENT),  # a file system without a limit of inodes
    ],
)
def test_enough_room_is_no_shortage(room: Room, limits: FreeSpec) -> None:
    """At the limit is not below it."""
    assert shortage(room, limits, "/x") == ""


@pytest.mark.parametrize(
    ("room", "limits", "words"),
    [
        (Room(99, 1000, 900, 1000), _PERCENT, ["/x", "(9 %)", "min_free_space is 10 %"]),
        (Room(4999, 10**9, 900, 1000), _COUNT, ["/x", "min_free_space is"]),
        (Room(900, 1000, 99, 1000), _PERCENT, ["/x", "99 inodes free (9 %)", "min_free_inodes is 10 %"]),
        (Room(9000, 10000, 49, 1000), _COUNT, ["/x", "49 inodes free", "min_free_inodes is 50"]),
    ],
)
def test_a_shortage_names_the_path_what_is_free_and_what_is_wanted(
    room: Room, limits: FreeSpec, words: list[str]
) -> None:
    """Reliability, section 5: the message names the path, what is free, what is wanted."""
    text = shortage(room, limits, "/x")

    assert all(word in text for word in words), text


def test_the_room_of_a_real_directory_is_plausible(tmp_path: object) -> None:
    room = room_at(RealDisk(), str(tmp_path))

    assert 0 <= room.bytes_free <= room.bytes_total
    assert 0 <= room.inodes_free <= max(room.inodes, room.inodes_free)


def test_an_empty_file_system_is_short_by_percent_without_dividing_by_zero() -> None:
    assert "0 %" in shortage(Room(0, 0, 0, 0), _PERCENT, "/x")
