"""What `kumo.start_http_listener` takes (KumoMTA, section 5.2)."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from kumoaudit.access.address import canonical_socket, network_set, network_text, parse_network
from kumoaudit.access.criteria import MachineSet
from kumoaudit.core import options as o
from kumoaudit.core.options import kind

MIB = 1 << 20


def _address(value: Any) -> tuple[str, int]:
    """an address with a port such as 127.0.0.1:8000 or [::1]:8000"""
    if type(value) is not str:
        raise ValueError(f"expected an address with a port such as 127.0.0.1:8000, got {kind(value)}")
    host, _, port = canonical_socket(value).rpartition(":")
    return host.strip("[]"), int(port)


def _networks(value: Any) -> MachineSet:
    """a list of addresses and networks"""
    items = [] if value == {} else value
    if not isinstance(items, list):
        raise ValueError(
            f"expected a list of addresses and networks, got {kind(value)}\nwrite {{ '10.0.0.0/8', '::1' }}"
        )
    networks = []
    for n, item in enumerate(items, 1):
        if type(item) is not str:
            raise ValueError(f"entry {n}: expected an address or a network, got {kind(item)}")
        try:
            networks.append(parse_network(item))
        except ValueError as e:
            raise ValueError(f"entry {n}: {e}") from None
    return MachineSet(tuple(network_text(n) for n in network_set(networks)))


def _given(value: Any) -> bool:
    """a keysource"""
    return bool(value)


class ListenerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of KumoMTA's listener. The two of TLS are keysources; here they only say that one is given."""

    listen: Annotated[tuple[str, int], _address] = ("127.0.0.1", 8000)
    hostname: Annotated[str, o.text] = ""
    use_tls: Annotated[bool, o.flag] = False
    tls_certificate: Annotated[bool, _given] = False
    tls_private_key: Annotated[bool, _given] = False
    request_body_limit: Annotated[int, o.whole(1, 1 << 30, "of bytes")] = 2 * MIB
    trusted_hosts: Annotated[MachineSet, _networks] = MachineSet(("127.0.0.1", "::1"))


class HttpAsked(NamedTuple):
    """A listener that a policy asked for: its options, and what the keysources of its TLS options hold (PEM)."""

    options: ListenerOptions
    certificate: bytes | None
    private_key: bytes | None
