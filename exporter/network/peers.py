"""Which Docker network a connection of a container goes over, and whether its peer is on that network too.

The local address tells: it is an endpoint's, or at least in a subnet of exactly one of the container's networks (a
second address, or one from an external DHCP), or in that of `docker_gwbridge`. Otherwise the network is not known.
"""

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.inventory.model import Container, Network
from exporter.network.attribution import GATEWAY_BRIDGE

UNKNOWN_NETWORK = ""
ON_NETWORK, EXTERNAL = "network", "external"

_IPV4_BYTES = 4
_LOOPBACK_IPV6 = bytes(15) + b"\x01"
_LOOPBACK_IPV4_FIRST_BYTE = 127


class _Subnet(NamedTuple):
    network_id: str
    address_bytes: int
    mask: int
    prefix: int

    def holds(self, address: bytes) -> bool:
        return len(address) == self.address_bytes and int.from_bytes(address) & self.mask == self.prefix


class Peers:
    """Of one container, as the inventory had it and the networks when this was made."""

    def __init__(self, container: Container, networks: Mapping[str, Network]) -> None:
        self._own: dict[bytes, str] = {}
        self._subnets: list[_Subnet] = []
        self._gateways: set[tuple[str, bytes]] = set()
        for endpoint in container.endpoints:
            for text, prefix_length in (
                (endpoint.ipv4, endpoint.ipv4_prefix_length),
                (endpoint.ipv6, endpoint.ipv6_prefix_length),
            ):
                if address := _packed(text):
                    # Overlay networks have an address space of their own: then the address tells nothing.
                    shared = self._own.get(address, endpoint.network_id) != endpoint.network_id
                    self._own[address] = UNKNOWN_NETWORK if shared else endpoint.network_id
                    self._subnets += _subnets(endpoint.network_id, f"{text}/{prefix_length}")
            if network := networks.get(endpoint.network_id):
                self._add(network)
        for network in networks.values():
            if network.name == GATEWAY_BRIDGE:
                self._add(network)

    def over(self, local: bytes, peer: bytes) -> tuple[str, str] | None:
        """The network's id, empty where it can't be known, and what kind of peer; None for none at all.

        Addresses are packed. A connection of the container with itself goes over no network. The gateway is the
        host, or the way out: an external peer.
        """
        if peer in self._own or peer == local or _is_loopback(local):
            return None
        network_id = self._own.get(local)
        if network_id is None:
            network_id = self._by_subnet(local)
        if _is_link_local(peer):
            return network_id, ON_NETWORK
        if not network_id or (network_id, peer) in self._gateways:
            return network_id, EXTERNAL
        on_network = any(subnet.network_id == network_id and subnet.holds(peer) for subnet in self._subnets)
        return network_id, ON_NETWORK if on_network else EXTERNAL

    def _by_subnet(self, local: bytes) -> str:
        networks = {subnet.network_id for subnet in self._subnets if subnet.holds(local)}
        return networks.pop() if len(networks) == 1 else UNKNOWN_NETWORK

    def _add(self, network: Network) -> None:
        for pool in network.subnets:
            self._subnets += _subnets(network.id, pool.subnet)
            if gateway := _packed(pool.gateway.partition("/")[0]):
                self._gateways.add((network.id, gateway))


def _is_loopback(address: bytes) -> bool:
    if len(address) == _IPV4_BYTES:
        return address[0] == _LOOPBACK_IPV4_FIRST_BYTE
    return address == _LOOPBACK_IPV6


def _is_link_local(address: bytes) -> bool:
    """Of IPv6, fe80::/10: such an address reaches no further than the network."""
    return len(address) != _IPV4_BYTES and address[0] == 0xFE and address[1] & 0xC0 == 0x80  # noqa: PLR2004 - as above


def _packed(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text).packed
    return b""


def _subnets(network_id: str, text: str) -> Iterator[_Subnet]:
    with contextlib.suppress(ValueError):
        subnet = ipaddress.ip_network(text, strict=False)
        if subnet.prefixlen:
            packed = subnet.network_address.packed
            yield _Subnet(network_id, len(packed), int(subnet.netmask), int.from_bytes(packed))
