"""Decisions and their caches: the policy's ACLs, the built-in ones, what was decided a moment ago (KumoMTA 2.7)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from kumoaudit.access.acl import Acl, Decision, decide
from kumoaudit.access.aclmap import default_acl
from kumoaudit.access.cache import TtlCache
from kumoaudit.access.login import Login
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo
from kumoaudit.core.protocols import Clock

# KumoMTA's documentation says five minutes, its code 300 ms (D1): a right that was taken away must not live on.
CACHE_TTL_NS = 300_000_000
LOGIN_TTL_NS = 10_000_000_000
CAPACITY = 1024

_NO_ACL: Final = object()


class _Needed(Exception):
    """The ACL of this name must be asked of the policy first."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class AccessControl:
    """Who may do what, as the policy and the built-in map say. Any thread; never enters Lua itself.

    A caller that gets a name from `step` asks the policy's `get_acl_definition` handlers for it, puts the answer (an
    ACL or None) into *asked*, and steps again: so one walk serves callers inside Lua and outside.
    """

    def __init__(self, clock: Clock) -> None:
        self.definitions: TtlCache[str, object] = TtlCache(clock, CAPACITY, CACHE_TTL_NS)
        self.checks: TtlCache[Hashable, Decision] = TtlCache(clock, CAPACITY, CACHE_TTL_NS)
        self.logins: TtlCache[bytes, Login] = TtlCache(clock, CAPACITY, LOGIN_TTL_NS)
        self.fall_back = True
        """Whether names without an ACL of the policy's have that of the built-in map; off means off (section 3.5)."""

    @property
    def caches(self) -> dict[str, TtlCache[str, object] | TtlCache[Hashable, Decision] | TtlCache[bytes, Login]]:
        """The caches by the names under which KumoMTA knows them."""
        return {"acl_definition": self.definitions, "acl_check": self.checks, "http_server_auth": self.logins}

    def forget(self) -> None:
        """Empty every cache: the policy, an ACL file or a password file was read again."""
        for cache in self.caches.values():
            cache.clear()

    def cached(self, resource: Resource, auth_info: AuthInfo, privilege: str) -> Decision | None:
        """What was decided for the same question a moment ago, if anything."""
        return self.checks.get((resource.names[0], privilege, auth_info), None)

    def step(
        self, resource: Resource, auth_info: AuthInfo, privilege: str, asked: dict[str, Acl | None], *, ask: bool
    ) -> Decision | str:
        """The decision, or with *ask* the name whose ACL the policy must be asked for first.

        Errors of handlers never come here, so none is kept. A decision is as old as the oldest ACL that it was made
        from: the ages of the two caches do not add up.
        """
        generation = self.checks.generation
        oldest: int | None = None

        def acl_for(name: str) -> Acl | None:
            nonlocal oldest
            if not ask:
                return self._builtin(name)
            entry = self.definitions.entry(name)
            if entry is None:
                if name not in asked:
                    raise _Needed(name)
                found: object = asked[name] or _NO_ACL
                since = self.definitions.put(name, found, generation=generation)
            else:
                since, found = entry
            oldest = since if oldest is None else min(oldest, since)
            return found if isinstance(found, Acl) else self._builtin(name)

        try:
            decision = decide(resource, auth_info, privilege, acl_for)
        except _Needed as e:
            return e.name
        key = (resource.names[0], privilege, auth_info)
        self.checks.put(key, decision, generation=generation, since_ns=oldest)
        return decision

    def _builtin(self, name: str) -> Acl | None:
        return default_acl().get(name) if self.fall_back else None
