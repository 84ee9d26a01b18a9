"""`kumo.jsonl.new_writer` (KumoMTA section 5.4): whole lines in files that end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from tests.policies import Inside, kumoaudit, run_policy
from tests.runtime.segment_files import NAMES, done, lines, take, text_of


def test_a_writer_makes_read_only_files_of_whole_lines_that_a_tailer_reads(lua: Callable[..., Any], logs: Path) -> None:
    old = os.umask(0o077)
    try:
        assert lua(
            "local w = kumo.jsonl.new_writer { log_dir = 'logs', suffix = '.zst', max_file_size = 42, tz = 'Asia/Tokyo' }\n"
            "for i = 1, 3 do w:write_record { n = i, even = i == 2 } end\nw:write_line '{\"n\":4}\\n'\nw:close()\n"
            "w:write_line '{\"n\":5}'\nw:close()\n" + take(1, "max_batch_latency = 0, pattern = '*.zst'")
        ) == [[[1, 2, 3, 4, 5]]]
    finally:
        os.umask(old)
    files = sorted(logs.iterdir())

    # 2026-09-21 14:13:20 UTC (the clock of the tests, which stands still)
    assert [p.name for p in files] == [f"20260921-231320.00000000{n}.zst" for n in range(3)]
    assert {p.stat().st_mode & 0o777 for p in files} == {0o440}
    assert [text_of(p).count(b"\n") for p in files] == [2, 2, 1]


def test_a_line_is_in_the_file_when_it_was_written(host: Callable[[str], Inside], logs: Path) -> None:
    running = host(
        "local w = kumo.jsonl.new_writer { log_dir = 'logs' }\nkumo.on('go', function() w:write_record { n = 1 } end)"
    ).host
    running.call("go")
    (path,) = logs.iterdir()

    assert path.stat().st_mode & 0o777 == 0o640
    assert zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()) == b'{"n":1}\n'


def test_a_segment_ends_at_its_age_although_nothing_comes(host: Callable[[str], Inside], logs: Path) -> None:
    running = host(
        "local w = kumo.jsonl.new_writer { log_dir = 'logs', max_segment_duration = '1ms' }\n"
        "kumo.on('go', function() w:write_record { n = 1 } end)"
    ).host
    running.call("go")
    (path,) = logs.iterdir()
    while path.stat().st_mode & 0o222:
        pass

    assert text_of(path) == b'{"n":1}\n'


def test_the_end_of_the_process_finishes_the_segment(tmp_path: Path) -> None:
    ran = run_policy(
        tmp_path,
        "w = kumo.jsonl.new_writer { log_dir = 'out' }\nkumo.on('main', function() w:write_record { n = 1 } end)",
        script_args=(),
    )
    (path,) = (tmp_path / "out").iterdir()

    assert ran.code == 0, ran.err
    assert (path.stat().st_mode & 0o777, text_of(path)) == (0o440, b'{"n":1}\n')


def test_a_log_of_the_host_is_no_place_for_a_writer(host: Callable[[str], Inside], tmp_path: Path) -> None:
    (tmp_path / "foreign" / ".kumoaudit").mkdir(parents=True)
    running = host(
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', path = 'mine' } end)\n"
        "local function try(d) return select(2, pcall(kumo.jsonl.new_writer, { log_dir = d })) end\n"
        "kumo.on('go', function() return try 'mine', try 'foreign', try 'data/x' end)"
    ).host

    mine, foreign, data = running.call("go")
    assert "log_dir mine: it belongs to a log of kumoaudit\n  choose a directory of its own" in mine
    assert "log_dir foreign: it belongs to a log of kumoaudit" in foreign
    assert "log_dir data/x: it is the data directory of this host or lies in it" in data


def test_a_directory_that_became_a_log_gets_no_more_lines(refused: Callable[..., list[str]], logs: Path) -> None:
    (said,) = refused(
        "(function() local w = kumo.jsonl.new_writer { log_dir = 'logs' } "
        "os.execute 'mkdir logs/.kumoaudit' w:write_record {} end)()"
    )

    assert said == f"writer:write_record: {logs}: it belongs to a log of kumoaudit; choose another log_dir"
    assert [p.name for p in logs.iterdir()] == [".kumoaudit"]


def test_what_is_no_record_is_refused(refused: Callable[..., list[str]]) -> None:
    w = "kumo.jsonl.new_writer { log_dir = 'logs' }"
    found = refused(
        f"{w}:write_line 'x'",
        f"{w}:write_line '{{}}\\n{{}}'",
        f"{w}:write_line '[\\n]'",
        f"{w}:write_line()",
        f"{w}:write_record(print)",
        f"{w}.write_record {{}}",
    )

    assert found[0].startswith("writer:write_line: the line is not JSON: ")
    assert found[1].startswith("writer:write_line: the line is not JSON: ")
    assert found[2:] == [
        "writer:write_line: a record is one line; this has several",
        "writer:write_line: expected a line as text, got nil",
        "writer:write_record: a function cannot be written",
        "writer:write_record: call it as writer:write_record(...), with a colon",
    ]


def test_check_writes_neither_lines_nor_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    done(tmp_path / "logs", NAMES[0], lines(1))
    policy = tmp_path / "policy.lua"
    policy.write_text(
        "kumo.on('init', function()\nkumo.jsonl.new_writer { log_dir = 'out' }:write_record { n = 1 }\n"
        "local t = kumo.jsonl.new_tailer { directory = 'logs', checkpoint_name = 'me', max_batch_latency = 0 }\n"
        "t:batches()():commit()\nend)"
    )

    ran = kumoaudit("check", policy, cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["logs", NAMES[0], "policy.lua"])
