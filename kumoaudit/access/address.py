"""IP addresses, networks and `ip:port` as KumoMTA reads and prints them: strictly, and in one form only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SOCKET = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)(?:%([0-9]{1,10}))?\]):([0-9]+)")
_PORTED = re.compile(r"([0-9.]+):[0-9]+|\[([^\]]+)\](?::[0-9]+)?")


def address_text(address: Address) -> str:
    """The canonical text: RFC 5952, an IPv4-mapped address as `::ffff:10.0.0.1`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


def parse_address(text: str) -> Address:
    """An address without port, prefix or scope. ValueError says what is wrong, and after a newline how to mend it."""
    try:
        if "%" in text:
            raise ValueError
        return ip_address(text)
    except ValueError:
        fix = ""
        if m := _PORTED.fullmatch(text):
            fix = f"\nwrite the address alone: {m.group(1) or m.group(2)}"
        elif "%" in text:
            fix = f"\nwrite it without the scope: {text.partition('%')[0]}"
        elif "/" in text:
            fix = "\na network goes into MachineSet"
        raise ValueError(f"{text!r} is not an IP address{fix}") from None


@lru_cache(maxsize=4096)
def peer_number(peer: str | None) -> tuple[int, int] | None:
    """(version, number) of a peer address for comparing; None when it is unknown or no address.

    A scope (`fe80::1%2`) is no part of the address. `::ffff:10.0.0.1` is not `10.0.0.1` (KumoMTA, section 3.3).
    """
    if not peer:
        return None
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return address.version, int(address)


@lru_cache(maxsize=256)
def canonical_socket(text: str) -> str:
    """`127.0.0.1:8080` or `[::1]:8000` in its canonical form; what KumoMTA calls LOCAL_ADDR (section 2.4).

    Host names, a missing port, a port over 65535 and octets with leading zeros raise ValueError.
    """
    m = _SOCKET.fullmatch(text)
    if m:
        v4, v6, scope, port = m.groups()
        try:
            number = int(port) if len(port) <= 100 else 65536
            address: Address = IPv4Address(v4) if v4 else IPv6Address(v6)
        except ValueError as e:
            raise ValueError(f"{text!r} is not an address with a port: {e}") from None
        if number > 65535:
            raise ValueError(f"{text!r} is not an address with a port: a port is at most 65535")
        if isinstance(address, IPv4Address):
            return f"{address}:{number}"
        zone = f"%{int(scope)}" if scope and int(scope) else ""
        return f"[{address_text(address)}{zone}]:{number}"
    try:
        address = ip_address(text)
    except ValueError:
        hint = "an IP address, not a host name"
    else:
        bare = address_text(address)
        hint = f"write {f'[{bare}]' if isinstance(address, IPv6Address) else bare}:8000"
    raise ValueError(f"{text!r} is not an address with a port such as 127.0.0.1:8000 or [::1]:8000\n{hint}")


def parse_network(text: str) -> Network:
    """A network (`10.0.0.0/8`) or a single host. Bits behind the prefix raise ValueError with what was meant."""
    head, slash, prefix = text.partition("/")
    if slash and not (prefix.isascii() and prefix.isdigit()):
        raise ValueError(f"{text!r} is not a network\nwrite an address and a number of bits: 10.0.0.0/8")
    if not slash:
        return ip_network(parse_address(head))
    try:
        return ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not a network\nwrite an address and a number of bits: 10.0.0.0/8") from None
        raise ValueError(f"{text!r} has host bits set\ndid you mean {network_text(meant)!r} or {head!r}?") from None


def network_text(network: Network) -> str:
    """A network as KumoMTA prints it: a single host without its prefix."""
    base = address_text(network.network_address)
    return base if network.prefixlen == network.max_prefixlen else f"{base}/{network.prefixlen}"


def network_set(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The order and content of KumoMTA's address tree (crates/cidr-map): IPv4 first, then by address; networks inside
    a wider one are dropped and two halves of one network become it."""
    given = list(networks)
    v4 = [n for n in given if isinstance(n, IPv4Network)]
    v6 = [n for n in given if isinstance(n, IPv6Network)]
    return (*collapse_addresses(v4), *collapse_addresses(v6))
