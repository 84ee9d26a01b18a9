"""`kumoaudit query` as a process of its own: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import HandMadeLog, command_line, environment, event, events, kumoaudit, register, rows, stored


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Five records in frames, two in the ring; step 3 was denied to eve."""
    base = tmp_path / "data"
    log = HandMadeLog(base / "log", ring=base / "spool" / "log.ring")
    log.append(events(3))
    log.append([event(3, user="eve", outcome="deny", severity="ALARM", host="example.com"), event(4, user="bob")])
    log.commit()
    log.append(events(2, start=5))
    log.save()
    register(base, log)
    return base


def test_the_default_is_everything_newest_first_as_json_lines_in_a_pipe(data_dir: Path) -> None:
    done = kumoaudit("query", "--data-dir", data_dir)

    assert done.returncode == 0
    assert [(r["seq"], r["description"]) for r in rows(done.stdout)] == [(n, f"step {n - 1}") for n in range(7, 0, -1)]
    assert done.stderr.splitlines()[-1].startswith("7 records found; read 2 files of 1 log, 2026-09-21T14:13:20.000Z")


def test_the_data_directory_may_come_from_the_environment_or_lie_here(data_dir: Path, tmp_path: Path) -> None:
    assert len(rows(kumoaudit("query", env=environment(KUMOAUDIT_DATA_DIR=str(data_dir))).stdout)) == 7
    data_dir.rename(tmp_path / "kumoaudit-data")
    log = tmp_path / "kumoaudit-data" / "log"
    assert len(rows(kumoaudit("query", log, cwd=tmp_path).stdout)) == 5


@pytest.mark.parametrize(
    ("args", "steps"),
    [
        (["--user", "eve"], [3]),
        (["--user", "eve", "--user", "bob"], [4, 3]),
        (["--outcome", "deny"], [3]),
        (["--severity", "WARNING"], [3]),
        (["example.com"], [3]),
        (["user=bob"], [4]),
        (["eve@example.com"], [3]),
        (["--no-global"], [4, 3]),
        (["--no-global", "--limit", "1"], [4]),
        (["--global", "--limit", "2"], [6, 5]),
        (["--limit", "2", "--reverse"], [0, 1]),
        (["--where", "seq = 6 or description ~ 'STEP 2'"], [5, 2]),
        (["--since", "2026-09-21T14:13:24Z", "--until", "2026-09-21T14:13:26Z"], [5, 4]),
        (["--type", "custom_*", "--kind", "custom", "--host", "example.*"], [3]),
        (["--user", "nobody"], []),
    ],
)
def test_options_narrow_the_question(data_dir: Path, args: list[str], steps: list[int]) -> None:
    done = kumoaudit("query", "--data-dir", data_dir, *args)

    assert done.returncode == 0
    assert [r["description"] for r in rows(done.stdout)] == [f"step {n}" for n in steps]


def test_a_record_is_looked_up_by_its_id_in_any_case(data_dir: Path) -> None:
    id_ = rows(kumoaudit("query", "--data-dir", data_dir).stdout)[2]["id"]

    assert [r["id"] for r in rows(kumoaudit("query", "--data-dir", data_dir, "--lookup", id_.lower()).stdout)] == [id_]


def test_finding_nothing_is_success_unless_e_was_asked(data_dir: Path) -> None:
    assert kumoaudit("query", "--data-dir", data_dir, "--user", "nobody").returncode == 0
    done = kumoaudit("query", "--data-dir", data_dir, "-e", "--user", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert kumoaudit("query", "--data-dir", data_dir, "-e", "--user", "eve").returncode == 0


def test_formats(data_dir: Path) -> None:
    path = str(data_dir / "log")

    table = kumoaudit("query", path, "--format", "table").stdout
    sheet = list(csv.DictReader(io.StringIO(kumoaudit("query", path, "--format", "csv").stdout)))
    raw = kumoaudit("query", path, "--format", "raw", "--user", "eve").stdout

    assert "eve" in table
    assert "deny" in table
    assert [r["user"] for r in sheet if r["user"]] == ["bob", "eve"]
    assert raw.startswith('{"id":"')
    assert "seq" not in rows(raw)[0]


def test_on_a_terminal_the_default_is_a_table(data_dir: Path) -> None:
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", COLUMNS="100", NO_COLOR="1")
    with subprocess.Popen(
        command_line("query", data_dir), stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=env
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:
            pass  # how a terminal says that the other side is gone
        assert process.wait(30) == 0
    os.close(ours)

    text = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode()
    assert re.search(r"2026-09-21 14:13:23 +ALARM +deny +custom_step +eve", text)


def test_what_could_not_be_read_is_on_the_last_line(data_dir: Path) -> None:
    (segment,) = (p for p in (data_dir / "log").iterdir() if p.is_file())
    raw = bytearray(segment.read_bytes())
    raw[20] ^= 0xFF
    segment.write_bytes(raw)

    done = kumoaudit("query", data_dir)

    assert [r["seq"] for r in rows(done.stdout)] == [7, 6]
    assert f"5 lines could not be read ({segment} at 0: " in done.stderr.splitlines()[-1]


def test_gaps_are_on_the_last_line_whatever_was_asked(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(stored(event(0, type="audit_gap", kind="system")) + b"\n")

    done = kumoaudit("query", tmp_path / "x.log", "--user", "eve")

    assert done.stdout == ""
    assert "1 gap recorded" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["query", "--where", "user ="], 2, "--where"),
        (["query", "--limit", "abc"], 2, "--limit"),
        (["query", "--limit", "0"], 2, "--limit"),
        (["query", "--format", "xml"], 2, "--format"),
        (["query", "--no-such-option"], 2, "--no-such-option"),
        (["query", "--global", "--no-global"], 2, "--no-global"),
        (["query", "--data-dir", "x", "./y"], 2, "--data-dir"),
        (["query", "--data-dir", "/nonexistent"], 3, "/nonexistent"),
        (["query", "/nonexistent/path"], 3, "/nonexistent/path"),
        (["qurey"], 2, "did you mean 'query'?"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(args: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = kumoaudit(*args, cwd=tmp_path)

    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    assert "Traceback" in kumoaudit("--debug", "query", "/nonexistent/path", cwd=tmp_path).stderr
    assert "Traceback" in kumoaudit("query", "/no/path", env=environment(KUMOAUDIT_DEBUG="1"), cwd=tmp_path).stderr


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    lines = b"".join(stored(event(n, description="x" * 200)) + b"\n" for n in range(5000))
    (tmp_path / "x.log").write_bytes(lines)
    with subprocess.Popen(
        command_line("query", tmp_path / "x.log"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        complaint = process.stderr.read()
        code = process.wait(30)

    assert (code, complaint) == (0, b"")


def test_the_help_has_a_purpose_examples_and_groups() -> None:
    for name in ("query", "tail", "version"):
        text = kumoaudit(name, "--help").stdout
        assert text.count("kumoaudit " + name) >= 4, name
        assert "Examples:" in text
    assert "Which events:" in kumoaudit("query", "--help").stdout


def test_version_names_kumoaudit_python_and_luajit() -> None:
    done = kumoaudit("version")

    assert done.returncode == 0
    for name in (
        "kumoaudit ",
        "Python 3.",
        "LuaJIT 2.1",
        "zstandard ",
        "orjson ",
        "msgspec ",
        "argon2-cffi ",
        "regex ",
    ):
        assert name in done.stdout
