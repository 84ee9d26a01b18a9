"""Marking `audit.log{...}` calls whose fields are all known: only what is understood completely, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.runtime.literals import mark_known_fields

M = b"_audit_fields_known"


@pytest.mark.parametrize(
    ("source", "marked"),
    [
        (b"audit.log{description='x}'}", b"audit.log({description='x}'}," + M + b")"),
        (b"audit.log({user = f(1, {2})})", b"audit.log({user = f(1, {2})}," + M + b")"),
        (b"audit.alarm\n{ user = t[1]; tag = [[ }, ]] }", b"audit.alarm(\n{ user = t[1]; tag = [[ }, ]] }," + M + b")"),
        (b"return audit.info { description = 'a' .. b, }", b"return audit.info( { description = 'a' .. b, }," + M + b")"),
        (b"local audit = require('audit') audit.log{tag=''}", b"local audit = require('audit') audit.log({tag=''}," + M + b")"),
        (b"local audit = require 'audit' audit.log{tag=''}", b"local audit = require 'audit' audit.log({tag=''}," + M + b")"),
    ],
)  # fmt: skip
def test_a_literal_with_known_fields_is_marked(source: bytes, marked: bytes) -> None:
    assert mark_known_fields(source) == marked


@pytest.mark.parametrize(
    "source",
    [
        b"audit.log{foo = 1}",
        b"audit.log{description = 'x', [k] = 1}",
        b"audit.log{'x'}",
        b"audit.log{description = function() end}",
        b"audit.log(t)",
        b"audit.log({description = 'x'}, 1)",
        b"audit.log{description = 'x'",
        b"x.audit.log{description = 'x'}",
        b"x:audit{description = 'x'}",
        b"audit.new{type = 'custom_a'}",
        b"local audit = mine audit.log{description = 'x'}",
        b"local a, audit = 1, 2 audit.log{description = 'x'}",
        b"local function f(audit) audit.log{description = 'x'} end",
        b"for audit in x do audit.log{description = 'x'} end",
        b"audit = nil audit.log{description = 'x'}",
        b"-- audit.log{description = 'x'}",
        b"--[[ audit.log{description = 'x'} ]]",
        b"s = 'audit.log{description = 1}'",
        b"s = [==[ audit.log{description = 1} ]==]",
    ],
)
def test_anything_else_is_left_alone(source: bytes) -> None:
    assert mark_known_fields(source) == source


@given(st.binary(max_size=300) | st.text(alphabet="audit.log{}(),;='\"[]- \nfunction", max_size=200).map(str.encode))
def test_no_source_makes_it_fail_or_moves_a_line(source: bytes) -> None:
    """What was inserted can be taken out again, and every line stays where it is."""
    marked = mark_known_fields(source)

    assert marked.count(b"\n") == source.count(b"\n")
    if marked == source:
        return
    assert len(marked) > len(source)
