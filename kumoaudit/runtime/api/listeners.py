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

    def start_http_listener(
        at: bytes, packed: bytes, certificate: bytes | None, key: bytes | None, problems: bytes
    ) -> None:
        place = host.place_of(at)
        with host.refusals.kept():
            options = _options(f"{place}: {_CALL}", convert.unpack(packed), convert.unpack(problems))
            try:
                host.listen("http", HttpAsked(options, certificate, key), place, _CALL)
            except EnvironmentFault as e:
                raise EnvironmentFault(f"{place}: {_CALL}: {e}") from None
            except ValueError as e:
                what, _, fix = str(e).partition("\n")
                raise ConfigError([Problem(f"{place}: {_CALL}", what, fix.strip())]) from None

    host.python[b"start_http_listener"] = host.guard(start_http_listener)
    return {}


def _options(where: str, values: object, texts: list[str]) -> ListenerOptions:
    """The options, or everything that is wrong with them at once. *texts* is what is wrong with the keysources."""
    problems: list[Problem] = []
    options = ListenerOptions()
    try:
        options = read_options(ListenerOptions, {} if values is None else values, where)
    except ConfigError as e:
        problems += e.problems
    for text in texts:
        what, _, fix = text.partition("\n")
        problems.append(Problem("", what, fix.strip()))
    given = [name for name in ("tls_certificate", "tls_private_key") if getattr(options, name)]
    if given and not options.use_tls:
        problems.append(Problem(where, f"{given[0]} is given and use_tls is not", "add use_tls = true"))
    if given == ["tls_private_key"]:
        problems.append(Problem(where, "tls_private_key is given and tls_certificate is not", "give both, or neither"))
    if problems:
        raise ConfigError(problems)
    return options
