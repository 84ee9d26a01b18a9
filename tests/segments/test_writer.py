"""SegmentSink: rotation, names, modes, foreign files, places that must be refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from kumoaudit.core.errors import LogInUse, StorageFault
from kumoaudit.core.event import Batch, Mark
from kumoaudit.core.spec import CompressionSpec, RotationSpec
from kumoaudit.segments.cut import cut_after_line, cut_at_line
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.naming import parse_segment_name
from kumoaudit.segments.place import Description
from kumoaudit.segments.writer import SegmentSink
from tests.crash.support import Contents
from tests.fakes import FakeClock, FaultyDisk
from tests.support import T0, compressed, event, frame_with_trailer, open_frame, stored

_RING = 7


class Log:
    """A sink and what a ring would offer it: lines are numbered by their place."""

    def __init__(
        self, directory: Path, *, clock: FakeClock | None = None, power: bool = False, **rotation: int
    ) -> None:
        self.directory, self.clock = directory, clock or FakeClock()
        self.sink = SegmentSink(
            FaultyDisk(),
            self.clock,
            str(directory),
            Description("a", "native", "a", ""),
            RotationSpec(**rotation),
            CompressionSpec(),
            power=power,
        )
        self.mark = self.sink.open(Mark(_RING))
        self.offset, self.count = self.mark.offset, 0

    def write(self, lines: list[bytes], *, commit: bool = True, extra: list[bytes] | None = None) -> Mark | None:
        text = b"".join(line + b"\n" for line in lines)
        said = b"".join(line + b"\n" for line in extra or [])
        batch = Batch(
            memoryview(text),
            len(lines),
            T0,
            T0,
            _RING,
            0,
            self.offset,
            commit,
            extra=said,
            extra_count=len(extra or []),
        )
        self.offset += len(text)
        mark = self.sink.write(batch)
        self.mark = mark or self.mark
        return mark

    def names(self) -> list[str]:
        return sorted(n for n in os.listdir(self.directory) if not n.startswith("."))

    def texts(self) -> list[bytes]:
        """What zstd's own command makes of each segment, oldest first."""
        return [zstd("-dc", self.directory / n) for n in self.names()]


def lines(count: int, start: int = 0, length: int = 0) -> list[bytes]:
    return [stored(event(n, id=f"{n:026d}", description="x" * length)) for n in range(start, start + count)]


def zstd(option: str, path: Path) -> bytes:
    if not shutil.which("zstd"):
        pytest.skip("the zstd command is not installed")
    return subprocess.run(["zstd", option, str(path)], capture_output=True, check=True, timeout=60).stdout


def joined(these: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in these)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- size -------------------------------------------------------------------------------------------------------


def test_a_segment_ends_before_it_would_exceed_max_file_size(tmp_path: Path) -> None:
    """KumoMTA `max_file_size` (its documentation; D8): uncompressed bytes, and no record is cut."""
    log, these = Log(tmp_path / "a", max_bytes=1000), lines(40)

    log.write(these)
    log.sink.close()

    texts = log.texts()
    assert b"".join(texts) == joined(these)
    assert len(texts) > 5
    assert all(len(text) <= 1000 for text in texts)
    assert all(len(a) + len(b.split(b"\n")[0]) + 1 > 1000 for a, b in pairwise(texts))


def test_flushed_and_committed_lines_count_alike(tmp_path: Path) -> None:
    """Visible lines of an open frame are in the segment too."""
    log, these = Log(tmp_path / "a", max_bytes=1000), lines(40)

    for i, line in enumerate(these):
        log.write([line], commit=i % 7 == 6)
    log.write([])
    log.sink.close()

    assert b"".join(log.texts()) == joined(these)
    assert all(len(text) <= 1000 for text in log.texts())
    Contents(log.directory).check({})


@pytest.mark.parametrize("rotation", [{"max_bytes": 0}, {"max_age_ns": 0}])
@pytest.mark.parametrize("commit", [True, False])
def test_a_limit_of_zero_gives_every_record_a_segment(tmp_path: Path, rotation: dict[str, int], commit: bool) -> None:
    """KumoMTA: `max_file_size` 0 rotates after each record, `max_segment_duration` 0 is a new segment per record."""
    log, these = Log(tmp_path / "a", **rotation), lines(5)

    log.write(these, commit=commit)
    log.sink.close()

    assert log.texts() == [line + b"\n" for line in these]


