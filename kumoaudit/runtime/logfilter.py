"""The filter of the policy's diagnostic lines: KumoMTA's `target=level` lists, for `kumo.log_*`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

LEVELS = ("off", "error", "warn", "info", "debug", "trace")

VARIABLE = "KUMOAUDIT_LOG"

# Nearest first: the name under which KumoMTA files lines of a policy, then the names of the daemon.
_TARGETS = ("lua", "kumoaudit", "kumod")


class LogFilter:
    """Which of `kumo.log_error/_warn/_info/_debug` are shown. Any thread; setting is one assignment."""

    def __init__(self, text: str = "info") -> None:
        self._rank = _rank(text)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], say: Callable[[str], None]) -> LogFilter:
        """`$KUMOAUDIT_LOG`, else info (debug with `$KUMOAUDIT_DEBUG`). A bad text is said, not fatal."""
        usual = "debug" if environ.get("KUMOAUDIT_DEBUG") else "info"
        try:
            return cls(environ.get(VARIABLE) or usual)
        except ValueError as e:
            say(f"notice: {VARIABLE}: {e}; '{usual}' is used")
            return cls(usual)

    def set(self, text: str) -> None:
        """Replace the filter. Raises ValueError naming the levels; the filter in force stays then."""
        self._rank = _rank(text)

    def shows(self, level: str) -> bool:
        """Whether a line of *level* (`error`, `warn`, `info`, `debug`) is shown."""
        return LEVELS.index(level) <= self._rank


def _rank(text: str) -> int:
    """The rank of the level that holds for the policy.

    `debug`, `lua=debug`, `kumod=info,lua=debug`: the nearest of lua, kumoaudit, kumod and the bare level counts. Other
    targets are parts of KumoMTA that are not here; they are checked and have no effect.
    """
    found: dict[str, int] = {}
    for directive in text.split(","):
        target, separator, level = (part.strip() for part in directive.rpartition("="))
        if level.lower() not in LEVELS or (separator and not target):
            raise ValueError(
                f"'{directive.strip()}' is no log filter; write a level ({', '.join(LEVELS)}) "
                "or a list such as 'info,lua=debug'"
            )
        found[target] = LEVELS.index(level.lower())
    for target in (*_TARGETS, ""):
        if target in found:
            return found[target]
    return LEVELS.index("info")
