import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint, Network
from exporter.inventory.visibility import NameFilter, Visibility
from exporter.metrics.page import Format, make_page
from exporter.metrics.runner import CollectorError
from exporter.network.accounting import Reading
from exporter.network.collector import NetworkCollector
from exporter.network.counters import InterfaceCounters
from exporter.network.source import namespace_key


class FakeSource:
    name = "fake"
    tells_indexes = True
    fast = True

    def __init__(self, *, counts_errors: bool = True) -> None:
        self.counts_errors = counts_errors
        self.readings: list[Reading] = []
        self.failure: CollectorError | None = None

    async def read(self, owners: Sequence[Container], inventory: Inventory) -> list[Reading]:
        if self.failure:
            raise self.failure
        return self.readings

    async def close(self) -> None:
        pass


def container(name: str = "web", *networks: str, mode: str = "app", pid: int = 3) -> Container:
    endpoints = tuple(Endpoint(n, n, f"e{n}", ipv4="10.0.0.2", mac_address="02:00") for n in networks or ("net1",))
    return Container(
        f"id-{name}", name, "x", "running", pid=pid, started_at=1.0, network_mode=mode, endpoints=endpoints
    )


@pytest.fixture
def inventory() -> Inventory:
    inventory = Inventory()
    inventory.put_network(
        Network("net1", "app", "bridge", created_at=5.0, options={"com.docker.network.driver.mtu": "1400"})
    )
    inventory.put_network(Network("hostnet", "host", "host"))
    inventory.put_container(container())
    inventory.mark_listed("container")
    inventory.mark_listed("network")
    return inventory


def page(collector: NetworkCollector) -> str:
    return make_page(collector.samples()).in_format(Format.TEXT).decode()


def reading(received: int, **networks: str) -> Reading:
    return Reading(
        namespace_key(container()), {"eth0": InterfaceCounters(received, 1, 2)}, networks, born_watched=True
    )


async def test_traffic_is_told_by_network_name_and_by_container(inventory: Inventory) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    text = page(collector)
    assert 'docker_network_receive_bytes_total{network="app"} 700\n' in text
    assert 'docker_container_network_receive_bytes_total{container="web",network="app"} 700\n' in text
    assert 'docker_network_info{network="app",network_id="net1",driver="bridge"' in text
    assert 'mtu="1400"' in text
    assert 'interface="eth0",ip_address="10.0.0.2"' in text


async def test_an_unattributed_interface_is_in_no_network_s_total_and_is_counted(inventory: Inventory) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700)]
    await collector.poll(source)
    text = page(collector)
    assert 'docker_network_receive_bytes_total{network="app"} 0\n' in text
    assert 'docker_container_network_receive_bytes_total{container="web",network=""} 700\n' in text
    assert "netvol_exporter_unattributed_interfaces 1\n" in text


async def test_the_host_network_counts_containers_and_no_traffic(inventory: Inventory) -> None:
    inventory.put_container(container("hosted", "hostnet", mode="host"))
    collector = NetworkCollector(inventory)
    await collector.poll(FakeSource())
    text = page(collector)
    assert 'docker_network_containers{network="host"} 1\n' in text
    assert 'docker_network_receive_bytes_total{network="host"}' not in text


async def test_errors_that_a_source_cannot_tell_are_absent_and_not_zero(inventory: Inventory) -> None:
    source, collector = FakeSource(counts_errors=False), NetworkCollector(inventory)
    source.readings = [reading(1, eth0="net1")]
    await collector.poll(source)
    assert "_errors_total" not in page(collector)
    assert "packets_dropped_total" in page(collector)


async def test_what_is_gone_is_gone_from_the_page_at_once_and_the_total_stays(inventory: Inventory) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    inventory.remove_container("id-web")
    text = page(collector)
    assert 'container="web"' not in text
    assert 'docker_network_receive_bytes_total{network="app"} 700\n' in text
    inventory.remove_network("net1")
    assert "app" not in page(collector)


