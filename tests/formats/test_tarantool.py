"""Tarantool's json records: ten fields, always all, always in this order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import Event
from kumoaudit.formats.tarantool import RECORD_FIELDS, TarantoolJson
from tests.strategies import events
from tests.support import T0, event

TARANTOOL = TarantoolJson()


@settings(max_examples=300, deadline=None)
@given(events())
def test_a_line_is_the_same_when_it_is_written_again(e: Event) -> None:
    line = TARANTOOL.encode(e)

    assert TARANTOOL.encode(TARANTOOL.decode(line)) == line


@settings(max_examples=200, deadline=None)
@given(events())
def test_a_line_has_ten_texts_in_order(e: Event) -> None:
    line = TARANTOOL.encode(e)
    record = json.loads(line)

    assert line.count(b"\n") == 1
    assert tuple(record) == RECORD_FIELDS
    assert all(isinstance(v, str) for v in record.values())


def test_kind_and_outcome_follow_from_the_type() -> None:
    e = TARANTOOL.decode(TARANTOOL.encode(event(kind="authn", type="auth_fail", outcome="fail", severity="ALARM")))

    assert (e.kind, e.outcome, e.severity) == ("authn", "fail", "ALARM")


def test_time_is_kept_to_the_millisecond() -> None:
    assert TARANTOOL.decode(TARANTOOL.encode(event(time_ns=T0 + 123_456_789))).time_ns == T0 + 123_000_000


def test_members_are_separated_as_in_the_documentation() -> None:
    line = TARANTOOL.encode(event(id="26af0a7d-1052-490a-9946-e19eacc822c9", description='a "b"\n\u00e9'))

    assert b'", "uuid": "26af0a7d-1052-490a-9946-e19eacc822c9", "severity": "INFO", "remote": "", ' in line
    assert '"description": "a \\"b\\"\\n\u00e9"}\n'.encode() in line


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'{"time": "x", "uuid": "y"}', b"\xff\xfe"])
def test_bytes_that_are_no_record_raise_a_decode_fault(line: bytes) -> None:
    with pytest.raises(DecodeFault):
        TARANTOOL.decode(line)
