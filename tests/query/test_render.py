"""Output: complete, and harmless whatever was recorded."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings

from kumoaudit.core.event import Event
from kumoaudit.core.text import printable
from kumoaudit.formats.native import ROW_FIELDS, row
from kumoaudit.query.engine import Answer
from kumoaudit.query.render import Table, coverage_line, csv_line, json_line, renderer
from kumoaudit.segments.coverage import Coverage
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.reader import SegmentLog
from tests.strategies import events as any_events
from tests.support import T0, event, stored

LOG = SegmentLog(RealDisk(), "/nowhere")


def answer(e: Event, seq: int = 1) -> Answer:
    return Answer(LOG, seq, e, stored(e))


def table(*these: Event, width: int = 80) -> str:
    out = io.BytesIO()
    t = Table(out, is_terminal=False, width=width)
    for e in these:
        t.add(answer(e))
    t.flush()
    return out.getvalue().decode()


def test_a_json_line_is_the_row_with_its_number_behind_the_id() -> None:
    e = event(user="eve")

    line = json_line(answer(e, 17))

    assert list(json.loads(line))[:3] == ["id", "seq", "node"]
    assert json.loads(line) == row(e, 17)


def test_a_record_without_a_number_has_no_seq() -> None:
    assert "seq" not in json.loads(json_line(answer(event(), 0)))


@settings(max_examples=200, deadline=None)
@given(any_events())
def test_json_output_means_the_same_and_holds_nothing_that_acts_on_a_terminal(e: Event) -> None:
    line = json_line(answer(e)).decode()

    assert json.loads(line) == row(e, 1)
    assert not set(line[:-1]) & set("\x1b\n\r\t\x07\x9b\u202e\u2028\u200b")


@settings(max_examples=200, deadline=None)
@given(any_events())
def test_csv_reads_back_with_every_field(e: Event) -> None:
    (cells,) = csv.reader(io.StringIO(csv_line(answer(e)).decode(), newline=""))

    for name, cell in zip(ROW_FIELDS, cells, strict=True):
        value: Any = row(e, 1).get(name, "")
        text = value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, (str, int)):
            assert cell.removeprefix("'") == text.removeprefix("'")
        else:
            assert json.loads(cell) == value


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_csv_cell_that_a_spreadsheet_would_run_is_made_text(start: str) -> None:
    (cells,) = csv.reader(io.StringIO(csv_line(answer(event(user=start + "cmd|x"))).decode(), newline=""), strict=True)

    assert cells[ROW_FIELDS.index("user")] == "'" + start + "cmd|x"


def test_csv_has_a_head_and_ends_records_with_cr_lf() -> None:
    out = io.BytesIO()
    r = renderer("csv", out, is_terminal=False)
    r.add(answer(event()))
    r.flush()

    assert out.getvalue().startswith(b"id,seq,node,time,")
    assert out.getvalue().count(b"\r\n") == 2


def test_raw_is_the_stored_line() -> None:
    out = io.BytesIO()
    e = event(user="\u202e")
    renderer("raw", out, is_terminal=False).add(answer(e))

    assert out.getvalue() == stored(e) + b"\n"


def test_markup_and_control_characters_of_an_event_are_shown_not_obeyed() -> None:
    shown = table(event(user="[red]a[/b]\x1b]0;x\x07", description="one\ntwo \u202eevil", type="t"), width=120)

    assert "[red]a[/b]\\x1b]0;x\\u0007" in shown
    assert "one\\ntwo \\u202eevil" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("decisive", ["authentication-failure", "authentication-success", "user-deregistered"])
def test_the_decisive_word_is_whole_on_80_columns(decisive: str) -> None:
    """Prosody's viewer cuts both to `authenticat...`: the one difference that matters is cut off."""
    shown = table(
        event(type=decisive, user="a.rather.long.name@example.com", outcome="fail", host="example.com", peer="10.1.2.3")
    )

    assert decisive in shown
    assert "fail" in shown
    assert "INFO" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_nothing_is_cut_from_a_long_text() -> None:
    words = [f"word{n}" for n in range(60)]

    shown = table(event(description=" ".join(words)))

    assert all(w in shown for w in words)
    assert "…" not in shown


def test_more_columns_come_where_there_is_room() -> None:
    e = event(user="eve", host="example.com", peer="10.1.2.3", outcome="ok")

    assert "peer" not in table(e, width=70).splitlines()[0]
    assert {"peer", "host", "seq"} <= set(table(e, width=160).splitlines()[0].split())


def test_the_head_comes_once_however_many_rows() -> None:
    assert table(*(event(n) for n in range(1200))).count("severity") == 1


def test_a_record_without_a_description_says_what_was_wanted() -> None:
    shown = table(
        event(kind="authz", type="Authorization", outcome="deny", privilege="GET", resource="x/y", description=""),
        width=120,
    )

    assert "GET x/y" in shown


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_narrow_terminal_is_no_error(width: int) -> None:
    assert table(event(user="eve", outcome="ok"), width=width)


def test_the_last_line_names_what_was_read_and_what_was_not() -> None:
    c = Coverage()
    c.file("/a")
    c.times(T0, T0 + 1_000_000_000)
    c.unreadable("/a\x1b", 4096, "the frame is damaged", 12)
    c.event(event(0, kind="system", type="audit_gap"))

    line = coverage_line(c, 3, 1)

    assert line == (
        "3 records found; read 1 file of 1 log, 2026-09-21T14:13:20.000Z to 2026-09-21T14:13:21.000Z; "
        "12 lines could not be read (/a\\x1b at 4096: the frame is damaged); 1 gap recorded (type = audit_gap)"
    )


@settings(max_examples=100, deadline=None)
@given(any_events())
def test_raw_lines_act_on_no_terminal(e: Event) -> None:
    out = io.BytesIO()
    hostile = Answer(LOG, 1, e, stored(e) + b"\xff\xc2\x9b31m \xe2\x80\xae")
    renderer("raw", out, is_terminal=True).add(hostile)

    shown = out.getvalue().decode()
    assert shown.endswith("\\xff\\u009b31m \\u202e\n")
    assert printable(shown[:-1]) == shown[:-1]
