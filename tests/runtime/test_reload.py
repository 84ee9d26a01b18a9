"""Reload: changed files are tried aside, take over between two events, or leave the last good policy in force."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from kumoaudit.core.event import Event
from kumoaudit.runtime.reload import Outcome, Reloader
from kumoaudit.runtime.tracked import alternatives
from kumoaudit.runtime.watch import directories_of, directories_of_pattern
from tests.crash.hosts import HostProcess, host
from tests.crash.support import Contents
from tests.fakes import eventually
from tests.policies import Inside, inside
from tests.support import kumoaudit, rows


def reloading(i: Inside) -> Reloader:
    """A reloader whose host is ready."""
    reloader = Reloader(i.host)
    reloader.begin()
    return reloader


def answering(value: object) -> str:
    return f"kumo.on('ask', function() return {json.dumps(value)} end)\n"


def write(i: Inside, source: str) -> None:
    Path(i.host.policy_path).write_text(source)


def records(i: Inside, *types: str) -> list[dict[str, Any]]:
    return [r for r in map(json.loads, i.lines()) if r["type"] in types]


def emit(i: Inside, description: str) -> bool:
    event = Event(id="01JD0000000000000000000000", time_ns=1, node="n1", kind="admin", type="t", severity="INFO")
    return i.host.events.emit(replace(event, description=description))


# -- taking over ------------------------------------------------------------------------------------------------------


def test_a_changed_policy_is_in_force_for_everybody_who_holds_the_old_host(tmp_path: Path) -> None:
    with inside(tmp_path, answering("old")) as i:
        reloader = reloading(i)
        old_digest = i.host.digest()
        write(i, answering("new"))

        outcome = reloader.reload("SIGHUP", {"user": "root"})

        assert outcome == Outcome(True, (i.host.policy_path,), f"policy reloaded (SIGHUP): {i.host.policy_path}")
        assert reloader.current is not i.host
        assert i.host.call("ask") == ["new"]
        (record,) = records(i, "policy_reloaded")
        detail = record["detail"]
        assert (detail["cause"], detail["who"]) == ("SIGHUP", {"user": "root"})
        assert (detail["old_sha256"], detail["new_sha256"]) == (old_digest, reloader.current.digest())
        (file,) = detail["files"]
        assert file["path"] == i.host.policy_path
        assert file["old_sha256"] != file["new_sha256"]
        assert [s for s in i.said if "reloaded" in s] == [outcome.message]


def test_nothing_changed_is_said_and_leaves_no_record(tmp_path: Path) -> None:
    with inside(tmp_path, answering("same")) as i:
        reloader = reloading(i)
        epoch = i.host.config_epoch

        outcome = reloader.reload("SIGHUP")

        assert outcome == Outcome(True, (), "no file of the policy has changed")
        assert reloader.current is i.host
        assert i.host.config_epoch == epoch + 1
        assert records(i, "policy_reloaded", "policy_reload_failed") == []
        assert i.said[-1] == "reload (SIGHUP): no file of the policy has changed"


def test_init_does_not_run_again_and_the_top_level_does(tmp_path: Path) -> None:
    """KumoMTA, section 7.3: `init` does not run again."""
    source = "local n = 0\nkumo.on('init', function() n = n + 1 end)\nkumo.on('ask', function() return n end)\n"
    with inside(tmp_path, source) as i:
        assert i.host.call("ask") == [1]
        write(i, source + "-- edited\n")

        assert reloading(i).reload("test").ok

        assert i.host.call("ask") == [0]


def test_a_changed_module_reloads_the_policy(tmp_path: Path) -> None:
    module = tmp_path / "rules.lua"
    module.write_text("return 'old'")
    with inside(tmp_path, "local rules = require 'rules'\nkumo.on('ask', function() return rules end)\n") as i:
        module.write_text("return 'new'")

        assert reloading(i).reload("test").changed == (str(module),)

        assert i.host.call("ask") == ["new"]


@pytest.mark.parametrize(
    ("name", "call", "old", "new"),
    [
        ("u.toml", "kumo.serde.toml_load", "v = 'old'", "v = 'new'"),
        ("u.json", "kumo.serde.json_load", '{"v": "old"}', '{"v": "new"}'),
        ("u.yaml", "kumo.serde.yaml_load", "v: old", "v: new"),
        ("u.lua", "dofile", "return { v = 'old' }", "return { v = 'new' }"),
    ],
)
def test_a_changed_data_file_reloads_the_policy(tmp_path: Path, name: str, call: str, old: str, new: str) -> None:
    data = tmp_path / name
    data.write_text(old)
    with inside(tmp_path, f"local u = {call} '{data}'\nkumo.on('ask', function() return u.v end)\n") as i:
        data.write_text(new)

        assert reloading(i).reload("test").changed == (str(data),)

        assert i.host.call("ask") == ["new"]


def test_files_that_match_a_pattern_reload_the_policy_also_when_they_are_new(tmp_path: Path) -> None:
    """KumoMTA: kumo.set_config_monitor_globs, kumo.eval_config_monitor_globs."""
    (tmp_path / "a.json").write_text("1")
    source = f"""
    kumo.on('init', function() kumo.set_config_monitor_globs {{ '{tmp_path}/*.{{json,toml}}' }} end)
    kumo.on('ask', function() return kumo.eval_config_monitor_globs() end)
    """
    with inside(tmp_path, source) as i:
        reloader = reloading(i)
        assert i.host.call("ask") == [[f"{tmp_path}/a.json"]]
        assert reloader.reload("test").changed == ()

        (tmp_path / "b.toml").write_text("")
        assert reloader.reload("test").changed == (f"{tmp_path}/b.toml",)
        (tmp_path / "a.json").write_text("2")
        assert reloader.reload("test").changed == (f"{tmp_path}/a.json",)
        (tmp_path / "b.toml").unlink()
        assert reloader.reload("test").changed == (f"{tmp_path}/b.toml",)
        assert reloader.reload("test").changed == ()
        assert i.host.call("ask") == [[f"{tmp_path}/a.json"]]


def test_bumping_the_epoch_empties_caches_at_once_and_reloads_what_changed(tmp_path: Path) -> None:
    source = answering("%s") + "kumo.on('bump', function() kumo.bump_config_epoch() end)\n"
    with inside(tmp_path, source % "old") as i:
        reloader = reloading(i)
        emptied: list[int] = []
        i.host.shared.on_epoch.append(lambda: emptied.append(1))
        i.host.call("bump")
        assert (i.host.config_epoch, emptied) == (1, [1])
        write(i, source % "new")

        i.host.call("bump")

        eventually(lambda: reloader.current is not i.host, "the new policy is in force")
        eventually(lambda: len(records(i, "policy_reloaded")) == 1, "the reload is recorded")
        assert i.host.call("ask") == ["new"]
        assert emptied == [1, 1, 1]


# -- the last good one stays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = = 1", "policy.lua:1: syntax error"),
        ("error('no such day')", "policy.lua:1: no such day"),
        ("kumo.aaa.configure_acct_log { log_dir = 'x' }", "may be called only in the handler of"),
        ("while true do end", "has not returned for 0.3 s"),
        ("while true do pcall(function() while true do end end) end", "has not returned for 0.3 s"),
        ("os.exit(7)", "os.exit was called while the policy was tried"),
        ("kumo.set_diagnostic_log_filter 'off' error 'no'", "policy.lua:1: no"),
        ("kumo.sleep(1000)", "has not returned for 0.3 s"),
        ("kumo.on('validate_config', function() error('wrong') end)", "policy.lua:1: wrong"),
        ("kumo.on('validate_config', function() kumo.validation_failed() end)", "kumo.validation_failed()"),
        (None, "no such file"),
    ],
)
def test_a_policy_that_cannot_be_used_leaves_the_last_good_one(
    tmp_path: Path, source: str | None, message: str
) -> None:
    with inside(tmp_path, answering("good")) as i:
        reloader = reloading(i)
        i.host.handler_timeout_s = 0.3
        callbacks = list(i.pipeline.on_change)
        if source is None:
            os.unlink(i.host.policy_path)
        else:
            write(i, source)

        outcome = reloader.reload("SIGHUP")

        assert not outcome.ok
        assert message in outcome.message
        assert "\n" not in outcome.message
        assert i.said[-1] == outcome.message
        assert reloader.current is i.host
        assert i.host.call("ask") == ["good"]
        assert i.pipeline.on_change == callbacks
        assert i.host.log_filter.shows("info")
        assert not i.host.stopping.is_set()
        (record,) = records(i, "policy_reload_failed")
        assert record["severity"] == "WARNING"
        assert message in record["detail"]["message"]
        assert record["detail"]["old_sha256"] == i.host.digest()
        assert record["detail"].get("attempted_sha256") != i.host.digest()

        write(i, answering("mended"))
        assert reloader.reload("SIGHUP").ok
        assert i.host.call("ask") == ["mended"]


def test_a_broken_file_that_only_handlers_load_refuses_the_reload(tmp_path: Path) -> None:
    data = tmp_path / "acl.toml"
    data.write_text("a = 1")
    with inside(tmp_path, f"kumo.on('ask', function() return kumo.serde.toml_load('{data}').a end)\n") as i:
        reloader = reloading(i)
        assert i.host.call("ask") == [1]
        data.write_text("a = = 2")

        outcome = reloader.reload("test")

        assert not outcome.ok
        assert outcome.message.startswith(f"policy not reloaded (test), the last good one stays: {data}: ")
        data.write_text("a = 3")
        assert reloader.reload("test").changed == (str(data),)
        assert i.host.call("ask") == [3]


def test_nothing_is_reloaded_before_the_host_is_ready_or_while_it_stops(tmp_path: Path) -> None:
    with inside(tmp_path, answering("old")) as i:
        reloader = Reloader(i.host)
        write(i, answering("new"))
        assert reloader.reload("test") == Outcome(False, (), "the host is not ready yet")
        reloader.request("SIGHUP")

        reloader.begin()

        eventually(lambda: i.host.call("ask") == ["new"], "what was asked for meanwhile is done")
        i.host.stopping.set()
        assert reloader.reload("test") == Outcome(False, (), "the host is stopping")


# -- what still runs --------------------------------------------------------------------------------------------------


def test_a_handler_ends_under_the_policy_under_which_it_began(tmp_path: Path) -> None:
    source = """
    local version = '%s'
    kumo.on('slow', function(file)
      io.open(file, 'w'):close()
      while not io.open(file .. '.go') do kumo.sleep(0.005) end
      return version
    end)
    """
    with inside(tmp_path, source % "old") as i:
        reloader = reloading(i)
        got: list[Any] = []
        began = tmp_path / "began"
        caller = threading.Thread(target=lambda: got.extend(i.host.call("slow", str(began))))
        caller.start()
        eventually(began.exists, "the handler runs")
        write(i, source % "new")

        assert reloader.reload("test").ok
        assert [h.is_superseded for h in i.host.shared.live()] == [True, False]
        (tmp_path / "began.go").touch()
        caller.join()

        assert got == ["old"]
        assert i.host.shared.live() == [reloader.current]
        assert i.host.call("slow", str(began)) == ["new"]


def test_a_task_that_starts_itself_again_goes_on_in_the_new_policy(tmp_path: Path) -> None:
    source = """
    kumo.on('init', function() kumo.spawn_task { event_name = 'beat' } end)
    kumo.on('beat', function()
      audit.log { type = 'custom_beat', description = '%s' }
      kumo.sleep(0.01)
      kumo.spawn_task { event_name = 'beat' }
    end)
    """
    with inside(tmp_path, source % "old") as i:
        reloader = reloading(i)
        write(i, source % "new")
        assert reloader.reload("test").ok

        eventually(lambda: "new" in [r["description"] for r in records(i, "custom_beat")], "the new beat is there")

        eventually(lambda: i.host.shared.live() == [reloader.current], "the old runtime is gone")
        assert i.host.running_tasks() == 1


def test_tasks_of_the_top_level_start_when_the_policy_takes_over_and_not_when_it_is_refused(tmp_path: Path) -> None:
    source = "kumo.on('t', function() audit.log { type = 'custom_t', description = '%s' } end)\nkumo.spawn_task { event_name = 't' }\n"
    with inside(tmp_path, source % "first") as i:
        reloader = reloading(i)
        eventually(lambda: i.host.running_tasks() == 0, "the task ends")
        write(i, source % "refused" + "error 'no'")
        assert not reloader.reload("test").ok
        write(i, source % "second")
        assert reloader.reload("test").ok

        eventually(lambda: i.host.running_tasks() == 0, "the task ends")

        assert [r["description"] for r in records(i, "custom_t")] == ["first", "second"]


def test_a_task_of_the_top_level_that_still_runs_is_not_started_twice(tmp_path: Path) -> None:
    source = "kumo.on('t', function() while true do kumo.sleep(0.01) end end)\nkumo.spawn_task { event_name = 't' }\n"
    with inside(tmp_path, source) as i:
        write(i, source + "-- edited\n")

        assert reloading(i).reload("test").ok

        assert i.host.running_tasks() == 1
        assert [s for s in i.said if "'t' still runs from before the reload; no other is started" in s]


# -- the hook and the counts ------------------------------------------------------------------------------------------

_MASK = "kumo.on('audit_event', function(ev) ev.description = ev.description .. '%s' return ev end)\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("", _MASK % "!", "e!"), (_MASK % "?", _MASK % "!", "e!"), (_MASK % "?", "", "e"), ("", "", "e")],
    ids=["new", "another", "gone", "none"],
)
def test_the_hook_of_the_new_policy_is_in_force_for_events_from_everywhere(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """Also for what a task of the old policy records from its next step on."""
    source = """
    kumo.on('log', function() audit.log { description = 'e' } end)
    kumo.on('t', function()
      while not io.open('%s') do kumo.sleep(0.005) end
      audit.log { type = 'custom_task', description = 'e' }
    end)
    kumo.on('init', function() kumo.spawn_task { event_name = 't' } end)
    """
    go = tmp_path / "go"
    with inside(tmp_path, source % go + old) as i:
        reloader = reloading(i)
        write(i, source % go + new + "-- edited\n")
        assert reloader.reload("test").ok

        go.touch()
        eventually(lambda: i.host.running_tasks() == 0, "the task of the old policy ends")
        i.host.call("log")
        emit(i, "e")

        got = {r["type"]: r["description"] for r in records(i, "custom_task", "message", "t")}
        assert got == {"custom_task": expected, "message": expected, "t": expected}


def test_counts_go_on_over_reloads(tmp_path: Path) -> None:
    source = answering("%d") + "kumo.on('log', function() audit.log 'e' end)\n"
    with inside(tmp_path, source % 0) as i:
        reloader = reloading(i)
        for n in range(1, 6):
            i.host.call("log")
            write(i, source % n)
            assert reloader.reload("test").ok

        assert i.host.shared.recorded() == 5


# -- memory -----------------------------------------------------------------------------------------------------------


def test_a_hundred_reloads_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each policy holds 4 MB; a hundred of them kept would be 400."""
    source = "local big = string.rep('x', 4000000 + %d)\nkumo.on('ask', function() return #big end)\n"
    with inside(tmp_path, source % 0) as i:
        reloader = reloading(i)
        sizes = []
        for n in range(1, 101):
            write(i, source % n)
            assert reloader.reload("test").ok
            assert i.host.call("ask") == [4000000 + n]
            if n in (10, 100):
                sizes.append(psutil.Process().memory_info().rss)
        assert i.host.shared.live() == [reloader.current]
        assert not hasattr(i.host, "lua")
        assert sizes[1] - sizes[0] < 60_000_000


