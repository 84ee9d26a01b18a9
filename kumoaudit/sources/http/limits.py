"""How long a client may take, and how many may come (reliability, section 8)."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """Deadlines in seconds and counts of connections. Trusted hosts have no limit of their own, only the sum."""

    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: float = 1024
    idle_s: float = 60.0
    handshake_s: float = 10.0
    connections: int = 1024
    per_address: int = 32


DEFAULT = Limits()


def peer_of(transport: Any) -> str:
    """The address of a connection's other end, or "". An IPv4 client of a listener on `[::]` counts as what it is."""
    peer = transport.get_extra_info("peername")
    if not peer:
        return ""
    address = str(peer[0]).partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def group_of(address: str) -> str:
    """Whom limits count together: an IPv4 address, and the /64 that one IPv6 customer has at least."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return address
