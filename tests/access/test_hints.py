"""What `check` says of an ACL map that is valid and does not do what it looks like."""

from __future__ import annotations

import pytest

from kumoaudit.access.aclmap import default_acl, load_acl_map
from kumoaudit.access.hints import warnings


def warned(resource: str, *, privileges: str = '["GET"]', who: str = 'identity = "Any"') -> list[str]:
    text = f"[[acl.'{resource}']]\nallow = true\nprivileges = {privileges}\n{who}\n"
    return [p.text() for p in warnings(load_acl_map(text, "acl.toml"))]


def test_the_built_in_map_has_nothing_to_warn_of() -> None:
    assert warnings(default_acl()) == []


@pytest.mark.parametrize(
    "resource",
    [
        "http_listener", "http_listener/*/", "http_listener/*/a", "http_listener/127.0.0.1:80", "http_listener/[::1]:80/a",
        "http_listener/127.0.0.1:80/", "billing", "http_listener/*/a//b", "http_listener/*/a/b/c/d/e/f/g/h/i/j", "é",
        "http_listener/*/%20",
    ],
)  # fmt: skip
def test_names_that_can_match_are_left_alone(resource: str) -> None:
    assert warned(resource) == []


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("http_listener/*", "did you mean 'http_listener'?"),
        ("http_listener/*/a/b/c/d/e/f/g/h/i/j/k", "only the first 10 parts"),
        ("http_listener/*/" + "a" * 256, "only the first 256 bytes"),
        ("http_listener/*/" + "é" * 128, "only the first 256 bytes"),
        ("http_listner/*/a", "did you mean 'http_listener/*/a'?"),
        ("HTTP_listener", "did you mean 'http_listener'?"),
        ("/api/admin", "did you mean 'http_listener/*/api/admin'?"),
        ("", "the name is empty"),
        ("http_listener/localhost:80/a", "'localhost:80' is no address with a port"),
        ("http_listener/127.0.0.1/a", "'127.0.0.1' is no address with a port"),
        ("http_listener/api/admin", "'api' is no address with a port"),
        ("http_listener/[0::1]:80/a", "did you mean 'http_listener/[::1]:80/a'?"),
        ("http_listener/127.0.0.1:080", "did you mean 'http_listener/127.0.0.1:80'?"),
        ("http_listener//a", "did you mean 'http_listener/*/a'?"),
        ("http_listener/*/a?b", "'?' cannot stand in a path"),
        ("http_listener/*/a b", "' ' cannot stand in a path"),
        ("http_listener/*/api/*", "a star in its path"),
        ("http_listener/*/api/", "does not cover what lies below it"),
    ],
)
def test_names_that_never_match_are_said(resource: str, said: str) -> None:
    (text,) = warned(resource)
    assert said in text
    assert text.startswith("acl.toml:1: ")


@pytest.mark.parametrize(
    ("privileges", "said"),
    [
        ('["GET "]', "did you mean 'GET'?"),
        ('[" GET"]', "never matches"),
        ('["get"]', "did you mean 'GET'?"),
        ('["*"]', "not a wildcard"),
        ('[""]', "is empty"),
        ('["GET,POST"]', 'did you mean privileges = ["GET", "POST"]?'),
        ('["GET POST"]', "is one privilege, not several"),
        ("[]", "has no privileges"),
        ('["GET", "GET"]', "names privilege 'GET' twice"),
    ],
)
def test_privileges_that_never_match_are_said(privileges: str, said: str) -> None:
    (text,) = warned("http_listener/*/a", privileges=privileges)
    assert said in text


@pytest.mark.parametrize("privileges", ['["get"]', '["read"]', '["read, write"]'])
def test_privileges_of_other_resources_are_the_policys_own(privileges: str) -> None:
    assert warned("billing", privileges=privileges) == []


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("criteria.AllOf = []", "an empty AllOf, which holds for everybody"),
        ("criteria.Not.AnyOf = []", "an empty AnyOf, which never holds"),
        ("identity.MachineSet = []", "an empty MachineSet"),
        ("identity.Group = '*'", "no wildcard"),
        ("criteria.AllOf = [{Identity.Individual = ''}]", "an empty Individual"),
    ],
)
def test_criteria_that_hold_for_nobody_or_everybody_are_said(who: str, said: str) -> None:
    (text,) = warned("http_listener/*/a", who=who)
    assert said in text


def test_a_resource_without_entries_is_said() -> None:
    (found,) = warnings(load_acl_map("[acl]\n\n'http_listener/*/a' = []\n", "acl.toml"))

    assert found.text().startswith("acl.toml:3: 'http_listener/*/a' has no entries")


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ('identity.Group = "a"', 'identity.Group = "a"', True),
        ('identity = "Any"', 'identity.Group = "a"', True),
        ("criteria.AllOf = [{Identity = 'Any'}]", 'identity.Group = "a"', True),
        ('identity.Group = "b"', 'identity.Group = "a"', False),
        ('identity.Group = "a"', 'identity = "Any"', False),
    ],
)
def test_a_rule_behind_one_that_takes_everything_is_said(first: str, second: str, is_hidden: bool) -> None:
    head = "[[acl.billing]]\nallow = true\nprivileges = ['GET']\n"
    found = warnings(load_acl_map(f"{head}{first}\n{head}{second}\n", "acl.toml"))

    assert [p.where for p in found] == (["acl.toml:5"] if is_hidden else [])
    assert all("the rule at acl.toml:1 takes every such request" in p.what for p in found)
