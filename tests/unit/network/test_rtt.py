import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint, Network, Subnet
from exporter.inventory.visibility import NameFilter, Visibility
from exporter.metrics.page import Format, make_page
from exporter.metrics.runner import CollectorError
from exporter.network import rtt
from exporter.network.rtt import BUCKETS_MICROSECONDS, RttCollector
from exporter.network.rtt_namespaces import Sight
from exporter.network.sock_diag import Connection, DiagSocket

T = TypeVar("T")
APP = Network("n", "app", "bridge", subnets=(Subnet("10.0.0.0/24", gateway="10.0.0.1"),))


class FakeDiag(DiagSocket):
    """Its connections get new acknowledgements with each walk."""

    def __init__(self, *connections: tuple[str, str, int]) -> None:
        self.connections = connections
        self.error: OSError | None = None
        self.walks = 0
        self.closed = False

    def established(self) -> Iterator[list[Connection]]:
        self.walks += 1
        if self.error is not None:
            raise self.error
        for cookie, (local, peer, microseconds) in enumerate(self.connections):
            yield [Connection(cookie, ip_address(local).packed, ip_address(peer).packed, microseconds, self.walks)]

    def close(self) -> None:
        self.closed = True


class World:
    """Containers with made-up namespaces, and a collector that looks at them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inventory = Inventory()
        self.inventory.put_network(APP)
        self.now = 1000.0
        self.collector = RttCollector(self.inventory, clock=lambda: self.now)
        self._folder = folder
        self._diags: dict[str, DiagSocket | OSError] = {}
        self.refused = False
        self.forbidden: set[str] = set()
        monkeypatch.setattr(rtt, "open_diag_sockets", self._open)

    def add(self, name: str, diag: DiagSocket | OSError) -> None:
        """A container; of one of the same name that was there before it is the next start."""
        folder = self._folder / name
        if folder.exists():
            folder.rename(self._folder / f"{name}-before")
        (folder / "net").mkdir(parents=True)
        (folder / "ns").mkdir()
        (folder / "ns/net").write_text(name)
        endpoints = (Endpoint("n", "app", "e", ipv4="10.0.0.2", ipv4_prefix_length=24),)
        self.inventory.put_container(Container(name, name, "x", "running", pid=7, endpoints=endpoints))
        self._diags[name] = diag

    def remove(self, name: str) -> None:
        self.inventory.remove_container(name)
        del self._diags[name]

    async def visit(self, read: Callable[[int], T]) -> dict[str, T]:
        found = {}
        for name in self._diags:
            directory = os.open(self._folder / name, os.O_RDONLY)
            found[name] = read(directory)
            os.close(directory)
        return {name: Sight(0) if name in self.forbidden else sight for name, sight in found.items()}  # type: ignore[misc] # there is no other T

    async def poll(self, seconds: float = 5.0) -> None:
        self.now += seconds
        for number, name in enumerate(self._diags):
            text = f"Tcp: InSegs CurrEstab\nTcp: {int(self.now * 10) + number} 1\n"
            (self._folder / name / "net/snmp").write_text(text)
        await self.collector.poll(self)

    async def settle(self) -> None:
        """The poll that finds the connections, and the one that takes note of them."""
        await self.poll()
        await self.poll()

    def _open(self, namespaces: Sequence[int]) -> list[DiagSocket | OSError]:
        if self.refused:
            return [PermissionError(errno.EPERM, "Operation not permitted") for _ in namespaces]
        names = [
            os.path.basename(os.path.dirname(os.path.dirname(os.readlink(f"/proc/self/fd/{n}"))))
            for n in namespaces
        ]
        return [self._diags.get(name, FakeDiag()) for name in names]

    @property
    def page(self) -> str:
        return make_page(self.collector.samples()).in_format(Format.TEXT).decode()

    def count(self, peer: str = "network", network: str = "app") -> int:
        series = f'docker_network_tcp_rtt_seconds_count{{network="{network}",peer="{peer}"}} '
        return next(
            (int(line.removeprefix(series)) for line in self.page.splitlines() if line.startswith(series)), 0
        )


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    return World(tmp_path, monkeypatch)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_median_that_is_interpolated_in_a_bucket_is_close_to_the_truth() -> None:
    buckets = list(BUCKETS_MICROSECONDS)
    assert buckets == sorted(set(buckets))
    assert (buckets[0], buckets[-1]) == (50, 10_000_000)
    for low, high in pairwise(buckets):
        if 900 <= low < 280_000:
            assert (high - low) / 2 / low < 0.12
    for milliseconds in (1, 2, 5, 10, 20, 50, 100, 200):
        low, high = next((a, b) for a, b in pairwise(buckets) if a < milliseconds * 1000 <= b)
        assert (low + high) / 2 == pytest.approx(milliseconds * 1000, rel=0.06)


async def test_connections_are_observed_by_network_and_by_where_the_peer_is(world: World) -> None:
    diag = FakeDiag(
        ("10.0.0.2", "10.0.0.3", 20_000),
        ("10.0.0.2", "192.0.2.1", 100_000),
        ("127.0.0.1", "127.0.0.1", 20),
        ("10.8.0.2", "10.8.0.1", 40_000),
    )
    world.add("web", diag)
    await world.settle()
    assert world.page == ""
    await world.poll()
    await world.poll()
    text = world.page
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="0.019"} 0\n' in text
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="0.023"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="10.0"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_bucket{network="app",peer="network",le="+Inf"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_count{network="app",peer="network"} 2\n' in text
    assert 'docker_network_tcp_rtt_seconds_sum{network="app",peer="network"} 0.04\n' in text
    assert (world.count("external"), world.count("external", "")) == (2, 2)
    assert len(re.findall("_count", text)) == 3
    await world.collector.close()


async def test_the_counts_outlive_the_container_and_go_with_the_network(world: World) -> None:
    diag = FakeDiag(("10.0.0.2", "10.0.0.3", 20_000))
    world.add("web", diag)
    await world.settle()
    await world.poll()
    before = descriptors()
    world.remove("web")
    await world.poll()
    assert diag.closed
    assert descriptors() == before - 1
    assert world.count() == 1
    world.inventory.remove_network("n")
    assert world.page == ""
    await world.poll()
    world.inventory.put_network(APP)
    assert world.page == ""
    await world.collector.close()


async def test_a_container_that_was_started_again_is_in_another_namespace(world: World) -> None:
    old, new = FakeDiag(), FakeDiag()
    world.add("web", old)
    await world.settle()
    world.add("web", new)
    await world.settle()
    assert old.closed
    assert new.walks == 1
    await world.collector.close()
    assert new.closed


async def test_a_network_that_is_not_shown_has_no_histogram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    hidden = Visibility(networks=NameFilter(exclude=re.compile("app")))
    world.collector = RttCollector(world.inventory, hidden, lambda: world.now)
    world.add("web", FakeDiag(("10.0.0.2", "10.0.0.3", 20_000)))
    await world.settle()
    await world.poll()
    assert world.page == ""
    await world.collector.close()


async def test_a_round_ends_with_its_time_and_the_next_one_begins_where_it_ended(world: World) -> None:
    class SlowDiag(FakeDiag):
        def established(self) -> Iterator[list[Connection]]:
            world.now += 0.03
            yield from super().established()

    diags = [SlowDiag() for _ in range(4)]
    for number, diag in enumerate(diags):
        world.add(f"c{number}", diag)
    await world.settle()
    assert [diag.walks for diag in diags] == [1, 1, 0, 0]
    await world.poll()
    assert [diag.walks for diag in diags] == [1, 1, 1, 1]
    await world.poll(0.1)
    assert sum(diag.walks for diag in diags) == 5
    await world.collector.close()


async def test_without_the_right_to_enter_namespaces_it_says_which_right_is_needed_also_without_connections(
    world: World,
) -> None:
    world.refused = True
    before = descriptors()
    for _ in range(2):
        with pytest.raises(CollectorError, match="need CAP_SYS_ADMIN"):
            await world.poll()
    world.add("web", FakeDiag())
    with pytest.raises(CollectorError, match="need CAP_SYS_ADMIN"):
        await world.poll()
    world.remove("web")
    world.refused = False
    await world.poll()
    assert descriptors() == before
    await world.collector.close()


async def test_a_namespace_that_may_not_be_opened_fails_the_round_and_the_others_are_observed(
    world: World,
) -> None:
    world.add("web", FakeDiag(("10.0.0.2", "10.0.0.3", 20_000)))
    await world.settle()
    world.forbidden.add("foreign")
    world.add("foreign", FakeDiag())
    with pytest.raises(CollectorError, match="CAP_SYS_PTRACE"):
        await world.poll()
    assert world.count() == 1
    await world.collector.close()


async def test_an_answer_that_fails_is_told_and_a_new_socket_is_asked(world: World) -> None:
    diag = FakeDiag()
    diag.error = FileNotFoundError(errno.ENOENT, "No such file or directory")
    world.add("web", diag)
    await world.poll()
    with pytest.raises(CollectorError, match="tcp_diag"):
        await world.poll()
    assert diag.closed
    diag.error = None
    await world.settle()
    assert diag.walks == 2
    await world.collector.close()
