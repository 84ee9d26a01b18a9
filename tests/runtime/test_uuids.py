"""`kumo.uuid.*`: KumoMTA's documented object, and the layout of each version (RFC 9562)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

GIVEN = "69994630-3e27-11ef-91fc-cc28aa0a5c5a"


@pytest.mark.parametrize(
    "written",
    [GIVEN, GIVEN.upper(), "{" + GIVEN + "}", GIVEN.replace("-", ""), "urn:uuid:" + GIVEN],
)
def test_every_way_to_write_a_uuid_is_understood_and_given(lua: Callable[..., Any], written: str) -> None:
    assert lua(
        f"local u = kumo.uuid.parse '{written}'\n"
        "return tostring(u), u.hyphenated, u.simple, u.braced, u.urn, kumo.encode.base64url_nopad_encode(u.bytes), "
        "kumo.serde.json_encode { u }, u == kumo.uuid.parse(u.urn)"
    ) == [
        GIVEN,
        GIVEN,
        GIVEN.replace("-", ""),
        "{" + GIVEN + "}",
        "urn:uuid:" + GIVEN,
        "aZlGMD4nEe-R_MwoqgpcWg",
        f'["{GIVEN}"]',
        True,
    ]


@pytest.mark.parametrize("version", [1, 4, 6, 7])
def test_a_new_uuid_has_its_version_and_is_new(lua: Callable[..., Any], version: int) -> None:
    first, second = lua(f"return kumo.uuid.new_v{version}().hyphenated, kumo.uuid.new_v{version}().hyphenated")

    assert first != second
    assert (uuid.UUID(first).version, uuid.UUID(first).variant) == (version, uuid.RFC_4122)


def test_version_6_is_version_1_in_order_and_version_7_begins_with_the_time(lua: Callable[..., Any]) -> None:
    one, six, seven = lua("return kumo.uuid.new_v1().simple, kumo.uuid.new_v6().simple, kumo.uuid.new_v7().simple")
    number = uuid.UUID(six).int
    time = (number >> 80) << 12 | (number >> 64) & 0xFFF

    assert 0 <= time - uuid.UUID(one).time < 600 * 10_000_000
    assert int(seven[:12], 16) == 1_790_000_000_000  # the clock of the tests


def test_what_is_no_uuid_is_refused(refused: Callable[..., list[str]]) -> None:
    what = "kumo.uuid.parse: not a UUID; write it as 69994630-3e27-11ef-91fc-cc28aa0a5c5a"

    assert refused(
        "kumo.uuid.parse '69994630-3e27-11ef-91fc-cc28aa0a5c5'",
        f"kumo.uuid.parse '{GIVEN}0'",
        f"kumo.uuid.parse '{GIVEN.replace('9', 'g')}'",
        "kumo.uuid.parse '6 994630-3e27-11ef-91fc-cc28aa0a5c5a'",
        "kumo.uuid.parse()",
        "kumo.uuid.new_v4().size",
    ) == [
        what,
        what,
        what,
        what,
        "kumo.uuid.parse: expected a text, got nil",
        "a UUID has no field 'size'\n  fields: hyphenated, simple, braced, urn, bytes",
    ]
