"""`kumo.cidr.make_map`: the longest prefix wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MAP = "{ ['10.0.0.0/8'] = 'ten', ['10.1.0.0/16'] = 'one', ['10.1.2.3'] = 'host', ['2001:db8::/32'] = 'doc', ['::/0'] = 'six' }"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("10.9.9.9", "ten"),
        ("10.1.9.9", "one"),
        ("10.1.2.3", "host"),
        ("10.1.2.3:25", "host"),
        ("::ffff:10.1.2.3", "host"),
        ("11.0.0.1", None),
        ("2001:db8::1", "doc"),
        ("[2001:db8::1]:587", "doc"),
        ("[2001:db8::1]", "doc"),
        ("fe80::1%eth0", "six"),
        ("10.1.2.3:smtp", None),
        ("[2001:db8::1]x", None),
        ("no address", None),
    ],
)
def test_a_look_up_gives_the_longest_prefix(key: str, value: str | None, lua: Callable[..., Any]) -> None:
    assert lua(f"return (kumo.cidr.make_map {MAP})[...] or 'none'", key) == [value or "none"]


def test_networks_are_added_and_hold_any_value(lua: Callable[..., Any]) -> None:
    body = "local m = kumo.cidr.make_map()\nm['0.0.0.0/0'] = { a = 1 }\nm['1.2.3.4/24'] = false\nreturn m['9.9.9.9'].a, m['1.2.3.9'], m[5]"

    assert lua(body) == [1, False, None]


def test_what_is_no_network_is_refused(refused: Callable[..., list[str]]) -> None:
    first, second, third = refused(
        "kumo.cidr.make_map { ['10.0.0.0/99'] = 1 }", "kumo.cidr.make_map { 1 }", "kumo.cidr.make_map(5)"
    )

    assert first.startswith("kumo.cidr.make_map: '10.0.0.0/99' does not appear to be an IPv4 or IPv6 network")
    assert second == "kumo.cidr.make_map: expected a network such as '10.0.0.0/8' as key, got a number"
    assert third == "kumo.cidr.make_map: expected a table of networks, got a number"