def test_a_record_longer_than_the_limit_gets_a_segment_of_its_own(tmp_path: Path) -> None:
    log = Log(tmp_path / "a", max_bytes=1000)
    these = [*lines(2), *lines(1, 2, length=5000), *lines(2, 3)]

    log.write(these)
    log.sink.close()

    assert log.texts() == [joined(these[:2]), joined(these[2:3]), joined(these[3:])]


def test_what_the_writer_says_itself_keeps_to_the_limit_too(tmp_path: Path) -> None:
    log, these = Log(tmp_path / "a", max_bytes=1000), lines(8)

    for i in range(0, 8, 2):
        log.write(these[i : i + 2], extra=lines(1, 100 + i, length=300))
    log.sink.close()

    assert all(len(text) <= 1000 for text in log.texts())
    assert sum(text.count(b"\n") for text in log.texts()) == 12
    Contents(log.directory).check({})


@pytest.mark.parametrize("room", range(25))
def test_a_batch_is_cut_where_a_line_ends(room: int) -> None:
    """Cutting loses nothing and is the longest that fits."""
    text = memoryview(b"aaaa\nbb\n\ncccccc\nd\n")

    n = cut_at_line(text, room)

    assert n <= room or n == len(text) <= room
    assert n == 0 or text[n - 1] == 10
    assert b"\n" not in bytes(text[n:room])
    assert cut_after_line(text) == 5


# -- time -------------------------------------------------------------------------------------------------------


def test_a_segment_is_due_when_its_time_has_passed(tmp_path: Path) -> None:
    """KumoMTA `max_segment_duration` (D15), on the monotonic clock: setting the wall clock changes nothing."""
    log = Log(tmp_path / "a", max_age_ns=60_000_000_000)
    assert log.sink.deadline_ns is None
    log.write(lines(1))
    due = log.sink.deadline_ns

    log.clock.step(7200)

    assert due == log.clock.monotonic_ns() + 60_000_000_000
    assert log.sink.deadline_ns == due
    log.sink.reopen()
    assert log.sink.deadline_ns is None


def test_a_restart_does_not_give_a_segment_its_time_again(tmp_path: Path) -> None:
    """The age of an unfinished segment is taken from its name; a clock that was set back makes it no older."""
    log = Log(tmp_path / "a", max_age_ns=60_000_000_000)
    log.write(lines(1))
    log.sink._drop_descriptor()
    assert log.sink._place._lock is not None
    log.sink._place._lock.release()
    for passed, left in ((40, 20), (-100, 60)):
        clock = FakeClock(T0)
        clock.advance(passed)

        again = Log(tmp_path / "a", clock=clock, max_age_ns=60_000_000_000)

        assert again.sink.deadline_ns == clock.monotonic_ns() + left * 1_000_000_000
        assert again.sink._place._lock is not None
        again.sink._drop_descriptor()
        again.sink._place._lock.release()


def test_a_clock_that_steps_back_keeps_the_order_of_the_log(tmp_path: Path) -> None:
    """Names come from the wall clock, order from `seq` (reliability, section 4)."""
    log = Log(tmp_path / "a", max_bytes=0)
    log.write(lines(2))
    log.clock.step(-3600)
    log.write(lines(2, 2))
    log.sink.close()

    contents = Contents(tmp_path / "a")

    contents.check({})
    assert contents.lines == lines(4)
    assert Log(tmp_path / "a", clock=log.clock).mark.next_seq == 5


def test_two_segments_of_one_instant_differ_by_a_number(tmp_path: Path) -> None:
    """On a clash `.1` is appended (reliability, section 4)."""
    log = Log(tmp_path / "a", max_bytes=0)

    log.write(lines(3))

    first, *others = log.names()
    assert others == [f"{first}.1", f"{first}.2"]


def test_a_clock_that_stands_still_never_runs_out_of_names(tmp_path: Path) -> None:
    log = Log(tmp_path / "a", max_bytes=0)

    log.write(lines(1200))

    assert len(log.names()) == 1200


# -- finished segments --------------------------------------------------------------------------------------------


def test_a_finished_segment_is_read_only_and_an_open_one_is_not(tmp_path: Path) -> None:
    """KumoMTA's done mark: finished = no write permission bit; 0440 and 0640 (interface, section 8)."""
    log = Log(tmp_path / "a")
    log.write(lines(1))
    (path,) = [tmp_path / "a" / n for n in log.names()]
    assert mode(path) == 0o640

    log.sink.reopen()

    assert mode(path) == 0o440