# -- under load -------------------------------------------------------------------------------------------------------


def test_reloads_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Events born in Lua, on several threads, in runtimes that come and go."""
    source = """
    -- %d
    kumo.on('log', function(thread, from)
      for n = from, from + 99 do audit.log { user = thread, description = tostring(n) } end
    end)
    """
    with inside(tmp_path, source % 0) as i:
        reloader = reloading(i)
        stop = threading.Event()
        counts = [0, 0, 0]

        def load(k: int) -> None:
            while not stop.is_set():
                i.host.call("log", f"t{k}", counts[k])
                counts[k] += 100

        threads = [threading.Thread(target=load, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        for n in range(1, 101):
            write(i, source % n)
            assert reloader.reload("test").ok
        stop.set()
        for t in threads:
            t.join()

        assert min(counts) > 0
        assert i.host.shared.recorded() == sum(counts)
    log = Contents(tmp_path / "data" / "log")
    found: dict[str, list[int]] = {}
    assert sum(1 for line in log.lines if b'"policy_reloaded"' in line) == 100
    for row in map(json.loads, log.lines):
        if row["type"] == "message":
            found.setdefault(row["user"], []).append(int(row["description"]))
    assert {u: sorted(n) for u, n in found.items()} == {f"t{k}": list(range(counts[k])) for k in range(3)}
    assert not log.coverage.places


# -- real processes ---------------------------------------------------------------------------------------------------

_BEAT = """
local VERSION = '%s'
kumo.on('init', function() kumo.spawn_task { event_name = 'beat' } end)
kumo.on('beat', function()
  audit.log { type = 'custom_beat', description = VERSION }
  kumo.sleep(0.01)
  kumo.spawn_task { event_name = 'beat' }
end)
"""


def beats(h: HostProcess) -> list[str]:
    """The versions that have been seen, in order, each once."""
    done = kumoaudit("query", "--data-dir", h.data, "--type", "custom_beat", "--reverse", "--format", "json")
    seen = [r["description"] for r in rows(done.stdout)]
    return [v for k, v in enumerate(seen) if k == 0 or seen[k - 1] != v]


def stopped(h: HostProcess) -> None:
    h.send(signal.SIGTERM)
    assert h.wait() == 0, h.said


def by_writing(directory: Path, text: str) -> None:
    (directory / "policy.lua").write_text(text)


def by_renaming(directory: Path, text: str) -> None:
    (directory / "policy.lua.new").write_text(text)
    (directory / "policy.lua.new").rename(directory / "policy.lua")


def by_symlink(directory: Path, text: str) -> None:
    """As Kubernetes does: policy.lua -> ..data/policy.lua, ..data -> a directory that is another each time."""
    version = directory / f"..{abs(hash(text))}"
    version.mkdir()
    (version / "policy.lua").write_text(text)
    (directory / "..tmp").symlink_to(version.name)
    (directory / "..tmp").rename(directory / "..data")
    if not (directory / "policy.lua").is_symlink():
        (directory / "link").symlink_to("..data/policy.lua")
        (directory / "link").rename(directory / "policy.lua")


@pytest.mark.parametrize("put", [by_writing, by_renaming, by_symlink])
def test_a_running_host_sees_that_its_policy_changes(tmp_path: Path, put: Any) -> None:
    """Three times, as a watch on the file itself would miss the second; a broken one between keeps the last good."""
    with host(tmp_path, _BEAT % "v1") as h:
        h.wait_for("ready")
        for n in (2, 3):
            put(tmp_path, _BEAT % f"v{n}")
            eventually(lambda n=n: h.said.count("policy reloaded (file change)") == n - 1, f"version {n} is in force")
        put(tmp_path, _BEAT % "broken" + "=")
        h.wait_for("policy not reloaded (file change), the last good one stays: policy.lua:")
        put(tmp_path, _BEAT % "v4")
        eventually(lambda: h.said.count("policy reloaded (file change)") == 3, "version 4 is in force")
        eventually(lambda: beats(h)[-1] == "v4", "version 4 records")
        stopped(h)

    assert beats(h) == ["v1", "v2", "v3", "v4"]
    assert h.said.count("policy not reloaded") == 1


def test_a_hangup_reopens_and_reloads(tmp_path: Path) -> None:
    module = tmp_path / "version.lua"
    module.write_text("return 'v1'")
    with host(tmp_path, (_BEAT % "").replace("''", "require 'version'")) as h:
        h.wait_for("ready")
        h.send(signal.SIGHUP)
        h.wait_for("reload (SIGHUP): no file of the policy has changed")
        module.write_text("return 'v2'")
        h.send(signal.SIGHUP)
        h.wait_for("policy reloaded (SIGHUP): version.lua")
        eventually(lambda: beats(h)[-1] == "v2", "version 2 records")
        stopped(h)
    own = kumoaudit("query", "--data-dir", h.data, "--kind", "system", "--reverse", "--format", "json")
    types = [r["type"] for r in rows(own.stdout)]
    assert types.count("audit_reopen") == 2
    assert types.count("policy_reloaded") == 1


def test_a_hundred_hangups_with_another_policy_each_lose_nothing(tmp_path: Path) -> None:
    """Records numbers without a gap, across every policy: none lost, none twice, `seq` gapless."""
    source = """
    -- %d
    kumo.on('init', function()
      kumo.audit.configure_log { name = 'a' }
      kumo.spawn_task { event_name = 'load', args = { 1 } }
    end)
    kumo.on('load', function(n)
      for k = n, n + 199 do audit.log { description = 'n=1:' .. k .. ':' } end
      local out = io.open('noted', 'w')
      out:write(n + 199, '\\n')
      out:close()
      kumo.sleep(0.001)
      kumo.spawn_task { event_name = 'load', args = { n + 200 } }
    end)
    """
    with host(tmp_path, source % 0) as h:
        h.wait_for("ready")
        for n in range(1, 101):
            by_renaming(tmp_path, source % n)
            h.send(signal.SIGHUP)
            eventually(lambda n=n: h.said.count("policy reloaded") >= n, f"reload {n} is done")
        stopped(h)

    contents = Contents(h.data / "a")
    contents.check({1: int(re.match(r"\d+", (tmp_path / "noted").read_text())[0])})
    assert not contents.coverage.places
    assert sum(1 for line in Contents(h.data / "log").lines if json.loads(line)["type"] == "policy_reloaded") == 100


def test_a_policy_that_leaves_nothing_running_watches_nothing(tmp_path: Path) -> None:
    (tmp_path / "policy.lua").write_text("kumo.on('main', function() print(#kumo.eval_config_monitor_globs()) end)")
    script = kumoaudit("run", "--script", "policy.lua", cwd=tmp_path)
    (tmp_path / "policy.lua").write_text("audit.log 'once'")
    run = kumoaudit("run", "policy.lua", cwd=tmp_path)

    assert (script.returncode, script.stdout, run.returncode) == (0, "0\n", 0), script.stderr + run.stderr
    assert "reload" not in script.stderr + run.stderr


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/etc/x.lua", ["/etc/x.lua"]),
        ("/etc/**/*.{lua,toml}", ["/etc/**/*.lua", "/etc/**/*.toml"]),
        ("{a,b}/{c,d}", ["a/c", "a/d", "b/c", "b/d"]),
        ("x{}", ["x"]),
    ],
)
def test_braces_in_patterns_are_alternatives(pattern: str, expected: list[str]) -> None:
    assert alternatives(pattern) == expected


def test_the_directories_of_every_link_on_the_way_are_watched(tmp_path: Path) -> None:
    (tmp_path / "releases" / "1").mkdir(parents=True)
    (tmp_path / "releases" / "1" / "p.lua").touch()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "current").symlink_to("../releases/1")
    (tmp_path / "p.lua").symlink_to("etc/current/p.lua")

    found = directories_of(str(tmp_path / "p.lua"))

    assert {str(tmp_path), str(tmp_path / "etc"), str(tmp_path / "releases" / "1")} <= found


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert directories_of(str(tmp_path / "a")) == {str(tmp_path)}


def test_the_directories_of_a_pattern_are_those_that_it_looks_into(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert directories_of_pattern(f"{tmp_path}/**/*.lua") == {
        str(tmp_path),
        str(tmp_path / "a"),
        str(tmp_path / "a" / "b"),
    }
    assert directories_of_pattern(f"{tmp_path}/*/x.lua") == {str(tmp_path), str(tmp_path / "a")}


def test_counters_of_a_runtime_are_its_own(tmp_path: Path) -> None:
    """Two runtimes may count at once, without a lock."""
    with inside(tmp_path, answering("old")) as i:
        reloader = reloading(i)
        write(i, answering("new"))
        assert reloader.reload("test").ok

        assert ctypes.addressof(reloader.current.counters) != ctypes.addressof(i.host.counters)
