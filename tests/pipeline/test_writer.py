"""RouteWriter: from the ring into segments, under a test clock and on a disk that fails when told to."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from msgspec import structs

from kumoaudit.core.errors import RecordRefused, StorageFault
from kumoaudit.core.event import Batch
from kumoaudit.core.spec import RingSpec, RotationSpec
from kumoaudit.pipeline.ring import Ring
from kumoaudit.pipeline.route import Route
from kumoaudit.pipeline.writer import RouteWriter
from kumoaudit.segments.recover import torn_lines
from tests.crash.support import Contents
from tests.fakes import Announced, FakeClock, FaultyDisk, eventually, open_test_route, route_spec
from tests.memory_sink import MemorySink
from tests.support import event, stored

_MEGABYTE = 1 << 20


class World:
    """A log under a test clock and a faulty disk; `restart` kills it and opens it again."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory, self.log_dir = directory, directory / "a"
        self.ring_path = directory / "spool" / "a.ring"
        self.clock, self.disk, self.heard = FakeClock(), FaultyDisk(), Announced()
        self.spec = route_spec(self.log_dir, **{"ring": RingSpec(65536, 4), "block_timeout_ns": 0, **options})
        self.written = 0
        self.route = self.open()

    def open(self) -> Route:
        return open_test_route(self.spec, self.ring_path, disk=self.disk, clock=self.clock, announced=self.heard)

    def put(self, count: int = 1, *, pad: int = 0) -> None:
        """Acknowledged records `n=1:1:`, `n=1:2:` ..."""
        for _ in range(count):
            line = self.line(self.written + 1, pad)
            assert self.route.put(line, self.clock.now_ns())
            self.written += 1

    def line(self, number: int, pad: int = 0) -> bytes:
        return stored(event(number, description=f"n=1:{number}:" + "x" * pad)) + b"\n"

    def tick(self, seconds: float, step: float = 0.2) -> None:
        """Time passes as the writer's thread sees it."""
        for _ in range(max(1, round(seconds / step))):
            self.clock.advance(step)
            self.route.writer.step()

    def restart(self) -> None:
        """The process is killed: what is in memory is gone, descriptors and locks too."""
        self.kill()
        self.route = self.open()

    def kill(self) -> None:
        sink: Any = self.route.writer.sink
        for fd in (sink._fd, sink._place._lock._fd if sink._place._lock else -1):
            if fd >= 0:
                os.close(fd)
        self.route.ring.close()

    def stop(self) -> int:
        self.route.ring.refuse_from_now_on()
        left = self.route.writer.stop(10)
        self.route.ring.close()
        return left

    def segments(self) -> list[Path]:
        return sorted(p for p in self.log_dir.iterdir() if not p.name.startswith("."))

    def contents(self) -> Contents:
        return Contents(self.log_dir)

    def check(self) -> Contents:
        """Everything acknowledged is there once, numbered without a gap."""
        contents = self.contents()
        contents.check({1: self.written})
        return contents

    def records(self, type_: str) -> list[dict[str, Any]]:
        return [r for r in map(orjson.loads, self.contents().lines) if r["type"] == type_]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    return lambda **options: World(tmp_path, **options)


Make = Callable[..., World]


# -- when things become visible ---------------------------------------------------------------------------------


def test_an_event_is_visible_in_the_file_within_a_second_while_idle(make: Make) -> None:
    """Reliability, section 2: `flush_interval` says when readers of the segment files see an event."""
    w = make()
    w.tick(5)
    w.put()

    w.tick(1.0)

    (segment,) = w.segments()
    assert b"n=1:1:" in torn_lines(segment.read_bytes())


def test_an_open_frame_ends_after_a_minute(make: Make) -> None:
    """So that no other reader meets an unfinished frame for long."""
    w = make()
    w.put()
    w.tick(59)
    (segment,) = w.segments()
    assert b"n=1:1:" in torn_lines(segment.read_bytes())
    assert w.route.ring.mark.offset == 0

    w.tick(2)

    assert w.route.ring.mark.offset == len(w.line(1))


