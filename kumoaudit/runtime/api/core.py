"""`kumo.*` that stands by itself: diagnostics, version, tasks, validation; settings of KumoMTA's context pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit import __version__
from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import kind
from kumoaudit.core.text import printable
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_LEVELS = ("error", "warn", "info", "debug")


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    host.put("kumo.version", f"{__version__}-kumoaudit")

    def logger(level: str) -> Export:
        def log(at: str, line: bytes) -> None:
            if host.log_filter.shows(level):
                # One line, whatever the policy was given to show.
                shown = printable(text(line))
                host.say(f"{at}: {level}: {shown}" if at else f"{level}: {shown}")

        return Export(log, raw=True)

    def spawn_task(at: str, params: Any = None) -> None:
        event, args = _task(at, params)
        if host.validating or host.refusals.found:
            return
        if not (host.has(event) or host.handlers.places(event)):
            raise UsageError(
                f"{at}: kumo.spawn_task: no handler is registered for '{event}'\n"
                f"  register it with kumo.on('{event}', function(...) end)"
            )
        host.spawn(event, args, at)

    def validation_failed(at: str) -> None:
        host.validation_has_failed = True

    out = {f"kumo._log_{level}": logger(level) for level in _LEVELS}
    out |= {
        "kumo.spawn_task": Export(spawn_task),
        "kumo.validation_failed": Export(validation_failed),
    }
    for name in _POOL_SETTINGS:
        out[f"kumo.{name}"] = Export(
            _notice(host, name, "one runtime lives as long as the host; the setting has no effect")
        )
    out["kumo.configure_accounting_db_path"] = Export(
        _notice(host, "configure_accounting_db_path", "it counts mail; the setting has no effect")
    )
    return out


# KumoMTA makes and drops Lua contexts; here one runtime serves for good. Accepted, so that its policies run.
_POOL_SETTINGS = (
    "set_max_lua_context_age",
    "set_max_lua_context_use_count",
    "set_max_spare_lua_contexts",
    "set_lua_gc_on_put",
)


def _notice(host: PolicyHost, name: str, why: str) -> Any:
    def accept(at: str, value: Any = None) -> None:
        host.say(f"{at}: notice: kumo.{name}: {why}")

    return accept


def _task(at: str, params: Any) -> tuple[str, list[Any]]:
    call = f"{at}: kumo.spawn_task"
    if not isinstance(params, dict):
        raise UsageError(f"{call}: expected {{ event_name = '...', args = {{...}} }}, got {kind(params)}")
    unknown = [k for k in params if k not in ("event_name", "args")]
    if unknown:
        raise UsageError(f"{call}: unknown option {unknown[0]!r}\n  options: event_name, args")
    event, args = params.get("event_name"), params.get("args")
    if type(event) is not str:
        raise UsageError(f"{call}: event_name: expected a text, got {kind(event)}")
    if args in (None, {}):
        args = []
    if not isinstance(args, list):
        raise UsageError(f"{call}: args: expected a list, got {kind(args)}")
    return event, args
