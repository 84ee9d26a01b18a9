"""Counters of the logs and of the host."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import orjson
import pytest

from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.core.spec import Plan, RingSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.stats import disk_row, log_row, snapshot, without_credentials
from kumoaudit.segments.freespace import Room
from tests.fakes import FakeClock, FaultyDisk, eventually, route_spec
from tests.pipeline.test_state import World
from tests.policies import inside
from tests.support import event


def test_a_log_counts_what_it_took_and_what_it_did_not_want(tmp_path: Path) -> None:
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), FakeClock(), lambda _: None)
    alarms = Plan(where=parse_predicate("severity >= ALARM"))
    route = pipeline.open_log(route_spec(tmp_path / "a", plan=alarms))
    for severity in ("INFO", "ALARM", "INFO"):
        pipeline.emit(event(severity=severity))
    pipeline.flush()

    found = snapshot(pipeline)
    row = next(log for log in found["logs"] if log["name"] == "a")

    assert {n: row[n] for n in ("accepted", "filtered", "written", "dropped", "refused", "failed")} == {
        "accepted": 1,
        "filtered": 2,
        "written": 1,
        "dropped": 0,
        "refused": 0,
        "failed": 0,
    }
    assert (row["sink"], row["durability"], row["path"], row["state"]) == (
        "segments",
        "process",
        str(tmp_path / "a"),
        "healthy",
    )
    assert (row["segments"], row["waiting_records"], row["last_commit"]) == (1, 1, None)
    assert row["bytes_written"] == sum(p.stat().st_size for p in (tmp_path / "a").iterdir() if p.is_file())
    assert found["events"] == {"recorded": 1, "filtered": 2, "own": 0}
    assert found["totals"]["accepted"] == 1
    assert orjson.loads(orjson.dumps(found)) == found
    pipeline.close()
    assert log_row(route, 0)["waiting_records"] == 0
    assert log_row(route, 0)["last_commit"].startswith("20")


def test_what_lua_records_and_filters_on_its_own_is_counted_too(tmp_path: Path) -> None:
    source = """
    kumo.on('init', function()
      kumo.aaa.configure_acct_log { log_dir = 'LOG_DIR', where = 'severity >= ALARM' }
    end)
    kumo.on('work', function()
      for i = 1, 10 do audit.info('step') end
      for i = 1, 3 do audit.alarm('fire') end
    end)
    """
    with inside(tmp_path, source.replace("LOG_DIR", str(tmp_path / "acct"))) as i:
        i.host.call("work")

        found = snapshot(i.pipeline)

        row = found["logs"][1]
        assert (row["accepted"], row["filtered"]) == (3, 10)
        assert found["events"]["recorded"] + found["events"]["filtered"] == 13


def test_a_loss_and_a_refusal_are_counted_apart(tmp_path: Path) -> None:
    dropping = World(tmp_path / "one", overflow="drop")
    refusing = World(tmp_path / "two")
    dropping.fill()
    refusing.fill()

    rows = [log_row(w.route, w.clock.monotonic_ns()) for w in (dropping, refusing)]

    assert [(r["dropped"], r["refused"]) for r in rows] == [(1, 0), (0, 1)]


def test_an_error_of_the_sink_is_counted_and_the_oldest_record_gets_older(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.break_disk()
    for _ in range(3):
        w.step(2.0)

    row = log_row(w.route, w.clock.monotonic_ns())

    assert row["failed"] == 4
    assert row["oldest_unwritten_s"] == 6.0
    assert (row["accepted"], row["written"], row["waiting_records"]) == (1, 0, 1)
    assert row["waiting_bytes"] > 900


def test_a_power_log_counts_the_callers_that_its_disk_made_it_refuse(tmp_path: Path) -> None:
    w = World(tmp_path, durability="power")
    w.disk.fail("fdatasync", errno.EIO, for_ever=True)

    with pytest.raises(RecordRefused):
        w.route.put(b"{}\n", 1)

    assert log_row(w.route, w.clock.monotonic_ns())["refused"] == 1


def test_written_never_falls_when_an_error_takes_the_sink_back(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.put()
    w.step(0.2)
    w.step(1.0)
    assert w.route.writer.written == 1

    w.disk.fail("write", errno.EIO)
    w.put()
    seen = []
    for _ in range(4):
        w.step(1.1)
        seen.append(w.route.writer.written)

    assert seen == sorted(seen)
    assert seen[0] >= 1
    assert seen[-1] == 2


def test_records_of_the_last_run_are_written_but_not_accepted_again(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.put()
    os.close(w.route.writer.sink._place._lock._fd)  # type: ignore[attr-defined]
    w.route.ring.close()

    again = World(tmp_path)
    again.put()
    again.step(0.2)
    again.step(1.0)

    row = log_row(again.route, again.clock.monotonic_ns())
    assert (row["accepted"], row["written"]) == (1, 2)


@pytest.mark.parametrize(
    ("room", "row"),
    [
        (Room(999, 10_000, 50, 1000), (999, 9, 50, 5)),
        (Room(0, 0, 0, 0), (0, 0, None, None)),
    ],
)
def test_free_room_has_kumomtas_names_and_percent_are_rounded_down(room: Room, row: tuple[object, ...]) -> None:
    """KumoMTA 5.7; a file system without a limit of inodes has no figure, instead of 0 %."""
    names = ("disk_free_bytes", "disk_free_percent", "disk_free_inodes", "disk_free_inodes_percent")

    assert disk_row(room) == dict(zip(names, row, strict=True))


def test_every_place_of_the_host_is_measured(tmp_path: Path) -> None:
    pipeline = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), FakeClock(), lambda _: None)
    pipeline.open_log(route_spec(tmp_path / "a"))
    pipeline.open_log(route_spec("", name="nowhere", sink="devnull"))

    places = snapshot(pipeline)["disk"]

    assert list(places) == [str(tmp_path / p) for p in ("a", "data/log", "data/spool")]
    assert all(place["disk_free_bytes"] > 0 for place in places.values())
    pipeline.close()


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/var/log/a", "/var/log/a"),
        ("https://bob:secret@logs.example/x@y", "https://***@logs.example/x@y"),
        ("kafka://key@broker:9092", "kafka://***@broker:9092"),
    ],
)
def test_credentials_of_a_place_are_not_shown(place: str, shown: str) -> None:
    assert without_credentials(place) == shown


def test_counters_may_be_asked_for_while_threads_record(tmp_path: Path) -> None:
    import threading

    pipeline = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), FakeClock(), lambda _: None)
    pipeline.open_log(route_spec(tmp_path / "a", ring=RingSpec(65536, 3)))
    threads = [
        threading.Thread(target=lambda: [pipeline.emit(event(n, description="x" * 200)) for n in range(1000)])
        for _ in range(4)
    ]
    seen = []
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        seen.append(snapshot(pipeline)["totals"])
    for t in threads:
        t.join()
    pipeline.flush()

    for name in ("accepted", "written", "bytes_written"):
        values = [s[name] for s in seen]
        assert values == sorted(values), name
    totals = snapshot(pipeline)["totals"]
    assert (totals["accepted"], totals["written"]) == (4000, 4000)
    eventually(lambda: pipeline.housekeeping.rooms, "free room is known")
    pipeline.close()
