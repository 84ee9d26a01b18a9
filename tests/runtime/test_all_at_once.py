"""Every configuration problem at once (interface section 1), in `run` and in `check`; where both must agree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kumoaudit.core.errors import ConfigError
from tests.policies import Ran, events_of, inside, kumoaudit, run_policy

THREE = """
kumo.on('init', function()
  kumo.audit.configure_log { name = 'a', durabilty = 'power' }
  kumo.audit.configure_log { name = 'good' }
  kumo.audit.configure_log { name = 'b', overflow = 'drp' }
  kumo.aaa.configure_acct_log {}
end)
"""


def both(directory: Path, source: str) -> tuple[Ran, Ran]:
    """`check` first, which must touch nothing, then `run`."""
    (directory / "policy.lua").write_text(source)
    before = sorted(os.listdir(directory))
    checked = kumoaudit("check", "policy.lua", cwd=directory)
    assert sorted(os.listdir(directory)) == before
    return checked, run_policy(directory, source)


def test_the_problems_of_all_calls_are_told_together_in_their_order(tmp_path: Path) -> None:
    for ran in both(tmp_path, THREE):
        assert ran.code == 2
        at = [
            ran.err.index(text)
            for text in (
                "policy.lua:3: kumo.audit.configure_log: unknown option 'durabilty'",
                "did you mean 'durability'?",
                "      3 |   kumo.audit.configure_log { name = 'a', durabilty = 'power' }",
                "policy.lua:5: kumo.audit.configure_log: overflow: expected block or drop",
                "policy.lua:6: kumo.aaa.configure_acct_log: missing option 'log_dir'",
                "  in the handler of 'init' (policy.lua:2)",
            )
        ]
        assert at == sorted(at)
        assert ran.err.count("in the handler of") == 1


def test_after_a_problem_nothing_is_opened(tmp_path: Path) -> None:
    run_policy(tmp_path, THREE)

    assert not (tmp_path / "kumoaudit-data").exists()


def test_an_error_of_the_handler_comes_behind_the_problems(tmp_path: Path) -> None:
    source = "kumo.on('init', function()\n  kumo.audit.configure_log {}\n  error 'and then this'\nend)"
    for ran in both(tmp_path, source):
        lines = ran.err.splitlines()

        assert ran.code == 2
        assert lines[0].startswith("policy.lua:2: kumo.audit.configure_log: missing option 'name'")
        assert "policy.lua:3: and then this" in lines
        assert lines[-1] == "  in the handler of 'init' (policy.lua:1)"


def test_one_problem_reads_as_an_error_of_the_line(tmp_path: Path) -> None:
    for ran in both(tmp_path, "kumo.on('init', function()\n  kumo.audit.configure_log { name = 5 }\nend)"):
        assert ran.err.splitlines() == [
            "policy.lua:2: kumo.audit.configure_log: name: expected a name of 1 to 64 letters, digits, '.', '_' or '-', "
            "not beginning with '.', got 5",
            "      2 |   kumo.audit.configure_log { name = 5 }",
            "  in the handler of 'init' (policy.lua:1)",
        ]


@pytest.mark.parametrize("escape", ["pcall(kumo.audit.configure_log, {})", "kumo.audit.configure_log {} os.exit(0)"])
def test_neither_pcall_nor_exit_hides_a_problem(tmp_path: Path, escape: str) -> None:
    for ran in both(tmp_path, f"kumo.on('init', function()\n  {escape}\nend)"):
        assert ran.code == 2
        assert "missing option 'name'" in ran.err
        assert "os.exit: the host is stopping" not in ran.err


def test_problems_are_one_error_with_each_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused, inside(tmp_path, THREE):
        pass

    assert [p.what.partition(":")[0] for p in refused.value.problems] == [
        "unknown option 'durabilty'",
        "overflow",
        "missing option 'log_dir'",
    ]


def test_a_task_does_not_begin_after_a_problem(tmp_path: Path) -> None:
    run_policy(
        tmp_path,
        "kumo.on('t', function() audit.log 'x' end)\n"
        "kumo.on('init', function() kumo.audit.configure_log {} kumo.spawn_task { event_name = 't' } end)",
    )

    assert not (tmp_path / "kumoaudit-data").exists()


# -- check and run agree ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("{ name = 'x', path = 'link' }", "is a symbolic link"),
        ("{ name = 'x', path = 'open' }", "is writable for everybody (mode 0777)"),
        ("{ name = 'x', path = 'kumoaudit-data/log' }", "is the place of the default log"),
        ("{ name = 'lock' }", "the log name 'lock' is the host's own"),
        ("{ name = 'logs.json' }", "the log name 'logs.json' is the host's own"),
        ("{ name = 'a' } kumo.audit.configure_log { name = 'a' }", "log 'a' is configured already at policy.lua:1"),
        (
            "{ name = 'a', path = 'p' } kumo.audit.configure_log { name = 'b', path = './p' }",
            "is already the place of log 'a'",
        ),
    ],
)
def test_check_refuses_a_place_that_run_refuses(tmp_path: Path, options: str, text: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    checked, ran = both(tmp_path, f"kumo.on('init', function() kumo.audit.configure_log {options} end)")

    assert checked.code == 2
    assert ran.code in (2, 3)
    assert text in checked.err
    assert text in ran.err


@pytest.mark.parametrize(("code", "place"), [(0, "init"), (7, "init"), (0, "pre_init"), (3, "")])
def test_os_exit_is_no_problem_of_a_policy(tmp_path: Path, code: int, place: str) -> None:
    """`check` ends with the code that `run` would."""
    source = f"os.exit({code})" if not place else f"kumo.on('{place}', function() audit.log 'x' os.exit({code}) end)"

    checked, ran = both(tmp_path, source)

    assert (checked.code, ran.code) == (code, code)
    assert checked.err == (
        f"notice: policy.lua: the policy ended the host with os.exit({code}); what follows was not checked\n"
    )
    assert [r["description"] for r in events_of(tmp_path)] == ["x"] if place else True
