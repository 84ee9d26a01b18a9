"""The host as its sources see it (`kumoaudit.sources.services.Services`)."""

from __future__ import annotations

from collections.abc import Callable

from kumoaudit.access.acl import Decision
from kumoaudit.access.login import Credentials, Login
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo, Event
from kumoaudit.runtime import access
from kumoaudit.runtime.host import PolicyHost

_MOST_SAID = 256


class HostServices:
    """Asks the policy that is in force at the moment. Any thread."""

    def __init__(self, current: Callable[[], PolicyHost]) -> None:
        self._current = current
        host = current()
        self._pipeline = host.pipeline
        self.clock, self.access = host.pipeline.clock, host.access
        self.requests: dict[tuple[str, int], int] = {}
        self.counts: dict[str, int] = {}
        self._said: set[str] = set()

    @property
    def node(self) -> str:
        """The name of this machine in records."""
        return self._pipeline.node

    @property
    def block_timeout_s(self) -> float:
        """The longest that a record may wait just now: for the logs that are full, else for any."""
        routes = self._pipeline.open_routes
        full = [r for r in routes if r.may_wait()] or routes
        return max((r.spec.block_timeout_ns for r in full), default=10_000_000_000) / 1e9

    def may_wait(self) -> bool:
        """Whether `emit` could wait just now."""
        return self._pipeline.may_wait() or self._current().has("audit_event")

    def has_hook(self) -> bool:
        """Whether a record must pass the policy, or reach the disk, before it is acknowledged."""
        return self._current().has("audit_event") or self._pipeline.waits_for_disk

    def emit(self, event: Event, patience_ns: int | None = None) -> bool:
        """Record *event*, through the policy's hook. Raises RecordRefused."""
        return self._current().events.emit(event, patience_ns)

    def has_handler(self, event: str) -> bool:
        """Whether the policy has a handler for *event*."""
        return self._current().has(event)

    def login(self, credentials: Credentials) -> Login:
        """Ask the policy's handler."""
        return access.login(self._current(), credentials)

    def decide(self, resource: Resource, auth_info: AuthInfo, privilege: str) -> Decision:
        """Ask the ACLs."""
        return access.decide(self._current(), resource, auth_info, privilege)

    def count(self, what: str) -> None:
        """One more of *what*."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def count_request(self, route: str, status: int) -> None:
        """One more reply."""
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def not_alive(self) -> str:
        return ""

    def snapshot(self):
        return {}

    def too_full(self):
        return ""

    def say(self, text: str) -> None:
        """A message for the operator."""
        self._current().say(text)

    def say_once(self, text: str) -> None:
        """A message for the operator, the first time only."""
        if text not in self._said:
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said.add(text)
            self.say(text)
