"""A server in a process of its own on one core, and wrk on the other: what it answers, and what that costs it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench.contestants import Skipped
from tests.bench.verify import BadOutput

REPO = Path(__file__).resolve().parents[3]
# The listener takes 32 from one address that is not trusted, and wrk tries one more before it begins.
CONNECTIONS = 31
_START_S, _STOP_S = 20.0, 30.0

# wrk's own summary as JSON; without a `request` or `response` function a script costs it nothing while it sends.
_DONE = """
function done(summary)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "errors": %d}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Load(NamedTuple):
    """What wrk got answered in *seconds*, and the CPU that the server took for it, in seconds."""

    requests: int
    seconds: float
    cpu_s: float

    def __add__(self, other: tuple[float, ...]) -> Load:  # type: ignore[override]
        return Load(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[arg-type]


def cores() -> tuple[int, int]:
    """The core of the server and that of the load. Raises Skipped when there is only one."""
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        raise Skipped("server and load need a core each")
    return free[-1], free[0]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
    return port


@contextlib.contextmanager
def server(
    words: Sequence[str], port: int, *, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """`python WORDS`, running until the block ends, pinned to *core*. Raises BadOutput when it does not start or end."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    given = {**os.environ, "PYTHONPATH": str(REPO), **(environment or {})}
    process = subprocess.Popen(
        [sys.executable, *words], env=given, preexec_fn=pin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _wait_for(process, port)
        yield psutil.Process(process.pid)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=_STOP_S)
        if process.returncode not in (0, -signal.SIGTERM):
            raise BadOutput(f"the server ended with {process.returncode}: {said.decode()[-300:]}")
    finally:
        process.kill()
        process.communicate()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                _, said = process.communicate()
                raise BadOutput(f"the server does not listen: {said.decode()[-300:]}") from None
            time.sleep(0.05)
        else:
            return


def cpu_at_rest(process: psutil.Process) -> float:
    """CPU seconds of *process*, all its threads, once it has stopped working: writers finish behind the answers."""
    last, quiet = -1.0, 0
    while quiet < 3:
        time.sleep(0.1)
        now = sum(process.cpu_times()[:2])
        # A tick of 10 ms now and then is what an idle host takes.
        quiet = quiet + 1 if now - last <= 0.01 else 0
        last = now
    return last


def wrk(process: psutil.Process, url: str, seconds: int, directory: Path, *, core: int, header: str = "") -> Load:
    """Load from one thread over 31 connections that stay open. Raises Skipped, or BadOutput for one bad answer."""
    command = shutil.which("wrk")
    if not command:
        raise Skipped("wrk is not installed")
    script = directory / "done.lua"
    script.write_text(_DONE)
    words = [command, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    if header:
        words += ["-H", header]
    before = cpu_at_rest(process)
    done = subprocess.run(
        [*words, url],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise BadOutput(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["errors"] or not told["requests"]:
        raise BadOutput(f"wrk: {told}")
    return Load(told["requests"], told["seconds"], cpu_at_rest(process) - before)
