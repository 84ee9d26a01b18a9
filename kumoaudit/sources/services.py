"""What a source may ask of the host. The daemon puts the real thing in; no source imports the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kumoaudit.access.acl import Decision
from kumoaudit.access.control import AccessControl
from kumoaudit.access.login import Credentials, Login
from kumoaudit.access.resource import Resource
from kumoaudit.core.event import AuthInfo, Event
from kumoaudit.core.protocols import Clock
from kumoaudit.sources.batch import Content
from kumoaudit.sources.ingest import Taken
from kumoaudit.sources.metrics import Counters
from kumoaudit.sources.records import PeerInfo


class Services(Protocol):
    """The host as its sources see it. Every method: any thread; those marked "waits" never on an event loop."""

    clock: Clock
    access: AccessControl
    counters: Counters

    @property
    def node(self) -> str:
        """The name of this machine in records."""
        ...

    @property
    def block_timeout_s(self) -> float:
        """How long a record may wait for a log that does not take it."""
        ...

    def may_wait(self) -> bool:
        """Whether `emit` could wait just now: for a full log, for the disk, or for the policy's hook."""
        ...

    def must_wait(self) -> bool:
        """Whether a record must pass the policy's hook, or reach the disk, before it is acknowledged."""
        ...

    def emit(self, event: Event, patience_ns: int | None = None) -> bool:
        """Record *event*; waits. Raises RecordRefused when a log that must have it cannot take it."""
        ...

    def has_handler(self, event: str) -> bool:
        """Whether the policy has a handler for *event*."""
        ...

    def login(self, credentials: Credentials) -> Login:
        """Ask the policy's handler; waits. Raises KumoauditError when it fails."""
        ...

    def decide(self, resource: Resource, auth_info: AuthInfo, privilege: str) -> Decision:
        """Ask the ACLs, the policy's first; waits. Raises KumoauditError when a handler fails."""
        ...

    def not_alive(self) -> str:
        """Why the host is not well (liveness), or ""."""
        ...

    def too_full(self) -> str:
        """Why new records are refused (min_free_*), or ""."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """State and counters, for metrics and status."""
        ...

    def ingest(self, body: bytes, content: Content, peer: PeerInfo) -> Taken:
        """Take records of an application; waits. Raises BadBatch, RecordRefused."""
        ...

    def set_log_filter(self, text: str, who: Mapping[str, Any]) -> dict[str, Any]:
        """Which diagnostic lines of the policy are shown. ValueError for a filter that is none."""
        ...

    def reopen(self, who: Mapping[str, Any]) -> dict[str, Any]:
        """Every log goes on in a new file."""
        ...

    def reload(self, who: Mapping[str, Any]) -> dict[str, Any]:
        """Read the policy again and empty the caches; waits."""
        ...

    def say(self, text: str) -> None:
        """A message for the operator."""
        ...

    def say_once(self, text: str) -> None:
        """As `say`, but a text only once."""
        ...
