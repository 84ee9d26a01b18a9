"""`kumo.secrets.hash_password`, `check_password` and `kumoaudit hash-password`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.runtime import passwords
from tests.policies import Inside

CHEAP = "{ time_cost = 1, memory = 1024, parallelism = 1 }"


def test_a_password_fits_its_own_hash_and_no_other(lua: Callable[..., Any]) -> None:
    assert lua(
        f"""
        local s = kumo.secrets
        local a, b = s.hash_password('p\\0\\255', {CHEAP}), s.hash_password('p\\0\\255', {CHEAP})
        local own = coroutine.wrap(function() return s.check_password('p\\0\\255', a) end)()
        return a ~= b, a:sub(1, 30), s.check_password('p\\0\\255', a), s.check_password('p', a), own,
          s.check_password('p', nil), s.check_password('p', false)
        """
    ) == [True, "$argon2id$v=19$m=1024,t=1,p=1$", True, False, True, False, False]


@pytest.mark.parametrize(
    "phc",
    [
        "$2b$12$abc",
        "",
        "plain",
        "$argon2id$v=19$m=1024,t=1,p=1$AAAA",
        "$argon2id$v=19$m=9999999,t=1,p=1$" + "A" * 22 + "$" + "A" * 43,
        "$argon2id\xff",
    ],
)
def test_what_is_no_hash_is_false_and_costs_a_check(phc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[bytes] = []
    monkeypatch.setattr(passwords, "_verify", lambda phc, password: bool(verified.append(phc)))

    with pytest.raises(passwords.NotAHash) as e:
        passwords.PasswordChecker().check(b"p", phc.encode())

    assert len(verified) == 1
    assert not phc or phc not in str(e.value)


def test_an_unknown_user_costs_what_the_last_known_one_did(monkeypatch: pytest.MonkeyPatch) -> None:
    phc = passwords.hash_password(b"p", passwords.PasswordCost(time_cost=2, memory=2048, parallelism=1))
    checker = passwords.PasswordChecker()
    assert checker.check(b"p", phc.encode())
    verified: list[bytes] = []
    monkeypatch.setattr(passwords, "_verify", lambda phc, password: bool(verified.append(phc)))

    assert not checker.check(b"p", None)
    assert verified[0].startswith(b"$argon2id$v=19$m=2048,t=2,p=1$")


def test_wrong_arguments_are_named(refused: Callable[..., list[str]]) -> None:
    first, second = refused("kumo.secrets.check_password(nil, 'x')", "kumo.secrets.hash_password('p', { memry = 1 })")

    assert first == "kumo.secrets.check_password: expected the password as a string, got nil"
    assert "unknown option 'memry'" in second


def test_each_line_warns_once_of_what_is_no_hash(host: Callable[[str], Inside]) -> None:
    cheap = passwords.hash_password(b"p", passwords.PasswordCost(time_cost=1, memory=1024, parallelism=1))
    running = host(
        "local check = kumo.secrets.check_password\n"
        f"kumo.on('seed', function() return (check('p', '{cheap}')) end)\n"
        "kumo.on('a', function() return (check('p', 'plain')) end)\n"
        "kumo.on('b', function() return (check('p', '$argon2id$')) end)\n"
    )

    assert [running.host.call(e)[0] for e in ("seed", "a", "a", "b", "a", "b")] == [True, *[False] * 5]
    assert running.said == [
        "policy.lua:3: kumo.secrets.check_password: warning: the hash is not argon2's\n"
        "  make one with 'kumoaudit hash-password'",
        "policy.lua:4: kumo.secrets.check_password: warning: the argon2 hash is damaged\n"
        "  make a new one with 'kumoaudit hash-password'",
    ]


def test_other_handlers_run_while_a_password_is_hashed(
    host: Callable[[str], Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(password: bytes, cost: passwords.PasswordCost) -> str:
        begun.set()
        assert go_on.wait(60)
        return "done"

    monkeypatch.setattr(passwords, "hash_password", slow)
    running = host(
        "kumo.on('slow', function() return (kumo.secrets.hash_password 'p') end)\nkumo.on('other', function() return 7 end)"
    ).host
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(running.call("slow")))
    thread.start()
    assert begun.wait(60)
    assert running.call("other") == [7]
    go_on.set()
    thread.join(60)

    assert results == ["done"]


def test_the_command_reads_one_line_and_prints_a_hash_that_fits(tmp_path: Path) -> None:
    repo = Path(__file__).resolve().parents[2]
    args = [sys.executable, "-m", "kumoaudit", "hash-password", "--memory", "1024", "--time-cost", "1"]
    done = subprocess.run(args, input=b"pass word\r\nx", capture_output=True, cwd=repo, check=False, timeout=60)
    empty = subprocess.run(args, input=b"\n", capture_output=True, cwd=repo, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert passwords.PasswordChecker().check(b"pass word", done.stdout.strip())
    assert (empty.returncode, empty.stdout) == (2, b"")
