"""`python -m tests.bench`: every contestant in a process of its own, round after round, then one table of ratios.

The runs are interleaved: a round runs every contestant once, and each second round runs them backwards, so that what
the machine does besides meets all of them alike. A ratio is made of two runs of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# This process stays small and imports nothing of the contestants: a child begins with its parent's peak of memory.
from tests.bench import table
from tests.bench.rows import GROUPS, ROWS, Row

_REPO = Path(__file__).resolve().parents[2]

QUICK_EVENTS, QUICK_PAIRS = 150_000, 2


class Plan(NamedTuple):
    """What one contestant needs, as `child catalogue` lists it."""

    title: str
    share: float
    needs: str
    note: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 when a contestant failed or its output was wrong."""
    opt = _options(arguments)
    rows = [row for row in ROWS if not opt.only or row.group in opt.only]
    work = Path(tempfile.mkdtemp(prefix="kumoaudit-bench-", dir=opt.work_dir))
    try:
        bench = Bench(work, opt.events)
        text, is_good = bench.report(rows, opt.pairs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(text)
    if opt.out:
        Path(opt.out).write_text(text + "\n", "utf-8")
    return 0 if is_good else 1


class Bench:
    """The rounds of one report; all files lie below *work*."""

    def __init__(self, work: Path, events: int, pool: int = 65_536) -> None:
        self.work, self.events = work, events
        self.corpus = work / "corpus"
        self._reported: set[str] = set()
        self.plans = {name: Plan(*plan) for name, plan in self._child("catalogue", pool).items()}
        self._child("corpus", pool)

    def report(self, rows: Sequence[Row], pairs: int) -> tuple[str, bool]:
        """Run *pairs* rounds of what *rows* compare; the text, and whether every contestant did its work."""
        wanted = {name for row in rows for name in (row.contestant, *row.against)}
        names = [name for name in self.plans if name in wanted]
        machine = self._child("machine", 0)
        began, load = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
        for name in dict.fromkeys(self.plans[n].needs for n in names if self.plans[n].needs):
            self.run(name, keep=True)
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(pairs):
            for name in names if number % 2 == 0 else reversed(names):
                rounds[name].append(self.run(name))
                self._progress(number + 1, pairs, name, rounds[name][-1])
        machine["run"] = (
            f"{began}, {pairs} rounds, {self.events:,} events, load average {load:.2f} at the start and "
            f"{os.getloadavg()[0]:.2f} at the end"
        )
        titles = {name: (self.plans[name].title, self.plans[name].note) for name in names}
        parts = [
            [f"- {what}: {text}" for what, text in machine.items()],
            table.ratios(rows, rounds),
            table.contestants(titles, rounds),
            table.latencies(titles, rounds),
        ]
        text = "\n\n".join("\n".join(part) for part in parts if part)
        return text, not any("failed" in figures for runs in rounds.values() for figures in runs)

    def run(self, name: str, *, keep: bool = False) -> dict[str, Any]:
        """One run: its figures, or `skipped` or `failed` with the reason. With *keep* its lines stay for others."""
        plan = self.plans[name]
        return self._child(name, max(100, int(self.events * plan.share)), plan.needs, keep=keep)

    def _child(self, name: str, events: int, needs: str = "", *, keep: bool = False) -> dict[str, Any]:
        directory = self.work / "run"
        directory.mkdir()
        lines = self.work / f"{needs or name}.lines"
        words = [name, events, self.corpus, directory, lines, *(["keep"] if keep else [])]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.child", *map(str, words)],
                cwd=_REPO,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if done.returncode:
            if name not in self._reported:
                self._reported.add(name)
                print(f"{name} failed:\n{done.stderr}", file=sys.stderr)
            return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    @staticmethod
    def _progress(number: int, pairs: int, name: str, figures: dict[str, Any]) -> None:
        if "cpu_ns" in figures:
            shown = f"{figures['cpu_ns']:,.0f} ns CPU, {figures['rate']:,.0f}/s"
        else:
            shown = ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        print(f"round {number}/{pairs}  {name:18} {shown}", file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--pairs", type=int, help="rounds, each a pair for every ratio (9)")
    p.add_argument("--events", type=int, help="events of a run; slow contestants do a part of them (3,000,000)")
    p.add_argument("--quick", action="store_true", help="about a minute: does it run? its figures mean little")
    p.add_argument("--only", action="append", choices=GROUPS, help="compare only this; may be repeated")
    p.add_argument("--out", metavar="FILE.md", help="write the tables there too")
    p.add_argument("--work-dir", metavar="DIR", help="where the contestants write, 2 GB for the full size (temporary)")
    opt = p.parse_args(arguments)
    opt.pairs = opt.pairs or (QUICK_PAIRS if opt.quick else 9)
    opt.events = opt.events or (QUICK_EVENTS if opt.quick else 3_000_000)
    return opt


if __name__ == "__main__":
    sys.exit(main())
