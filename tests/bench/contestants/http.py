"""The HTTP listener: a guarded route against a constant answer of uvicorn, what its records cost, and ingest."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from kumoaudit.access.acl import acl_of_rules, decide
from kumoaudit.access.records import authentication_event, decision_event
from kumoaudit.access.resource import names_for
from kumoaudit.core.clock import SystemClock
from kumoaudit.core.event import AuthInfo, Identity
from kumoaudit.core.ids import ulid
from kumoaudit.dialects.kumo import KumoDialect
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.segments.disk import RealDisk
from tests.bench.contestants import Contestant, Run, Skipped
from tests.bench.contestants.ingest import ten_fields
from tests.bench.contestants.python_born import SWITCH_INTERVAL_S
from tests.bench.contestants.serving import CONNECTIONS, Load, cores, cpu_at_rest, free_port, server, wrk
from tests.bench.measure import Meter, percentile
from tests.bench.verify import BadOutput, check_sent, raw_chunks

_PATH = "/api/check-liveness/v1"
_HEADER = f"Authorization: Basic {base64.b64encode(b'eve:secret').decode()}"
_BATCH = 1_000
_SENDERS = 4
# A second of load for so many events of the run; what is counted is what wrk got answered.
_A_SECOND = 5_000

_POLICY = """
local acl = kumo.aaa.load_acl_map { key_data = [=[
[[acl."http_listener/*/api/check-liveness"]]
allow = true
privileges = ["GET"]
identity.Authenticated = {}
]=] }
kumo.on('init', function()
  kumo.aaa.configure_acct_log { log_dir = '%(directory)s/acct'%(switches)s }
  kumo.aaa.set_authentication_cache_ttl '1 hour'
  kumo.aaa.set_check_cache_ttl '1 hour'
  kumo.start_http_listener { listen = '127.0.0.1:%(port)d', trusted_hosts = {} }
end)
kumo.on('http_server_validate_auth_basic', function(user, password) return user == 'eve' and password == 'secret' end)
kumo.on('get_acl_definition', function(name) return acl:get(name) end)
"""
_FILTERED = ", log_authz_allow = false, log_authn_ok = false"

# The smallest application there is: no framework, no routing, one constant.
_CONSTANT = """
START = {'type': 'http.response.start', 'status': 200, 'headers': [
    (b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'2')]}
BODY = {'type': 'http.response.body', 'body': b'OK'}

async def app(scope, receive, send):
    await send(START)
    await send(BODY)
"""


def _seconds(run: Run) -> int:
    return max(1, round(run.events / _A_SECOND))


def _figures(load: Load) -> dict[str, Any]:
    return {
        "events": load.requests,
        "wall_s": load.seconds,
        "cpu_s": load.cpu_s,
        "cpu_ns": load.cpu_s / load.requests * 1e9,
        "rate": load.requests / load.seconds,
    }


def _on_a_core(load: Load) -> dict[str, Any]:
    # Less than all of it: others worked there, and the requests a second say more about them than about the server.
    return _figures(load) | {"core_share": load.cpu_s / load.seconds}


def constant(run: Run) -> dict[str, Any]:
    """uvicorn with h11 on Python's loop, no access log, no lifespan: the answer is a constant."""
    if not importlib.util.find_spec("uvicorn") or not importlib.util.find_spec("h11"):
        raise Skipped("uvicorn with h11 is not installed")
    core, other = cores()
    (run.directory / "constant.py").write_text(_CONSTANT)
    port = free_port()
    words = ["-m", "uvicorn", "--app-dir", str(run.directory), "--port", str(port), "--http", "h11"]
    words += ["--loop", "asyncio", "--lifespan", "off", "--no-access-log", "--log-level", "warning", "constant:app"]
    with server(words, port, core=core) as process:
        url = f"http://127.0.0.1:{port}{_PATH}"
        wrk(process, url, 1, run.directory, core=other, header=_HEADER)
        load = wrk(process, url, _seconds(run), run.directory, core=other, header=_HEADER)
    return _on_a_core(load)


def _host(directory: Path, port: int, switches: str = "") -> list[str]:
    directory.mkdir()
    file = directory / "policy.lua"
    file.write_text(_POLICY % {"directory": directory, "port": port, "switches": switches})
    return ["-m", "kumoaudit", "run", str(file), "--data-dir", str(directory / "data")]


def _loop(name: str) -> dict[str, str]:
    if name == "uvloop" and not importlib.util.find_spec("uvloop"):
        raise Skipped("uvloop is not installed")
    return {"KUMOAUDIT_UVLOOP": "1" if name == "uvloop" else "0"}


