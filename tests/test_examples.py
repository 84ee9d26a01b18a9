"""The policies in `examples/` run as they are, through the real command line, and record what their comments say."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from kumoaudit.access.aclmap import load_acl_map
from kumoaudit.access.hints import warnings
from tests.crash.hosts import HostProcess, host
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

    assert [p.name for p in EXAMPLES.rglob("*.lua") if f'"{p.name}"' not in text] == []


def test_every_example_passes_the_check(tmp_path: Path) -> None:
    for policy in sorted(EXAMPLES.rglob("*.lua")):
        # One in a directory of its own reads the files beside it.
        checked = kumoaudit("check", policy, cwd=tmp_path if policy.parent == EXAMPLES else policy.parent)

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


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Its programs lie elsewhere here, so they stand in."""
    if which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    unit = (EXAMPLES / "systemd" / "kumoaudit.service").read_text()
    standing_in = unit.replace("/opt/kumoaudit/bin/kumoaudit", "/bin/true").replace("User=kumoaudit", "User=root")
    (tmp_path / "kumoaudit.service").write_text(standing_in)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "kumoaudit.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


# -- access -----------------------------------------------------------------------------------------------------------

BACKUP_TOKEN = "5d3f0c7a91e84b6f8a2c"

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[HostProcess]:
    """The example as a process of its own, on any free port."""
    shutil.copytree(EXAMPLES / "access", tmp_path, dirs_exist_ok=True)
    policy = (tmp_path / "policy.lua").read_text()
    assert "127.0.0.1:8000'" in policy
    with host(tmp_path, policy.replace("127.0.0.1:8000'", "127.0.0.1:0'")) as process:
        process.wait_for("ready: ")
        yield process


@pytest.fixture
def ask(door: HostProcess) -> Ask:
    """Ask with an Authorization header; the status and the body."""
    found = re.search(r"http://127\.0\.0\.1:\d+", door.said)
    assert found

    def request(login: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {"Authorization": login} if login else {}
        asked = urllib.request.Request(found[0] + path, body.encode() if body else None, headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    return request


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ALICE, BOB = basic("alice", "wonderland"), basic("bob", "builder")
BACKUP = f"Bearer {BACKUP_TOKEN}"
RECORD = json.dumps({"description": "Backup 17 done"})
RECORDS, METRICS = "/api/audit/records/v1", "/metrics"


def test_access_lets_each_do_what_their_groups_may(ask: Ask, door: HostProcess) -> None:
    got = {
        "nobody": ask("", METRICS)[0],
        "alice": ask(ALICE, METRICS)[0],
        "bob": ask(BOB, METRICS)[0],
        "guess": ask(basic("alice", "guess"), METRICS)[0],
        "unknown": ask(basic("mallory", "guess"), METRICS)[0],
        "backup": ask(BACKUP, METRICS)[0],
        "backup records": ask(BACKUP, RECORDS, RECORD)[0],
        "bob records": ask(BOB, RECORDS, RECORD)[0],
        "bad token": ask("Bearer 123", RECORDS, RECORD)[0],
    }

    assert got == {
        "nobody": 401,
        "alice": 200,
        "bob": 403,
        "guess": 401,
        "unknown": 401,
        "backup": 403,
        "backup records": 200,
        "bob records": 403,
        "bad token": 401,
    }
    logins = all_rows(door.directory, "--type", "Authentication", "acct")
    assert [r.get("user") for r in logins if r["outcome"] == "fail"] == ["alice", "mallory", None]
    denied = all_rows(door.directory, "--type", "Authorization", "--where", "outcome = deny", "acct")
    assert [(r.get("user"), r["privilege"]) for r in denied] == [
        (None, "GET"),
        ("bob", "GET"),
        ("nightly-backup", "GET"),
        ("bob", "POST"),
    ]
    assert "wonderland" not in json.dumps(logins)


def test_access_forgets_a_user_who_was_removed(ask: Ask, door: HostProcess) -> None:
    users = door.directory / "users.toml"
    assert ask(ALICE, METRICS)[0] == 200
    users.write_text(users.read_text().replace("[users.alice]", "[users.alice_who_left]"))

    door.wait_for("policy reloaded (file change): users.toml")
    assert ask(ALICE, METRICS)[0] == 401


def test_access_takes_a_right_away_when_the_acl_file_changes(ask: Ask, door: HostProcess) -> None:
    acl = door.directory / "acl.toml"
    assert ask(ALICE, METRICS)[0] == 200
    acl.write_text(acl.read_text().replace('Identity.Group = "operators"', 'Identity.Group = "nobody"'))

    door.wait_for("policy reloaded (file change): acl.toml")
    assert ask(ALICE, METRICS)[0] == 403


def test_access_keeps_the_last_good_acl_when_the_file_is_broken(ask: Ask, door: HostProcess) -> None:
    assert ask(ALICE, METRICS)[0] == 200
    (door.directory / "acl.toml").write_text("[acl\n")

    door.wait_for("policy not reloaded")
    assert ask(ALICE, METRICS)[0] == 200


def test_the_acl_of_access_says_nothing_in_vain() -> None:
    text = (EXAMPLES / "access" / "acl.toml").read_text()

    assert warnings(load_acl_map(text, "acl.toml")) == []
    groups = {g for who in tomllib.loads((EXAMPLES / "access" / "users.toml").read_text()).values()
              for entry in who.values() for g in entry["groups"]}  # fmt: skip
    assert groups == {"operators", "shop", "backup"}
    assert all(f'Group = "{g}"' in text for g in groups)
