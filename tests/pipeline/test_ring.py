"""The ring: acknowledgement, back-pressure, losses, and what a kill at the wrong instant leaves."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from kumoaudit.core.errors import RecordRefused, StorageFault
from kumoaudit.core.event import Mark
from kumoaudit.core.spec import RingSpec
from kumoaudit.pipeline.ring import Ring
from kumoaudit.pipeline.ring_file import NoMapping
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.spool import INT64_MAX, S_COUNT, S_USED
from tests.fakes import FaultyDisk, eventually, route_spec

_LINE = b"x" * 99 + b"\n"
_SMALL = RingSpec(1000, 3)


def ring(path: Path | None, spec: RingSpec = _SMALL, **options: object) -> Ring:
    given = route_spec("/nowhere", ring=spec, **{"block_timeout_ns": 0, **options})
    return Ring(RealDisk(), str(path) if path else None, given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ring"


def content(r: Ring) -> bytes:
    """Everything acknowledged that is not freed."""
    current, _ = r.state(0)
    return b"".join(bytes(r.view(n, 0, r.state(n)[1].used)) for n in range(r.freed, current + 1))


def test_what_was_appended_is_there_for_who_opens_the_ring_again(path: Path) -> None:
    """The store of `used` is the acknowledgement: the line survives the process."""
    lines = [b"%d\n" % n for n in range(50)]
    first = ring(path)

    for n, line in enumerate(lines):
        assert first.append(line, 1000 + n)
    first.close()
    again = ring(path)

    assert content(again) == b"".join(lines)
    _, state = again.state(0)
    assert (state.count, state.time_min_ns, state.time_max_ns) == (50, 1000, 1049)
    assert again.ring_id == first.ring_id


def test_a_full_ring_refuses_the_caller_after_block_timeout_and_says_why(path: Path) -> None:
    """Reliability, section 2: blocking is bounded by `block_timeout`; nothing disappears silently."""
    r = ring(path)
    for _ in range(30):
        r.append(_LINE, 1)
    r.trouble = "/log: no space left"

    with pytest.raises(RecordRefused) as refused:
        r.append(_LINE, 1)

    assert "log 'a' did not take the record within" in str(refused.value)
    assert "no space left" in str(refused.value)
    assert content(r) == _LINE * 30


def test_a_blocked_caller_goes_on_when_a_block_is_freed(path: Path) -> None:
    """`overflow = 'block'`: the caller waits, nothing is lost."""
    r = ring(path, block_timeout_ns=60_000_000_000)
    for _ in range(30):
        r.append(_LINE, 1)
    done: list[bool] = []
    waiter = threading.Thread(target=lambda: done.append(r.append(b"late\n", 1)))
    waiter.start()
    eventually(lambda: r.flush_wanted, "the caller asks the writer for room")

    r.free(1, 10)
    waiter.join(20)

    assert done == [True]
    assert content(r).endswith(b"late\n")


@pytest.mark.parametrize(
    "options",
    [{"overflow": "drop"}, {"on_failure": "continue"}, {"required": False}, {"overflow": "drop", "required": False}],
)
def test_a_loss_is_counted_in_the_block_where_it_belongs(path: Path, options: dict[str, object]) -> None:
    """`drop`, or `continue` after `block_timeout`: exact counts and times, in the mapped file, so a kill keeps them."""
    r = ring(path, **options)
    for _ in range(30):
        r.append(_LINE, 1)

    assert [r.append(_LINE, t) for t in (50, 40, 60)] == [False] * 3
    r.close()
    _, state = ring(path).state(2)

    assert (state.dropped, state.drop_min_ns, state.drop_max_ns) == (3, 40, 60)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_back_pressure_is_never_exceeded(path: Path, limit: int) -> None:
    """KumoMTA `back_pressure`: that many records wait at most; every one that reaches its file makes room for one."""
    r = ring(path, RingSpec(1000, 3, limit), overflow="drop")
    accepted = in_file = 0
    for n in range(200):
        accepted += r.append(b"%d\n" % n, 1)
        assert accepted - in_file <= limit
        if n % 3 == 0:
            in_file = accepted
            r.in_file(in_file)

    assert accepted >= 60


def test_back_pressure_counts_what_waits_in_earlier_blocks(path: Path) -> None:
    """Also after a restart, when some of it is left from the run before."""
    first = ring(path, RingSpec(1000, 3))
    for _ in range(15):
        first.append(_LINE, 1)
    first.close()

    r = ring(path, RingSpec(1000, 3, 16), overflow="drop")

    assert [r.append(b"x\n", 1) for _ in range(3)] == [True, False, False]


def test_a_limit_of_nothing_still_lets_one_through(path: Path) -> None:
    r = ring(path, RingSpec(1000, 3, 0), overflow="drop")

    assert [r.append(b"x\n", 1) for _ in range(2)] == [True, False]


def test_a_record_longer_than_a_block_is_refused_with_its_size(path: Path) -> None:
    r = ring(path)

    with pytest.raises(RecordRefused) as refused:
        r.append(b"x" * 1001, 1)

    assert "1001 bytes" in str(refused.value)
    assert r.append(b"x" * 1000, 1)


@pytest.mark.parametrize("time_ns", [-1, -(1 << 70), 1 << 64, 1 << 80])
def test_an_impossible_time_does_not_lock_the_ring(path: Path, time_ns: int) -> None:
    """The mutex is shared with Lua: whatever is wrong with an event, it must be given back."""
    r = ring(path, overflow="drop")

    assert r.append(_LINE, time_ns)
    for _ in range(40):
        r.append(_LINE, time_ns)

    _, state = r.state(0)
    assert 0 <= state.time_min_ns <= state.time_max_ns <= INT64_MAX or state.time_min_ns == INT64_MAX


def test_a_closed_ring_takes_nothing_more(path: Path) -> None:
    r = ring(path)
    r.append(_LINE, 1)

    r.refuse_from_now_on()

    with pytest.raises(RecordRefused):
        r.append(_LINE, 1)
    assert content(r) == _LINE


def test_a_kill_between_count_and_used_is_made_up_for(path: Path) -> None:
    """The count of the open block may be one ahead of its lines; `used` is what counts."""
    first = ring(path)
    for _ in range(5):
        first.append(_LINE, 1)
    first._slots[S_COUNT] += 1
    first.close()

    _, state = ring(path).state(0)

    assert (state.count, state.used) == (5, 500)


def test_a_kill_in_the_middle_of_turning_the_block_changes_nothing(path: Path) -> None:
    """Slot first, the number of the open block last."""
    first = ring(path)
    for _ in range(10):
        first.append(_LINE, 1)
    first._slots[8 + S_USED] = 77  # the next slot, half made
    first.close()
    again = ring(path)

    again.append(b"next\n", 1)

    assert content(again) == _LINE * 10 + b"next\n"


def test_the_mark_is_the_last_one_and_a_torn_one_never_counts(path: Path) -> None:
    """Two cells, written in turn; the index is stored last."""
    r = ring(path)
    marks = [Mark(r.ring_id, n, n * 10, n + 1, b"s" * n, n) for n in range(5)]
    for mark in marks:
        r.set_mark(mark)
        assert r.mark == mark
    at = r._h[9]
    r._mem[128 if at else 512 : (128 if at else 512) + 40] = b"\xff" * 40  # killed while the other cell was written

    assert r.mark == marks[-1]


def test_a_ring_is_made_whole_or_not_at_all(path: Path) -> None:
    """Reliability, section 4: made under another name, preallocated, renamed. No room: exit 3, how much and where."""
    disk = FaultyDisk()
    disk.fail("preallocate", errno.ENOSPC)

    with pytest.raises(StorageFault) as refused:
        Ring(disk, str(path), route_spec("/nowhere", ring=_SMALL))

    assert str(path) in str(refused.value)
    assert f"{4096 + 3000} bytes" in str(refused.value)
    assert refused.value.exit_code == 3
    assert os.listdir(path.parent) == []


def test_where_nothing_can_be_mapped_the_caller_is_told_so(path: Path) -> None:
    """Such a log writes each record to its file before it returns."""
    for kind, code in (("preallocate", errno.EOPNOTSUPP), ("map", errno.ENODEV)):
        disk = FaultyDisk()
        disk.fail(kind, code)
        with pytest.raises(NoMapping):
            Ring(disk, str(path), route_spec("/nowhere", ring=_SMALL))


def test_a_file_that_is_no_ring_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)

    with pytest.raises(StorageFault) as refused:
        ring(path)

    assert "is not a ring" in str(refused.value)
    assert path.read_bytes() == b"something else" * 1000


@pytest.mark.parametrize("size", [0, 4096 + 3000])
def test_a_ring_whose_header_a_power_cut_has_taken_is_made_anew(path: Path, size: int) -> None:
    """Not even the header was on the disk (reliability, section 2): it must not keep the host from starting."""
    path.write_bytes(b"\0" * size)

    assert ring(path).append(_LINE, 1)


def test_the_header_of_a_ring_is_on_the_disk_before_its_name(path: Path) -> None:
    disk = FaultyDisk()

    Ring(disk, str(path), route_spec("/nowhere", ring=_SMALL))

    kinds = [kind for kind, _ in disk.log if kind in ("pwrite", "fsync", "rename")]
    assert kinds == ["pwrite", "fsync", "rename"]


def test_the_ring_has_its_mode_whatever_the_umask(path: Path) -> None:
    old = os.umask(0o077)
    try:
        ring(path)
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_producers_of_many_threads_keep_their_own_order(path: Path) -> None:
    """If A returned before B began, A stands before B: one total order."""
    r = ring(path, RingSpec(1 << 20, 3))

    def produce(p: int) -> None:
        for n in range(2000):
            r.append(b"%d %d\n" % (p, n), 1)

    threads = [threading.Thread(target=produce, args=(p,)) for p in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    found = [tuple(map(int, line.split())) for line in content(r).splitlines()]
    assert len(found) == 8000
    for p in range(4):
        assert [n for q, n in found if q == p] == list(range(2000))