async def test_a_renamed_container_shows_its_new_name_with_the_next_poll(inventory: Inventory) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    renamed = container()
    inventory.put_container(
        Container(
            renamed.id,
            "shop",
            "x",
            "running",
            pid=3,
            started_at=1.0,
            network_mode="app",
            endpoints=renamed.endpoints,
        )
    )
    await collector.poll(source)
    text = page(collector)
    assert 'docker_container_network_receive_bytes_total{container="shop",network="app"} 700\n' in text
    assert 'docker_network_receive_bytes_total{network="app"} 700\n' in text
    assert '"web"' not in text


async def test_a_source_that_fails_leaves_totals_and_no_old_counters(inventory: Inventory) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    source.failure = CollectorError("away")
    with pytest.raises(CollectorError):
        await collector.poll(source)
    text = page(collector)
    assert "docker_container_network_receive_bytes_total" not in text
    assert 'docker_network_receive_bytes_total{network="app"} 700\n' in text


def test_before_the_first_inventory_nothing_is_claimed() -> None:
    assert page(NetworkCollector(Inventory())) == ""


async def test_an_excluded_container_still_counts_in_its_network_s_total(inventory: Inventory) -> None:
    visibility = Visibility(containers=NameFilter(exclude=re.compile("web")))
    source, collector = FakeSource(), NetworkCollector(inventory, visibility)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    text = page(collector)
    assert 'docker_network_receive_bytes_total{network="app"} 700\n' in text
    assert 'docker_network_containers{network="app"} 1\n' in text
    assert '"web"' not in text


async def test_an_excluded_network_is_nowhere(inventory: Inventory) -> None:
    visibility = Visibility(networks=NameFilter(exclude=re.compile("app|host")))
    source, collector = FakeSource(), NetworkCollector(inventory, visibility)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    assert '"app"' not in page(collector)
    assert "docker_network_info" not in page(collector)


async def test_networks_that_are_not_known_yet_are_one_series_and_lose_nothing_until_they_are(
    inventory: Inventory,
) -> None:
    """A container can be fetched before its networks are, and another change comes in between."""
    both = container("web", "new1", "new2")
    inventory.put_container(both)
    source, collector = FakeSource(), NetworkCollector(inventory)
    counters = InterfaceCounters(100)
    source.readings = [
        Reading(
            namespace_key(both),
            {"eth0": counters, "eth1": counters, "tun0": counters},
            {"eth0": "new1", "eth1": "new2"},
            born_watched=True,
        )
    ]
    await collector.poll(source)
    assert page(collector).count('docker_container_network_receive_bytes_total{container="web"') == 1
    assert 'docker_container_network_receive_bytes_total{container="web",network=""} 300\n' in page(collector)
    inventory.put_container(container("other"))
    await collector.poll(source)
    inventory.put_network(Network("new1", "late", "bridge"))
    await collector.poll(source)
    text = page(collector)
    assert 'docker_network_receive_bytes_total{network="late"} 100\n' in text
    assert 'docker_container_network_receive_bytes_total{container="web",network="late"} 100\n' in text
    assert 'docker_container_network_receive_bytes_total{container="web",network=""} 200\n' in text


async def test_a_network_that_is_removed_while_its_container_is_read_leaves_no_total_behind(
    inventory: Inventory,
) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    inventory.remove_network("net1")
    await collector.poll(source)
    assert 'docker_container_network_receive_bytes_total{container="web",network=""} 700\n' in page(collector)
    inventory.remove_container("id-web")
    await collector.poll(source)
    assert "_bytes_total" not in page(collector)
    assert collector._accounting.totals == {}


async def test_a_name_that_is_used_again_is_another_container_with_counters_of_its_own(
    inventory: Inventory,
) -> None:
    source, collector = FakeSource(), NetworkCollector(inventory)
    source.readings = [reading(700, eth0="net1")]
    await collector.poll(source)
    again = replace(container(), id="id-again", started_at=2.0)
    inventory.put_container(again)
    assert 'docker_container_network_receive_bytes_total{container="web"' not in page(collector)
    source.readings = [
        Reading(namespace_key(again), {"eth0": InterfaceCounters(5)}, {"eth0": "net1"}, born_watched=True)
    ]
    await collector.poll(source)
    text = page(collector)
    assert 'docker_container_network_receive_bytes_total{container="web",network="app"} 5\n' in text
    assert 'docker_network_receive_bytes_total{network="app"} 705\n' in text
