"""Names of resources (KumoMTA, section 4): the sequences, the edges, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.access.address import canonical_socket
from kumoaudit.access.resource import (
    MAX_PARTS,
    Resource,
    http_url_resource,
    named_resource,
    names_for,
    normalised,
    path_of,
)
from tests.support import vectors

A = "127.0.0.1:8080"
BOUND = f"http_listener/{A}"


@pytest.mark.parametrize("case", vectors("kumomta_acl.json")["resource_sequences"], ids=lambda c: c["name"])
def test_the_names_are_those_of_kumomta(case: dict[str, Any]) -> None:
    assert list(http_url_resource(case["local_addr"], case["url"]).names) == case["sequence"]


@pytest.mark.parametrize(
    ("url", "tails"),
    [
        ("/", ["/"]),
        ("/foo/", ["/foo/", "/foo"]),
        ("/foo//bar", ["/foo//bar", "/foo/", "/foo"]),
        ("//foo", ["//foo", "/"]),
        ("*", ["/"]),
        ("https://h", ["/"]),
        ("https://h?x", ["/"]),
        ("https://h#x", ["/"]),
        ("https://user:pass@h:8443/a?b#c", ["/a"]),
        ("http://[::1]:80/a", ["/a"]),
        ("https://[fe80::1]/a", ["/a"]),
        ("/a/../b/./c", ["/a/../b/./c", "/a/../b/.", "/a/../b", "/a/..", "/a"]),
        ("/A%2fb;v=1", ["/A%2fb;v=1"]),
        ("/a?b=/c/d", ["/a"]),
        ("/a#b", ["/a"]),
        ("/é", ["/é"]),
        ('/{"a":1}', ['/{"a":1}']),
    ],
)
def test_a_path_is_taken_as_it_came(url: str, tails: list[str]) -> None:
    wanted = [BOUND + t for t in tails] + [BOUND] + [f"http_listener/*{t}" for t in tails] + ["http_listener"]

    assert list(http_url_resource(A, url).names) == wanted


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "the URL is empty"),
        ("example.com", "has no path"),
        ("localhost:80", "has no path"),
        ("host/path", "without a scheme"),
        ("/a b", "cannot stand in the path"),
        ("a b", "a space"),
        ("/a\nb", "cannot stand in the path"),
        ("/a<b", "cannot stand in the path"),
        ("/a?b c", "cannot stand in the query"),
        ("/a\udc80", "cannot stand in the path"),
        ("https:///path", "no valid host"),
        ("https://", "no valid host"),
        ("https://h h/", "no valid host"),
        ("?x", "has no path"),
    ],
)
def test_a_url_that_names_no_path_is_refused(url: str, said: str) -> None:
    """KumoMTA crashes on a bare authority (section 2.4); here it is an error that says what to write."""
    with pytest.raises(ValueError) as e:
        http_url_resource(A, url)
    assert said in str(e.value)


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8000", "0.0.0.0:8000"),
        ("127.0.0.1:08080", "127.0.0.1:8080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[0:0::1]:8000", "[::1]:8000"),
        ("[::FFFF:10.0.0.1]:80", "[::ffff:10.0.0.1]:80"),
        ("[2001:DB8:0:0:1::]:80", "[2001:db8:0:0:1::]:80"),
        ("[fe80::1%2]:80", "[fe80::1%2]:80"),
        ("[fe80::1%0]:80", "[fe80::1]:80"),
    ],
)
def test_an_address_is_printed_in_one_form(given_: str, canonical: str) -> None:
    assert canonical_socket(given_) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "localhost:80", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.01:80", "1.2.3:80", "::1:80", "[::1]",
        "::1", " 127.0.0.1:80", "127.0.0.1:8 0", "127.0.0.1:+80", "127.0.0.1:8_0", "127.0.0.1:\u0661", "[1.2.3.4]:80",
        "", ":80", "*:80", "127.0.0.1:80\n", "127.0.0.1:" + "9" * 5000, "256.0.0.1:80",
    ],
)  # fmt: skip
def test_an_address_without_its_port_or_not_strict_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address with a port"):
        http_url_resource(text, "/")


def test_a_missing_port_is_shown_how_to_write() -> None:
    with pytest.raises(ValueError, match=r"\[::1\]:8000$"):
        canonical_socket("0::1")


def test_a_path_is_cut_at_256_bytes_on_the_border_of_a_character() -> None:
    exact = "/" + "a" * 255
    assert http_url_resource(A, exact) == names_for(A, exact)
    assert not http_url_resource(A, exact).is_cut

    r = http_url_resource(A, exact + "b")
    assert (r.names[0], r.is_cut, r.is_exact, r.raw_path) == (BOUND + exact, True, False, exact + "b")

    torn = http_url_resource(A, "/" + "a" * 254 + "é")
    assert (torn.names[0], torn.is_cut) == (BOUND + "/" + "a" * 254, True)


def test_only_ten_parts_count() -> None:
    ten = "/" + "/".join("abcdefghij")
    assert not http_url_resource(A, ten).is_cut

    r = http_url_resource(A, ten + "/k/l")
    assert (r.names[0], r.is_cut, r.is_exact) == (BOUND + ten, True, False)
    assert len(r.names) == 2 * MAX_PARTS + 2


def test_a_path_that_is_its_own_name_need_not_be_told() -> None:
    assert http_url_resource(A, "/a//b/").is_exact
    star = http_url_resource(A, "*")
    assert (star.raw_path, star.is_exact, star.is_cut) == ("*", False, False)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/a/b", "/a/b"),
        ("//a///b/", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/%61dmin", "/admin"),
        ("/%2e%2E/admin", "/admin"),
        ("/x/%2e%2e/admin", "/admin"),
        ("/a%2fb", "/a%2Fb"),
        ("/%7euser", "/~user"),
        ("/%252e", "/%252e"),
        ("/%zz%", "/%zz%"),
        ("/%c3%a9", "/%C3%A9"),
        ("/...", "/..."),
        ("/", "/"),
        ("*", "/"),
    ],
)
def test_the_normalised_variant_is_what_a_server_would_serve(path: str, wanted: str) -> None:
    assert normalised(path) == wanted


def test_a_normalised_resource_keeps_the_path_as_it_came() -> None:
    r = http_url_resource(A, "/x/%2e%2e/api//admin?q", normalise=True)

    assert (r.names[0], r.raw_path, r.is_exact) == (f"{BOUND}/api/admin", "/x/%2e%2e/api//admin", False)
    assert http_url_resource(A, "/api", normalise=True).is_exact


@given(st.text("/.%2eEa", max_size=12))
def test_normalising_a_second_time_changes_nothing_unless_it_was_encoded_twice(text: str) -> None:
    once = normalised("/" + text)

    assert once.startswith("/")
    assert "//" not in once
    assert not {".", ".."} & set(once.split("/"))
    if "%" not in once:
        assert normalised(once) == once


@given(
    st.text(
        st.characters(min_codepoint=0x21, exclude_categories=("Cs",), exclude_characters='?#<>`^\x7f"'), max_size=400
    )
)
def test_every_path_has_the_names_of_the_walk(text: str) -> None:
    path = path_of("/" + text)
    r = names_for(A, path)

    n = r.names.index(BOUND)
    assert r.names[-1] == "http_listener"
    assert len(r.names) == 2 * n + 2
    assert 1 <= n <= MAX_PARTS
    assert len(r.names[0].removeprefix(BOUND).encode()) <= 256
    assert [x.removeprefix(BOUND) for x in r.names[:n]] == [
        x.removeprefix("http_listener/*") for x in r.names[n + 1 : -1]
    ]
    assert all(longer.startswith(shorter + "/") for longer, shorter in zip(r.names, r.names[1:n], strict=False))
    assert r.is_exact == (r.names[0] == BOUND + path)
    assert r.is_exact or r.is_cut


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (f"{BOUND}/a/b", 6), (f"{BOUND}/", 4), ("http_listener/*/a", 1), ("http_listener", 1), (BOUND, 1), ("billing/x", 1),
        ("http_listener/host:80/a", 1),
    ],
)  # fmt: skip
def test_a_name_of_a_listener_has_its_parents_and_any_other_stands_alone(name: str, count: int) -> None:
    assert named_resource(name).names[0] == name
    assert len(named_resource(name).names) == count


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        named_resource("")


def test_a_resource_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Resource(("a",), "/a").raw_path = "/b"  # type: ignore[misc]
