"""A running log: its spec, encoder, ring and writer; and how one comes back after whatever ended the last run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kumoaudit.core.errors import DecodeFault, StorageFault
from kumoaudit.core.event import Batch, Event, Mark
from kumoaudit.core.predicate import Predicate
from kumoaudit.core.protocols import Clock, Disk, Sink
from kumoaudit.core.spec import RouteSpec
from kumoaudit.formats import FORMATS
from kumoaudit.pipeline.encode import PythonEncoder, claims_test
from kumoaudit.pipeline.notices import WriterNotices
from kumoaudit.pipeline.ring import Ring
from kumoaudit.pipeline.ring_file import NoMapping
from kumoaudit.pipeline.totals import Tally
from kumoaudit.pipeline.writer import RouteWriter
from kumoaudit.segments.frames import Trailer
from kumoaudit.segments.recover import Recent, recent_frames, trusted_lines
from kumoaudit.segments.writer import Recovery
from kumoaudit.sinks import SINKS


class Route:
    """One log that is open. `put`: any thread."""

    def __init__(self, spec: RouteSpec, encoder: PythonEncoder, ring: Ring, writer: RouteWriter) -> None:
        self.spec, self.encoder, self.ring, self.writer = spec, encoder, ring, writer
        self.claimed: Predicate = spec.claims
        """What the log is meant for just now (more than its spec says while it is the only one)."""
        self.claims: Callable[[Event], bool] | None = claims_test(spec.claims, spec.plan.fill)
        self.takes = encoder.takes if encoder.has_filter else None
        """The log's own filter; None takes everything."""
        # Without a mapped file the ring does not survive the process, so the file must have the line first.
        self.writes_through = ring.path is None
        self.is_power = spec.durability == "power"
        self.max_line_bytes = ring.block_bytes
        self._filtered = Tally()
        self.count_filtered = self._filtered.steps
        self.filtered_in_lua = ctypes.c_uint64()

        self.is_durable = self.is_power or self.writes_through
        """Whether `put` waits for the disk, however much room the ring has."""
        self.is_lossy = spec.overflow == "drop"
        self.has_room = ring.has_room

        # Record a line as durably as the route promises; False when it was dropped. Raises RecordRefused. The third
        # argument is the caller's patience, as in `Ring.append`; the disk takes the time that it takes.
        self.put = self._put_durably if self.is_durable else ring.append

    @property
    def filtered(self) -> int:
        """Events that the log was meant for and its filter did not want; of those born in Lua, `filtered_in_lua`."""
        return self._filtered.value

    def wants(self, event: Event) -> bool | None:
        """Whether the log records *event*: None when it is not meant for it, False when its filter does not take it."""
        if (claims := self.claims) is not None and not claims(event):
            return None
        return (takes := self.takes) is None or takes(event)

    def _put_durably(self, line: bytes, time_ns: int, patience_ns: int | None = None) -> bool:
        if not self.ring.append(line, time_ns, patience_ns):
            return False
        self.make_durable()
        return True

    def put_lines(
        self, lines: bytes, count: int, time_min_ns: int, time_max_ns: int, patience_ns: int | None = None
    ) -> list[int]:
        """As `put` for *count* lines at once, with one wait for the disk; the indices of those that were dropped."""
        lost = self.ring.append_lines(lines, count, time_min_ns, time_max_ns, patience_ns)
        if self.is_durable and len(lost) < count:
            self.make_durable()
        return lost

    def may_wait(self) -> bool:
        """Whether a put now might block its caller. Any thread, no lock."""
        return self.is_durable or not (self.is_lossy or self.has_room())

    def make_durable(self) -> None:
        """Return when what was appended before is as safe as the route promises. Raises RecordRefused."""
        if self.is_power:
            self.writer.sync()
        else:
            self.writer.flush()


def open_route(
    disk: Disk,
    clock: Clock,
    spec: RouteSpec,
    encoder: PythonEncoder,
    ring_path: str,
    notices: WriterNotices,
) -> Route:
    """Bring a log up: ring and sink where the last run left them, nothing lost and nothing twice; not started yet.

    Raises StorageFault, LogInUse, or OSError from the middle of a recovery (which can be made again).
    """
    sink = SINKS[spec.sink](disk, clock, spec, ring_path)
    try:
        ring = Ring(disk, clock, ring_path, spec)
    except NoMapping as e:
        notices.say(f"{e}; log '{spec.name}' writes each record to its file before it returns")
        ring = Ring(disk, clock, None, spec)
    except OSError as e:
        raise StorageFault(f"{ring_path}: {e.strerror or e}") from None
    try:
        if not ring.same_boot:
            ring = _after_reboot(disk, clock, spec, ring, sink, ring_path, notices)
        writer = RouteWriter(spec, ring, sink, clock, notices)
        is_ours = ring.mark.ring_id == ring.ring_id
        writer.open(ring.mark if is_ours else Mark())
    except BaseException as e:
        sink_close(sink)
        ring.close()
        if isinstance(e, OSError):
            raise StorageFault(f"log '{spec.name}': {spec.path}: {e.strerror or e}") from None
        raise
    waiting = writer.waiting()
    recovery: Recovery | None = getattr(sink, "recovery", None)
    if recovery or waiting:
        writer.note(_recovered(spec, notices, recovery, waiting, verified=recovery is None or is_ours))
    return Route(spec, encoder, ring, writer)


