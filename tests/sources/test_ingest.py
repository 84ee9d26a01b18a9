"""Records that applications send: what each kind becomes, what is refused and why, and each recorded once."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoaudit.core.catalog import HOST_TYPES
from kumoaudit.core.errors import RecordRefused
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.ids import is_uuid, looks_like_id
from kumoaudit.core.timetext import parse_rfc3339
from kumoaudit.formats import FORMATS
from kumoaudit.sources import batch as module
from kumoaudit.sources.batch import BadBatch, parse_batch
from kumoaudit.sources.ingest import Ingest, PeerInfo, failed
from kumoaudit.sources.records import MAX_DEPTH, RECORDS, Base, parse_record
from tests.fakes import FakeClock
from tests.support import T0

BASE = Base(T0, "203.0.113.7:1", {"peer": {"pid": 7}}, "alpha")
UUID = "94454e46-9a0e-493a-bb9f-d59e44a43581"
ULID = "01JD4ZQ0000000000000000000"


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in records)


def one(**fields: Any) -> Event:
    """The event of a record, whichever way it goes."""
    (found,) = parse_batch(lines(fields), "lines", BASE).events
    return found


def reason(data: bytes, content: Any = "lines") -> tuple[int | None, str]:
    with pytest.raises(BadBatch) as bad:
        parse_batch(data, content, BASE)
    return bad.value.index, bad.value.reason


# -- what a record becomes -----------------------------------------------------------------------------------------------


def test_the_ten_fields_of_a_tarantool_record_are_taken_as_they_are() -> None:
    """Tarantool section 3: the record as Tarantool itself writes it, empty fields and all."""
    record = {
        "time": "2024-02-08T09:32:52.190+0300",
        "uuid": UUID,
        "severity": "WARNING",
        "remote": "unix/:(socket)",
        "session_type": "console",
        "module": "tarantool",
        "user": "admin",
        "type": "custom_hello",
        "tag": "",
        "description": "Hello",
    }

    assert one(**record) == Event(
        id=UUID,
        time_ns=parse_rfc3339("2024-02-08T06:32:52.190Z"),
        node="alpha",
        kind="custom",
        type="custom_hello",
        severity="WARNING",
        user="admin",
        peer="unix/:(socket)",
        session_type="console",
        module="tarantool",
        description="Hello",
        detail={"peer": {"pid": 7}},
    )


def test_a_custom_record_has_what_the_host_knows_where_it_says_nothing() -> None:
    got = one(description="x")

    assert is_uuid(got.id)
    assert (got.time_ns, got.kind, got.type, got.severity) == (T0, "custom", "message", "INFO")
    assert (got.peer, got.detail, got.module) == ("203.0.113.7:1", {"peer": {"pid": 7}}, None)


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "custom",
        {"description": "d", "id": ULID, "host": "example.com", "peer": "10.0.0.1", "outcome": "deny", "resource": "r",
         "privilege": "p", "scope": "s", "source": "app", "detail": {"a": [1]}, "metadata": {"m": "v"}},
        {"id": ULID, "host": "example.com", "peer": "10.0.0.1", "outcome": "deny", "resource": "r", "privilege": "p",
         "scope": "s", "source": "app", "detail": {"a": [1], "peer": {"pid": 7}}, "metadata": {"m": "v"}},
    ),
    (
        "event",
        {"type": "user_create", "args": {"user": "bob"}, "user": "admin", "remote": "1.2.3.4:5", "uuid": UUID},
        {"kind": "admin", "type": "user_create", "description": "Create user bob", "user": "admin", "id": UUID,
         "peer": "1.2.3.4:5", "detail": {"user": "bob", "peer": {"pid": 7}}},
    ),
    (
        "authentication",
        {"type": "Authentication", "timestamp": "2026-11-20T08:41:02.5Z", "success": False,
         "attempted_identity": {"identity": "eve", "context": "HttpBasicAuth"},
         "auth_info": {"peer_address": "10.9.9.9", "identities": [], "groups": []}},
        {"kind": "authn", "type": "Authentication", "outcome": "fail", "severity": "ALARM", "user": "eve",
         "peer": "10.9.9.9", "time_ns": parse_rfc3339("2026-11-20T08:41:02.5Z")},
    ),
    (
        "authorization",
        {"target_resource": "http/x", "privilege": "GET", "access": "Allow",
         "auth_info": {"identities": [{"identity": "bob", "context": "BearerToken"}], "groups": ["g"]}},
        {"kind": "authz", "type": "Authorization", "outcome": "allow", "user": "bob", "resource": "http/x",
         "privilege": "GET", "time_ns": T0, "peer": "203.0.113.7:1",
         "auth_info": AuthInfo(None, (Identity("bob", "BearerToken"),), ("g",))},
    ),
    (
        "access",
        {"type": "login_page", "outcome": "deny", "user": "eve", "resource": "/x", "auth_info": {"peer_address": "1.1.1.1"}},
        {"kind": "access", "type": "login_page", "severity": "ALARM", "user": "eve", "peer": "1.1.1.1", "resource": "/x"},
    ),
    ("decision", {"privilege": "edit", "severity": "VERBOSE"}, {"kind": "decision", "type": "decision", "severity": "VERBOSE"}),
    (
        "action",
        {"access": "CREATE", "type": "Mesh", "name": "m1", "mesh": "default", "outcome": "allow",
         "user": {"name": "ann", "groups": ["ops"]}, "reason": "r"},
        {"kind": "access", "type": "action", "privilege": "CREATE", "resource": "Mesh/m1", "scope": "default", "user": "ann",
         "description": "CREATE Mesh m1", "detail": {"access": "CREATE", "type": "Mesh", "name": "m1", "reason": "r",
                                                    "groups": ["ops"], "peer": {"pid": 7}}},
    ),
    (
        "module",
        {"host": "xmpp.example", "source": "mod_audit_auth", "event_type": "authentication-failure", "user": "a@b",
         "session": {"type": "c2s", "ip": "10.0.0.9"}, "custom": {"note": "x"}, "timestamp": 1_700_000_000},
        {"kind": "custom", "type": "authentication-failure", "host": "xmpp.example", "source": "mod_audit_auth",
         "peer": "10.0.0.9", "session_type": "c2s", "time_ns": 1_700_000_000_000_000_000},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "fields", "expected"), CASES, ids=[c[0] for c in CASES])
def test_what_a_record_becomes(record: str, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    got = one(record=record, **fields)

    assert {name: getattr(got, name) for name in expected} == expected
    assert looks_like_id(got.id)
    assert FORMATS["native"].decode(FORMATS["native"].encode(got)) == got


def test_every_kind_of_record_has_a_case() -> None:
    assert sorted(c[0] for c in CASES) == sorted(RECORDS)


# -- what is refused -----------------------------------------------------------------------------------------------------

_DEEP: Any = 1
for _ in range(MAX_DEPTH):
    _DEEP = {"a": _DEEP}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "field 'description' is required"),
    ({"descripton": "x"}, "did you mean 'description'"),
    ({"description": 1}, "field 'description' must be a string"),
    ({"description": "x", "type": "login"}, "type must be 'message' or start with 'custom_', got 'login'"),
    ({"description": "x", "severity": "BAD"}, "unknown severity 'BAD'"),
    ({"description": "x", "uuid": "1"}, "field 'uuid' must be a UUID"),
    ({"description": "x", "uuid": UUID.replace("9", "x")}, "field 'uuid' must be a UUID"),
    ({"description": "x", "id": "1"}, "field 'id' must be a UUID or a ULID"),
    ({"description": "x", "id": 5}, "field 'id' must be a UUID or a ULID"),
    ({"description": "x", "id": UUID, "uuid": UUID}, "not both"),
    ({"description": "x", "peer": "a", "remote": "b"}, "not both"),
    ({"description": "x", "time": "2026-11-20T00:00:00Z", "timestamp": "2026-11-20T00:00:00Z"}, "not both"),
    ({"description": "x", "time": "yesterday"}, "must be an RFC 3339 time"),
    ({"description": "x", "time": "1969-12-31T23:59:59Z"}, "must be an RFC 3339 time"),
    ({"description": "x", "time": "2026-13-20T00:00:00Z"}, "must be an RFC 3339 time"),
    ({"description": "x", "outcome": "maybe"}, "unknown outcome 'maybe'"),
    ({"description": "x", "detail": "text"}, "field 'detail' must be an object"),
    ({"description": "x", "detail": {"peer": 1}}, "'detail.peer' is the host's own"),
    ({"description": "x", "detail": _DEEP}, "nested deeper than 64"),
    ({"description": "x", "node": "other"}, "field 'node' is the host's own"),
    ({"description": "x", "seq": 1}, "field 'seq' is the host's own"),
    ({"description": "x", "kind": "system"}, "unknown field 'kind'"),
    ({"record": "customs", "description": "x"}, "unknown record \"customs\"; did you mean 'custom'?"),
    ({"record": 1}, "unknown record 1"),
    ({"record": "event", "type": "nothing"}, "unknown event type 'nothing'"),
    ({"record": "event", "type": "user_create", "args": {}}, "missing argument 'user'"),
    ({"record": "event", "type": "user_create", "args": {"user": "x"}, "node": "n"}, "'node' is the host's own"),
    ({"record": "authentication", "success": True}, "attempted_identity"),
    ({"record": "authentication", "type": "Authorization"}, "field 'type' of this record must be 'Authentication'"),
    ({"record": "authorization", "acess": "Allow"}, "did you mean 'access'"),
    ({"record": "access", "outcome": "no"}, "unknown outcome"),
    ({"record": "access", "kind": "system"}, "unknown field 'kind'"),
    ({"record": "action", "access": "CREATE", "type": "Mesh"}, "field 'name' is required"),
    ({"record": "action", "access": "CREATE", "type": "Mesh", "name": "x", "user": "ann"}, "must be an object"),
    ({"record": "module", "host": "x", "source": "y"}, "field 'event_type' is required"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "words"), REFUSED)
def test_what_is_refused_and_why(record: dict[str, Any], words: str) -> None:
    """The good record before it is not recorded either: the index is that of the first bad one."""
    index, text = reason(lines({"description": "good"}, record))

    assert index == 1
    assert words in text


@pytest.mark.parametrize("name", sorted(HOST_TYPES))
@pytest.mark.parametrize("record", ["custom", "event", "access", "decision", "module"])
def test_nobody_forges_a_record_of_the_host(record: str, name: str) -> None:
    needed = {"host": "h", "source": "s", "event_type": name} if record == "module" else {"type": name}

    index, _ = reason(lines({"record": record, "description": "x", **needed}))

    assert index == 0


DEEP = b'{"description":"x","detail":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x01\x02\n", "not JSON"),
        (b'{"description":"a\x00b"}\n', "not JSON"),
        (b'{"description":"\xff"}\n', "not UTF-8"),
        (b'{"description":"x","detail":{"\xff":1}}\n', "not UTF-8"),
        (b'{"description":"\\ud800"}\n', "not JSON"),
        (b'{"description":"x","detail":{"n":1e999}}\n', "not JSON"),
        (b'{"description":"x","detail":{"n":NaN}}\n', "not JSON"),
        (b'{"description":"x"\n', "not JSON"),
        (b'{"description":"x"} {"description":"y"}\n', "not JSON"),
        (b'{"description":\n"x"}\n', "not JSON"),
        (b'["description"]\n', "expected an object"),
        (b"5\n", "expected an object"),
        (DEEP, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_hostile_lines_are_refused_as_text(data: bytes, words: str) -> None:
    index, text = reason(b'{"description":"good"}\n' + data)

    assert index == 1
    assert words in text


def test_of_a_key_that_stands_twice_the_last_counts_on_both_ways() -> None:
    text = b'{"description":"x","user":"a","user":"b"}'

    assert parse_batch(text, "lines", BASE).events[0].user == "b"
    assert parse_batch(text, "json", BASE).events[0].user == "b"


def test_a_nul_written_as_an_escape_is_a_character() -> None:
    assert one(description="a\x00b").description == "a\x00b"


# -- content -------------------------------------------------------------------------------------------------------------

_TWO = [{"description": "a"}, {"description": "b", "record": "custom", "type": "custom_x"}]


@pytest.mark.parametrize(
    ("data", "content", "expected"),
    [
        (lines(*_TWO), "lines", ["a", "b"]),
        (lines(*_TWO), "auto", ["a", "b"]),
        (lines(*_TWO).replace(b"\n", b"\r\n") + b"\r\n \n", "auto", ["a", "b"]),
        (lines(*_TWO).rstrip(), "lines", ["a", "b"]),
        (json.dumps(_TWO).encode(), "json", ["a", "b"]),
        (json.dumps(_TWO, indent=1).encode(), "auto", ["a", "b"]),
        (json.dumps(_TWO[0]).encode(), "json", ["a"]),
        (b" \n" + json.dumps(_TWO[1], indent=1).encode(), "auto", ["b"]),
        (b"[]", "json", []),
        (b"", "lines", []),
        (b"\n \n", "auto", []),
    ],
)
def test_objects_arrays_and_lines(data: bytes, content: Any, expected: list[str]) -> None:
    assert [e.description for e in parse_batch(data, content, BASE).events] == expected


def test_a_request_has_at_most_a_hundred_thousand_records() -> None:
    index, text = reason(b'{"description":"x"}\n' * 100_001)

    assert index is None
    assert "100001 records" in text
    assert len(parse_batch(b'{"description":"x"}\n' * 100_000, "lines", BASE).events) == 100_000


_TEXTS = st.one_of(st.none(), st.sampled_from(["", "x", "é\u2028", "2026-11-20T08:41:02.190+0300", UUID, ULID]))
_RECORDS = st.fixed_dictionaries(
    {"description": st.sampled_from(["", "d", 'q"\\'])},
    optional={
        **dict.fromkeys(("user", "module", "tag", "remote", "peer", "session_type", "host", "source", "scope"), _TEXTS),
        "type": st.sampled_from(["message", "custom_x", "login"]),
        "severity": st.sampled_from(["INFO", "ALARM", "bad"]),
        "outcome": st.sampled_from([None, "ok", "bad"]),
        "uuid": st.sampled_from([None, UUID, UUID.upper(), "x" * 36, ""]),
        "id": st.sampled_from([None, UUID, ULID, "x"]),
        **dict.fromkeys(
            ("time", "timestamp"),
            st.sampled_from(
                [None, "2026-11-20T08:41:02.190+0300", "2026-11-20T08:41:02.191+0300", "2026-11-20T08:41:02Z",
                 "2026-11-20T08:41:02.1915Z", "2026-11-20T08:41:02.²90+0300", "1960-01-01T00:00:00Z", "no"]
            ),
        ),
        "detail": st.sampled_from([None, {}, {"a": 1}, {"peer": 1}, _DEEP]),
        "metadata": st.sampled_from([None, {}, {"m": "x"}]),
        "other": st.none(),
    },
)  # fmt: skip


@given(st.lists(_RECORDS, min_size=1, max_size=4))
def test_the_quick_way_and_the_long_way_agree(records: list[dict[str, Any]]) -> None:
    """Whatever the quick way takes, the long way takes, and makes the same event of it."""
    quick = module._plain_lines(lines(*records), BASE)
    if quick is None:
        return
    for got, key, record in zip(quick.events, quick.keys or [None] * len(records), records, strict=True):
        slow, has_id = parse_record(record, BASE)
        known = {"id": got.id} if not record.get("id") and not record.get("uuid") else {}
        assert got == msgspec.structs.replace(slow, node="alpha", **known)
        assert key == (slow.id if has_id else None)


def test_the_quick_way_takes_plain_records() -> None:
    """Or the test above would show nothing."""
    record = {"time": "2026-11-20T08:41:02.190+0300", "uuid": UUID, "type": "custom_x", "description": "d", "host": "h"}

    assert module._plain_lines(lines(record, {"description": "x"}), BASE) is not None


# -- taking --------------------------------------------------------------------------------------------------------------


class Logs:
    """What stands behind: takes everything but events whose user is `nobody`, or refuses."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuses = False
        self.gate = threading.Event()
        self.gate.set()

    def emit_many(self, events: list[Event], patience_ns: int | None = None, /) -> list[bool]:
        assert self.gate.wait(10)
        if self.refuses:
            raise RecordRefused("full")
        self.events += events
        return [e.user != "nobody" for e in events]


