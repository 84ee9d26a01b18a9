"""Decisions and logins as events: KumoMTA's two records, with our additions behind its fields (section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kumoaudit.access.acl import Decision
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.repeated import Outline, has_only_id
from kumoaudit.core.text import Plain

# Decisions and logins that are in use at one time: as many outlines are kept, some kilobytes each.
_MOST_OUTLINES = 256


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
    if has_only_id(request) and (resource is None or resource.is_exact):
        assert request is not None
        detail: Plain = _outline_of_decision(decision).detail(request["request_id"])
    else:
        detail = _decision_detail(decision, resource, request)
    return _authorization(decision, detail, id, time_ns, node)


def _authorization(decision: Decision, detail: Plain, id: str, time_ns: int, node: str) -> Event:
    info = decision.auth_info
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


@lru_cache(_MOST_OUTLINES)
def _outline_of_decision(decision: Decision) -> Outline:
    # By identity: a decision that comes from the cache again is the same object.
    return Outline(_decision_detail(decision, None, None))


def _decision_detail(decision: Decision, resource: Resource | None, request: Mapping[str, Any] | None) -> Plain:
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
    return _with(detail, request)


def _with(detail: Plain, request: Mapping[str, Any] | None) -> Plain:
    if request:
        for name, value in request.items():
            detail.setdefault(name, value)
    return detail


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
    if success and not reason and has_only_id(request):
        assert request is not None
        detail: Plain = _outline_of_login(attempted, auth_info).detail(request["request_id"])
    else:
        detail = _login_detail(attempted)
        if reason:
            detail["reason"] = reason
        _with(detail, request)
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


@lru_cache(_MOST_OUTLINES)
def _outline_of_login(attempted: Identity, auth_info: AuthInfo) -> Outline:
    return Outline(_login_detail(attempted))


def _login_detail(attempted: Identity) -> Plain:
    return Plain(attempted_identity={"identity": attempted.identity, "context": attempted.context})


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
    detail = _decision_detail(decision, resource, {**(request or {}), **more})
    detail["reason"] = reason
    return _authorization(decision, detail, id, time_ns, node)
