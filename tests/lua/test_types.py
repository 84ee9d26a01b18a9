"""The signature files for editors (`lua/types`) say exactly what a policy can call, and every option with its name."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from kumoaudit.access.listener import ListenerOptions
from kumoaudit.dialects.kumo import AcctLogOptions
from kumoaudit.dialects.native import HostOptions, LogOptions, SharedOptions
from kumoaudit.dialects.tarantool import FIELDS
from kumoaudit.runtime.api.memoize import MemoizeOptions
from kumoaudit.runtime.api.socket import SocketOptions
from tests.policies import run_policy

TYPES = Path(__file__).resolve().parents[2] / "lua" / "types"

# Walks what a policy sees; names that begin with an underscore are the host's own.
WALK = """
local function walk(path, t)
  for k, v in pairs(t) do
    if type(k) == 'string' and k:sub(1, 1) ~= '_' then
      local name = path .. '.' .. k
      if type(v) == 'table' and v ~= kumo.null then
        walk(name, v)
      else
        print(name)
      end
    end
  end
end
kumo.on('main', function()
  walk('kumo', kumo)
  walk('audit', audit)
  for k, v in pairs(getmetatable(kumo.time.now()) and { 'year', 'elapsed', 'format' }) do
    assert(kumo.time.now()[v] ~= nil)
  end
  local utils = require 'policy-extras.policy_utils'
  walk('utils', utils)
  local logger = audit.new {}
  for _, name in ipairs { NAMES } do
    print((type(logger[name]) == 'function' and 'Logger:' or 'missing Logger:') .. name)
  end
end)
"""

DECLARED = re.compile(
    r"^function ((?:kumo|audit|utils)\.[\w.]+)\(|^((?:kumo|audit)\.[\w.]+) = (?:''|\{\})", re.MULTILINE
)
METHODS = re.compile(r"^function (\w+):(\w+)\(", re.MULTILINE)
FIELD = re.compile(r"^---@field (\w+)(\??) (\S.*)$")


def files() -> dict[str, str]:
    return {f.name: f.read_text() for f in sorted(TYPES.glob("*.lua"))}


def classes() -> dict[str, dict[str, tuple[bool, str]]]:
    """Class -> field -> (may be left out, the rest of its line), with the fields of its parents."""
    out: dict[str, dict[str, tuple[bool, str]]] = {}
    name = ""
    for text in files().values():
        for line in text.splitlines():
            if m := re.match(r"---@class ([\w.]+)(?:: ([\w.]+))?", line):
                name = m[1]
                out[name] = dict(out[m[2]]) if m[2] else {}
            elif m := FIELD.match(line):
                out[name][m[1]] = (bool(m[2]), m[3])
    return out


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names that the real host gives to a policy."""
    methods = [m for kind, m in METHODS.findall(files()["audit.lua"]) if kind == "Logger"]
    source = WALK.replace("NAMES", ", ".join(f"'{m}'" for m in methods))
    ran = run_policy(tmp_path_factory.mktemp("walk"), source, script_args=())
    assert ran.code == 0, ran.err
    return ran.out.splitlines()


def test_every_name_that_the_host_exports_has_its_signature_and_no_other(offered: list[str]) -> None:
    declared = {a or b for text in files().values() for a, b in DECLARED.findall(text)}
    groups = {n for n in declared if any(other.startswith(n + ".") for other in declared)}
    exported = {n for n in offered if "Logger:" not in n}

    assert sorted(exported - declared) == []
    assert sorted(declared - groups - exported) == []


def test_every_method_of_a_logger_exists(offered: list[str]) -> None:
    assert [n for n in offered if n.startswith("missing")] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kumo.SharedLogOptions", SharedOptions),
        ("kumo.aaa.AcctLogOptions", AcctLogOptions),
        ("kumo.audit.LogOptions", LogOptions),
        ("kumo.audit.HostOptions", HostOptions),
        ("kumo.MemoizeOptions", MemoizeOptions),
        ("kumo.audit.SocketOptions", SocketOptions),
        ("kumo.HttpListenerOptions", ListenerOptions),
    ],
)
def test_every_option_stands_there_with_its_default(name: str, options: type[msgspec.Struct]) -> None:
    documented = classes()[name]
    fields = {f.name: f for f in msgspec.structs.fields(options)}

    assert sorted(documented) == sorted(fields)
    for field in fields.values():
        is_optional, text = documented[field.name]
        assert is_optional == (not field.required), field.name
        assert not is_optional or "default " in text, f"{name}.{field.name} names no default"


def test_the_fields_of_an_event_are_the_ones_that_are_accepted() -> None:
    assert sorted(classes()["audit.Fields"]) == sorted(FIELDS)


def test_each_file_is_a_meta_file_that_runs_nothing() -> None:
    for name, text in files().items():
        assert text.startswith("---@meta"), name
        for line in text.splitlines():
            assert re.match(
                r"(---|-- |--$|$|function .* end$|local \w+ = \{\}$|[\w.]+ = (\{\}|''|false)$|return \w+$)", line
            ), f"{name}: {line}"
