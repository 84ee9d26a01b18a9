"""The HTTP listener with real clients against a real `kumoaudit run`: replies, records, and who gets what."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

import pytest
import zstandard

from tests.crash.hosts import HostProcess
from tests.fakes import eventually
from tests.sources.clients import (
    LIVENESS,
    UNTRUSTED,
    Reply,
    ask,
    basic,
    connect,
    found,
    raw,
    read_all,
    serving,
    statuses,
)

POLICY = """
local function rules(list)
  return kumo.aaa.make_access_control_list(list)
end
local any = { Identity = 'Any' }
local acls = {
  ['http_listener/*/metrics'] = rules {
    { criteria = { Identity = { Individual = 'denied' } }, privilege = 'GET', access = 'Deny' },
    { criteria = { Identity = { Group = 'readers' } }, privilege = 'GET', access = 'Allow' },
    { criteria = { Identity = { Group = 'kumomta:http-listener-trusted-ip' } }, privilege = 'GET', access = 'Allow' },
  },
  ['http_listener/*/api/check-liveness'] = rules {
    { criteria = any, privilege = 'GET', access = 'Allow' },
    { criteria = any, privilege = 'HEAD', access = 'Allow' },
    { criteria = any, privilege = 'DELETE', access = 'Allow' },
  },
}
kumo.on('get_acl_definition', function(name)
  if name:find('metrics.json', 1, true) then error('the ACL database is away') end
  return acls[name]
end)
kumo.on('http_server_validate_auth_basic', function(user, password)
  if user == 'boom' then error('the user database is away') end
  if user == 'none' then return {} end
  if user == 'nothing' then return end
  if user == 'number' then return 7 end
  if user == 'typo' then return { group = { 'readers' } } end
  if user == 'nopass' then return password == nil end
  if user == 'slow' then kumo.sleep(2); return true end
  if user == 'busy' then
    local begin = os.clock()
    while os.clock() - begin < 1 do end
    return true
  end
  if user == 'bob' then
    return { peer_address = '9.9.9.9', groups = { 'readers' },
      identities = { { identity = 'bob@example.com', context = 'GenericAuth' } } }
  end
  return password == 's3cret'
end)
kumo.on('http_server_validate_auth_bearer', function(token)
  if token == 'good' then
    return { identities = { { identity = 'robot', context = 'BearerToken' } }, groups = { 'readers' } }
  end
  return token == 'true'
end)
kumo.on('init', function()
  kumo.aaa.configure_acct_log { log_dir = 'acct' }
  kumo.start_http_listener { listen = '127.0.0.1:0', request_body_limit = 100000 }
  IPV6
end)
"""


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        return False
    return True


class Host(NamedTuple):
    process: HostProcess
    address: str
    ipv6: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    ipv6 = "kumo.start_http_listener { listen = '[::1]:0' }" if _has_ipv6() else ""
    with serving(tmp_path_factory.mktemp("http"), POLICY.replace("IPV6", ipv6)) as (process, addresses):
        yield Host(process, addresses[0], addresses[1] if ipv6 else "")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def header(value: str) -> dict[str, str]:
    return {"Authorization": value}


class Case(NamedTuple):
    name: str
    path: str
    headers: dict[str, str]
    status: int
    body: str
    authn: dict[str, Any] | None
    authz: str | None
    method: str = "GET"
    source: str = UNTRUSTED


T = "http_listener/ADDRESS"
UNSUPPORTED = "Malformed or unsupported Authorization header"
OK = {"outcome": "ok"}
FAIL = {"outcome": "fail", "identities": []}

# The table of KumoMTA's section 5.1, row by row, with the deviations that the interface names (403, WWW-Authenticate).
TABLE = [
    Case("no-header", LIVENESS, {}, 200, "OK", None, "allow"),
    Case("not-text", LIVENESS, header("Basic \xff\xfe"), 400, "Malformed Authorization header", FAIL, None),
    Case("unknown-scheme", LIVENESS, header("Digest x"), 400, UNSUPPORTED, FAIL, None),
    Case("lower-case", LIVENESS, header("basic YTpi"), 400, UNSUPPORTED, FAIL, None),
    Case("bad-base64", LIVENESS, header("Basic !!!"), 400, UNSUPPORTED, FAIL, None),
    Case("not-utf8", LIVENESS, header("Basic //79"), 400, UNSUPPORTED, FAIL, None),
    Case("empty-bearer", LIVENESS, header("Bearer "), 400, UNSUPPORTED, FAIL, None),
    Case("true", LIVENESS, basic("alice"), 200, "OK", OK | {"identities": ["alice"]}, "allow"),
    Case("true-and-denied-by-default", "/api/admin/reopen/v1", basic("alice"), 403,
         f"id=[alice]@ ip={UNTRUSTED} not permitted POST on {T}/api/admin/reopen/v1", OK, "deny", "POST"),
    Case("true-and-denied-by-rule", "/metrics", basic("denied"), 403,
         f"id=[denied]@ ip={UNTRUSTED} denied GET on {T}/metrics", OK, "deny"),
    Case("false", LIVENESS, basic("alice", "wrong"), 401, "HttpBasicAuth Authentication Failed for alice", FAIL, None),
    Case("false-from-a-trusted-host", "/metrics", basic("eve", "wrong"), 401,
         "HttpBasicAuth Authentication Failed for eve", FAIL, None, source=""),
    Case("bearer-false", LIVENESS, bearer("bad"), 401, "BearerToken Authentication Failed for ", FAIL, None),
    Case("bearer-true", LIVENESS, bearer("true"), 200, "OK", OK | {"identities": [""]}, "allow"),
    Case("bearer-info", "/metrics", bearer("good"), 200, None or "", OK | {"identities": ["robot"]}, "allow"),
    Case("info", "/metrics", basic("bob"), 200, "", OK | {"identities": ["bob@example.com"]}, "allow"),
    Case("no-colon", LIVENESS, header("Basic bm9wYXNz"), 200, "OK", OK | {"identities": ["nopass"]}, "allow"),
    Case("colon-in-password", LIVENESS, basic("alice", "s3:cret"), 401,
         "HttpBasicAuth Authentication Failed for alice", FAIL, None),
    Case("empty-info", LIVENESS, basic("none"), 401, "HttpBasicAuth Authentication Failed for none", FAIL, None),
    Case("raises", LIVENESS, basic("boom"), 500, "try again later", FAIL, None),
    Case("returns-nothing", LIVENESS, basic("nothing"), 500, "try again later", FAIL, None),
    Case("returns-a-number", LIVENESS, basic("number"), 500, "try again later", FAIL, None),
    Case("returns-a-typo", LIVENESS, basic("typo"), 500, "try again later", FAIL, None),
    Case("acl-raises", "/metrics.json", {}, 500, "try again later", None, "deny"),
    Case("default-deny", "/api/admin/reopen/v1", {}, 401,
         f"<Unauthenticated>@ ip={UNTRUSTED} not permitted POST on {T}/api/admin/reopen/v1", None, "deny", "POST"),
    Case("no-route", "/nope", {}, 404, "no such route", None, "deny"),
    Case("no-route-with-credentials", "/nope", basic("alice"), 404, "no such route", None, "deny"),
    Case("double-slash", "//api/check-liveness/v1", {}, 404, "no such route", None, "deny"),
    Case("escaped", "/api/check%2dliveness/v1", {}, 404, "no such route", None, "deny"),
    Case("with-a-query", LIVENESS + "?x=1", {}, 200, "OK", None, "allow"),
    Case("method-allowed-but-not-offered", LIVENESS, {}, 405, "DELETE is not offered here", None, "allow", "DELETE"),
    Case("method-not-allowed", LIVENESS, {}, 401,
         f"<Unauthenticated>@ ip={UNTRUSTED} not permitted PUT on {T}/api/check-liveness/v1", None, "deny", "PUT"),
    Case("trusted", "/metrics", {}, 200, "", None, "allow", source=""),
    Case("untrusted", "/metrics", {}, 401,
         f"<Unauthenticated>@ ip={UNTRUSTED} not permitted GET on {T}/metrics", None, "deny"),
    Case("forwarded-is-ignored", "/metrics", {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}, 401,
         f"<Unauthenticated>@ ip={UNTRUSTED} not permitted GET on {T}/metrics", None, "deny"),
]  # fmt: skip

Answers = dict[str, tuple[Reply, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def answers(running: Host) -> Answers:
    """Every row asked once, each failure from an address of its own (guesses are limited); then one query for all."""
    replies = {}
    for n, c in enumerate(TABLE):
        source = f"127.0.9.{n + 1}" if c.source == UNTRUSTED else c.source
        reply = ask(running.address, c.path, c.method, c.headers, source=source)
        replies[c.name] = reply._replace(body=reply.body.replace(source or "-", UNTRUSTED))
    by_request: dict[str, list[dict[str, Any]]] = {}
    for record in found(running.process):
        request = (record.get("detail") or {}).get("request_id")
        if request:
            by_request.setdefault(request, []).append(record)
    return {name: (reply, by_request.get(reply.id, [])) for name, reply in replies.items()}


@pytest.mark.parametrize("case", TABLE, ids=lambda c: c.name)
def test_the_reply_and_its_records(running: Host, answers: Answers, case: Case) -> None:
    reply, records = answers[case.name]

    assert reply.status == case.status
    if case.body:
        assert reply.body == case.body.replace("ADDRESS", running.address)
    authn = [r for r in records if r["type"] == "Authentication"]
    authz = [r for r in records if r["type"] == "Authorization"]
    assert (len(authn), len(authz)) == (case.authn is not None, case.authz is not None)
    assert reply.id in {r["id"] for r in records}
    if case.authn:
        assert authn[0]["outcome"] == case.authn["outcome"]
        if "identities" in case.authn:
            assert [i["identity"] for i in authn[0]["auth_info"]["identities"]] == case.authn["identities"]
        assert authn[0]["peer"] != "9.9.9.9"
    if case.authz:
        assert authz[0]["outcome"] == case.authz
        assert authz[0]["privilege"] == case.method
    assert ("WWW-Authenticate" in reply.headers) == (case.status == 401)
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "s3cret" not in json.dumps(records)


def test_405_names_what_is_offered(answers: Answers) -> None:
    assert answers["method-allowed-but-not-offered"][0].headers["Allow"] == "GET"


def test_bearer_is_offered_where_there_is_a_handler(answers: Answers) -> None:
    shown = answers["false"][0].headers["WWW-Authenticate"]
    assert shown == 'Basic realm="kumoaudit", charset="UTF-8", Bearer realm="kumoaudit"'


def test_why_a_login_or_decision_failed_stands_in_its_record_and_on_stderr(running: Host, answers: Answers) -> None:
    assert "the user database is away" in answers["raises"][1][0]["detail"]["reason"]
    assert "the ACL database is away" in answers["acl-raises"][1][0]["detail"]["error"]
    assert "the user database is away" in running.process.said
    assert "without identity" in running.process.said
    assert "Traceback" not in running.process.said


def test_the_record_of_a_reply_can_be_looked_up(running: Host, answers: Answers) -> None:
    (record,) = found(running.process, "--lookup", answers["default-deny"][0].id)
    assert (record["type"], record["outcome"]) == ("Authorization", "deny")


def test_an_answer_to_head_has_no_body(running: Host) -> None:
    with connect(running.address) as sock:
        sock.sendall(f"HEAD {LIVENESS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(sock)
    assert statuses(answer) == [405]
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://elsewhere.example" + LIVENESS, 200),
        ("http://elsewhere.example", 404),
        ("http://elsewhere.example?x", 404),
        (LIVENESS + "#fragment", 200),
        ("*", 404),
    ],
)
def test_forms_of_request_targets(running: Host, target: str, status: int) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    answer = raw(running.address, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert statuses(answer) in ([status], [400])
    assert statuses(answer) == [status] or "#" in target


def test_connect_is_refused_and_its_connection_closed(running: Host) -> None:
    answer = raw(
        running.address, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\nGET / HTTP/1.1\r\n"
    )
    assert statuses(answer) == [400]


def test_an_upgrade_is_ignored_and_its_connection_closed(running: Host) -> None:
    request = f"GET {LIVENESS} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert statuses(raw(running.address, request.encode() + b"\x81\x00")) == [200]


def test_requests_on_one_connection_one_after_the_other_and_at_once(running: Host) -> None:
    one = f"GET {LIVENESS} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    with connect(running.address) as sock:
        for _ in range(3):
            sock.sendall(one)
            assert statuses(sock.recv(65536)) == [200]
        sock.sendall(one * 50 + last)
        answer = read_all(sock)
    assert statuses(answer) == [200] * 51
    ids = {line for line in answer.split(b"\r\n") if line.lower().startswith(b"x-audit-id")}
    assert len(ids) == 51


def test_credentials_hold_for_one_request_not_for_a_connection(running: Host) -> None:
    login = basic("bob")["Authorization"]
    with connect(running.address, UNTRUSTED) as sock:
        sock.sendall(
            f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n"
            "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        assert statuses(read_all(sock)) == [200, 401]


def test_two_authorization_headers_are_none(running: Host) -> None:
    login = basic("alice")["Authorization"]
    request = (
        f"GET {LIVENESS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + f"Authorization: {login}\r\n" * 2 + "\r\n"
    )
    answer = raw(running.address, request.encode(), "127.0.0.7")
    assert statuses(answer) == [400]
    assert b"Malformed Authorization header" in answer


def test_ipv6(running: Host) -> None:
    if not running.ipv6:
        pytest.skip("this machine has no IPv6")
    reply = ask(running.ipv6, "/metrics")
    assert reply.status == 200
    (record,) = found(running.process, "--lookup", reply.id)
    assert record["peer"] == "::1"
    assert record["resource"] == f"http_listener/{running.ipv6}/metrics"


# -- bodies -----------------------------------------------------------------------------------------------------------

CHECK = "/api/audit/check/v1"
QUESTION = json.dumps({"auth_info": {}, "resource": "http_listener/*/api/check-liveness", "privilege": "GET"}).encode()
JSON = {"Content-Type": "application/json"}


def test_the_check_route_asks_for_somebody_else(running: Host) -> None:
    reply = ask(running.address, CHECK, "POST", JSON, QUESTION)
    answer = json.loads(reply.body)
    assert (reply.status, answer["access"], answer["resource"]) == (200, "Allow", "http_listener/*/api/check-liveness")
    (inner,) = found(running.process, "--lookup", answer["id"])
    assert inner["privilege"] == "GET"
    assert inner["auth_info"] == {"peer_address": None, "identities": [], "groups": []}
    assert answer["id"] != reply.id


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b'{"resource": "x"}', "privilege"),
        (b'{"privilege": "GET"}', "resource"),
        (b'{"privilege": "GET", "resource": "x", "url": "/x"}', "either"),
        (b'{"privilege": "GET", "resource": 7}', "text"),
        (b'{"privilege": "GET", "resource": "x", "auth_inf": {}}', "auth_info"),
        (b'{"privilege": "GET", "resource": "x", "auth_info": {"group": []}}', "group"),
        (b'{"privilege": "GET", "url": "nonsense"}', "nonsense"),
        (b'{"privilege": "GET", "url": "/x", "local_addr": "host:80"}', "host"),
        (b'{"privilege": ' + b"[" * 5000 + b"}", "JSON"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(running: Host, body: bytes, word: str) -> None:
    reply = ask(running.address, CHECK, "POST", JSON, body)
    assert reply.status == 400
    assert word in reply.body


PADDED = QUESTION[:-1] + b', "normalise": false' + b" " * 90_000 + b"}"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("identity", QUESTION, 200),
        ("gzip", gzip.compress(QUESTION, mtime=0), 200),
        ("GZIP", gzip.compress(QUESTION, mtime=0), 200),
        ("zstd", zstandard.compress(QUESTION), 200),
        ("gzip", gzip.compress(QUESTION[:9], mtime=0) + gzip.compress(QUESTION[9:], mtime=0), 200),
        ("zstd", zstandard.compress(QUESTION[:9]) + zstandard.compress(QUESTION[9:]), 200),
        ("zstd", zstandard.compress(QUESTION)[:-3], 400),
        ("gzip", gzip.compress(QUESTION, mtime=0)[:-3], 400),
        ("gzip", gzip.compress(QUESTION, mtime=0) + b"x", 400),
        ("gzip", b"no gzip", 400),
        ("zstd", b"no zstd", 400),
        ("gzip", gzip.compress(b" " * 50_000_000, mtime=0), 413),
        ("zstd", zstandard.compress(b" " * 500_000_000), 413),
        ("gzip", gzip.compress(b"", mtime=0) * 4000, 400),
        ("zstd", zstandard.compress(b"") * 6000, 400),
        ("zstd", zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(
            window_log=27)).compressobj().compress(b""), 400),
        ("br", QUESTION, 415),
        ("gzip, gzip", QUESTION, 415),
        ("deflate", QUESTION, 415),
        ("identity", PADDED, 200),
        ("identity", PADDED + b" " * 20_000, 413),
        ("gzip", os.urandom(100_001), 413),
    ],
)  # fmt: skip
def test_encoded_bodies_and_bombs(running: Host, encoding: str, body: bytes, status: int) -> None:
    begin = time.monotonic()
    reply = ask(running.address, CHECK, "POST", JSON | {"Content-Encoding": encoding}, body)
    assert reply.status == status, reply.body
    assert time.monotonic() - begin < 20
    assert reply.id


def test_a_body_over_the_limit_without_a_length_is_cut_off(running: Host) -> None:
    head = f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = raw(running.address, head + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 10)
    assert statuses(answer) == [413]


def test_expect_100_continue(running: Host) -> None:
    head = f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {{}}\r\n\r\n"
    with connect(running.address) as sock:
        sock.sendall(head.format(len(QUESTION)).encode())
        assert statuses(sock.recv(1000)) == [100]
        sock.sendall(QUESTION)
        assert statuses(sock.recv(10000)) == [200]
    # Who is not let in, or would send too much, is told so before the body.
    assert statuses(raw(running.address, head.format(10**6).encode())) == [413]
    answer = raw(
        running.address, head.format(10).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode(), UNTRUSTED
    )
    assert statuses(answer) == [401]
    assert statuses(raw(running.address, head.format(5).replace("100-continue", "200-ok").encode())) == [417]


def test_curl_urllib_and_wrk(running: Host) -> None:
    url = f"http://{running.address}{LIVENESS}"
    with urllib.request.urlopen(url) as reply:
        assert reply.read() == b"OK"
    if curl := which("curl"):
        got = subprocess.run(
            [curl, "-s", "-u", "alice:s3cret", "-w", " %{http_code}", url], capture_output=True, text=True, check=True
        )
        assert got.stdout == "OK 200"
        big = subprocess.run(
            [curl, "-s", "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-", f"http://{running.address}{CHECK}"],
            input=b" " * 3_000_000, capture_output=True, check=False,
        )  # fmt: skip
        assert big.stdout == b"413"
    if wrk := which("wrk"):
        before = len(found(running.process, "--type", "Authorization"))
        got = subprocess.run([wrk, "-t1", "-c20", "-d1s", url], capture_output=True, text=True, check=True)
        assert "Non-2xx" not in got.stdout
        count = int(got.stdout.split(" requests in")[0].split()[-1])
        assert len(found(running.process, "--type", "Authorization")) - before >= count


# -- slow handlers, many clients, clients that go ---------------------------------------------------------------------


@pytest.mark.parametrize("user", ["slow", "busy"])
def test_a_handler_that_takes_long_holds_up_nobody_else(tmp_path: Path, user: str) -> None:
    """Liveness needs no Lua when the policy defines no ACL: it answers while a login waits, or works."""
    policy = POLICY.replace("kumo.on('get_acl_definition'", "kumo.on('unused'").replace("IPV6", "")
    with serving(tmp_path, policy) as (_, (address,)):
        ask(address)
        order: list[str] = []
        ends = threading.Thread(target=lambda: order.append(f"login {ask(address, headers=basic(user)).status}"))
        ends.start()
        time.sleep(0.3)
        for _ in range(5):
            assert ask(address).status == 200
            order.append("liveness")
        ends.join()
    assert order == ["liveness"] * 5 + ["login 200"]


def test_a_hundred_logins_at_once(running: Host) -> None:
    with ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(lambda n: ask(running.address, headers=basic(f"user{n}")), range(100)))
    assert [r.status for r in replies] == [200] * 100
    users = {r.get("user") for r in found(running.process, "--type", "Authentication", "--outcome", "ok")}
    assert {f"user{n}" for n in range(100)} <= users


def test_a_client_that_goes_away_does_not_take_its_record_along(running: Host) -> None:
    login = basic("slow", "gone")["Authorization"]
    with connect(running.address, "127.0.0.9") as sock:
        sock.sendall(f"GET {LIVENESS} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n".encode())
        time.sleep(0.3)

    def types() -> list[str]:
        return [r["type"] for r in found(running.process, "--where", "peer = 127.0.0.9")]

    eventually(lambda: types() == ["Authentication", "Authorization"], "both records are there")


def test_a_client_that_goes_away_within_its_body_leaves_what_it_was_allowed(running: Host) -> None:
    with connect(running.address) as sock:
        sock.sendall(f"POST {CHECK} HTTP/1.1\r\nHost: leaves\r\nContent-Length: 1000\r\n\r\n{{".encode())
        time.sleep(0.3)
    assert ask(running.address).status == 200
    assert "internal error" not in running.process.said
    assert not [r for r in found(running.process, "--type", "http_refused") if r["detail"]["status"] == 500]


def test_sigterm_lets_requests_under_way_end(tmp_path: Path) -> None:
    with serving(tmp_path, POLICY.replace("IPV6", "")) as (process, (address,)), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, address, headers=basic("slow"))
        idle = connect(address)
        time.sleep(0.7)
        process.send(signal.SIGTERM)
        # It got its answer, which is that of a host that stops.
        assert (under_way.result().status, under_way.result().body) == (503, "shutting down")
        assert process.wait() == 0, process.said
        assert read_all(idle) == b""
        with pytest.raises(OSError):
            connect(address)
        types = [r["type"] for r in found(process, "--where", "kind != system")]
    assert types == ["Authentication", "Authorization"]
