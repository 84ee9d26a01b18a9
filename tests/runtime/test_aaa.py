"""`kumo.aaa.*` from a policy's side: KumoMTA's cases, the edges of its rules, caches, records, and what cannot be done."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from kumoaudit.core.errors import ConfigError, PolicyError
from tests.policies import Inside
from tests.runtime.conftest import SetClock
from tests.support import vectors

Host = Callable[[str], Inside]
VECTORS = vectors("kumomta_acl.json")

# `ask` is a question with the ACLs of a case; the handler answers from what `ask` was given.
POLICY = """
local map, made
kumo.on('get_acl_definition', function(resource)
  return made[resource] or (map and map:get(resource)) or nil
end)
kumo.on('ask', function(case)
  made = {}
  map = case.toml and kumo.aaa.load_acl_map { key_data = case.toml } or nil
  for name, rules in pairs(case.rules or {}) do
    made[name] = kumo.aaa.make_access_control_list(rules)
  end
  kumo.aaa.set_fall_back_to_acl_map(case.fall_back)
  kumo.aaa.set_acl_cache_ttl(0)
  kumo.aaa.set_check_cache_ttl(0)
  local resource = kumo.aaa.make_http_url_resource(case.local_addr, case.url)
  local d = kumo.aaa.query_resource_access(resource, case.auth_info, case.privilege)
  return d.allow, d.rule, d.resource, d.id
end)
kumo.on('load', function(toml) return kumo.aaa.load_acl_map { key_data = toml } ~= nil end)
"""


def records(running: Inside, type_: str = "Authorization") -> list[dict[str, Any]]:
    """Records of a type as they stand in the default log, oldest first."""
    return [r for r in map(orjson.loads, running.lines()) if r["type"] == type_]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    from tests.policies import inside

    with inside(tmp_path_factory.mktemp("aaa"), POLICY) as running:
        yield running


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_every_case_of_kumomta_through_lua_and_its_record(asking: Inside, case: dict[str, Any]) -> None:
    source, expected = case["acl"], case["expected"]
    allow, rule, resource, id_ = asking.host.call(
        "ask",
        {
            "toml": source.get("toml"),
            "rules": source.get("rules"),
            "fall_back": source["fall_back_to_default"],
            "local_addr": case["resource"]["local_addr"],
            "url": case["resource"]["url"],
            "auth_info": case["auth_info"],
            "privilege": case["privilege"],
        },
    )

    assert ("Allow" if allow else "Deny") == expected["access"]
    assert (rule, resource) == (expected["rule"], expected["matching_resource"])
    record = records(asking)[-1]
    assert record["id"] == id_
    assert record["resource"] == expected["target_resource"]
    assert record["outcome"] == expected["access"].lower()
    detail = record["detail"]
    assert detail["considered_resources"] == expected["considered_resources"]
    assert (detail["matching_resource"], detail["rule"]) == (expected["matching_resource"], expected["rule"])


@pytest.mark.parametrize("case", VECTORS["resource_sequences"], ids=lambda c: c["name"])
def test_the_names_of_a_resource(asking: Inside, case: dict[str, Any]) -> None:
    """With no ACL anywhere every name of the sequence is considered."""
    case = {**case, "auth_info": {}, "privilege": "none", "fall_back": False}
    assert asking.host.call("ask", case)[0] is False
    assert records(asking)[-1]["detail"]["considered_resources"] == case["sequence"]


@pytest.mark.parametrize("case", VECTORS["acl_toml_validity"], ids=lambda c: c["name"])
def test_acl_maps_that_are_taken_and_that_are_not(asking: Inside, case: dict[str, Any]) -> None:
    if case["valid"]:
        assert asking.host.call("load", case["toml"]) == [True]
        return
    with pytest.raises(PolicyError) as e:
        asking.host.call("load", case["toml"])
    for word in case.get("error_must_mention", ()):
        assert word in e.value.message
    assert "the ACL map" in e.value.message


@pytest.mark.parametrize("case", VECTORS["durations"], ids=lambda c: repr(c["input"]))
@pytest.mark.parametrize("setter", ["set_acl_cache_ttl", "set_check_cache_ttl", "set_authentication_cache_ttl"])
def test_ttls_take_the_durations_of_kumomta(host: Host, setter: str, case: dict[str, Any]) -> None:
    running = host(f"kumo.on('go', function(v) kumo.aaa.{setter}(v) end)").host
    cache = {
        "set_acl_cache_ttl": running.access.definitions,
        "set_check_cache_ttl": running.access.checks,
        "set_authentication_cache_ttl": running.access.logins,
    }[setter]
    before = cache.ttl_ns
    if case.get("error"):
        with pytest.raises(PolicyError, match=f"policy.lua:1: kumo.aaa.{setter}: "):
            running.call("go", case["input"])
        assert cache.ttl_ns == before
    else:
        running.call("go", case["input"])
        assert cache.ttl_ns == round(case["seconds"] * 1e9)


@pytest.mark.parametrize(
    ("lua", "wanted"),
    [
        ("'10%'", None),
        ("'0%'", None),
        ("'255%'", None),
        ("1000000", None),
        ("'1000000'", None),
        ("0", None),
        ("'256%'", "min_free"),
        ("'1GB'", "min_free"),
        ("'10 %'", "min_free"),
        ("'10.5%'", "min_free"),
        ("10.5", "min_free"),
        ("-1", "min_free"),
        ("'-1%'", "min_free"),
        ("true", "min_free"),
        ("''", "min_free"),
        ("{}", "min_free"),
    ],
)
@pytest.mark.parametrize("option", ["min_free_space", "min_free_inodes"])
def test_free_space_is_written_as_kumomta_writes_it(host: Host, option: str, lua: str, wanted: str | None) -> None:
    policy = f"kumo.on('init', function() kumo.aaa.configure_acct_log{{ log_dir = 'acct', {option} = {lua} }} end)"
    if wanted is None:
        assert [r.spec.name for r in host(policy).pipeline.open_routes if r.spec.name == "acct"] == ["acct"]
        return
    with pytest.raises(ConfigError) as e:
        host(policy)
    assert option in str(e.value)
    assert "policy.lua:1" in str(e.value)
    assert not Path("acct").exists()


# -- the edges of sections 3 and 4 ----------------------------------------------------------------------------------

ALICE = {"identities": [{"identity": "alice", "context": "HttpBasicAuth"}]}
G = "{ criteria = { %s }, privilege = 'GET', access = 'Allow' }"


def _lua_rule(criteria: str) -> str:
    return G % criteria


EDGES: list[tuple[str, str, dict[str, Any], bool]] = [
    ("individual", "Identity = { Individual = 'alice' }", ALICE, True),
    ("individual-case", "Identity = { Individual = 'Alice' }", ALICE, False),
    ("individual-star", "Identity = { Individual = '*' }", ALICE, False),
    ("individual-second", "Identity = { Individual = 'b' }",
     {"identities": [*ALICE["identities"], {"identity": "b", "context": "BearerToken"}]}, True),
    ("group", "Identity = { Group = 'ops' }", {"groups": ["dev", "ops"]}, True),
    ("group-prefix", "Identity = { Group = 'op' }", {"groups": ["ops"]}, False),
    ("group-not-identity", "Identity = { Group = 'alice' }", ALICE, False),
    ("machine", "Identity = { Machine = '10.0.0.1' }", {"peer_address": "10.0.0.1"}, True),
    ("machine-mapped", "Identity = { Machine = '10.0.0.1' }", {"peer_address": "::ffff:10.0.0.1"}, False),
    ("machine-v6-spelling", "Identity = { Machine = '2001:DB8:0::1' }", {"peer_address": "2001:db8::1"}, True),
    ("machine-unknown", "Identity = { Machine = '10.0.0.1' }", {}, False),
    ("not-machine-unknown", "Not = { Identity = { Machine = '10.0.0.1' } }", {}, True),
    ("machine-sugar", "AllOf = { { Machine = '10.0.0.1' } }", {"peer_address": "10.0.0.1"}, True),
    ("set", "Identity = { MachineSet = { '10.0.0.0/8', '::1' } }", {"peer_address": "10.9.9.9"}, True),
    ("set-single", "Identity = { MachineSet = { '10.0.0.0/8', '::1' } }", {"peer_address": "::1"}, True),
    ("set-outside", "Identity = { MachineSet = { '10.0.0.0/8' } }", {"peer_address": "11.0.0.1"}, False),
    ("set-unknown-peer", "Identity = { MachineSet = { '0.0.0.0/0' } }", {}, False),
    ("set-empty", "Identity = { MachineSet = {} }", {"peer_address": "10.0.0.1"}, False),
    ("authenticated", "Identity = 'Authenticated'", ALICE, True),
    ("authenticated-table", "Identity = { Authenticated = {} }", ALICE, True),
    ("authenticated-group-only", "Identity = 'Authenticated'", {"groups": ["ops"]}, False),
    ("unauthenticated", "Identity = 'Unauthenticated'", {"groups": ["ops"]}, True),
    ("unauthenticated-not", "Identity = { Unauthenticated = {} }", ALICE, False),
    ("any", "Identity = 'Any'", {}, True),
    ("any-table", "Identity = { Any = {} }", {}, True),
    ("not-any", "Not = { Identity = 'Any' }", {}, False),
    ("all-of-none", "AllOf = {}", {}, True),
    ("any-of-none", "AnyOf = {}", {}, False),
    ("not-any-of-none", "Not = { AnyOf = {} }", {}, True),
    ("all-of", "AllOf = { { Identity = 'Authenticated' }, { Identity = { Group = 'x' } } }", ALICE, False),
    ("any-of", "AnyOf = { { Identity = { Group = 'x' } }, { Identity = 'Authenticated' } }", ALICE, True),
    ("nested", "AllOf = { { Not = { AnyOf = { { Identity = 'Unauthenticated' } } } } }", ALICE, True),
    ("empty-text", "Identity = { Individual = '' }", ALICE, False),
    ("utf8", "Identity = { Individual = 'åsa' }", {"identities": [{"identity": "åsa", "context": "GenericAuth"}]}, True),
]  # fmt: skip


@pytest.fixture
def by_rules(host: Host) -> Callable[..., Any]:
    """Ask with one list of rules (Lua text) for every name; (allow, resource, considered)."""

    def ask(rules: str, info: Any, privilege: str = "GET", url: str = "/x", address: str = "127.0.0.1:80") -> Any:
        running = host(
            f"""
            local acl = kumo.aaa.make_access_control_list {rules}
            kumo.on('get_acl_definition', function(resource) return acl end)
            kumo.on('go', function(address, url, info, privilege)
              return kumo.aaa.query_resource_access(kumo.aaa.make_http_url_resource(address, url), info, privilege)
            end)
            """
        )
        return running.host.call("go", address, url, info, privilege)[0]

    return ask


@pytest.mark.parametrize(("name", "criteria", "info", "allowed"), EDGES, ids=[e[0] for e in EDGES])
def test_criteria_decide(by_rules: Callable[..., Any], name: str, criteria: str, info: Any, allowed: bool) -> None:
    assert by_rules(f"{{ {_lua_rule(criteria)} }}", info)["allow"] is allowed


@pytest.mark.parametrize(
    ("rules", "privilege", "allow", "has_rule"),
    [
        ("{}", "GET", False, False),
        (
            "{" + ", ".join((G % "Identity = 'Any'", (G % "Identity = 'Any'").replace("Allow", "Deny"))) + "}",
            "GET",
            True,
            True,
        ),
        (
            "{" + ", ".join(((G % "Identity = 'Any'").replace("Allow", "Deny"), G % "Identity = 'Any'")) + "}",
            "GET",
            False,
            True,
        ),
        ("{" + (G % "Identity = 'Any'") + "}", "get", False, False),
        ("{" + (G % "Identity = 'Any'") + "}", "", False, False),
        ("{" + (G % "Identity = 'Any'").replace("'GET'", "'*'") + "}", "GET", False, False),
        ("{" + (G % "Identity = 'Any'").replace("'GET'", "'*'") + "}", "*", True, True),
    ],
)
def test_the_first_rule_that_matches_decides(
    by_rules: Callable[..., Any], rules: str, privilege: str, allow: bool, has_rule: bool
) -> None:
    answer = by_rules(rules, {}, privilege)
    assert (answer["allow"], "rule" in answer) == (allow, has_rule)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("kumo.aaa.make_access_control_list()", ["expected"]),
        ("kumo.aaa.make_access_control_list('x')", ["expected"]),
        ("kumo.aaa.make_access_control_list { criteria = { Identity = 'Any' }, privilege = 'GET', access = 'Allow' }",
         ["list"]),
        ("kumo.aaa.make_access_control_list { { privilege = 'GET', access = 'Allow' } }", ["criteria"]),
        ("kumo.aaa.make_access_control_list { { criteria = { Identity = 'Any' }, access = 'Allow' } }", ["privilege"]),
        ("kumo.aaa.make_access_control_list { { criteria = { Identity = 'Any' }, privilege = 'GET' } }", ["access"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = 'Any'").replace("Allow", "allow") + "}", ["Allow"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = 'Anybody'") + "}", ["Any"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { User = 'x' }") + "}", ["User", "Individual"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { Group = 'x', Machine = '::1' }") + "}", ["single key"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { Machine = 'host' }") + "}", ["host"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { MachineSet = { '10.0.0.1/8' } }") + "}",
         ["10.0.0.0/8"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { Individual = 7 }") + "}", ["text"]),
        ("kumo.aaa.make_access_control_list {" + (G % "Identity = { Individual = print }") + "}", ["function"]),
        ("kumo.aaa.make_http_url_resource('localhost:80', '/x')", ["localhost"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1', '/x')", ["127.0.0.1"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:65536', '/x')", ["65536"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.01:80', '/x')", ["127.0.0.01"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', '')", ["URL"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', 'a b')", ["a b"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', 'host/path')", ["host/path"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', 'example.com')", ["example.com"]),
        ("kumo.aaa.make_http_url_resource(7, '/x')", ["local_addr", "text"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80')", ["url", "text"]),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', '/x', { normalize = true })", ["normalise"]),
        ("kumo.aaa.load_acl_map { key_data = '' }", ["acl"]),
        ("kumo.aaa.load_acl_map { key_data = '[acl.x]' }", ["x"]),
        ("kumo.aaa.load_acl_map { key_data = '\\255' }", ["UTF-8"]),
        ("kumo.aaa.load_acl_map('missing.toml')", ["missing.toml"]),
        ("kumo.aaa.load_acl_map()", ["keysource"]),
        ("kumo.aaa.load_acl_map { event_name = 'nobody' }", ["nobody", "registered"]),
        ("kumo.aaa.load_acl_map { key_data = '[acl]' }.get('x')", ["colon"]),
        ("kumo.aaa.load_acl_map { key_data = '[acl]' }:get(7)", ["number"]),
        ("kumo.aaa.query_resource_access(nil, {}, 'GET')", ["resource", "nil"]),
        ("kumo.aaa.query_resource_access({ ['$resource'] = 1 }, {}, 'GET')", ["object that this host made"]),
        ("kumo.aaa.query_resource_access({ ['$resource'] = '__class__' }, {}, 'GET')", ["object that this host made"]),
        ("kumo.aaa.query_resource_access(kumo.aaa.make_http_url_resource('[::1]:8', '/'), nil, 'GET')", ["auth_info"]),
        ("kumo.aaa.query_resource_access(kumo.aaa.make_http_url_resource('[::1]:8', '/'), {}, 7)", ["privilege"]),
        ("kumo.aaa.query_resource_access(kumo.aaa.make_http_url_resource('[::1]:8', '/'), {})", ["privilege"]),
        ("kumo.aaa.set_fall_back_to_acl_map('no')", ["set_fall_back_to_acl_map"]),
        ("kumo.aaa.set_acl_cache_ttl('900 years')", ["set_acl_cache_ttl"]),
        ("kumo.aaa.set_acl_cache_ttl()", ["set_acl_cache_ttl"]),
        ("kumo.aaa.configure_acct_log { log_dir = 'x' }", ["init"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(
    refused: Callable[..., list[str]], expression: str, words: list[str]
) -> None:
    (text,) = refused(expression)
    for word in words:
        assert word in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("{ group = { 'x' } }", ["unknown field 'group'", "groups"]),
        ("{ 'a', 'b' }", ["named fields", "array"]),
        ("{ nil, {}, { 'g' } }", ["auth_info"]),
        ("{ peer_address = 'localhost' }", ["peer_address"]),
        ("{ peer_address = 7 }", ["peer_address"]),
        ("{ identities = { 'alice' } }", ["identities[1]"]),
        ("{ identities = { { identity = 'a' } } }", ["context"]),
        ("{ identities = { { identity = 'a', context = 'HttpBasic' } } }", ["HttpBasicAuth"]),
        ("{ identities = { { identity = 'a', context = 'GenericAuth', x = 1 } } }", ["unknown field 'x'"]),
        ("{ identities = { identity = 'a', context = 'GenericAuth' } }", ["identities", "array"]),
        ("{ groups = { 7 } }", ["groups[1]"]),
        ("{ groups = 'ops' }", ["groups"]),
        ("{ groups = { print } }", ["groups[1]"]),
        ("'alice'", ["expected a table"]),
    ],
)
def test_auth_info_is_read_strictly(refused: Callable[..., list[str]], info: str, words: list[str]) -> None:
    r = "kumo.aaa.make_http_url_resource('127.0.0.1:80', '/')"
    (text,) = refused(f"kumo.aaa.query_resource_access({r}, {info}, 'GET')")
    assert "kumo.aaa.query_resource_access" in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "info", ["{}", "{ groups = {} }", "{ identities = {} }", "{ peer_address = nil, groups = {} }"]
)
def test_empty_tables_are_empty_lists(lua: Callable[..., Any], info: str) -> None:
    r = "kumo.aaa.make_http_url_resource('127.0.0.1:80', '/api/check-liveness')"
    assert lua(f"return kumo.aaa.query_resource_access({r}, {info}, 'GET').allow") == [True]


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("/" + "a" * 300, "http_listener/127.0.0.1:80/" + "a" * 255),
        ("/" + "/".join("abcdefghijkl"), "http_listener/127.0.0.1:80/a/b/c/d/e/f/g/h/i/j"),
        ("//foo", "http_listener/127.0.0.1:80//foo"),
        ("*", "http_listener/127.0.0.1:80/"),
        ("https://h?x", "http_listener/127.0.0.1:80/"),
        ("/a/../b", "http_listener/127.0.0.1:80/a/../b"),
        ("/%61", "http_listener/127.0.0.1:80/%61"),
        ("/a;v=1", "http_listener/127.0.0.1:80/a;v=1"),
        ("/A", "http_listener/127.0.0.1:80/A"),
    ],
)
def test_urls_at_their_edges(host: Host, url: str, first: str) -> None:
    running = host(
        "kumo.on('go', function(u) return kumo.aaa.query_resource_access("
        "kumo.aaa.make_http_url_resource('127.0.0.1:80', u), {}, 'GET').allow end)"
    )
    assert running.host.call("go", url) == [False]
    record = records(running)[-1]
    assert record["resource"] == first
    assert record["detail"].get("path_cut", False) is (url.count("a") > 200 or ("l" in url and url.count("/") > 10))


# -- handlers, fall back, errors, caches ------------------------------------------------------------------------------

ASK = """
local function acl_of(access)
  return kumo.aaa.make_access_control_list { { criteria = { Identity = 'Any' }, privilege = 'GET', access = access } }
