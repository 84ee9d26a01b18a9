"""What the author of a policy reads when something is wrong: file:line, the source line, the handler, the way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kumoaudit.core.errors import PolicyError
from kumoaudit.runtime.messages import newer_construct
from tests.policies import events_of, inside, kumoaudit, rows, run_policy
from tests.support import command_line, environment

NO_TRACEBACK = ("Traceback", "stack traceback", "lupa")


def refused(directory: Path, source: str, code: int = 2, *options: str) -> str:
    ran = run_policy(directory, source, *options)
    assert ran.code == code, ran
    assert not any(word in ran.err for word in NO_TRACEBACK), ran.err
    return ran.err


def test_an_error_in_a_handler_names_line_source_and_handler(tmp_path: Path) -> None:
    """Interface section 1: no traceback."""
    err = refused(tmp_path, "\nkumo.on('init', function()\n  local t\n  print(t.x)\nend)\n")

    assert err.splitlines()[:3] == [
        "policy.lua:4: attempt to index local 't' (a nil value)",
        "      4 |   print(t.x)",
        "  in the handler of 'init' (policy.lua:2)",
    ]


def test_debug_shows_the_lua_traceback(tmp_path: Path) -> None:
    (tmp_path / "p.lua").write_text("kumo.on('init', function() error 'x' end)")

    ran = kumoaudit("--debug", "run", "p.lua", cwd=tmp_path)

    assert "stack traceback" in ran.err


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        ("error({ code = 1 })", 'error raised with a table: {"code":1}'),
        ("error(nil)", "error raised with nil"),
        ("error()", "error raised with nil"),
        ("error(setmetatable({}, { __tostring = function() return 'my error' end }))", "my error"),
        ("error('with \\255 byte')", "with \\xff byte"),
        ("local function f() return f() + 1 end f()", "stack overflow"),
        ("kumo.nonsense()", "kumo.nonsense does not exist in this host"),
        ("kumo.aaa.nonsense()", "kumo.aaa.nonsense does not exist in this host"),
        ("kumo.make_egress_path {}", "kumo.make_egress_path is not part of this host"),
        ("return utf8.char(1)", "the utf8 library is Lua 5.3 and later"),
    ],
)
def test_any_error_value_is_told_with_its_line(tmp_path: Path, raised: str, text: str) -> None:
    """Reliability section 7: tables and nil arrive as texts."""
    err = refused(tmp_path, f"kumo.on('init', function()\n  {raised}\nend)")

    assert err.startswith("policy.lua:2: ")
    assert text in err


@pytest.mark.parametrize(
    ("line", "construct"),
    [
        ("local x = 7 // 2", "//"),
        ("local f <close> = g()", "<close>"),
        ("local f <const> = 1", "<const>"),
        ("local x = a & b", "&"),
        ("local x = a | b", "|"),
        ("local x = ~a", "~"),
        ("local x = a >> 1", ">>"),
        ("local x = a << 1", "<<"),
    ],
)
def test_a_construct_of_a_later_lua_is_named_with_its_line(tmp_path: Path, line: str, construct: str) -> None:
    """KumoMTA section 7.5."""
    err = refused(tmp_path, f"-- a comment\n{line}\n")

    assert err.startswith("policy.lua:2: ")
    assert construct in err.splitlines()[0]
    assert "Lua 5.1" in err


def test_texts_and_comments_are_no_constructs() -> None:
    assert newer_construct("print('a // b') -- x & y") is None
    assert newer_construct("if a ~= b then") is None


def test_a_plain_syntax_error_names_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "local x =\nend").startswith("policy.lua:2: syntax error: unexpected symbol near 'end'")


def test_a_missing_policy_file_is_said(tmp_path: Path) -> None:
    ran = kumoaudit("run", "nowhere.lua", cwd=tmp_path)

    assert (ran.code, ran.err) == (2, "nowhere.lua: no such file or directory\n")


def test_a_second_handler_for_a_single_event_names_the_first(tmp_path: Path) -> None:
    """KumoMTA section 7.1."""
    err = refused(tmp_path, "kumo.on('init', function() end)\nkumo.on('init', function() end)")

    assert "policy.lua:2: kumo.on: 'init' event already has a handler defined at policy.lua:1" in err


def test_several_handlers_of_a_multi_event_run_until_one_returns_a_value(tmp_path: Path) -> None:
    """KumoMTA section 7.1; here nil passes on."""
    ran = run_policy(
        tmp_path,
        """
        kumo.on('pre_init', function() print 'one' end)
        kumo.on('pre_init', function() print 'two' return nil end)
        kumo.on('pre_init', function() print 'three' return 1 end)
        kumo.on('pre_init', function() print 'four' end)
        """,
    )

    assert ran.out.split() == ["one", "two", "three"]


def test_registering_inside_a_handler_is_refused(tmp_path: Path) -> None:
    err = refused(tmp_path, "kumo.on('init', function()\n  kumo.on('x', function() end)\nend)")

    assert "policy.lua:2: kumo.on: 'x' is registered inside the handler of 'init'" in err


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("kumo.on('init')", "the handler of 'init' must be a function, got nil"),
        ("kumo.on(5, function() end)", "the event must be a string, got a number"),
    ],
)
def test_kumo_on_says_what_it_takes(tmp_path: Path, call: str, text: str) -> None:
    assert text in refused(tmp_path, call)


def test_a_misspelt_event_is_noticed(tmp_path: Path) -> None:
    ran = run_policy(tmp_path, "kumo.on('inti', function() end)")

    assert "the host has no event 'inti'; did you mean 'init'?" in ran.err


def test_what_was_recorded_before_an_error_stays(tmp_path: Path) -> None:
    """Nothing is lost by a policy that fails in init."""
    run_policy(tmp_path, "kumo.on('init', function() audit.log 'before' error 'x' end)")

    assert [r["description"] for r in events_of(tmp_path)] == ["before"]
    assert rows(tmp_path)[-1]["detail"]["reason"] == "error"


def test_a_script_gets_its_arguments_and_an_error_is_exit_1(tmp_path: Path) -> None:
    """Interface section 2: `run --script`."""
    source = "kumo.on('main', function(a, b)\n  print(a, b)\n  if b == 'fail' then error 'no' end\nend)"

    good = run_policy(tmp_path, source, script_args=("one", "two"))
    bad = run_policy(tmp_path, source, script_args=("one", "fail"))

    assert (good.code, good.out) == (0, "one\ttwo\n")
    assert bad.code == 1
    assert bad.err.startswith("policy.lua:3: no")


def test_a_script_without_main_is_said(tmp_path: Path) -> None:
    ran = run_policy(tmp_path, "print 'x'", script_args=())

    assert ran.code != 0
    assert "no handler for 'main'" in ran.err


def test_init_is_not_run_by_a_script(tmp_path: Path) -> None:
    ran = run_policy(
        tmp_path,
        "kumo.on('pre_init', function() print 'pre' end) kumo.on('init', function() print 'init' end) "
        "kumo.on('main', function() print 'main' end)",
        script_args=(),
    )

    assert ran.out.split() == ["pre", "main"]


def test_os_exit_stops_the_host_with_its_code_and_keeps_the_records(tmp_path: Path) -> None:
    ran = run_policy(tmp_path, "kumo.on('init', function() audit.log 'x' os.exit(7) end)")

    assert ran.code == 7
    assert [r["description"] for r in events_of(tmp_path)] == ["x"]


def test_a_task_runs_beside_init_and_its_error_is_recorded(tmp_path: Path) -> None:
    """KumoMTA section 6: spawn_task; the host ends when the last task has."""
    ran = run_policy(
        tmp_path,
        """
        kumo.on('work', function(name, n)
          kumo.sleep(0.05)
          audit.log('%s %d', name, n)
          if n == 2 then error 'task failed' end
        end)
        kumo.on('init', function()
          kumo.spawn_task { event_name = 'work', args = { 'job', 1 } }
          kumo.spawn_task { event_name = 'work', args = { 'job', 2 } }
          audit.log 'init done'
        end)
        """,
    )

    assert ran.code == 0
    assert events_of(tmp_path)[0]["description"] == "init done"
    assert sorted(r["description"] for r in events_of(tmp_path)) == ["init done", "job 1", "job 2"]
    assert [r["description"] for r in rows(tmp_path, "--type", "handler_error")] == ["policy.lua:5: task failed"]


def test_a_task_for_an_event_without_handler_is_refused(tmp_path: Path) -> None:
    err = refused(tmp_path, "kumo.on('init', function() kumo.spawn_task { event_name = 'nobody' } end)")

    assert "no handler is registered for 'nobody'" in err


def test_check_finds_the_same_problems_and_touches_nothing(tmp_path: Path) -> None:
    """Interface section 2."""
    (tmp_path / "p.lua").write_text(
        "kumo.on('init', function()\n  kumo.aaa.configure_acct_log { log_dirr = 'x' }\nend)\n"
        "kumo.on('validate_config', function() print(_VALIDATING_CONFIG) audit.log 'not recorded' end)"
    )

    ran = kumoaudit("check", "p.lua", cwd=tmp_path)

    assert ran.code == 2
    assert "p.lua:2: kumo.aaa.configure_acct_log: unknown option 'log_dirr'" in ran.err
    assert ran.out == "true\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.lua"]


def test_check_fails_when_the_policy_says_so(tmp_path: Path) -> None:
    """KumoMTA section 7.4."""
    (tmp_path / "p.lua").write_text("kumo.on('validate_config', function() kumo.validation_failed() end)")

    ran = kumoaudit("check", "p.lua", cwd=tmp_path)

    assert ran.code == 1
    assert "validation failed" in ran.err


def test_check_names_a_log_that_goes_through_python(tmp_path: Path) -> None:
    """Architecture section 5."""
    (tmp_path / "p.lua").write_text(
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', where = 'user ~ ev' } end)"
    )

    ran = kumoaudit("check", "p.lua", cwd=tmp_path)

    assert ran.code == 0
    assert "log 'a' takes events of the policy through Python" in ran.err
    assert "~ on user" in ran.err


def test_a_memory_hog_does_not_bring_the_host_down(tmp_path: Path) -> None:
    """Values nested deeper than any reader takes are refused, not a crash."""
    ran = run_policy(
        tmp_path,
        "kumo.on('init', function() local t = {} local at = t for i = 1, 5000 do at.x = {} at = at.x end "
        "print(pcall(kumo.spawn_task, t)) audit.log 'alive' end)",
    )

    assert ran.code == 0, ran.err
    assert [r["description"] for r in events_of(tmp_path)] == ["alive"]


def test_a_task_may_record_the_very_first_event(tmp_path: Path) -> None:
    """The first log opens while a task is inside Lua: neither may wait for the other."""
    ran = run_policy(
        tmp_path,
        "kumo.on('work', function() audit.log 'x' end)\nkumo.on('init', function() kumo.spawn_task { event_name = 'work' } end)",
    )

    assert ran.code == 0, ran.err
    assert [r["description"] for r in events_of(tmp_path)] == ["x"]


def test_a_handler_that_never_returns_is_noticed_also_before_any_log_is_open(tmp_path: Path) -> None:
    """Reliability section 7: recorded as handler_stuck, exit 3."""
    ran = run_policy(
        tmp_path,
        "kumo.on('pre_init', function() kumo.audit.configure_host { handler_timeout = 0.3 } end)\n"
        "kumo.on('init', function() while true do end end)",
    )

    assert ran.code == 3
    assert "has not returned for 0.3 s" in ran.err
    assert [r["detail"]["handler"] for r in rows(tmp_path, "--type", "handler_stuck")] == ["init"]


def test_results_that_cannot_be_packed_are_an_error_of_the_handler(tmp_path: Path) -> None:
    """Outside the coroutine too, a traceback of Lua is shown to nobody who did not ask."""
    source = """kumo.on('main', function()
      return setmetatable({}, { __pack = function() error 'not today' end })
    end)"""

    ran = run_policy(tmp_path, source, script_args=())

    assert ran.code == 1
    assert ran.err.startswith("policy.lua:2: not today\n")
    assert "  in the handler of 'main' (policy.lua:1)" in ran.err.splitlines()
    assert not any(word in ran.err for word in NO_TRACEBACK), ran.err


def test_a_traceback_of_lua_is_kept_apart_from_the_message(tmp_path: Path) -> None:
    """What fails outside a coroutine (out of memory, say) arrives from lupa with its stack."""
    with inside(tmp_path, "") as host:

        def failing(*_: object) -> None:
            host.host.lua.execute(b"error('policy.lua:1: out of everything', 0)")

        host.host._call = failing
        with pytest.raises(PolicyError) as failed:
            host.host.call("go")

    assert failed.value.message == "policy.lua:1: out of everything"
    assert failed.value.traceback.startswith("stack traceback:\n")


@pytest.mark.parametrize(
    "source",
    [
        r"kumo.log_info('hostile \27[31mred\27[0m \194\155 \226\128\174\nforged line')",
        r"error('hostile \27[31mred\27[0m \194\155 \226\128\174')",
        r"kumo.on('audit_event', function(ev) error(ev.description) end) audit.log 'hostile \27[31mred \226\128\174'",
    ],
)
def test_what_the_policy_shows_acts_on_no_terminal(tmp_path: Path, source: str) -> None:
    if "kumo.on" not in source:
        source = f"kumo.on('init', function() {source} end)"
    ran = run_policy(tmp_path, source)
    (tmp_path / "c.lua").write_text(source)
    checked = kumoaudit("check", "c.lua", cwd=tmp_path)

    assert "hostile \\x1b[31mred" in ran.err
    for text in (ran.err, checked.err):
        assert not any(c in text for c in "\x1b\x9b\u202e"), text
        assert "\nforged line" not in text


def test_an_error_before_the_host_runs_acts_on_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "c.lua").write_text(r"error('hostile \27[31mred')")

    ran = kumoaudit("check", "c.lua", cwd=tmp_path)

    assert ran.code == 2
    assert "hostile \\x1b[31mred" in ran.err
    assert "\x1b" not in ran.err


def printing(directory: Path, stdout: int) -> subprocess.Popen[str]:
    """A script that prints far more than a pipe holds, then records an event and exits 5."""
    (directory / "policy.lua").write_text(
        "kumo.on('main', function() for i = 1, 20000 do print('line ' .. i) end audit.log 'after' os.exit(5) end)"
    )
    return subprocess.Popen(
        command_line("run", "--script", "policy.lua"),
        cwd=directory,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_print_to_a_reader_who_has_gone_is_silent_and_the_policy_goes_on(tmp_path: Path) -> None:
    process = printing(tmp_path, subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "line 1\n"
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()

    assert (process.wait(60), err) == (5, "")
    assert [r["description"] for r in events_of(tmp_path)] == ["after"]


def test_print_to_a_full_disk_is_said_once(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = printing(tmp_path, full.fileno())
    _, err = process.communicate(timeout=60)

    assert process.returncode == 5
    assert err == "notice: print: standard output: no space left on device; it is not used any more\n"
    assert [r["description"] for r in events_of(tmp_path)] == ["after"]
