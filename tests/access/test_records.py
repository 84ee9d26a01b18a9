"""Decisions and logins as KumoMTA's records: golden lines, and our additions behind its fields (section 5.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kumoaudit.access.acl import acl, decide, rule
from kumoaudit.access.aclmap import default_acl
from kumoaudit.access.criteria import MachineSet
from kumoaudit.access.identity import TRUSTED
from kumoaudit.access.records import authentication_event, decision_event
from kumoaudit.access.resource import Resource, http_url_resource
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.formats.kumo import KumoFormat
from kumoaudit.formats.native import NativeFormat
from tests.support import T0, vectors

KUMO = KumoFormat()
RECORDS = {r["name"]: r["line"] for r in vectors("kumomta_acl.json")["records"]}
ALLOWED = AuthInfo("127.0.0.1", (), (TRUSTED,))
ADMIN = http_url_resource("0.0.0.0:8000", "/api/admin/suspend/v1")


def theirs(event: Event) -> str:
    """The line without what is ours: what a reader that knows only KumoMTA's fields sees."""
    record = json.loads(KUMO.encode(event))
    ours = ("id", "node", "detail")
    return json.dumps({k: v for k, v in record.items() if k not in ours}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("name", "addr", "path", "info", "time"),
    [
        ("authz-default-deny", "127.0.0.1:8080", "/a", AuthInfo(), "2025-12-18T06:52:47.100Z"),
        (
            "authz-unit-matcher-prints-as-string",
            "127.0.0.1:8080",
            "/api/check-liveness/v1",
            AuthInfo("192.0.2.10", (Identity("daniel", "HttpBasicAuth"),)),
            "2025-12-18T06:52:47Z",
        ),
    ],
)
def test_an_authorization_is_the_line_of_kumomta(name: str, addr: str, path: str, info: AuthInfo, time: str) -> None:
    resource = http_url_resource(addr, path)
    decision = decide(resource, info, "GET", default_acl().get)

    assert theirs(decision_event(decision, resource, id="", time_ns=parse_rfc3339(time))) == RECORDS[name]


def test_a_failed_login_is_the_line_of_kumomta() -> None:
    e = authentication_event(
        Identity("daniel", "HttpBasicAuth"),
        False,
        ALLOWED,
        id="",
        time_ns=parse_rfc3339("2025-12-18T06:52:47.798373949Z"),
    )

    assert KUMO.encode(e).decode().strip() == RECORDS["authn-fail-sample"]


def test_our_additions_stand_behind_the_fields_of_kumomta() -> None:
    decision = decide(ADMIN, ALLOWED, "GET", default_acl().get)
    assert decision.rule is not None
    e = decision_event(
        decision,
        ADMIN,
        id="01J",
        time_ns=T0,
        node="alpha",
        request={"request_id": "r1", "method": "GET", "peer_port": 5},
    )
    bound = "http_listener/0.0.0.0:8000"

    assert KUMO.encode(e).decode() == (
        '{"type":"Authorization","timestamp":"2026-09-21T14:13:20Z",'
        f'"target_resource":"{bound}/api/admin/suspend/v1","privilege":"GET","access":"Allow",'
        '"matching_resource":"http_listener/*/api/admin",'
        f'"rule":{{"criteria":{{"Identity":{{"Group":"{TRUSTED}"}}}},"privilege":"GET","access":"Allow"}},'
        f'"auth_info":{{"peer_address":"127.0.0.1","identities":[],"groups":["{TRUSTED}"]}},'
        f'"considered_resources":["{bound}/api/admin/suspend/v1","{bound}/api/admin/suspend","{bound}/api/admin",'
        f'"{bound}/api","{bound}","http_listener/*/api/admin/suspend/v1","http_listener/*/api/admin/suspend"],'
        '"id":"01J","node":"alpha",'
        '"detail":{"considered_with_acl":[],"method":"GET","peer_port":5,"reason":"rule","request_id":"r1",'
        f'"rule_at":"{decision.rule.at}"}}}}\n'
    )


