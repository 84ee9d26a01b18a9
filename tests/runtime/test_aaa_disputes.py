"""Where KumoMTA's documents and code disagree, or its code surprises: what this host does, seen from outside.

`docs/explanation/kumomta.md` lists every such point with the test that shows it; these have no other place.
"""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import orjson
import pytest

from kumoaudit.formats.kumo import KumoFormat
from tests.crash.hosts import host
from tests.policies import kumoaudit, rows, run_policy
from tests.support import vectors

RECORDS = [r["line"] for r in vectors("kumomta_acl.json")["records"]]


def test_a_resource_is_named_by_the_address_the_listener_is_bound_to(tmp_path: Path) -> None:
    """Not by the one that the connection came in at; port 0 becomes the real port (D6)."""
    policy = "kumo.on('init', function() kumo.start_http_listener { listen = '0.0.0.0:0' } end)"
    with host(tmp_path, policy) as process:
        process.wait_for("ready: ")
        (port,) = re.findall(r"http://0\.0\.0\.0:(\d+)", process.said)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/check-liveness/v1", timeout=30) as reply:
            assert reply.read() == b"OK"
        (record,) = rows(tmp_path, "--data-dir", "data", "--type", "Authorization")

    assert record["resource"] == f"http_listener/0.0.0.0:{port}/api/check-liveness/v1"
    assert port != "0"


@pytest.mark.parametrize("line", RECORDS)
def test_fields_that_are_null_may_be_missing_when_reading(line: str) -> None:
    """Both forms are documented; KumoMTA writes null, and so does this host (D13)."""
    record = orjson.loads(line)
    short = {k: v for k, v in record.items() if v is not None}
    short["auth_info"] = {k: v for k, v in record["auth_info"].items() if v}

    event = KumoFormat().decode(orjson.dumps(short))

    written = orjson.loads(KumoFormat().encode(event))
    assert {k: written[k] for k in record} == record


def test_a_task_needs_no_arguments(tmp_path: Path) -> None:
    """D14."""
    source = """
    kumo.on('work', function(...) print(select('#', ...)) end)
    kumo.on('init', function() kumo.spawn_task { event_name = 'work' } end)
    """

    assert run_policy(tmp_path, source).out == "0\n"


def test_check_says_what_an_acl_file_holds_in_vain(tmp_path: Path) -> None:
    """Misspelt names and privileges are silent in KumoMTA (weak spot 13)."""
    (tmp_path / "acl.toml").write_text(
        '[[acl."http_listener/*"]]\nallow = true\nprivileges = ["GET "]\nidentity.Any = {}\n'
    )
    (tmp_path / "policy.lua").write_text("kumo.on('validate_config', function() kumo.aaa.load_acl_map 'acl.toml' end)")

    checked = kumoaudit("check", "policy.lua", cwd=tmp_path)

    assert checked.code == 0
    assert [line.partition(" ")[0] for line in checked.err.splitlines() if "acl.toml:" in line] == ["warning:"] * 2
    assert "'http_listener/*'" in checked.err
    assert "'GET '" in checked.err