end
kumo.on('go', function(url, info)
  local r = kumo.aaa.make_http_url_resource('127.0.0.1:80', url or '/api/check-liveness')
  local d = kumo.aaa.query_resource_access(r, info or {}, 'GET')
  return d.allow, d.resource
end)
"""


@pytest.mark.parametrize("second", ["return acl_of 'Allow'", "return nil", "return", ""])
@pytest.mark.parametrize("first", ["return nil", "return", "", "local map = nil; return map and map:get(n)"])
def test_nil_passes_on_to_the_next_handler(host: Host, first: str, second: str) -> None:
    running = host(
        ASK
        + f"kumo.on('get_acl_definition', function(n) {first} end)\nkumo.on('get_acl_definition', function(n) {second} end)"
    )
    allow, resource = running.host.call("go", "/x/y")
    wanted = (True, "http_listener/127.0.0.1:80/x/y") if "Allow" in second else (False, None)
    assert (allow, resource) == wanted


@pytest.mark.parametrize("body", ["return nil", "return", "", "local x = 1", None])
@pytest.mark.parametrize("fall_back", [True, False])
def test_fall_back_off_means_off(host: Host, body: str | None, fall_back: bool) -> None:
    """Also without `return`, and without any handler (KumoMTA uses the built-in map there)."""
    handler = "" if body is None else f"kumo.on('get_acl_definition', function(n) {body} end)\n"
    switch = f"kumo.on('pre_init', function() kumo.aaa.set_fall_back_to_acl_map({str(fall_back).lower()}) end)\n"
    assert host(ASK + handler + switch).host.call("go")[0] is fall_back


def test_a_handlers_acl_is_used_alone(host: Host) -> None:
    """No merge with the built-in rules of the same name, but the parents' go on when no rule matches."""
    running = host(
        ASK
        + """
        kumo.on('get_acl_definition', function(name)
          if name == 'http_listener/*/api/check-liveness' then return acl_of 'Deny' end
          if name == 'http_listener/127.0.0.1:80/x' then
            return kumo.aaa.make_access_control_list { { criteria = { Identity = 'Any' }, privilege = 'PUT', access = 'Allow' } }
          end
          if name == 'http_listener' then return acl_of 'Allow' end
        end)
        """
    ).host
    assert running.call("go") == [False, "http_listener/*/api/check-liveness"]
    assert running.call("go", "/x") == [True, "http_listener"]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("true", "boolean"),
        ("'Allow'", "text"),
        ("{}", "table"),
        ("{ ['$acl'] = 1 }", "table"),
        ("{ { criteria = { Identity = 'Any' }, privilege = 'GET', access = 'Allow' } }", "list"),
        ("kumo.aaa.load_acl_map { key_data = '[acl]' }", "an ACL map"),
        ("kumo.aaa.make_http_url_resource('127.0.0.1:80', '/')", "table"),
        ("print", "function"),
    ],
)
def test_a_wrong_answer_is_an_error_and_allows_nothing(host: Host, answer: str, word: str) -> None:
    running = host(ASK + f"kumo.on('get_acl_definition', function() return {answer} end)")
    with pytest.raises(PolicyError):
        running.host.call("go")
    (record,) = records(running)
    assert (record["outcome"], record["detail"]["reason"]) == ("deny", "error")


