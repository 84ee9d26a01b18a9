"""Tarantool's audit module (section 7) and its system events (section 9), as policies call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.catalog import EVENT_TYPES, GROUPS, types_in_group
from kumoaudit.core.errors import UsageError
from kumoaudit.core.event import SEVERITIES
from kumoaudit.dialects.tarantool import system_event_of
from kumoaudit.formats.tarantool import RECORD_FIELDS
from tests.policies import Inside, events_of, inside, run_policy
from tests.support import vectors

VECTORS = vectors("tarantool_events.json")
EVENTS = {e["type"]: e for e in VECTORS["events"]}


def lua(value: Any) -> str:
    """A Python value as Lua source."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(k)}] = {lua(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(lua(v) for v in value) + "}"
    if value is None:
        return "kumo.null"
    return json.dumps(value, ensure_ascii=False)


# One set of arguments for each type, and the description that the documented template makes of it.
SAMPLES: dict[str, tuple[dict[str, Any], str]] = {
    "audit_enable": ({"events": ["auth", "priv"]}, "Audit log enabled for events auth,priv"),
    "auth_ok": ({"user": "bob"}, "Authenticate user bob"),
    "auth_fail": ({"user": "bob"}, "Failed to authenticate user bob"),
    "disconnect": ({}, "Close connection"),
    "user_create": ({"user": "bob"}, "Create user bob"),
    "user_drop": ({"user": "bob"}, "Drop user bob"),
    "role_create": ({"role": "ops"}, "Create role ops"),
    "role_drop": ({"role": "ops"}, "Drop role ops"),
    "user_disable": ({"user": "bob"}, "Disable user bob"),
    "user_enable": ({"user": "bob"}, "Enable user bob"),
    "user_grant_rights": (
        {"privilege": ["read", "write"], "object_type": "space", "object_name": "bands", "user": "bob"},
        "Grant read,write rights for space bands to user bob",
    ),
    "user_revoke_rights": (
        {"privilege": "read", "object_type": "universe", "object_name": "", "user": "bob"},
        "Revoke read rights for universe from user bob",
    ),
    "role_grant_rights": (
        {"privilege": "execute", "object_type": "function", "object_name": "f", "role": "ops"},
        "Grant execute rights for function f to role ops",
    ),
    "role_revoke_rights": (
        {"privilege": "execute", "object_type": "function", "object_name": "f", "role": "ops"},
        "Revoke execute rights for function f from role ops",
    ),
    "password_change": ({"user": "bob"}, "Change password for user bob"),
    "access_denied": (
        {"access_type": "Read", "object_type": "space", "object_name": "bands"},
        "Read denied to space bands",
    ),
    "eval": ({"expr": "return 1 + 1"}, "Evaluate expression return 1 + 1"),
    "call": ({"func": "get", "args": [1, "x", None, True]}, 'Call function get with arguments [1, "x", null, true]'),
    "space_select": (
        {"iter_type": "EQ", "key": [1], "space": "bands", "index": "primary"},
        "Select EQ [1] from bands.primary",
    ),
    "space_create": ({"space": "bands"}, "Create space bands"),
    "space_alter": ({"space": "bands"}, "Alter space bands"),
    "space_drop": ({"space": "bands"}, "Drop space bands"),
    "space_insert": (
        {"tuple": [1, "Roxette", 1986], "space": "bands"},
        'Insert tuple [1, "Roxette", 1986] into space bands',
    ),
    "space_replace": (
        {"tuple": [1, "Roxette", 1986], "new_tuple": [1, "Zürich", 1.5], "space": "bands"},
        'Replace tuple [1, "Roxette", 1986] with [1, "Zürich", 1.5] in space bands',
    ),
    "space_delete": ({"tuple": ["0671623249"], "space": "books"}, 'Delete tuple ["0671623249"] from space books'),
    "integrity_check_ok": ({"file": "00.xlog"}, "Integrity check for file 00.xlog succeeded"),
    "integrity_check_fail": (
        {"file": "00.xlog", "reason": "couldn't open the file"},
        "Integrity check for file 00.xlog failed: couldn't open the file",
    ),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with inside(
        tmp_path_factory.mktemp("audit"),
        """
        kumo.on('run', function(source)
          local out = { pcall(assert(loadstring(source, '=test'))) }
          return tostring(out[1]), tostring(out[2])
        end)
        """,
    ) as made:
        yield made


def attempt(host: Inside, source: str) -> tuple[bool, str]:
    """Run a piece of Lua in the policy: whether it succeeded, and its result or error text."""
    ok, text = host.host.call("run", source)
    return ok == "true", text


def recorded(host: Inside, source: str) -> dict[str, Any]:
    """The row that a piece of Lua records."""
    before = len(host.lines())
    ok, text = attempt(host, source)
    assert ok, text
    lines = host.lines()[before:]
    assert len(lines) == 1
    return dict(json.loads(lines[0]))


def refused(host: Inside, source: str) -> str:
    """The error text of a piece of Lua that must leave no record."""
    before = len(host.lines())
    ok, text = attempt(host, source)
    assert not ok, f"accepted: {text}"
    assert len(host.lines()) == before
    return text


# -- the vectors ------------------------------------------------------------------------------------------------------


def test_the_catalogue_has_exactly_the_documented_types_severities_and_groups() -> None:
    """Tarantool section 4: 28 types, their severities, ten groups."""
    ours = {t.name: t for t in EVENT_TYPES.values() if t.family == "tarantool"}

    assert set(ours) == set(EVENTS)
    for name, expected in EVENTS.items():
        assert ours[name].severity == expected["severity"], name
        assert sorted(ours[name].groups) == sorted(expected["groups"]), name
        assert ours[name].template == expected["template"], name
        assert set(ours[name].args) | set(ours[name].optional) == set(expected["args"]) | (
            {"duration", "reason"} if name == "disconnect" else set()
        ), name


def test_every_group_has_the_documented_members() -> None:
    """Tarantool section 5."""
    assert set(GROUPS) == set(VECTORS["groups"])
    for name, group in VECTORS["groups"].items():
        assert sorted(types_in_group(name)) == sorted(group["members"]), name


def test_the_names_of_fields_severities_and_filter_values_are_the_documented_ones() -> None:
    """Tarantool section 3 and 5."""
    assert list(RECORD_FIELDS) == VECTORS["fields"]
    assert list(SEVERITIES) == VECTORS["severities"]
    assert sorted([*(t for t in EVENTS), *GROUPS]) == sorted(VECTORS["allowed_filter_values"])


@pytest.mark.parametrize("kind", [t for t in EVENTS if t != "custom"])
def test_audit_event_makes_the_documented_description_of_every_type(host: Inside, kind: str) -> None:
    """Tarantool section 9: both forms of the call, severity and description from the catalogue."""
    args, description = SAMPLES[kind]

    long = recorded(host, f"return audit.event{{ type = '{kind}', args = {lua(args)}, user = 'admin' }}")
    short = recorded(host, f"return audit.event('{kind}', {lua(args)})")

    assert long["description"] == short["description"] == description
    assert long["severity"] == EVENTS[kind]["severity"]
    assert long["type"] == kind
    assert long["user"] == "admin"
    assert "user" not in short
    assert long["session_type"] == "background"


@pytest.mark.parametrize("kind", [t for t in EVENTS if t != "custom" and EVENTS[t]["args"]])
def test_audit_event_names_a_missing_argument(host: Inside, kind: str) -> None:
    """Tarantool section 9."""
    required = [a for a in EVENTS[kind]["args"] if a not in EVENT_TYPES[kind].optional]
    for name in required:
        args = {k: v for k, v in SAMPLES[kind][0].items() if k != name and not (name == "function" and k == "func")}

        assert refused(host, f"audit.event('{kind}', {lua(args)})") == (
            f"audit.event: missing argument '{name}' for event '{kind}'"
        )


def test_disconnect_tells_duration_and_reason_when_they_are_given(host: Inside) -> None:
    """Tarantool since 3.8; the duration has three decimals."""
    assert recorded(host, "audit.event('disconnect', {duration = 3.14159})")["description"] == (
        "Close connection after 3.142s"
    )
    assert recorded(host, "audit.event('disconnect', {duration = 3, reason = 'idle timeout'})")["description"] == (
        "Close connection by idle timeout after 3.000s"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("audit.event{ type = 'nope', args = {} }", "audit.event: unknown event type 'nope'"),
        ("audit.event{ type = 'custom_x' }", "audit.event: use audit.log for custom events"),
        ("audit.event{ type = 'message' }", "audit.event: use audit.log for custom events"),
        ("audit.event{ type = 'custom' }", "audit.event: use audit.log for custom events"),
        ("audit.event{ type = 'auth_ok', description = 'x' }", "audit.event: unknown field 'description'"),
        ("audit.event{ type = 'auth_ok', severity = 'INFO' }", "audit.event: unknown field 'severity'"),
        ("audit.event{ type = 'auth_ok', module = 'x' }", "audit.event: unknown field 'module'"),
        ("audit.event{ type = 'auth_ok', time = 'x' }", "audit.event: unknown field 'time'"),
        (
            "audit.event('user_create', {user = 'a', role = 'b'})",
            "audit.event: unknown argument 'role' for event 'user_create'",
        ),
        ("audit.event('audit_start', {})", "audit.event: unknown event type 'audit_start'"),
        ("audit.event{ args = {} }", "audit.event: field 'type' is required"),
        (
            "audit.event{ type = 'auth_ok', args = {user = 'a'}, uuid = 'x' }",
            "audit.event: field 'uuid' must be a UUID, got 'x'",
        ),
        ("audit.event{ type = 'auth_ok', args = 'x' }", "audit.event: field 'args' must be a table"),
        (
            "audit.event('auth_ok', {user = print})",
            "audit.event: argument 'user' of event 'auth_ok' cannot be a function",
        ),
        ("audit.event()", "audit.event: expected a table or a type and its arguments, got nil"),
    ],
)
def test_audit_event_refuses_with_the_documented_text(host: Inside, source: str, text: str) -> None:
    """Tarantool section 9: no position, single quotes, no record."""
    assert refused(host, source) == text


