from collections.abc import Mapping

import pytest

from exporter.inventory.model import Network, Subnet
from exporter.network.devices import Devices, bridge_of, in_host_namespace

BRIDGE_NAME = "com.docker.network.bridge.name"
ID = "3e9efff770361b2c"


def network(driver: str, options: Mapping[str, str] | None = None, *, id_: str = ID, subnet: str = "") -> Network:
    return Network(id_, "x", driver, options=options or {}, subnets=(Subnet(subnet),) if subnet else ())


def devices(*networks: Network) -> Devices:
    return Devices({network.id: network for network in networks})


@pytest.mark.parametrize(
    ("given", "device"),
    [
        (network("bridge"), "br-3e9efff77036"),
        (network("bridge", {BRIDGE_NAME: "docker0"}), "docker0"),
        (network("bridge", {BRIDGE_NAME: "lan"}), "lan"),
        (network("macvlan", {"parent": "eth1.7"}), "eth1.7"),
        (network("macvlan"), "dm-3e9efff77036"),
        (network("ipvlan", {"parent": "eth1"}), "eth1"),
        (network("ipvlan"), "di-3e9efff77036"),
        (network("overlay"), "vx-001001-3e9ef"),
    ],
)
def test_a_network_is_known_by_its_device(given: Network, device: str) -> None:
    assert devices(given, network("bridge", id_="other")).network_of(device) == ID


@pytest.mark.parametrize("device", ["cni0", "", "vx-", "vx-001001-zzzzz", "br-3e9efff77036x"])
def test_a_device_of_none_of_docker_s_networks_tells_none(device: str) -> None:
    assert devices(network("bridge"), network("overlay", id_="abcdef")).network_of(device) == ""


def test_an_overlay_whose_device_is_unknown_is_told_by_the_address_in_the_mac() -> None:
    one = network("overlay", id_="one", subnet="10.7.0.0/24")
    two = network("overlay", id_="two", subnet="10.8.0.0/24")
    assert devices(one, two).network_of("", "02:42:0a:08:00:03") == "two"
    assert devices(one, two).network_of("", "02:42:0a:09:00:03") == ""
    assert devices(one, two).network_of("", "06:42:0a:08:00:03") == ""
    assert devices(one, two).network_of("", "02:42:zz") == ""
    assert devices(one, two).network_of("cni0", "02:42:0a:08:00:03") == ""


def test_two_overlays_that_fit_tell_none() -> None:
    one = network("overlay", id_="abcde1", subnet="10.7.0.0/24")
    two = network("overlay", id_="abcde2", subnet="10.7.0.0/16")
    assert devices(one, two).network_of("", "02:42:0a:07:00:03") == ""
    assert devices(one, two).network_of("vx-001001-abcde") == ""


def test_a_subnet_that_is_none_is_passed_over() -> None:
    assert devices(network("overlay", subnet="nonsense")).network_of("", "02:42:0a:07:00:03") == ""


def test_only_bridge_networks_have_a_bridge() -> None:
    assert bridge_of(network("bridge")) == "br-3e9efff77036"
    assert bridge_of(network("overlay")) == ""


def test_the_host_s_namespace_is_told_by_a_bridge_that_is_nowhere_else() -> None:
    networks = [network("bridge"), network("bridge", {BRIDGE_NAME: "docker0"}, id_="d")]
    assert in_host_namespace(networks, {"br-3e9efff77036"}) is True
    assert in_host_namespace(networks, {"docker0", "eth0"}) is False


def test_an_engine_with_its_default_network_alone_is_told_by_docker0() -> None:
    default = [network("bridge", {BRIDGE_NAME: "docker0"})]
    assert in_host_namespace(default, {"docker0"}) is True
    assert in_host_namespace(default, {"eth0"}) is False


def test_without_bridge_networks_the_namespace_can_not_be_told() -> None:
    assert in_host_namespace([network("host"), network("null")], {"docker0"}) is None
