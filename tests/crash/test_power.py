"""The power goes: what `durability = 'power'` acknowledged is on the disk, for real (reliability, 5.3).

The log lies on an ext4 of its own in a file. At a random moment the file is copied, without the page cache of the mount,
as a disk is that lost its power; the copy is checked, mounted and opened by a host of "another boot".
"""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kumoaudit.core.spec import RotationSpec, RouteSpec
from tests.crash.support import Contents, seed
from tests.fakes import eventually, open_test_route, route_spec
from tests.support import environment, event, stored

pytestmark = pytest.mark.nightly

_SIZE = 64 << 20
_BOOT_WORDS_AT = 7 * 8

_CHILD = """
import sys
from pathlib import Path
from tests.crash import test_power
getattr(test_power, sys.argv[1])(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
"""


def _spec(place: Path, durability: str, max_bytes: int) -> RouteSpec:
    return route_spec(place / "log" / "a", durability=durability, rotation=RotationSpec(max_bytes=max_bytes))


def produce(place: Path, durability: str, max_bytes: int) -> None:
    """Two producers; each number is printed when its call has returned."""
    route = open_test_route(_spec(place, durability, max_bytes), place / "spool" / "a.ring")
    route.writer.start()

    def one(group: int) -> None:
        for n in range(1, 1_000_000):
            line = stored(event(n, description=f"n={group}:{n}:" + "x" * (n % 300))) + b"\n"
            route.put(line, 1)
            os.write(1, b"%d %d\n" % (group, n))

    threading.Thread(target=one, args=(2,), daemon=True).start()
    one(1)


def recover(place: Path, durability: str, max_bytes: int) -> None:
    """A host of the next boot opens the log, and ends in order."""
    ring = place / "spool" / "a.ring"
    if ring.exists():
        with ring.open("r+b") as f:
            f.seek(_BOOT_WORDS_AT)
            f.write(struct.pack("<2Q", 1, 2))
    route = open_test_route(_spec(place, durability, max_bytes), ring)
    route.ring.refuse_from_now_on()
    if route.writer.stop(60):
        raise AssertionError("something stayed in the ring")


def child(task: str, place: Path, durability: str, max_bytes: int) -> subprocess.Popen[bytes]:
    """A process of its own: what it has mapped and opened on the mount is gone with it."""
    command = [sys.executable, "-c", _CHILD, task, str(place), durability, str(max_bytes)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a loop mount is not allowed here: {made.stderr.strip()}")
    place.chmod(0o750)
    try:
        yield
    finally:
        # Not lazily: a mount that lives on would be mounted again in the place of the next one.
        eventually(lambda: not subprocess.run(["umount", str(place)], capture_output=True).returncode, "it unmounts")


def copy_of_one_instant(image: Path, copy: Path) -> None:
    """What the page cache of the mount holds is not in it. The kernel writes back while one copies, and a copy that has
    the beginning of before and the end of after is no power cut: so it counts only if nothing changed meanwhile."""
    for _ in range(50):
        shutil.copyfile(image, copy)
        if filecmp.cmp(image, copy, shallow=False):
            return
    raise AssertionError("the file system never comes to rest")


def cut(tmp_path: Path, durability: str, random_: random.Random) -> tuple[dict[int, int], Contents]:
    """One power cut: the last acknowledged number of each producer, and what the host of the next boot makes of it."""
    if not shutil.which("mkfs.ext4") or os.geteuid() != 0:
        pytest.skip("needs root and mkfs.ext4")
    image, copy, place = tmp_path / "image", tmp_path / "copy", tmp_path / "mounted"
    with image.open("wb") as f:
        f.truncate(_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    wanted = random_.randrange(20, 2000)
    max_bytes = random_.choice([20_000, 200_000, 1_000_000_000])
    with mounted(image, place):
        writer = child("produce", place, durability, max_bytes)
        assert writer.stdout is not None
        try:
            acknowledged = {1: 0, 2: 0}
            for _ in range(wanted):
                group, n = writer.stdout.readline().split()
                acknowledged[int(group)] = int(n)
            writer.send_signal(signal.SIGSTOP)
            copy_of_one_instant(image, copy)
        finally:
            writer.kill()
            writer.wait()
    subprocess.run(["e2fsck", "-f", "-y", str(copy)], check=False, capture_output=True)
    with mounted(copy, place):
        opener = child("recover", place, durability, max_bytes)
        assert opener.wait(120) == 0
        contents = Contents(place / "log" / "a")
    image.unlink()
    copy.unlink()
    return acknowledged, contents


def test_power_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Reliability, section 2: `power` loses nothing to a power cut, and nothing is there twice."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    random_ = random.Random(seed_)
    total = 0
    for i in range(20):
        (tmp_path / str(i)).mkdir()
        acknowledged, contents = cut(tmp_path / str(i), "power", random_)
        contents.check(acknowledged)
        total += sum(acknowledged.values())
    print(f"20 power cuts, {total} acknowledged, 0 lost")


def test_process_keeps_a_prefix(tmp_path: Path) -> None:
    """Reliability, section 2: `process` loses what the kernel had not written, and what is left is a prefix."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    random_ = random.Random(seed_)
    for i in range(5):
        (tmp_path / str(i)).mkdir()
        _, contents = cut(tmp_path / str(i), "process", random_)
        for numbers in contents.order.values():
            assert numbers == list(range(1, len(numbers) + 1))
    print("5 power cuts, each a prefix")
