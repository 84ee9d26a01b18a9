"""RouteWriter: the one consumer of a ring. Ring -> sink, commits, retry, group commit, rotation by time.

It owns its sink: every call of the sink happens under `_sink_lock`, by the writer's thread or, for a record that must
survive power, by the thread that waits for it (the short way when nobody else waits; a group when somebody does).
It never enters Lua and never waits for another log.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from msgspec import structs

from kumoaudit.core.errors import EnvironmentFault, RecordRefused
from kumoaudit.core.event import Batch, Mark
from kumoaudit.core.protocols import Clock, Sink
from kumoaudit.core.spec import RouteSpec
from kumoaudit.core.timetext import rfc3339
from kumoaudit.pipeline.ring import Ring
from kumoaudit.segments.spool import BlockState

# A reader of the file sees an event within a second: noticed at a tick, flushed when the line is this old.
TICK_S = 0.2
FLUSH_NS = 700_000_000
# An open frame ends after a minute, so that no reader meets an unfinished frame for long; smaller frames pack worse.
FRAME_NS = 60_000_000_000
RETRY_S = 1.0

_NOTHING, _FLUSH, _COMMIT = 0, 1, 2


class Notices(Protocol):
    """Where a writer says what happened to its log (`pipeline.notices`)."""

    def record(self, kind: str, log: str, description: str, detail: dict[str, object]) -> bytes:
        """The line for the log itself; other logs get the event too, from another thread."""
        ...

    def say(self, text: str) -> None:
        """One line for the operator."""
        ...


class RouteWriter:
    """Started by `start`, ended by `stop`. `sync`, `reopen`, `flush`: any thread."""

    def __init__(self, spec: RouteSpec, ring: Ring, sink: Sink, clock: Clock, notices: Notices) -> None:
        self.spec, self.ring, self.sink = spec, ring, sink
        self._clock, self._notices = clock, notices
        self._sink_lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._reopen_wanted = False
        self._notes: list[bytes] = []
        self._trouble_since = 0.0
        self._retry_at = 0.0
        self._power = spec.durability == "power"
        self._prepare: Callable[[memoryview], bytes] | None = getattr(sink, "prepare", None)
        threads = getattr(sink, "threads", 1)
        self._pool = ThreadPoolExecutor(threads, f"compress-{spec.name}") if self._prepare and threads > 1 else None
        self._depth = threads
        self._ahead: dict[int, Future[bytes]] = {}
        self.dropped = 0
        self._block = self._start = self._sent = self._counted = 0
        self._base = self._earlier = 0
        self._gap_line: tuple[int, int, bytes] = (-1, 0, b"")
        self._durable = (0, 0)
        self._dirty_since = self._frame_since = 0

    # -- life ---------------------------------------------------------------------------------------------------

    def open(self, mark: Mark) -> Mark:
        """Open the sink and stand where its last commit stood. Raises what the sink raises."""
        with self._sink_lock:
            resumed = self.sink.open(mark)
            freed = self.ring.freed
            self._stand(resumed)
            self._base = sum(self.ring.state(block)[1].count for block in range(freed, self._block))
            self._earlier = self._base + self._counted
            self.ring.set_mark(Mark(self.ring.ring_id, self._block, self._start, resumed.next_seq))
            self.ring.free(self._block, self._base)
            return resumed

    def _stand(self, mark: Mark) -> None:
        """Go on behind *mark*, or behind the blocks that are freed, whichever is later."""
        ring = self.ring
        position = (ring.freed, 0)
        if mark.ring_id == ring.ring_id:
            position = max(position, (mark.block, mark.offset))
        self._block, self._start = position
        self._sent = self._start
        self._counted = bytes(ring.view(self._block, 0, self._start)).count(b"\n")
        self._dirty_since = self._frame_since = 0
        self._ahead.clear()

    def note(self, line: bytes) -> None:
        """A line of the writer's own for its log; it goes with the next commit, through no ring."""
        with self._sink_lock:
            self._notes.append(line)

    def start(self) -> None:
        """Begin to consume, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"writer-{self.spec.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> int:
        """Write what is left, finish the sink; returns how many records stayed in the ring (0 when all is written)."""
        self._stopping = True
        self.ring.kick.set()
        if self._thread:
            self._thread.join(timeout_s)
        if self._pool:
            self._pool.shutdown(wait=False)
        return self.waiting()

    @property
    def written(self) -> int:
        """Records of the ring that reached their file since the start."""
        return self._base + self._counted - self._earlier

    def waiting(self) -> int:
        """Records in the ring that no commit has reached."""
        current, _ = self.ring.state(0)
        total = 0
        for block in range(self._block, current + 1):
            _, s = self.ring.state(block)
            total += s.count if s.block == block else 0
        return max(0, total - self._counted)

    def reopen(self) -> None:
        """Go on in a new file as soon as the current frame is committed."""
        self._reopen_wanted = True
        self.ring.kick.set()

    def flush(self) -> None:
        """Make everything acknowledged so far visible in the file, on the calling thread. Raises OSError."""
        with self._sink_lock:
            while self._step(_FLUSH):
                pass

    # -- durability ---------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Return when everything acknowledged before the call survives the loss of power.

        Alone, the caller does the work itself; who comes while another's fdatasync runs waits for the next one, which
        covers all that wait. Raises RecordRefused when the disk does not take it within `block_timeout`.
        """
        ring = self.ring
        want = ring.end()
        give_up = 0.0
        while True:
            with self._sink_lock:
                if self._durable >= want:
                    return
                if not self._trouble_since:
                    try:
                        while self._step(_FLUSH):
                            pass
                        position = (self._block, self._sent)
                        self.sink.sync()
                        self._durable = max(self._durable, position)
                        return
                    except (OSError, EnvironmentFault) as e:
                        self._failed(e)
            now = time.monotonic()
            give_up = give_up or now + self.spec.block_timeout_ns / 1e9
            if now >= give_up:
                if self.spec.on_failure == "continue" or not self.spec.required:
                    return
                raise RecordRefused(f"log '{self.spec.name}': the record is not safe from power loss: {ring.trouble}")
            time.sleep(min(0.05, give_up - now))

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self.ring.kick.wait(self._pause())
            self.ring.kick.clear()
            last = self._stopping
            try:
                with self._sink_lock:
                    if self._trouble_since and not self._recovered(last):
                        if last:
                            return
                        continue
                    while self._step(_COMMIT if last or self._reopen_wanted else _NOTHING):
                        pass
                    if self._reopen_wanted:
                        self._reopen_wanted = False
                        self.sink.reopen()
                    if last:
                        self.sink.close()
                        return
            except Exception as e:  # noqa: BLE001 - whatever a sink raises, the writer goes on: it reports and retries
                self._failed(e)
                if last:
                    return

    def _pause(self) -> float:
        """Seconds until there may be something to do."""
        if self._trouble_since:
            return max(0.01, self._retry_at - time.monotonic())
        wait = TICK_S
        if self._dirty_since:
            wait = min(wait, (self._dirty_since + FLUSH_NS - self._clock.monotonic_ns()) / 1e9)
        return max(0.001, wait)

    def step(self) -> None:
        """One round of the writer's work on the calling thread (what its thread does; tests drive it by their clock)."""
        with self._sink_lock:
            while self._step(_NOTHING):
                pass

    def _step(self, force: int) -> bool:
        """One look at the block in turn; True when there is another block to look at."""
        ring = self.ring
        current, s = ring.state(self._block)
        now = self._clock.monotonic_ns()
        full = current > self._block
        used, count = (s.used, s.count) if s.block == self._block else (0, 0)
        new = used - self._sent
        if new and not self._dirty_since:
            self._dirty_since = now
        if used > self._start and not self._frame_since:
            self._frame_since = now
        due = self.sink.deadline_ns is not None and now >= self.sink.deadline_ns
        commit = full or due or force == _COMMIT or bool(self._notes)
        commit = commit or (self._frame_since != 0 and now - self._frame_since >= FRAME_NS)
        gap = self._gap(s) if s.dropped and s.block == self._block and (full or commit) else None
        if commit and (used > self._start or self._notes or gap):
            self._commit(s, used, count, current, gap)
            if gap:
                ring.settle_drops(self._block, s.dropped)
                self.dropped += s.dropped
        elif new and (force == _FLUSH or ring.flush_wanted or now - self._dirty_since >= FLUSH_NS):
            mark = self.sink.write(self._batch(s, used, count, commit=False))
            self._advance(used, count)
            if mark:
                self._committed(mark)
        if due and self._sent == self._start:
            self.sink.reopen()
        if full:
            self._base += count
            self._block += 1
            self._start = self._sent = self._counted = 0
            self._dirty_since = self._frame_since = 0
            self._durable = max(self._durable, (self._block, 0)) if self._power else self._durable
            ring.free(self._block, self._base)
            return True
        ring.flush_wanted = False
        return False

    def _batch(self, s: BlockState, used: int, count: int, *, commit: bool) -> Batch:
        return Batch(
            self.ring.view(self._block, self._sent, used),
            count - self._counted,
            s.time_min_ns,
            s.time_max_ns,
            self.ring.ring_id,
            self._block,
            self._sent,
            commit,
        )

    def _commit(self, s: BlockState, used: int, count: int, current: int, gap: bytes | None) -> None:
        batch = self._batch(s, used, count, commit=True)
        if self._notes or gap:
            extra = [*self._notes, *([gap] if gap else [])]
            now = self._clock.now_ns()
            low, high = min(s.time_min_ns, now), max(s.time_max_ns, now)
            batch = structs.replace(
                batch, time_min_ns=low, time_max_ns=high, extra=b"".join(extra), extra_count=len(extra)
            )
        elif self._pool and current > self._block and self._sent == 0:
            batch = structs.replace(batch, prepared=self._compressed_ahead(current))
        mark = self.sink.write(batch)
        if self._power:
            self.sink.sync()
        self._notes.clear()
        self._advance(used, count)
        if mark:
            self._committed(mark)
        if self._trouble_since:
            self._restored()

    def _advance(self, used: int, count: int) -> None:
        self._sent, self._counted = used, count
        self._dirty_since = 0
        self.ring.in_file(self._base + count)

    def _committed(self, mark: Mark) -> None:
        self._start = mark.offset
        self._frame_since = 0 if mark.offset == self._sent else self._frame_since
        self.ring.set_mark(mark)
        if self._power:
            self._durable = max(self._durable, (mark.block, mark.offset))

    def _compressed_ahead(self, current: int) -> bytes | None:
        """The frame of the block in turn from the pool, and the next full blocks on their way there."""
        if current - self._block < 2 and self._block not in self._ahead:
            return None
        assert self._pool is not None
        assert self._prepare is not None
        for block in range(self._block, min(current, self._block + self._depth + 1)):
            if block not in self._ahead:
                _, s = self.ring.state(block)
                self._ahead[block] = self._pool.submit(self._prepare, self.ring.view(block, 0, s.used))
        return self._ahead.pop(self._block).result()

    # -- losses and trouble -------------------------------------------------------------------------------------

    def _gap(self, s: BlockState) -> bytes:
        """The record of what was lost while this block was the open one: its place in the log is behind the block."""
        block, dropped, line = self._gap_line
        if (block, dropped) != (s.block, s.dropped):
            reason = "sink_error" if self._trouble_since else "queue_full"
            line = self._notices.record(
                "audit_gap",
                self.spec.name,
                f"{s.dropped} records of log '{self.spec.name}' were lost: {reason}",
                {
                    "log": self.spec.name,
                    "lost": s.dropped,
                    "reason": reason,
                    "first": rfc3339(s.drop_min_ns),
                    "last": rfc3339(s.drop_max_ns),
                },
            )
            self._gap_line = (s.block, s.dropped, line)
        return line

    def _failed(self, error: BaseException) -> None:
        """The sink did not take a batch: say so once, keep the lines in the ring, try again every second."""
        self._retry_at = time.monotonic() + RETRY_S
        text = describe_fault(error, self.spec)
        self.ring.trouble = text
        if not self._trouble_since:
            self._trouble_since = time.monotonic()
            waiting = self.waiting()
            self._notices.say(
                f"log '{self.spec.name}': {text}; {waiting} events wait in the ring; retrying every second"
            )
            detail = {"log": self.spec.name, "reason": text, "waiting": waiting}
            self._notes.append(
                self._notices.record(
                    "audit_degraded", self.spec.name, f"log '{self.spec.name}' cannot write: {text}", detail
                )
            )

    def _recovered(self, last: bool) -> bool:
        """Try the sink again: go back to its last commit. False while it still fails."""
        if time.monotonic() < self._retry_at and not last:
            return False
        try:
            mark = self.ring.mark
            self._stand(self.sink.open(Mark(self.ring.ring_id, mark.block, mark.offset, mark.next_seq)))
            # The commit that follows carries the note about the trouble; only when it is through is it over.
            while self._step(_COMMIT):
                pass
        except (OSError, EnvironmentFault) as e:
            self._failed(e)
            return False
        return not self._trouble_since

    def _restored(self) -> None:
        seconds = round(time.monotonic() - self._trouble_since, 3)
        self._trouble_since = 0.0
        self.ring.trouble = ""
        self._notices.say(f"log '{self.spec.name}' records again after {seconds} s; nothing was lost from the ring")
        self._notes.append(
            self._notices.record(
                "audit_restored",
                self.spec.name,
                f"log '{self.spec.name}' records again",
                {"log": self.spec.name, "seconds": seconds},
            )
        )
        self.ring.wake()

    @property
    def is_failed(self) -> bool:
        """Whether the log does not record just now."""
        return self._trouble_since != 0.0


def describe_fault(error: BaseException, spec: RouteSpec) -> str:
    """What is wrong with the place a log writes to, and what helps, for an operator."""
    if isinstance(error, OSError):
        remedy = {
            errno.ENOSPC: "free space or lower retention",
            errno.EDQUOT: "raise the quota or lower retention",
            errno.EROFS: "mount it writable again",
            errno.EACCES: "give the host's user write permission",
        }.get(error.errno or 0, "")
        reason = (error.strerror or str(error)).lower()
        return f"{spec.path}: {reason}" + (f" ({remedy})" if remedy else "")
    return str(error)
