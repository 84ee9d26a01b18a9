"""The watchdog: notices a handler of the policy that does not return.

A count hook would never fire in compiled code, and nothing can stop a Lua loop from outside; but another thread does
run meanwhile. It records `handler_stuck`, lets the writers drain, and ends the process for a supervisor to restart.

Work is no loop: `main`, `init`, `pre_init`, loading a file and tasks may take as long as they make progress (an event
recorded, a call of the host). A handler that somebody waits for must return within the limit, whatever it does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from kumoaudit.runtime.host import PolicyHost

_PATIENT = frozenset({"", "main", "init", "pre_init", "shutdown", "validate_config"})


class Watchdog:
    """One thread, from `start` to the end of the process. *stuck(text, handler)* is called on it, once."""

    def __init__(self, host: PolicyHost, stuck: Callable[[str, str], None]) -> None:
        self._host, self._stuck = host, stuck
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()

    def _run(self) -> None:
        watched: dict[PolicyHost, _Seen] = {}
        while not self._stop.wait(max(0.02, min(0.5, self._host.handler_timeout_s / 10))):
            # Policies that a reload has replaced may still have handlers to finish.
            watched = {host: watched.get(host) or _Seen(host) for host in self._host.shared.live()}
            for host, seen in watched.items():
                if self._looks_stuck(host, seen):
                    return

    def _looks_stuck(self, host: PolicyHost, seen: _Seen) -> bool:
        gate = host.gate
        now = host.pipeline.clock.monotonic_ns()
        if not gate.busy_since:
            seen.since = now
            return False
        current = host.handlers.current
        event = current[-1] if current else ""
        is_patient = event in _PATIENT or host.is_task(event)
        mark = (gate.busy_since, self._progress(host) if is_patient else 0)
        if mark != seen.mark:
            seen.mark, seen.since = mark, now
            return False
        limit = host.handler_timeout_s
        if now - seen.since < limit * 1e9 or host.waits_outside_lua:
            return False
        what = gate.what or "the policy"
        places = host.handlers.places(event) if event else []
        where = f"{places[0]}: " if places else ""
        self._stuck(f"{where}{what} has not returned for {limit:g} s", event)
        return True

    def _progress(self, host: PolicyHost) -> int:
        """A number that grows while the policy records events or calls the host."""
        total = host.progress
        for route in host.pipeline.open_routes:
            block, used = route.ring.end()
            total += block * (1 << 30) + used
        return total


class _Seen:
    """What one runtime was doing, and since when (monotonic nanoseconds)."""

    def __init__(self, host: PolicyHost) -> None:
        self.mark: tuple[int, int] = (0, 0)
        self.since = host.pipeline.clock.monotonic_ns()