@pytest.fixture
def logs() -> Logs:
    return Logs()


def ingest(logs: Logs, **options: int) -> Ingest:
    return Ingest(logs.emit_many, FakeClock(), lambda: "alpha", **options)


ME = PeerInfo(uid=1, gid=2, pid=3)
IDS = [f"94454e46-9a0e-493a-bb9f-{n:012x}" for n in range(20)]


def test_the_answer_counts_what_came_and_what_a_log_took(logs: Logs) -> None:
    got = ingest(logs).take(
        lines({"description": "a", "id": ULID}, {"description": "b", "user": "nobody"}), "lines", ME
    )

    assert json.loads(got.json()) == {"accepted": 2, "recorded": 1, "ids": [ULID, logs.events[1].id]}
    assert logs.events[0].detail == {"peer": {"uid": 1, "gid": 2, "pid": 3}}
    assert logs.events[0].time_ns == T0


def test_an_http_caller_stands_in_the_record(logs: Logs) -> None:
    info = AuthInfo("10.0.0.1", (Identity("ann", "BearerToken"),), ("g",))
    ingest(logs).take(b'{"description":"a"}', "json", PeerInfo("10.0.0.1", auth_info=info, request_id=ULID))

    said = {"identities": [{"identity": "ann", "context": "BearerToken"}], "request_id": ULID}
    assert (logs.events[0].peer, logs.events[0].detail) == ("10.0.0.1", {"peer": said})


