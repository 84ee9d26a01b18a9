"""`kumo.fs.open` and what a path is (KumoMTA's `async-file`)."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.runtime.api.open_files import OpenFile
from tests.policies import Inside, kumoaudit


@pytest.mark.parametrize(
    ("mode", "readable", "after"),
    [
        ("r", "old", "old"),
        ("rb", "old", "old"),
        ("w", None, "new"),
        ("wb", None, "new"),
        ("a", None, "oldnew"),
        ("r+", "old", "oldnew"),
        ("r+b", "old", "oldnew"),
        ("w+", "", "new"),
        ("a+", "old", "oldnew"),
    ],
)
def test_each_mode_reads_writes_and_makes_what_kumomta_says(
    lua: Callable[..., Any], tmp_path: Path, mode: str, readable: str | None, after: str
) -> None:
    (tmp_path / "f").write_text("old")

    can_read, text, can_write = lua(
        f"local f = kumo.fs.open('f', '{mode}')\nlocal ok, text = pcall(f.read, f)\n"
        "local written = pcall(f.write, f, 'new')\nf:close()\nreturn ok, text, written"
    )

    assert (text if can_read else None) == readable
    assert can_write == (mode[0] != "r" or "+" in mode)
    assert (tmp_path / "f").read_text() == after


def test_positions_and_sizes_are_those_of_the_file(lua: Callable[..., Any]) -> None:
    assert lua(
        "local f = kumo.fs.open('new', 'w+')\nf:write 'hello\\0there'\nf:flush()\n"
        "local size, start = f:seek 'end', f:seek 'set'\nlocal five = f:read(5)\n"
        "return size, start, five, f:seek(), f:seek('cur', 1), f:read(), f:read(), f:read(9), f:seek('end', -2)"
    ) == [11, 0, "hello", 5, 6, "there", "", "", 9]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("kumo.fs.open 'absent'", "kumo.fs.open: absent: no such file or directory"),
        ("kumo.fs.open()", "kumo.fs.open: expected a path, got nil"),
        ("kumo.fs.open('f', 'x')", "kumo.fs.open: the mode must be r, w, a, r+, w+ or a+, and may have a b"),
        ("kumo.fs.open('f', 'w'):read()", "file:read: the file is not open for that; see the mode of kumo.fs.open"),
        ("kumo.fs.open('f', 'w'):write {}", "file:write: expected a text, got a table"),
        ("kumo.fs.open('f', 'w'):seek 'x'", "file:seek: the first argument must be set, cur or end"),
        ("kumo.fs.open('f', 'w'):seek('set', -1)", "file:seek: invalid argument"),
        ("kumo.fs.open('f', 'r+'):read(-1)", "file:read: the size must be a whole number >= 0"),
        ("kumo.fs.open('f', 'w').read()", "file:read: call it as file:read(...), with a colon"),
        ("(function() local f = kumo.fs.open('f', 'w') f:close() f:close() f:write 'x' end)()", "file:write: the file is closed"),
        ("kumo.fs.metadata_for_path 'absent'", "kumo.fs.metadata_for_path: absent: no such file or directory"),
    ],
)  # fmt: skip
def test_an_error_names_line_and_cause(refused: Callable[..., list[str]], call: str, said: str) -> None:
    assert refused(call) == [said]


def test_metadata_is_that_of_the_file_and_of_the_link(lua: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("12345")
    (tmp_path / "f").chmod(0o440)
    os.utime(tmp_path / "f", (1, 1_000_000_000))
    (tmp_path / "link").symlink_to("f")

    assert lua(
        "local m, l, d = kumo.fs.metadata_for_path 'link', kumo.fs.symlink_metadata_for_path 'link', "
        "kumo.fs.metadata_for_path '.'\n"
        "return m.path, m.is_file, m.is_dir, m.is_symlink, m.len, m.size, m.readonly, m.nlink, m.mtime.rfc3339, "
        "m.atime.unix_timestamp, l.is_symlink, l.is_file, d.is_dir"
    ) == ["link", True, False, False, 5, 5, True, 1, "2001-09-09T01:46:40+00:00", 1, True, False, True]


def test_an_uncached_glob_is_a_glob(lua: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.x").touch()

    assert lua("return kumo.fs.uncached_glob('*.x', '.'), kumo.fs.glob('*.x', '.')") == [["a.x"], ["a.x"]]


def test_a_file_that_is_collected_is_closed(host: Callable[[str], Inside], tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    running = host(
        "kumo.on('go', function() for _ = 1, 20 do kumo.fs.open 'f' collectgarbage() collectgarbage() end end)"
    ).host
    running.call("go")
    gc.collect()

    assert sum(isinstance(o, OpenFile) for o in gc.get_objects()) <= 3


def test_check_opens_nothing_for_writing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    policy = tmp_path / "policy.lua"
    policy.write_text("kumo.fs.open('there', 'w'):write 'x'\nkumo.fs.open('new', 'a'):write 'x'\n")

    ran = kumoaudit("check", policy, cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert (tmp_path / "there").read_text() == "kept"
    assert not (tmp_path / "new").exists()
