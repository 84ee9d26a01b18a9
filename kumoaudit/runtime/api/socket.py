"""`kumo.audit.start_socket_listener`: records of applications over a Unix socket (interface section 7)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from kumoaudit.core import options as o
from kumoaudit.core.errors import ConfigError, Problem
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.audit.start_socket_listener"


def mode(value: Any) -> int:
    """the octal digits of a file mode such as '0660'"""
    if type(value) is not str or not re.fullmatch("0?[0-7]{3}", value):
        hint = f"\nwrite it in quotes: '{int(value):04d}'" if isinstance(value, (int, float)) else ""
        raise ValueError(f"expected {mode.__doc__}, got {o.kind(value)}{hint}")
    return int(value, 8)


class SocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`kumo.audit.start_socket_listener{...}`: one Unix socket."""

    path: Annotated[str, o.path]
    mode: Annotated[int, mode] = 0o660


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    taken: dict[str, str] = {}

    def start_socket_listener(at: str, params: Any = None) -> None:
        options = o.read_options(SocketOptions, params, f"{at}: {_CALL}" if at else _CALL)
        options = msgspec.structs.replace(options, path=os.path.abspath(options.path))
        if options.path in taken:
            what = f"{options.path} is already served by the call at {taken[options.path]}"
            raise ConfigError([Problem(f"{at}: {_CALL}", what, "give each socket a path of its own")])
        host.listen("unix", options, at, _CALL)
        taken[options.path] = at

    return {_CALL: Export(start_socket_listener)}
