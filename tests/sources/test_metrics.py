"""Figures as metrics: Prometheus text and KumoMTA's JSON, from one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.stats import snapshot
from kumoaudit.sources.metrics import METRICS, Counters, metrics_json, prometheus_text
from tests.fakes import FakeClock, FaultyDisk, route_spec
from tests.support import event


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), FakeClock(), lambda _: None)
    pipeline.open_log(route_spec(tmp_path / 'a"b', name="a"))
    pipeline.emit(event())
    pipeline.flush()
    counters = Counters()
    for status in (200, 200, 503):
        counters.request("/metrics", status)
    counters.request("/api/audit/check/v1", 401)
    counters.authentication(True)
    counters.authentication(False)
    counters.authorization(False)
    counters.refused += 1
    out = snapshot(pipeline) | {"http": counters.snapshot()}
    pipeline.close()
    return out


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels, as prometheus-client's own parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(s.labels.items())): s.value for f in families for s in f.samples}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("kumoaudit_events_accepted_total", {"log": "a"}, 1),
        ("kumoaudit_events_written_total", {"log": "a"}, 1),
        ("kumoaudit_events_dropped_total", {"log": "log"}, 0),
        ("kumoaudit_log_state", {"log": "a"}, 0),
        ("kumoaudit_oldest_unwritten_seconds", {"log": "a"}, 0),
        ("kumoaudit_events_recorded_total", {}, 1),
        ("kumoaudit_state", {}, 0),
        ("kumoaudit_http_requests_total", {"route": "/metrics", "status": "200"}, 2),
        ("kumoaudit_http_requests_total", {"route": "/api/audit/check/v1", "status": "401"}, 1),
        ("kumoaudit_authentications_total", {"outcome": "fail"}, 1),
        ("kumoaudit_authorizations_total", {"outcome": "allow"}, 0),
        ("kumoaudit_http_throttled_total", {}, 0),
        ("kumoaudit_http_refused_total", {}, 1),
    ],
)
def test_a_figure_is_the_same_in_both_texts(
    found: dict[str, Any], name: str, labels: dict[str, str], value: float
) -> None:
    assert parsed(prometheus_text(found))[name, tuple(labels.items())] == value
    at: Any = orjson.loads(metrics_json(found))[name]["value"]
    for label, label_value in labels.items():
        at = at[label][label_value]
    assert at == value


def test_free_room_has_kumomtas_names_by_place(found: dict[str, Any], tmp_path: Path) -> None:
    """KumoMTA 5.7: by place; a quote in a path is escaped."""
    place = str(tmp_path / 'a"b')
    samples = parsed(prometheus_text(found))

    for name in ("disk_free_bytes", "disk_free_percent", "disk_free_inodes", "disk_free_inodes_percent"):
        assert samples[name, (("name", place),)] == found["disk"][place][name]


def test_every_metric_is_there_with_help_and_type(found: dict[str, Any]) -> None:
    text = prometheus_text(found).decode()
    json = orjson.loads(metrics_json(found))

    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}\n" in text
        assert (json[metric.name]["help"], json[metric.name]["type"]) == (metric.help, metric.type)
    assert set(json) == {m.name for m in METRICS}


def test_a_host_without_a_listener_has_no_metrics_of_http(found: dict[str, Any]) -> None:
    del found["http"]

    assert "http" not in prometheus_text(found).decode()
    assert not [name for name in orjson.loads(metrics_json(found)) if "http" in name]


def test_what_is_not_known_is_left_out(found: dict[str, Any]) -> None:
    """A log without segments, a file system without inodes: no sample, instead of a 0 that would be a lie."""
    for log in found["logs"]:
        log["segments"] = None
    for room in found["disk"].values():
        room["disk_free_inodes_percent"] = None

    names = {name for name, _ in parsed(prometheus_text(found))}
    assert not names & {"kumoaudit_segments_total", "disk_free_inodes_percent"}
    assert orjson.loads(metrics_json(found))["kumoaudit_segments_total"]["value"] == {}


def test_the_client_library_is_imported_with_the_first_scrape_only() -> None:
    import subprocess
    import sys

    from tests.support import environment

    code = "import sys, kumoaudit.sources.metrics, kumoaudit.daemon; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "False\n"
