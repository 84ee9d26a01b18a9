"""Records from applications -> the logs: parsed and checked as a batch, recorded once, answered when acknowledged."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.event import Event
from kumoaudit.core.protocols import Clock
from kumoaudit.sources.batch import BadBatch, Content, parse_batch
from kumoaudit.sources.records import Base, PeerInfo

__all__ = ["BadBatch", "Ingest", "PeerInfo", "Taken"]

REMEMBERED = 100_000
_WAIT_S = 10.0


class EmitMany(Protocol):
    """`Pipeline.emit_many`, or what stands before it (the policy's hook)."""

    def __call__(self, events: list[Event], patience_ns: int | None = None, /) -> list[bool]: ...


class Taken(msgspec.Struct, frozen=True):
    """The answer to a batch that was taken: how many records it has, how many of them some log recorded, their ids."""

    accepted: int
    recorded: int
    ids: list[str]

    def json(self) -> bytes:
        """`{"accepted": n, "recorded": m, "ids": [...]}`, without a newline."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode


class Ingest:
    """Takes batches. `take`: any thread, several at once.

    A record whose caller gave it an `id` is recorded once: the last 100,000 such ids are remembered, from the
    acknowledgement of their record on; one that no log took is offered again. Tarantool's `uuid` is no such key, for it
    may rightly stand in many records.
    """

    def __init__(
        self, emit_many: EmitMany, clock: Clock, node: Callable[[], str] = str, *, remembered: int = REMEMBERED
    ) -> None:
        """*node* gives the name of this machine for the records, or "": the pipeline's."""
        self._emit_many, self._clock, self._node, self._most = emit_many, clock, node, remembered
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._flying: set[str] = set()
        self._landed = threading.Condition()

    def take(self, data: bytes, content: Content, peer: PeerInfo, patience_ns: int | None = None) -> Taken:
        """Record a batch, all of it or nothing.

        Returns when every record is acknowledged. Raises BadBatch (nothing was recorded), or RecordRefused when a log
        did not take it within *patience_ns* (by default each log's `block_timeout`): the caller may try again.
        """
        base = Base(self._clock.now_ns(), peer.address, peer.detail(), self._node())
        events, keys = parse_batch(data, content, base)
        took = self._emit_many(events, patience_ns) if keys is None else self._once(events, keys, patience_ns)
        return Taken(len(events), sum(took), [e.id for e in events])

    def _once(self, events: list[Event], keys: list[str | None], patience_ns: int | None) -> list[bool]:
        """Record those of *events* whose key is new; what came of each, now or the first time."""
        # UUIDs and ULIDs are the same in any case of letters.
        lower = [None if key is None else key.lower() for key in keys]
        mine = {key for key in lower if key is not None}
        known = self._claim(mine, patience_ns)
        try:
            new: list[Event] = []
            place: dict[str, int] = {}
            at: list[int] = []
            for event, key in zip(events, lower, strict=True):
                if key is None:
                    at.append(len(new))
                elif key in known or key in place:
                    at.append(place.get(key, -1))
                    continue
                else:
                    place[key] = len(new)
                    at.append(len(new))
                new.append(event)
            took = self._emit_many(new, patience_ns) if new else []
            self._remember([key for key, i in place.items() if took[i]])
        finally:
            with self._landed:
                self._flying -= mine
                self._landed.notify_all()
        return [i < 0 or took[i] for i in at]

    def _claim(self, keys: set[str], patience_ns: int | None) -> set[str]:
        """Those of *keys* that are recorded; until they are let go of, no other batch records one of them."""
        patience = _WAIT_S if patience_ns is None else patience_ns / 1e9
        with self._landed:
            if not self._landed.wait_for(lambda: self._flying.isdisjoint(keys), patience):
                raise RecordRefused("a record with the same id is being recorded just now")
            self._flying |= keys
            known = {key for key in keys if key in self._seen}
            for key in known:
                self._seen.move_to_end(key)
        return known

    def _remember(self, recorded: list[str]) -> None:
        with self._landed:
            self._seen.update(dict.fromkeys(recorded))
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)


def failed(error: BadBatch | RecordRefused) -> dict[str, Any]:
    """The answer to a batch of which nothing is promised: `error`, and `index` or `retry_after` in seconds."""
    if isinstance(error, BadBatch):
        return {"error": error.reason} if error.index is None else {"error": error.reason, "index": error.index}
    return {"error": str(error), "retry_after": 1}