def realistic(random_: random.Random, clock: FakeClock) -> bytes:
    """A line of some 300 bytes, as an application writes them: who, from where, what, to which object."""
    made = event(
        id=str(uuid.UUID(int=random_.getrandbits(128), version=4)),
        time_ns=clock.now_ns() + random_.randrange(10**8),
        user=random_.choice(["alice", "bob", "carol", "dave", "erin", "frank"]) + str(random_.randrange(40)),
        peer=f"10.{random_.randrange(4)}.{random_.randrange(256)}.{random_.randrange(256)}:{random_.randrange(65536)}",
        session_type="console",
        module="billing",
        tag=random_.choice(["invoice", "refund", "export"]),
        type=random_.choice(["custom_invoice_paid", "custom_refund", "custom_export_done"]),
        description=f"order {random_.randrange(10**8)} of customer {random_.randrange(10**5)}: {random_.randrange(10**6)} cents",
    )
    return stored(made) + b"\n"


def test_an_hour_of_ten_events_a_second_costs_a_quarter_more_than_one_frame_at_most(make: Make) -> None:
    """Performance, section 11: x1.11 of one single frame of the same lines."""
    w = make(ring=RingSpec(_MEGABYTE, 8))
    random_ = random.Random(11)
    for _ in range(3600):
        for _ in range(5):
            w.route.put(realistic(random_, w.clock), w.clock.now_ns())
            w.route.put(realistic(random_, w.clock), w.clock.now_ns())
            w.tick(0.2)
    assert w.stop() == 0

    text = b"".join(line + b"\n" for line in w.check().lines)
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=17)
    one_frame = len(zstandard.ZstdCompressor(compression_params=parameters).compress(text))
    size = sum(p.stat().st_size for p in w.segments())
    print(f"{len(text)} bytes of lines, {size} stored, {size / one_frame:.3f} x one frame")
    assert size <= 1.25 * one_frame


# -- rotation -----------------------------------------------------------------------------------------------------


def test_an_idle_segment_is_finished_when_its_time_has_passed(make: Make) -> None:
    """KumoMTA `max_segment_duration`, D15: by a timer while idle."""
    w = make(rotation=RotationSpec(max_age_ns=10_000_000_000))
    w.put()
    w.tick(9)
    assert [stat.S_IMODE(p.stat().st_mode) for p in w.segments()] == [0o640]

    w.tick(3)

    assert [stat.S_IMODE(p.stat().st_mode) for p in w.segments()] == [0o440]
    w.put()
    w.tick(1)
    assert len(w.segments()) == 2
    w.check()


@pytest.mark.parametrize(
    "rotation", [RotationSpec(max_bytes=1000), RotationSpec(max_bytes=0), RotationSpec(max_age_ns=0)]
)
def test_numbers_have_no_gap_over_rotations_and_restarts(make: Make, rotation: RotationSpec) -> None:
    """`seq`: per log, gapless, survives restart (reliability, section 3)."""
    w = make(rotation=rotation)
    for i in range(12):
        w.put(5, pad=i * 20)
        w.tick(0.2 if i % 3 else 1.0)
        if i % 4 == 3:
            w.restart()
    assert w.stop() == 0

    contents = w.check()

    assert len(contents.seqs) == 60 + len(w.records("audit_recovered"))
    limit = rotation.max_bytes if rotation.max_age_ns is None else 0
    if not limit:
        assert len(w.segments()) >= 60


def test_sighup_goes_on_in_a_new_file_and_loses_nothing(make: Make) -> None:
    w = make()
    for _ in range(5):
        w.put(3)
        w.route.writer.reopen()
        w.tick(0.2)
        w.put(1)
    assert w.stop() == 0

    assert len(w.segments()) == 6
    w.check()


def test_a_block_of_the_ring_is_a_frame_and_is_freed(make: Make) -> None:
    w = make()
    w.put(700, pad=200)  # some four blocks of 64 KiB
    w.tick(0.2)
    w.put(300, pad=200)
    w.tick(0.2)

    assert w.route.ring.freed >= 4
    assert w.stop() == 0
    w.check()


