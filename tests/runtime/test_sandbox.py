"""What a policy can reach: standard Lua, not Python, not C, not bytecode (interface section 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policies import kumoaudit, run_policy

# Every probe is an expression or statement list that must end in an error or in nil.
CLOSED = [
    "python",
    "package.loaded.python",
    "require 'python'",
    "require 'ffi'",
    "require 'jit'",
    "require 'jit.util'",
    "require 'string.buffer'",
    "debug.getinfo(coroutine.create(print), 0, 'f')",
    "debug.getinfo(coroutine.create(print), print, 'f').func",
    "require 'kumoaudit.boot'",
    "require 'kumoaudit.ring'",
    "require 'kumoaudit/ring'",
    "require 'types.kumo'",
    "package.loaded.ffi",
    "package.loaded._G",
    "package.loaders",
    "package.searchers",
    "ffi",
    "jit",
    "string.dump",
    "debug.getregistry",
    "debug.getupvalue",
    "debug.setupvalue",
    "debug.getlocal",
    "debug.sethook",
    "debug.setmetatable",
    "debug.getmetatable",
    "debug.getfenv",
    "newproxy",
    "package.loadlib('libc.so.6', '*')",
    "getfenv(0).package.loaded.ffi",
    "getfenv(1).python",
    "getfenv(audit.log).require and getfenv(audit.log).ffi",
    "getfenv(kumo.on).python",
    "getfenv(print).jit",
    "debug.getinfo(1, 'f').func",
    "debug.getinfo(audit.log, 'f').func",
    "setfenv(audit.log, {})",
    "setfenv(0, {})",
    "load('\\27LJ\\2')",
    "loadstring('\\27LJ\\2')",
    "load(function() return nil end, 'x', 'b')",
    "getmetatable(audit.new{}).log",
    "getmetatable('').__index.dump",
    "coroutine.wrap(function() return require 'ffi' end)()",
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each probe gave, from one run of a policy that tries them all."""
    probes = "\n".join(f"probe([==[{source}]==])" for source in CLOSED)
    ran = run_policy(
        tmp_path_factory.mktemp("sandbox"),
        f"""
        local function probe(source)
          local f = loadstring('return ' .. source) or loadstring(source)
          local ok, value = pcall(f)
          print(('%s\\t%s'):format(source, ok and tostring(value) or 'error: ' .. tostring(value)))
        end
        {probes}
        """,
    )
    assert ran.code == 0, ran.err
    return dict(line.split("\t", 1) for line in ran.out.splitlines() if "\t" in line)


@pytest.mark.parametrize("source", CLOSED)
def test_a_policy_cannot_reach(answers: dict[str, str], source: str) -> None:
    """Nothing of Python, C or bytecode without --trusted."""
    assert answers[source] == "nil" or answers[source].startswith("error: "), answers[source]


def test_no_python_object_can_be_had_from_anything_the_policy_can_walk(tmp_path: Path) -> None:
    """Everything reachable from the environment by keys, metatables and upvalue-free means is Lua's own."""
    ran = run_policy(
        tmp_path,
        """
        local seen, bad = {}, {}
        local function walk(value, path, depth)
          local kind = type(value)
          if kind == 'userdata' and not tostring(value):find('^file') then bad[#bad + 1] = path .. ' ' .. tostring(value) end
          if kind ~= 'table' or seen[value] or depth > 12 then return end
          seen[value] = true
          for k, v in next, value do walk(k, path .. '.key', depth + 1) walk(v, path .. '.' .. tostring(k), depth + 1) end
          local ok, mt = pcall(getmetatable, value)
          if ok then walk(mt, path .. '.mt', depth + 1) end
        end
        walk(_G, '_G', 0)
        walk(getmetatable(''), 'string', 0)
        for _, f in next, { audit.log, kumo.on, print, require } do walk(getfenv(f), 'fenv', 0) end
        local ok, e = pcall(kumo.aaa.configure_acct_log, { log_dir = 5 })
        bad[#bad + 1] = type(e) ~= 'string' and 'error is a ' .. type(e) or nil
        print('bad: ' .. table.concat(bad, ', '))
        """,
    )

    assert ran.code == 0, ran.err
    assert ran.out == "bad: \n"


def test_an_error_of_the_host_reaches_pcall_as_a_string(tmp_path: Path) -> None:
    """A Python exception object would carry tracebacks and frames with it."""
    ran = run_policy(
        tmp_path,
        """
        for _, f in next, { kumo.aaa.configure_acct_log, kumo.audit.configure_log, kumo.spawn_task } do
          local ok, e = pcall(f, { nonsense = 1 })
          print(ok, type(e))
        end
        """,
    )

    assert ran.out.splitlines() == ["false\tstring"] * 3


def test_trusted_policies_have_ffi_and_jit(tmp_path: Path) -> None:
    (tmp_path / "p.lua").write_text("print(require('ffi').abi('64bit'), type(jit.version), type(debug.getlocal))")

    ran = kumoaudit("run", "--trusted", "p.lua", cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert ran.out == "true\tstring\tfunction\n"


def test_the_standard_libraries_are_there(tmp_path: Path) -> None:
    """Interface section 3."""
    ran = run_policy(
        tmp_path,
        """
        print(type(io.open), type(os.time), type(coroutine.wrap), type(math.floor), type(table.concat), type(bit.band))
        print(('x'):rep(3), table.pack(1, 2).n, select('#', table.unpack({ 1, 2, 3 })))
        print(require 'kumo' == kumo, require('audit') == audit, type(debug.traceback()), debug.getinfo(1, 'l').currentline)
        """,
    )

    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "function\tfunction\tfunction\tfunction\tfunction\tfunction",
        "xxx\t2\t3",
        "true\ttrue\tstring\t4",
    ]


def test_require_finds_modules_beside_the_policy_and_their_errors_name_their_file(tmp_path: Path) -> None:
    """Interface section 3."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "users.lua").write_text(
        "return { name = 'alice', broken = function()\n  error 'no such user'\nend }"
    )
    ran = run_policy(
        tmp_path,
        """
        local users = require 'lib.users'
        print(users.name, require('lib.users') == users)
        kumo.on('init', function() users.broken() end)
        """,
    )

    assert ran.out == "alice\ttrue\n"
    assert "lib/users.lua:2: no such user" in ran.err
    assert "2 |   error 'no such user'" in ran.err
    assert ran.code == 2


def test_debug_getinfo_takes_a_thread_and_a_level(tmp_path: Path) -> None:
    """Lua 5.1: debug.getinfo([thread,] function [, what])."""
    ran = run_policy(
        tmp_path,
        """
        local co = coroutine.create(function()
          coroutine.yield()
        end)
        coroutine.resume(co)
        local info = debug.getinfo(co, 1, 'Sl')
        print(info.currentline, info.short_src, debug.getinfo(co, 1).what, debug.getinfo(co, 9))
        """,
    )

    assert ran.code == 0, ran.err
    assert ran.out == "3\tpolicy.lua\tLua\tnil\n"