def test_a_handlers_error_is_recorded_raised_and_not_kept(host: Host) -> None:
    running = host(
        ASK
        + """
        local n = 0
        kumo.on('get_acl_definition', function()
          n = n + 1
          if n == 1 then error('the database is away') end
          if n == 2 then error { code = 7 } end
          return acl_of 'Allow'
        end)
        """
    )
    for _ in range(2):
        with pytest.raises(PolicyError):
            running.host.call("go")
    assert running.host.call("go")[0] is True
    first, second, third = records(running)
    assert first["detail"]["error"].endswith("the database is away")
    assert [r["detail"]["reason"] for r in (first, second, third)] == ["error", "error", "rule"]
    assert [r["outcome"] for r in (first, second, third)] == ["deny", "deny", "allow"]


REVOCABLE = (
    ASK
    + """
local access, asked = 'Allow', 0
kumo.on('get_acl_definition', function(name) asked = asked + 1; return acl_of(access) end)
kumo.on('revoke', function() access = 'Deny' end)
kumo.on('asked', function() return asked end)
kumo.on('ttl', function(a, b) kumo.aaa.set_acl_cache_ttl(a); kumo.aaa.set_check_cache_ttl(b) end)
"""
)


@pytest.mark.parametrize(
    ("acl_ttl", "check_ttl", "lives"), [(5, 5, 5), (5, 0, 5), (0, 5, 5), (0, 0, 0), (0.3, 0.3, 0.3)]
)
def test_a_right_that_was_taken_away_ends_with_the_ttls(
    host: Host, clock: SetClock, acl_ttl: float, check_ttl: float, lives: float
) -> None:
    """Never longer than the longer of both ages."""
    running = host(REVOCABLE).host
    running.call("ttl", acl_ttl, check_ttl)
    assert running.call("go")[0] is True
    running.call("revoke")
    if lives:
        assert running.call("go")[0] is True
    clock.move(lives)
    assert running.call("go")[0] is False


