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
from typing import NamedTuple

from msgspec import structs

from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.event import Batch, Mark
from kumoaudit.core.protocols import Clock, Sink
from kumoaudit.core.spec import RouteSpec
from kumoaudit.core.timetext import rfc3339
from kumoaudit.pipeline.group import GroupCommit
from kumoaudit.pipeline.notices import WriterNotices
from kumoaudit.pipeline.ring import Ring
from kumoaudit.segments.reserve import RAISE_LIMIT, too_many_open_files
from kumoaudit.segments.spool import BlockState

# A reader of the file sees an event within a second: noticed at a tick, flushed when the line is this old.
TICK_S = 0.2
FLUSH_NS = 700_000_000
# An open frame ends after a minute, so that no reader meets an unfinished frame for long; smaller frames pack worse.
FRAME_NS = 60_000_000_000
RETRY_NS = 1_000_000_000

_NOTHING, _FLUSH, _COMMIT = 0, 1, 2


class _Gap(NamedTuple):
    """A record of losses on its way into the log: `upto` in all of those counted against `block` are told with it."""

    block: int
    upto: int
    lost: int
    line: bytes


class Backlog(NamedTuple):
    """What lies in the ring and no commit has reached, and losses that the log does not tell yet."""

    records: int
    bytes: int
    untold: int


