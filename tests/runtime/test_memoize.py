"""`kumo.memoize` (KumoMTA section 6.1) and the small functions of the policy's surroundings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import PolicyError
from tests.policies import Inside, inside, kumoaudit, run_policy
from tests.runtime.conftest import SetClock

Lua = Callable[..., Any]

COUNTED = """
local calls = {}
local function work(...)
  local key = table.concat({ ... }, ',')
  calls[key] = (calls[key] or 0) + 1
  return calls[key]
end
MEMOIZE
kumo.on('get', function(...) return (work(...)) end)
"""


def memoized(options: str, more: str = "") -> str:
    return COUNTED.replace("MEMOIZE", f"work = kumo.memoize(work, {options})") + more


def test_a_result_is_kept_for_its_ttl_and_no_longer(host: Callable[[str], Inside], clock: SetClock) -> None:
    running = host(memoized("{ name = 'c', ttl = '5 seconds', capacity = 10 }")).host

    assert [running.call("get", a) for a in ("x", "x", "y", "x")] == [[1], [1], [1], [1]]
    clock.move(4.999)
    assert running.call("get", "x") == [1]
    clock.move(0.001)
    assert running.call("get", "x") == [2]


def test_the_one_not_asked_for_longest_goes_first_and_the_capacity_can_be_changed(
    host: Callable[[str], Inside],
) -> None:
    source = memoized(
        "{ name = 'c', ttl = 60, capacity = 2 }",
        "kumo.on('resize', function(...) kumo.set_lruttl_cache_capacity(...) end)\n",
    )
    running = host(source).host

    assert [running.call("get", a)[0] for a in "abacab"] == [1, 1, 1, 1, 1, 2]
    running.call("resize", "c", 1)
    assert [running.call("get", a)[0] for a in "bac"] == [2, 2, 2]
    with pytest.raises(PolicyError, match="could not set capacity for cache nope: there is no cache of that name"):
        running.call("resize", "nope", 1)
    with pytest.raises(PolicyError, match="expected a whole number of entries from 1"):
        running.call("resize", "c", 0)


def test_arguments_that_differ_have_different_results(lua: Lua) -> None:
    """Also where JSON would write both alike: bytes and their escapes, numbers and texts, nil and absent, lists and maps."""
    assert lua(
        r"""
        local n = 0
        local f = kumo.memoize(function() n = n + 1; return n end, { name = 'c', ttl = 60, capacity = 100 })
        local seen, again = {}, {}
        local function all(out)
          for i, args in ipairs {
            { n = 0 }, { n = 1 }, { 1 }, { '1' }, { true }, { 'true' }, { '\255' }, { '\\xff' }, { 'a', 'b' }, { 'a', 'b', n = 3 },
            { 'a,b' }, { {} }, { { 1 } }, { { ['1'] = 1 } }, { { a = { 1, 2 } } }, { { a = { 2, 1 } } }, { kumo.null }, { 0.1 },
            { 9007199254740993LL }, { { [{ 1 }] = 1 } }, { '' },
          } do
            out[i] = f(unpack(args, 1, args.n or #args))
          end
        end
        all(seen)
        all(again)
        return seen, again
        """
    ) == [list(range(1, 22)), list(range(1, 22))]


def test_several_results_come_back_as_they_were_and_nobody_can_change_them(lua: Lua) -> None:
    """KumoMTA gives one array; and a caller that adds itself to a cached group list would change everybody's."""
    assert lua(
        """
        local f = kumo.memoize(function() return { groups = kumo.array { 'a' }, none = kumo.array() }, nil, 'b', nil end,
          { name = 'c', ttl = 60, capacity = 1 })
        local first = f()
        table.insert(first.groups, 'admin')
        local second, hole, b = f()
        second.groups[1] = 'root'
        return select('#', f()), hole == nil, b, f(), kumo.serde.json_encode((f()))
        """
    ) == [4, True, "b", {"groups": ["a"], "none": []}, '{"groups":["a"],"none":[]}']


def test_errors_are_not_kept(lua: Lua) -> None:
    """KumoMTA keeps them for a minute: one hiccup, one minute of refusals (section 5.8, 6)."""
    assert lua(
        """
        local n = 0
        local f = kumo.memoize(function()
          n = n + 1
          if n == 1 then error('hiccup', 0) elseif n == 2 then error({ code = 7 }) end
          return n
        end, { name = 'c', ttl = 60, capacity = 1 })
        local _, text = pcall(f)
        local _, object = pcall(f)
        return text, object.code, f(), f()
        """
    ) == ["hiccup", 7, 3, 3]


def test_a_ttl_of_0_keeps_nothing(lua: Lua) -> None:
    """Interface section 3."""
    assert lua(
        "local n = 0\nlocal f = kumo.memoize(function() n = n + 1; return n end, { name = 'c', ttl = 0, capacity = 1 })\n"
        "return f(), f()"
    ) == [1, 2]


def test_the_epoch_empties_only_caches_that_ask_for_it(lua: Lua) -> None:
    assert lua(
        """
        local n = 0
        local function f() n = n + 1; return n end
        local a = kumo.memoize(f, { name = 'a', ttl = 60, capacity = 1, invalidate_with_epoch = true })
        local b = kumo.memoize(f, { name = 'b', ttl = 60, capacity = 1 })
        local before = { a(), b(), a(), b() }
        kumo.bump_config_epoch()
        return before, { a(), b(), a(), b() }
        """
    ) == [[1, 2, 1, 2], [3, 2, 3, 2]]


def test_declaring_a_cache_again_shares_it_or_with_other_options_empties_it(host: Callable[[str], Inside]) -> None:
    running = host(
        """
        local function declare(ttl, value)
          return kumo.memoize(function() return value end, { name = 'c', ttl = ttl, capacity = 5 })
        end
        kumo.on('go', function()
          local a, b = declare(60, 'a'), declare(60, 'b')
          local first = { a(), b() }
          local c = declare(61, 'c')
          return first, { c(), a(), b() }
        end)
        local other = kumo.memoize(print, { name = 'c', ttl = 60, capacity = 5 })
        """
    )

    assert running.host.call("go") == [["a", "a"], ["c", "c", "c"]]
    assert "notice: kumo.memoize: the cache 'c' is also declared at" in running.said[0]


SLOW = """
local calls = 0
local f = kumo.memoize(function(key)
  calls = calls + 1
  local mine = calls
  kumo.sleep(0.15)
  if key == 'fails' and mine == 1 then error('first try', 0) end
  return mine
end, { name = 'c', ttl = 60, capacity = 5, MORE })
kumo.on('get', function(key) return f(key), calls end)
kumo.on('other', function() return 'free' end)
"""


def together(running: Inside, event: str, args: list[str], pause: float = 0.03) -> list[Any]:
    """Call *event* once per argument, each on its own thread, begun in order."""
    out: list[Any] = [None] * len(args)

    def one(i: int) -> None:
        try:
            out[i] = running.host.call(event, args[i])
        except PolicyError as e:
            out[i] = e.message

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(args))]
    for t in threads:
        t.start()
        time.sleep(pause)
    for t in threads:
        t.join(20)
    return out