def sink_close(sink: Sink) -> None:
    """Let go of a sink that never got to work; the first error is the one to report."""
    try:
        sink.close()
    except (OSError, StorageFault):
        pass


def _recovered(
    spec: RouteSpec, notices: WriterNotices, recovery: Recovery | None, in_ring: int, *, verified: bool
) -> bytes:
    detail: dict[str, object] = {"log": spec.name, "lines_from_ring": in_ring, "verified": verified}
    if recovery:
        detail |= {
            "segment": recovery.segment,
            "bytes_cut": recovery.bytes_cut,
            "sha256": recovery.sha256,
            "lines_kept": recovery.lines_kept,
        }
    cut = recovery.bytes_cut if recovery else 0
    text = f"log '{spec.name}' was not closed: {in_ring} records taken from the ring, {cut} bytes of an open frame cut"
    notices.say(text)
    return notices.record("audit_recovered", spec.name, text, detail)


def _after_reboot(
    disk: Disk,
    clock: Clock,
    spec: RouteSpec,
    ring: Ring,
    sink: Sink,
    ring_path: str,
    notices: WriterNotices,
) -> Ring:
    """The ring is of another boot: its pages may be older than its header. Keep what the segment's torn tail holds and
    the ring lines that can be believed, then begin a new ring."""
    decode = FORMATS[spec.plan.format].decode

    def decodes(line: bytes) -> bool:
        try:
            decode(line)
        except DecodeFault:
            return False
        return True

    old = ring.mark
    # No ring stands behind the log any more (ring id 0), so a torn tail is repaired, not cut.
    sink.open(Mark(next_seq=old.next_seq))
    prefix = spec.file_prefix or spec.name
    recent = Recent(set(), None)
    if spec.path:
        size = 2 * ring.block_bytes * ring.blocks
        recent = recent_frames(disk, spec.path, prefix, ring.ring_id, ring.blocks, size)
    lines, lost = _left_in(ring, old, recent.trailer)
    # What the repaired tail held stands at the front of the ring's share: in the log already.
    while (newline := lines.find(b"\n")) >= 0 and lines[:newline] in recent.lines:
        lines = lines[newline + 1 :]
    kept = trusted_lines(lines, recent.lines, decodes)
    count = kept.count(b"\n")
    notes = []
    recovery: Recovery | None = getattr(sink, "recovery", None)
    if recovery or lines:
        text = (
            f"log '{spec.name}' was open when the machine went down: {count} records taken from the ring, "
            f"{recovery.lines_kept if recovery else 0} from an unfinished frame"
        )
        notices.say(text)
        detail: dict[str, object] = {"log": spec.name, "lines_from_ring": count, "verified": False}
        if recovery:
            detail |= {"segment": recovery.segment, "bytes_cut": recovery.bytes_cut, "sha256": recovery.sha256}
            detail["lines_kept"] = recovery.lines_kept
        notes.append(notices.record("audit_recovered", spec.name, text, detail))
    if lost:
        text = f"{lost} records of log '{spec.name}' were lost before the machine went down: queue_full"
        loss: dict[str, object] = {"log": spec.name, "lost": lost, "reason": "queue_full", "verified": False}
        notes.append(notices.record("audit_gap", spec.name, text, loss))
    seq = old.next_seq
    if kept or notes:
        now = clock.now_ns()
        batch = Batch(
            memoryview(kept), count, 0, now, 0, 0, 0, commit=True, extra=b"".join(notes), extra_count=len(notes)
        )
        mark = sink.write(batch)
        sink.sync()
        seq = mark.next_seq if mark else seq
    ring.close()
    disk.unlink(ring_path)
    fresh = Ring(disk, clock, ring_path, spec)
    fresh.set_mark(Mark(fresh.ring_id, 0, 0, seq))
    return fresh


def _left_in(ring: Ring, mark: Mark, trailer: Trailer | None) -> tuple[bytes, int]:
    """What the ring of another boot holds behind its last mark or the log's last trailer, whichever is later: lines,
    believed or not, and how many losses are not told yet."""
    current, _ = ring.state(0)
    block, offset, told = max((mark.block, mark.offset, mark.dropped), (ring.freed, 0, 0))
    if trailer:
        block, offset, told = max((block, offset, told), (trailer.block, trailer.offset, trailer.dropped))
    parts, lost = [], 0
    for number in range(block, min(current, block + ring.blocks - 1) + 1):
        _, s = ring.state(number)
        if s.block != number or s.used > ring.block_bytes:
            break
        parts.append(bytes(ring.view(number, offset if number == block else 0, s.used)))
        lost += max(0, s.dropped - (told if number == block else 0))
    return b"".join(parts), lost
