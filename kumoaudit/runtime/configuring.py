"""What the configuring calls of a policy share: when they are allowed, once or often, and what they open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import ConfigError, Problem, UsageError
from kumoaudit.core.spec import RouteSpec
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.runtime.handlers import Handlers
from kumoaudit.runtime.messages import Sources
from kumoaudit.runtime.refusals import Refusals
from kumoaudit.runtime.shared import Shared
from kumoaudit.segments.place import place_problem


class Configuring(Shared):
    """The part of PolicyHost that its configuring calls use; the thread that runs `pre_init` and `init`."""

    if TYPE_CHECKING:
        pipeline: Pipeline
        validating: bool

    def _begin_configuring(self, sources: Sources, handlers: Handlers) -> None:
        self.phase = ""
        """The event that is being handled while the policy may still configure: `pre_init` or `init`, else ""."""
        self.validated: list[RouteSpec] = []
        """The logs that would have been opened, but for a validation or an earlier problem."""
        self.refusals = Refusals(sources, handlers)

    def once(self, section: str, call: str, at: str) -> None:
        """Refuse what is configured a second time, before it has any effect. Raises UsageError with the first place."""
        if section in self.configured:
            raise UsageError(
                f"{at}: {call} was called already at {self.configured[section]}\n"
                "  a log is configured once; nothing was changed by this call"
            )

    def open_log(self, spec: RouteSpec, call: str) -> None:
        """Open a configured log; in validation only look whether it would open. Raises ConfigError, StorageFault."""
        # After a problem the host will not start: nothing more is opened for it.
        if not self.validating and not self.refusals.found:
            self.pipeline.open_log(spec)
            return
        self.pipeline.check(spec, self.validated)
        if problem := place_problem(self.pipeline.disk, spec.path):
            raise ConfigError([Problem(f"{spec.at}: {call}", *problem)])
        self.validated.append(spec)

    def listen(self, kind: str, options: Any, at: str, call: str) -> None:
        """Add a listener to `listeners`; in validation nothing is made. Raises UsageError outside `init`."""
        if self.phase != "init" or threading.get_ident() != self._config_thread:
            raise UsageError(
                f"{at}: {call} may be called only in the handler of 'init'\n"
                f"  write: kumo.on('init', function() {call} {{ ... }} end)"
            )
        if self.validating:
            if check := self.factories.get(kind):
                check(options)
            return
        if kind not in self.factories:
            raise UsageError(f"{at}: {call}: this host serves nothing\n  run the policy with `kumoaudit run`")
        self.listeners.append(self.factories[kind](options))

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
        """While this lasts, the policy may configure. Raises ConfigError at the end, with all that was refused."""
        self.phase, self._config_thread = event, threading.get_ident()
        try:
            with self.refusals.told(event):
                yield
        finally:
            self.phase = ""
