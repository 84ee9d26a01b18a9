"""The config epoch and the files that raise it: KumoMTA's section 7.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import kind
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.tracked import matching

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_GLOBS = "kumo.set_config_monitor_globs"


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""

    def bump_config_epoch(at: str) -> None:
        # The reload happens on another thread: this one is inside the policy that would be replaced.
        if host.shared.reloader is not None and not host.is_candidate:
            host.shared.reloader.bump(f"kumo.bump_config_epoch at {at}")
        else:
            host.shared.raise_epoch()

    def set_globs(at: str, patterns: Any = None) -> None:
        given = [] if patterns == {} else patterns
        if not isinstance(given, list) or not all(isinstance(p, str) and p and "\0" not in p for p in given):
            raise UsageError(
                f"{at}: {_GLOBS}: expected a list of patterns, got {kind(patterns)}\n"
                f"  write: {_GLOBS} {{ '/etc/kumoaudit/**/*.{{lua,toml}}' }}"
            )
        if host.validating:
            return
        host.globs = tuple(given)
        host.tracked.set_globs(host.globs)
        if not host.is_candidate:
            host.shared.globs = host.globs
            host.shared.watch_changed.set()

    def eval_globs(at: str) -> list[str]:
        return list(matching(host.shared.globs if host.globs is None else host.globs))

    return {
        "kumo.bump_config_epoch": Export(bump_config_epoch),
        _GLOBS: Export(set_globs),
        "kumo.eval_config_monitor_globs": Export(eval_globs),
    }
