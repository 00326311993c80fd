from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.model import Endpoint, Network, Subnet
from exporter.network.attribution import Evidence, attribute, gateway_subnets, parse_addresses, parse_routes

FIXTURES = Path(__file__).parent / "fixtures"


def endpoint(network: str, ipv4: str = "", prefix: int = 16, **more: str) -> Endpoint:
    return Endpoint(network, network, f"e-{network}", ipv4=ipv4, ipv4_prefix_length=prefix, **more)  # type: ignore[arg-type]


def real_evidence() -> Evidence:
    """A container of engine 20.10 that was on n1, then left and joined n6: eth1 and eth2."""
    return Evidence(
        parse_routes((FIXTURES / "multi_homed_route.txt").read_bytes()),
        parse_addresses((FIXTURES / "multi_homed_if_inet6.txt").read_bytes()),
    )


N1 = endpoint("n1", "172.18.0.2")
N6 = endpoint("n6", "172.30.0.129", 24, ipv6="fd00:1::2")


def test_a_multi_homed_container_of_a_real_engine_is_attributed() -> None:
    assert attribute(["eth1", "eth2"], [N6, N1], real_evidence(), {}) == {"eth1": "n1", "eth2": "n6"}


def test_the_order_of_interfaces_and_endpoints_does_not_matter() -> None:
    assert attribute(["eth2", "eth1"], [N1, N6], real_evidence(), {}) == {"eth1": "n1", "eth2": "n6"}


def test_an_interface_of_a_vpn_is_not_attributed() -> None:
    evidence = Evidence(frozenset({("eth0", 0xAC120000, 16), ("tun0", 0x0A080000, 24)}))
    assert attribute(["eth0", "tun0"], [N1], evidence, {}) == {"eth0": "n1"}


def test_an_endpoint_without_interface_is_not_paired_with_an_interface_without_endpoint() -> None:
    evidence = Evidence(frozenset({("eth0", 0xAC120000, 16), ("tun0", 0x0A080000, 24)}))
    failed_connect = endpoint("n9", "172.25.0.2")
    assert attribute(["eth0", "tun0"], [N1, failed_connect], evidence, {}) == {"eth0": "n1"}


def test_the_last_interface_belongs_to_the_last_endpoint_when_addresses_come_from_elsewhere() -> None:
    evidence = Evidence(frozenset({("eth0", 0xC0A80500, 24)}))
    assert attribute(["eth0"], [endpoint("macvlan", "10.0.0.2")], evidence, {}) == {"eth0": "macvlan"}


def test_a_mac_address_that_differs_forbids_pairing_the_last_with_the_last() -> None:
    evidence = Evidence(macs={"eth0": "02:00:00:00:00:01"})
    assert attribute(["eth0"], [endpoint("n1", "10.0.0.2", mac_address="02:00:00:00:00:02")], evidence, {}) == {}


def test_a_mac_address_decides_where_routes_do_not() -> None:
    evidence = Evidence(macs={"eth0": "02:00:00:00:00:01", "eth1": "02:00:00:00:00:02"})
    endpoints = [endpoint("a", mac_address="02:00:00:00:00:02"), endpoint("b", mac_address="02:00:00:00:00:01")]
    assert attribute(["eth0", "eth1"], endpoints, evidence, {}) == {"eth0": "b", "eth1": "a"}


def test_a_route_on_two_interfaces_decides_nothing() -> None:
    evidence = Evidence(frozenset({("eth0", 0xAC120000, 16), ("eth1", 0xAC120000, 16)}))
    assert attribute(["eth0", "eth1"], [N1], evidence, {}) == {}


def test_ipvlan_is_told_by_its_route_though_all_interfaces_share_the_parent_s_mac() -> None:
    routes = parse_routes(
        b"Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        b"eth0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n"
        b"eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
        b"eth1 0002A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    )
    evidence = Evidence(routes, macs={"eth0": "02:42:00:00:00:01", "eth1": "02:42:00:00:00:01"})
    endpoints = [endpoint("l3", "192.168.2.2", 24), endpoint("l2", "192.168.1.2", 24)]
    assert attribute(["eth0", "eth1"], endpoints, evidence, {}) == {"eth0": "l2", "eth1": "l3"}


def test_an_ipv6_only_endpoint_is_attributed_by_its_address() -> None:
    evidence = Evidence(addresses=frozenset({("eth0", "fd00::2"), ("eth1", "fd01::2")}))
    assert attribute(["eth0", "eth1"], [endpoint("six", ipv6="fd01::2")], evidence, {}) == {"eth1": "six"}


def test_the_gateway_bridge_of_swarm_is_told_by_its_subnet_although_it_has_no_endpoint() -> None:
    gateways = gateway_subnets(
        [
            Network("gw", "docker_gwbridge", "bridge", subnets=(Subnet("172.20.0.0/16"),)),
            Network("x", "x", "bridge"),
        ]
    )
    evidence = Evidence(frozenset({("eth0", 0x0A000100, 24), ("eth1", 0xAC140000, 16)}))
    overlay = endpoint("ov", "10.0.1.3", 24)
    assert attribute(["eth0", "eth1"], [overlay], evidence, gateways) == {"eth0": "ov", "eth1": "gw"}


def test_a_name_that_the_operator_chose_pairs_the_last_with_the_last() -> None:
    assert attribute(["lan0"], [endpoint("n", interface_name="lan0")], Evidence(), {}) == {"lan0": "n"}
    assert attribute(["lan1"], [endpoint("n", interface_name="lan0")], Evidence(), {}) == {}


@given(st.binary())
def test_route_and_address_files_of_any_form_raise_nothing(text: bytes) -> None:
    parse_routes(text)
    parse_addresses(text)


@given(st.lists(st.sampled_from(["eth0", "eth1", "eth2", "tun0"]), unique=True), st.data())
def test_no_two_interfaces_share_an_endpoint(interfaces: list[str], data: st.DataObject) -> None:
    routes = data.draw(
        st.frozensets(
            st.tuples(
                st.sampled_from(["eth0", "eth1", "eth2", "tun0"]),
                st.sampled_from([0xAC120000, 0xAC130000]),
                st.just(16),
            )
        )
    )
    endpoints = [N1, endpoint("n2", "172.19.0.5")]
    found = attribute(interfaces, endpoints, Evidence(routes), {})
    assert len(set(found.values())) == len(found)
    assert found.keys() <= set(interfaces)


def test_half_a_line_is_no_evidence() -> None:
    route = b"h\neth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    assert {parse_routes(route[:end]) for end in range(len(route))} == {frozenset(), parse_routes(route)}
    address = b"fd000001000000000000000000000002 05 40 00 80    eth10\n"
    assert {parse_addresses(address[:end]) for end in range(len(address))} == {frozenset()}
    assert parse_addresses(address) == {("eth10", "fd00:1::2")}
