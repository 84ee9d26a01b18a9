"""The product: a policy file run by the daemon, as `kumoaudit run --script` does it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tests.bench.contestants import Contestant, Run
from tests.bench.measure import Meter, peak_mb
from tests.bench.verify import BadOutput, check_lines
from tests.bench.workloads import WORKLOADS, policy


def record(workload: str, options: str, run: Run) -> dict[str, Any]:
    """Run the policy of *workload*. The work is measured from the call of its `main` until every log is closed; `whole`
    is the life of the host: its start, loading the policy (which reads the corpus), the work and the stop."""
    from kumoaudit.daemon import Daemon

    chosen = WORKLOADS[workload]
    file = run.directory / "policy.lua"
    file.write_text(policy(chosen, run.corpus, options), "utf-8")
    whole = Meter()
    daemon = Daemon(str(file), str(run.directory / "data"))
    work: list[Meter] = []
    call = daemon.host.call

    def timed(event: str, *args: object) -> list[Any]:
        if event == "main":
            work.append(Meter())
        return call(event, *args)

    daemon.host.call = timed  # type: ignore[method-assign]
    code = daemon.run([str(run.events)])
    figures = work[0].figures(run.events) | {"peak_mb": peak_mb()}
    figures |= {f"whole_{k}": v for k, v in whole.figures(run.events).items()}
    if code:
        raise BadOutput(f"the host ended with exit code {code}")
    segments = sorted(Path(run.directory, "data", "bench").glob("bench-*"))
    keep = run.lines if run.keep else None
    size = check_lines(segments, run.events, chosen, run.corpus, keep=keep)
    return figures | {"bytes": size, "stored": sum(s.stat().st_size for s in segments)}


_ONE = ", compression_threads = 1"

CONTESTANTS = {
    "w1-one": Contestant(functools.partial(record, "w1", _ONE), "kumoaudit, custom events, one writer"),
    "w1-two": Contestant(functools.partial(record, "w1", ""), "kumoaudit, custom events, two compressing threads"),
    "varied-one": Contestant(functools.partial(record, "varied", _ONE), "kumoaudit, varied events, one writer"),
    "varied-two": Contestant(functools.partial(record, "varied", ""), "kumoaudit, varied events, two threads"),
    "w3": Contestant(functools.partial(record, "w3", ""), "kumoaudit, `l:log 'Hello'`, two threads"),
    "w4": Contestant(functools.partial(record, "w4", ""), "kumoaudit, hook that masks the user, two threads", 0.2),
}
