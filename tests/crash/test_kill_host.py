"""SIGKILL of a real host at random moments, start-up and recovery included: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.support import Contents, seed
from tests.support import command_line, environment, kumoaudit

# A host that has not begun to record by then will not.
_PATIENCE_S = 30.0

_POLICY = """
kumo.on('init', function()
  kumo.audit.configure_log{ name = 'a'%(rotation)s }
  kumo.spawn_task{ event_name = 'load', args = {} }
end)
kumo.on('load', function()
  local out = io.open('%(fifo)s', 'w')
  out:setvbuf('no')
  local pad = string.rep('x', 300)
  for i = 1, %(count)d do
    audit.log{ description = 'n=%(group)d:' .. i .. ':' .. pad:sub(1, i %% 300) }
    if i %% %(every)d == 0 then out:write(i .. '\\n') end
    %(pause)s
  end
  while true do kumo.sleep(0.05) end
end)
"""

# As fast as it can, noted now and then; or a few a second, each one noted.
_SATURATING = {"count": 20_000, "every": 200, "pause": ""}
_TRICKLING = {"count": 1_000_000, "every": 1, "pause": "kumo.sleep(0.002)"}


class Kills(NamedTuple):
    """One data directory under one load: how it went."""

    kills: int
    before_first: int
    noted: int
    found: int


class Load:
    """Hosts on one data directory, killed one after the other."""

    def __init__(self, directory: Path, load: dict[str, object], seed_: int) -> None:
        self.directory, self.load, self.random = directory, load, random.Random(seed_)
        self.acknowledged: dict[int, int] = {}
        self.groups = self.kills = self.before_first = 0
        directory.mkdir(parents=True)

    def kill_one(self) -> None:
        self.groups += 1
        rotation = self.random.choice(["", ", max_file_size = 20000", ", max_file_size = 300000"])
        fifo = self.directory / "notes"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        policy = self.directory / "policy.lua"
        policy.write_text(_POLICY % {**self.load, "rotation": rotation, "fifo": fifo, "group": self.groups})
        notes = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        with (self.directory / "stderr").open("ab") as err:
            host = subprocess.Popen(
                command_line("run", policy, "--data-dir", self.directory / "data"), env=environment(), stderr=err
            )
        try:
            noted = b""
            if self.random.random() < 0.35:
                time.sleep(self.random.random() * 0.35)
            else:
                noted = self._first_note(notes, host)
                longest = 0.06 if self.load is _SATURATING else self.random.choice([0.2, 1.3])
                time.sleep(self.random.random() * longest)
            host.send_signal(signal.SIGKILL)
            assert host.wait() == -signal.SIGKILL, "the host ended by itself: see " + str(self.directory / "stderr")
            while chunk := os.read(notes, 1 << 20):
                noted += chunk
        finally:
            host.kill()
            os.close(notes)
        self.kills += 1
        self.before_first += not noted
        whole = noted[: noted.rfind(b"\n") + 1].split()
        self.acknowledged[self.groups] = int(whole[-1]) if whole else 0

    def _first_note(self, notes: int, host: subprocess.Popen[bytes]) -> bytes:
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up and host.poll() is None:
            if select.select([notes], [], [], 0.01)[0] and (chunk := os.read(notes, 1 << 20)):
                return chunk
            time.sleep(0.001)  # nobody has opened the other end yet: readable, and nothing to read
        raise AssertionError(f"the host records nothing: see {self.directory / 'stderr'}")

    def check(self) -> Kills:
        """While the host is dead a reader finds it all, and after a last run too."""
        log = self.directory / "data" / "a"
        if self.acknowledged and max(self.acknowledged.values()):
            Contents(log).check(self.acknowledged)
        (self.directory / "policy.lua").write_text("kumo.on('init', function() kumo.audit.configure_log{name='a'} end)")
        done = kumoaudit("run", self.directory / "policy.lua", "--data-dir", self.directory / "data")
        assert done.returncode == 0, done.stderr
        contents = Contents(log)
        contents.check(self.acknowledged)
        assert not contents.coverage.places
        for segment in log.glob("a-*"):
            assert not segment.stat().st_mode & 0o222, f"{segment} is not finished"
        noted = sum(self.acknowledged.values())
        return Kills(self.kills, self.before_first, noted, sum(contents.numbers.values()))


def run(directory: Path, kills: int, seed_: int) -> None:
    """Half of the kills under saturating, half under trickling load, side by side."""
    results: dict[str, Kills] = {}
    failures: list[BaseException] = []

    def one(name: str, load: dict[str, object], own_seed: int) -> None:
        try:
            total = Kills(0, 0, 0, 0)
            # What was checked is put aside now and then, so that checking stays short.
            for epoch in range(0, kills // 2, 50):
                hosts = Load(directory / f"{name}-{epoch}", load, own_seed + epoch)
                for _ in range(min(50, kills // 2 - epoch)):
                    hosts.kill_one()
                total = Kills(*(a + b for a, b in zip(total, hosts.check(), strict=True)))
            results[name] = total
        except BaseException as e:
            failures.append(e)

    threads = [
        threading.Thread(target=one, args=("saturating", _SATURATING, seed_)),
        threading.Thread(target=one, args=("trickling", _TRICKLING, seed_ + 1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, r in results.items():
        print(
            f"{name}: {r.kills} kills ({r.before_first} before the first note), {r.noted} acknowledged, {r.found} found"
        )
    if failures:
        raise failures[0]


def test_a_killed_host_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    """Reliability, sentences 1 and 3: what `audit.log` returned for survives kill -9, in order, once, with its `seq`."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    run(tmp_path, 50, seed_)


@pytest.mark.nightly
def test_a_thousand_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """The same with 1,000 kills."""
    seed_ = seed()
    print(f"KUMOAUDIT_SEED={seed_}")
    run(tmp_path, 1000, seed_)
