import asyncio
import itertools
from pathlib import Path

import pytest

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint, Network, Subnet
from exporter.metrics.page import Format, make_page
from exporter.metrics.runner import CollectorError
from exporter.network import rtt
from exporter.network.procfs import ProcfsSource
from exporter.network.rtt import BUCKETS_SECONDS, RttCollector, is_on_network
from exporter.network.sock_diag import Connection

APP = Network("n", "app", "bridge", subnets=(Subnet("10.0.0.0/24", gateway="10.0.0.1"),))
WEB = Container("c", "web", "x", "running", pid=7, endpoints=(Endpoint("n", "app", "e", ipv4="10.0.0.2"),))


class FakeSource:
    """A namespace source whose descriptors are of /dev/null."""

    async def visit(self, read: object, only: set[str] | None = None) -> dict[str, int]:
        if only is None:
            return {"c": 1}
        import os  # noqa: PLC0415 - only here

        return {name: os.open("/dev/null", os.O_RDONLY) for name in only}


class FakeSocket:
    closed = 0

    def close(self) -> None:
        FakeSocket.closed += 1


def collector() -> tuple[RttCollector, Inventory, ProcfsSource]:
    inventory = Inventory()
    inventory.put_network(APP)
    inventory.put_container(WEB)
    return RttCollector(inventory), inventory, FakeSource()  # type: ignore[return-value]


def page(rtt_collector: RttCollector) -> str:
    return make_page(rtt_collector.samples()).in_format(Format.TEXT).decode()


def test_buckets_rise_six_to_a_decade_from_microseconds_to_ten_seconds() -> None:
    assert list(BUCKETS_SECONDS) == sorted(set(BUCKETS_SECONDS))
    assert BUCKETS_SECONDS[0] < 50e-6
    assert BUCKETS_SECONDS[-1] == 10
    assert all(after / before < 1.6 for before, after in itertools.pairwise(BUCKETS_SECONDS))


def test_a_peer_in_the_subnet_is_on_the_network_and_the_gateway_is_not() -> None:
    assert is_on_network(APP, "10.0.0.3")
    assert not is_on_network(APP, "10.0.0.1")
    assert not is_on_network(APP, "192.0.2.1")
    assert not is_on_network(APP, "nonsense")


async def test_active_connections_are_observed_by_network_and_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = [
        Connection("10.0.0.2", "10.0.0.3", 0.02, 0.0),
        Connection("10.0.0.2", "192.0.2.1", 0.1, 0.0),
        Connection("10.0.0.2", "10.0.0.4", 0.5, 99.0),
        Connection("127.0.0.1", "127.0.0.1", 0.0001, 0.0),
    ]
    monkeypatch.setattr(rtt, "open_diag_socket", lambda _: FakeSocket())
    monkeypatch.setattr(rtt, "connections_of", lambda _: iter(connections))
    observed, inventory, source = collector()
    await observed.poll(source)
    await asyncio.sleep(0.01)
    await observed.poll(source)
    text = page(observed)
    assert 'docker_network_tcp_rtt_seconds_count{network="app",peer="network"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_count{network="app",peer="external"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="0.015"} 0\n' in text
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="0.022"} 2\n' in text
    FakeSocket.closed = 0
    inventory.remove_container("c")
    await observed.poll(source)
    assert FakeSocket.closed == 1
    inventory.remove_network("n")
    await observed.poll(source)
    assert page(observed) == ""
    await observed.close()


async def test_without_the_right_to_enter_namespaces_it_says_which_right_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(rtt, "open_diag_socket", refuse)
    observed, _, source = collector()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CollectorError, match="CAP_SYS_ADMIN"):
        await observed.poll(source)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    await observed.close()
