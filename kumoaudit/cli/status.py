"""`kumoaudit status`: state, logs and counters of a running host; the last known logs of one that does not run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import orjson

from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.core.text import printable
from kumoaudit.query.logs import data_dir_of

_EXAMPLES = (
    ("kumoaudit status", "the host with ./kumoaudit-data"),
    ("kumoaudit status --data-dir /var/lib/kumoaudit", "another one"),
    ("kumoaudit status --format json | jq .state", "for a script"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Show a running host.")
@option("Which host", "--data-dir", metavar="DIR", help="Default: $KUMOAUDIT_DATA_DIR, ./kumoaudit-data.")
@option(
    "How it is shown",
    "--format",
    "format_name",
    type=click.Choice(("table", "json")),
    help="Default: table on a terminal, json elsewhere.",
)
def command(data_dir: str | None, format_name: str | None) -> int:
    """Show state, listeners, logs, counters and free space of the host that runs in a data directory.

    Asks it over its control socket, as root or the host's user. Exit status 1: no host runs there; what is shown then
    is what the registry of its logs says.
    """
    from kumoaudit.sources.control import NotRunning, ask

    directory, _ = data_dir_of(data_dir, os.environ)
    is_table = (format_name or ("table" if sys.stdout.isatty() else "json")) == "table"
    try:
        found = ask(directory, {"command": "status"})
    except NotRunning as e:
        print(e, file=sys.stderr)
        _show(_last_known(directory), is_table=is_table)
        return 1
    _show({"is_running": True, **found}, is_table=is_table)
    return 0


def _show(found: dict[str, Any], *, is_table: bool) -> None:
    if not is_table:
        sys.stdout.write(printable(orjson.dumps(found).decode()) + "\n")
    else:
        lines = _running(found) if found["is_running"] else _stopped(found)
        sys.stdout.write("".join(f"{printable(line).rstrip()}\n" for line in lines))


def _last_known(directory: str) -> dict[str, Any]:
    from kumoaudit.segments.disk import RealDisk
    from kumoaudit.segments.registry import read_registry

    registry = read_registry(RealDisk(), directory)
    logs = registry.logs if registry else []
    return {
        "is_running": False,
        "data_dir": os.path.abspath(directory),
        "node": registry.node if registry else None,
        "logs": [
            {
                "name": e.name,
                "sink": e.sink,
                "path": e.path,
                "format": e.format,
                "at": e.at,
                "is_configured": e.configured,
            }
            for e in logs
        ],
    }


def _running(s: dict[str, Any]) -> Iterator[str]:
    yield f"{s['state']}: kumoaudit {s['version']}, pid {s['pid']}, node {s['node']}, up {_age(s['uptime_s'])}"
    if s["is_stopping"]:
        yield "  it is shutting down"
    for reason in s["reasons"]:
        yield f"  {reason}"
    yield f"policy     {s['policy']}"
    yield f"data       {s['data_dir']}"
    yield f"listeners  {', '.join(s['listeners']) or 'none'}"
    caches = (f"{name} {cache['ttl_s']:g} s ({cache['entries']})" for name, cache in s["caches"].items())
    yield f"caches     {', '.join(caches)}"
    events = s["events"]
    yield f"events     {events['recorded']} recorded, {events['filtered']} filtered, {events['own']} of the host itself"
    yield ""
    head = ("LOG", "STATE", "ACCEPTED", "WRITTEN", "FILTERED", "DROPPED", "REFUSED", "ERRORS", "WAITING", "OLDEST")
    yield from _table((*head, "LAST COMMIT", "PLACE"), [_log_cells(log) for log in s["logs"]], left=(0, 1, 10, 11))
    yield ""
    disk = [
        (place, *(_cell(room[f"disk_free_{name}"]) for name in ("bytes", "percent", "inodes", "inodes_percent")))
        for place, room in s["disk"].items()
    ]
    yield from _table(("FREE AT", "BYTES", "%", "INODES", "%"), disk, left=(0,))


def _log_cells(log: dict[str, Any]) -> Sequence[str]:
    counters = (str(log[name]) for name in ("accepted", "written", "filtered", "dropped", "refused", "failed"))
    oldest = "-" if log["oldest_unwritten_s"] is None else _age(log["oldest_unwritten_s"])
    place = f"{log['path'] or log['sink']}{' (power)' if log['durability'] == 'power' else ''}"
    return (
        log["name"],
        log["state"],
        *counters,
        str(log["waiting_records"]),
        oldest,
        log["last_commit"] or "-",
        place,
    )


def _stopped(s: dict[str, Any]) -> Iterator[str]:
    if not s["logs"]:
        yield "no host has recorded there"
        return
    yield f"last known logs of node {s['node']}:"
    cells = [
        (log["name"], log["sink"], log["format"], log["path"], log["at"] if log["is_configured"] else "no longer")
        for log in s["logs"]
    ]
    yield from _table(("LOG", "TO", "FORMAT", "PLACE", "CONFIGURED AT"), cells, left=range(5))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    """Columns as wide as their widest cell; figures to the right."""
    all_rows = [head, *rows]
    widths = [max(len(row[i]) for row in all_rows) for i in range(len(head))]
    for row in all_rows:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells)


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _age(seconds: float) -> str:
    """A duration in its two largest units: `3 h 12 min`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
