"""Command-line words -> Query: every option narrows, and what cannot be meant is refused with a fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import UsageError
from kumoaudit.core.predicate import Always, matches
from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.query.language import Asked, build_query, hint_for_nothing, split_words
from kumoaudit.segments.disk import RealDisk
from tests.support import SECOND, T0, event


def asks(target: str | None = None, **options: Any) -> Any:
    """A function that says whether the question takes an event with the given fields."""
    query = build_query(Asked(**options), target, T0)
    return lambda **fields: matches(query.where, event(**fields), 1)


def test_no_options_ask_for_everything_newest_first() -> None:
    query = build_query(Asked(), None, T0)

    assert isinstance(query.where, Always)
    assert query.newest_first
    assert (query.since_ns, query.until_ns, query.limit) == (None, None, None)


def test_options_of_one_kind_are_alternatives_and_different_ones_must_all_hold() -> None:
    taken = asks(user=("eve", "bob"), outcome=("deny",))

    assert taken(user="eve", outcome="deny")
    assert taken(user="bob", outcome="deny")
    assert not taken(user="eve", outcome="allow")
    assert not taken(user="mallory", outcome="deny")


def test_severity_is_the_level_or_worse() -> None:
    taken = asks(severity="warning")

    assert [s for s in ("VERBOSE", "INFO", "WARNING", "ALARM") if taken(severity=s)] == ["WARNING", "ALARM"]


def test_a_type_may_hold_a_wildcard() -> None:
    assert asks(type=("authentication-*",))(type="authentication-failure")


def test_global_and_no_global_divide_the_log_by_whether_there_is_a_user() -> None:
    """Prosody's viewer: `--global` only host-wide events, `--no-global` hides them."""
    assert asks(is_global=True)(user=None)
    assert not asks(is_global=True)(user="eve")
    assert asks(no_global=True)(user="eve")
    assert not asks(no_global=True)(user=None)


def test_a_host_as_target_means_the_served_domain() -> None:
    taken = asks("Example.com")

    assert taken(host="Example.com")
    assert taken(host="example.com")
    assert not taken(host="example.org")


def test_an_address_as_target_takes_both_ways_of_recording_it() -> None:
    taken = asks("alice@example.com")

    assert taken(user="alice@example.com")
    assert taken(user="alice", host="example.com")
    assert not taken(user="alice", host="example.org")
    assert not taken(user="bob", host="example.com")


def test_a_user_as_target_is_compared_as_it_is() -> None:
    assert asks("user=daniel@x")(user="daniel@x")
    assert not asks("user=daniel")(user="daniel@x")


def test_an_id_is_looked_up_in_any_case() -> None:
    assert asks(lookup="01ARZ3NDEKTSV4RRFFQ69G5FAV")(id="01arz3ndektsv4rrffq69g5fav")


def test_times_are_points_or_ages_and_until_is_exclusive() -> None:
    query = build_query(Asked(since="1h", until="2026-11-20T00:00:00Z"), None, T0)

    assert query.since_ns == T0 - 3600 * SECOND
    assert query.until_ns == parse_rfc3339("2026-11-20T00:00:00Z")


@pytest.mark.parametrize(
    ("options", "target", "says"),
    [
        ({"is_global": True, "no_global": True}, None, "--global and --no-global"),
        ({"is_global": True}, "eve@example.com", "--global"),
        ({"severity": "LOUD"}, None, "--severity: unknown severity 'LOUD'"),
        ({"kind": ("authnn",)}, None, "did you mean 'authn'?"),
        ({"since": "sometime"}, None, "--since: 'sometime' is not a time"),
        ({"since": "1h", "until": "2h"}, None, "nothing can lie between"),
        ({"where": "user ="}, None, "--where: ends too early"),
        ({"lookup": ""}, None, "--lookup"),
        ({}, "tag=x", "use --where"),
        ({}, "user=", "--global"),
        ({}, "@host", "is not a target"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], target: str | None, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        build_query(Asked(**options), target, T0)

    assert says in str(refused.value)


def test_words_that_exist_or_hold_a_slash_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audit.log").touch()

    assert split_words(RealDisk(), ["audit.log", "example.com", "/no/such"]) == (
        "example.com",
        ["audit.log", "/no/such"],
    )
    with pytest.raises(UsageError, match="more than one target"):
        split_words(RealDisk(), ["a", "b"])


def test_a_look_up_that_cannot_succeed_and_a_missing_file_get_a_hint() -> None:
    assert "UUID" in hint_for_nothing(Asked(lookup="12"), None)
    assert "host" in hint_for_nothing(Asked(), "audit.log")
    assert hint_for_nothing(Asked(), "user=eve") == ""
