"""Long work asked for where a task cannot be set aside: in a coroutine of the policy's own, while the file loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.policies import Inside

BODIES = {
    "sqlite": (
        "local db = require 'sqlite'.open ':memory:'\n"
        "return { db:execute('SELECT ? AS a, 2 AS b', 'x')[1].a, #db:execute 'SELECT 1 UNION SELECT 2' }",
        ["x", 2],
    ),
    "fs": (
        "local f = kumo.fs.open('new', 'w+')\nf:write 'abc'\nf:seek 'set'\nreturn { f:read(2), f:read() }",
        ["ab", "c"],
    ),
    "regex": ("return kumo.regex.compile '[bc]' :find_all(('a'):rep(5000) .. 'bc')", ["b", "c"]),
    "jsonl": (
        "local t = kumo.jsonl.new_tailer { directory = 'logs', max_batch_latency = 0, checkpoint_name = 'me' }\n"
        "local batch = t:batches()()\nlocal out = { batch:records()[1].n, #batch:records() }\nbatch:commit()\nt:close()\n"
        "return out",
        [1, 2],
    ),
    "error": (
        "return { pcall(function() require 'sqlite'.open ':memory:' :execute 'SELECT absent' end) }",
        [False, "policy.lua:2: db:execute: no such column: absent"],
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("way", ["coroutine.wrap(work)()", "work()"])
def test_work_is_done_wherever_it_is_asked_for(
    host: Callable[[str], Inside], tmp_path: Path, name: str, way: str
) -> None:
    body, gives = BODIES[name]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a").write_bytes(zstandard.ZstdCompressor().compress(b'{"n":1}\n{"n":2}\n'))
    (tmp_path / "logs" / "a").chmod(0o440)
    running = host(
        f"local function work()\n{body}\nend\nlocal loaded = {way}\n"
        f"kumo.on('loaded', function() return loaded end)\nkumo.on('go', function() return ({way}) end)"
    ).host
    (tmp_path / "logs" / ".me").unlink(missing_ok=True)

    assert (running.call("loaded"), running.call("go")) == ([gives], [gives])


def test_what_a_policy_holds_is_no_object_of_python(lua: Callable[..., Any]) -> None:
    kinds = lua(
        """
local w = kumo.jsonl.new_writer { log_dir = 'out' }
local objects = { w, kumo.fs.open('f', 'w'), require 'sqlite'.open ':memory:', kumo.regex.compile 'a',
  kumo.jsonl.new_tailer { directory = '.' }, kumo.uuid.new_v4() }
local found = {}
local function walk(v, depth)
  if type(v) == 'userdata' or type(v) == 'cdata' then
    found[#found + 1] = tostring(v)
  elseif type(v) == 'table' and depth < 6 then
    for k, item in next, v do walk(k, depth + 1) walk(item, depth + 1) end
    walk(debug.getmetatable and debug.getmetatable(v) or getmetatable(v), depth + 1)
  end
end
for _, object in ipairs(objects) do walk(object, 0) end
return #objects, #found
"""
    )

    assert kinds == [6, 0]
