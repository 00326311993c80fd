from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.model import Container, Endpoint, Network, Subnet
from exporter.network.peers import Peers

APP = Network("a", "app", "bridge", subnets=(Subnet("10.0.0.0/24", gateway="10.0.0.1"), Subnet("fd00::/64")))
BACK = Network("b", "back", "bridge", subnets=(Subnet("10.0.1.0/24", gateway="10.0.1.1"),))
GATEWAY_BRIDGE = Network(
    "g", "docker_gwbridge", "bridge", subnets=(Subnet("172.18.0.0/16", gateway="172.18.0.1"),)
)
LAN = Network("l", "lan", "macvlan", ipam_driver="null")
NETWORKS = {network.id: network for network in (APP, BACK, GATEWAY_BRIDGE, LAN)}
WEB = Container(
    "c",
    "web",
    "x",
    "running",
    pid=7,
    endpoints=(
        Endpoint("a", "app", "e1", ipv4="10.0.0.2", ipv4_prefix_length=24, ipv6="fd00::2", ipv6_prefix_length=64),
        Endpoint("b", "back", "e2", ipv4="10.0.1.2", ipv4_prefix_length=24),
        Endpoint("l", "lan", "e3", ipv4="192.168.7.20", ipv4_prefix_length=24),
    ),
)


def over(local: str, peer: str, container: Container = WEB) -> tuple[str, str] | None:
    return Peers(container, NETWORKS).over(ip_address(local).packed, ip_address(peer).packed)


@pytest.mark.parametrize(
    ("local", "peer", "expected"),
    [
        ("10.0.0.2", "10.0.0.9", ("a", "network")),
        ("10.0.1.2", "10.0.1.9", ("b", "network")),
        ("fd00::2", "fd00::9", ("a", "network")),
        ("10.0.0.2", "192.0.2.1", ("a", "external")),
        ("fd00::2", "2001:db8::1", ("a", "external")),
        # Another of the container's networks is not this one.
        ("10.0.0.2", "10.0.1.9", ("a", "external")),
    ],
)
def test_a_connection_is_of_the_network_that_its_local_address_is_on(
    local: str, peer: str, expected: tuple[str, str]
) -> None:
    assert over(local, peer) == expected


def test_the_gateway_is_the_host_or_the_way_out_and_so_external() -> None:
    assert over("10.0.0.2", "10.0.0.1") == ("a", "external")


def test_a_subnet_that_only_the_endpoint_tells_counts_as_the_network_s() -> None:
    assert over("192.168.7.20", "192.168.7.21") == ("l", "network")


def test_a_second_address_in_a_network_s_subnet_is_of_that_network() -> None:
    assert over("10.0.0.250", "10.0.0.9") == ("a", "network")


def test_what_a_swarm_container_sends_outside_is_of_the_gateway_bridge() -> None:
    assert over("172.18.0.3", "192.0.2.1") == ("g", "external")


def test_a_vpn_inside_the_container_is_of_no_known_network() -> None:
    assert over("10.8.0.2", "192.0.2.1") == ("", "external")


def test_a_link_local_peer_is_on_a_network_that_is_not_known() -> None:
    assert over("fe80::1", "fe80::2") == ("", "network")


@pytest.mark.parametrize(
    ("local", "peer"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("10.0.0.2", "10.0.0.2"), ("10.0.0.2", "10.0.1.2")],
)
def test_what_stays_in_the_container_is_no_connection_over_a_network(local: str, peer: str) -> None:
    assert over(local, peer) is None


def test_the_same_address_on_two_networks_tells_nothing() -> None:
    twin = Container("c", "c", "x", "running", endpoints=tuple(Endpoint(n, n, n, ipv4="10.9.0.2") for n in "ab"))
    assert over("10.9.0.2", "192.0.2.1", twin) == ("", "external")


@given(st.text(), st.text(), st.text(), st.binary(min_size=4, max_size=4))
def test_whatever_the_engine_says_of_addresses_nothing_is_raised(
    ipv4: str, subnet: str, gateway: str, peer: bytes
) -> None:
    network = Network("n", "n", "x", subnets=(Subnet(subnet, gateway=gateway),))
    container = Container("c", "c", "x", "running", endpoints=(Endpoint("n", "n", "e", ipv4=ipv4),))
    Peers(container, {"n": network}).over(bytes(4), peer)
