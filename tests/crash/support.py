"""What the crash suites share: reading a whole log as a reader does, and seeds that can be replayed."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path

from kumoaudit.core.spec import Query
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.look import read_description
from kumoaudit.segments.reader import SegmentLog

_NUMBER = re.compile(rb"n=(\d+):(\d+):")


def seed() -> int:
    """The seed of this run: `$KUMOAUDIT_SEED`, or a new one. Print it."""
    given = os.environ.get("KUMOAUDIT_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 32)


class Contents:
    """Everything a reader finds in a log: numbers of test records (`n=GROUP:NUMBER:` in the line), `seq` of all."""

    def __init__(self, directory: Path | str) -> None:
        self.numbers: Counter[tuple[int, int]] = Counter()
        self.order: dict[int, list[int]] = {}
        self.seqs: list[int] = []
        self.lines: list[bytes] = []
        disk = RealDisk()
        log = SegmentLog(disk, str(directory), read_description(disk, str(directory)))
        self.coverage = log.coverage
        for record in log.records(Query(newest_first=False)):
            self.seqs.append(record.seq)
            self.lines.append(record.line)
            if found := _NUMBER.search(record.line):
                group, number = int(found[1]), int(found[2])
                self.numbers[group, number] += 1
                self.order.setdefault(group, []).append(number)

    def check(self, acknowledged: dict[int, int]) -> None:
        """Every number up to the acknowledged one of its group is there exactly once, in order; no gap in `seq`."""
        doubles = [key for key, count in self.numbers.items() if count > 1]
        assert not doubles, f"{len(doubles)} records are there twice: {sorted(doubles)[:5]}"
        for group, upto in acknowledged.items():
            lost = [n for n in range(1, upto + 1) if (group, n) not in self.numbers]
            assert not lost, f"group {group}: {len(lost)} of {upto} acknowledged records are lost: {lost[:5]}"
        for group, numbers in self.order.items():
            assert numbers == sorted(numbers), f"group {group} is out of order"
        assert self.seqs == list(range(1, len(self.seqs) + 1)), f"gap in seq: {_first_gap(self.seqs)}"


def _first_gap(seqs: list[int]) -> str:
    for i, seq in enumerate(seqs, 1):
        if seq != i:
            return f"record {i} has number {seq}, before it {seqs[max(0, i - 4) : i - 1]}"
    return "none"
