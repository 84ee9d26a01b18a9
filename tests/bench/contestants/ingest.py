"""Records that an application sends over a Unix socket, against rsyslog that makes the same lines of syslog messages."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.ids import uuid4
from kumoaudit.core.timetext import local_time
from kumoaudit.sources.ingest import Ingest, PeerInfo
from kumoaudit.sources.unix import SocketListener
from tests.bench import corpus
from tests.bench.contestants import Contestant, Run, Skipped
from tests.bench.contestants.python_born import pipeline
from tests.bench.measure import Meter
from tests.bench.verify import BadOutput, check_lines, raw_chunks
from tests.bench.workloads import WORKLOADS

_CHUNK = 256 << 10
# So many lines have the same millisecond, as at some hundred thousand lines a second.
_LINES_A_MS = 400

_SENDER = """
import json, socket, sys, threading
data = open(sys.argv[2], 'rb').read()
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
answers = []
def read():
    while chunk := s.recv(1 << 20):
        answers.append(chunk)
reader = threading.Thread(target=read)
reader.start()
print('ready', flush=True)
sys.stdin.readline()
view = memoryview(data)
for at in range(0, len(data), 262144):
    s.sendall(view[at : at + 262144])
s.shutdown(socket.SHUT_WR)
reader.join()
print('sent', flush=True)
sys.stdin.readline()
print(sum(json.loads(line).get('accepted', 0) for line in b''.join(answers).splitlines()), flush=True)
"""


def ten_fields(run: Run) -> bytes:
    """The ten fields of Tarantool's record, one object a line."""
    texts = corpus.read(run.corpus / "plain")
    begin, mask = time.time_ns(), len(texts) - 1
    out = []
    for i in range(1, run.events + 1):
        if i % _LINES_A_MS == 1:
            when = local_time(begin + i // _LINES_A_MS * 1_000_000)
        record = {
            "time": when,
            "uuid": uuid4(),
            "severity": "INFO",
            "remote": "",
            "session_type": "background",
            "module": "billing",
            "user": "eve",
            "type": "custom_login",
            "tag": "x",
            "description": texts[i & mask],
        }
        out.append(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    return b"".join(out)


def over_socket(run: Run) -> dict[str, Any]:
    """One client that sends as fast as it can; done when every answer has come and the log is closed."""
    data = run.directory / "lines"
    data.write_bytes(ten_fields(run))
    logs = pipeline(run.directory / "data")
    listener = SocketListener(
        str(run.directory / "s"), 0o600, Ingest(logs.emit_many, SystemClock(), lambda: "bench"), SystemClock(), print
    )
    listener.start()
    words = [sys.executable, "-c", _SENDER, str(run.directory / "s"), str(data)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdin
        assert sender.stdout
        sender.stdout.readline()
        meter = Meter()
        print(file=sender.stdin, flush=True)
        sender.stdout.readline()
        left = logs.close()
        figures = meter.figures(run.events)
        accepted = int(sender.communicate("\n")[0])
    listener.stop(5)
    if left or accepted != run.events:
        raise BadOutput(f"{accepted} of {run.events} were accepted, left in the ring: {left}")
    segments = sorted(Path(run.directory, "data", "bench").glob("bench-*"))
    size = check_lines(segments, run.events, WORKLOADS["w1"], run.corpus)
    return figures | {"bytes": size, "stored": sum(s.stat().st_size for s in segments)}


def into_ring(run: Run) -> dict[str, Any]:
    """`Ingest.take` of ready batches and its answer, without socket and compression: what the receiving thread does."""
    data = ten_fields(run)
    batches, at = [], 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + _CHUNK) + 1
        batches.append(data[at:end])
        at = end
    logs = pipeline(run.directory / "data", to="devnull")
    ingest, peer = Ingest(logs.emit_many, SystemClock(), lambda: "bench"), PeerInfo(uid=1, gid=1, pid=1)
    meter = Meter(resource.RUSAGE_THREAD)
    for batch in batches:
        ingest.take(batch, "lines", peer).json()
    figures = meter.figures(run.events)
    logs.close()
    if logs.totals.recorded != run.events:
        raise BadOutput(f"{logs.totals.recorded} of {run.events} were recorded")
    return figures


_CONFIG = """
global(workDirectory="{directory}" maxMessageSize="8k")
module(load="imptcp")
module(load="builtin:omfile" compression.driver="zstd")
main_queue(queue.type="LinkedList" queue.size="200000" queue.dequeuebatchsize="4096" queue.workerthreads="1")
input(type="imptcp" path="{directory}/s" ruleset="r")
template(name="j" type="list" option.jsonf="on") {{
  property(outname="time" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="uuid" name="uuid" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  constant(outname="remote" value="" format="jsonf")
  constant(outname="session_type" value="background" format="jsonf")
  property(outname="module" name="programname" format="jsonf")
  constant(outname="user" value="eve" format="jsonf")
  constant(outname="type" value="custom_login" format="jsonf")
  constant(outname="tag" value="x" format="jsonf")
  property(outname="description" name="msg" format="jsonf")
}}
ruleset(name="r") {{
  action(type="omfile" file="{directory}/out" template="j" ziplevel="3" veryRobustZip="off" flushOnTXEnd="off"
    ioBufferSize="256k" asyncWriting="off")
}}
"""


def rsyslog(run: Run) -> dict[str, Any]:
    """rsyslogd with imptcp and omfile: a syslog line in, a JSON line of the same ten fields out, zstd level 3."""
    daemon = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/usr/local/sbin")
    if not daemon:
        raise Skipped("rsyslogd is not installed")
    texts = corpus.read(run.corpus / "plain")
    mask, when = len(texts) - 1, time.strftime("%b %d %H:%M:%S")
    data = "".join(f"<14>{when} host billing: {texts[i & mask]}\n" for i in range(1, run.events + 1)).encode()
    config = run.directory / "rsyslog.conf"
    config.write_text(_CONFIG.format(directory=run.directory))
    words = [daemon, "-n", "-f", str(config), "-i", str(run.directory / "pid")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            figures = _feed(run, psutil.Process(process.pid), data)
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()
    out = run.directory / "out"
    count = sum(chunk.count(b"\n") for chunk in raw_chunks(out))
    if count != run.events:
        raise BadOutput(f"{count} of {run.events} lines were written")
    return figures | {"bytes": sum(map(len, raw_chunks(out))), "stored": out.stat().st_size}


def _feed(run: Run, process: psutil.Process, data: bytes) -> dict[str, Any]:
    path = run.directory / "s"
    give_up = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > give_up:
            raise Skipped("rsyslogd does not start with imptcp and zstd")
        time.sleep(0.05)
    time.sleep(0.3)
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        for at in range(0, len(data), _CHUNK):
            s.sendall(data[at : at + _CHUNK])
    # It does not say when it is done: it is when its CPU time stands still.
    last, quiet, ended = -1.0, 0, time.perf_counter()
    while quiet < 4:
        time.sleep(0.15)
        now = sum(process.cpu_times()[:2])
        if now != last:
            quiet, ended = 0, time.perf_counter()
        else:
            quiet += 1
        last = now
    wall, cpu = ended - began, last - before
    return {
        "events": run.events,
        "wall_s": wall,
        "cpu_s": cpu,
        "cpu_ns": cpu / run.events * 1e9,
        "rate": run.events / wall,
    }


CONTESTANTS = {
    "ingest": Contestant(over_socket, "kumoaudit, ten-field JSON lines over a Unix socket, zstd segments", 0.3),
    "ingest-ring": Contestant(into_ring, "kumoaudit, `Ingest.take` of the same lines into the ring", 0.1),
    "rsyslog": Contestant(rsyslog, "rsyslogd, syslog lines over a Unix socket, JSON to zstd", 0.2),
}
