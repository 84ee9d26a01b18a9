"""`kumo.jsonl.new_tailer` and `new_multi_tailer` (KumoMTA section 5.4): batches, filters, checkpoints, damage."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kumoaudit.core.clock import SystemClock
from kumoaudit.runtime.api.jsonl import Tail
from tests.policies import Inside, run_policy
from tests.runtime.segment_files import NAMES, done, lines, take, text_of


@pytest.fixture
def clock() -> SystemClock:
    """Tailers wait for real time here: files grow on other threads."""
    return SystemClock()


def test_batches_go_over_the_borders_of_files_in_the_order_of_their_names(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[1], lines(4, 5))
    done(logs, NAMES[0], lines(1, 2, 3))
    done(logs, ".hidden", lines(9))
    (logs / "directory").mkdir()

    assert lua(take(3, "max_batch_size = 2, max_batch_latency = 0")) == [[[1, 2], [3, 4], [5]]]


def test_pattern_filter_and_methods_of_a_batch(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1, 2, 3, 4))
    done(logs, "other", lines(8))

    assert lua(
        "local t = kumo.jsonl.new_tailer({ directory = 'logs', pattern = 'acct-*', max_batch_latency = '1ms' },"
        " function(r) return r.even end)\n"
        "local next_batch = t:batches()\nlocal b = next_batch()\n"
        "local before = { #b:records(), b:records()[2].n, b:consumer_name() }\nb:commit()\n"
        "local ok, said = pcall(b.commit, b)\nlocal count = #b:records()\nlocal iter = b:iter_records()()\n"
        "t:close()\nreturn before, ok, said, count, iter == nil, b:consumer_name(), next_batch() == nil"
    ) == [[2, 4, "default"], False, "policy.lua:7: batch:commit: batch has already been committed", 0, True, "", True]


def test_a_reader_goes_on_where_it_committed(host: Callable[[str], Inside], logs: Path) -> None:
    done(logs, NAMES[0], lines(1, 2, 3))
    done(logs, NAMES[1], lines(4, 5, 6))
    options = "max_batch_size = 2, checkpoint_name = 'me', max_batch_latency = 0"

    first = take(2, options, do="if #out == 1 then batch:commit() end")
    running = host(
        f"kumo.on('go', function() {first} end)\nkumo.on('again', function() {take(2, options, do='batch:commit()')} end)"
    ).host

    assert running.call("go") == [[[1, 2], [3, 4]]]
    assert json.loads((logs / ".me").read_bytes()) == {"file": str(logs / NAMES[0]), "line": 2}
    assert sorted(p.name for p in logs.glob(".*")) == [".me"]
    assert running.call("again") == [[[3, 4], [5, 6]]]
    assert json.loads((logs / ".me").read_bytes()) == {"file": str(logs / NAMES[1]), "line": 3}


def test_a_checkpoint_whose_file_is_gone_goes_on_with_the_next_one(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1))
    done(logs, NAMES[2], lines(3))
    (logs / ".me").write_text(json.dumps({"file": f"/elsewhere/{NAMES[1]}", "line": 7}))

    assert lua(take(1, "checkpoint_name = 'me', max_batch_latency = 0")) == [[[3]]]


def test_what_a_filter_dropped_is_behind_the_checkpoint(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(2, 1, 3))

    assert lua(
        take(1, "checkpoint_name = 'me', max_batch_latency = 0", "function(r) return r.even end", "batch:commit()")
    ) == [[[2]]]
    assert json.loads((logs / ".me").read_bytes())["line"] == 3


def test_tail_begins_with_the_newest_file_whatever_the_checkpoint_says(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1))
    done(logs, NAMES[1], lines(2))
    (logs / ".me").write_text(json.dumps({"file": NAMES[0], "line": 0}))

    assert lua(take(1, "tail = true, checkpoint_name = 'me', max_batch_latency = 0")) == [[[2]]]


def test_consumers_have_their_own_filter_size_and_place(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1, 2, 3, 4, 5))
    (logs / ".b").write_text(json.dumps({"file": str(logs / NAMES[0]), "line": 3}))

    assert lua(
        """
