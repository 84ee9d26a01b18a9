"""HTTP on a file system that is full: refused requests say so in time, acknowledged ones are all there."""

from __future__ import annotations

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from kumoaudit.core.spec import Query
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.look import read_description
from kumoaudit.segments.reader import SegmentLog
from tests.crash.test_full_disk import fill, small  # noqa: F401 - a fixture
from tests.fakes import eventually
from tests.sources.clients import Reply, ask, serving

BLOCK_TIMEOUT_S = 0.5
POLICY = """
kumo.on('init', function()
  kumo.aaa.configure_acct_log { log_dir = 'DIR', back_pressure = 200, block_timeout = '500ms' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
end)
"""


def _told(said: str, what: str) -> int:
    """Lines that say of a log that it is short of room, or has it again."""
    return len(re.findall(rf"^log '\w+' {what}(?: of)? room", said, re.MULTILINE))


def _lines(place: Path) -> list[dict[str, Any]]:
    disk = RealDisk()
    log = SegmentLog(disk, str(place), read_description(disk, str(place)))
    return [orjson.loads(r.line) for r in log.records(Query(newest_first=False))]


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=[pytest.mark.nightly, pytest.mark.timeout(300)])])
def test_a_full_disk_refuses_in_time_and_loses_nothing(small: Path, tmp_path: Path, seconds: float) -> None:  # noqa: F811
    place = small / "acct"
    with serving(tmp_path, POLICY.replace("DIR", str(place))) as (process, (address,)):
        taken: set[str] = set()
        refused: list[tuple[Reply, float]] = []

        def load(until: float) -> None:
            while time.monotonic() < until:
                begin = time.monotonic()
                reply = ask(address)
                if reply.status == 200:
                    taken.add(reply.id)
                else:
                    refused.append((reply, time.monotonic() - begin))

        def loads(for_s: float) -> None:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(load, [time.monotonic() + for_s] * 8))

        loads(1)
        assert not refused
        filler = fill(small)
        # What the segment had reserved, and the ring, still take records.
        rounds = 0
        while not refused and rounds < 10:
            rounds += 1
            loads(2)
        loads(seconds)
        assert refused
        assert Counter(r.status for r, _ in refused) == {503: len(refused)}
        for reply, took in refused:
            assert (reply.headers["Retry-After"], reply.body, reply.id) == ("1", "try again later", "")
            assert took < BLOCK_TIMEOUT_S + 1
        filler.unlink()
        process.wait_for("records again")
        # The place may also have been below min_free_*: the log is well when that is over, too.
        eventually(lambda: _told(process.said, "is short") == _told(process.said, "has"), "room again")
        eventually(lambda: ask(address).status == 200, "requests are taken again")
        # What the host says of itself is on its way for a second; it is killed at the end of the block.
        eventually(lambda: "audit_restored" in Counter(line["type"] for line in _lines(place)), "the record of it")

    lines = _lines(place)
    types = Counter(line["type"] for line in lines)
    assert taken <= {line.get("id") for line in lines}
    assert (types["audit_degraded"], types["audit_restored"]) == (1, 1)
