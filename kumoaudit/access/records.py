"""Decisions and logins as events: KumoMTA's two records, with our additions behind its fields (section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumoaudit.access.acl import Decision
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.text import Plain


def decision_event(
    decision: Decision,
    resource: Resource | None = None,
    *,
    id: str,
    time_ns: int,
    node: str = "",
    request: Mapping[str, Any] | None = None,
) -> Event:
    """The Authorization record of a decision.

    Its detail: KumoMTA's `matching_resource`, `rule`, `considered_resources`; ours are `considered_with_acl` (which of
    them had an ACL), `reason` (`rule` or `default`) and `rule_at` (where it is written), and from *resource*, what was
    asked for this time, `raw_path` when the name does not say it and `path_cut` when only its beginning counted.
    *resource* is not part of the decision, because a cached decision serves every path with the same name. *request* is
    what else is known (`request_id`, `method`, `peer_port` ...); it replaces nothing of the above.
    """
    info = decision.auth_info
    rule = decision.rule
    detail = Plain(
        matching_resource=decision.resource,
        rule=None if rule is None else rule.record,
        considered_resources=list(decision.considered),
        considered_with_acl=list(decision.had_acl),
        reason="default" if rule is None else "rule",
    )
    if rule is not None and rule.at:
        detail["rule_at"] = rule.at
    if resource is not None and not resource.is_exact:
        detail["raw_path"] = resource.raw_path
        if resource.is_cut:
            detail["path_cut"] = True
    if request:
        for name, value in request.items():
            detail.setdefault(name, value)
    return Event(
        id=id,
        time_ns=time_ns,
        kind="authz",
        type="Authorization",
        node=node,
        severity="INFO" if decision.allow else "ALARM",
        outcome="allow" if decision.allow else "deny",
        user=info.identities[0].identity if info.identities else None,
        peer=info.peer_address,
        resource=decision.target,
        privilege=decision.privilege,
        auth_info=info,
        detail=detail,
    )


def authentication_event(
    attempted: Identity,
    success: bool,
    auth_info: AuthInfo,
    *,
    id: str,
    time_ns: int,
    node: str = "",
    reason: str | None = None,
    request: Mapping[str, Any] | None = None,
) -> Event:
    """The Authentication record of a login.

    *attempted* is who the caller claims to be and how; *auth_info* what is known after the attempt (on failure the
    peer and its groups only). *reason* says why a login failed. *request*: `request_id`, `method`, `path` ...
    Credentials have no place here.
    """
    detail = Plain(attempted_identity={"identity": attempted.identity, "context": attempted.context})
    if reason:
        detail["reason"] = reason
    if request:
        for name, value in request.items():
            detail.setdefault(name, value)
    return Event(
        id=id,
        time_ns=time_ns,
        kind="authn",
        type="Authentication",
        node=node,
        severity="INFO" if success else "ALARM",
        outcome="ok" if success else "fail",
        user=attempted.identity or None,
        peer=auth_info.peer_address,
        auth_info=auth_info,
        detail=detail,
    )


def failure_event(
    resource: Resource,
    auth_info: AuthInfo,
    privilege: str,
    reason: str,
    error: str = "",
    *,
    id: str,
    time_ns: int,
    node: str = "",
    request: Mapping[str, Any] | None = None,
) -> Event:
    """The Authorization record, a Deny, of what no ACL decided: *reason* is `error` (a handler failed; *error* is its
    message) or a word of the listener's (`no such route`). KumoMTA leaves no record there (section 5.8, item 5)."""
    decision = Decision(False, None, None, resource.names[0], (), (), privilege, auth_info)
    more: dict[str, Any] = {"error": error} if error else {}
    event = decision_event(decision, resource, id=id, time_ns=time_ns, node=node, request={**(request or {}), **more})
    assert event.detail is not None
    event.detail["reason"] = reason
    return event
