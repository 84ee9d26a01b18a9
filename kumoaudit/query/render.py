"""Answers as JSON lines, CSV, stored lines, or a table for people. What was recorded is data: it never becomes markup,
a terminal's control sequence or a spreadsheet's formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import orjson

from kumoaudit.core.event import Event
from kumoaudit.core.text import decode, printable
from kumoaudit.core.timetext import NS, rfc3339
from kumoaudit.formats.native import ROW_FIELDS, row
from kumoaudit.query.engine import Answer
from kumoaudit.segments.coverage import Coverage

if TYPE_CHECKING:
    from rich.console import Console

FormatName = Literal["table", "json", "csv", "raw"]

# Rows whose widths decide those of the columns, and how many are printed at once.
_TABLE_CHUNK = 500
_PLACES_SHOWN = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Output(Protocol):
    """Where bytes go: standard output, or a buffer."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class Renderer(Protocol):
    """Writes answers as they come; `flush` when the reader should see them now."""

    def add(self, answer: Answer) -> None: ...
    def flush(self) -> None: ...


def renderer(name: FormatName, out: Output, *, is_terminal: bool) -> Renderer:
    """The renderer of a format. Only the table needs rich, so only then is it imported."""
    match name:
        case "table":
            return Table(out, is_terminal=is_terminal)
        case "json":
            return Lines(out, json_line)
        case "csv":
            shown = printable if is_terminal else str
            return Lines(out, lambda answer: csv_line(answer, shown), head=_csv_text(ROW_FIELDS))
        case "raw":
            return Lines(out, raw_line_for_terminal if is_terminal else raw_line)


class Lines:
    """One answer, one line (or CSV record); *head* comes before the first, also when there is none."""

    def __init__(self, out: Output, line: Callable[[Answer], bytes], head: bytes = b"") -> None:
        self._out, self._line = out, line
        if head:
            out.write(head)

    def add(self, answer: Answer) -> None:
        self._out.write(self._line(answer))

    def flush(self) -> None:
        self._out.flush()


def json_line(answer: Answer) -> bytes:
    """The row of an answer (interface section 6) as one line of JSON; controls, bidi overrides and zero-width
    characters stand as `\\u` escapes, which every JSON reader turns back."""
    text = orjson.dumps(row(answer.event, answer.seq or None)).decode()
    return printable(text).encode() + b"\n"


def raw_line(answer: Answer) -> bytes:
    """The line as it is stored."""
    return answer.line.removesuffix(b"\r") + b"\n"


def raw_line_for_terminal(answer: Answer) -> bytes:
    """The stored line with every control, bidi override and bad byte as a visible escape."""
    return printable(decode(answer.line.removesuffix(b"\r"))).encode() + b"\n"


def csv_line(answer: Answer, shown: Callable[[str], str] = str) -> bytes:
    """The row as an RFC 4180 record with a cell for each field; structs as JSON. A text that a spreadsheet would run
    as a formula gets a `'` in front. *shown* is `printable` on a terminal."""
    values = row(answer.event, answer.seq or None)
    return _csv_text([shown(_cell(values.get(name))) for name in ROW_FIELDS])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return "'" + text if text.startswith(_FORMULA) else text