def test_a_bad_record_leaves_nothing(logs: Logs) -> None:
    with pytest.raises(BadBatch) as bad:
        ingest(logs).take(lines({"description": "a"}, {"nothing": 1}), "lines", ME)

    assert failed(bad.value)["index"] == 1
    assert logs.events == []


def test_an_id_is_recorded_once_and_answered_the_same_again(logs: Logs) -> None:
    it = ingest(logs)
    first = lines({"description": "a", "id": IDS[0]}, {"description": "b", "id": IDS[1], "user": "nobody"})

    answers = [it.take(first, "lines", ME).json() for _ in range(3)]
    again = it.take(lines({"description": "c"}, {"description": "a", "id": IDS[0].upper()}), "lines", ME)

    assert answers == [answers[0]] * 3
    assert (again.accepted, again.recorded) == (2, 2)
    # What no log took is offered again: it may have been lost, not filtered.
    assert [e.description for e in logs.events] == ["a", "b", "b", "b", "c"]


def test_an_id_twice_in_one_batch_is_recorded_once(logs: Logs) -> None:
    records = [{"description": "a", "id": IDS[0]}, {"description": "x"}, {"description": "a", "id": IDS[0]}]

    got = ingest(logs).take(lines(*records), "lines", ME)

    assert (got.accepted, got.recorded, len(logs.events)) == (3, 3, 2)
    assert got.ids[0] == got.ids[2] == IDS[0]


