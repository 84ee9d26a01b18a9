"""What belongs to the process and not to one runtime: the policies that a reload brings up share it.

At any time one policy is in force. Those before it live on for as long as a handler or task of theirs runs; then their
runtimes are dropped. Whoever holds an older PolicyHost may go on using it: its calls reach the policy in force.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kumoaudit.access.control import AccessControl
from kumoaudit.runtime.logfilter import LogFilter
from kumoaudit.runtime.timers import Timers

if TYPE_CHECKING:
    from kumoaudit.core.protocols import Clock, Listener
    from kumoaudit.runtime.host import PolicyHost
    from kumoaudit.runtime.reload import Reloader

HANDLER_TIMEOUT_S = 10.0


class HostState:
    """One per process (or per host in a test). Any thread; `lock` guards who is in force and who is in use."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.exit_code: int | None = None
        self.handler_timeout_s = HANDLER_TIMEOUT_S
        self.configured: dict[str, str] = {}
        """Sections that may be set once -> the place that did."""
        self.log_filter = LogFilter.from_environment(os.environ, say)
        """Which of the policy's own diagnostic lines (kumo.log_*) are shown."""
        self.timers = Timers()
        """Latencies that the policy measured (kumo.time.start_timer), by label."""
        self.config_epoch = 0
        """Rises with each reload and each kumo.bump_config_epoch(); caches that depend on it then forget."""
        self.on_epoch: list[Callable[[], None]] = []
        """Called when the epoch has risen, on the thread that raised it; for caches that outlive a policy."""
        self.access = AccessControl(clock)
        """Who may do what; `kumo.aaa.*` sets it up."""
        self.on_epoch.append(self.access.forget)
        self.cache_capacities: dict[str, int] = {}
        """What kumo.set_lruttl_cache_capacity set for caches of the host itself."""
        self.listeners: list[Listener] = []
        """What the policy asked to serve, in order; started when `init` is over, stopped before the policy is."""
        self.factories: dict[str, Callable[..., Listener]] = {}
        """Kind of listener -> what makes one of its options: the daemon knows them, the runtime does not."""
        self.globs: tuple[str, ...] = ()
        """Patterns of further files whose change reloads the policy (kumo.set_config_monitor_globs)."""
        self.watch_changed = threading.Event()
        """Set when there is something else to watch."""
        self.reloader: Reloader | None = None
        """Reloads this policy; None where nothing can (validation, scripts, a host without a reloader)."""
        self.generation = 0
        """How many policies have been replaced."""
        self._hosts: list[PolicyHost] = []
        self._left = [0, 0]  # recorded and filtered by runtimes that are gone

    @property
    def current(self) -> PolicyHost:
        """The policy in force."""
        return self._hosts[-1]

    def live(self) -> list[PolicyHost]:
        """Policies whose runtimes are there, oldest first; the last is in force."""
        with self.lock:
            return list(self._hosts)

    def begin(self, host: PolicyHost) -> None:
        """The first policy is in force from its making."""
        self._hosts.append(host)

    def swap(self, new: PolicyHost) -> None:
        """From here on *new* is in force; the policy before it is dropped when nothing of it runs any more."""
        with self.lock:
            old = self._hosts[-1]
            self._hosts.append(new)
            self.generation += 1
            old.is_superseded = True
            is_idle = not old.users
        if is_idle:
            self.drop(old)

    @contextmanager
    def in_force(self, host: PolicyHost) -> Iterator[PolicyHost]:
        """*host*, or the policy that has replaced it; its runtime stays for the block."""
        with self.lock:
            if host.is_superseded:
                host = self._hosts[-1]
            host.users += 1
        try:
            yield host
        finally:
            self.leave(host)

    def enter(self, host: PolicyHost) -> None:
        """Keep the runtime of *host*, also when it is replaced, until `leave`."""
        with self.lock:
            host.users += 1

    def leave(self, host: PolicyHost) -> None:
        """Undo `enter`; the last one drops a policy that has been replaced."""
        with self.lock:
            host.users -= 1
            is_last = host.is_superseded and not host.users
        if is_last:
            self.drop(host)

    def drop(self, host: PolicyHost) -> None:
        """Let go of a runtime in which nothing runs; its counts stay."""
        with self.lock:
            if host not in self._hosts:
                return
            self._hosts.remove(host)
            for i in range(2):
                self._left[i] += int(host.counters[i])
        host.close()

    def recorded(self) -> int:
        """Events born in Lua that at least one log took, under every policy so far."""
        return self._count(0)

    def filtered(self) -> int:
        """Events born in Lua that every log meant for them refused, under every policy so far."""
        return self._count(1)

    def _count(self, i: int) -> int:
        with self.lock:
            return self._left[i] + sum(int(h.counters[i]) for h in self._hosts)

    def raise_epoch(self) -> int:
        """Let caches that depend on the epoch forget what they hold; returns the new epoch."""
        with self.lock:
            self.config_epoch += 1
            epoch = self.config_epoch
        for callback in [*self.on_epoch, *(c for h in self.live() for c in h.on_epoch)]:
            callback()
        return epoch


class Shared:
    """What a PolicyHost shows of the state that it shares, under the names that its users know."""

    shared: HostState

    @property
    def stopping(self) -> threading.Event:
        return self.shared.stopping

    @property
    def configured(self) -> dict[str, str]:
        return self.shared.configured

    @property
    def log_filter(self) -> LogFilter:
        return self.shared.log_filter

    @property
    def listeners(self) -> list[Listener]:
        return self.shared.listeners

    @property
    def factories(self) -> dict[str, Callable[..., Listener]]:
        return self.shared.factories

    @property
    def access(self) -> AccessControl:
        return self.shared.access

    @property
    def timers(self) -> Timers:
        return self.shared.timers

    @property
    def config_epoch(self) -> int:
        return self.shared.config_epoch

    @property
    def exit_code(self) -> int | None:
        return self.shared.exit_code

    @exit_code.setter
    def exit_code(self, code: int | None) -> None:
        self.shared.exit_code = code

    @property
    def handler_timeout_s(self) -> float:
        return self.shared.handler_timeout_s

    @handler_timeout_s.setter
    def handler_timeout_s(self, seconds: float) -> None:
        self.shared.handler_timeout_s = seconds
