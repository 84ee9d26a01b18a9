"""The catalogue of event types: kind, default severity, groups, arguments and templates. One row a type.

Filters, groups, did-you-mean, completion and the reference page come from here. Tarantool's rows follow its documented
event table (section 4), KumoMTA's its two accounting records, the host's own those of the reliability promises.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ALL, AUDIT, AUTH, PRIV, DDL, DML, DATA, COMPAT, INTEGRITY = (
    "all",
    "audit",
    "auth",
    "priv",
    "ddl",
    "dml",
    "data_operations",
    "compatibility",
    "integrity_check",
)


class EventType(msgspec.Struct, frozen=True):
    """One type: `family` is where the name comes from; `args` are the placeholders of `template`, required unless
    `optional`; `alternatives` are (arguments that must be present, template), tried first to last."""

    name: str
    family: Literal["tarantool", "kumo", "host"]
    kind: str
    severity: str
    template: str | None = None
    args: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    outcome: str | None = None
    optional: tuple[str, ...] = ()
    alternatives: tuple[tuple[tuple[str, ...], str], ...] = ()
    about: str = ""


def _t(
    name: str,
    kind: str,
    severity: str,
    template: str | None,
    args: str = "",
    groups: tuple[str, ...] = (),
    *,
    outcome: str | None = None,
    optional: str = "",
    alternatives: tuple[tuple[tuple[str, ...], str], ...] = (),
) -> EventType:
    split = tuple(args.split())
    return EventType(
        name,
        "tarantool",
        kind,
        severity,
        template,
        split,
        (ALL, *groups),
        outcome,
        tuple(optional.split()),
        alternatives,
    )


_TARANTOOL = (
    _t("audit_enable", "system", "VERBOSE", "Audit log enabled for events <EVENTS>", "events", (AUDIT,)),
    _t("custom", "custom", "INFO", None),
    _t("auth_ok", "authn", "VERBOSE", "Authenticate user <USER>", "user", (AUTH, COMPAT), outcome="ok"),
    _t("auth_fail", "authn", "ALARM", "Failed to authenticate user <USER>", "user", (AUTH, COMPAT), outcome="fail"),
    _t(
        "disconnect",
        "access",
        "VERBOSE",
        "Close connection",
        "",
        (COMPAT,),
        optional="duration reason",
        alternatives=(
            (("duration", "reason"), "Close connection by <REASON> after <DURATION>"),
            (("duration",), "Close connection after <DURATION>"),
            (("reason",), "Close connection by <REASON>"),
        ),
    ),
    _t("user_create", "admin", "INFO", "Create user <USER>", "user", (PRIV, COMPAT)),
    _t("user_drop", "admin", "INFO", "Drop user <USER>", "user", (PRIV, COMPAT)),
    _t("role_create", "admin", "INFO", "Create role <ROLE>", "role", (PRIV, COMPAT)),
    _t("role_drop", "admin", "INFO", "Drop role <ROLE>", "role", (PRIV, COMPAT)),
    _t("user_disable", "admin", "INFO", "Disable user <USER>", "user", (PRIV, COMPAT)),
    _t("user_enable", "admin", "INFO", "Enable user <USER>", "user", (PRIV, COMPAT)),
    _t(
        "user_grant_rights",
        "admin",
        "INFO",
        "Grant <PRIVILEGE> rights for <OBJECT_TYPE> <OBJECT_NAME> to user <USER>",
        "privilege object_type object_name user",
        (PRIV, COMPAT),
    ),
    _t(
        "user_revoke_rights",
        "admin",
        "INFO",
        "Revoke <PRIVILEGE> rights for <OBJECT_TYPE> <OBJECT_NAME> from user <USER>",
        "privilege object_type object_name user",
        (PRIV, COMPAT),
    ),
    _t(
        "role_grant_rights",
        "admin",
        "INFO",
        "Grant <PRIVILEGE> rights for <OBJECT_TYPE> <OBJECT_NAME> to role <ROLE>",
        "privilege object_type object_name role",
        (PRIV, COMPAT),
    ),
    _t(
        "role_revoke_rights",
        "admin",
        "INFO",
        "Revoke <PRIVILEGE> rights for <OBJECT_TYPE> <OBJECT_NAME> from role <ROLE>",
        "privilege object_type object_name role",
        (PRIV, COMPAT),
    ),
    _t("password_change", "admin", "INFO", "Change password for user <USER>", "user", (COMPAT,)),
    _t(
        "access_denied",
        "access",
        "ALARM",
        "<ACCESS_TYPE> denied to <OBJECT_TYPE> <OBJECT_NAME>",
        "access_type object_type object_name",
        (COMPAT,),
        outcome="deny",
    ),
    _t("eval", "data", "INFO", "Evaluate expression <EXPR>", "expr"),
    _t("call", "data", "VERBOSE", "Call function <FUNCTION> with arguments <ARGS>", "function args"),
    _t(
        "space_select",
        "data",
        "VERBOSE",
        "Select <ITER_TYPE> <KEY> from <SPACE>.<INDEX>",
        "iter_type key space index",
        (DATA,),
    ),
    _t("space_create", "admin", "INFO", "Create space <SPACE>", "space", (DDL,)),
    _t("space_alter", "admin", "INFO", "Alter space <SPACE>", "space", (DDL,)),
    _t("space_drop", "admin", "INFO", "Drop space <SPACE>", "space", (DDL,)),
    _t(
        "space_insert",
        "data",
        "VERBOSE",
        "Insert tuple <TUPLE> into space <SPACE>",
        "tuple space",
        (DML, DATA),
        optional="key",
    ),
    _t(
        "space_replace",
        "data",
        "VERBOSE",
        "Replace tuple <TUPLE> with <NEW_TUPLE> in space <SPACE>",
        "tuple new_tuple space",
        (DML, DATA),
        optional="key",
    ),
    _t(
        "space_delete",
        "data",
        "VERBOSE",
        "Delete tuple <TUPLE> from space <SPACE>",
        "tuple space",
        (DML, DATA),
        optional="key",
    ),
    _t(
        "integrity_check_ok",
        "system",
        "VERBOSE",
        "Integrity check for file <FILE> succeeded",
        "file",
        (INTEGRITY,),
        outcome="ok",
    ),
    _t(
        "integrity_check_fail",
        "system",
        "ALARM",
        "Integrity check for file <FILE> failed: <REASON>",
        "file reason",
        (INTEGRITY,),
        outcome="fail",
    ),
)

_KUMO = (
    EventType("Authentication", "kumo", "authn", "INFO", about="a login was tried"),
    EventType("Authorization", "kumo", "authz", "INFO", about="an access was decided"),
)


def _h(name: str, severity: str, about: str) -> EventType:
    return EventType(name, "host", "system", severity, about=about)


def _a(name: str, about: str) -> EventType:
    return EventType(name, "host", "admin", "INFO", about=f"{about}: user, and uid and pid or address")


_HOST = (
    _h("audit_start", "INFO", "the host began to record"),
    _h("audit_stop", "INFO", "the host stopped, and why; counts of what was recorded, filtered and dropped"),
    _h("audit_config", "INFO", "digests of the policy and of the configuration in force"),
    _h("audit_recovered", "WARNING", "a start after a crash: lines taken from the ring, bytes cut from the segment"),
    _h("audit_gap", "ALARM", "records were lost: after which number, how many, when, why"),
    _h("audit_degraded", "ALARM", "a log records late or not at all: which and why"),
    _h("audit_restored", "INFO", "a log that was degraded records again"),
    _h("audit_reopen", "INFO", "a log went on in a new file, and why"),
    _h("policy_reloaded", "INFO", "changed policy, ACL or rule files are in force: which, digests before and now, why"),
    _h("policy_reload_failed", "WARNING", "changed files were refused, the last good policy stays: message, digests"),
    _h("clock_jump", "WARNING", "the machine's clock was set by more than a second"),
    _h("event_truncated", "WARNING", "an event over max_event_size was recorded with its longest texts cut"),
    _h("handler_error", "WARNING", "a handler of the policy raised an error"),
    _h("http_refused", "WARNING", "a message over HTTP that reached no route: no request, too slow, no TLS"),
    _h("auth_throttled", "WARNING", "a burst of failed logins: who has to wait; at its end how many were refused"),
    _h("handler_stuck", "ALARM", "a handler of the policy did not return"),
    _a("admin_reopen", "somebody let every log go on in a new file"),
    _a("admin_reload", "somebody let caches that belong to the configuration be filled anew"),
    _a("admin_log_filter", "somebody chose which diagnostic lines are shown"),
    _a("admin_shutdown", "somebody let the host stop"),
)

EVENT_TYPES: dict[str, EventType] = {t.name: t for t in (*_TARANTOOL, *_KUMO, *_HOST)}
HOST_TYPES = frozenset(t.name for t in _HOST)

# The records about the state of one log: they also go into that log, whatever its filter.
LOG_STATE_TYPES = frozenset({"audit_gap", "audit_recovered", "audit_degraded", "audit_restored"})

GROUPS = ("none", ALL, AUDIT, AUTH, PRIV, DDL, DML, DATA, COMPAT, INTEGRITY)


def types_in_group(group: str) -> tuple[str, ...]:
    """Names of the Tarantool types in *group* (`none` is empty), in the order of the catalogue."""
    return tuple(t.name for t in _TARANTOOL if group in t.groups)