def test_a_value_cannot_change_the_template() -> None:
    """Tarantool section 9: placeholders are replaced once, values are not scanned again."""
    made = system_event_of({"type": "user_create", "args": {"user": "<ROLE> <USER>"}})

    assert made.description == "Create user <ROLE> <USER>"


def test_an_unknown_argument_is_an_error_also_for_objects_from_outside() -> None:
    with pytest.raises(UsageError, match="unknown argument 'x'"):
        system_event_of({"type": "role_drop", "args": {"role": "r", "x": "y"}})


# -- section 7: audit.log and its relatives ---------------------------------------------------------------------------


def test_a_text_is_recorded_as_it_is(host: Inside) -> None:
    """Section 7: type `message`, INFO, a lone % is no directive."""
    row = recorded(host, "return audit.log('100 % done')")

    assert row["description"] == "100 % done"
    assert (row["type"], row["severity"], row["kind"], row["session_type"], row["module"]) == (
        "message",
        "INFO",
        "custom",
        "background",
        "kumoaudit",
    )
    assert "user" not in row


def test_a_format_takes_its_arguments_and_shows_tables_as_json(host: Inside) -> None:
    """Section 7: string.format; an error of it reaches the caller and leaves no record."""
    assert recorded(host, "audit.log('%s has %d of %s', 'bob', 3, {1, 'x'})")["description"] == 'bob has 3 of [1,"x"]'
    assert recorded(host, "audit.log('a %s', nil)")["description"] == "a nil"
    assert "bad argument" in refused(host, "audit.log('%d', 'x')")
    assert "bad argument" in refused(host, "audit.log('%s %s', 'only one')")