def test_one_task_makes_a_result_and_the_others_wait_for_it(tmp_path: Path) -> None:
    with inside(tmp_path, SLOW.replace("MORE", "")) as running:
        assert together(running, "get", ["x", "x", "y", "x"]) == [[1, 2], [1, 2], [2, 2], [1, 2]]


def test_when_it_fails_the_next_one_tries(tmp_path: Path) -> None:
    with inside(tmp_path, SLOW.replace("MORE", "")) as running:
        first, second = together(running, "get", ["fails", "fails"])

    assert first.endswith(": first try")
    assert second == [2, 2]


def test_waiting_ends_at_populate_timeout_or_goes_on_three_times(tmp_path: Path) -> None:
    with inside(tmp_path, SLOW.replace("MORE", "populate_timeout = '20ms'")) as running:
        first, second = together(running, "get", ["x", "x"])
    assert first == [1, 1]
    assert "another task did not finish making the value within 0.02 s (populate_timeout)" in second

    (tmp_path / "b").mkdir()
    more = "populate_timeout = '100ms', retry_on_populate_timeout = true"
    with inside(tmp_path / "b", SLOW.replace("MORE", more)) as running:
        assert together(running, "get", ["x", "x"]) == [[1, 1], [1, 1]]


def test_an_expired_result_is_given_out_while_another_task_makes_it_anew(tmp_path: Path) -> None:
    source = SLOW.replace("ttl = 60", "ttl = '50ms'").replace("MORE", "allow_stale_reads = true")
    with inside(tmp_path, source) as running:
        running.host.call("get", "x")
        time.sleep(0.06)

        assert together(running, "get", ["x", "x"]) == [[2, 2], [1, 2]]