# -- back-pressure and losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_small_back_pressure_works_and_goes_on_after_a_restart(make: Make, limit: int) -> None:
    """KumoMTA `back_pressure`: also 1, also when the open block holds records of the run before."""
    w = make(ring=RingSpec(65536, 4, limit), block_timeout_ns=20_000_000_000)
    for _ in range(2):
        w.route.writer.start()
        w.put(40)
        assert w.stop() == 0
        w.route = w.open()
    w.stop()

    w.check()


def test_a_full_ring_blocks_and_loses_nothing(make: Make) -> None:
    """`overflow = 'block'`."""
    w = make(ring=RingSpec(4096, 2), block_timeout_ns=20_000_000_000)
    w.route.writer.start()

    w.put(500)

    assert w.stop() == 0
    w.check()
    assert not w.records("audit_gap")


@pytest.mark.parametrize("killed", [False, True])
def test_losses_are_counted_exactly_and_told_in_the_log(make: Make, killed: bool) -> None:
    """Reliability, sentence 2: `drop` is counted, one `audit_gap` a burst, with the exact number, also after a crash."""
    w = make(ring=RingSpec(4096, 2), overflow="drop")
    lost = 0
    for burst in range(3):
        for n in range(40 + burst):
            taken = w.route.put(w.line(w.written + 1), w.clock.now_ns() + n)
            w.written += taken
            lost += not taken
        if killed:
            w.restart()
        w.tick(1.0)
    assert w.stop() == 0

    gaps = w.records("audit_gap")

    assert lost > 20
    assert sum(g["detail"]["lost"] for g in gaps) == lost
    assert 1 <= len(gaps) <= 3
    assert {g["detail"]["reason"] for g in gaps} == {"queue_full"}
    assert w.heard.types().count("audit_gap") == len(gaps)
    w.check()


def test_a_loss_with_nothing_behind_it_is_told_too(make: Make) -> None:
    """No further event is needed: the record comes within a minute by itself."""
    w = make(ring=RingSpec(4096, 2, 1), overflow="drop")
    w.put()
    assert not w.route.put(w.line(2), w.clock.now_ns())
    w.tick(0.2)
    w.route.writer.reopen()
    w.tick(0.2)
    assert not w.route.put(b"x" * 60 + b"\n", 1) or w.route.ring.state(0)[1].dropped
    w.tick(61)

    assert [g["detail"]["lost"] for g in w.records("audit_gap")] == [1]


def test_losses_told_before_a_kill_are_not_told_again(make: Make) -> None:
    """The trailer says how many are told, so frame and count are there together or not."""
    w = make(ring=RingSpec(4096, 2, 3), overflow="drop")
    for n in range(9):
        w.written += w.route.put(w.line(w.written + 1), w.clock.now_ns() + n)
    # The commit reaches the file, and the process dies before it remembers that in the ring.
    w.route.ring.drops_told = lambda *_: None  # type: ignore[method-assign]
    w.route.ring.set_mark = lambda _: None  # type: ignore[method-assign]
    w.tick(61)
    assert [g["detail"]["lost"] for g in w.records("audit_gap")] == [6]

    w.restart()
    w.tick(61)
    assert w.stop() == 0

    assert [g["detail"]["lost"] for g in w.records("audit_gap")] == [6]
    w.check()


def test_with_on_failure_continue_a_loss_in_trouble_is_told_afterwards(make: Make) -> None:
    """The caller goes on and the loss is counted and recorded (interface, section 5)."""
    w = make(ring=RingSpec(4096, 2), on_failure="continue")
    w.disk.fail("write", errno.ENOSPC, for_ever=True, path="/a/a-")
    w.tick(0.2)
    lost = 0
    for _ in range(60):
        taken = w.route.put(w.line(w.written + 1), w.clock.now_ns())
        w.written += taken
        lost += not taken
        w.tick(0.2)
    w.disk.heal()
    w.tick(3)
    assert w.stop() == 0

    assert {g["detail"]["reason"] for g in w.records("audit_gap")} == {"sink_error"}
    assert sum(g["detail"]["lost"] for g in w.records("audit_gap")) == lost > 0
    w.check()