local t = kumo.jsonl.new_multi_tailer { directory = 'logs', consumers = {
  { name = 'odd', max_batch_size = 2, max_batch_latency = '1ms', filter = function(r) return not r.even end },
  { name = 'behind', checkpoint_name = 'b', max_batch_latency = '1ms' },
} }
local out, left = {}, 3
for batches in t:batches() do
  for _, batch in ipairs(batches) do
    local numbers = kumo.array()
    for r in batch:iter_records() do numbers[#numbers + 1] = r.n end
    out[#out + 1] = { batch:consumer_name(), numbers }
    batch:commit()
    left = left - 1
  end
  if left <= 0 then t:close() end
end
table.sort(out, function(a, b) return a[1] .. a[2][1] < b[1] .. b[2][1] end)
return out
"""
    ) == [[["behind", [4, 5]], ["odd", [1, 3]], ["odd", [5]]]]
    assert json.loads((logs / ".b").read_bytes())["line"] == 5


def test_a_filter_that_raises_loses_no_record(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1, 2, 3))

    ok, said, numbers = lua(
        """
local broken = true
local t = kumo.jsonl.new_tailer({ directory = 'logs', max_batch_latency = 0 }, function(r)
  if broken and r.n == 2 then error 'no' end
  return true
end)
local next_batch = t:batches()
local ok, said = pcall(next_batch)
broken = false
local numbers = {}
for r in next_batch():iter_records() do numbers[#numbers + 1] = r.n end
t:close()
return ok, said, numbers
"""
    )

    assert (ok, numbers) == (False, [1, 2, 3])
    assert said.endswith(": no")


def test_two_loops_cannot_wait_for_one_tailer_at_once(lua: Callable[..., Any], logs: Path) -> None:
    done(logs, NAMES[0], lines(1, 2))

    inner, numbers = lua(
        """
local inner, next_batch
local t = kumo.jsonl.new_tailer({ directory = 'logs', max_batch_latency = 0 }, function()
  inner = inner or select(2, pcall(next_batch))
  return true
end)
next_batch = t:batches()
local numbers = {}
for r in next_batch():iter_records() do numbers[#numbers + 1] = r.n end
t:close()
return inner, numbers
"""
    )

    assert inner.endswith(": tailer:batches: another loop is waiting for a batch of this tailer")
    assert numbers == [1, 2]


@pytest.mark.parametrize(
    ("data", "keep", "read", "warning"),
    [
        (lines(1, 2)[:-5], None, [1], "the last line is not whole; 15 bytes of it are passed over"),
        (
            lines(1, 2),
            -3,
            [1, 2],
            "the frame has no end (still being written, or cut off); what follows line 2 is lost",
        ),
        (lines(1) + b"no json\n" + lines(2), None, [1], "line 2 is not JSON ("),
    ],
)
def test_damage_is_said_and_the_next_file_is_read(
    host: Callable[[str], Inside], logs: Path, data: bytes, keep: int | None, read: list[int], warning: str
) -> None:
    done(logs, NAMES[0], data, keep=keep)
    done(logs, NAMES[1], lines(7))
    running = host(f"kumo.on('go', function() {take(1, 'max_batch_latency = 0')} end)")

    assert running.host.call("go") == [[[*read, 7]]]
    (said,) = running.said
    assert f"kumo.jsonl.new_tailer: warning: {logs / NAMES[0]}: {warning}" in said


def test_what_is_no_zstd_is_said_once_and_passed_over(host: Callable[[str], Inside], logs: Path) -> None:
    (logs / NAMES[0]).write_bytes(lines(1))
    (logs / NAMES[0]).chmod(0o440)
    done(logs, NAMES[1], lines(2, 3))
    running = host(f"kumo.on('go', function() {take(2, 'max_batch_size = 1')} end)")

    assert running.host.call("go") == [[[2], [3]]]
    assert [s.partition("warning: ")[2] for s in running.said] == [
        f"{logs / NAMES[0]}: not a zstd frame; the rest of this file is passed over"
    ]


def test_values_are_those_of_json_and_what_is_nested_too_deeply_is_cut(lua: Callable[..., Any], logs: Path) -> None:
    deep = b'{"n":' * 400 + b"1" + b"}" * 400
    done(logs, NAMES[0], b'{"n":null,"l":[],"i":9007199254740993}\n"text"\n' + deep + b"\n")

    assert lua(
        "local t = kumo.jsonl.new_tailer { directory = 'logs', max_batch_latency = 0 }\n"
        "local r = t:batches()():records()\nt:close()\nlocal at, n = r[3], 0\n"
        "while type(at) == 'table' do at, n = at.n, n + 1 end\n"
        "return r[1].n == kumo.null, kumo.json_encode(r[1].l), r[1].i, r[2], at, n"
    ) == [True, "[]", "9007199254740993", "text", "<depth>", 200]


def test_a_file_that_is_still_written_is_waited_for_and_other_handlers_run(
    host: Callable[[str], Inside], logs: Path
) -> None:
    compressor = zstandard.ZstdCompressor().compressobj()
    path = logs / NAMES[0]
    path.write_bytes(compressor.compress(lines(1)) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    seen = threading.Semaphore(0)
    running = host(
        "got = {}\nkumo.on('slow', function() "
        + take(3, "max_batch_latency = 0, poll_watcher = '5ms'", do="got[#got + 1] = numbers[1]")
        + " end)\nkumo.on('other', function() return got end)"
    ).host
    results: list[Any] = []
    thread = threading.Thread(target=lambda: (results.extend(running.call("slow")), seen.release()))
    thread.start()

    def wait_for(numbers: list[int]) -> None:
        while running.call("other") not in ([numbers], [{}] if not numbers else [numbers]):
            pass

    wait_for([1])
    with path.open("ab") as f:
        f.write(compressor.compress(lines(2)) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    wait_for([1, 2])
    with path.open("ab") as f:
        f.write(compressor.flush())
    path.chmod(0o440)
    done(logs, NAMES[1], lines(3))
    assert seen.acquire(timeout=60)
    thread.join(60)

    assert results == [[[1], [2], [3]]]


def test_our_own_segments_are_read_up_to_what_is_committed(tmp_path: Path) -> None:
    source = """
kumo.on('main', function()
  for i = 1, 3 do audit.log { type = 'custom_x', description = 'event ' .. i } end
end)
"""
    assert run_policy(tmp_path, source, script_args=()).code == 0
    (segment,) = (p for p in (tmp_path / "kumoaudit-data" / "log").iterdir() if p.is_file())
    segment.chmod(0o640)
    with segment.open("ab") as f:
        # A frame without its trailer: a crash cuts it off again.
        f.write(zstandard.ZstdCompressor().compress(b'{"type":"custom_x","description":"torn"}\n'))
    ran = run_policy(
        tmp_path,
        """
kumo.on('main', function()
  local t = kumo.jsonl.new_tailer({ directory = 'kumoaudit-data/log', max_batch_latency = '300ms' },
    function(r) return r.type == 'custom_x' end)
  for batch in t:batches() do
    for r in batch:iter_records() do print(r.description) end
    t:close()
  end
end)
""",
        "--data-dir",
        "elsewhere",
        script_args=(),
    )

    assert (ran.code, ran.out.split("\n")[:-1]) == (0, ["event 1", "event 2", "event 3"]), ran.err


def test_the_end_of_the_host_ends_the_loop(host: Callable[[str], Inside], logs: Path) -> None:
    running = host(f"kumo.on('go', function() {take(1)} end)\nkumo.on('other', function() return 7 end)").host
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(running.call("go")))
    thread.start()
    assert running.call("other") == [7]
    running.stopping.set()
    thread.join(60)

    assert results == [[{}]]


def test_a_signal_ends_the_loop_of_a_script_and_finishes_what_it_wrote(tmp_path: Path, logs: Path) -> None:
    done(logs, NAMES[0], lines(1))
    (tmp_path / "policy.lua").write_text(
        """
kumo.on('main', function()
  local w = kumo.jsonl.new_writer { log_dir = 'out' }
  for batch in kumo.jsonl.new_tailer({ directory = 'logs', max_batch_latency = 0 }):batches() do
    for r in batch:iter_records() do w:write_record(r) end
    print 'waiting'
  end
  print 'ended'
end)
"""
    )
    repo = Path(__file__).resolve().parents[2]
    args = [sys.executable, "-m", "kumoaudit", "run", "--script", "policy.lua"]
    env = {**os.environ, "PYTHONPATH": str(repo)}
    with subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.terminate()
        rest = process.stdout.read()
    (path,) = (tmp_path / "out").iterdir()

    assert (process.returncode, rest) == (0, "ended\n")
    assert (path.stat().st_mode & 0o777, text_of(path)) == (0o440, b'{"even":false,"n":1}\n')


def test_a_tailer_that_is_collected_is_let_go_even_when_its_filter_knows_it(
    host: Callable[[str], Inside], logs: Path
) -> None:
    done(logs, NAMES[0], lines(1))
    running = host(
        """
kumo.on('go', function()
  for _ = 1, 10 do
    local t
    t = kumo.jsonl.new_tailer({ directory = 'logs', max_batch_latency = 0 }, function() return t ~= nil end)
    t:batches()()
    t = nil
    collectgarbage()
    collectgarbage()
  end
end)
"""
    ).host
    running.call("go")
    gc.collect()

    assert sum(isinstance(o, Tail) for o in gc.get_objects()) <= 3


def test_every_wrong_option_is_named_at_once(refused: Callable[..., list[str]]) -> None:
    tailer, multi, writer, function = refused(
        "kumo.jsonl.new_tailer { directry = 'x', max_batch_size = 0, checkpoint_name = '../x' }",
        "kumo.jsonl.new_multi_tailer { directory = 'x', consumers = { { name = 'a' }, { name = 'a', filter = print }, {} } }",
        "kumo.jsonl.new_writer { log_dir = 'x', compression_level = 23, tz = 'Mars', suffix = '/x' }",
        "kumo.jsonl.new_tailer({ directory = 'x' }, 5)",
    )

    for what in ("'directry'", "max_batch_size", "checkpoint_name", "missing option 'directory'"):
        assert what in tailer
    assert "the name 'a' is there twice" in multi
    assert "consumers[3]: missing option 'name'" in multi
    for what in ("compression_level", "tz: expected a time zone", "suffix"):
        assert what in writer
    assert function == "kumo.jsonl.new_tailer: the filter must be a function, got a number"
