"""PolicyHost: owns the Lua runtime and its gate; loads the policy, calls handlers, runs tasks.

Any thread may call; one at a time is inside Lua. A handler runs in a coroutine, so that `kumo.sleep` gives the gate up.
Errors of Lua come out as `PolicyError` with the policy's file and line; nothing of Python goes in but plain functions
behind refusing attribute handlers, and those stay in local variables of the host's own Lua.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import lupa.luajit21 as lupa

from kumoaudit.core.errors import ConfigError, KumoauditError, PolicyError, Problem, UsageError
from kumoaudit.core.spec import RouteSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime import convert
from kumoaudit.runtime.gate import Gate
from kumoaudit.runtime.handlers import Handlers
from kumoaudit.runtime.literals import mark_known_fields
from kumoaudit.runtime.logfilter import LogFilter
from kumoaudit.runtime.messages import Sources, policy_error, syntax_error
from kumoaudit.runtime.objects import Objects
from kumoaudit.runtime.timers import Timers

API_MODULES = (
    "core",
    "aaa",
    "audit",
    "kumo_time",
    "serde",
    "files",
    "open_files",
    "digest",
    "memoize",
    "diagnostics",
    "secrets",
    "cidr",
    "sqlite",
    "jsonl",
    "strings",
    "regex",
    "uuids",
)
LUA_MODULES = (
    "core",
    "time",
    "serde",
    "secrets",
    "digest",
    "memoize",
    "introspect",
    "cidr",
    "files",
    "sqlite",
    "jsonl",
    "regex",
    "uuids",
)

HANDLER_TIMEOUT_S = 10.0


class Export(NamedTuple):
    """A function for the policy. It gets the place of the call (`policy.lua:12`) and the arguments; with `raw` these
    are bytes, numbers, booleans and None as they are, else plain Python data. Raises KumoauditError or ValueError."""

    function: Callable[..., Any]
    raw: bool = False


class ExitRequested(Exception):
    """The policy called os.exit; `code` is what it asked for."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class PolicyHost:
    """One policy and its runtime."""

    def __init__(
        self,
        policy: str,
        pipeline: Pipeline,
        say: Callable[[str], None],
        *,
        validating: bool = False,
        trusted: bool = False,
    ) -> None:
        """Makes the runtime; reads and runs nothing of the policy yet. *policy* is the path as the user gave it."""
        self.policy_path, self.pipeline, self.say = policy, pipeline, say
        self.validating, self.trusted = validating, trusted
        self.gate = Gate()
        self.handlers = Handlers()
        self.sources = Sources()
        self.handler_timeout_s = HANDLER_TIMEOUT_S
        self.phase = ""
        """The event that is being handled while the policy may still configure: `pre_init` or `init`, else ""."""
        self.validation_has_failed = False
        self.exit_code: int | None = None
        self.stopping = threading.Event()
        self.files: dict[str, bytes] = {}
        """Contents of the policy and of every module it loaded, by path."""
        self.configured: dict[str, str] = {}
        """Sections that may be set once -> the place that did."""
        self.validated: list[RouteSpec] = []
        """The logs that a validation would have opened."""
        self.log_filter = LogFilter.from_environment(os.environ, say)
        """Which of the policy's own diagnostic lines (kumo.log_*) are shown."""
        self.timers = Timers()
        """Latencies that the policy measured (kumo.time.start_timer), by label."""
        self.config_epoch = 0
        """Rises with kumo.bump_config_epoch(); caches made with `invalidate_with_epoch` then forget what they hold."""
        self.builtin_caches: dict[str, Callable[[int], None]] = {}
        """Caches of the host itself that kumo.set_lruttl_cache_capacity may resize: name -> setter."""
        self.objects = Objects()
        """Python objects that the policy holds."""
        self.progress = 0
        """Calls that Lua has made to Python; with the rings' positions this tells work from a loop."""
        self._calls_out = 0
        self._task_events: dict[int, str] = {}
        self._tasks_lock = threading.Lock()
        self._pending_syntax: dict[str, PolicyError] = {}
        self._faults: dict[str, int] = {}
        """Texts of errors of the environment that went into Lua -> exit code, should they come out uncaught."""
        self.counters = (ctypes.c_uint64 * 8)()
        self.lua = lupa.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_refuse_get, _refuse_set),
        )
        self._boot()

    # -- the runtime --------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        lua_dir = str(lua_directory())
        self.lua.execute(
            b"""local dir = ...
            package.path, package.cpath = dir .. '/?.lua', ''
            -- The path of one event is one long trace with many constants; the defaults are made for short ones.
            require('jit.opt').start('maxrecord=16000', 'maxirconst=4000', 'maxtrace=4000', 'maxsnap=2000',
              'maxmcode=32768', 'sizemcode=256',
              -- Hoisting values out of so long a loop leaves it without registers: then it is not compiled at all.
              '-loop')""",
            lua_dir.encode(),
        )
        python: dict[bytes, Callable[..., Any]] = {
            b"on": self._on,
            b"print": self._print,
            b"exit": self._exit,
            b"sleep": self._sleep_blocking,
            b"missing": self._missing,
            b"module": self._module,
            b"syntax_error": self._remember_syntax_error,
        }
        self.python = self.lua.table_from({k: self.guard(f) for k, f in python.items()})
        from kumoaudit.runtime.works import Works

        self.works = Works(self, self.objects)
        directory = os.path.dirname(os.path.abspath(self.policy_path))
        config = self.lua.table_from(
            {
                b"py": self.python,
                b"trusted": self.trusted,
                b"policy_dir": directory.encode(),
                b"lua_dir": lua_dir.encode(),
            }
        )
        from kumoaudit.runtime.events import LuaEvents

        self.events = LuaEvents(self)
        source = (lua_directory() / "kumoaudit" / "boot.lua").read_bytes()
        self.boot = self.lua.compile(source, name=b"@kumoaudit/boot.lua")(config)
        # Fetched once: inside a call from a coroutine, lupa reads table items off the wrong stack.
        self._put, self._export, self._install = (self.boot[k] for k in (b"put", b"export", b"install"))
        self._run_file, self._call, self._step = (self.boot[k] for k in (b"run_file", b"call", b"step"))
        self.events.attach()
        for name in API_MODULES:
            module = import_module(f"kumoaudit.runtime.api.{name}")
            for path, export in module.exports(self).items():
                self.export(path, export)
        for name in LUA_MODULES:
            self._install(name.encode())
        self.put("_VALIDATING_CONFIG", self.validating)

    def export(self, path: str, export: Export) -> None:
        """Make a function callable as *path* (`kumo.time.now`)."""

        most = _most_arguments(export.function)

        def call(at: bytes, *args: Any) -> Any:
            place = self.place_of(at)
            values = args if export.raw else convert.unpack(args[0])
            if len(values) > most:
                raise UsageError(f"{place}: {path}: takes {most:g} argument{'s' * (most != 1)}, got {len(values)}")
            return self.to_lua(export.function(place, *values))

        self._export(path.encode(), self.guard(call), export.raw)

    def place_of(self, at: bytes) -> str:
        """`file:line` of a call as text. A tail call (`return kumo.f()`) leaves no line; then where its handler is."""
        if at:
            return convert.text(at)
        current = self.handlers.current[-1] if self.handlers.current else ""
        places = self.handlers.places(current) if current else []
        return places[0] if places else self.policy_path

    def put(self, path: str, value: object) -> None:
        """Set a plain value in the policy's environment (`kumo.version`)."""
        self._put(path.encode(), self.to_lua(value))

    def to_lua(self, value: Any) -> Any:
        """A result for Lua; tuples become several results."""
        if isinstance(value, tuple):
            return tuple(self.to_lua(v) for v in value)
        if isinstance(value, bytes):
            return value
        return convert.to_lua(self.lua, value)

    @property
    def waits_outside_lua(self) -> bool:
        """Whether the thread that is inside Lua is in a call to Python (which has limits of its own)."""
        return self._calls_out > 0

    def is_task(self, event: str) -> bool:
        """Whether *event* runs as a task (kumo.spawn_task) just now."""
        with self._tasks_lock:
            return event in self._task_events.values()

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """*function* as Lua may call it: answers (True, results...) or (False, text); no exception ever crosses."""

        def call(*args: Any) -> Any:
            self.progress += 1
            self._calls_out += 1
            try:
                return self._attempt(function, args)
            finally:
                self._calls_out -= 1

        return call

    def _attempt(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            result = function(*args)
        except KumoauditError as e:
            if e.exit_code != UsageError.exit_code:
                self._faults[str(e)] = e.exit_code
            return False, _error_text(e)
        except ValueError as e:
            return False, _error_text(e)
        except RecursionError:
            return False, b"the value is nested too deeply"
        except Exception as e:  # noqa: BLE001 - it would cross Lua as an object with all of Python behind it
            self.say(f"internal error in a call from the policy: {type(e).__name__}: {e}")
            if os.environ.get("KUMOAUDIT_DEBUG"):
                sys.excepthook(type(e), e, e.__traceback__)
            return False, f"internal error: {type(e).__name__}: {e}".encode("utf-8", "replace")
        return (True, *result) if isinstance(result, tuple) else (True, result)

    # -- what Lua asks of the host ------------------------------------------------------------------------------

    def _on(self, at: bytes, event: bytes, event_type: bytes, handler_type: bytes) -> None:
        place = convert.text(at)
        if event_type != b"string":
            raise UsageError(f"{place}: kumo.on: the event must be a string, got a {convert.text(event_type)}")
        if handler_type != b"function":
            what = f"the handler of '{convert.text(event)}' must be a function, got {convert.text(handler_type)}"
            raise UsageError(f"{place}: kumo.on: {what}")
        self.handlers.register(place, convert.text(event))

    def _print(self, line: bytes) -> None:
        sys.stdout.write(convert.text(line) + "\n")
        sys.stdout.flush()

    def _exit(self, code: float) -> None:
        self.exit_code = int(code) & 0xFF
        self.stopping.set()

    def _sleep_blocking(self, seconds: float) -> None:
        self.stopping.wait(min(float(seconds), threading.TIMEOUT_MAX))

    def _missing(self, path: bytes) -> bytes | None:
        from kumoaudit.runtime.refused import missing

        text = missing(convert.text(path))
        return text.encode() if text else None

    def _module(self, path: bytes, text: bytes) -> tuple[bytes, bytes]:
        """The name and the text under which a module that the policy requires is loaded."""
        return self._add_source(os.fsdecode(path), text).encode(), mark_known_fields(text)

    def _add_source(self, path: str, raw: bytes) -> str:
        """Remember a file of the policy; returns the name under which Lua and messages know it."""
        shown = path
        base = os.path.dirname(os.path.abspath(self.policy_path))
        if path != self.policy_path:
            shown = os.path.join(os.path.dirname(self.policy_path), os.path.relpath(path, base))
        # Lua shows at most 60 bytes of a chunk's name and would put dots in front of it.
        if len(shown.encode()) > 50:
            shown = os.path.relpath(path, base) if path != self.policy_path else os.path.basename(path)
        self.files[os.path.abspath(path)] = raw
        self.sources.add(shown, raw.decode("utf-8", "replace"))
        return shown

    def _remember_syntax_error(self, shown: bytes, problem: bytes) -> None:
        text = convert.text(problem)
        self._pending_syntax[text] = syntax_error(self.sources, text)

    # -- the policy ---------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read and run the policy file. Raises PolicyError; UsageError when it cannot be read."""
        try:
            raw = Path(self.policy_path).read_bytes()
        except OSError as e:
            raise UsageError(f"{self.policy_path}: {(e.strerror or str(e)).lower()}") from None
        shown = self._add_source(self.policy_path, raw)
        with self._inside("", f"loading {shown}"):
            answer = self._run_file(mark_known_fields(raw), shown.encode())
        if answer[1] == b"syntax":
            raise syntax_error(self.sources, convert.text(answer[2]))
        self._finish("", answer)

    def has(self, event: str) -> bool:
        """Whether the policy has a handler for *event*."""
        return bool(self.handlers.places(event))

    def call(self, event: str, *args: object) -> list[Any]:
        """Run the handlers of *event* to their end on this thread and return their results as plain data.

        Raises PolicyError. A handler that sleeps gives the gate up meanwhile.
        """
        with self._inside(event, f"the handler of '{event}'"):
            answer = self._call(event.encode(), *(self.to_lua(a) for a in args))
        return self._finish(event, answer)

    @contextmanager
    def _inside(self, event: str, what: str) -> Iterator[None]:
        with self.gate.entered(what):
            self.handlers.current.append(event)
            try:
                yield
            except lupa.LuaError as e:
                # Only what happens outside a coroutine comes this way: out of memory, an error in an error.
                raise policy_error(self.sources, convert.text(str(e)) or "Lua ran out of memory") from None
            finally:
                self.handlers.current.pop()

    def _finish(self, event: str, answer: Any) -> list[Any]:
        """Go on with a task until it is done; sleeps and long work happen here, outside the gate."""
        task, state, *rest = answer
        while state in (b"sleep", b"work"):
            if state == b"work":
                outcome = self._attempt(self.works[rest[0]], tuple(rest[1:]))
                with self._inside(event, f"the handler of '{event}'"):
                    state, *rest = self._step(task, *self.works.for_lua(outcome))
                continue
            self.stopping.wait(min(max(0.0, float(rest[0])), threading.TIMEOUT_MAX))
            with self._inside(event, f"the handler of '{event}'"):
                if self.stopping.is_set() and event not in ("shutdown",):
                    raise PolicyError(f"the host is stopping; {self.handlers.describe(event)} was asleep")
                state, *rest = self._step(task)
        if state == b"error":
            self._raise(event, *(convert.text(v) for v in rest))
        results = convert.unpack(rest[0])
        return list(results)

    def _raise(self, event: str, text: str, place: str, traceback: str) -> NoReturn:
        if text in self._pending_syntax:
            raise self._pending_syntax.pop(text)
        handler = self.handlers.describe(event) if event else ""
        raise policy_error(self.sources, text, place, traceback, handler, self._faults.pop(text, UsageError.exit_code))

    # -- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, event: str, args: list[Any], at: str) -> None:
        """Run the handler of *event* beside everything else (kumo.spawn_task); its error is reported and recorded."""
        # A task may record at once: the first log opens here, where this thread is inside Lua and may change its path.
        self.pipeline.start()
        thread = threading.Thread(target=self._task, args=(event, args, at), name=f"task-{event}", daemon=True)
        with self._tasks_lock:
            self._task_events[id(thread)] = event
        thread.start()

    def _task(self, event: str, args: list[Any], at: str) -> None:
        try:
            self.call(event, *args)
        except PolicyError as e:
            if not self.stopping.is_set():
                self.report_handler_error(event, e)
        finally:
            with self._tasks_lock:
                self._task_events.pop(id(threading.current_thread()), None)

    def running_tasks(self) -> int:
        """Tasks that have not ended."""
        with self._tasks_lock:
            return len(self._task_events)

    def report_handler_error(self, event: str, error: PolicyError) -> None:
        """Say and record that a handler failed."""
        self.say(str(error))
        self.pipeline.host("handler_error", error.message, {"handler": event, "message": error.message})

    def once(self, section: str, call: str, at: str) -> None:
        """Refuse what is configured a second time, before it has any effect. Raises UsageError with the first place."""
        if section in self.configured:
            raise UsageError(
                f"{at}: {call} was called already at {self.configured[section]}\n"
                "  a log is configured once; nothing was changed by this call"
            )

    def open_log(self, spec: RouteSpec, call: str) -> None:
        """Open a configured log; in validation only look whether it would open. Raises ConfigError, StorageFault."""
        if not self.validating:
            self.pipeline.open_log(spec)
            return
        for other in self.validated:
            if other.name == spec.name:
                what = f"log {spec.name!r} is configured already at {other.at}"
                raise ConfigError([Problem(f"{spec.at}: {call}", what, "give each log a name of its own")])
        self.pipeline.check(spec)
        if problem := place_problem(spec.path):
            raise ConfigError([Problem(f"{spec.at}: {call}", *problem)])
        self.validated.append(spec)

    def allowed_in_init(self, call: str, at: str) -> None:
        """Refuse a configuration outside `pre_init` and `init`. Raises UsageError."""
        if self.phase not in ("pre_init", "init") or threading.get_ident() != self._config_thread:
            raise UsageError(
                f"{at}: {call} may be called only in the handler of 'pre_init' or 'init'\n"
                f"  write: kumo.on('init', function() {call} {{ ... }} end)"
            )

    _config_thread = 0

    @contextmanager
    def configuring(self, event: str) -> Iterator[None]:
        """While this lasts, the policy may configure."""
        self.phase, self._config_thread = event, threading.get_ident()
        try:
            yield
        finally:
            self.phase = ""


def lua_directory() -> Path:
    """Where the host's own Lua lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_lua"
    return installed if installed.is_dir() else package.parent / "lua"


def place_problem(path: str) -> tuple[str, str] | None:
    """Why a directory could not be used for a log, and what to do, or None; nothing is made."""
    at = path
    while at and not os.path.exists(at):
        at = os.path.dirname(at)
    if not at:
        return None
    if not os.path.isdir(at):
        return f"{at} is not a directory", "choose another path"
    if not os.access(at, os.W_OK | os.X_OK):
        return (
            f"{at} is not writable for uid {os.geteuid()}",
            "choose another directory or give the user write permission",
        )
    return None


def _most_arguments(function: Callable[..., Any]) -> float:
    """How many arguments of the policy an exported function takes (its first is the place of the call)."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & 0x04:  # *args
        return float("inf")
    return float(code.co_argcount - 1)


def _error_text(error: Exception) -> bytes:
    return str(error).encode("utf-8", "backslashreplace")


def _refuse_get(_object: object, _name: object) -> NoReturn:
    raise AttributeError("not available to Lua")


def _refuse_set(_object: object, _name: object, _value: object) -> NoReturn:
    raise AttributeError("not available to Lua")
