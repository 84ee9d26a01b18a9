"""The host as a process: start order, signals, the ready line, stop order.

Start: policy file, `pre_init`, `init` (logs open as they are configured), listeners, ready. Stop: listeners, policy,
rings, sinks; what did not make it is counted, said, and stays in the ring for the next start.
"""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import orjson

from kumoaudit import __version__
from kumoaudit.commands import Commands
from kumoaudit.core.clock import Deadline, SystemClock
from kumoaudit.core.errors import KumoauditError, PolicyError
from kumoaudit.core.event import Event
from kumoaudit.core.predicate import to_text
from kumoaudit.core.text import printable_lines
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime.host import PolicyHost
from kumoaudit.runtime.reload import Reloader
from kumoaudit.runtime.watchdog import Watchdog
from kumoaudit.segments.disk import RealDisk
from kumoaudit.services import HostServices
from kumoaudit.sources.ingest import Ingest
from kumoaudit.sources.unix import SocketListener

if TYPE_CHECKING:
    from kumoaudit.access.listener import HttpAsked
    from kumoaudit.sources.http.guard import Guard
    from kumoaudit.sources.http.listener import HttpListener
    from kumoaudit.sources.http.loop import LoopThread

# A Lua -> Python call beside a busy Python thread waits one interval; the default of 5 ms would be felt.
_SWITCH_INTERVAL_S = 0.0005
_POLICY_STOP_S = 5.0
_LISTENERS_STOP_S = 5.0