class RouteWriter:
    """Started by `start`, ended by `stop`. `sync`, `reopen`, `flush`: any thread."""

    def __init__(self, spec: RouteSpec, ring: Ring, sink: Sink, clock: Clock, notices: WriterNotices) -> None:
        self.spec, self.ring, self.sink = spec, ring, sink
        self._clock, self._notices = clock, notices
        self._sink_lock = threading.RLock()
        self._group = GroupCommit()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._reopen_wanted = False
        self._notes: list[bytes] = []
        self._trouble_since = 0
        self._retry_at = 0
        self._troubled = -1
        """The block that was open when the last trouble ended: what was lost up to there was lost for its sake."""
        self._power = spec.durability == "power"
        self._owes_sync = False
        """Whether lines of an earlier run, which may have promised more, are written and not yet safe again."""
        self._prepare: Callable[[memoryview], bytes] | None = getattr(sink, "prepare", None)
        threads = getattr(sink, "threads", 1)
        self._pool = ThreadPoolExecutor(threads, f"compress-{spec.name}") if self._prepare and threads > 1 else None
        self._depth = threads
        if hasattr(sink, "say"):
            sink.say = lambda text: notices.say(f"log '{spec.name}': {text}")
        self._ahead: dict[int, Future[bytes]] = {}
        self.dropped = self.refused = self.failures = 0
        """Losses that the log tells, callers of `sync` and `flush` that were refused, errors of the sink."""
        self.last_commit_ns = 0
        """Wall time of the sink's last commit in this run; 0 before the first."""
        self._reached = 0
        self._syncing_since = 0
        self._block = self._start = self._sent = self._counted = self._committed_count = 0
        self._next_seq = 1
        self._base = self._earlier = 0
        self._told = 0
        """Losses of the block in turn that the log tells."""
        self._gap: _Gap | None = None
        self._noted = 0
        """How many of the notes were in the last batch that was tried."""
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
            self._earlier = self._reached = self._base + self._counted
            here = structs.replace(
                resumed, ring_id=self.ring.ring_id, block=self._block, offset=self._start, dropped=self._told
            )
            self.ring.set_mark(here)
            self.ring.free(self._block, self._base + self._counted)
            if self.waiting():
                # Some of it may have been promised to survive the loss of power, by a run that was configured so, and
                # the cut at the last commit has taken that promise back: give it again before anything else.
                self._owes_sync = True
                try:
                    while self._step(_FLUSH):
                        pass
                    self.sink.sync()
                    self._owes_sync = False
                except OSError as e:
                    self._failed(e)  # a full disk never stops a start
            return resumed

    def _stand(self, mark: Mark) -> None:
        """Go on behind *mark*, or behind the blocks that are freed, whichever is later."""
        ring = self.ring
        position = (ring.freed, 0)
        self._told = 0
        if mark.ring_id == ring.ring_id and (mark.block, mark.offset) >= position:
            position = (mark.block, mark.offset)
            self._told = mark.dropped
        self._block, self._start = position
        self._sent = self._start
        self._counted = self._committed_count = self._lines(0, self._start)
        self._next_seq = mark.next_seq
        self._dirty_since = self._frame_since = 0
        self._ahead.clear()

    def _lines(self, start: int, end: int) -> int:
        """How many records stand between two offsets of the block in turn."""
        return bytes(self.ring.view(self._block, start, end)).count(b"\n") if end > start else 0

    def _return(self) -> None:
        """Go back to the last commit of the sink, after an error. What it has taken of the last batch is not offered
        again: lines by their position, the writer's own by the number of records."""
        before, seq = self._start, self._next_seq
        self._stand(self.sink.open(self.ring.mark))
        del self._notes[: max(0, min(self._noted, self._next_seq - seq - self._lines(before, self._start)))]
        self._noted = 0
        if self._gap and self._gap.block == self._block and self._gap.upto <= self._told:
            self._settle_gap(self._gap)
        self.ring.in_file(self._base + self._counted)

    def short_of_room(self, why: str) -> None:
        """The place of the log is below its `min_free_*` limits; any thread."""
        name = self.spec.name
        detail: dict[str, object] = {"log": name, "reason": why}
        self.note(self._notices.degraded("room", name, f"log '{name}' is short of room", detail))

    def has_room_again(self) -> None:
        """It is above them again; any thread."""
        name = self.spec.name
        self.note(self._notices.restored("room", name, f"log '{name}' has room again", {"log": name}))

    def note(self, line: bytes | None) -> None:
        """A line of the writer's own for its log; it goes with the next commit, through no ring."""
        # Without the lock: a writer whose disk hangs holds it, and nobody else may hang with it.
        if line is not None:
            self._notes.append(line)

    def start(self) -> None:
        """Begin to consume, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"writer-{self.spec.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float, is_hurried: Callable[[], bool] = lambda: False) -> int:
        """Write what is left, finish the sink; returns how many records stayed in the ring (0 when all is written).

        Waits *timeout_s*, or a second once *is_hurried* says so."""
        self._stopping = True
        self.ring.kick.set()
        if self._thread:
            deadline, hurried = Deadline(self._clock, timeout_s), False
            while self._thread.is_alive() and (step := deadline.step_s()):
                self._thread.join(step)
                if not hurried and is_hurried():
                    hurried, deadline = True, Deadline(self._clock, min(1.0, deadline.left_s()))
        else:
            self._end()
        if self._pool:
            self._pool.shutdown(wait=False)
        return self.waiting()

    @property
    def written(self) -> int:
        """Records of the ring that reached their file since the start. Any thread; never falls."""
        return self._reached - self._earlier

    @property
    def unwritten_since_ns(self) -> int:
        """Monotonic time since which something waits that is not in its file, or a sync runs; 0 for nothing."""
        return self._trouble_since or self._dirty_since or self._syncing_since

    def waiting(self) -> int:
        """Records in the ring that no commit has reached."""
        return self.backlog().records

    def backlog(self) -> Backlog:
        """How much waits just now. Any thread."""
        first, start, committed, told = self._block, self._start, self._committed_count, self._told
        current, _ = self.ring.state(0)
        records, size, untold = -committed, -start, -told
        for block in range(first, current + 1):
            _, s = self.ring.state(block)
            if s.block == block:
                records, size, untold = records + s.count, size + s.used, untold + s.dropped
        return Backlog(max(0, records), max(0, size), max(0, untold))

    def reopen(self) -> None:
        """Go on in a new file as soon as the current frame is committed."""
        self._reopen_wanted = True
        self.ring.kick.set()

    # -- durability ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Return when everything acknowledged before the call is in the file. Raises RecordRefused as `sync` does."""
        self._settle("is in no file yet", self.ring.end(), self._patience(), sync=False)

    def sync(self) -> None:
        """Return when everything acknowledged before the call survives the loss of power.

        Alone, the caller does the work itself; who comes while another's fdatasync runs waits for the next one, which
        covers all that wait. Raises RecordRefused when the disk does not take it within `block_timeout`.
        """
        what, want, patience = "is not safe from power loss", self.ring.end(), self._patience()
        role = self._group.join(want, patience)
        if role == "late":
            self._settle(what, want, patience, sync=True)
        elif role == "lead":
            try:
                self._group.gather()
                self._settle(what, want, patience, sync=True)
            finally:
                self._group.finish(self._durable)

    def _patience(self) -> Deadline:
        """Until when a caller that comes now waits at most."""
        return Deadline(self._clock, self.spec.block_timeout_ns / 1e9)

    def _settle(self, what: str, want: tuple[int, int], patience: Deadline, *, sync: bool) -> None:
        """Bring everything up to position *want* into the file, and with *sync* onto the disk, on this thread."""
        while True:
            # Another thread may be waiting for a disk that hangs: then nobody waits longer than promised.
            while not (is_mine := self._sink_lock.acquire(timeout=patience.step_s())) and patience.left_s():
                pass
            if is_mine:
                try:
                    if sync and self._durable >= want:
                        return
                    if not self._trouble_since:
                        while self._step(_FLUSH):
                            pass
                        if sync:
                            position = (self._block, self._sent)
                            self._sync_sink()
                            self._durable = max(self._durable, position)
                        return
                except Exception as e:  # noqa: BLE001 - as in `_run`
                    self._failed(e)
                    self.ring.kick.set()
                finally:
                    self._sink_lock.release()
            if not (left := patience.left_s()):
                if self.spec.on_failure == "continue" or not self.spec.required:
                    return
                why = self.ring.trouble or "its disk does not answer"
                self.refused += 1
                raise RecordRefused(f"log '{self.spec.name}': the record {what}: {why}")
            time.sleep(min(0.05, left))

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self.ring.kick.wait(self._pause())
            self.ring.kick.clear()
            self.step()
        self._end()

    def _end(self) -> None:
        # Once more if need be: a fault that ends a file (EIO of fdatasync, say) does not end the log.
        if not self._finish() and not self._finish():
            try:
                self.sink.close()
            except Exception as e:  # noqa: BLE001 - as in `step`; what is not in the file stays in the ring
                self._failed(e)

    def _pause(self) -> float:
        """Seconds until there may be something to do."""
        now = self._clock.monotonic_ns()
        if self._trouble_since:
            return min(TICK_S, max(0.01, (self._retry_at - now) / 1e9))
        wait = TICK_S
        if self._dirty_since:
            wait = min(wait, (self._dirty_since + FLUSH_NS - now) / 1e9)
        return max(0.001, wait)

    def step(self) -> None:
        """One round of the writer's work: on its thread, or on a test's under a test clock."""
        with self._sink_lock:
            try:
                if self._trouble_since and not self._recovered(at_once=False):
                    return
                force = _COMMIT if self._reopen_wanted else _NOTHING
                while self._step(force):
                    pass
                if self._reopen_wanted:
                    self.sink.reopen()
                    self._reopen_wanted = False
            except Exception as e:  # noqa: BLE001 - whatever a sink raises, the writer goes on: it reports and retries
                self._failed(e)

    def _finish(self) -> bool:
        """Write what is left, and close the sink; False when it did not take it all."""
        with self._sink_lock:
            try:
                if self._trouble_since and not self._recovered(at_once=True):
                    return False
                while self._step(_COMMIT) or self._notes:
                    pass
                self.sink.close()
            except Exception as e:  # noqa: BLE001 - as in `step`
                self._failed(e)
                return False
            return True

    def _step(self, force: int) -> bool:
        """One look at the block in turn; True when there is something more to do at once."""
        ring = self.ring
        # Asked for before the look: who asks later has kicked the writer again.
        flush_wanted, ring.flush_wanted = ring.flush_wanted, False
        current, s = ring.state(self._block)
        now = self._clock.monotonic_ns()
        full = current > self._block
        used, count = (s.used, s.count) if s.block == self._block else (0, 0)
        lost = s.dropped > self._told and s.block == self._block
        new = used > self._sent
        if new and not self._dirty_since:
            self._dirty_since = now
        if (used > self._start or lost) and not self._frame_since:
            self._frame_since = now
        due = self.sink.deadline_ns is not None and now >= self.sink.deadline_ns
        commit = full or due or force == _COMMIT or bool(self._notes)
        commit = commit or (self._frame_since != 0 and now - self._frame_since >= FRAME_NS)
        if commit and (used > self._start or self._notes or lost):
            self._commit(s, used, count, current, self._gap_of(s) if lost else None)
            if full and s.dropped > self._told:
                return True
        elif new and (force == _FLUSH or flush_wanted or now - self._dirty_since >= FLUSH_NS):
            mark = self.sink.write(self._batch(s, used, count, commit=False))
            self._advance(used, count)
            if mark:
                self._committed(mark)
        if due and self._sent == self._start:
            self.sink.reopen()
        if full:
            self._base += count
            self._block += 1
            self._start = self._sent = self._counted = self._committed_count = self._told = 0
            self._dirty_since = self._frame_since = 0
            self._durable = max(self._durable, (self._block, 0)) if self._power else self._durable
            ring.free(self._block, self._base)
        return full

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
            dropped=self._told,
        )

    def _commit(self, s: BlockState, used: int, count: int, current: int, gap: _Gap | None) -> None:
        batch = self._batch(s, used, count, commit=True)
        notes = list(self._notes)
        if notes or gap:
            extra = [*notes, *([gap.line] if gap else [])]
            now = self._clock.now_ns()
            batch = structs.replace(
                batch,
                time_min_ns=min(s.time_min_ns, now),
                time_max_ns=max(s.time_max_ns, now),
                extra=b"".join(extra),
                extra_count=len(extra),
                dropped=gap.upto if gap else self._told,
            )
        elif self._pool and current > self._block and self._sent == 0:
            batch = structs.replace(batch, prepared=self._compressed_ahead(current))
        self._noted = len(notes)
        mark = self.sink.write(batch)
        if self._power or self._owes_sync:
            self._sync_sink()
            self._owes_sync = False
        del self._notes[: self._noted]
        self._noted = 0
        if gap:
            self._settle_gap(gap)
        self._advance(used, count)
        if mark:
            self._committed(mark)
        if self._trouble_since:
            self._restored()

    def _sync_sink(self) -> None:
        self._syncing_since = self._clock.monotonic_ns()
        self.sink.sync()
        self._syncing_since = 0

    def _advance(self, used: int, count: int) -> None:
        self._sent, self._counted = used, count
        self._reached = max(self._reached, self._base + count)
        self._dirty_since = 0
        self.ring.in_file(self._base + count)

    def _committed(self, mark: Mark) -> None:
        if mark.offset == self._sent:
            self._committed_count = self._counted
        else:
            self._committed_count += self._lines(self._start, mark.offset)
        self._start = mark.offset
        self._frame_since = 0 if mark.offset == self._sent else self._frame_since
        self._next_seq = mark.next_seq
        self.last_commit_ns = self._clock.now_ns()
        self.ring.set_mark(structs.replace(mark, dropped=self._told))
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

    def _gap_of(self, s: BlockState) -> _Gap:
        """The record of what was lost while this block was the open one: its place in the log is behind the block. Made
        once, however often its batch has to be tried; what is lost meanwhile goes into another."""
        if self._gap and self._gap.block == s.block:
            return self._gap
        lost = s.dropped - self._told
        reason = "sink_error" if self._trouble_since or s.block <= self._troubled else "queue_full"
        log = f"of log '{self.spec.name}'"
        what = f"{lost} records {log} were lost" if lost > 1 else f"a record {log} was lost"
        detail: dict[str, object] = {
            "log": self.spec.name,
            "lost": lost,
            "reason": reason,
            "first": rfc3339(s.drop_min_ns),
            "last": rfc3339(s.drop_max_ns),
        }
        line = self._notices.record("audit_gap", self.spec.name, f"{what}: {reason}", detail)
        self._gap = _Gap(s.block, s.dropped, lost, line)
        return self._gap

    def _settle_gap(self, gap: _Gap) -> None:
        self._told = gap.upto
        self.dropped += gap.lost
        self._gap = None
        self.ring.drops_told(gap.block, gap.upto)

    def _failed(self, error: BaseException) -> None:
        """The sink did not take a batch: say so once, keep the lines in the ring, try again every second."""
        now = self._clock.monotonic_ns()
        self.failures += 1
        self._syncing_since = 0
        self._retry_at = now + RETRY_NS
        text = describe_fault(error, self.spec)
        self.ring.trouble = text
        if not self._trouble_since:
            self._trouble_since = now
            waiting = self.waiting()
            detail = {"log": self.spec.name, "reason": text, "waiting": waiting}
            name = self.spec.name
            self.note(self._notices.degraded("sink", name, f"log '{name}' cannot write: {text}", detail))
            self._notices.say(
                f"log '{self.spec.name}': {text}; {waiting} events wait in the ring; retrying every second"
            )

    def _recovered(self, *, at_once: bool) -> bool:
        """Try the sink again: go back to its last commit. False while it still fails."""
        if self._clock.monotonic_ns() < self._retry_at and not at_once:
            return False
        self._return()
        # The commit that follows carries the note about the trouble; only when it is through is it over.
        while self._step(_COMMIT):
            pass
        if self._trouble_since:
            self._restored()
        return True

    def _restored(self) -> None:
        seconds = round((self._clock.monotonic_ns() - self._trouble_since) / 1e9, 3)
        self._trouble_since = 0
        self._troubled = self.ring.end()[0]
        self.ring.trouble = ""
        name = self.spec.name
        detail: dict[str, object] = {"log": name, "seconds": seconds}
        self.note(self._notices.restored("sink", name, f"log '{name}' records again", detail))
        self.ring.wake()
        self._notices.say(f"log '{self.spec.name}' records again after {seconds} s; nothing was lost from the ring")


def describe_fault(error: BaseException, spec: RouteSpec) -> str:
    """What is wrong with the place a log writes to, and what helps, for an operator."""
    if isinstance(error, OSError):
        remedy = {
            errno.ENOSPC: "free space or lower retention",
            errno.EDQUOT: "raise the quota or lower retention",
            errno.EROFS: "mount it writable again",
            errno.EACCES: "give the host's user write permission",
            errno.EMFILE: RAISE_LIMIT,
        }.get(error.errno or 0, "")
        reason = (error.strerror or str(error)).lower()
        if error.errno == errno.EMFILE:
            reason = too_many_open_files()
        return f"{spec.path}: {reason}" + (f" ({remedy})" if remedy else "")
    return str(error)
