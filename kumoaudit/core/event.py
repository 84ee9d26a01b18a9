"""The one record of the package, and what travels from the rings to the sinks."""

from __future__ import annotations

from typing import Any

import msgspec

KINDS = ("authn", "authz", "access", "decision", "admin", "data", "system", "custom")
SEVERITIES = ("VERBOSE", "INFO", "WARNING", "ALARM")
OUTCOMES = ("ok", "fail", "allow", "deny", "error")

SEVERITY_RANK = {name: rank for rank, name in enumerate(SEVERITIES)}

# The contexts in which an identity may have been shown (KumoMTA, section 3.1).
CONTEXTS = (
    "SmtpAuthPlainAuthentication",
    "SmtpAuthPlainAuthorization",
    "HttpBasicAuth",
    "BearerToken",
    "ProxyAuthRfc1929",
    "LocalSystem",
    "GenericAuth",
)


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A name and how it was shown: one of `CONTEXTS`."""

    identity: str
    context: str


class AuthInfo(msgspec.Struct, frozen=True):
    """Who somebody is (KumoMTA, section 3.1): peer address or None, identities, groups."""

    peer_address: str | None = None
    identities: tuple[Identity, ...] = ()
    groups: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened. An absent text is None, never empty (but `description`, whose absence is "").

    `time_ns` is wall time in nanoseconds since 1970 UTC. `seq` is not here: it is a place in a log, not a property
    of an event. `type` is the dialect's own name, `kind` one of `KINDS`, `detail` the type's own struct.
    """

    id: str
    time_ns: int
    kind: str
    type: str
    node: str = ""
    severity: str = "INFO"
    outcome: str | None = None
    user: str | None = None
    host: str | None = None
    peer: str | None = None
    resource: str | None = None
    privilege: str | None = None
    scope: str | None = None
    session_type: str | None = None
    module: str | None = None
    tag: str | None = None
    source: str | None = None
    description: str = ""
    auth_info: AuthInfo | None = None
    detail: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


# Fields that hold one text and may be absent.
TEXT_FIELDS = (
    "user",
    "host",
    "peer",
    "resource",
    "privilege",
    "scope",
    "session_type",
    "module",
    "tag",
    "source",
)


class Batch(msgspec.Struct, frozen=True):
    """Whole lines of one block of a ring, in order, for a sink. Valid only during the call that gets it.

    `lines` ends with a newline (or is empty, when a commit has nothing new to say). `extra` are lines of the writer
    itself that follow them: they are in no ring. `block` and `start` say where the lines begin in ring `ring_id`.
    With `commit` the sink makes them final and returns a mark. `prepared` is what `Sink.prepare(lines)` gave. `dropped`
    of the losses counted against the block are told when the whole batch is committed.
    """

    lines: memoryview
    count: int
    time_min_ns: int
    time_max_ns: int
    ring_id: int
    block: int
    start: int
    commit: bool
    extra: bytes = b""
    extra_count: int = 0
    prepared: bytes | None = None
    dropped: int = 0


class Mark(msgspec.Struct, frozen=True):
    """How far a sink has taken a ring: everything before (`block`, `offset`) of ring `ring_id` is in the sink.

    `next_seq` is the number of the next record of the log (from 1). `state` is the sink's own, at most 256 bytes.
    `dropped` of the losses counted against `block` are told in the log.
    """

    ring_id: int = 0
    block: int = 0
    offset: int = 0
    next_seq: int = 1
    state: bytes = b""
    dropped: int = 0
