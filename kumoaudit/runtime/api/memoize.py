"""What `kumo.memoize` needs of Python: its options, the epoch, the sizes of the host's own caches.

The caches themselves are Lua's (lua/kumoaudit/api/memoize.lua): results never leave the runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from kumoaudit.core import options as o
from kumoaudit.core.errors import ConfigError, Problem, UsageError
from kumoaudit.core.units import NS
from kumoaudit.runtime.convert import text, unpack
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.memoize"
_CAPACITY = "kumo.set_lruttl_cache_capacity"

BUILT_IN = ("acl_definition", "acl_check", "http_server_auth")


def cache_name(value: Any) -> str:
    """a name for the cache"""
    if type(value) is not str or not value:
        raise ValueError(f"expected {cache_name.__doc__}, got {o.kind(value)}")
    if value in BUILT_IN:
        raise ValueError(f"'{value}' is a cache of the host itself\nwrite: name = 'user.{value}'")
    return value


class MemoizeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`kumo.memoize(fn, {...})`."""

    name: Annotated[str, cache_name]
    ttl: Annotated[int, o.duration]
    capacity: Annotated[int, o.whole(1, None, "of results")]
    invalidate_with_epoch: Annotated[bool, o.flag] = False
    populate_timeout: Annotated[int, o.duration] = 120 * NS
    retry_on_populate_timeout: Annotated[bool, o.flag] = False
    allow_stale_reads: Annotated[bool, o.flag] = False


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    declared: dict[str, str] = {}

    def memoize_options(at: bytes, kind: bytes, packed: bytes) -> tuple[Any, ...]:
        place = host.place_of(at)
        if kind != b"function":
            raise UsageError(f"{place}: {_CALL}: expected a function, got {text(kind)}")
        opt = o.read_options(MemoizeOptions, unpack(packed), f"{place}: {_CALL}")
        if not -1 << 53 < opt.capacity < 1 << 53:
            raise ConfigError([Problem(f"{place}: {_CALL}", f"capacity: {opt.capacity} is too large")])
        first = declared.setdefault(opt.name, place)
        if first != place:
            host.say(
                f"{place}: notice: {_CALL}: the cache '{opt.name}' is also declared at {first}; "
                "both share their results\n"
                "  give each function a cache of its own name"
            )
        return (
            opt.name.encode(),
            opt.ttl / NS,
            opt.capacity,
            opt.invalidate_with_epoch,
            opt.populate_timeout / NS,
            opt.retry_on_populate_timeout,
            opt.allow_stale_reads,
        )

    def resize(at: bytes, packed: bytes) -> tuple[bytes, int, bool]:
        """Checks the arguments of `set_lruttl_cache_capacity`; the last result says that it is done."""
        where = f"{host.place_of(at)}: {_CAPACITY}"
        given = unpack(packed)
        name, capacity = (*given, None, None)[:2]
        if type(name) is not str:
            raise UsageError(f"{where}: expected the name of a cache, got {o.kind(name)}")
        try:
            count = o.whole(1, (1 << 53) - 1, "of entries")(capacity)
        except ValueError as e:
            raise UsageError(f"{where}: {e}") from None
        setter = host.builtin_caches.get(name)
        if setter:
            setter(count)
            host.shared.cache_capacities[name] = count
        return name.encode(), count, setter is not None

    host.python[b"memoize_options"] = host.guard(memoize_options)
    host.python[b"cache_resize"] = host.guard(resize)
    host.python[b"epoch"] = host.guard(lambda: host.config_epoch)
    return {}