def test_with_on_failure_refuse_the_caller_is_told_after_block_timeout(make: Make) -> None:
    w = make(ring=RingSpec(4096, 2))
    w.disk.fail("write", errno.ENOSPC, for_ever=True, path="/a/a-")
    w.tick(0.2)
    refused = None
    for _ in range(100):
        try:
            w.put()
        except RecordRefused as e:
            refused = e
            break
        w.tick(0.2)

    assert "no space left on device (free space or lower retention)" in str(refused)
    w.disk.heal()
    w.tick(3)
    assert w.stop() == 0
    w.check()


# -- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("power", [False, True])
def test_a_write_that_fails_loses_nothing_and_doubles_nothing(make: Make, code: int, nth: int, power: bool) -> None:
    """Reliability, section 5: lines stay in the ring, retry every second; said and recorded once, and when it is over."""
    w = make(durability="power" if power else "process", rotation=RotationSpec(max_bytes=2000), block_timeout_ns=0)
    w.put(1) if not power else append(w, 1)
    w.tick(1)
    w.disk.fail("write", code, nth=nth, path="/a/a-")
    for _ in range(8):
        append(w, 4)
        w.tick(1)
    w.tick(3)
    assert w.stop() == 0

    w.check()
    assert len(w.records("audit_degraded")) == len(w.records("audit_restored")) == 1
    assert w.heard.types().count("audit_degraded") == w.heard.types().count("audit_restored") == 1
    assert len([s for s in w.heard.said if "retrying every second" in s]) == 1


def append(w: World, count: int) -> None:
    """Into the ring, without waiting for the disk."""
    for _ in range(count):
        assert w.route.ring.append(w.line(w.written + 1), w.clock.now_ns())
        w.written += 1


def test_short_writes_are_followed_up(make: Make) -> None:
    w = make(rotation=RotationSpec(max_bytes=3000))
    w.disk.short = 7
    w.put(50)
    w.tick(2)
    assert w.stop() == 0

    w.check()
    assert not w.records("audit_degraded")


def test_a_fault_for_ever_leaves_everything_in_the_ring_for_the_next_start(make: Make) -> None:
    w = make()
    w.put(20)
    w.disk.fail("write", errno.EIO, for_ever=True)

    assert w.stop() == 20
    w.disk.heal()
    w.route = w.open()
    assert w.stop() == 0

    w.check()


def test_an_error_of_fdatasync_is_final_for_the_descriptor(make: Make) -> None:
    """Reliability, section 4: the kernel may call the pages clean and the next fdatasync succeed. So: another segment,
    the lines again from the ring, only then acknowledged."""
    w = make(durability="power", block_timeout_ns=20_000_000_000)
    w.put(3)
    w.tick(61)
    (first,) = w.segments()
    synced = first.stat().st_size
    w.disk.fail("fdatasync", errno.EIO)
    w.clock.advance(10)
    append(w, 3)

    with pytest.raises(OSError):
        raise_once(w)
    w.tick(2)
    assert w.stop() == 0

    assert stat.S_IMODE(first.stat().st_mode) == 0o440
    assert first.stat().st_size == synced
    assert len(w.segments()) == 2
    w.check()
    assert len(w.records("audit_degraded")) == 1


def raise_once(w: World) -> None:
    """What a caller does who waits for `power`, up to the error."""
    writer = w.route.writer
    with writer._sink_lock:
        while writer._step(1):
            pass
        try:
            writer.sink.sync()
        except OSError as e:
            writer._failed(e)
            raise


def test_power_returns_only_when_the_disk_has_it(make: Make) -> None:
    """Reliability, section 2: `audit.log` returns when fdatasync of the segment returned, and of its name."""
    w = make(durability="power")
    w.disk.log.clear()

    w.put()

    kinds = [kind for kind, what in w.disk.log if kind in ("write", "fdatasync", "fsync_dir")]
    assert kinds == ["write", "fdatasync", "fsync_dir"]
    assert b"n=1:1:" in torn_lines(w.segments()[0].read_bytes())


