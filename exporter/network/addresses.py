"""Address pools: how many addresses a network can give to containers, and how many are taken.

The engine's own IPAM hands out the addresses of a subnet, or of its `--ip-range`, but never the network
address, nor for IPv4 the broadcast address, which a subnet of two addresses or one has not (RFC 3021; before
23.0 the engine refuses those); the gateway and auxiliary addresses are taken from the start (moby:
libnetwork/ipams/defaultipam). A fixed `--ip` outside the range takes nothing from the pool.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.inventory.model import Endpoint, Network, Subnet

_POINT_TO_POINT = 2
_GATEWAY_BRIDGE = "docker_gwbridge"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Pool:
    """One address pool, by its subnet in CIDR notation. `size` is without addresses that nobody can get."""

    subnet: str
    size: int
    used: int


def pools_of(network: Network, endpoints: Iterable[Endpoint]) -> list[Pool]:
    """The pools of a network; `endpoints` are those of all containers on it.

    None where this host can't know what is taken: a Swarm network's addresses are given out on all nodes, to
    services and load balancers too; the gateway bridge's to sandboxes that are no endpoints; another IPAM driver
    may do as it likes.
    """
    if network.scope == "swarm" or network.name == _GATEWAY_BRIDGE or network.ipam_driver != "default":
        return []
    taken = {address for endpoint in endpoints for address in (endpoint.ipv4, endpoint.ipv6) if address}
    return [pool for subnet in network.subnets if (pool := _pool(subnet, taken)) is not None]


def _pool(subnet: Subnet, endpoint_addresses: Iterable[str]) -> Pool | None:
    try:
        whole = ipaddress.ip_network(subnet.subnet, strict=False)
        pool = ipaddress.ip_network(subnet.ip_range, strict=False) if subnet.ip_range else whole
    except ValueError:
        return None
    barred: set[Address] = set()
    if whole.version == 6:  # noqa: PLR2004 - IPv6
        barred = {whole.network_address}
    elif whole.num_addresses > _POINT_TO_POINT:
        barred = {whole.network_address, whole.broadcast_address}
    reserved = [_address(text) for text in (subnet.gateway, *subnet.auxiliary_addresses, *endpoint_addresses)]
    used = {address for address in reserved if address is not None and address in pool} - barred
    if not subnet.gateway:
        # Then the engine gave the network the first address of the pool, and does not show it.
        used |= {next((address for address in pool if address not in barred), pool.network_address)} - barred
    size = pool.num_addresses - sum(address in pool for address in barred)
    return Pool(subnet.subnet, max(size, 0), len(used))


def _address(text: str) -> Address | None:
    """An address, also one that is written with a prefix length, as some drivers give the gateway."""
    try:
        return ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return None
