"""The figures of `pipeline.stats.snapshot` as metrics: Prometheus text, and JSON in KumoMTA's shape.

`METRICS` is the table of them all; the two texts are written from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import orjson

Labels = tuple[str, ...]
Samples = list[tuple[Labels, float]]


class Metric(NamedTuple):
    """One metric: a name as Prometheus shows it, and where its samples are: a field of the rows of *part*."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    labels: Labels
    part: Literal["logs", "disk", "http", "events", "state"]
    field: str


_LOG, _PLACE = ("log",), ("name",)

METRICS: tuple[Metric, ...] = (
    Metric("kumoaudit_events_accepted_total", "counter", "Records that a log took.", _LOG, "logs", "accepted"),
    Metric(
        "kumoaudit_events_filtered_total",
        "counter",
        "Events that a log was meant for and its filter did not want.",
        _LOG,
        "logs",
        "filtered",
    ),
    Metric(
        "kumoaudit_events_written_total", "counter", "Records that have reached their file.", _LOG, "logs", "written"
    ),
    Metric("kumoaudit_events_dropped_total", "counter", "Events that a log lost and counted.", _LOG, "logs", "dropped"),
    Metric("kumoaudit_events_refused_total", "counter", "Callers whose event a log refused.", _LOG, "logs", "refused"),
    Metric("kumoaudit_sink_errors_total", "counter", "Errors of the destination of a log.", _LOG, "logs", "failed"),
    Metric("kumoaudit_segments_total", "counter", "Segments that were begun.", _LOG, "logs", "segments"),
    Metric("kumoaudit_written_bytes_total", "counter", "Bytes written to segments.", _LOG, "logs", "bytes_written"),
    Metric(
        "kumoaudit_ring_records",
        "gauge",
        "Records in the ring of a log, not committed.",
        _LOG,
        "logs",
        "waiting_records",
    ),
    Metric(
        "kumoaudit_ring_bytes", "gauge", "Bytes in the ring of a log, not committed.", _LOG, "logs", "waiting_bytes"
    ),
    Metric(
        "kumoaudit_oldest_unwritten_seconds",
        "gauge",
        "Age of the oldest record that is in no file yet; 0 for none.",
        _LOG,
        "logs",
        "oldest_unwritten_s",
    ),
    Metric("kumoaudit_log_state", "gauge", "State of a log: 0 healthy, 1 degraded, 2 failed.", _LOG, "logs", "state"),
    Metric("kumoaudit_state", "gauge", "State of the host: 0 healthy, 1 degraded, 2 failed.", (), "state", "state"),
    Metric(
        "kumoaudit_events_recorded_total", "counter", "Events that at least one log took.", (), "events", "recorded"
    ),
    Metric(
        "kumoaudit_events_unwanted_total",
        "counter",
        "Events that no log took, because each log meant for them filtered them.",
        (),
        "events",
        "filtered",
    ),
    Metric("kumoaudit_own_records_total", "counter", "Records of the host about itself.", (), "events", "own"),
    Metric("disk_free_bytes", "gauge", "Bytes free for the host in a directory.", _PLACE, "disk", "disk_free_bytes"),
    Metric("disk_free_percent", "gauge", "The same in percent.", _PLACE, "disk", "disk_free_percent"),
    Metric("disk_free_inodes", "gauge", "Inodes free for the host in a directory.", _PLACE, "disk", "disk_free_inodes"),
    Metric("disk_free_inodes_percent", "gauge", "The same in percent.", _PLACE, "disk", "disk_free_inodes_percent"),
    Metric(
        "kumoaudit_http_requests_total",
        "counter",
        "HTTP requests by route and status.",
        ("route", "status"),
        "http",
        "requests",
    ),
    Metric(
        "kumoaudit_authentications_total",
        "counter",
        "Logins by outcome: ok, fail.",
        ("outcome",),
        "http",
        "authentications",
    ),
    Metric(
        "kumoaudit_authorizations_total",
        "counter",
        "Accesses by outcome: allow, deny.",
        ("outcome",),
        "http",
        "authorizations",
    ),
    Metric(
        "kumoaudit_http_throttled_total", "counter", "Requests turned away for their rate.", (), "http", "throttled"
    ),
    Metric(
        "kumoaudit_http_refused_total",
        "counter",
        "Requests turned away for the state of the host.",
        (),
        "http",
        "refused",
    ),
)

