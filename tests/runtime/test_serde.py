"""`kumo.serde`: JSON, TOML and YAML into Lua and back (KumoMTA section 6)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.runtime import toml_writer
from kumoaudit.runtime.parsers import NotParsed, parse_json
from tests.policies import run_policy

Lua = Callable[..., Any]


def test_a_policy_loads_its_files_relative_to_the_working_directory(tmp_path: Path) -> None:
    """KumoMTA section 6.2; the real command, started elsewhere than where the policy lies."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "users.toml").write_text("[alice]\nroles = ['ops', 'dev']\nsince = 2026-11-20\n")
    (tmp_path / "a.json").write_text('{ "empty": [], "nothing": null } // the end')
    (tmp_path / "a.yaml").write_text("on: yes\nlist: [1, 2]\n")
    (tmp_path / "etc" / "policy.lua").write_text("")
    ran = run_policy(
        tmp_path,
        """
        local utils = require 'policy-extras.policy_utils'
        kumo.on('main', function()
          local users = kumo.serde.toml_load 'users.toml'
          print(users.alice.roles[2], users.alice.since, #users.alice.roles)
          print(utils.dumps(utils.load_json_or_toml_file 'a.json'))
          print(kumo.json_encode(utils.load_json_or_toml_file 'a.yaml'))
          print(kumo.serde.json_encode(kumo.json_load 'a.json'))
          local t = kumo.toml_load 'missing.toml'
        end)
        """,
        script_args=(),
    )

    assert ran.out.splitlines() == [
        "dev\t2026-11-20\t2",
        "{",
        '  ["empty"] = {},',
        '  ["nothing"] = null',
        "}",
        '{"list":[1,2],"on":"yes"}',
        '{"empty":[],"nothing":null}',
    ]
    assert ran.code == 1
    assert "policy.lua:9: kumo.serde.toml_load: reading file missing.toml: no such file or directory" in ran.err


def test_comments_are_allowed_in_json_and_are_no_comments_inside_texts(lua: Lua) -> None:
    assert lua(
        "return kumo.serde.json_parse(...)",
        '# one\n{ // two\n "a": "// no # comment /* here */", /* three\n lines */ "b": [1, 2] # four\n}',
    ) == [{"a": "// no # comment /* here */", "b": [1, 2]}]


def test_lists_nulls_and_bytes_survive_the_way_in_and_out(lua: Lua) -> None:
    assert lua(
        r"""
        local t = kumo.serde.json_parse [[{"empty":[],"map":{},"null":null,"in":[null,[],{}],"text":"a\u00e9\u0000b"}]]
        local raw = kumo.serde.json_parse '["a\255b"]'
        return kumo.serde.json_encode(t), t.null == kumo.null, tostring(t['in'][1]), #t.text, raw[1] == 'a\255b',
          kumo.serde.json_encode(raw), kumo.serde.json_parse 'null' == nil
        """
    ) == [
        '{"empty":[],"in":[null,[],{}],"map":{},"null":null,"text":"aé\\u0000b"}',
        True,
        "null",
        5,
        True,
        '["a\\\\xffb"]',
        True,
    ]


def test_no_digit_of_a_number_is_lost(lua: Lua) -> None:
    """What a Lua number cannot hold comes as a text; 64-bit integers of the policy go out with all digits."""
    assert lua(
        """
        local t = kumo.serde.json_parse '[9007199254740992, 9007199254740993, 123456789012345678901234567890, 0.1, 1e300]'
        return t, kumo.serde.json_encode(t), kumo.serde.json_encode { 18446744073709551615ULL, -9223372036854775807LL, 1/3, 1e20 }
        """
    ) == [
        [9007199254740992, "9007199254740993", "123456789012345678901234567890", 0.1, 1e300],
        '[9007199254740992,"9007199254740993","123456789012345678901234567890",0.1,1e+300]',
        "[18446744073709551615,-9223372036854775807,0.3333333333333333,1e+20]",
    ]


def test_pretty_json_is_indented_and_sorted(lua: Lua) -> None:
    assert lua("return kumo.serde.json_encode_pretty { b = { 1, 'x' }, a = kumo.array() }") == [
        '{\n  "a": [],\n  "b": [\n    1,\n    "x"\n  ]\n}'
    ]


def test_toml_has_its_three_layouts(lua: Lua) -> None:
    value = "{ z = 1, list = { 1, 2 }, t = { empty = {}, ['a b'] = true }, rows = { { x = 1 }, { x = 2 } } }"

    compact, pretty, dense = lua(
        f"local v = {value}\n"
        "return kumo.serde.toml_encode(v), kumo.serde.toml_encode_pretty(v), kumo.serde.toml_encode_pretty_compact(v)"
    )

    assert compact == ('list = [1, 2]\nz = 1\n\n[[rows]]\nx = 1\n\n[[rows]]\nx = 2\n\n[t]\n"a b" = true\n\n[t.empty]\n')
    assert pretty == compact.replace("[1, 2]", "[\n    1,\n    2,\n]")
    assert dense == pretty.replace('"a b" = true\n\n[t.empty]\n', '"a b" = true\nempty = {}\n')


