"""One run of one contestant in this process; the figures are the last line of standard output, as JSON.

`python -m tests.bench.child NAME EVENTS CORPUS DIRECTORY LINES [keep]`. Besides the contestants, NAME may be `corpus`
(write it, EVENTS texts a pool), `catalogue` (list the contestants) or `machine` (describe it and the versions).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from tests.bench import corpus, machine
from tests.bench.contestants import Run, Skipped, contestants


def main(name: str, events: str, pools: str, directory: str, lines: str, *further: str) -> None:
    """Print the figures, or why there are none."""
    figures: dict[str, Any]
    try:
        if name == "corpus":
            corpus.write(Path(pools), int(events))
            figures = {}
        elif name == "catalogue":
            figures = {n: (c.title, c.share, c.needs, c.note) for n, c in contestants().items()}
        elif name == "machine":
            figures = dict(machine.describe(directory))
        else:
            run = Run(int(events), Path(pools), Path(directory), Path(lines), "keep" in further)
            figures = contestants()[name].function(run)
    except Skipped as e:
        figures = {"skipped": str(e)}
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
