"""What `kumo.cidr` needs of Python: addresses as texts of bits. The maps are Lua's (lua/kumoaudit/api/cidr.lua)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kumoaudit.core.errors import UsageError
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_MAKE = "kumo.cidr.make_map"


def network_bits(given: str) -> str:
    """The family (4 or 6) and the bits of a network's prefix: `10.0.0.0/8` is `400001010`. Raises ValueError."""
    net = ipaddress.ip_network(given, strict=False)
    mapped = net.network_address.ipv4_mapped if isinstance(net, ipaddress.IPv6Network) else None
    if mapped is not None and net.prefixlen >= 96:
        net = ipaddress.ip_network((mapped, net.prefixlen - 96))
    return f"{net.version}{int(net.network_address):0{net.max_prefixlen}b}"[: net.prefixlen + 1]


def address_bits(given: str) -> str | None:
    """The same of an address, `ip:port` or `[v6]:port`; None for anything else."""
    host = given
    if given.startswith("["):
        host, _, port = given[1:].partition("]")
        if port and not (port[0] == ":" and port[1:].isdecimal()):
            return None
    elif given.count(":") == 1:
        host, _, port = given.partition(":")
        if not port.isdecimal():
            return None
    try:
        return network_bits(str(ipaddress.ip_address(host.partition("%")[0])))
    except ValueError:
        return None


def exports(host: PolicyHost) -> dict[str, Export]:
    """Nothing by itself."""

    def network(at: bytes, kind: bytes, key: bytes) -> bytes:
        place = host.place_of(at)
        if kind != b"string":
            raise UsageError(f"{place}: {_MAKE}: expected a network such as '10.0.0.0/8' as key, got a {text(kind)}")
        try:
            return network_bits(text(key)).encode()
        except ValueError as e:
            raise UsageError(f"{place}: {_MAKE}: {e}\n  write an address or a network such as '10.0.0.0/8'") from None

    def address(key: bytes) -> bytes | None:
        bits = address_bits(text(key))
        return bits.encode() if bits else None

    host.python[b"cidr_network"] = host.guard(network)
    host.python[b"cidr_address"] = host.guard(address)
    return {}
