"""`kumo.regex.*`: KumoMTA's documented results, Rust's rules at the edges, and the bound on every search."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from kumoaudit.runtime import patterns
from tests.policies import Inside


@pytest.mark.parametrize(
    ("pattern", "call", "gives"),
    [
        (r"'([^']+)'\s+\((\d{4})\)", "captures [[x 'Citizen Kane' (1941).]]", {"0": "'Citizen Kane' (1941)", "1": "Citizen Kane", "2": "1941"}),
        (r"'(?<title>[^']+)'", "captures [['Kane']]", {"0": "'Kane'", "1": "Kane", "title": "Kane"}),
        (r"(?P<a>x)|(y)", "captures 'y'", {"0": "y", "2": "y"}),
        ("x", "captures 'y'", None),
        ("oo", "is_match 'foo'", True),
        ("^oo", "is_match 'foo'", False),
        ("o+", "find 'fooood'", "oooo"),
        ("o+", "find 'x'", None),
        (r"\b\w{13}\b", "find_all 'Retroactively relinquishing remunerations is reprehensible.'", ["Retroactively", "relinquishing", "remunerations", "reprehensible"]),
        ("x*", "find_all 'xab'", ["x", "", ""]),
        ("z", "find_all 'x'", []),
        ("[^01]+", "replace('1078910', '')", "1010"),
        (r"(?P<last>[^,\s]+),\s+(?P<first>\S+)", "replace('Springsteen, Bruce', '$first $last')", "Bruce Springsteen"),
        ("(a)", "replace('a', '[$1a][${1}a][$$][$9][$]')", "[][aa][$][][$]"),
        ("a", "replace('aaa', 'b')", "baa"),
        ("a", "replace_all('aaa', 'b')", "bbb"),
        ("a", "replacen('aaa', 2, 'b')", "bba"),
        ("a", "replacen('aaa', 0, 'b')", "bbb"),
        ("[ \\t]+", "split 'a b \\t  c\\td    e'", ["a", "b", "c", "d", "e"]),
        ("(,)", "split 'a,b,'", ["a", "b", ""]),
        (r"a$", "is_match 'a\\n'", False),
        (r"(?m)a$", "is_match 'a\\nb'", True),
        (r"a\z", "is_match 'a\\n'", False),
        (r"a\Z", "is_match 'a\\n'", True),
        (r"[a-z&&[^aeiou]]+", "find 'aabcde'", "bcd"),
        (r"[[:digit:]$]+", "find 'a1$'", "1$"),
        (r"[]a]+", "find 'x]a'", "]a"),
        (r"\x{e9}\h[\h]", "find 'éfF'", "éfF"),
        (r"\p{Lu}(?i)x", "find 'ÉX'", "ÉX"),
        (r"(\w)\1", "find 'abccd'", "cc"),
        (r"(?<=a)b(?!c)", "find_all 'abc ab b'", ["b"]),
        ("é.", "find 'é\\255'", "é\\xff"),
    ],
)  # fmt: skip
def test_a_pattern_finds_what_it_finds_in_kumomta(lua: Callable[..., Any], pattern: str, call: str, gives: Any) -> None:
    found = lua(f"local re = kumo.regex.compile [=[{pattern}]=]\nreturn (re:{call})")

    assert found == ([] if gives is None else [gives])


def test_an_escaped_text_matches_itself(lua: Callable[..., Any]) -> None:
    text = r"a.b*c(d)[e]{1}^$|\+?#&-~ é"

    assert lua(f"local t = [=[{text}]=]\nreturn kumo.regex.compile('^' .. kumo.regex.escape(t) .. '$'):find(t)") == [
        text
    ]


def test_what_does_not_compile_is_said_with_its_line(refused: Callable[..., list[str]]) -> None:
    assert refused(
        "kumo.regex.compile '('",
        "kumo.regex.compile '[a'",
        "kumo.regex.compile '\\\\p{Nope}'",
        "kumo.regex.compile '\\\\x{110000}'",
        "kumo.regex.compile(nil)",
        "kumo.regex.compile('a').find('a')",
        "kumo.regex.compile('a'):find(nil)",
        "kumo.regex.compile('a'):replacen('a', -1, 'b')",
        "kumo.regex.compile('a'):replace('a')",
    ) == [
        "kumo.regex.compile: missing )",
        "kumo.regex.compile: unterminated character set",
        "kumo.regex.compile: unknown property",
        "kumo.regex.compile: \\x{110000} is no character",
        "kumo.regex.compile: expected a pattern as text, got nil",
        "regex:find: call it as regex:find(...), with a colon",
        "regex:find: expected a text, got nil",
        "regex:replacen: the limit must be a whole number >= 0",
        "regex:replace: expected a replacement as text, got nil",
    ]


def test_a_pattern_that_backtracks_without_end_is_stopped(refused: Callable[..., list[str]]) -> None:
    short, long = refused(
        "kumo.regex.compile '(a|aa)+$' :is_match(('a'):rep(59) .. '!')",
        "kumo.regex.compile '(a|aa)+$' :is_match(('a'):rep(4999) .. '!')",
    )

    assert short.startswith("regex:is_match: no answer within 0.1 s on a text of 60 bytes\n")
    assert long.startswith("regex:is_match: no answer within 1 s on a text of 5000 bytes\n")


def test_other_handlers_run_while_a_long_text_is_searched(
    host: Callable[[str], Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(self: patterns.Pattern, text: str, limit_s: float) -> bool:
        begun.set()
        assert go_on.wait(60)
        return True

    monkeypatch.setattr(patterns.Pattern, "is_match", slow)
    running = host(
        "kumo.on('slow', function() return (kumo.regex.compile 'a' :is_match(('b'):rep(5000))) end)\n"
        "kumo.on('other', function() return 7 end)"
    ).host
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(running.call("slow")))
    thread.start()
    assert begun.wait(60)
    assert running.call("other") == [7]
    go_on.set()
    thread.join(60)

    assert results == [True]