def test_a_function_that_asks_for_its_own_result_is_told_so(lua: Lua) -> None:
    (text,) = lua(
        "local f\nf = kumo.memoize(function(x) return (f(x)) end, { name = 'c', ttl = 60, capacity = 1 })\n"
        "local _, text = pcall(f, 1)\nreturn text"
    )

    assert text.endswith("kumo.memoize: cache 'c': the function asks for the very result that it is making")


def test_every_problem_of_the_options_is_said_at_once(refused: Callable[..., list[str]]) -> None:
    options = (
        "  did you mean 'capacity'?  (options: name, ttl, capacity, invalidate_with_epoch, populate_timeout, "
        "retry_on_populate_timeout, allow_stale_reads)"
    )
    at = "policy.lua:1: "
    first, *others = refused(
        "kumo.memoize(print, { name = 'acl_check', ttl = 'soon', capcity = 1 })",
        "kumo.memoize({}, { name = 'x', ttl = 1, capacity = 1 })",
        "kumo.memoize(print)",
        "kumo.memoize(print, { name = 'x', ttl = 1, capacity = 0 })",
        "kumo.memoize(function() end, { name = 'y', ttl = 1, capacity = 1 })(1, { print })",
    )

    lines = [line.split(at)[-1] for line in first.splitlines()]
    assert lines == [
        "kumo.memoize: unknown option 'capcity'",
        options,
        "kumo.memoize: name: 'acl_check' is a cache of the host itself",
        "  write: name = 'user.acl_check'",
        "kumo.memoize: ttl: 'soon' is not a duration such as '5 minutes', '1h30m' or '250ms'",
        "kumo.memoize: missing option 'capacity'",
        "  expected a whole number of results >= 1",
    ]
    assert others == [
        "kumo.memoize: expected a function, got table",
        "kumo.memoize: expected a table of options, got nil",
        "kumo.memoize: capacity: expected a whole number of results >= 1, got 0",
        "kumo.memoize: cache 'y': argument 2 holds a function; arguments must be plain data, as they are the key",
    ]


def test_the_diagnostic_filter_is_set_by_variable_and_by_the_policy(tmp_path: Path) -> None:
    source = """
    kumo.on('main', function()
      kumo.log_debug 'one'
      kumo.set_diagnostic_log_filter 'kumod=info,lua=debug'
      kumo.log_debug 'two'
      kumo.set_diagnostic_log_filter 'error'
      kumo.log_warn 'three'
      kumo.log_error 'four'
      kumo.set_diagnostic_log_filter 'lua=loud'
    end)
    """
    ran = run_policy(tmp_path, source, script_args=())
    (tmp_path / "filter.lua").write_text("kumo.on('main', function() kumo.log_info 'hidden' kumo.log_warn 'shown' end)")
    quiet = kumoaudit("run", "--script", "filter.lua", cwd=tmp_path, env={"KUMOAUDIT_LOG": "warn"})

    assert quiet.err == "filter.lua:1: warn: shown\n"
    assert ran.err.splitlines()[:3] == [
        "policy.lua:5: debug: two",
        "policy.lua:8: error: four",
        "policy.lua:9: kumo.set_diagnostic_log_filter: 'lua=loud' is no log filter; write a level "
        "(off, error, warn, info, debug, trace) or a list such as 'info,lua=debug'",
    ]


def test_the_call_stack_and_the_registrars_are_given_as_data(host: Callable[[str], Inside]) -> None:
    running = host(
        "local function register()\n"
        "  kumo.on('go', function()\n"
        "    local t = kumo.traceback(1)\n"
        "    return t[1].short_src .. ':', t[1].curr_line, #t, #kumo.traceback(2), kumo.get_event_registrars 'go',\n"
        "      kumo.get_event_registrars 'none' == nil\n"
        "  end)\n"
        "end\n"
        "register()\n"
    )
    src, line, depth, less, registrars, none = running.host.call("go")

    assert (line, depth, less, none) == (3, 1, 0, True)
    assert registrars == [[f"{src}2", f"{src}8"]]
