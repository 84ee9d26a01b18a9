"""`kumo.audit.*`: native logs and the host's own settings (interface sections 4 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.core.options import read_options
from kumoaudit.dialects.native import HostOptions, NativeDialect
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_LOG, _HOST = "kumo.audit.configure_log", "kumo.audit.configure_host"


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    native = NativeDialect(host.pipeline.data_dir)

    def configure_log(at: str, params: Any = None) -> None:
        host.allowed_in_init(_LOG, at)
        with host.refusals.kept():
            (spec,) = native.translate(params, at)
            host.open_log(spec, _LOG)

    def configure_host(at: str, params: Any = None) -> None:
        host.allowed_in_init(_HOST, at)
        host.once("host", _HOST, at)
        host.configured["host"] = at
        with host.refusals.kept():
            apply(at, read_options(HostOptions, params, f"{at}: {_HOST}"))

    def apply(at: str, opt: HostOptions) -> None:
        if host.pipeline.default is not None and (opt.node or opt.max_event_size != host.pipeline.max_event_bytes):
            what = "an event was recorded or a log opened before"
            fix = "call it first, at the top of the handler of 'pre_init'"
            raise ConfigError([Problem(f"{at}: {_HOST}", what, fix)])
        if opt.node:
            host.pipeline.node = opt.node
        host.pipeline.max_event_bytes = opt.max_event_size
        host.handler_timeout_s = opt.handler_timeout / 1e9
        host.events.install()

    return {_LOG: Export(configure_log), _HOST: Export(configure_host)}