def test_a_power_record_that_the_disk_does_not_take_is_refused(make: Make) -> None:
    w = make(durability="power")
    w.disk.fail("fdatasync", errno.EIO, for_ever=True)

    with pytest.raises(RecordRefused) as refused:
        w.put()

    assert "not safe from power loss" in str(refused.value)
    assert "input/output error" in str(refused.value)


def remove(w: World) -> None:
    shutil.rmtree(w.log_dir)


def replace_(w: World) -> None:
    (segment,) = w.segments()
    segment.rename(w.directory / "elsewhere")
    segment.write_bytes(b"not ours\n")


def truncate(w: World) -> None:
    (segment,) = w.segments()
    os.truncate(segment, 10)


def append_to(w: World) -> None:
    (segment,) = w.segments()
    with segment.open("ab") as f:
        f.write(b"somebody else")


@pytest.mark.parametrize("harm", [remove, replace_, truncate, append_to])
def test_a_segment_that_was_touched_is_noticed_and_its_open_lines_are_written_again(
    make: Make, harm: Callable[[World], None]
) -> None:
    """Reliability, section 5: a write to a removed file succeeds, so only a look finds out."""
    w = make()
    w.put(5)
    w.tick(1)  # visible, in an open frame

    harm(w)
    w.put(5)
    w.tick(5)
    assert w.stop() == 0

    w.check()
    assert len(w.records("audit_degraded")) == 1
    if harm is replace_:
        assert b"not ours\n" in [p.read_bytes() for p in w.segments()]


def test_a_log_dir_that_was_replaced_is_locked_anew(make: Make) -> None:
    w = make()
    w.put()
    w.tick(1)
    w.log_dir.rename(w.directory / "elsewhere")
    w.log_dir.mkdir()

    w.put()
    w.tick(5)

    assert (w.log_dir / ".kumoaudit" / "lock").exists()
    assert w.stop() == 0
    w.check()


# -- every call of the disk ---------------------------------------------------------------------------------------


def scenario(w: World) -> None:
    """Start is behind us: three batches, a rotation by size, a reopening."""
    append(w, 3)
    w.tick(1)
    append(w, 60)
    w.tick(1)
    append(w, 1)
    w.tick(1)
    w.route.writer.reopen()
    w.tick(1)
    append(w, 60)
    w.tick(1)
    w.tick(61, step=30)
    append(w, 3)
    w.tick(1)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("for_ever", [False, True])
def test_whichever_call_of_the_disk_fails_nothing_is_lost_or_doubled(
    tmp_path: Path, for_ever: bool, power: bool
) -> None:
    """Reliability, 5.4: for each N over a whole scenario, fail it once and for ever; then a restart must succeed and
    every acknowledged line is there once, numbered without a gap."""
    options: dict[str, Any] = {
        "rotation": RotationSpec(max_bytes=2500),
        "durability": "power" if power else "process",
        "ring": RingSpec(65536, 4),
    }
    total = 0
    for n in range(1, 2000):
        w = World(tmp_path / str(n), **options)
        before = w.disk.calls
        w.disk.fail("", errno.EIO, nth=n, for_ever=for_ever)
        try:
            scenario(w)
        except RecordRefused:
            pass
        reached = w.disk.calls - before
        try:
            w.stop()
        except OSError:
            pass  # the ring's own descriptor
        w.disk.heal()
        let_go(w)
        w.route = w.open()
        assert w.stop() == 0
        w.check()
        shutil.rmtree(tmp_path / str(n))
        total = n
        if reached < n:
            break
    print(f"{total} calls failed, one after the other")
    assert total > 50


@pytest.mark.parametrize("power", [False, True])
def test_whichever_call_of_a_start_fails_the_next_start_finds_everything(tmp_path: Path, power: bool) -> None:
    """Kill -9 and then an error in the middle of recovery: it is repeatable."""
    for n in range(1, 500):
        w = World(tmp_path / str(n), durability="power" if power else "process", rotation=RotationSpec(max_bytes=2500))
        append(w, 20)
        w.tick(1)
        w.kill()
        w.disk.fail("", errno.EIO, nth=n)
        calls = w.disk.calls
        try:
            w.route = w.open()
        except StorageFault:
            w.route = w.open()
        reached = w.disk.calls - calls
        w.disk.heal()
        append(w, 5)
        assert w.stop() == 0
        w.check()
        shutil.rmtree(tmp_path / str(n))
        if reached < n:
            break
    assert n > 20