def test_zstd_opens_every_finished_segment(tmp_path: Path) -> None:
    """Interface, section 8: every zstd reader opens them, trailers and all."""
    log = Log(tmp_path / "a", max_bytes=5000)
    for i in range(0, 200, 8):
        log.write(lines(5, i), commit=False)
        log.write(lines(3, i + 5))
    log.sink.close()

    assert len(log.names()) > 3
    for name in log.names():
        zstd("-t", tmp_path / "a" / name)
    assert b"".join(log.texts()) == joined(lines(200))


def test_a_segment_that_got_nothing_is_removed(tmp_path: Path) -> None:
    log = Log(tmp_path / "a")

    log.sink.close()

    assert log.names() == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_the_same_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Files 0640, directories 0750 (reliability, section 8)."""
    old = os.umask(umask)
    try:
        log = Log(tmp_path / "made" / "a")
        log.write(lines(1))
    finally:
        os.umask(old)

    assert (
        mode(tmp_path / "made")
        == mode(tmp_path / "made" / "a")
        == mode(tmp_path / "made" / "a" / ".kumoaudit")
        == 0o750
    )
    files = [*(tmp_path / "made" / "a").glob("a-*"), *(tmp_path / "made" / "a" / ".kumoaudit").iterdir()]
    assert {mode(f) for f in files} == {0o640}


# -- places -------------------------------------------------------------------------------------------------------


def test_a_symlinked_log_dir_is_refused_with_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(StorageFault) as refused:
        Log(tmp_path / "link")

    assert "symbolic link" in str(refused.value)
    assert str(tmp_path / "real") in str(refused.value)


def test_a_log_dir_of_another_user_that_others_may_write_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    (tmp_path / "a").mkdir()
    os.chown(tmp_path / "a", 12345, 12345)
    (tmp_path / "a").chmod(0o777)

    with pytest.raises(StorageFault) as refused:
        Log(tmp_path / "a")

    assert "uid 12345" in str(refused.value)


def test_a_second_host_on_one_log_dir_is_refused(tmp_path: Path) -> None:
    Log(tmp_path / "a")

    with pytest.raises(LogInUse) as refused:
        Log(tmp_path / "a")

    assert f"in use by pid {os.getpid()}" in str(refused.value)


def foreign_files(directory: Path) -> dict[str, bytes]:
    """Files that lie in a log_dir and are not ours, some named as ours are."""
    line = lines(1)[0] + b"\n"
    return {
        "README": b"by hand\n",
        "b-20200101-000000.000000000": b"of another log",
        # KumoMTA's own: no checksum, no trailer, finished or not.
        "a-20200101-000000.000000001": compressed(line, checksum=False),
        "a-20200101-000000.000000002": open_frame(line, checksum=False),
        "a-20200101-000000.000000003": line,
        "a-20200101-000000": b"x",
        "a-20200101-000000.zst": compressed(line),
    }


@pytest.mark.parametrize("ring", [0, _RING])
def test_foreign_files_are_never_touched(tmp_path: Path, ring: int) -> None:
    """Reliability, section 4: never touch a file that is not provably ours. Not by recovery, not by repair."""
    directory = tmp_path / "a"
    directory.mkdir()
    files = foreign_files(directory)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    os.mkfifo(directory / "a-20200101-000001.000000000")
    (directory / "a-20200101-000002.000000000").mkdir()
    (directory / "a-20200101-000003.000000000").symlink_to(directory / "README")
    before = {p.name: (p.lstat().st_mode, p.lstat().st_mtime_ns) for p in directory.iterdir()}
    sink = SegmentSink(
        RealDisk(), FakeClock(), str(directory), Description("a", "native", "a", ""), RotationSpec(), CompressionSpec()
    )

    sink.open(Mark(ring))
    sink.close()

    assert {
        p.name: (p.lstat().st_mode, p.lstat().st_mtime_ns) for p in directory.iterdir() if p.name != ".kumoaudit"
    } == before
    assert {name: (directory / name).read_bytes() for name in files} == files


def test_an_unfinished_segment_of_another_user_is_left_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    directory = tmp_path / "a"
    directory.mkdir()
    other = directory / "a-20200101-000000.000000001"
    other.write_bytes(open_frame(lines(1)[0] + b"\n"))
    os.chown(other, 12345, 12345)
    size = other.stat().st_size

    Log(directory)

    assert other.stat().st_size == size


def test_finished_segments_are_never_opened_for_writing(tmp_path: Path) -> None:
    """A sealed segment stays as it is, also with bytes behind its last trailer."""
    directory = tmp_path / "a"
    directory.mkdir()
    sealed = directory / "a-20200101-000000.000000001"
    sealed.write_bytes(frame_with_trailer(lines(2), 1) + b"torn")
    sealed.chmod(0o440)

    log = Log(directory)

    assert sealed.read_bytes().endswith(b"torn")
    assert log.mark.next_seq == 3


def test_the_description_is_written_once_and_whole(tmp_path: Path) -> None:
    """What it says is what readers of the bare directory need; a start that changes nothing writes nothing."""
    log = Log(tmp_path / "a")
    log.sink.close()
    path = tmp_path / "a" / ".kumoaudit" / "log.json"
    before = path.stat()

    Log(tmp_path / "a")

    assert path.read_bytes() == b'{"name":"a","format":"native","prefix":"a","ring":""}\n'
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_power_makes_the_names_of_a_new_log_durable(tmp_path: Path) -> None:
    """Reliability, section 2: without fsync of the directories the loss can be the whole file."""
    log = Log(tmp_path / "new" / "a", power=True)
    assert isinstance(log.sink._disk, FaultyDisk)

    log.write(lines(1))
    log.sink.sync()

    synced = [what for kind, what in log.sink._disk.log if kind == "fsync_dir"]
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "a")} <= set(synced)


def test_every_name_of_a_segment_is_recognised(tmp_path: Path) -> None:
    log = Log(tmp_path / "a", max_bytes=0)
    log.write(lines(3))

    assert all(parse_segment_name(name) for name in log.names())


# -- no descriptor left -----------------------------------------------------------------------------------------------

_NO_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from kumoaudit.core.clock import SystemClock
from kumoaudit.core.spec import RotationSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk
from tests.fakes import route_spec
from tests.support import event

place, durability = Path(sys.argv[1]), sys.argv[2]
say = lambda text: print(text, flush=True)
pipeline = Pipeline(str(place / "data"), "alpha", RealDisk(), SystemClock(), say)
route = pipeline.open_log(route_spec(place / "a", durability=durability))
for n in range(3):
    pipeline.emit(event(n, description=f"n=1:{n + 1}:"))
pipeline.flush()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
def take_all():
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
take_all()
sink = route.writer.sink
whole = sink._finish
def finish():
    # What a finished segment frees is gone before the next one is opened.
    whole()
    take_all()
sink._finish = finish
route.writer.reopen()
while sink._fd >= 0:
    pass
for n in range(3, 6):
    pipeline.emit(event(n, description=f"n=1:{n + 1}:"))
    pipeline.flush()
if durability == "process":
    sink._finish = whole
    for fd in taken:
        os.close(fd)
    route.writer.reopen()
    while sink._fd >= 0:
        pass
    pipeline.emit(event(6, description="n=1:7:"))
    pipeline.flush()
    print("held", len(sink._reserve._held))
else:
    for fd in taken:
        os.close(fd)
print("left", pipeline.close())
"""