def _csv_text(cells: Iterable[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode()


# -- table ------------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A column: how narrow and how wide it may be, and the *rank* in which it finds room (0: it is always there)."""

    name: str
    text: Callable[[Answer], str]
    least: int
    most: int
    rank: int


def _field(name: str) -> Callable[[Answer], str]:
    return lambda answer: printable(getattr(answer.event, name) or "")


def _seq(answer: Answer) -> str:
    return str(answer.seq) if answer.seq else ""


def local_second(answer: Answer) -> str:
    """The machine's own time to the second: what people compare with their clock; JSON has the exact one in UTC."""
    try:
        return f"{datetime.fromtimestamp(answer.event.time_ns // NS):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "beyond calendars"


def summary(event: Event) -> str:
    """What happened in words: the description, or for records that have none what was wanted and from where."""
    if event.description:
        return printable(event.description)
    what = " ".join(t for t in (event.privilege, event.resource) if t)
    return printable(what or (f"from {event.peer}" if event.peer else ""))


_COLUMNS = (
    _Column("seq", _seq, 3, 12, 6),
    _Column("time", local_second, 19, 19, 0),
    _Column("severity", _field("severity"), 8, 8, 0),
    _Column("outcome", _field("outcome"), 7, 7, 0),
    _Column("type", _field("type"), 12, 40, 0),
    _Column("user", _field("user"), 8, 24, 0),
    _Column("host", _field("host"), 10, 32, 2),
    _Column("peer", _field("peer"), 12, 45, 1),
    _Column("resource", _field("resource"), 20, 60, 4),
    _Column("module", _field("module"), 8, 20, 5),
    _Column("description", lambda answer: summary(answer.event), 30, 10_000, 0),
)
_GAP = 1


class Table:
    """Columns as wide as the first rows and the terminal allow. Long texts go on in the next line: nothing is cut."""

    def __init__(self, out: Output, *, is_terminal: bool, width: int | None = None) -> None:
        """*width* in cells; None asks the terminal (`COLUMNS`, else 80 where there is none)."""
        from rich.console import Console

        self._out = out
        self._buffer = io.StringIO()
        self._console: Console = Console(
            file=self._buffer,
            force_terminal=is_terminal,
            width=width,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )
        self._rows: list[Answer] = []
        self._widths: dict[str, int] = {}

    def add(self, answer: Answer) -> None:
        self._rows.append(answer)
        if len(self._rows) >= _TABLE_CHUNK:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._print()
            self._rows.clear()
            self._out.write(self._buffer.getvalue().encode("utf-8", "backslashreplace"))
            self._buffer.seek(0)
            self._buffer.truncate()
        self._out.flush()

    def _print(self) -> None:
        from rich.table import Table as RichTable
        from rich.text import Text

        is_first = not self._widths
        cells = [[c.text(a) for c in _COLUMNS] for a in self._rows]
        if is_first:
            self._widths = column_widths(cells, self._console.width)
        table = RichTable(box=None, padding=(0, _GAP, 0, 0), show_header=is_first, header_style="bold", pad_edge=False)
        shown = [i for i, c in enumerate(_COLUMNS) if c.name in self._widths]
        for i in shown:
            table.add_column(_COLUMNS[i].name, width=self._widths[_COLUMNS[i].name], overflow="fold")
        for values, answer in zip(cells, self._rows, strict=True):
            style = _STYLES.get(answer.event.severity, "")
            texts = {
                _COLUMNS[i].name: Text(values[i], style=style if _COLUMNS[i].name in _STYLED else "") for i in shown
            }
            if "description" not in texts and values[-1]:
                texts["type"].append("\n" + values[-1], style="dim")
            table.add_row(*texts.values())
        self._console.print(table)


_STYLED = ("severity", "outcome")
_STYLES = {"ALARM": "bold red", "WARNING": "yellow", "VERBOSE": "dim"}


def column_widths(cells: list[list[str]], width: int) -> dict[str, int]:
    """Which columns are shown in *width* cells, and how wide.

    Type and user get what they need first, because the decisive word stands there. Where that leaves no readable column
    for the description it has none, and stands under the type instead.
    """
    from rich.cells import cell_len

    natural = {
        c.name: min(c.most, max(len(c.name), c.least, *(cell_len(row[i]) for row in cells)))
        if c.rank == 0
        else min(c.most, max(len(c.name), *(cell_len(row[i]) for row in cells)))
        for i, c in enumerate(_COLUMNS)
    }
    widths = {c.name: natural[c.name] for c in _COLUMNS if c.rank == 0 and c.name != "description"}
    room = width - sum(w + _GAP for w in widths.values())
    if room < _COLUMNS[-1].least:
        # The type takes all that is left; a narrow terminal takes it from the user, then from the type itself.
        widths["user"] = max(8, widths["user"] + min(0, room + _GAP))
        rest = width - sum(w + _GAP for name, w in widths.items() if name != "type")
        return {**widths, "type": max(1, rest)}
    described = min(room, natural["description"], 50)
    room -= described
    for i, c in sorted(enumerate(_COLUMNS), key=lambda ic: ic[1].rank):
        if c.rank and natural[c.name] + _GAP <= room and any(row[i] for row in cells):
            widths[c.name] = natural[c.name]
            room -= natural[c.name] + _GAP
    widths["description"] = min(natural["description"], described + room)
    return {c.name: widths[c.name] for c in _COLUMNS if c.name in widths}


# -- the last line ----------------------------------------------------------------------------------------------------


def coverage_line(coverage: Coverage, given: int, logs: int) -> str:
    """One line for stderr: how much was found, what was read, from when to when, what could not be read, which gaps."""
    parts = [f"{_count(given, 'record')} found", f"read {_count(len(coverage.files), 'file')} of {_count(logs, 'log')}"]
    if coverage.time_min_ns is not None and coverage.time_max_ns is not None:
        parts[-1] += f", {rfc3339(coverage.time_min_ns)} to {rfc3339(coverage.time_max_ns)}"
    if coverage.unread_lines:
        was = "could not be read"
        parts.append(f"{_count(coverage.unread_lines, 'line')} {was}{_places(coverage)}")
    elif coverage.unread_places:
        parts.append(f"{_count(coverage.unread_places, 'place')} to look at{_places(coverage)}")
    if coverage.gaps:
        parts.append(f"{_count(coverage.gaps, 'gap')} recorded (type = audit_gap)")
    return printable("; ".join(parts))


def _places(coverage: Coverage) -> str:
    shown = [p.text() for p in coverage.places[:_PLACES_SHOWN]]
    if coverage.unread_places > len(shown):
        shown.append(f"{coverage.unread_places - len(shown)} more")
    return " (" + "; ".join(shown) + ")"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
