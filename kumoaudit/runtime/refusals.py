"""What the configuring calls of a handler refused: kept while the handler goes on, told together when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kumoaudit.core.errors import ConfigError, PolicyError, Problem
from kumoaudit.runtime.handlers import Handlers
from kumoaudit.runtime.messages import Sources, policy_error

# How os.exit leaves the handler (lua/kumoaudit/sandbox.lua).
_EXIT = "os.exit: the host is stopping"


class Refusals:
    """The problems of the handler that is configuring. The thread that is inside Lua."""

    def __init__(self, sources: Sources, handlers: Handlers) -> None:
        self._sources, self._handlers = sources, handlers
        self.found: list[ConfigError] = []
        """One for each call that was refused, in their order."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around a configuring call: its ConfigError is kept, and to the policy the call returns as if done."""
        try:
            yield
        except ConfigError as e:
            self.found.append(e)

    @contextmanager
    def told(self, event: str) -> Iterator[None]:
        """Around the handler of *event*. Raises one ConfigError with all that was kept; an error of the handler's own
        comes last in it. Without refused calls that error passes as it is."""
        self.found.clear()
        failed: PolicyError | None = None
        try:
            yield
        except PolicyError as e:
            if not self.found:
                raise
            failed = e
        if not self.found:
            return
        found, self.found = self.found, []
        problems = [p for e in found for p in e.problems]
        texts = [str(policy_error(self._sources, str(e))) for e in found]
        if failed and failed.message.find(_EXIT) < 0:
            problems.append(Problem("", failed.message))
            texts.append(str(failed))
        else:
            texts.append(f"  {self._handlers.describe(event)}")
        raise ConfigError(problems, text="\n".join(texts))