def guarded(loop: str, run: Run) -> dict[str, Any]:
    """The host: Basic credentials from its cache, the ACL's decision from its cache, both records of each request."""
    (core, other), environment, port = cores(), _loop(loop), free_port()
    words = _host(run.directory / "host", port)
    with server(words, port, core=core, environment=environment) as process:
        url = f"http://127.0.0.1:{port}{_PATH}"
        warm = wrk(process, url, 1, run.directory, core=other, header=_HEADER)
        load = wrk(process, url, _seconds(run), run.directory, core=other, header=_HEADER)
    _check_records(run.directory / "host", warm.requests + load.requests, 2)
    return _on_a_core(load)


def records_apart(run: Run) -> dict[str, Any]:
    """Two hosts in turns, one whose log refuses both records: `records_us` is what the records cost a request."""
    (core, other), environment = cores(), _loop("uvloop")
    ports = free_port(), free_port()
    loads = {True: Load(0, 0.0, 0.0), False: Load(0, 0.0, 0.0)}
    sent = 0
    slice_s = max(1, _seconds(run) // 2)
    with (
        server(_host(run.directory / "on", ports[0]), ports[0], core=core, environment=environment) as on,
        server(_host(run.directory / "off", ports[1], _FILTERED), ports[1], core=core, environment=environment) as off,
    ):
        for number, is_on in enumerate((True, False, True, False, False, True)):
            process, port = (on, ports[0]) if is_on else (off, ports[1])
            url = f"http://127.0.0.1:{port}{_PATH}"
            load = wrk(process, url, slice_s if number > 1 else 1, run.directory, core=other, header=_HEADER)
            sent += load.requests if is_on else 0
            if number > 1:  # the first of each warms it
                loads[is_on] += load
    _check_records(run.directory / "on", sent, 3)
    _check_records(run.directory / "off", 0, 0)
    apart = loads[True].cpu_s / loads[True].requests - loads[False].cpu_s / loads[False].requests
    return _on_a_core(loads[False]) | {"records_us": apart * 1e6}


class _Record(msgspec.Struct):
    """What is looked at of a line of the accounting log."""

    type: str
    id: str
    detail: dict[str, Any]
    success: bool = False
    access: str = ""
    auth_info: AuthInfo = AuthInfo()


def _check_records(host: Path, answered: int, runs: int) -> None:
    """Both records of each request, once, about the right user; wrk leaves an answer on each connection unread."""
    ids: dict[str, list[str]] = {"Authentication": [], "Authorization": []}
    eve = (Identity("eve", "HttpBasicAuth"),)
    for segment in sorted((host / "acct").glob("acct-*")):
        for r in msgspec.json.Decoder(_Record).decode_lines(b"".join(raw_chunks(segment))):
            if not (r.success or r.access == "Allow") or r.auth_info.identities != eve:
                raise BadOutput(f"not the record of such a request: {r}")
            ids[r.type].append(r.detail["request_id"])
    logins, decisions = (set(found) for found in ids.values())
    if logins != decisions or [len(found) for found in ids.values()] != [len(logins)] * 2:
        raise BadOutput(f"{len(logins ^ decisions)} requests have one record, or one more than once")
    if not answered <= len(logins) <= answered + runs * CONNECTIONS:
        raise BadOutput(f"{len(logins)} requests are recorded, {answered} were answered")


def both_records(run: Run) -> dict[str, Any]:
    """Both records of a request made from nothing and brought into the file, as the listener does it, by themselves."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    logs = Pipeline(str(run.directory / "host"), "bench", RealDisk(), clock, lambda text: print(text, file=sys.stderr))
    (spec,) = KumoDialect().translate({"log_dir": str(run.directory / "host" / "acct")}, "bench")
    logs.open_log(spec)
    eve = Identity("eve", "HttpBasicAuth")
    info, resource = AuthInfo("127.0.0.1", (eve,)), names_for("127.0.0.1:8000", _PATH)
    rule = {"criteria": {"Identity": "Authenticated"}, "privilege": "GET", "access": "Allow"}
    acls = {"http_listener/*/api/check-liveness": acl_of_rules([rule], "bench")}
    decision = decide(resource, info, "GET", acls.get)
    meter = Meter()
    for _ in range(run.events):
        now = clock.now_ns()
        id = ulid(now)
        about = {"request_id": id}
        logs.emit(authentication_event(eve, True, info, id=ulid(now), time_ns=now, node=logs.node, request=about))
        logs.emit(decision_event(decision, resource, id=id, time_ns=now, node=logs.node, request=about))
    left = logs.close()
    figures = meter.figures(run.events)
    if left:
        raise BadOutput(f"left in the ring: {left}")
    _check_records(run.directory / "host", run.events, 0)
    return figures | {"both_us": figures["cpu_ns"] / 1e3}


_TAKES_RECORDS = """
kumo.on('init', function()
  kumo.audit.configure_log { name = 'bench', where = 'kind = custom' }
  kumo.start_http_listener { listen = '127.0.0.1:%d', trusted_hosts = { '127.0.0.1' } }
end)
"""

# Each thread waits for the answer to a batch before it sends the next, as a client that wants to know does.
_SENDER = """
import re, socket, sys, threading, time
port, file, size, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
lines = open(file, 'rb').read().splitlines(True)
requests = []
for at in range(0, len(lines), size):
    body = b''.join(lines[at : at + size])
    requests.append(b'POST /api/audit/records/v1 HTTP/1.1\\r\\nHost: bench\\r\\nContent-Type: application/x-ndjson\\r\\n'
        b'Content-Length: %d\\r\\n\\r\\n' % len(body) + body)
del lines
accepted = [0] * count
def send(number, s):
    for request in requests[number::count]:
        s.sendall(request)
        answer = s.recv(1 << 18)
        while (end := answer.find(b'\\r\\n\\r\\n')) < 0:
            answer += s.recv(1 << 18)
        whole = end + 4 + int(re.search(rb'content-length: *(\\d+)', answer[:end], re.I)[1])
        while len(answer) < whole:
            answer += s.recv(1 << 18)
        if not answer.startswith(b'HTTP/1.1 200'):
            raise SystemExit(answer[:300])
        accepted[number] += int(re.search(rb'"accepted":(\\d+)', answer)[1])
threads = [threading.Thread(target=send, args=(n, socket.create_connection(('127.0.0.1', port)))) for n in range(count)]
begin = time.perf_counter()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(time.perf_counter() - begin, sum(accepted))
"""


def batches(run: Run) -> dict[str, Any]:
    """Batches of 1,000 ten-field records over four connections; timed until the last answer, CPU until all is done."""
    port = free_port()
    data = ten_fields(run)
    (run.directory / "lines").write_bytes(data)
    (run.directory / "policy.lua").write_text(_TAKES_RECORDS % port)
    words = ["-m", "kumoaudit", "run", str(run.directory / "policy.lua"), "--data-dir", str(run.directory / "data")]
    with server(words, port) as process:
        before = cpu_at_rest(process)
        arguments = [str(port), str(run.directory / "lines"), str(_BATCH), str(_SENDERS)]
        done = subprocess.run([sys.executable, "-c", _SENDER, *arguments], capture_output=True, text=True, check=False)
        cpu = cpu_at_rest(process) - before
    if done.returncode or done.stderr:
        raise BadOutput(f"the sender failed: {done.stderr.strip()[-300:]}")
    wall, accepted = (json.loads(word) for word in done.stdout.split())
    if accepted != run.events:
        raise BadOutput(f"{accepted} of {run.events} were accepted")
    segments = sorted((run.directory / "data" / "bench").glob("bench-*"))
    size = check_sent(segments, data)
    figures = _figures(Load(run.events, wall, cpu))
    return figures | {"bytes": size, "stored": sum(s.stat().st_size for s in segments)}


def password(run: Run) -> dict[str, Any]:
    """One check of a password against a hash of argon2id, with the library's default cost."""
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise Skipped("argon2-cffi is not installed") from None

    hasher = PasswordHasher()
    hashed = hasher.hash("secret")
    took = []
    for _ in range(max(3, run.events // 100)):
        begin = time.perf_counter_ns()
        if not hasher.verify(hashed, "secret"):
            raise BadOutput("the right password was refused")
        took.append((time.perf_counter_ns() - begin) / 1e3)
    return {"events": len(took), "p50_us": percentile(took, 0.5), "p99_us": percentile(took, 0.99)}


_SHARE = 0.01

CONTESTANTS = {
    "uvicorn": Contestant(constant, "uvicorn, h11, Python's loop, constant answer", _SHARE, note="one core"),
    "http-asyncio": Contestant(
        functools.partial(guarded, "asyncio"), "kumoaudit, guarded GET, Python's loop", _SHARE, note="one core"
    ),
    "http-uvloop": Contestant(
        functools.partial(guarded, "uvloop"), "kumoaudit, guarded GET, uvloop", _SHARE, note="one core"
    ),
    "http-filtered": Contestant(
        records_apart,
        "kumoaudit, guarded GET, uvloop, both records filtered",
        _SHARE,
        note="one core; events are still made and judged, but not encoded, kept and packed",
    ),
    "both-records": Contestant(both_records, "kumoaudit, both records of a request, no server", 0.02),
    "http-ingest": Contestant(batches, "kumoaudit, ten-field records over HTTP, batches of 1,000", 0.1),
    "password": Contestant(password, "one check of a password, argon2id with default cost", 0.0003),
}
