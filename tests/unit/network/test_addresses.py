import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.model import Endpoint, Network, Subnet
from exporter.network.addresses import Pool, pools_of


def network(*subnets: Subnet, **more: str) -> Network:
    return Network("n", more.pop("name", "app"), "bridge", subnets=subnets, **more)  # type: ignore[arg-type]


def endpoints(*addresses: str) -> list[Endpoint]:
    return [
        Endpoint("n", "app", f"e{address}", **({"ipv6": address} if ":" in address else {"ipv4": address}))  # type: ignore[arg-type]
        for address in addresses
    ]


def test_a_subnet_of_eight_gives_six_addresses_of_which_the_gateway_takes_one() -> None:
    assert pools_of(network(Subnet("10.0.0.0/29", gateway="10.0.0.1")), endpoints("10.0.0.2")) == [
        Pool("10.0.0.0/29", 6, 2)
    ]


def test_a_range_gives_its_own_addresses_only() -> None:
    subnet = Subnet("10.0.0.0/24", ip_range="10.0.0.128/29", gateway="10.0.0.1")
    assert pools_of(network(subnet), endpoints("10.0.0.128", "10.0.0.7")) == [Pool("10.0.0.0/24", 8, 1)]


def test_a_subnet_of_two_addresses_gives_both() -> None:
    assert pools_of(network(Subnet("10.0.0.0/31", gateway="10.0.0.0")), []) == [Pool("10.0.0.0/31", 2, 1)]
    assert pools_of(network(Subnet("10.0.0.0/32", gateway="10.0.0.0")), []) == [Pool("10.0.0.0/32", 1, 1)]


def test_a_range_at_the_edge_is_without_network_and_broadcast_address() -> None:
    low = Subnet("10.0.0.0/24", ip_range="10.0.0.0/30", gateway="10.0.0.1")
    high = Subnet("10.0.0.0/24", ip_range="10.0.0.252/30", gateway="10.0.0.1")
    assert pools_of(network(low), []) == [Pool("10.0.0.0/24", 3, 1)]
    assert pools_of(network(high), []) == [Pool("10.0.0.0/24", 3, 0)]


def test_auxiliary_addresses_are_taken() -> None:
    subnet = Subnet("10.0.0.0/29", gateway="10.0.0.1", auxiliary_addresses=("10.0.0.5", "10.0.0.6"))
    assert pools_of(network(subnet), []) == [Pool("10.0.0.0/29", 6, 3)]


def test_an_ipv6_subnet_has_no_broadcast_address_and_may_be_huge() -> None:
    [pool] = pools_of(network(Subnet("fd00::/64", gateway="fd00::1/64")), endpoints("fd00::2"))
    assert pool == Pool("fd00::/64", 2**64 - 1, 2)


def test_both_families_of_a_network_have_their_own_pool() -> None:
    both = network(Subnet("10.0.0.0/29", gateway="10.0.0.1"), Subnet("fd00::/125", gateway="fd00::1"))
    assert [pool.used for pool in pools_of(both, endpoints("10.0.0.2", "fd00::2", "fd00::3"))] == [2, 3]


def test_a_gateway_that_the_engine_does_not_show_takes_the_first_address_of_the_pool() -> None:
    assert pools_of(network(Subnet("10.0.0.0/29")), endpoints("10.0.0.2")) == [Pool("10.0.0.0/29", 6, 2)]
    ranged = Subnet("10.0.0.0/24", ip_range="10.0.0.128/30")
    assert pools_of(network(ranged), []) == [Pool("10.0.0.0/24", 4, 1)]


@pytest.mark.parametrize("more", [{"scope": "swarm"}, {"name": "docker_gwbridge"}, {"ipam_driver": "dhcp"}])
def test_what_this_host_cannot_know_is_not_claimed(more: dict[str, str]) -> None:
    assert pools_of(network(Subnet("10.0.0.0/29"), **more), []) == []


def test_an_unreadable_subnet_is_left_out() -> None:
    assert pools_of(network(Subnet("somewhere")), []) == []


@given(st.integers(0, 32), st.integers(0, 32), st.lists(st.ip_addresses(v=4).map(str)))
def test_no_more_is_taken_than_there_is(prefix: int, more: int, addresses: list[str]) -> None:
    subnet = Subnet(f"10.0.0.0/{prefix}", ip_range=f"10.0.0.0/{max(prefix, more)}", gateway="10.0.0.1")
    for pool in pools_of(network(subnet), endpoints(*addresses)):
        assert 0 <= pool.used <= pool.size
