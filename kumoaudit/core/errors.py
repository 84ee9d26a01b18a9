"""Every exception of the package, and the problem that most of them carry.

KumoauditError
├── UsageError               exit 2: what the operator wrote cannot be used
│   ├── ConfigError          one or more problems in a configuration
│   ├── PolicyError          the Lua policy failed: syntax, an error in a handler
│   └── PredicateError       a `where` text that cannot be parsed
├── EnvironmentFault         exit 3: the machine says no
│   ├── StorageFault         disk full, read-only, permission, I/O error
│   ├── LogInUse             another host holds this directory
│   └── NoSuchLog            nothing to read at the given place
├── DecodeFault              bytes that are not a record, a frame or a trailer
└── RecordRefused            a route could not take an event and its `on_failure` is `refuse`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: where (file:line or option path), what, and how to mend it."""

    where: str
    what: str
    fix: str = ""

    def text(self) -> str:
        """The problem as printed: `where: what`, the fix on an indented line of its own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.fix}" if self.fix else head


class KumoauditError(Exception):
    """Root of all errors that a user may see. `exit_code` is what the process ends with."""

    exit_code = 2


class UsageError(KumoauditError):
    """Usage, policy or configuration is wrong."""


class ConfigError(UsageError):
    """All problems of one configuration at once; never raised with none. *text* is the message, where lines of the
    policy are shown with it."""

    def __init__(self, problems: Iterable[Problem], text: str = "") -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__(text or "\n".join(p.text() for p in self.problems))


class PolicyError(UsageError):
    """The Lua policy failed. *message* begins with `policy.lua:12: `; *excerpt* is the source line, if known."""

    def __init__(
        self, message: str, *, excerpt: str = "", handler: str = "", traceback: str = "", exit_code: int = 2
    ) -> None:
        self.message = message
        self.excerpt = excerpt
        self.handler = handler
        self.traceback = traceback
        # A call of the policy that fails for the machine's sake (disk, permission) keeps that exit code.
        self.exit_code = exit_code
        parts = [message, *([excerpt] if excerpt else []), *([f"  {handler}"] if handler else [])]
        super().__init__("\n".join(parts))


class PredicateError(UsageError):
    """A predicate text that cannot be understood; names the column and what would be accepted."""


class EnvironmentFault(KumoauditError):
    """The environment does not allow it: disk, socket, permission, a log in use."""

    exit_code = 3


class StorageFault(EnvironmentFault):
    """A file or directory cannot be made, opened or written."""


class LogInUse(EnvironmentFault):
    """Another running host holds the directory."""


class NoSuchLog(EnvironmentFault):
    """There is no log at the given place."""


class DecodeFault(KumoauditError):
    """Bytes that are not a whole record."""


class RecordRefused(KumoauditError):
    """A required route did not take the event; the caller must know (route option `on_failure = 'refuse'`)."""

    exit_code = 3
