"""Running policies: the host as a real process, and a host inside the test for what a process cannot show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kumoaudit.core.clock import SystemClock
from kumoaudit.core.protocols import Clock
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime.host import PolicyHost
from kumoaudit.segments.disk import RealDisk

TIMEOUT_S = 60


class Ran(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str


def kumoaudit(*args: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Ran:
    """Run the command line as a process of its own."""
    repo = str(Path(__file__).resolve().parent.parent)
    search = os.pathsep.join(p for p in (repo, os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        [sys.executable, "-m", "kumoaudit", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": search, **(env or {})},
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_policy(directory: Path, source: str, *options: str, script_args: tuple[str, ...] | None = None) -> Ran:
    """`kumoaudit run policy.lua` in *directory* (with `--script -- ARGS` when *script_args* is given)."""
    (directory / "policy.lua").write_text(source)
    tail = ["--script", "policy.lua", "--", *script_args] if script_args is not None else ["policy.lua"]
    return kumoaudit("run", *options, *tail, cwd=directory)


def rows(directory: Path, *options: str) -> list[dict[str, Any]]:
    """Everything that `kumoaudit query` finds in the default data directory, oldest first."""
    found = kumoaudit("query", "--reverse", "--format", "json", *options, cwd=directory)
    assert found.code == 0, found.err
    return [json.loads(line) for line in found.out.splitlines()]


def events_of(directory: Path, *options: str) -> list[dict[str, Any]]:
    """As `rows`, without the host's own records."""
    return rows(directory, "--where", "kind != system", *options)


class Inside(NamedTuple):
    """A host in the test's own process."""

    host: PolicyHost
    pipeline: Pipeline
    said: list[str]

    def lines(self, log: str = "log") -> list[bytes]:
        """The lines of a log as they stand in its ring and files, in order."""
        self.pipeline.flush()
        route = next(r for r in self.pipeline.open_routes if r.spec.name == log)
        ring = route.ring
        current, _ = ring.state(0)
        out = b""
        for block in range(current + 1):
            _, s = ring.state(block)
            out += bytes(ring.view(block, 0, s.used))
        return out.splitlines(keepends=True)


@contextmanager
def inside(directory: Path, source: str, *, clock: Clock | None = None, node: str = "n1") -> Iterator[Inside]:
    """A host whose policy is loaded and has run `pre_init` and `init`; closed at the end of the block."""
    path = directory / "policy.lua"
    path.write_text(source)
    said: list[str] = []
    pipeline = Pipeline(str(directory / "data"), node, RealDisk(), clock or SystemClock(), said.append)
    host = PolicyHost(str(path), pipeline, said.append)
    try:
        host.load()
        for event in ("pre_init", "init"):
            if host.has(event):
                with host.configuring(event):
                    host.call(event)
        pipeline.start()
        yield Inside(host, pipeline, said)
    finally:
        host.stopping.set()
        pipeline.close()