def test_an_id_counts_only_from_its_acknowledgement_on(logs: Logs) -> None:
    it, record = ingest(logs), lines({"description": "a", "id": IDS[0]})
    logs.refuses = True
    with pytest.raises(RecordRefused) as refused:
        it.take(record, "lines", ME)
    logs.refuses = False

    assert failed(refused.value) == {"error": "full", "retry_after": 1}
    assert it.take(record, "lines", ME).recorded == 1
    assert len(logs.events) == 1


def test_the_uuid_of_a_tarantool_record_may_stand_in_many_records(logs: Logs) -> None:
    it, record = ingest(logs), lines({"description": "a", "uuid": UUID})

    it.take(record, "lines", ME)
    it.take(record, "lines", ME)

    assert [e.id for e in logs.events] == [UUID, UUID]


def test_only_the_last_ids_are_remembered(logs: Logs) -> None:
    it = ingest(logs, remembered=3)
    for n in range(5):
        it.take(lines({"description": str(n), "id": IDS[n]}), "lines", ME)

    it.take(lines({"description": "4", "id": IDS[4]}, {"description": "0", "id": IDS[0]}), "lines", ME)

    assert [e.description for e in logs.events] == ["0", "1", "2", "3", "4", "0"]


def test_the_same_batch_twice_at_the_same_time_is_recorded_once(logs: Logs) -> None:
    """A retry while the first try still waits for a full log."""
    it, answers = ingest(logs), []
    record = lines({"description": "a", "id": IDS[0]})
    logs.gate.clear()
    threads = [threading.Thread(target=lambda: answers.append(it.take(record, "lines", ME).json())) for _ in range(4)]
    for t in threads:
        t.start()
    while not it._flying:
        pass

    with pytest.raises(RecordRefused, match="same id"):
        it.take(record, "lines", ME, 0)
    logs.gate.set()
    for t in threads:
        t.join()

    assert len(logs.events) == 1
    assert answers == [answers[0]] * 4


def test_the_records_are_found_in_the_log(tmp_path: Path) -> None:
    """Through the pipeline itself, as the daemon joins them."""
    from kumoaudit.core.clock import SystemClock
    from kumoaudit.pipeline.build import Pipeline
    from tests.crash.support import Contents
    from tests.fakes import FaultyDisk

    p = Pipeline(str(tmp_path / "data"), "alpha", FaultyDisk(), SystemClock(), lambda _: None)
    it = Ingest(p.emit_many, p.clock)
    for start in range(1, 1001, 100):
        it.take(lines(*[{"description": f"n=1:{n}:"} for n in range(start, start + 100)]), "lines", ME)

    assert p.close() == {}
    Contents(tmp_path / "data" / "log").check({1: 1000})