def shown(path: str, **options: Any) -> dict[str, Any]:
    """Our part of the record of a denied request for *path*."""
    resource = http_url_resource("127.0.0.1:80", path)
    e = decision_event(decide(resource, AuthInfo(), "GET", lambda _: None), resource, id="x", time_ns=T0, **options)
    assert isinstance(e.detail, dict)
    return {k: v for k, v in e.detail.items() if k not in ("matching_resource", "rule", "considered_resources")}


def test_a_path_is_told_only_when_the_name_does_not_say_it() -> None:
    plain = {"considered_with_acl": [], "reason": "default"}

    assert shown("/a?secret") == plain
    assert shown("*") == {**plain, "raw_path": "*"}
    assert shown("/" + "a" * 300) == {**plain, "raw_path": "/" + "a" * 300, "path_cut": True}
    assert shown("/a/b/c/d/e/f/g/h/i/j/k") == {**plain, "raw_path": "/a/b/c/d/e/f/g/h/i/j/k", "path_cut": True}


def test_a_request_adds_and_replaces_nothing() -> None:
    assert shown("/a", request={"reason": "forged", "x": 1}) == {"considered_with_acl": [], "reason": "default", "x": 1}


def test_names_that_had_an_acl_are_marked() -> None:
    acls = {"http_listener": acl([rule(MachineSet(("10.0.0.0/8",)), "GET", True, "acl.toml:1")], "acl.toml")}
    resource = http_url_resource("127.0.0.1:80", "/a")
    e = decision_event(decide(resource, AuthInfo("192.0.2.1"), "GET", acls.get), resource, id="x", time_ns=T0)

    assert e.detail is not None
    assert e.detail["considered_with_acl"] == ["http_listener"]
    assert e.detail["considered_resources"][-1] == "http_listener"


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize(
    "info", [AuthInfo(), AuthInfo("::1", (Identity("a", "BearerToken"), Identity("b", "GenericAuth")))]
)
def test_a_decision_is_read_back_as_it_was_recorded(allow: bool, info: AuthInfo) -> None:
    acls = {"a": acl([rule(MachineSet(("10.0.0.0/8", "::1")), "GET", allow, "acl.toml:12")], "acl.toml")}
    e = decision_event(decide(Resource(("a",), "a"), info, "GET", acls.get), id="x", time_ns=T0, node="alpha")

    assert KUMO.decode(KUMO.encode(e)) == e
    assert NativeFormat().decode(NativeFormat().encode(e)) == e
    assert (e.severity, e.outcome) == (("INFO", "allow") if allow and info.identities else ("ALARM", "deny"))
    assert e.user == (info.identities[0].identity if info.identities else None)


@pytest.mark.parametrize(
    ("attempted", "success", "reason", "severity", "outcome", "user"),
    [
        (Identity("alice", "HttpBasicAuth"), True, None, "INFO", "ok", "alice"),
        (Identity("alice", "HttpBasicAuth"), False, "the handler said no", "ALARM", "fail", "alice"),
        (Identity("", "BearerToken"), False, "unknown token", "ALARM", "fail", None),
    ],
)
def test_a_login_is_read_back_as_it_was_recorded(
    attempted: Identity, success: bool, reason: str | None, severity: str, outcome: str, user: str | None
) -> None:
    e = authentication_event(
        attempted, success, ALLOWED, id="x", time_ns=T0, node="alpha", reason=reason,
        request={"request_id": "r1", "method": "POST", "path": "/a"},
    )  # fmt: skip

    assert KUMO.decode(KUMO.encode(e)) == e
    assert (e.kind, e.severity, e.outcome, e.user, e.peer) == ("authn", severity, outcome, user, "127.0.0.1")
    assert e.detail is not None
    assert e.detail.get("reason") == reason
    assert e.detail["request_id"] == "r1"


def test_the_rule_in_a_record_prints_networks_as_kumomta_does() -> None:
    acls = {"a": acl([rule(MachineSet(("10.0.0.1", "::1")), "GET", True, "")], "")}
    e = decision_event(decide(Resource(("a",), "a"), AuthInfo("::1"), "GET", acls.get), id="x", time_ns=T0)

    assert '"rule":{"criteria":{"Identity":{"MachineSet":["10.0.0.1","::1"]}},"privilege":"GET","access":"Allow"}' in (
        KUMO.encode(e).decode()
    )
    assert e.detail is not None
    assert "rule_at" not in e.detail