def say(text: str) -> None:
    """A message for the operator, on standard error; what it quotes of events and policy acts on no terminal."""
    try:
        sys.stderr.write(printable_lines(text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads, or its disk is full; the records are what counts


class Daemon:
    """One run of a policy. `run` is called on the main thread, which takes the signals and never enters Lua."""

    def __init__(self, policy: str, data_dir: str, *, trusted: bool = False, node: str = "") -> None:
        self.pipeline = Pipeline(data_dir, node or os.uname().nodename, RealDisk(), SystemClock(), say)
        self.reloader = Reloader(PolicyHost(policy, self.pipeline, say, trusted=trusted))
        self._policy = policy
        # What the main thread waits for: a signal's number, or 0 when the policy has ended. A handler of a signal may
        # interrupt anything on that thread, so it only puts: a lock it took could be one that the thread holds.
        self._news: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._signal = 0
        self._is_asked = False
        self.commands = Commands(self.reloader, self.pipeline, policy, self._shut_down, say)
        self.control = self.commands.socket
        self.pipeline.before_release.append(self.control.stop)
        self._error: KumoauditError | None = None
        self._has_crashed = False
        self._closed = threading.Lock()
        self._listening = threading.Lock()
        self._has_stopped = False
        self._has_run = threading.Event()
        self.pipeline.on_first_log.append(self._first_record)
        self._ingest = Ingest(self._emit_many, self.pipeline.clock, lambda: self.pipeline.node)
        self._http: tuple[LoopThread, Guard] | None = None
        self.services = HostServices(self.reloader, self._ingest, self.commands.reopen)
        self.host.factories["unix"] = self._unix_listener
        self.host.factories["http"] = self._http_listener

    def _emit_many(self, events: Sequence[Event], patience_ns: int | None = None) -> list[bool]:
        return self.host.events.emit_many(events, patience_ns)

    def _unix_listener(self, options: Any) -> SocketListener:
        return SocketListener(options.path, options.mode, self._ingest, self.pipeline.clock, say)

    def _http_listener(self, asked: HttpAsked) -> HttpListener:
        # aiohttp takes a third of a second to import: only a policy that listens pays for it.
        from kumoaudit.sources.http.guard import Guard
        from kumoaudit.sources.http.listener import HttpListener
        from kumoaudit.sources.http.loop import LoopThread
        from kumoaudit.sources.http.tls import server_context

        options = asked.options
        context = None
        if options.use_tls:
            context = server_context(asked.certificate, asked.private_key, options.hostname or os.uname().nodename)
        self._http = self._http or (LoopThread(), Guard(self.services))
        listener = HttpListener(options, context, self.services, *self._http)
        listener.bind()
        return listener

    @property
    def host(self) -> PolicyHost:
        """The policy in force."""
        return self.reloader.current

    def run(self, script_args: Sequence[str] | None = None) -> int:
        """Run to the end and return the exit code. With *script_args* it is a script: `pre_init`, then `main`."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        watchdog = Watchdog(self.host, self._stuck)
        watchdog.start()
        worker = threading.Thread(target=self._work, args=(script_args,), name="policy", daemon=True)
        worker.start()
        while self._next() == signal.SIGHUP:
            self.commands.reopen("SIGHUP")
            # On a thread of its own: this one never enters Lua.
            self.reloader.request("SIGHUP")
        self.pipeline.is_stopping = True
        self._stop_listeners()
        self.host.stopping.set()
        # First the policy comes to its end, then its `shutdown` runs; each has its time.
        is_stuck = not (
            self._in_time(self._has_run.wait, self._has_run.is_set)
            and self._in_time(worker.join, lambda: not worker.is_alive())
        )
        watchdog.stop()
        return self._stop(script_args is not None, is_stuck=is_stuck)

    def _in_time(self, wait: Callable[[float], object], is_over: Callable[[], bool]) -> bool:
        deadline = Deadline(self.pipeline.clock, _POLICY_STOP_S)
        while not is_over() and deadline.left_s() and self._signal != -1:
            wait(0.05)
        return is_over()

    # -- the policy's thread ------------------------------------------------------------------------------------

    def _work(self, script_args: Sequence[str] | None) -> None:
        try:
            try:
                self._run_policy(script_args)
            except KumoauditError:
                # Asked to stop: a handler that was cut short is no failure.
                if not self.host.stopping.is_set():
                    raise
            self._has_run.set()
            # Here and nowhere else, so at most once; a policy that called os.exit has had its say.
            if self.host.has("shutdown") and (self._signal or not self.host.stopping.is_set()):
                self.host.call("shutdown")
        except KumoauditError as e:
            self._error = e
        except Exception:
            self._has_crashed = True
            raise
        finally:
            self._has_run.set()
            self._news.put(0)

    def _run_policy(self, script_args: Sequence[str] | None) -> None:
        self.host.load()
        for notice in self.host.handlers.notices:
            say(f"notice: {notice}")
        self._configure("pre_init")
        if script_args is None:
            self._configure("init")
            self.pipeline.start()
            self._listen()
            self._ready()
            self.reloader.begin()
            while (self.host.listeners or self.host.running_tasks()) and not self.host.stopping.is_set():
                self.reloader.watch()
                time.sleep(0.02)
        else:
            self.pipeline.start()
            self.pipeline.finish_left_logs()
            self._record_config()
            self.control.start()
            if not self.host.has("main"):
                raise PolicyError(f"{self._policy}: no handler for 'main'\n  write: kumo.on('main', function(...) end)")
            self.host.call("main", *script_args)

    def _configure(self, event: str) -> None:
        if self.host.has(event):
            with self.host.configuring(event):
                self.host.call(event)

    def _listen(self) -> None:
        """Start what `init` asked for. Raises EnvironmentFault with those before it stopped again."""
        for listener in self.host.listeners:
            with self._listening:
                if self._has_stopped:
                    return
                listener.start()

    def _stop_listeners(self) -> None:
        """Sources go first: what they have read is recorded and answered while policy and logs still work."""
        with self._listening:
            self._has_stopped = True
        deadline = Deadline(self.pipeline.clock, _LISTENERS_STOP_S)
        for listener in self.host.listeners:
            listener.stop(max(0.1, deadline.left_s()))

    def _first_record(self) -> None:
        detail = {
            "pid": os.getpid(),
            "version": __version__,
            "policy": self._policy,
            "data_dir": self.pipeline.data_dir,
        }
        self.pipeline.host("audit_start", f"kumoaudit {__version__} began to record", detail)

    def _ready(self) -> None:
        self.pipeline.finish_left_logs()
        self._record_config()
        self.control.start()
        logs = ", ".join(f"{r.spec.name} ({r.spec.path or r.spec.sink})" for r in self.pipeline.open_routes)
        listeners = ", ".join(listener.name for listener in self.host.listeners) or "none"
        say(f"kumoaudit {__version__} ready: pid {os.getpid()}, listeners {listeners}, logs {logs}")

    def _record_config(self) -> None:
        logs = [
            {
                "name": r.spec.name,
                "to": r.spec.sink,
                "path": r.spec.path,
                "format": r.spec.plan.format,
                "where": to_text(r.spec.plan.where),
                "durability": r.spec.durability,
                "overflow": r.spec.overflow,
                "at": r.spec.at,
            }
            for r in self.pipeline.open_routes
        ]
        effective = hashlib.sha256(orjson.dumps(logs, option=orjson.OPT_SORT_KEYS)).hexdigest()
        detail: dict[str, object] = {
            "policy": self._policy,
            "policy_sha256": self.host.digest(),
            "configuration_sha256": effective,
            "logs": logs,
        }
        self.pipeline.host("audit_config", "configuration in force", detail)

    # -- signals ------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            # A second time: stop now, count what is left.
            self._signal = -1 if self._signal else number
        self._news.put(number)

    def _shut_down(self) -> None:
        """As SIGTERM; a second time hurries."""
        self._is_asked = True
        self._on_signal(signal.SIGTERM, None)

    # -- the end ------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        # In short steps, so that a signal is seen at once.
        while True:
            try:
                return self._news.get(timeout=0.2)
            except queue.Empty:
                continue

    def recorded(self) -> int:
        """Events that at least one log took, the host's own apart."""
        return self.host.shared.recorded() + self.pipeline.totals.recorded

    def _stop(self, is_script: bool, *, is_stuck: bool) -> int:
        if not self._closed.acquire(blocking=False):
            threading.Event().wait()  # the watchdog is ending the process
        code = self._report()
        left: dict[str, int] = {}
        if self.pipeline.default is not None:
            reason = "error" if self._error else "done"
            if self._signal > 0:
                reason = "shutdown" if self._is_asked else signal.Signals(self._signal).name
            self.pipeline.host("audit_stop", f"the host stops: {reason}", self._counts(reason))
            left = self.pipeline.close(is_hurried=lambda: self._signal == -1)
        for name, count in left.items():
            say(f"log '{name}': {count} records stay in the ring and are written at the next start")
        if self._error is None and self.pipeline.default is not None and not self._signal and not is_script:
            say(self._summary())
        if is_stuck:
            say("a handler of the policy did not return; the process ends without it")
            flush_and_exit(3)
        return 3 if left and not code else code

    def _report(self) -> int:
        if self._error is None:
            return 3 if self._has_crashed else self.host.exit_code or 0
        say(str(self._error))
        if isinstance(self._error, PolicyError) and os.environ.get("KUMOAUDIT_DEBUG"):
            say(self._error.traceback)
        return 1 if isinstance(self._error, PolicyError) and self._is_main_error() else self._error.exit_code

    def _is_main_error(self) -> bool:
        return "'main'" in str(getattr(self._error, "handler", ""))

    def _counts(self, reason: str) -> dict[str, object]:
        dropped = sum(r.writer.dropped for r in self.pipeline.open_routes)
        filtered = self.host.shared.filtered() + self.pipeline.totals.filtered
        return {"reason": reason, "recorded": self.recorded(), "filtered": filtered, "dropped": dropped}

    def _summary(self) -> str:
        n = self.recorded()
        place = os.path.relpath(self.pipeline.data_dir)
        option = (
            ""
            if place == "kumoaudit-data"
            else f" --data-dir {place if len(place) < len(self.pipeline.data_dir) else self.pipeline.data_dir}"
        )
        return (
            f"{n} event{'s' if n != 1 else ''} recorded in {self.pipeline.data_dir}; see them: kumoaudit query{option}"
        )

    def _stuck(self, text: str, handler: str) -> None:
        """Called by the watchdog: record it, drain, end the process for its supervisor to restart."""
        if not self._closed.acquire(blocking=False):
            return
        # Lua is lost: its path must not be made anew when the first log opens only now.
        self.pipeline.on_change.clear()
        say(f"{text}\n  a loop without end? the host drains its logs and stops (handler_timeout)")
        try:
            self.pipeline.host("handler_stuck", text, {"handler": handler, "seconds": self.host.handler_timeout_s})
            self.pipeline.host("audit_stop", "the host stops: handler_stuck", self._counts("handler_stuck"))
            self.pipeline.close(is_hurried=lambda: self._signal == -1)
        except (KumoauditError, OSError) as e:
            say(str(e))
        finally:
            # Whatever happens here: the main thread waits for this end.
            flush_and_exit(3)


def flush_and_exit(code: int) -> None:
    """End the process although a thread is lost inside Lua; what was printed is kept."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)
