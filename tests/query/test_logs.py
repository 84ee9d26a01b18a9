"""Finding logs: by the registry of a data directory or by path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from kumoaudit.core.errors import NoSuchLog, StorageFault
from kumoaudit.core.spec import Query
from kumoaudit.query.engine import run_query
from kumoaudit.query.logs import data_dir_of, find_logs
from kumoaudit.segments.disk import RealDisk
from tests.support import HandMadeLog, compressed, event, events, register, stored


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with the logs `one` (2 records) and `two` (1 record, in its ring)."""
    base = tmp_path / "data"
    one = HandMadeLog(base / "log", ring=base / "spool" / "one.ring", prefix="one")
    one.append(events(2))
    one.commit()
    one.save()
    two = HandMadeLog(tmp_path / "elsewhere", ring=base / "spool" / "two.ring", prefix="two")
    two.append([event(5)])
    two.save()
    register(base, one, two)
    return base


def descriptions(paths: list[Path], data_dir: Path | None = None) -> list[str]:
    logs = find_logs(RealDisk(), str(data_dir) if data_dir else None, [str(p) for p in paths], {})
    return [a.event.description for a in run_query(Query(newest_first=False), logs)]


def test_the_option_wins_over_the_environment_and_that_over_the_default() -> None:
    env = {"KUMOAUDIT_DATA_DIR": "/a", "STATE_DIRECTORY": "/b:/c"}

    assert data_dir_of("/x", env)[0] == "/x"
    assert data_dir_of(None, env)[0] == "/a"
    assert data_dir_of(None, {"STATE_DIRECTORY": "/b:/c"})[0] == "/b"
    assert data_dir_of(None, {})[0] == "./kumoaudit-data"


def test_a_data_directory_gives_all_its_logs_wherever_they_lie(data_dir: Path) -> None:
    assert descriptions([], data_dir) == ["step 0", "step 1", "step 5"]
    assert descriptions([data_dir]) == ["step 0", "step 1", "step 5"]


def test_a_log_directory_needs_no_registry_and_finds_its_ring(data_dir: Path, tmp_path: Path) -> None:
    assert descriptions([tmp_path / "elsewhere"]) == ["step 5"]


def test_a_log_that_is_named_twice_is_read_once(data_dir: Path, tmp_path: Path) -> None:
    logs = find_logs(RealDisk(), None, [str(data_dir / "log"), str(data_dir / "log" / ".." / "log")], {})

    assert len(logs) == 1


def test_one_segment_can_be_named_and_keeps_its_numbers(data_dir: Path) -> None:
    segment = next(p for p in (data_dir / "log").iterdir() if p.is_file())
    logs = find_logs(RealDisk(), None, [str(segment)], {})

    assert [a.seq for a in run_query(Query(newest_first=False), logs)] == [1, 2]


def test_files_and_links_to_files_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(stored(event(0)) + b"\n")
    (tmp_path / "y.gz").write_bytes(gzip.compress(stored(event(1)) + b"\n"))
    (tmp_path / "z.zst").write_bytes(compressed(stored(event(2)) + b"\n"))
    (tmp_path / "link").symlink_to("z.zst")

    assert descriptions([tmp_path / n for n in ("x.log", "y.gz", "link")]) == ["step 0", "step 1", "step 2"]


def test_a_directory_of_plain_logs_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(stored(event(0)) + b"\n")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(stored(event(1)) + b"\n"))
    (tmp_path / "README").write_text("not a log")

    assert descriptions([tmp_path]) == ["step 0", "step 1"]


def test_segments_of_two_prefixes_without_a_description_are_two_logs(tmp_path: Path) -> None:
    for prefix in ("a", "b"):
        made = HandMadeLog(tmp_path, prefix=prefix)
        made.append(events(2))
        made.commit()

    assert len(find_logs(RealDisk(), None, [str(tmp_path)], {})) == 2


def test_a_file_log_of_the_registry_stands_for_its_rotated_files_too(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(stored(event(1)) + b"\n")
    (tmp_path / "audit-2026-11-20T08-41-02.500.log").write_bytes(stored(event(0)) + b"\n")
    row = {"name": "f", "sink": "file", "path": str(tmp_path / "audit.log"), "format": "native"}
    (tmp_path / "logs.json").write_text(json.dumps({"version": 1, "node": "n", "logs": [row]}))

    assert descriptions([], tmp_path) == ["step 0", "step 1"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such file or directory"),
        (lambda p: p.mkdir(), "no log in this directory"),
        (lambda p: (p.mkdir(), (p / "logs.json").write_text('{"version":1,"node":"n","logs":[]}')), "none of its logs"),
    ],
)
def test_a_place_without_a_log_is_an_error_of_the_environment(tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "x")

    with pytest.raises(NoSuchLog, match=says):
        find_logs(RealDisk(), None, [str(tmp_path / "x")], {})


def test_a_data_directory_that_is_not_there_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(NoSuchLog, match="--data-dir"):
        find_logs(RealDisk(), None, [], {"KUMOAUDIT_DATA_DIR": str(tmp_path / "none")})


def test_a_damaged_registry_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "logs.json").write_text("{")

    with pytest.raises(StorageFault, match="delete it"):
        find_logs(RealDisk(), str(tmp_path), [], {})


def test_a_log_of_the_registry_that_has_vanished_is_reported_and_the_others_are_read(
    data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    (data_dir / "spool" / "two.ring").unlink()
    logs = find_logs(RealDisk(), str(data_dir), [], {})

    answers = [a.event.description for a in run_query(Query(newest_first=False), logs)]

    assert answers == ["step 0", "step 1"]
    assert [p.file for log in logs for p in log.coverage.places] == [str(tmp_path / "elsewhere")]
