"""What an administrator does over HTTP: it happens, is answered, and leaves a record of its own that says who."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crash.hosts import HostProcess, host
from tests.policies import rows

POLICY = """
kumo.on('beat', function() kumo.log_debug 'a beat'; kumo.sleep(0.05); kumo.spawn_task { event_name = 'beat' } end)
kumo.on('init', function()
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.spawn_task { event_name = 'beat' }
end)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with host(tmp_path_factory.mktemp("admin"), POLICY) as process:
        process.wait_for("ready: ")
        yield process


def post(process: HostProcess, path: str, body: bytes = b"") -> tuple[dict[str, Any], str]:
    """The answer and the id of its record."""
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+", process.said)
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=30) as reply:
        return json.loads(reply.read()), reply.headers["X-Audit-Id"]


@pytest.mark.parametrize(
    ("path", "body", "record", "field"),
    [
        ("/api/admin/reopen/v1", b"", "admin_reopen", "logs"),
        ("/api/admin/bump-config-epoch", b"", "admin_reload", "config_epoch"),
        ("/api/admin/set_diagnostic_log_filter/v1", b'{"filter": "lua=debug"}', "admin_log_filter", "filter"),
    ],
)
def test_what_an_administrator_does_is_answered_and_recorded(
    running: HostProcess, path: str, body: bytes, record: str, field: str
) -> None:
    answer, request = post(running, path, body)

    assert answer["ok"] is True
    assert field in answer
    (found,) = rows(running.directory, "--data-dir", "data", "--type", record)
    assert (found["kind"], found["detail"]["peer"], found["detail"]["request_id"]) == ("admin", "127.0.0.1", request)


def test_a_filter_counts_from_its_answer_on(running: HostProcess) -> None:
    post(running, "/api/admin/set_diagnostic_log_filter/v1", b'{"filter": "debug"}')

    running.wait_for("a beat")
