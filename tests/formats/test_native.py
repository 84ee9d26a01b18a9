"""The native format: lossless, in the order of a query's row, one line whatever the event holds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.formats.native import FORMAT, ROW_FIELDS, row
from tests.strategies import events
from tests.support import event


@settings(max_examples=300, deadline=None)
@given(events())
def test_an_event_reads_back_from_its_line(e: Event) -> None:
    assert FORMAT.decode(FORMAT.encode(e)) == e


@settings(max_examples=200, deadline=None)
@given(events())
def test_a_line_is_the_same_when_it_is_written_again(e: Event) -> None:
    line = FORMAT.encode(e)

    assert FORMAT.encode(FORMAT.decode(line)) == line


@settings(max_examples=200, deadline=None)
@given(events())
def test_an_event_is_one_line_with_fields_in_the_order_of_a_row(e: Event) -> None:
    line = FORMAT.encode(e)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert list(row(e, 5)) == [f for f in ROW_FIELDS if f in row(e, 5)]


def test_absent_fields_are_left_out() -> None:
    line = json.loads(FORMAT.encode(event(id="x", description="")))

    assert list(line) == ["id", "node", "time", "kind", "type", "severity"]


def test_all_fields_stand_in_the_order_of_the_contract() -> None:
    full = event(
        outcome="ok", user="u", host="h", peer="p", resource="r", privilege="GET", scope="s", session_type="t",
        module="m", tag="g", source="src", auth_info=AuthInfo("::1", (Identity("a", "GenericAuth"),), ("g",)),
        detail={"k": 1}, metadata={"k": ["v"]},
    )  # fmt: skip

    assert " ".join(row(full, 1)) == (
        "id seq node time kind type severity outcome user host peer resource privilege scope session_type module tag "
        "source description auth_info detail metadata"
    )


def test_texts_that_json_cannot_hold_are_written_and_not_lost() -> None:
    line = FORMAT.encode(event(user="\ud800", detail={"x": float("nan"), "y": 1 << 80}))

    decoded = FORMAT.decode(line)
    assert decoded.user == "\\ud800"
    assert decoded.detail == {"x": "nan", "y": str(1 << 80)}


def test_an_authentication_that_json_cannot_hold_is_written_and_not_lost() -> None:
    line = FORMAT.encode(event(auth_info=AuthInfo("\udcff", (Identity("\ud800", "GenericAuth"),), ("\udc80",))))

    assert FORMAT.decode(line).auth_info


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"null", b"{", b"\xff", b'{"id":1}', b"[" * 100_000,
        b'{"id":"a","node":"","time":"yesterday","kind":"custom","type":"t","severity":"INFO"}',
    ],
)  # fmt: skip
def test_bytes_that_are_no_record_raise_a_decode_fault(line: bytes) -> None:
    with pytest.raises(DecodeFault):
        FORMAT.decode(line)


@settings(max_examples=200, deadline=None)
@given(events())
def test_no_beginning_of_a_line_is_taken_for_a_record(e: Event) -> None:
    line = FORMAT.encode(e)

    with pytest.raises(DecodeFault):
        FORMAT.decode(line[:-2])
    with pytest.raises(DecodeFault):
        FORMAT.decode(line[: len(line) // 2])