@pytest.mark.parametrize(("call", "severity"), [(s.lower(), s) for s in SEVERITIES])
def test_a_shortcut_gives_its_severity_in_all_three_forms(host: Inside, call: str, severity: str) -> None:
    """Section 7: also over a severity in the table."""
    assert recorded(host, f"audit.{call}('text')")["severity"] == severity
    assert recorded(host, f"audit.{call}('a %d', 1)")["severity"] == severity
    assert recorded(host, f"audit.{call}{{ description = 'x', severity = 'INFO' }}")["severity"] == severity
    assert recorded(host, f"audit.new{{ severity = 'ALARM' }}:{call}('x')")["severity"] == severity


def test_every_field_but_time_can_be_given(host: Inside) -> None:
    """Section 3: the caller may set them; the uuid is the record's id."""
    uuid = "94454E46-9a0e-493a-bb9f-d59e44a43581"
    row = recorded(
        host,
        "return audit.log{ type = 'custom_a', severity = 'WARNING', user = 'eve', module = 'm', tag = 't', "
        f"remote = '1.2.3.4:5', session_type = 'console', uuid = '{uuid}', description = 'd' }}",
    )

    assert {
        k: row[k] for k in ("type", "severity", "user", "module", "tag", "peer", "session_type", "id", "description")
    } == {
        "type": "custom_a",
        "severity": "WARNING",
        "user": "eve",
        "module": "m",
        "tag": "t",
        "peer": "1.2.3.4:5",
        "session_type": "console",
        "id": uuid,
        "description": "d",
    }


