"""`kumoaudit tail`: the newest events in the order in which they happened, then those that come."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support import HandMadeLog, command_line, environment, event, events, kumoaudit, register, rows, stored


@pytest.fixture
def log(tmp_path: Path) -> HandMadeLog:
    base = tmp_path / "data"
    made = HandMadeLog(base / "log", ring=base / "spool" / "log.ring")
    made.append(events(20))
    made.commit(15)
    made.save()
    register(base, made)
    return made


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def follow(processes: list[subprocess.Popen[str]], *args: str | Path) -> tuple[subprocess.Popen[str], IO[str]]:
    process = subprocess.Popen(
        command_line("tail", "-f", *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    processes.append(process)
    assert process.stdout
    return process, process.stdout


def read(stream: IO[str], count: int) -> list[str]:
    return [json.loads(stream.readline())["description"] for _ in range(count)]


def test_it_shows_the_newest_ten_in_the_order_in_which_they_happened(log: HandMadeLog) -> None:
    done = kumoaudit("tail", log.directory)

    assert done.returncode == 0
    assert [r["description"] for r in rows(done.stdout)] == [f"step {n}" for n in range(10, 20)]
    assert done.stderr.startswith("10 records found")


def test_n_and_filters_apply_before_counting(log: HandMadeLog) -> None:
    log.append([event(30, user="eve"), *events(5, start=31)])
    log.save()

    assert [r["seq"] for r in rows(kumoaudit("tail", "-n", "3", log.directory).stdout)] == [24, 25, 26]
    assert [r["seq"] for r in rows(kumoaudit("tail", "-n", "3", "user=eve", log.directory).stdout)] == [21]


def test_reverse_shows_the_newest_first(log: HandMadeLog) -> None:
    done = kumoaudit("tail", "--limit", "2", "--reverse", log.directory)

    assert [r["description"] for r in rows(done.stdout)] == ["step 19", "step 18"]


def test_reverse_cannot_follow(log: HandMadeLog) -> None:
    assert kumoaudit("tail", "-f", "--reverse", log.directory).returncode == 2


def test_it_follows_the_ring_frames_and_new_segments(log: HandMadeLog, processes: list[subprocess.Popen[str]]) -> None:
    process, out = follow(processes, "-n", "1", log.directory)

    assert read(out, 1) == ["step 19"]
    log.append(events(2, start=20))
    log.save()
    assert read(out, 2) == ["step 20", "step 21"]
    log.commit()
    log.rotate()
    log.append(events(2, start=22))
    log.commit(1)
    log.save()
    assert read(out, 2) == ["step 22", "step 23"]
    process.send_signal(signal.SIGINT)
    rest, complaint = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest == ""
    assert complaint.splitlines()[-1].startswith("5 records found")
    assert "Traceback" not in complaint


def test_it_follows_a_plain_file_across_rotation(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(stored(event(0)) + b"\n")
    _, out = follow(processes, path)

    assert read(out, 1) == ["step 0"]
    with path.open("ab") as f:
        f.write(stored(event(1)) + b"\n")
    assert read(out, 1) == ["step 1"]
    path.rename(tmp_path / "audit.log.1")
    path.write_bytes(stored(event(2)) + b"\n")
    assert read(out, 1) == ["step 2"]


def test_only_what_was_asked_for_is_followed(log: HandMadeLog, processes: list[subprocess.Popen[str]]) -> None:
    _, out = follow(processes, "--user", "eve", log.directory)
    log.append([event(30), event(31, user="eve"), event(32)])
    log.save()

    assert read(out, 1) == ["step 31"]


def test_it_ends_when_nobody_reads_any_more(log: HandMadeLog, processes: list[subprocess.Popen[str]]) -> None:
    """Also when nothing happens that it could try to write."""
    process, out = follow(processes, "-n", "1", log.directory)
    read(out, 1)
    out.close()

    assert process.wait(30) == 0
