"""PolicyHost: owns the Lua runtime and its gate; loads the policy, calls handlers, runs tasks.

Any thread may call; one at a time is inside Lua. A handler runs in a coroutine, so that `kumo.sleep` gives the gate up.
Errors of Lua come out as `PolicyError` with the policy's file and line; nothing of Python goes in but plain functions
behind refusing attribute handlers, and those stay in local variables of the host's own Lua.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import lupa.luajit21 as lupa

from kumoaudit.access.aclmap import AclMap
from kumoaudit.core.clock import Deadline
from kumoaudit.core.errors import KumoauditError, PolicyError, UsageError
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime import convert
from kumoaudit.runtime.configuring import Configuring
from kumoaudit.runtime.gate import Gate
from kumoaudit.runtime.handlers import Handlers
from kumoaudit.runtime.literals import mark_known_fields
from kumoaudit.runtime.messages import Sources, policy_error, syntax_error
from kumoaudit.runtime.modules import API_MODULES, LUA_MODULES
from kumoaudit.runtime.objects import Objects
from kumoaudit.runtime.shared import HostState
from kumoaudit.runtime.tasks import Tasks
from kumoaudit.runtime.tracked import Tracked, digest_of

# What a PolicyHost lets go of with its runtime.
_OF_LUA = ("lua", "python", "boot", "works", "_put", "_export", "_install", "_run_file", "_call", "_step", "_limit")


class Export(NamedTuple):
    """A function for the policy. It gets the place of the call (`policy.lua:12`) and the arguments; with `raw` these
    are bytes, numbers, booleans and None as they are, else plain Python data. Raises KumoauditError or ValueError."""

    function: Callable[..., Any]
    raw: bool = False


class PolicyHost(Tasks, Configuring):
    """One policy and its runtime. When a reload has replaced it, its calls go to the policy in force."""

    def __init__(
        self,
        policy: str,
        pipeline: Pipeline,
        say: Callable[[str], None],
        *,
        validating: bool = False,
        trusted: bool = False,
        successor_of: PolicyHost | None = None,
    ) -> None:
        """Makes the runtime; reads and runs nothing of the policy yet. *policy* is the path as the user gave it.

        *successor_of* is the policy in force, which this one may replace (`shared.swap`): they share one state.
        """
        self.shared = successor_of.shared if successor_of else HostState(say, pipeline.clock)
        self.is_superseded = False
        self.users = 0
        """Calls and tasks that are on their way in this runtime; guarded by `shared.lock`."""
        self.is_candidate = successor_of is not None
        """Not yet in force: tasks wait until it is."""
        self._deadline: Deadline | None = None
        self._followed = self.shared.generation
        self.on_epoch: list[Callable[[], None]] = []
        """As `shared.on_epoch`, for caches that end with this runtime."""
        self._guards: list[Callable[[], None]] = []
        self.policy_path, self.pipeline, self.say = policy, pipeline, say
        self.validating, self.trusted = validating, trusted
        self.gate = Gate(pipeline.clock)
        self.handlers = Handlers()
        self.sources = Sources()
        self._begin_tasks()
        self._begin_configuring(self.sources, self.handlers)
        self.validation_has_failed = False
        self.files: dict[str, bytes] = {}
        """Contents of the policy and of every module it loaded, by path."""
        self.globs: tuple[str, ...] | None = None
        """Patterns of files to watch that this policy set; None leaves those that are in force."""
        self.tracked = Tracked(self.shared.watch_changed)
        """Further files that it was made from: a change of one reloads the policy."""
        self.builtin_caches: dict[str, Callable[[int], None]] = {}
        """Caches of the host itself that kumo.set_lruttl_cache_capacity may resize: name -> setter."""
        self.objects = Objects()
        """Python objects that the policy holds."""
        self.acl_maps: dict[str, AclMap] = {}
        """ACL maps that were loaded, by the name of their source; `kumoaudit check` looks for what never matches."""
        self.progress = 0
        """Calls that Lua has made to Python; with the rings' positions this tells work from a loop."""
        self._calls_out = 0
        self._pending_syntax: dict[str, PolicyError] = {}
        self._faults: dict[str, int] = {}
        """Texts of errors of the environment that went into Lua -> exit code, should they come out uncaught."""
        self.counters = (ctypes.c_uint64 * 8)()
        pipeline.born_in_lua = lambda: (self.shared.recorded(), self.shared.filtered())
        self.lua = lupa.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_refuse_get, _refuse_set),
        )
        self._boot()
        for name, capacity in self.shared.cache_capacities.items():
            if setter := self.builtin_caches.get(name):
                setter(capacity)
        if successor_of is None:
            self.shared.begin(self)

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
            b"track": self._track,
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
        self._limit = self.boot[b"limit"]
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

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """*function* as Lua may call it: answers (True, results...) or (False, text); no exception ever crosses."""

        def forget() -> None:
            # Python's collector cannot see a reference that Lua holds: a runtime would keep itself alive for ever.
            nonlocal self, function
            del self, function

        self._guards.append(forget)

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
        if sys.stdout is None:
            return
        try:
            sys.stdout.write(convert.text(line) + "\n")
            sys.stdout.flush()
        except OSError as e:
            # Said once; what is printed from now on goes nowhere, also what is still buffered when the process ends.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stdout.fileno())
                os.close(nowhere)
            if not isinstance(e, BrokenPipeError):  # a reader who has seen enough is no news
                self.say(f"notice: print: standard output: {(e.strerror or str(e)).lower()}; it is not used any more")

    def _exit(self, code: float) -> None:
        if self.is_candidate:
            raise UsageError(f"{self.place_of(b'')}: os.exit was called while the policy was tried; it is refused")
        if self.refusals.found:
            return  # the handler ends with its problems, as it would have without this call
        self.exit_code = int(code) & 0xFF
        self.stopping.set()

    def _sleep_blocking(self, seconds: float) -> None:
        self._rest(float(seconds))

    def _rest(self, seconds: float) -> None:
        deadline = Deadline(self.pipeline.clock, seconds)
        while (step := deadline.step_s()) and not self.stopping.wait(step):
            pass

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

    def _track(self, path: bytes, text: bytes) -> None:
        self.tracked.add(os.fsdecode(path), text)

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
        return (self.shared.current if self.is_superseded else self).handlers.has(event)

    @property
    def now(self) -> PolicyHost:
        """This policy, or the one that has replaced it."""
        return self.shared.current if self.is_superseded else self

    def call(self, event: str, *args: object) -> list[Any]:
        """Run the handlers of *event* to their end on this thread and return their results as plain data.

        Raises PolicyError. A handler that sleeps gives the gate up meanwhile. It ends under the policy under which it
        began; one that begins after a reload is the new policy's.
        """
        with self.shared.in_force(self) as host:
            return host._run(event, args)

    def _run(self, event: str, args: Sequence[object]) -> list[Any]:
        with self._inside(event, f"the handler of '{event}'"):
            answer = self._call(event.encode(), *(self.to_lua(a) for a in args))
        return self._finish(event, answer)

    @contextmanager
    def _inside(self, event: str, what: str) -> Iterator[None]:
        with self.gate.entered(what):
            if self.is_superseded and self._followed != self.shared.generation:
                self._followed = self.shared.generation
                self.events.follow(self.shared.current)
            self.handlers.current.append(event)
            try:
                yield
            except lupa.LuaError as e:
                # Only what happens outside a coroutine comes this way: out of memory, an error in an error.
                text, _, traceback = convert.text(str(e)).partition("\nstack traceback:")
                traceback = traceback and f"stack traceback:{traceback}"
                raise policy_error(self.sources, text or "Lua ran out of memory", traceback=traceback) from None
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
            pause = max(0.0, float(rest[0]))
            if self._deadline is not None and pause > self._deadline.left_s():
                limit = f"has not returned for {self.handler_timeout_s:g} s (handler_timeout)"
                raise PolicyError(f"{self.policy_path}: {self.handlers.describe(event) or 'the file'} {limit}")
            self._rest(pause)
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

    # -- reloading ----------------------------------------------------------------------------------------------

    def digest(self) -> str:
        """SHA-256 over the policy and its modules as they were loaded, in the order of their paths."""
        return digest_of(self.files)

    def successor(self) -> PolicyHost:
        """A new runtime for the same policy file, beside this one; nothing is loaded yet."""
        return PolicyHost(self.policy_path, self.pipeline, self.say, trusted=self.trusted, successor_of=self)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """For the block, Lua that does not return within the handlers' time limit raises an error.

        It runs without the JIT compiler meanwhile: compiled code cannot be interrupted.
        """
        self._deadline = Deadline(self.pipeline.clock, self.handler_timeout_s)
        with self.gate.entered("loading"):
            self._limit(self.handler_timeout_s)
        try:
            yield
        finally:
            self._deadline = None
            with self.gate.entered("loading"):
                self._limit(None)

    def take_over(self) -> None:
        """Be the policy in force, and start the tasks that the top level of the file asked for."""
        old = self.shared.current
        callbacks = self.pipeline.on_change
        if old.events.install in callbacks:
            callbacks.remove(old.events.install)
        self.is_candidate = False
        running = {e for h in self.shared.live() for e in list(h._task_events.values())}
        self.shared.swap(self)
        for event, args, at in self._waiting_tasks:
            if event in running:
                self.say(
                    f"{at}: notice: kumo.spawn_task: '{event}' still runs from before the reload; no other is started"
                )
            else:
                self.spawn(event, args, at)
        self._waiting_tasks.clear()

    def close(self) -> None:
        """Drop the runtime; nothing of it runs. Calls still go on to the policy in force."""
        if self.events.install in self.pipeline.on_change:
            self.pipeline.on_change.remove(self.events.install)
        self.events.close()
        for forget in self._guards:
            forget()
        self._guards.clear()
        self.on_epoch.clear()
        self.builtin_caches.clear()
        self.works.close()
        for name in _OF_LUA:
            delattr(self, name)


def lua_directory() -> Path:
    """Where the host's own Lua lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_lua"
    return installed if installed.is_dir() else package.parent / "lua"


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
