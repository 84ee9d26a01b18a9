"""The host as its sources see it: the real thing behind `kumoaudit.sources.services.Services`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kumoaudit.access.acl import Decision
from kumoaudit.access.control import AccessControl
from kumoaudit.access.login import Credentials, Login
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo, Event
from kumoaudit.core.protocols import Clock
from kumoaudit.pipeline.state import disk_too_full, liveness
from kumoaudit.pipeline.stats import snapshot
from kumoaudit.runtime import access
from kumoaudit.runtime.host import PolicyHost
from kumoaudit.runtime.reload import Reloader
from kumoaudit.sources.batch import Content
from kumoaudit.sources.ingest import Ingest, Taken
from kumoaudit.sources.metrics import Counters
from kumoaudit.sources.records import PeerInfo

_MOST_SAID = 256
_LOOK_EVERY_NS = 100_000_000
_DEFAULT_TIMEOUT_NS = 10_000_000_000


class HostServices:
    """Asks the policy that is in force at the moment. Any thread."""

    def __init__(self, reloader: Reloader, ingest: Ingest, reopen: Callable[[str], dict[str, Any]]) -> None:
        """*reopen* lets every log go on in a new file; its argument is the reason for the record."""
        self._reloader, self._ingest, self._reopen = reloader, ingest, reopen
        host = reloader.current
        self._pipeline = host.pipeline
        self.clock: Clock = host.pipeline.clock
        self.access: AccessControl = host.access
        self.counters = Counters()
        self._said: set[str] = set()
        self._reason, self._looked_at = "", -_LOOK_EVERY_NS

    @property
    def _host(self) -> PolicyHost:
        return self._reloader.current

    @property
    def node(self) -> str:
        """The name of this machine in records."""
        return self._pipeline.node

    # -- records ------------------------------------------------------------------------------------------------

    @property
    def block_timeout_s(self) -> float:
        """The longest that a record may wait just now: for the logs that are full, else for any."""
        routes = self._pipeline.open_routes
        full = [r for r in routes if r.may_wait()] or routes
        return max((r.spec.block_timeout_ns for r in full), default=_DEFAULT_TIMEOUT_NS) / 1e9

    def may_wait(self) -> bool:
        """Whether `emit` could wait just now."""
        return self._host.events.may_wait()

    def must_wait(self) -> bool:
        """Whether a record must pass the policy's hook, or reach the disk, before it is acknowledged."""
        return self._host.has("audit_event") or self._pipeline.waits_for_disk

    def emit(self, event: Event, patience_ns: int | None = None) -> bool:
        """Record *event*, through the policy's hook. Raises RecordRefused."""
        return self._host.events.emit(event, patience_ns)

    def ingest(self, body: bytes, content: Content, peer: PeerInfo) -> Taken:
        """Take records of an application. Raises BadBatch, RecordRefused."""
        return self._ingest.take(body, content, peer)

    # -- the policy ---------------------------------------------------------------------------------------------

    def has_handler(self, event: str) -> bool:
        """Whether the policy has a handler for *event*."""
        return self._host.has(event)

    def login(self, credentials: Credentials) -> Login:
        """Ask the policy's handler."""
        return access.login(self._host, credentials)

    def decide(self, resource: Resource, auth_info: AuthInfo, privilege: str) -> Decision:
        """Ask the ACLs."""
        return access.decide(self._host, resource, auth_info, privilege)

    # -- state --------------------------------------------------------------------------------------------------

    def not_alive(self) -> str:
        """Why the host should get no work, or ""; at most a tenth of a second old, but for a stop."""
        now = self.clock.monotonic_ns()
        if now - self._looked_at >= _LOOK_EVERY_NS or self._pipeline.is_stopping:
            self._reason, self._looked_at = liveness(self._pipeline), now
        return self._reason

    def too_full(self) -> str:
        """Which place is below its min_free_* limit, or ""."""
        return disk_too_full(self._pipeline)

    def snapshot(self) -> dict[str, Any]:
        """State and counters."""
        return snapshot(self._pipeline) | {"http": self.counters.snapshot()}

    # -- administration -----------------------------------------------------------------------------------------

    def reopen(self, who: Mapping[str, Any]) -> dict[str, Any]:
        """Every log goes on in a new file."""
        self._record("admin_reopen", "reopen over HTTP", who)
        return {"ok": True, **self._reopen("HTTP")}

    def reload(self, who: Mapping[str, Any]) -> dict[str, Any]:
        """Read the policy again and empty the caches."""
        self._record("admin_reload", "reload over HTTP", who)
        outcome = self._reloader.reload("HTTP", dict(who))
        epoch = self._host.config_epoch
        return {
            "ok": outcome.ok,
            "changed": list(outcome.changed),
            "message": outcome.message,
            "config_epoch": epoch,
        }

    def set_log_filter(self, text: str, who: Mapping[str, Any]) -> dict[str, Any]:
        """Which diagnostic lines of the policy are shown."""
        self._host.log_filter.set(text)
        self._record("admin_log_filter", f"diagnostic log filter set to {text!r} over HTTP", {**who, "filter": text})
        return {"ok": True, "filter": text}

    def _record(self, kind: str, text: str, who: Mapping[str, Any]) -> None:
        user = who.get("user")
        by = f" by {user}" if user else ""
        peer = f" from {who['peer']}" if who.get("peer") else ""
        detail = {name: value for name, value in who.items() if value is not None}
        self._pipeline.admin(kind, f"{text}{by}{peer}", detail, user)

    def say(self, text: str) -> None:
        """A message for the operator."""
        self._host.say(text)

    def say_once(self, text: str) -> None:
        """A message for the operator, the first time only."""
        if text not in self._said:
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said.add(text)
            self.say(text)
