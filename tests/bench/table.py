"""Figures of all rounds -> the tables: ratios with their goals, then every contestant's own figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.rows import Row

# Figures of one contestant, one dict per round; a round that was skipped or failed has the reason.
Rounds = Mapping[str, Sequence[Mapping[str, Any]]]


def ratios(rows: Iterable[Row], rounds: Rounds) -> list[str]:
    """The table of ratios, in Markdown. A ratio is of one round; shown are the median and the range of the rounds."""
    out = [
        "| compared | ours | theirs | ratio: median (range) | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, problem = _values(rounds, row.contestant, row.key)
        other = _least(rounds, row.against, row.against_key)
        theirs, other_problem = _values(rounds, other, row.against_key) if row.against else ([], "")
        goal = f"{row.goal[0]} {row.goal[1]:g}{_unit(row)}" if row.goal else ""
        if problem or other_problem:
            out.append(_line(row.what, problem or other_problem, "", "", goal, ""))
            continue
        quotients = [a / b for a, b in zip(ours, theirs, strict=True)] if row.against else ours
        met = ""
        if row.goal:
            median, (sign, bound) = statistics.median(quotients), row.goal
            is_met = median <= bound if sign == "<=" else median >= bound
            met = "yes" if is_met else f"**no**, by {abs(median / bound - 1):.0%}"
            if not is_met and row.why:
                met += f": {row.why}"
        shown_theirs = f"{_figure(row.against_key, theirs)}{_which(row, other)}" if row.against else ""
        ratio = f"{_spread(quotients)}{_unit(row)}"
        out.append(_line(row.what, _figure(row.key, ours), shown_theirs, ratio, goal, met))
    return out


def contestants(titles: Mapping[str, tuple[str, str]], rounds: Rounds) -> list[str]:
    """The table of every contestant with CPU and speed per event; *titles* are (title, note) by name."""
    out = [
        "| contestant | events | ns CPU: median (range) | events/s: median (range) | bytes each | packed | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (title, note) in titles.items():
        if "p50_us" in rounds[name][0]:
            continue
        cpu, problem = _values(rounds, name, "cpu_ns")
        if problem:
            out.append(_line(title, problem, "", "", "", "", note))
            continue
        rate, _ = _values(rounds, name, "rate")
        shares, _ = _values(rounds, name, "core_share")
        if shares:
            note = f"{note}; it had {statistics.median(shares):.0%} of its core"
        first = rounds[name][0]
        events = first["events"]
        size = f"{first['bytes'] / events:.0f}" if "bytes" in first else ""
        stored = f"{first['stored'] / first['bytes']:.1%}" if "bytes" in first else ""
        cells = (f"{events:,}", _spread(cpu, "{:,.0f}"), _spread(rate, "{:,.0f}"), size, stored, note)
        out.append(_line(title, *cells))
    return out


def latencies(titles: Mapping[str, tuple[str, str]], rounds: Rounds) -> list[str]:
    """The table of single calls."""
    out = ["| one call | calls a round | p50, us: median (range) | p99, us: median (range) |", "|---|---|---|---|"]
    for name, (title, _) in titles.items():
        for prefix, what in (("", title), ("bare_", "append of 300 bytes + fdatasync, in turns with the power calls")):
            p50, problem = _values(rounds, name, f"{prefix}p50_us")
            p99, _ = _values(rounds, name, f"{prefix}p99_us")
            if not problem:
                calls = f"{rounds[name][0]['events']:,}"
                out.append(_line(what, calls, _spread(p50, "{:.1f}"), _spread(p99, "{:.1f}")))
    return out if len(out) > 2 else []


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _least(rounds: Rounds, names: Sequence[str], key: str) -> str:
    """The contestant of *names* whose median is the least; of those that took part."""
    found = {name: values for name in names for values, problem in [_values(rounds, name, key)] if not problem}
    if found:
        return min(found, key=lambda name: statistics.median(found[name]))
    return names[0] if names else ""


def _values(rounds: Rounds, name: str, key: str) -> tuple[list[float], str]:
    """The figures of all rounds, or why there are none."""
    for figures in rounds.get(name, ()):
        for trouble in ("failed", "skipped"):
            if trouble in figures:
                return [], f"{trouble}: {figures[trouble]}"
    values = [figures[key] for figures in rounds.get(name, ()) if key in figures]
    return values, "" if values else "not run"


def _spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    if len(values) > 1 and max(values) < 0.2 and form == "{:.2f}":
        form = "{:.3f}"
    elif min(values) >= 1000 and form == "{:.2f}":
        form = "{:,.0f}"
    median = form.format(statistics.median(values))
    return f"{median} ({form.format(min(values))} - {form.format(max(values))})"


def _unit(row: Row) -> str:
    return "" if row.unit == "x" else f" {row.unit}"


def _which(row: Row, other: str) -> str:
    return f" ({other})" if len(row.against) > 1 else ""


def _figure(key: str, values: Sequence[float]) -> str:
    median = statistics.median(values)
    if key.endswith("rate"):
        return f"{median:,.0f}/s"
    if key.endswith("_us"):
        return f"{median:.1f} us"
    if key == "stored":
        return f"{median / 1e6:.1f} MB"
    if key == "peak_mb":
        return f"{median:.0f} MB"
    return f"{median:,.0f} ns"