def test_numbers_become_text(host: Inside) -> None:
    """Section 7; 64-bit integers keep every digit."""
    row = recorded(host, "audit.log{ user = 7, tag = 1.5, description = 9007199254740993LL }")

    assert (row["user"], row["tag"], row["description"]) == ("7", "1.5", "9007199254740993")
    assert recorded(host, "audit.log(42)")["description"] == "42"
    assert recorded(host, "audit.log(-1LL)")["description"] == "-1"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("audit.log{ description = 'x', remot = 'y' }", "audit.log: unknown field 'remot'"),
        ("audit.log{ description = 'x', time = 'now' }", "audit.log: unknown field 'time'"),
        ("local t = { description = 'x', foo = 1 } audit.log(t)", "audit.log: unknown field 'foo'"),
        ("audit.log{ user = 'x' }", "audit.log: field 'description' is required"),
        ("audit.log{}", "audit.log: field 'description' is required"),
        ("audit.log{ description = 'x', user = true }", "audit.log: field 'user' must be a string"),
        ("audit.log{ description = {} }", "audit.log: field 'description' must be a string"),
        ("audit.log{ description = print }", "audit.log: field 'description' must be a string"),
        ("audit.log{ description = 'x', severity = 'info' }", "audit.log: unknown severity 'info', expected VERBOSE, INFO, WARNING or ALARM"),
        ("audit.log{ description = 'x', severity = 5 }", "audit.log: unknown severity '5', expected VERBOSE, INFO, WARNING or ALARM"),
        ("audit.log{ description = 'x', type = 'login' }", "audit.log: type must be 'message' or start with 'custom_', got 'login'"),
        ("audit.log{ description = 'x', type = 'custom' }", "audit.log: type must be 'message' or start with 'custom_', got 'custom'"),
        ("audit.log{ description = 'x', type = 'auth_ok' }", "audit.log: type must be 'message' or start with 'custom_', got 'auth_ok'"),
        ("audit.log{ description = 'x', uuid = '12' }", "audit.log: field 'uuid' must be a UUID, got '12'"),
        ("audit.log()", "audit.log: expected a text or a table, got nil"),
        ("audit.log(nil)", "audit.log: expected a text or a table, got nil"),
        ("audit.log(true)", "audit.log: expected a text or a table, got boolean"),
        ("audit.log(print)", "audit.log: expected a text or a table, got function"),
        ("audit.log({ description = 'x' }, 1)", "audit.log: a table of fields takes no further arguments, got 1"),
        ("audit.log{ 'x' }", "audit.log: unknown field '1'"),
        ("audit.alarm{ user = 'x' }", "audit.alarm: field 'description' is required"),
        ("audit.new{ type = 'x' }", "audit.new: type must be 'message' or start with 'custom_', got 'x'"),
        ("audit.new{ foo = 1 }", "audit.new: unknown field 'foo'"),
        ("audit.new{ severity = 'X' }", "audit.new: unknown severity 'X', expected VERBOSE, INFO, WARNING or ALARM"),
        ("audit.new('x')", "audit.new: expected a text or a table, got string"),
        ("audit.new{ type = 'custom_a' }:log{ user = 'u' }", "audit.log: field 'description' is required"),
        ("audit.new{ type = 'custom_a' }:warning{ description = 'd', x = 1 }", "audit.warning: unknown field 'x'"),
    ],
)  # fmt: skip
def test_a_wrong_call_raises_the_documented_text_and_leaves_no_record(host: Inside, source: str, text: str) -> None:
    """Section 7: no position prefix, single quotes, raised before anything is written."""
    assert refused(host, source) == text