_STATES = {"healthy": 0, "degraded": 1, "failed": 2}


class Counters:
    """What a listener counts. Plain integers: call from one thread, or from several under the GIL.

    *route* is the pattern of a route, never what a client wrote: every value becomes a time series.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._authentications = {"ok": 0, "fail": 0}
        self._authorizations = {"allow": 0, "deny": 0}
        self.throttled = self.refused = 0

    def request(self, route: str, status: int) -> None:
        """A request was answered."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def authentication(self, is_ok: bool) -> None:
        """A login was tried."""
        self._authentications["ok" if is_ok else "fail"] += 1

    def authorization(self, is_allowed: bool) -> None:
        """An access was decided."""
        self._authorizations["allow" if is_allowed else "deny"] += 1

    def snapshot(self) -> dict[str, Any]:
        """The part `http` of a snapshot: JSON-able."""
        return {
            "requests": [
                {"route": route, "status": str(status), "count": n}
                for (route, status), n in sorted(self._requests.copy().items())
            ],
            "authentications": dict(self._authentications),
            "authorizations": dict(self._authorizations),
            "throttled": self.throttled,
            "refused": self.refused,
        }


def samples(snapshot: Mapping[str, Any]) -> Iterator[tuple[Metric, Samples]]:
    """Every metric with its samples: (values of the labels, value). Without a part `http` there are none of those."""
    for metric in METRICS:
        if metric.part == "http" and "http" not in snapshot:
            continue
        yield metric, _samples(metric, snapshot)


def _samples(metric: Metric, snapshot: Mapping[str, Any]) -> Samples:
    found: list[tuple[Labels, float | None]]
    match metric.part:
        case "logs":
            found = [((log["name"],), _number(metric.field, log[metric.field])) for log in snapshot["logs"]]
        case "disk":
            found = [((place,), room[metric.field]) for place, room in snapshot["disk"].items()]
        case "http":
            return _http_samples(snapshot["http"][metric.field])
        case "events":
            found = [((), snapshot["events"][metric.field])]
        case "state":
            found = [((), _STATES[snapshot["state"]])]
    return [(labels, value) for labels, value in found if value is not None]


def _http_samples(value: Any) -> Samples:
    if isinstance(value, list):
        return [((row["route"], row["status"]), row["count"]) for row in value]
    if isinstance(value, dict):
        return [((outcome,), n) for outcome, n in value.items()]
    return [((), value)]


def _number(field: str, value: Any) -> float | None:
    if field == "state":
        return _STATES[value]
    if field == "oldest_unwritten_s":
        return value or 0
    number: float | None = value
    return number


def prometheus_text(snapshot: Mapping[str, Any]) -> bytes:
    """A snapshot (with a part `http` from `Counters.snapshot`, if there is a listener) in Prometheus' text format."""
    # Imported with the first request only: a host that nobody scrapes needs none of it.
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    return generate_latest(registry)


class _Collector:
    """A custom collector of prometheus-client over one snapshot."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Any]:
        """Nothing: the registry is made for one scrape."""
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for metric, found in samples(self._snapshot):
            kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in found:
                family.add_metric(labels, value)
            yield family


def metrics_json(snapshot: Mapping[str, Any]) -> bytes:
    """The same in KumoMTA's shape: name -> help, type, value. A value with labels is an object for each label:
    `{"log": {"acct": 12}}`, `{"route": {"/metrics": {"status": {"200": 3}}}}`."""
    out = {}
    for metric, found in samples(snapshot):
        value: Any = found[0][1] if found and not metric.labels else {}
        for labels, number in found if metric.labels else ():
            at = value
            for name, label in zip(metric.labels[:-1], labels[:-1], strict=True):
                at = at.setdefault(name, {}).setdefault(label, {})
            at.setdefault(metric.labels[-1], {})[labels[-1]] = number
        out[metric.name] = {"help": metric.help, "type": metric.type, "value": value}
    return orjson.dumps(out)
