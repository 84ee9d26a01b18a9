"""Which log takes what (interface section 1), and the single configuration of each."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import PolicyError
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.ids import ulid
from kumoaudit.segments.naming import parse_segment_name
from tests.policies import Inside, events_of, inside, kumoaudit, rows, run_policy
from tests.support import command_line, environment


def stored(directory: Path) -> list[dict[str, Any]]:
    """The lines of a log directory as every zstd reader gives them."""
    names = sorted(n for n in os.listdir(directory) if parse_segment_name(n))
    out = b""
    for name in names:
        out += subprocess.run(["zstd", "-dcq", "--", str(directory / name)], capture_output=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def login(outcome: str = "ok", **fields: Any) -> Event:
    now = time.time_ns()
    given: dict[str, Any] = {
        "id": ulid(now),
        "time_ns": now,
        "kind": "authn",
        "type": "Authentication",
        "outcome": outcome,
        "user": "daniel",
        "auth_info": AuthInfo("127.0.0.1", (Identity("daniel", "HttpBasicAuth"),), ("staff",)),
        "detail": {"attempted_identity": {"identity": "daniel", "context": "HttpBasicAuth"}},
    }
    return Event(**{**given, **fields})


def access(outcome: str = "allow") -> Event:
    return login(
        outcome, kind="authz", type="Authorization", resource="http_listener/*/metrics", privilege="GET", detail={}
    )


def types(host: Inside, log: str) -> list[str]:
    return [json.loads(line)["type"] for line in host.lines(log)]


def own(host: Inside, log: str) -> list[str]:
    return [t for t in types(host, log) if not t.startswith("audit_")]


def test_a_policy_that_configures_nothing_still_records(tmp_path: Path) -> None:
    """Interface section 1: the default log."""
    ran = run_policy(tmp_path, "kumo.on('init', function() audit.log 'x' end)")

    assert ran.code == 0
    assert [r["type"] for r in stored(tmp_path / "kumoaudit-data" / "log")] == [
        "audit_start",
        "message",
        "audit_config",
        "audit_stop",
    ]


def test_with_only_the_accounting_log_custom_events_stand_beside_its_records(tmp_path: Path) -> None:
    """Interface section 1: as native lines."""
    with inside(
        tmp_path,
        f"kumo.on('init', function() kumo.aaa.configure_acct_log {{ log_dir = '{tmp_path}/acct' }} audit.log 'x' end)",
    ) as host:
        host.pipeline.emit(login())
        host.pipeline.emit(access())
        host.host.events.emit(login(kind="admin", type="user_create", auth_info=None, detail=None))

        assert types(host, "acct") == ["message", "Authentication", "Authorization"]
        assert own(host, "log") == ["user_create"]
        first = json.loads(host.lines("acct")[0])
        assert first["kind"] == "custom"


def test_with_another_log_configured_custom_events_go_where_they_are_claimed_else_to_the_default(
    tmp_path: Path,
) -> None:
    with inside(
        tmp_path,
        f"""
        kumo.on('init', function()
          kumo.aaa.configure_acct_log {{ log_dir = '{tmp_path}/acct' }}
          kumo.audit.configure_log {{ name = 'alarms', where = 'severity >= ALARM' }}
          audit.log 'quiet'
          audit.alarm 'loud'
        end)
        """,
    ) as host:
        host.pipeline.emit(login("fail", severity="ALARM"))

        assert own(host, "acct") == ["Authentication"]
        assert [json.loads(line)["description"] for line in host.lines("log") if b'"custom"' in line] == ["quiet"]
        assert [json.loads(line)["type"] for line in host.lines("alarms")] == ["message", "Authentication"]


def test_an_event_that_a_switch_refuses_is_refused_and_not_sent_elsewhere(tmp_path: Path) -> None:
    """KumoMTA section 2.1: the four switches; interface section 1."""
    switches = {
        "log_authn_ok": login("ok"),
        "log_authn_fail": login("fail"),
        "log_authz_allow": access("allow"),
        "log_authz_deny": access("deny"),
    }
    for number, (switch, refused) in enumerate(switches.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        source = f"kumo.on('init', function() kumo.aaa.configure_acct_log {{ log_dir = '{directory}/acct', {switch} = false }} end)"
        with inside(directory, source) as host:
            taken = [host.pipeline.emit(e) for e in switches.values()]

            assert taken == [e is not refused for e in switches.values()], switch
            assert len(host.lines("acct")) == 3
            assert own(host, "log") == []
            assert host.pipeline.totals.filtered == 1


def test_the_accounting_records_have_kumomtas_shape_and_order(tmp_path: Path) -> None:
    """KumoMTA section 5.1; our additions stand behind its fields."""
    with inside(
        tmp_path, f"kumo.on('init', function() kumo.aaa.configure_acct_log {{ log_dir = '{tmp_path}/acct' }} end)"
    ) as host:
        host.pipeline.emit(login("fail"))
        host.pipeline.emit(access("deny"))
        authn, authz = (json.loads(line) for line in host.lines("acct"))

    assert list(authn) == ["type", "timestamp", "attempted_identity", "success", "auth_info", "id", "node"]
    assert list(authz)[:9] == [
        "type", "timestamp", "target_resource", "privilege", "access", "matching_resource", "rule", "auth_info",
        "considered_resources",
    ]  # fmt: skip
    assert (authz["access"], authz["rule"], authz["considered_resources"]) == ("Deny", None, [])


def test_the_hosts_own_records_go_to_the_default_log_and_to_logs_that_take_them(tmp_path: Path) -> None:
    """Interface section 1."""
    run_policy(
        tmp_path,
        "kumo.on('init', function() kumo.audit.configure_log { name = 'all' } "
        "kumo.audit.configure_log { name = 'custom', where = 'kind = custom' } audit.log 'x' end)",
    )
    data = tmp_path / "kumoaudit-data"

    assert [r["type"] for r in stored(data / "log")] == ["audit_start", "audit_config", "audit_stop"]
    assert [r["type"] for r in stored(data / "all")] == ["message", "audit_config", "audit_stop"]
    assert [r["type"] for r in stored(data / "custom")] == ["message"]


def test_logs_with_equal_plans_get_equal_lines_and_others_their_own(tmp_path: Path) -> None:
    run_policy(
        tmp_path,
        "kumo.on('init', function() for i = 1, 3 do kumo.audit.configure_log { name = 'n' .. i, where = 'kind = custom' } end "
        "kumo.audit.configure_log { name = 't', where = { kind = 'custom' }, format = 'tarantool_json' } "
        "audit.log 'one' audit.alarm { user = 'u', description = 'two' } end)",
    )
    data = tmp_path / "kumoaudit-data"

    assert stored(data / "n1") == stored(data / "n2") == stored(data / "n3")
    assert [r["description"] for r in stored(data / "n1")] == ["one", "two"]
    assert [(r["uuid"], r["user"], r["module"]) for r in stored(data / "t")] == [
        (stored(data / "n1")[0]["id"], "", "kumoaudit"),
        (stored(data / "n1")[1]["id"], "u", "kumoaudit"),
    ]
    assert [r["description"] for r in events_of(tmp_path)] == ["one", "two"], "several logs, one event: shown once"


def test_a_second_accounting_log_names_the_first_place_and_changes_nothing(tmp_path: Path) -> None:
    """Interface section 3: single configuration, no side effect whatever."""
    ran = run_policy(
        tmp_path,
        "kumo.on('init', function()\n  kumo.aaa.configure_acct_log { log_dir = 'one' }\n  audit.log 'x'\n"
        "  print(pcall(kumo.aaa.configure_acct_log, { log_dir = 'two', nonsense = 1 }))\n  audit.log 'y'\nend)",
    )

    assert ran.code == 0, ran.err
    assert "policy.lua:4: kumo.aaa.configure_acct_log was called already at policy.lua:2" in ran.out
    assert not (tmp_path / "two").exists()
    assert [r["description"] for r in stored(tmp_path / "one")] == ["x", "y"]
    assert all(n.startswith("acct-") for n in os.listdir(tmp_path / "one") if parse_segment_name(n))


@pytest.mark.parametrize("where", ["", "kumo.on('main', function() %s end)"])
def test_configuration_outside_init_is_refused(tmp_path: Path, where: str) -> None:
    """KumoMTA section 2.1, better: refused outside init and pre_init."""
    call = "kumo.aaa.configure_acct_log { log_dir = 'a' }"

    ran = run_policy(tmp_path, where % call if where else call, script_args=())

    assert ran.code in (1, 2)
    assert "may be called only in the handler of 'pre_init' or 'init'" in ran.err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ("{}", ["missing option 'log_dir'"]),
        ("5", ["expected a table of options, got 5"]),
        ("{ log_dir = 5 }", ["log_dir: expected a path, got 5"]),
        ("{ log_dir = 'a', compression_level = 23 }", ["compression_level: expected a whole number from 0 to 21, got 23"]),
        ("{ log_dir = 'a', compression_level = 1.5 }", ["expected a whole number from 0 to 21, got 1.5"]),
        ("{ log_dir = 'a', back_pressure = 0 }", ["back_pressure: expected a whole number of records >= 1, got 0"]),
        ("{ log_dir = 'a', back_pressure = 1e20 }", ["records >= 1 and at most 9007199254740992, got 1000000000000"]),
        ("{ log_dir = 'a', max_file_size = -1 }", ["max_file_size: expected a whole number of uncompressed bytes >= 0, got -1"]),
        ("{ log_dir = 'a', max_file_size = '100' }", ['got "100"', "remove the quotes: 100"]),
        ("{ log_dir = 'a', max_segment_duration = '90' }", ["max_segment_duration: '90' is not a duration", "did you mean '90s'?"]),
        ("{ log_dir = 'a', max_segment_duration = -1 }", ["a duration cannot be -1"]),
        ("{ log_dir = 'a', min_free_space = '1GB' }", ["min_free_space: expected 'N%'"]),
        ("{ log_dir = 'a', min_free_inodes = 1.5 }", ["min_free_inodes: expected 'N%'"]),
        ("{ log_dir = 'a', log_authn_ok = 'yes' }", ['log_authn_ok: expected true or false, got "yes"', "write true or false"]),
        ("{ log_dir = 'a', where = 'usr = x' }", ["where: unknown field 'usr'", "did you mean 'user'?"]),
        ("{ log_dir = 'a', durability = 'powr' }", ["durability: expected process or power", "did you mean 'power'?"]),
        (
            "{ log_dirr = 'a', back_pressure = 0, log_authz_deny = 1 }",
            ["unknown option 'log_dirr'", "did you mean 'log_dir'?", "missing option 'log_dir'", "back_pressure", "log_authz_deny"],
        ),
    ],
)  # fmt: skip
def test_every_problem_of_the_accounting_log_is_told_at_once_with_its_line(
    tmp_path: Path, options: str, texts: list[str]
) -> None:
    """KumoMTA section 2.1 and interface section 1: file:line, what, the fix."""
    ran = run_policy(tmp_path, f"kumo.on('init', function()\n  kumo.aaa.configure_acct_log({options})\nend)")

    assert ran.code == 2, ran
    for text in texts:
        assert text in ran.err
    assert ran.err.startswith("policy.lua:2: kumo.aaa.configure_acct_log: ")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("value", ["'10%'", "'255%'", "0", "1000000", "'12345'", "1e6"])
def test_the_forms_of_min_free_are_kumomtas(tmp_path: Path, value: str) -> None:
    """KumoMTA section 5.7."""
    ran = run_policy(
        tmp_path,
        f"kumo.on('init', function() kumo.aaa.configure_acct_log {{ log_dir = 'a', min_free_space = {value}, min_free_inodes = {value} }} end)",
    )

    assert ran.code == 0, ran.err


def test_a_directory_that_cannot_be_made_is_exit_3_with_the_line(tmp_path: Path) -> None:
    """Interface section 1: the environment."""
    ran = run_policy(
        tmp_path, "kumo.on('init', function()\n  kumo.aaa.configure_acct_log { log_dir = '/proc/x/y' }\nend)"
    )

    assert ran.code == 3
    assert ran.err.startswith("policy.lua:2: log_dir /proc/x/y: ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("{}", "missing option 'name'"),
        ("{ name = '../x' }", "name: expected a name of 1 to 64 letters"),
        ("{ name = 'log' }", "the log name 'log' is the host's own"),
        ("{ name = 'a', to = 'segmets' }", "did you mean 'segments'?"),
        ("{ name = 'a', format = 'xml' }", "format: expected native, kumo or tarantool_json"),
        ("{ name = 'a', where = { usr = 'x' } }", "unknown field 'usr'"),
        ("{ name = 'a', where = 'seq > 5' }", "'seq' is not known when a log decides"),
        ("{ name = 'a', where = 'user =' }", "ends too early"),
        ("{ name = 'a', where = 'time > 1h' }", "'1h' counts from now"),
        ("{ name = 'a', where = { time = 'yesterday' } }", "'yesterday' counts from now"),
        ("{ name = 'logs.json' }", "the log name 'logs.json' is the host's own"),
        ("{ name = 'lock' }", "the log name 'lock' is the host's own"),
        ("{ name = 'a', path = 'kumoaudit-data/log' }", "is the place of the default log"),
        ("{ name = 'a', path = 'kumoaudit-data/spool' }", "kumoaudit-data/spool is the host's own"),
        ("{ name = 'a', to = 'devnull', path = 'x' }", "'path' has no meaning with to = 'devnull'"),
        ("{ name = 'a', to = 'devnull', max_file_size = 5 }", "'max_file_size' has no meaning"),
        ("{ name = 'a', to = 'devnull', max_segment_duration = '1s' }", "'max_segment_duration' has no meaning"),
        ("{ name = 'a', to = 'devnull', compression_level = 9 }", "'compression_level' has no meaning"),
        ("{ name = 'a', to = 'devnull', compression_window = 20 }", "'compression_window' has no meaning"),
        ("{ name = 'a', to = 'devnull', compression_threads = 1 }", "'compression_threads' has no meaning"),
        ("{ name = 'a', to = 'devnull', durability = 'power' }", "'durability' has no meaning"),
        ("{ name = '', to = 'devnull', durability = 'power' }", "name: expected a name of 1 to 64 letters"),
    ],
)
def test_a_native_log_is_checked(tmp_path: Path, options: str, text: str) -> None:
    ran = run_policy(tmp_path, f"kumo.on('init', function()\n  kumo.audit.configure_log({options})\nend)")

    assert ran.code == 2
    assert text in ran.err
    assert "policy.lua:2" in ran.err


def test_two_logs_of_one_name_or_place_are_refused(tmp_path: Path) -> None:
    source = (
        "kumo.on('init', function()\n  kumo.audit.configure_log { name = 'a' }\n  kumo.audit.configure_log { %s }\nend)"
    )

    same_name = run_policy(tmp_path, source % "name = 'a'")
    same_place = run_policy(tmp_path, source % "name = 'b', path = 'kumoaudit-data/a'")

    assert "log 'a' is configured already at policy.lua:2" in same_name.err
    assert "is already the place of log 'a' (policy.lua:2)" in same_place.err


def test_configure_host_sets_node_and_the_longest_event(tmp_path: Path) -> None:
    """Interface section 4: the content of `kumoaudit:`."""
    ran = run_policy(
        tmp_path,
        "kumo.on('pre_init', function() kumo.audit.configure_host { node = 'web-1', max_event_size = 2048 } end)\n"
        "kumo.on('init', function() audit.log(('x'):rep(5000)) audit.log 'short' end)",
    )
    assert ran.code == 0, ran.err
    found = rows(tmp_path)

    assert {r["node"] for r in found} == {"web-1"}
    long = next(r for r in found if r["type"] == "message" and "detail" in r)
    assert len(json.dumps(long)) < 2200
    assert long["detail"]["truncated"]["description"]["bytes"] == 5000
    assert [r["detail"]["event"] for r in found if r["type"] == "event_truncated"] == [long["id"]]


def test_modes_are_0640_and_0750_whatever_the_umask(tmp_path: Path) -> None:
    """Interface section 8."""
    (tmp_path / "p.lua").write_text(
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', path = 'deep/er/a' } audit.log 'x' kumo.sleep(0.01) end)"
    )
    old = os.umask(0)
    try:
        assert kumoaudit("run", "p.lua", cwd=tmp_path).code == 0
    finally:
        os.umask(old)

    for root, directories, files in os.walk(tmp_path):
        for name in directories:
            assert stat.S_IMODE(os.stat(os.path.join(root, name)).st_mode) == 0o750, name
        for name in files:
            mode = stat.S_IMODE(os.stat(os.path.join(root, name)).st_mode)
            if name != "p.lua":
                assert mode == (0o440 if parse_segment_name(name) else 0o640), (name, oct(mode))


def test_the_registry_lists_every_log_with_the_place_that_configured_it(tmp_path: Path) -> None:
    """Interface section 1; a log that a later run no longer has stays findable."""
    run_policy(
        tmp_path,
        "kumo.on('init', function()\n  kumo.audit.configure_log { name = 'a', where = 'kind = custom' }\n audit.log 'old' end)",
    )
    run_policy(tmp_path, "kumo.on('init', function() audit.log 'new' end)")
    registry = json.loads((tmp_path / "kumoaudit-data" / "logs.json").read_text())

    assert [(e["name"], e["sink"], e["format"], e["at"], e["configured"]) for e in registry["logs"]] == [
        ("log", "segments", "native", "default", True),
        ("a", "segments", "native", "policy.lua:2", False),
    ]
    assert [r["description"] for r in events_of(tmp_path)] == ["old", "new"]


def test_the_ready_line_and_the_last_line(tmp_path: Path) -> None:
    """Interface section 1."""
    ran = run_policy(tmp_path, "kumo.on('init', function() audit.log 'x' audit.log 'y' end)")
    ready, last = ran.err.splitlines()

    assert ready.startswith("kumoaudit 0.1.0 ready: pid ")
    assert str(tmp_path / "kumoaudit-data" / "log") in ready
    assert last == f"2 events recorded in {tmp_path}/kumoaudit-data; see them: kumoaudit query"


def test_the_configuration_in_force_is_recorded_with_digests(tmp_path: Path) -> None:
    """Reliability section 3: audit_config."""
    source = "kumo.on('init', function() kumo.audit.configure_log { name = 'a', where = 'user = bob' } end)"
    run_policy(tmp_path, source)
    (config,) = rows(tmp_path, "--type", "audit_config")

    assert config["detail"]["policy_sha256"] == hashlib.sha256(source.encode()).hexdigest()
    assert [(e["name"], e["where"]) for e in config["detail"]["logs"]] == [("log", ""), ("a", "user = bob")]


def test_what_a_crash_left_in_the_ring_of_a_log_that_is_gone_from_the_policy_reaches_its_file(tmp_path: Path) -> None:
    """Reliability section 2: the ring answers for the death of the process, whatever the next policy configures."""
    (tmp_path / "policy.lua").write_text(
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', where = 'kind = custom' }\n"
        "audit.log 'acknowledged' os.execute('kill -9 ' .. io.open('/proc/self/stat'):read '*n') end)"
    )
    assert kumoaudit("run", "policy.lua", cwd=tmp_path).code == -9

    assert [r["description"] for r in events_of(tmp_path)] == ["acknowledged"], "before any restart"
    assert run_policy(tmp_path, "kumo.on('init', function() end)").code == 0

    assert [r["type"] for r in stored(tmp_path / "kumoaudit-data" / "a")] == ["message", "audit_recovered"]
    assert [r["description"] for r in events_of(tmp_path)] == ["acknowledged"]


def test_a_dropped_event_is_no_filtered_one(tmp_path: Path) -> None:
    """Counters tell apart what a filter refused and what was lost."""
    with inside(
        tmp_path,
        "kumo.on('init', function() kumo.audit.configure_log { name = 'a', overflow = 'drop' } end)\n"
        "kumo.on('go', function() return tostring(audit.log 'x') end)",
    ) as host:
        route = host.pipeline.routes[0]
        route.ring.turn = lambda n, time_ns, patience_ns=None: False  # type: ignore[method-assign]
        route.ring._h[6] = 0  # the limit of the block: every append asks `turn`

        assert host.host.call("go") == ["nil"]
        assert not host.pipeline.emit(login())

        assert (host.host.counters[1], host.pipeline.totals.filtered) == (0, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("{ handler_timeout = 0 }", "handler_timeout: expected at least 100ms, got 0"),
        ("{ handler_timeout = '99ms' }", 'handler_timeout: expected at least 100ms, got "99ms"'),
        ("{ max_event_size = 5 }", "max_event_size: expected a whole number of bytes from 1024"),
    ],
)
def test_the_options_of_the_host_are_checked(tmp_path: Path, options: str, text: str) -> None:
    ran = run_policy(tmp_path, f"kumo.on('pre_init', function()\n  kumo.audit.configure_host {options}\nend)")

    assert ran.code == 2
    assert ran.err.startswith(f"policy.lua:2: kumo.audit.configure_host: {text}")


def test_a_description_that_is_empty_matches_the_empty_text(tmp_path: Path) -> None:
    """An absent field is the empty text; a description that is not given is one."""
    with inside(
        tmp_path,
        """
        kumo.on('init', function()
          kumo.audit.configure_log { name = 'without', where = 'description = ""' }
          kumo.audit.configure_log { name = 'with', where = 'description != ""' }
        end)
        kumo.on('go', function() audit.log '' audit.log { type = 'custom_x', description = '' } audit.log 'some' end)
        """,
    ) as host:
        host.host.call("go")

        assert [json.loads(line)["type"] for line in host.lines("without")] == ["message", "custom_x"]
        assert [json.loads(line).get("description") for line in host.lines("with") if b'"custom"' in line] == ["some"]


_THROUGH_PYTHON = """
kumo.on('init', function() kumo.audit.configure_log { name = 'some', where = "description ~ 'zz'" } end)
kumo.on('go', function(text) return audit.log(text) end)
"""


def test_an_event_that_a_log_behind_python_refuses_does_not_go_to_the_default_log(tmp_path: Path) -> None:
    """Its caller is told that it is refused, as when every log is reached from Lua."""
    with inside(tmp_path, _THROUGH_PYTHON) as host:
        assert "some" in host.host.events.in_python
        host.host.call("go", "zz1")
        host.pipeline.routes[0].ring.refuse_from_now_on()

        with pytest.raises(PolicyError, match="log 'some' is closed"):
            host.host.call("go", "zz2")

        assert [json.loads(line)["description"] for line in host.lines("some")] == ["zz1"]
        assert not [line for line in host.lines("log") if b'"custom"' in line]
        assert (host.host.counters[0], host.host.counters[1]) == (1, 0)


def test_an_event_that_is_too_long_for_a_log_behind_python_is_cut(tmp_path: Path) -> None:
    with inside(tmp_path, _THROUGH_PYTHON) as host:
        host.pipeline.routes[0].max_line_bytes = 2000

        host.host.call("go", "z" * 5000)

        (line,) = host.lines("some")
        assert len(line) <= 2000
        assert json.loads(line)["detail"]["truncated"]["description"]["bytes"] == 5000
        assert "event_truncated" in types(host, "log")


def test_a_reader_of_standard_output_that_goes_away_is_no_trouble(tmp_path: Path) -> None:
    """`kumoaudit run --script x.lua | head -1`: no message a line, exit 0, and the records are there."""
    source = "kumo.on('main', function() for i = 1, 20000 do print('line ' .. i) end audit.log 'after' end)"
    (tmp_path / "policy.lua").write_text(source)
    running = subprocess.Popen(
        command_line("run", "--script", "policy.lua"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == b"line 1\n"
    running.stdout.close()
    said = running.stderr.read()

    assert (running.wait(60), said) == (0, b"")
    running.stderr.close()
    assert [e["description"] for e in events_of(tmp_path)] == ["after"]


def test_a_full_standard_output_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "policy.lua").write_text("kumo.on('main', function() print 'a' print 'b' audit.log 'after' end)")
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command_line("run", "--script", "policy.lua"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ran.returncode == 0
    assert ran.stderr == "notice: print: standard output: no space left on device; it is not used any more\n"
    assert [e["description"] for e in events_of(tmp_path)] == ["after"]