def let_go(w: World) -> None:
    """The process is gone, whatever was still open in it."""
    sink: Any = w.route.writer.sink
    if sink._place._lock:
        sink._place._lock.release()


# -- retry, seen from a sink --------------------------------------------------------------------------------------


def test_the_sink_gets_every_line_once_in_order_over_errors(tmp_path: Path) -> None:
    clock, attempts = FakeClock(), [0]

    def refuse_some(_: Batch) -> None:
        attempts[0] += 1
        if attempts[0] % 3 == 0:
            raise OSError(errno.EIO, "input/output error")

    heard = Announced()
    spec = route_spec(tmp_path / "a", ring=RingSpec(4096, 4))
    sink = MemorySink(refuse_some)
    ring = Ring(FaultyDisk(), clock, str(tmp_path / "a.ring"), spec)
    route = open_test_route(spec, tmp_path / "spool" / "other.ring", announced=heard)
    writer = RouteWriter(spec, ring, sink, clock, route.writer._notices)
    writer.open(ring.mark)
    lines = [b'{"n":%d,"type":"x"}\n' % n for n in range(300)]
    for i, line in enumerate(lines):
        assert ring.append(line, 1)
        if i % 7 == 0:
            clock.advance(0.5)
            writer.step()
    for _ in range(200):
        clock.advance(2)
        writer.step()
    sink._on_write = None
    clock.advance(2)
    writer.step()
    assert writer.stop(1) == 0

    assert [line for line in sink.lines if b'"n":' in line] == lines
    assert sink.marks == sorted(sink.marks, key=lambda m: (m.block, m.offset, m.next_seq))
    assert sink.marks[-1].next_seq == len(sink.lines) + 1


def test_the_thread_survives_whatever_a_sink_raises(make: Make) -> None:
    w = make()
    sink: Any = w.route.writer.sink
    real, left = sink.write, [3]

    def fails(batch: Batch) -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("a bug of the sink")
        return real(batch)

    sink.write = fails
    w.put(5)
    w.tick(8)
    assert w.stop() == 0

    w.check()
    assert "a bug of the sink" in w.records("audit_degraded")[0]["description"]


def test_waiting_counts_what_no_commit_has_reached(make: Make) -> None:
    w = make()
    w.put(7)
    assert w.route.writer.waiting() == 7
    w.tick(1)
    assert w.route.writer.waiting() == 7  # visible, and still only the ring answers for it
    w.tick(61)
    assert w.route.writer.waiting() == 0


def test_a_writer_thread_makes_room_at_once_when_somebody_waits(make: Make) -> None:
    w = make(ring=RingSpec(65536, 4, 2), block_timeout_ns=20_000_000_000)
    w.route.writer.start()

    w.put(20)

    eventually(lambda: w.route.writer.written >= 18, "the writer flushes for those who wait")
    assert w.stop() == 0
    w.check()


@pytest.mark.parametrize("fails", [False, True])
def test_what_survived_the_loss_of_power_is_made_safe_again_by_a_run_that_promises_less(
    make: Make, fails: bool
) -> None:
    """A log changed from `power` to `process` over a kill, or taken out: its torn tail was on the disk, and is cut."""
    w = make(durability="power")
    w.put(3)
    w.kill()
    w.spec = structs.replace(w.spec, durability="process")
    if fails:
        w.disk.fail("fdatasync", errno.ENOSPC)
    before = w.disk.kinds["fdatasync"]

    w.route = w.open()

    assert w.disk.kinds["fdatasync"] == before + 1
    w.tick(3)
    assert w.disk.kinds["fdatasync"] == before + 1 + fails
    w.put(1)
    w.tick(70)
    assert w.disk.kinds["fdatasync"] == before + 1 + fails
    w.stop()
    w.check()
