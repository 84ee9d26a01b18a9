"""`kumo.string.*`: KumoMTA's documented results, and what Rust's functions give at the edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.policies import Inside


@pytest.mark.parametrize(
    ("call", "gives"),
    [
        ("split('Mary had a little lamb', ' ')", ["Mary", "had", "a", "little", "lamb"]),
        ("split('', 'X')", [""]),
        ("split('XX', 'X')", ["", "", ""]),
        ("split('aé', '')", ["", "a", "é", ""]),
        ("splitn('Mary had a little lamb', 3, ' ')", ["Mary", "had", "a little lamb"]),
        ("splitn('abc', 0, 'b')", []),
        ("splitn('abc', 1, 'b')", ["abc"]),
        ("splitn('abc', 2, '')", ["", "abc"]),
        ("splitn('ab', 9, '')", ["", "a", "b", ""]),
        ("rsplit('lionXXtigerXleopard', 'X')", ["leopard", "tiger", "", "lion"]),
        ("rsplit('aaa', 'aa')", ["", "a"]),
        ("rsplitn('Mary had a little lamb', 3, ' ')", ["lamb", "little", "Mary had a"]),
        ("rsplitn('abc', 2, '')", ["", "abc"]),
        ("rsplitn('abc', 0, '')", []),
        ("split_whitespace(' a\\226\\128\\131b\\n c ')", ["a", "b", "c"]),
        ("split_whitespace('')", []),
        ("split_ascii_whitespace('a\\226\\128\\131b c')", ["a\u2003b", "c"]),
        ("trim('\\t\\226\\128\\131x y\\28 ')", "x y\x1c"),
        ("trim_start('  x ')", "x "),
        ("trim_end('  x ')", "  x"),
        ("replace('this is old', 'old', 'new')", "this is new"),
        ("replace('ab', '', '-')", "-a-b-"),
        ("replacen('foo foo 123 foo', 'foo', 'new', 2)", "new new 123 foo"),
        ("replacen('foo', 'foo', 'new', 0)", "foo"),
        ("starts_with('hello', 'he')", True),
        ("starts_with('hello', 'lo')", False),
        ("ends_with('hello', '')", True),
        ("ends_with('hello', 'lo')", True),
        ("trim(' \\255 ')", "\\xff"),
        ("wrap 'hello'", "hello"),
        ("wrap(('A'):rep(200), 75, 100)", "A" * 100 + "\r\n\t" + "A" * 100),
        (
            "wrap(('hello there '):rep(10), 75, 100)",
            " ".join(["hello there"] * 6) + "\r\n\t" + " ".join(["hello there"] * 4),
        ),
        ("wrap ''", ""),
    ],
)
def test_each_function_gives_what_rusts_does(lua: Callable[..., Any], call: str, gives: Any) -> None:
    assert lua(f"return (kumo.string.{call})") == [gives]


def test_the_module_can_be_required_as_kumomta_says(lua: Callable[..., Any]) -> None:
    assert lua("return require 'kumo.string' == kumo.string, require 'kumo.regex' == kumo.regex") == [True, True]


def test_wrong_arguments_are_named(refused: Callable[..., list[str]]) -> None:
    assert refused(
        "kumo.string.split(nil, ' ')",
        "kumo.string.splitn('a', -1, ' ')",
        "kumo.string.replacen('a', 'b', 'c', 1.5)",
        "kumo.string.trim('a', 'b')",
        "kumo.string.wrap('a', 100, 10)",
        "kumo.string.replace(('a'):rep(40000), '', ('b'):rep(40000))",
    ) == [
        "kumo.string.split: argument 1: expected a text, got nil",
        "kumo.string.splitn: argument 2: expected a whole number >= 0, got -1",
        "kumo.string.replacen: argument 4: expected a whole number >= 0, got 1.5",
        "kumo.string.trim: takes 1 argument, got 2",
        "kumo.string.wrap: the limits must be whole numbers with 0 < soft <= hard",
        "kumo.string.replace: the result would be longer than 256 MiB",
    ]


def test_a_function_that_is_not_here_is_said_by_name(host: Callable[[str], Inside]) -> None:
    running = host(
        "kumo.on('go', function() return select(2, pcall(function() return kumo.string.psl_domain end)) end)"
    )

    assert "kumo.string.psl_domain does not exist in this host" in running.host.call("go")[0]
