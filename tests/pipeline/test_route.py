"""How a log comes back: after a kill, after a reboot, and where it cannot come up at all."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from kumoaudit.core.errors import RecordRefused, StorageFault
from kumoaudit.core.spec import RingSpec, RotationSpec
from tests.fakes import FaultyDisk, open_test_route, route_spec
from tests.pipeline.test_writer import World, append

_BOOT_WORDS_AT = 7 * 8


def other_boot(w: World) -> None:
    """The machine went down: the ring is of a boot that is over."""
    with w.ring_path.open("r+b") as f:
        f.seek(_BOOT_WORDS_AT)
        f.write(struct.pack("<2Q", 1, 2))


def reboot(w: World) -> None:
    w.kill()
    other_boot(w)
    w.route = w.open()


def test_after_a_kill_the_log_goes_on_and_says_what_it_took_from_the_ring(tmp_path: Path) -> None:
    """Reliability, section 4, Start: cut to the last trailer, go on from the ring; `audit_recovered` is a line behind."""
    w = World(tmp_path)
    w.put(5)
    w.tick(1)
    size = w.segments()[0].stat().st_size

    w.restart()
    w.tick(1)
    assert w.stop() == 0

    contents = w.check()
    (told,) = w.records("audit_recovered")
    assert told["detail"]["lines_from_ring"] == 5
    assert told["detail"]["bytes_cut"] == size
    assert told["detail"]["verified"] is True
    assert b"audit_recovered" in contents.lines[-1]
    assert any("was not closed" in said for said in w.heard.said)


def test_a_log_that_was_closed_says_nothing_at_the_next_start(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.put(5)
    assert w.stop() == 0

    w.route = w.open()
    assert w.stop() == 0

    assert len(w.check().lines) == 5
    assert w.heard.types() == []


def test_a_reboot_after_an_orderly_stop_says_nothing(tmp_path: Path) -> None:
    """No false alarm: nothing was open when the machine went down."""
    w = World(tmp_path)
    w.put(5)
    assert w.stop() == 0
    other_boot(w)

    w.route = w.open()
    w.put(1)
    assert w.stop() == 0

    assert len(w.check().lines) == 6
    assert w.heard.types() == []


@pytest.mark.parametrize("flushed", [0, 3, 10])
def test_after_a_reboot_the_torn_tail_is_kept_and_the_ring_goes_on_behind_it(tmp_path: Path, flushed: int) -> None:
    """Reliability, section 2: the torn tail is decoded and kept, ring lines follow if they can be believed."""
    w = World(tmp_path)
    w.put(4)
    w.tick(61)
    append(w, flushed)
    w.tick(1)
    append(w, 10 - flushed)

    reboot(w)
    w.put(2)
    assert w.stop() == 0

    w.check()
    (told,) = w.records("audit_recovered")
    assert told["detail"]["verified"] is False
    assert told["detail"]["lines_from_ring"] == 10 - flushed
    assert told["detail"].get("lines_kept", 0) == flushed
    if flushed:
        assert [p.name for p in (w.log_dir / ".kumoaudit").glob("*.torn")]
    assert not list((w.log_dir / ".kumoaudit").glob("*.repair"))


def test_a_stale_header_of_the_ring_doubles_nothing(tmp_path: Path) -> None:
    """After a power cut the kernel may have kept an old header: what the trailers say counts, over however many small
    frames and segments."""
    w = World(tmp_path, rotation=RotationSpec(max_bytes=1000))
    append(w, 10)
    w.tick(1)
    header = w.ring_path.read_bytes()[:4096]
    append(w, 200)
    w.tick(1)
    w.kill()
    with w.ring_path.open("r+b") as f:
        # Old mark and counters, but the slot says how far the block is used, as the newer page of the slot would.
        used = f.read(4096)[1024:1088]
        f.seek(0)
        f.write(header[:1024] + used + header[1088:])
    other_boot(w)

    w.route = w.open()
    assert w.stop() == 0

    w.check()


def test_lines_that_are_none_end_what_is_believed(tmp_path: Path) -> None:
    w = World(tmp_path)
    append(w, 6)
    w.kill()
    data = bytearray(w.ring_path.read_bytes())
    third = data.index(b"n=1:4:")
    data[third - 150 : third] = b"\0" * 150
    w.ring_path.write_bytes(bytes(data))
    other_boot(w)

    w.route = w.open()
    assert w.stop() == 0

    contents = w.contents()
    assert sorted(n for _, n in contents.numbers)[:2] == [1, 2]
    assert (1, 5) not in contents.numbers
    contents.check({1: 2})


def test_losses_that_were_not_told_before_a_reboot_are_told_after_it(tmp_path: Path) -> None:
    w = World(tmp_path, ring=RingSpec(4096, 2), overflow="drop")
    for n in range(60):
        w.written += w.route.put(w.line(w.written + 1), w.clock.now_ns() + n)
    lost = 60 - w.written

    reboot(w)
    assert w.stop() == 0

    assert [g["detail"]["lost"] for g in w.records("audit_gap")] == [lost]
    w.check()


@pytest.mark.parametrize("nth", range(1, 60))
def test_an_error_anywhere_in_the_recovery_after_a_reboot_leaves_it_repeatable(tmp_path: Path, nth: int) -> None:
    """A crash inside the repair must leave it repeatable (reliability, section 4)."""
    w = World(tmp_path)
    w.put(4)
    w.tick(61)
    append(w, 3)
    w.tick(1)
    append(w, 3)
    w.kill()
    other_boot(w)

    w.disk.fail("", errno.EIO, nth=nth)
    try:
        w.route = w.open()
    except StorageFault:
        w.disk.heal()
        w.route = w.open()
    w.disk.heal()
    append(w, 2)
    assert w.stop() == 0

    w.check()


def test_a_ring_that_is_gone_costs_only_what_it_alone_held(tmp_path: Path) -> None:
    """Spool deleted: the torn tail is repaired, numbers go on."""
    w = World(tmp_path)
    append(w, 3)
    w.tick(1)
    w.kill()
    w.ring_path.unlink()

    w.route = w.open()
    append(w, 2)
    assert w.stop() == 0

    w.check()
    assert w.records("audit_recovered")[0]["detail"]["verified"] is False


def test_without_a_mapped_ring_every_record_is_in_the_file_before_the_call_returns(tmp_path: Path) -> None:
    """Reliability, section 2: where a file system cannot preallocate or map, the host says so and writes through."""
    w = World(tmp_path / "x")
    w.stop()
    w.ring_path.unlink()
    w.disk.fail("preallocate", errno.EOPNOTSUPP)
    w.route = w.open()
    assert any("writes each record to its file before it returns" in said for said in w.heard.said)

    w.put(3)
    w.kill()
    w.disk.fail("preallocate", errno.EOPNOTSUPP)
    w.route = w.open()
    w.stop()

    w.check()


def test_written_through_on_a_failing_disk_the_caller_is_told(tmp_path: Path) -> None:
    w = World(tmp_path / "x")
    w.stop()
    w.ring_path.unlink()
    w.disk.fail("preallocate", errno.EOPNOTSUPP)
    w.route = w.open()
    w.disk.fail("write", errno.EIO, for_ever=True)

    with pytest.raises(RecordRefused) as refused:
        w.put()

    assert "is in no file yet" in str(refused.value)
    w.disk.heal()
    w.clock.advance(2)
    assert w.stop() == 0


def test_a_switched_off_log_comes_back_after_a_reboot(tmp_path: Path) -> None:
    """Tarantool `to: devnull`."""
    w = World(tmp_path, sink="devnull", path="")
    assert w.route.put(w.line(1), 1)
    w.route.ring.close()
    other_boot(w)

    w.route = w.open()

    assert w.route.put(w.line(2), 1)
    assert w.stop() == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_never_stops_a_restart(tmp_path: Path, code: int) -> None:
    """Reliability, section 4: an existing ring needs nothing."""
    w = World(tmp_path)
    w.put(5)
    w.tick(1)
    w.kill()
    for kind in ("write", "pwrite", "preallocate"):
        w.disk.fail(kind, code, for_ever=True)

    w.route = w.open()
    append(w, 5)
    w.tick(3)
    assert w.route.ring.trouble
    w.disk.heal()
    w.tick(3)
    assert w.stop() == 0

    w.check()


def test_a_read_only_place_is_a_storage_fault_that_names_it(tmp_path: Path) -> None:
    """At start: exit 3."""
    disk = FaultyDisk()
    disk.fail("makedirs", errno.EROFS, path="/a")
    with pytest.raises(StorageFault) as refused:
        open_test_route(route_spec(tmp_path / "a"), tmp_path / "spool" / "a.ring", disk=disk)

    assert str(tmp_path / "a") in str(refused.value)
    assert f"uid {os.geteuid()}" in str(refused.value)
