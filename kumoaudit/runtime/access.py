"""The policy's part in logins and decisions: its handlers are asked, its answers become ACLs (KumoMTA, section 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.access.acl import Acl, Decision
from kumoaudit.access.login import Credentials, Login, login_of
from kumoaudit.access.resource import Resource
from kumoaudit.core.errors import UsageError
from kumoaudit.core.event import AuthInfo
from kumoaudit.core.options import kind

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

DEFINITION = "get_acl_definition"


def acl_of_answer(host: PolicyHost, value: Any) -> Acl | None:
    """The ACL that a handler of `get_acl_definition` returned; nil is none. Raises UsageError for anything else."""
    if value is None:
        return None
    if isinstance(value, dict) and "$acl" in value:
        return host.objects.get(value["$acl"], Acl)
    got = "an ACL map" if isinstance(value, dict) and "$acl_map" in value else kind(value)
    raise UsageError(
        f"the handler of '{DEFINITION}' must return an access control list or nil, got {got}\n"
        "  write: return map:get(resource), or kumo.aaa.make_access_control_list { ... }"
    )


def decide(host: PolicyHost, resource: Resource, auth_info: AuthInfo, privilege: str) -> Decision:
    """Ask the ACLs from outside Lua. Any thread but an event loop's. Raises PolicyError, UsageError from handlers."""
    asked: dict[str, Acl | None] = {}
    has_handler = host.has(DEFINITION)
    while True:
        found = host.access.step(resource, auth_info, privilege, asked, ask=has_handler)
        if isinstance(found, Decision):
            return found
        answer = host.call(DEFINITION, found)
        asked[found] = acl_of_answer(host, answer[0] if answer else None)


def login(host: PolicyHost, credentials: Credentials) -> Login:
    """Ask the policy whether credentials are good. Without a handler they are not (D7). Raises UsageError."""
    if not host.has(credentials.event):
        return login_of(credentials, [False])
    return login_of(credentials, host.call(credentials.event, *credentials.arguments))
