"""Which interface of a network namespace belongs to which Docker network, by evidence, never by order.

The order of eth0, eth1, ... follows neither names nor connecting, and is random from engine 26.0 on (it loops
over a Go map: moby daemon/container_operations.go). What does tell: the endpoint's exact IPv6 address, the
connected route of its IPv4 subnet, its MAC address where that can be read. Wrong is worse than unknown: what
no evidence decides stays unattributed.
"""

import ipaddress
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.inventory.model import Endpoint, Network

GATEWAY_BRIDGE = "docker_gwbridge"
"""Swarm gives containers on overlay networks a second interface on this bridge, without an endpoint."""

_CONTAINER_MADE = ("tun", "tap", "wg", "ppp", "tailscale", "zt", "br", "bond", "vlan", "veth", "docker")
_ROUTE_COLUMNS, _ADDRESS_COLUMNS = 9, 6
"""The mask of a route is its eighth column: where there is a ninth, it was not cut off."""
_HEX_IPV4, _HEX_IPV6 = re.compile(rb"[0-9A-Fa-f]{8}"), re.compile(rb"[0-9A-Fa-f]{32}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a network namespace shows: connected IPv4 routes, IPv6 addresses, and MACs where readable.

    `routes` holds (interface, network address, prefix length), `addresses` (interface, IPv6 address),
    `macs` the MAC addresses by interface; all as the namespace has them now.
    """

    routes: frozenset[tuple[str, int, int]] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()
    macs: Mapping[str, str] = field(default_factory=dict)


def parse_routes(text: bytes) -> frozenset[tuple[str, int, int]]:
    """Read the connected IPv4 routes of `/proc/<pid>/net/route`: those without a gateway, with a mask.

    Addresses are printed as the machine's own integers (net/ipv4/fib_trie.c, fib_route_seq_show). Lines that
    don't have the form of a route are passed over, also one that was cut off: half a mask is another mask.
    """
    routes = set()
    for line in text.split(b"\n")[1:]:
        columns = line.split()
        if len(columns) < _ROUTE_COLUMNS:
            continue
        network, gateway, mask = map(_native, (columns[1], columns[2], columns[7]))
        if network is not None and gateway == 0 and mask:
            routes.add((columns[0].decode(errors="surrogateescape"), network, mask.bit_count()))
    return frozenset(routes)


def parse_addresses(text: bytes) -> frozenset[tuple[str, str]]:
    """Read the IPv6 addresses of `/proc/<pid>/net/if_inet6`, in the compressed form that the engine uses.

    The name of the interface comes last: a line without its end is passed over, for half of `eth10` is `eth1`.
    """
    addresses = set()
    for line in text.split(b"\n")[:-1]:
        columns = line.split()
        if len(columns) >= _ADDRESS_COLUMNS and _HEX_IPV6.fullmatch(columns[0]):
            address = ipaddress.IPv6Address(bytes.fromhex(columns[0].decode()))
            addresses.add((columns[5].decode(errors="surrogateescape"), str(address)))
    return frozenset(addresses)


def gateway_subnets(networks: Iterable[Network]) -> dict[tuple[int, int], str]:
    """The IPv4 subnets of `docker_gwbridge`, as (network address, prefix length), with the network's id."""
    found = {}
    for network in networks:
        if network.name == GATEWAY_BRIDGE:
            for pool in network.subnets:
                subnet = _subnet(pool.subnet)
                if subnet:
                    found[subnet] = network.id
    return found


def attribute(
    interfaces: Sequence[str],
    endpoints: Sequence[Endpoint],
    evidence: Evidence,
    gateways: Mapping[tuple[int, int], str],
) -> dict[str, str]:
    """The network's id of each interface that some evidence decides; the others are absent.

    Two interfaces never share an endpoint, and evidence that fits two interfaces decides nothing.
    """
    found: dict[str, str] = {}
    left = list(endpoints)
    for rule in (_by_ipv6, _by_ipv4, _by_mac):
        for endpoint in tuple(left):
            fitting = [name for name in rule(endpoint, evidence) if name in interfaces and name not in found]
            if len(fitting) == 1:
                found[fitting[0]] = endpoint.network_id
                left.remove(endpoint)
    for name, network, prefix_length in sorted(evidence.routes):
        if name in interfaces and name not in found and (network, prefix_length) in gateways:
            found[name] = gateways[network, prefix_length]
    unknown = [name for name in interfaces if name not in found]
    if len(unknown) == 1 and len(left) == 1 and _may_belong(unknown[0], left[0], evidence):
        found[unknown[0]] = left[0].network_id
    return found


def _by_ipv6(endpoint: Endpoint, evidence: Evidence) -> list[str]:
    if not endpoint.ipv6:
        return []
    return [name for name, address in evidence.addresses if address == _compressed(endpoint.ipv6)]


def _by_ipv4(endpoint: Endpoint, evidence: Evidence) -> list[str]:
    subnet = _subnet(f"{endpoint.ipv4}/{endpoint.ipv4_prefix_length}") if endpoint.ipv4 else None
    return sorted({name for name, *route in evidence.routes if tuple(route) == subnet})


def _by_mac(endpoint: Endpoint, evidence: Evidence) -> list[str]:
    if not endpoint.mac_address:
        return []
    return [name for name, mac in evidence.macs.items() if mac == endpoint.mac_address]


def _may_belong(name: str, endpoint: Endpoint, evidence: Evidence) -> bool:
    """Whether the last interface can be the last endpoint's (macvlan with external DHCP, ipvlan L3).

    A failed `network connect` leaves an endpoint without an interface, and a VPN an interface without an
    endpoint; together they would look like a pair.
    """
    if endpoint.interface_name:
        return endpoint.interface_name == name
    mac = evidence.macs.get(name)
    if mac is not None and endpoint.mac_address:
        return mac == endpoint.mac_address
    return not name.startswith(_CONTAINER_MADE)


def _subnet(text: str) -> tuple[int, int] | None:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None
    return int(network.network_address), network.prefixlen


def _compressed(address: str) -> str:
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError:
        return address


def _native(column: bytes) -> int | None:
    """An address of 8 hexadecimal digits, None if it has another form."""
    if not _HEX_IPV4.fullmatch(column):
        return None
    return int.from_bytes(int(column, 16).to_bytes(4, sys.byteorder), "big")