def test_yaml_is_version_1_2(lua: Lua) -> None:
    assert lua(
        r"""
        local t = kumo.serde.yaml_parse 'a: yes\nb: 1:30\nc: {}\nd: []\ne: ~\nf: 2026-11-20T08:41:02Z\n2: two\ng: &x [1]\nh: *x\n'
        return t, kumo.serde.yaml_encode { a = { 1, 'yes', 'true' }, b = kumo.null }, t.g == t.h
        """
    ) == [
        {
            "2": "two", "a": "yes", "b": "1:30", "c": {}, "d": [], "e": None, "f": "2026-11-20T08:41:02Z", "g": [1], "h": [1],
        },
        "a:\n- 1\n- yes\n- 'true'\nb: null\n",
        True,
    ]  # fmt: skip


def test_errors_name_the_place_in_the_text_and_the_line_of_the_policy(refused: Callable[..., list[str]]) -> None:
    assert refused(
        'kumo.serde.json_parse \'{ "a": 1,\\n "b": }\'',
        "kumo.serde.json_parse '[1, /* no end'",
        "kumo.serde.json_parse '[NaN]'",
        "kumo.serde.json_parse(('['):rep(100000))",
        "kumo.serde.toml_parse 'a = 1\\nb = \\n'",
        "kumo.serde.toml_parse 'a = [1'",
        "kumo.serde.toml_parse 'a = \"\\255\"'",
        "kumo.serde.yaml_parse 'a: [1\\nb: 2'",
        "kumo.serde.yaml_parse 'a: 1\\na: 2'",
        "kumo.serde.yaml_parse '&a [*a]'",
        "kumo.serde.json_load '.'",
        "kumo.serde.json_parse()",
        "kumo.serde.json_encode { users = { { check = print } } }",
        "kumo.serde.json_encode { ['a b'] = 0/0 }",
        "kumo.serde.json_encode((function() local t = {}; t.t = t; return t end)())",
        "kumo.serde.json_encode { [1.5] = 1, ['1.5'] = 2 }",
        "kumo.serde.toml_encode { a = { kumo.null } }",
        "kumo.serde.toml_encode 'text'",
    ) == [
        "kumo.serde.json_parse: parsing the text as json: line 2 column 7: expecting value",
        "kumo.serde.json_parse: parsing the text as json: line 1 column 5: the comment does not end",
        "kumo.serde.json_parse: parsing the text as json: NaN is not JSON",
        "kumo.serde.json_parse: parsing the text as json: nested too deeply",
        "kumo.serde.toml_parse: parsing the text as toml: line 2 column 5: invalid value",
        "kumo.serde.toml_parse: parsing the text as toml: line 1 column 7: unclosed array",
        "kumo.serde.toml_parse: parsing the text as toml: line 1: byte 0xff is not UTF-8",
        "kumo.serde.yaml_parse: parsing the text as yaml: line 2 column 2: expected ',' or ']', but got ':'",
        'kumo.serde.yaml_parse: parsing the text as yaml: line 2 column 1: found duplicate key "a" with value "2" '
        '(original value: "1")',
        "kumo.serde.yaml_parse: parsing the text as yaml: nested too deeply",
        "kumo.serde.json_load: reading file .: is a directory",
        "kumo.serde.json_parse: expected one text, got nil",
        "kumo.serde.json_encode: .users[1].check: a function cannot be written",
        'kumo.serde.json_encode: ["a b"]: nan is not a number that can be written',
        "kumo.serde.json_encode: .t: the table holds itself",
        "kumo.serde.json_encode: [1.5]: the key is there twice, as a number and as a text",
        "kumo.serde.toml_encode: .a.1: TOML has no null; leave the key out",
        "kumo.serde.toml_encode: TOML needs a table with names at the top",
    ]


_PLAIN = st.recursive(
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), _PLAIN, max_size=5), st.booleans(), st.booleans())
def test_toml_reads_back_as_it_was_written(value: dict[str, Any], is_pretty: bool, inlines_empty: bool) -> None:
    text = toml_writer.dumps(value, is_pretty=is_pretty, inlines_empty=inlines_empty)

    assert tomllib.loads(text) == value


@given(_PLAIN)
def test_json_without_comments_is_what_pythons_parser_reads(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=40))
def test_hostile_bytes_are_read_or_refused_never_worse(raw: bytes) -> None:
    try:
        parse_json(raw)
    except NotParsed:
        pass


def test_an_alias_bomb_is_one_table_many_times(lua: Lua) -> None:
    """A short YAML text must not fill the memory."""
    text = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))

    assert lua("local t = kumo.serde.yaml_parse(...); return t.a59[1] == t.a59[2]", text) == [True]


@pytest.mark.parametrize(
    "name", ["json_load", "json_parse", "json_encode", "json_encode_pretty", "toml_load", "toml_parse"]
)
def test_the_older_names_are_the_same_functions(name: str, lua: Lua) -> None:
    assert lua(f"return kumo.{name} == kumo.serde.{name}") == [True]


def test_objects_of_the_host_are_written_by_what_they_stand_for(lua: Lua) -> None:
    assert lua(
        """
        local t = setmetatable({}, { __pack = function() return { print } end })
        local _, text = pcall(kumo.serde.json_encode, { x = t })
        return kumo.serde.toml_encode { at = kumo.time.from_unix_timestamp(0), hash = kumo.digest.crc32 'x' }, text:match '%.x.*'
        """
    ) == ['at = "1970-01-01T00:00:00+00:00"\nhash = "8cdc1683"\n', ".x[1]: a function cannot be written"]
