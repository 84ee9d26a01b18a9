"""Each contestant of the benchmark runs and its output verifies, with a few events. Nothing here looks at the time."""

from __future__ import annotations

import pytest

from tests.bench import table
from tests.bench.__main__ import Bench
from tests.bench.contestants import contestants
from tests.bench.rows import ROWS

EVENTS = 2_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), EVENTS, pool=1024)


@pytest.mark.parametrize("name", contestants())
def test_a_contestant_does_its_work_and_its_output_verifies(bench: Bench, name: str) -> None:
    """A figure of a contestant that wrote something else would be worthless."""
    needs = bench.plans[name].needs
    if needs and not (bench.work / f"{needs}.lines").exists():
        assert "failed" not in bench.run(needs, keep=True)
    figures = bench.run(name)
    if "skipped" in figures:
        pytest.skip(figures["skipped"])
    assert "failed" not in figures, figures["failed"]
    assert figures["events"] > 0


def test_every_row_compares_contestants_that_exist() -> None:
    """A misspelt name would only show after a full run, as `not run`."""
    names = contestants()
    for row in ROWS:
        assert row.contestant in names
        assert set(row.against) <= set(names)


def test_the_table_shows_median_range_and_whether_the_goal_is_met() -> None:
    """Ratios are made round by round; a contestant that was skipped says why."""
    row = ROWS[0]
    rounds = {row.contestant: [{row.key: v} for v in (20.0, 30.0, 26.0)], row.against[0]: [{row.key: 10.0}] * 3}
    (line,) = table.ratios([row], rounds)[2:]
    assert "2.60 (2.00 - 3.00)" in line
    assert line.endswith("| >= 1.3 | yes |")
    (line,) = table.ratios([row._replace(goal=(">=", 5.2), why="it is slow")], rounds)[2:]
    assert line.endswith("| >= 5.2 | **no**, by 50%: it is slow |")
    (line,) = table.ratios([row], {**rounds, row.against[0]: [{"skipped": "not here"}]})[2:]
    assert "skipped: not here" in line


def test_a_server_says_which_share_of_its_core_it_had() -> None:
    """Without its whole core its requests a second mean little."""
    figures = {"events": 10, "cpu_ns": 50_000.0, "rate": 9_000.0, "core_share": 0.45}
    (line,) = table.contestants({"x": ("a server", "one core")}, {"x": [figures]})[2:]
    assert line.endswith("| one core; it had 45% of its core |")