def test_custom_underscore_alone_is_a_type(host: Inside) -> None:
    """Section 7."""
    assert recorded(host, "audit.log{ type = 'custom_', description = 'x' }")["type"] == "custom_"


def test_a_logger_fills_in_its_fields_and_a_call_overrides_them_once(host: Inside) -> None:
    """Section 7: audit.new, all three forms, severity of shortcuts."""
    start = "local l = audit.new{ type = 'custom_hello', module = 'm', user = 'eve', description = 'default' } "

    assert recorded(host, start + "l:log 'Hello'")["description"] == "Hello"
    row = recorded(host, start + "l:log{ user = 'zed' }")
    assert (row["type"], row["module"], row["user"], row["description"]) == ("custom_hello", "m", "zed", "default")
    again = recorded(host, start + "pcall(l.log, l, { user = 'zed', description = false }) l:alarm('a %d', 1)")
    assert (again["user"], again["severity"], again["description"]) == ("eve", "ALARM", "a 1")


def test_a_logger_can_be_refined_and_keeps_its_own_copy(host: Inside) -> None:
    """Section 7: obj:new{...}; the given table is copied."""
    row = recorded(
        host,
        "local t = { type = 'custom_a', module = 'm' } local l = audit.new(t) t.module = 'changed' "
        "l.type = 'auth_ok' local k = l:new{ user = 'u' } k:log 'x'",
    )

    assert (row["type"], row["module"], row["user"]) == ("custom_a", "m", "u")


def test_a_logger_without_fields_is_audit_log(host: Inside) -> None:
    assert recorded(host, "audit.new():log 'x'")["type"] == "message"
    assert recorded(host, "audit.new{}:log 'x'")["type"] == "message"


def test_a_logger_called_with_a_dot_says_what_to_write(host: Inside) -> None:
    assert "with a colon" in refused(host, "audit.new{}.log('x')")


def test_a_uuid_of_a_logger_repeats_and_seq_still_tells_the_records_apart(host: Inside) -> None:
    """Section 3: allowed by the rule, so the host keeps a number of its own."""
    uuid = "94454e46-9a0e-493a-bb9f-d59e44a43581"
    before = len(host.lines())

    ok, text = attempt(host, f"local l = audit.new{{ uuid = '{uuid}' }} l:log 'a' l:log 'b' return 'done'")

    assert (ok, text) == (True, "done")
    assert [json.loads(line)["id"] for line in host.lines()[before:]] == [uuid, uuid]


def test_the_id_is_returned_and_is_a_version_4_uuid(host: Inside) -> None:
    """Section 7: the uuid when recorded."""
    ok, text = attempt(host, "return audit.log 'x'")
    row = json.loads(host.lines()[-1])

    assert ok
    assert row["id"] == text
    assert text[14] == "4"
    assert text[19] in "89ab"
    assert text == text.lower()


def test_hard_characters_stay_whole(host: Inside) -> None:
    """Section 3.4: NUL, bad UTF-8 shown as \\xHH, quotes, controls."""
    row = recorded(host, r"""audit.log('a\0b\255c"\\\n\27\195\188\237\160\128')""")

    assert row["description"] == 'a\0b\\xffc"\\\n\x1bü\\xed\\xa0\\x80'


def test_the_bindings_work_from_a_real_policy(tmp_path: Path) -> None:
    """The whole way: policy, host, segments, query."""
    ran = run_policy(
        tmp_path,
        """
        local audit = require 'audit'
        kumo.on('init', function()
          audit.info { type = 'custom_a', user = 'eve', description = 'one' }
          audit.event('role_create', { role = 'ops' })
        end)
        """,
    )

    assert ran.code == 0, ran.err
    assert [(r["type"], r["kind"]) for r in events_of(tmp_path)] == [("custom_a", "custom"), ("role_create", "admin")]
