"""`kumo.start_http_listener` (KumoMTA, section 5.2). The daemon makes listeners; the runtime knows none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumoaudit.access.listener import HttpAsked, ListenerOptions
from kumoaudit.core.errors import ConfigError, EnvironmentFault, Problem
from kumoaudit.core.options import read_options
from kumoaudit.runtime import convert
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.start_http_listener"


def exports(host: PolicyHost) -> dict[str, Export]:
    """Nothing in Python's own name: the function is in lua/kumoaudit/api/listeners.lua, which calls this."""

    def start_http_listener(at: bytes, packed: bytes, certificate: bytes | None, key: bytes | None) -> None:
        place = host.place_of(at)
        with host.refusals.kept():
            values = convert.unpack(packed)
            options = read_options(ListenerOptions, {} if values is None else values, f"{place}: {_CALL}")
            try:
                host.listen("http", HttpAsked(options, certificate, key), place, _CALL)
            except EnvironmentFault as e:
                raise EnvironmentFault(f"{place}: {_CALL}: {e}") from None
            except ValueError as e:
                what, _, fix = str(e).partition("\n")
                raise ConfigError([Problem(f"{place}: {_CALL}", what, fix.strip())]) from None

    host.python[b"start_http_listener"] = host.guard(start_http_listener)
    return {}