def test_a_decision_is_as_old_as_the_acl_that_it_was_made_from(host: Host, clock: SetClock) -> None:
    running = host(REVOCABLE).host
    running.call("ttl", 5, 3)
    assert running.call("go")[0] is True
    running.call("revoke")
    clock.move(4)  # the decision is made anew, from an ACL near the end of its life
    assert running.call("go")[0] is True
    clock.move(1)
    assert running.call("go")[0] is False


def test_the_default_age_of_answers_is_short(host: Host, clock: SetClock) -> None:
    running = host(REVOCABLE).host
    assert running.call("go")[0] is True
    running.call("revoke")
    clock.move(0.3)
    assert running.call("go")[0] is False


def test_lowering_a_ttl_counts_at_once_and_raising_it_revives_nothing(host: Host, clock: SetClock) -> None:
    running = host(REVOCABLE).host
    running.call("ttl", 3600, 3600)
    assert running.call("go")[0] is True
    running.call("revoke")
    clock.move(10)
    assert running.call("go")[0] is True
    running.call("ttl", 5, 5)
    assert running.call("go")[0] is False
    running.call("ttl", 3600, 3600)
    assert running.call("go")[0] is False


def test_an_answer_from_the_cache_is_recorded_like_any_other(host: Host) -> None:
    running = host(REVOCABLE)
    running.host.call("ttl", 60, 60)
    for _ in range(5):
        running.host.call("go")
    assert running.host.call("asked") == [1]
    found = records(running)
    assert len(found) == len({r["id"] for r in found}) == 5
    assert len({orjson.dumps({k: r[k] for k in r if k not in ("id", "seq", "time")}) for r in found}) == 1


