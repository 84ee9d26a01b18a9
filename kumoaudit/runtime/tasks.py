"""Tasks of a policy (kumo.spawn_task): handlers that run beside everything else, each on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from kumoaudit.core.errors import PolicyError
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime.handlers import Handlers
from kumoaudit.runtime.shared import Shared

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost


class Tasks(Shared):
    """The part of PolicyHost that runs tasks. Any thread."""

    if TYPE_CHECKING:
        pipeline: Pipeline
        handlers: Handlers
        say: Callable[[str], None]
        is_candidate: bool

        @property
        def now(self) -> PolicyHost: ...

        def has(self, event: str) -> bool: ...

        def _run(self, event: str, args: Sequence[object]) -> list[Any]: ...

    def _begin_tasks(self) -> None:
        self._waiting_tasks: list[tuple[str, list[Any], str]] = []
        self._task_events: dict[int, str] = {}
        self._tasks_lock = threading.Lock()

    @property
    def _host(self) -> PolicyHost:
        return cast("PolicyHost", self)

    def is_task(self, event: str) -> bool:
        """Whether *event* runs as a task (kumo.spawn_task) just now."""
        with self._tasks_lock:
            return event in self._task_events.values()

    def spawn(self, event: str, args: list[Any], at: str) -> None:
        """Run the handler of *event* beside everything else (kumo.spawn_task); its error is reported and recorded."""
        if self.is_candidate:
            self._waiting_tasks.append((event, args, at))
            return
        if self.now is not self._host and self.has(event):
            self.now.spawn(event, args, at)
            return
        # A task may record at once: the first log opens here, where this thread is inside Lua and may change its path.
        self.pipeline.start()
        self.shared.enter(self._host)
        thread = threading.Thread(target=self._task, args=(event, args, at), name=f"task-{event}", daemon=True)
        with self._tasks_lock:
            self._task_events[id(thread)] = event
        thread.start()

    def _task(self, event: str, args: list[Any], at: str) -> None:
        try:
            self._run(event, args)
        except PolicyError as e:
            if not self.stopping.is_set():
                self.report_handler_error(event, e)
        finally:
            with self._tasks_lock:
                self._task_events.pop(id(threading.current_thread()), None)
            self.shared.leave(self._host)

    def running_tasks(self) -> int:
        """Tasks that have not ended, also those of policies that have been replaced."""
        return sum(len(h._task_events) for h in self.shared.live())

    def report_handler_error(self, event: str, error: PolicyError) -> None:
        """Say and record that a handler failed."""
        self.say(str(error))
        self.pipeline.host("handler_error", error.message, {"handler": event, "message": error.message})