@pytest.mark.parametrize(("durability", "count"), [("process", 7), ("power", 6)])
def test_a_process_without_descriptors_still_opens_its_next_segment(
    tmp_path: Path, durability: str, count: int
) -> None:
    """Reliability, section 5, EMFILE: the log keeps a descriptor for the next segment, and says what is wrong."""
    import subprocess
    import sys

    from tests.crash.support import Contents
    from tests.support import environment

    done = subprocess.run(
        [sys.executable, "-c", _NO_DESCRIPTORS, str(tmp_path), durability],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line for line in lines if "too many" in line] == [
        "log 'a': too many open files (limit 64); the next segment takes the reserved descriptor"
        " (raise LimitNOFILE= or ulimit -n)"
    ]
    assert lines[-1] == "left {}"
    contents = Contents(tmp_path / "a")
    contents.check({1: count})
    assert b"audit_degraded" not in b"".join(contents.lines)
    if durability == "process":
        assert "held 1" in lines


@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o1777, False), (0o775, False), (0o757, True)])
def test_a_log_dir_where_everybody_may_swap_files_is_refused_whoever_owns_it(
    tmp_path: Path, mode: int, is_refused: bool
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)

    try:
        Log(tmp_path / "a")
    except StorageFault as e:
        problem = str(e)
    else:
        problem = ""

    assert (f"writable for everybody (mode {mode:04o})" in problem) is is_refused
    assert bool(problem) is is_refused