def test_who_asks_is_part_of_what_is_kept(host: Host) -> None:
    """Another peer, identity, context or group is another question."""
    running = host(REVOCABLE)
    running.host.call("ttl", 0, 60)
    infos: list[Any] = [
        {},
        {"peer_address": "10.0.0.1"},
        {"groups": ["a"]},
        {"groups": ["a", "b"]},
        {"groups": ["b", "a"]},
        ALICE,
        {"identities": [{"identity": "alice", "context": "BearerToken"}]},
    ]
    for info in infos * 2:
        running.host.call("go", "/x", info)
    assert running.host.call("asked") == [len(infos)]


def test_fall_back_changes_count_at_once(host: Host) -> None:
    running = host(ASK + "kumo.on('set', function(v) kumo.aaa.set_fall_back_to_acl_map(v) end)").host
    assert [running.call("go")[0], running.call("set", False), running.call("go")[0]] == [True, [], False]


# -- objects ----------------------------------------------------------------------------------------------------------

OBJECTS = {
    "acl": "kumo.aaa.make_access_control_list {}",
    "resource": "kumo.aaa.make_http_url_resource('127.0.0.1:80', '/')",
    "map": "kumo.aaa.load_acl_map { key_data = '[acl]' }",
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_opaque(lua: Callable[..., Any], name: str) -> None:
    """No fields to read but the map's method, none to write, nothing of Python behind."""
    got = lua(
        f"""
        local o = {OBJECTS[name]}
        local seen = {{}}
        for k in pairs(o) do seen[#seen + 1] = k end
        local write = pcall(function() o.x = 1 end)
        local out = {{ type(o), #seen, write, rawget(o, 1) == nil, type(getmetatable(o)) }}
        for _, k in ipairs {{ '__class__', '__dict__', 'rules', 1, '$acl', '__pack', '__gc' }} do
          local ok, v = pcall(function() return o[k] end)
          out[#out + 1] = not ok or v == nil
        end
        return out
        """
    )[0]
    assert got[:5] == ["table", 0, False, True, "table"]
    assert got[5:] == [True] * 7


@pytest.mark.parametrize("name", OBJECTS)
def test_the_metatable_of_an_object_cannot_be_had(lua: Callable[..., Any], name: str) -> None:
    """Whoever had it could make objects for numbers that were never handed out, or change everybody's."""
    assert lua(f"local mt = getmetatable({OBJECTS[name]}); return type(mt), pcall(setmetatable, {OBJECTS[name]}, nil)")[
        :2
    ] == ["table", False]


def test_forged_objects_are_refused(host: Host) -> None:
    running = host(ASK + "kumo.on('get_acl_definition', function() return { ['$acl'] = 1 } end)")
    assert 1 not in running.host.objects._held
    with pytest.raises(PolicyError, match="not an object that this host made"):
        running.host.call("go")


def test_objects_do_not_pile_up(host: Host) -> None:
    running = host(
        """
        local map = kumo.aaa.load_acl_map { key_data = '[[acl.x]]\\nallow = true\\nprivileges = ["GET"]\\nidentity = "Any"\\n' }
        kumo.on('go', function(n)
          for i = 1, n do
            local r = kumo.aaa.make_http_url_resource('127.0.0.1:80', '/x')
            local a = kumo.aaa.make_access_control_list {}
            local m = map:get('x')
          end
        end)
        kumo.on('collect', function()
          collectgarbage(); collectgarbage()
          local last = kumo.aaa.make_access_control_list {}
        end)
        """
    ).host
    most = 0
    for _ in range(20):
        running.call("go", 2000)
        most = max(most, len(running.objects._held))
    assert most < 120_000 / 2
    running.call("collect")
    gc.collect()
    assert len(running.objects._held) < 20


def test_memoize_keeps_acl_maps(host: Host) -> None:
    running = host(
        """
        local loads = 0
        local map_of = kumo.memoize(function(name)
          loads = loads + 1
          return kumo.aaa.load_acl_map { key_data = '[[acl.x]]\\nallow = true\\nprivileges = ["GET"]\\nidentity = "Any"\\n' }
        end, { name = 'maps', ttl = 60, capacity = 4 })
        kumo.on('get_acl_definition', function(name)
          collectgarbage()
          return map_of('acl.toml'):get(name == 'http_listener' and 'x' or name)
        end)
        kumo.on('loads', function() return loads end)
        """
        + ASK
    ).host
    assert running.call("go", "/a") == [True, "http_listener"]
    assert running.call("go", "/b") == [True, "http_listener"]
    assert running.call("loads") == [1]


def test_a_map_from_a_file_and_from_an_event(host: Host, tmp_path: Path) -> None:
    text = '[[acl."http_listener"]]\nallow = true\nprivileges = ["GET"]\nidentity = "Any"\n'
    (tmp_path / "acl.toml").write_text(text)
    running = host(
        f"""
        kumo.on('secret', function(a, b) return a .. b end)
        kumo.on('from_event', function()
          local m = kumo.aaa.load_acl_map {{ event_name = 'secret', event_args = {{ {text[:20]!r}, {text[20:]!r} }} }}
          return m:get('http_listener') ~= nil, m:get('other') == nil
        end)
        kumo.on('from_file', function() return kumo.aaa.load_acl_map('acl.toml'):get('http_listener') ~= nil end)
        """
    ).host
    assert running.call("from_event") == [True, True]
    assert running.call("from_file") == [True]
    assert str(tmp_path / "acl.toml") in running.tracked._files


def test_nothing_of_python_comes_out_of_kumo_aaa(lua: Callable[..., Any]) -> None:
    """Walks all that is reachable from the functions' results and errors: no userdata but what Lua made."""
    assert lua(
        f"""
        local bad, seen = {{}}, {{}}
        local function walk(path, v)
          if type(v) == 'userdata' then bad[#bad + 1] = path end
          if type(v) ~= 'table' or seen[v] then return end
          seen[v] = true
          for k, x in next, v do walk(path .. '.' .. tostring(k), k); walk(path .. '.' .. tostring(k), x) end
          local mt = getmetatable(v)
          if type(mt) == 'table' then walk(path .. '.mt', mt) end
        end
        walk('aaa', kumo.aaa)
        walk('acl', {OBJECTS["acl"]})
        walk('map', {OBJECTS["map"]})
        walk('resource', {OBJECTS["resource"]})
        walk('decision', kumo.aaa.query_resource_access({OBJECTS["resource"]}, {{}}, 'GET'))
        for name, f in pairs(kumo.aaa) do walk('error ' .. name, select(2, pcall(f))) end
        return bad
        """
    ) == [{}]
