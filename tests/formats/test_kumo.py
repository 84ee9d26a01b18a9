"""KumoMTA's accounting records: its lines are read and written byte for byte, ours beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from kumoaudit.core.errors import DecodeFault
from kumoaudit.core.event import Event
from kumoaudit.formats.kumo import KumoFormat
from tests.strategies import events
from tests.support import event, vectors

KUMO = KumoFormat()
RECORDS = vectors("kumomta_acl.json")["records"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r["name"])
def test_records_of_kumomta_are_written_as_they_were_read(record: dict[str, Any]) -> None:
    line = record["line"].encode() + b"\n"

    assert KUMO.encode(KUMO.decode(line)) == line


def test_a_failed_login_is_read_with_who_tried_it_and_from_where() -> None:
    line = next(r["line"] for r in RECORDS if r["name"] == "authn-fail-sample")

    e = KUMO.decode(line.encode())

    assert (e.kind, e.type, e.outcome, e.user, e.peer) == ("authn", "Authentication", "fail", "daniel", "127.0.0.1")
    assert e.time_ns % 1_000_000_000 == 798_373_949
    assert e.id == ""


@settings(max_examples=300, deadline=None)
@given(events())
def test_a_line_is_the_same_when_it_is_written_again(e: Event) -> None:
    line = KUMO.encode(e)

    assert KUMO.encode(KUMO.decode(line)) == line


@settings(max_examples=200, deadline=None)
@given(events())
def test_a_reader_that_knows_only_kumomtas_fields_finds_them_first_and_all(e: Event) -> None:
    record = json.loads(KUMO.encode(e))

    if e.type == "Authentication":
        wanted = ["type", "timestamp", "attempted_identity", "success", "auth_info"]
    elif e.type == "Authorization":
        wanted = ["type", "timestamp", "target_resource", "privilege", "access", "matching_resource", "rule"]
        wanted += ["auth_info", "considered_resources"]
    else:
        wanted = ["id"]
    assert list(record)[: len(wanted)] == wanted


def test_other_events_are_native_lines_beside_them() -> None:
    e = event(user="eve", detail={"a": 1})

    assert KUMO.decode(KUMO.encode(e)) == e


def test_a_native_line_that_mentions_a_record_of_kumomta_stays_native() -> None:
    e = event(id="x", node="Authentication")

    assert KUMO.decode(KUMO.encode(e)) == e


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b'{"type":"Authentication"}', b'{"type":"Authorization","timestamp":"x"}',
        b'{"type":"Authentication","timestamp":"never","attempted_identity":{"identity":"a","context":"GenericAuth"},'
        b'"success":true,"auth_info":{}}',
    ],
)  # fmt: skip
def test_bytes_that_are_no_record_raise_a_decode_fault(line: bytes) -> None:
    with pytest.raises(DecodeFault):
        KUMO.decode(line)
