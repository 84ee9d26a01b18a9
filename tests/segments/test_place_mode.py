"""Who else may write into the directory of a log."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kumoaudit.core.errors import StorageFault
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.place import check_directory


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o777, True), (0o757, True), (0o703, True), (0o1777, False), (0o775, False), (0o750, False)]
)
def test_a_directory_that_anybody_may_write_to_is_refused_whoever_owns_it(
    tmp_path: Path, mode: int, refused: bool
) -> None:
    """Files in it could be swapped; the sticky bit prevents that."""
    place = tmp_path / "log"
    place.mkdir()
    place.chmod(mode)

    if refused:
        with pytest.raises(StorageFault, match=f"mode 0{mode:o}"):
            check_directory(RealDisk(), str(place))
    else:
        check_directory(RealDisk(), str(place))
    assert stat.S_IMODE(place.stat().st_mode) == mode
