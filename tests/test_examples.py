"""The policies in `examples/` run as they are, through the real command line, and record what their comments say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.policies import Ran, events_of, kumoaudit
from tests.policies import rows as all_rows

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, directory: Path, *script_args: str) -> Ran:
    """Run an example in *directory*: what it writes by relative paths lies there."""
    args = ["--script", EXAMPLES / name, "--", *script_args] if script_args else [EXAMPLES / name]
    ran = kumoaudit("run", "--data-dir", "data", *args, cwd=directory)
    assert ran.code == 0, ran.err
    return ran


def events(directory: Path, *options: str) -> list[dict[str, Any]]:
    return events_of(directory, "--data-dir", "data", *options)


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()

    assert [p.name for p in EXAMPLES.glob("*.lua") if f'"{p.name}"' not in text] == []


def test_every_example_passes_the_check(tmp_path: Path) -> None:
    for policy in sorted(EXAMPLES.glob("*.lua")):
        checked = kumoaudit("check", policy, cwd=tmp_path)

        assert (checked.code, checked.err) == (0, ""), policy.name
    assert list(tmp_path.iterdir()) == []


def test_the_quickstart_records_four_events_and_says_how_to_see_them(tmp_path: Path) -> None:
    ran = run("quickstart.lua", tmp_path)

    assert "4 events recorded" in ran.err
    assert "see them: kumoaudit query" in ran.err
    assert [e["severity"] for e in events(tmp_path)] == ["INFO", "ALARM", "INFO", "WARNING"]
    assert [e["user"] for e in events(tmp_path, "--severity", "ALARM")] == ["mallory"]


def test_several_logs_keeps_alarms_apart_and_tarantools_lines_beside_them(tmp_path: Path) -> None:
    run("several_logs.lua", tmp_path)

    alarms = events_of(tmp_path, "audit/alarms")
    raw = kumoaudit("query", "--reverse", "--format", "raw", "--where", "kind != system", "audit/siem", cwd=tmp_path)
    siem = [json.loads(line) for line in raw.out.splitlines()]

    assert [e["type"] for e in alarms] == ["custom_stock", "auth_fail"]
    assert [e["type"] for e in siem] == ["custom_order", "custom_stock", "auth_fail"]
    assert list(siem[0]) == [
        "time",
        "uuid",
        "severity",
        "remote",
        "session_type",
        "module",
        "user",
        "type",
        "tag",
        "description",
    ]


def test_accounting_rotates_by_size_and_names_segments_as_kumomta_does(tmp_path: Path) -> None:
    run("accounting.lua", tmp_path)

    segments = sorted(p.name for p in (tmp_path / "acct").glob("acct-*"))
    assert len(segments) > 2
    assert [e["seq"] for e in events_of(tmp_path, "acct")] == list(range(1, 31))


def test_mask_hides_users_and_cards_and_drops_heartbeats(tmp_path: Path) -> None:
    run("mask.lua", tmp_path)

    (event,) = events(tmp_path)
    assert (event["user"], event["description"]) == ("a***@example.com", "Paid with card ************1111")
    (stop,) = all_rows(tmp_path, "--data-dir", "data", "--type", "audit_stop")
    assert stop["detail"]["filtered"] == 1
    for segment in (tmp_path / "data").rglob("*"):
        assert not segment.is_file() or b"4111111111111111" not in segment.read_bytes()


def test_report_takes_arguments_and_fails_without(tmp_path: Path) -> None:
    ran = run("report.lua", tmp_path, "backup", "db-1", "db-2")
    usage = kumoaudit("run", "--data-dir", "data", "--script", EXAMPLES / "report.lua", cwd=tmp_path)

    assert ran.out == "db-1\trecorded\ndb-2\trecorded\n"
    assert [(e["module"], e["tag"]) for e in events(tmp_path)] == [("backup", "db-1"), ("backup", "db-2")]
    assert usage.code == 1
    assert "usage: report.lua SERVICE HOST..." in usage.err


def test_durable_puts_each_event_where_it_promises(tmp_path: Path) -> None:
    ran = run("durable.lua", tmp_path)

    assert "The transfer is on record" in ran.out
    assert [e["type"] for e in events_of(tmp_path, "data/ledger")] == ["custom_ledger"]
    assert [e["severity"] for e in events_of(tmp_path, "data/debug")] == ["VERBOSE"]


def test_tasks_run_side_by_side_until_the_last_has_ended(tmp_path: Path) -> None:
    run("tasks.lua", tmp_path)

    found = events(tmp_path)
    assert [e["description"] for e in found if e["module"] == "disks"] == [f"Round {n} of 3" for n in (1, 2, 3)]
    assert [e["description"] for e in found if e["module"] == "doors"] == ["Round 1 of 2", "Round 2 of 2"]
    assert found[-1]["description"] == "The watch is over"
