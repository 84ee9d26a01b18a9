"""run_query: the answers of several logs as one stream, each checked again; follow: what comes after them."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from kumoaudit.core.event import Event
from kumoaudit.core.predicate import compile_test
from kumoaudit.core.spec import Query
from kumoaudit.segments.coverage import Coverage, merged
from kumoaudit.segments.look import Look
from kumoaudit.segments.reader import SegmentLog, StoredRecord, within

# How many events are remembered to recognise one that stands in a second log. Copies lie close together in time.
_REMEMBERED = 50_000


# How many looks in a row must find a log shorter before it counts as begun anew.
_PATIENCE = 8


class Answer(NamedTuple):
    """A record that satisfies the question: the log it was found in, its number there (0: none), event, stored line."""

    log: SegmentLog
    seq: int
    event: Event
    line: bytes


def run_query(query: Query, logs: Sequence[SegmentLog], looks: Sequence[Look] | None = None) -> Iterator[Answer]:
    """The records of *logs* that satisfy *query*: merged by time, each log's own order kept, at most `query.limit`.

    An event that several logs took is given once; within one log nothing is ever left out. Lazy: what is not asked for
    is not read. *looks* fix what the logs consist of, one for each.
    """
    if query.limit is not None and query.limit <= 0:
        return
    records = [log.records(query, looks[i] if looks else None) for i, log in enumerate(logs)]
    once = _Once() if len(logs) > 1 else None
    yield from itertools.islice(_merge(query, logs, records, once), query.limit)


class Follower:
    """The newest records of some logs, then those that come. One thread."""

    def __init__(self, query: Query, logs: Sequence[SegmentLog]) -> None:
        self._query, self._logs = query, logs
        self._once = _Once() if len(logs) > 1 else None
        self._looks = [log.look() for log in logs]
        self._shorter = [0] * len(logs)

    def first(self) -> list[Answer]:
        """The newest `query.limit` records (all without a limit), oldest first."""
        newest = msgspec.structs.replace(self._query, newest_first=True)
        answers = list(run_query(newest, self._logs, self._looks))[::-1]
        if self._once:
            for answer in answers:
                self._once.admits(answer)
        return answers

    def news(self) -> list[Answer]:
        """What was recorded since the last call (or since the start), oldest first; `query.limit` does not count."""
        query = msgspec.structs.replace(self._query, newest_first=False, limit=None)
        now = [self._look(i) for i in range(len(self._logs))]
        records = [log.news(query, old, new) for log, old, new in zip(self._logs, self._looks, now, strict=True)]
        answers = list(_merge(query, self._logs, records, self._once))
        self._looks = now
        return answers

    def _look(self, i: int) -> Look:
        """The log now. One that has become shorter is not believed at once (its ring may be out of reach for a moment,
        and would then come back as new); when it stays so it was begun anew, and all of it is news."""
        old, new = self._looks[i], self._logs[i].look()
        if new.next_seq >= old.next_seq:
            self._shorter[i] = 0
            return new
        self._shorter[i] += 1
        if self._shorter[i] < _PATIENCE:
            return old
        self._shorter[i] = 0
        self._looks[i] = Look()
        return new


def covered(logs: Iterable[SegmentLog]) -> Coverage:
    """What was read of all *logs* so far."""
    return merged(log.coverage for log in logs)


def _merge(
    query: Query, logs: Sequence[SegmentLog], records: Sequence[Iterator[StoredRecord]], once: _Once | None
) -> Iterator[Answer]:
    streams = [_checked(query, log, of_log) for log, of_log in zip(logs, records, strict=True)]
    answers: Iterable[Answer] = (
        streams[0]
        if len(streams) == 1
        else heapq.merge(*streams, key=lambda a: a.event.time_ns, reverse=query.newest_first)
    )
    return (a for a in answers if once is None or once.admits(a))


def _checked(query: Query, log: SegmentLog, records: Iterator[StoredRecord]) -> Iterator[Answer]:
    test = compile_test(query.where)
    for seq, event, line in records:
        if within(query, event) and test(event, seq):
            yield Answer(log, seq, event, line)


class _Once:
    """Recognises the event that another log gave already. Counted, so that one log's own repeats all stay."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[object, ...], dict[SegmentLog, int]] = OrderedDict()

    def admits(self, answer: Answer) -> bool:
        e = answer.event
        if not e.id:
            return True  # KumoMTA's own records have no id: equal ones may be two logins in the same instant
        # What every format keeps alike: some fill in a user, some keep milliseconds only.
        key = (e.id, e.time_ns // 1_000_000, e.type, e.description)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = {}
            if len(self._counts) > _REMEMBERED:
                self._counts.popitem(last=False)
        elsewhere = max(counts.values(), default=0)
        counts[answer.log] = counts.get(answer.log, 0) + 1
        return counts[answer.log] > elsewhere
