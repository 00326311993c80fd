"""What the kernel tells of interfaces that leave their containers, on every kind of network and by every end."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from exporter.engine.parse import parse_network
from exporter.inventory.model import Network
from exporter.network import netlink_socket
from exporter.network.counters import InterfaceCounters
from exporter.network.departures import Departures
from exporter.network.devices import Devices
from exporter.network.links import Departure
from exporter.network.netlink import parse_interface_indexes
from exporter.network.netlink_socket import Netlink
from exporter.network.procfs import parse_net_dev
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, execute, remove_containers, run

pytestmark = pytest.mark.engine

GATEWAY_BRIDGE = "docker_gwbridge"


class Listener:
    """Departures in this process, which is in the engine's host network namespace."""

    def __init__(self) -> None:
        self.told: list[Departure[str]] = []
        self.departures: Departures[str] = Departures(self.told.append)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    task = asyncio.get_running_loop().create_task(listener.departures.run())
    try:
        await listener.until(lambda: listener.departures.ready)
        yield listener
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def ip(*arguments: str, namespace_of: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{namespace_of}/ns/net"] if namespace_of else []
    subprocess.run([*enter, "ip", *arguments], check=True)


# --- What the engine does ---------------------------------------------------------------------------------


@pytest.fixture
def parent() -> Iterator[str]:
    """A device for macvlans, which is none of the host's own."""
    ip("link", "add", "netvol0", "type", "veth", "peer", "name", "netvol1")
    for name in ("netvol0", "netvol1"):
        ip("link", "set", name, "up")
    yield "netvol0"
    ip("link", "del", "netvol0")


@pytest.fixture
def swarm(client: docker.DockerClient) -> Iterator[None]:
    client.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1")
    yield
    remove_containers(client)
    client.swarm.leave(force=True)


def end_itself(container: Any, _network: Any) -> None:
    execute(container, "touch /end")


def stop(container: Any, _network: Any) -> None:
    container.stop(timeout=0)


def kill(container: Any, _network: Any) -> None:
    container.kill()


def remove(container: Any, _network: Any) -> None:
    container.remove(force=True)


def disconnect(container: Any, network: Any) -> None:
    network.disconnect(container)


ENDS = (end_itself, stop, kill, remove, disconnect)


def last_counters(container: Any) -> dict[str, InterfaceCounters]:
    """The container's interfaces after something was sent and they were set down: nothing is counted any more."""
    gateway = "$(ip route | grep -o 'via [0-9.]*' | cut -c 5-)"
    execute(container, f"ping -q -c 3 -i 0.02 -W 1 {gateway}")
    execute(container, "ping -q -c 1 -W 1 -I eth0 10.200.200.200")  # asks for nobody's address on this network
    for name in counters_inside(container):
        execute(container, f"ip link set {name} down")
    return counters_inside(container)


def bytes_and_packets(counters: InterfaceCounters) -> tuple[int, int, int, int]:
    """Without drops: what others go on sending to an interface that is down counts as dropped."""
    return (
        counters.receive_bytes,
        counters.receive_packets,
        counters.transmit_bytes,
        counters.transmit_packets,
    )


async def check_all_ends(client: docker.DockerClient, network: Any, rows: list[str]) -> None:
    async with listening() as listener:
        for end in ENDS:
            container = await asyncio.to_thread(
                run,
                client,
                f"{network.name}-{end.__name__}",
                network=network.name,
                cap_add=["NET_ADMIN"],
                command=["sh", "-c", "until [ -e /end ]; do sleep 0.05; done"],
            )
            expected = await asyncio.to_thread(last_counters, container)
            listener.told.clear()
            await asyncio.to_thread(end, container, network)
            told = listener.told
            await listener.until(lambda told=told, expected=expected: len(told) >= len(expected))  # type: ignore[misc]
            assert all(departure.whole and departure.account is None for departure in told)
            counted = sorted(bytes_and_packets(c) for c in expected.values())
            final = sorted(bytes_and_packets(d.gained) for d in told if d.gained is not None and not d.balancer)
            devices = ", ".join(sorted(departure.device for departure in told))
            rows.append(f"{network.name:10} {end.__name__:10} {counted!s:42} {final!s:42} {devices}")
            assert final == counted
            assert counted[-1][3] > 0
            networks = await asyncio.to_thread(inventory_networks, client)
            owners = {networks[Devices(networks).network_of(d.device, d.mac)].name for d in told}
            assert owners - {GATEWAY_BRIDGE} == {network.name}
            with contextlib.suppress(docker.errors.NotFound):
                await asyncio.to_thread(container.remove, force=True)


def inventory_networks(client: docker.DockerClient) -> dict[str, Network]:
    return {each["Id"]: parse_network(each) for each in client.api.networks()}


async def test_final_counters_are_the_container_s_own_last_ones_on_every_kind_of_network(
    client: docker.DockerClient, parent: str, swarm: None
) -> None:
    def pools(*subnets: str) -> IPAMConfig:
        return IPAMConfig(pool_configs=[IPAMPool(subnet=subnet) for subnet in subnets])

    networks = [
        client.networks.create("bridged"),
        client.networks.create("inside", internal=True),
        client.networks.create("six", enable_ipv6=True, ipam=pools("fd00:77::/64", "10.77.0.0/24")),
        client.networks.create("named", options={"com.docker.network.bridge.name": "lan"}),
        client.networks.create("mac", driver="macvlan", options={"parent": parent}, ipam=pools("10.78.0.0/24")),
        client.networks.create("over", driver="overlay", attachable=True, ipam=pools("10.79.0.0/24")),
    ]
    rows = [f"{'network':10} {'end':10} {'the container itself: receive, transmit':42} {'the kernel':42} device"]
    try:
        for network in networks:
            await check_all_ends(client, network, rows)
    finally:
        print("", *rows, sep="\n")
    assert len(rows) == 1 + len(networks) * len(ENDS)


# --- What only other engines or machines do -----------------------------------------------------------------


@pytest.fixture
def namespace() -> Iterator[int]:
    """A process in a network namespace of its own, as a container has."""
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as process:
        own = os.readlink("/proc/self/ns/net")
        eventually(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != own, "a namespace of its own")
        yield process.pid
        process.kill()


@pytest.fixture
def bridge() -> Iterator[str]:
    ip("link", "add", "netvolbr", "type", "bridge")
    ip("addr", "add", "10.80.0.1/24", "dev", "netvolbr")
    ip("link", "set", "netvolbr", "up")
    yield "netvolbr"
    ip("link", "del", "netvolbr")


def make_inside(pid: int, bridge: str) -> None:
    """Make a container's interface as engines from 28.0 on do."""
    ip("link", "add", "netvolveth", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("link", "set", "netvolveth", "master", bridge, "up")
    ip("addr", "add", "10.80.0.2/24", "dev", "eth0", namespace_of=pid)
    ip("link", "set", "eth0", "up", namespace_of=pid)
    ping = ["nsenter", f"--net=/proc/{pid}/ns/net", "busybox", "ping", "-q", "-c", "3", "-i", "0.02", "10.80.0.1"]
    subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)


async def test_an_interface_made_inside_its_namespace_keeps_its_account_although_its_index_changes(
    namespace: int, bridge: str
) -> None:
    process = Path(f"/proc/{namespace}")
    async with listening() as listener:
        await asyncio.to_thread(make_inside, namespace, bridge)
        index = parse_interface_indexes((process / "net/dev_mcast").read_bytes())["eth0"]
        assert await listener.departures.settle()
        with Netlink() as netlink:
            inside = netlink.namespace_of(process)
        assert inside is not None
        assert listener.departures.claim(inside, index, "eth0") == "eth0"
        ip("link", "set", "eth0", "down", namespace_of=namespace)
        expected = parse_net_dev((process / "net/dev").read_bytes())["eth0"]
        ip("link", "set", "eth0", "netns", str(os.getpid()), namespace_of=namespace)
        await listener.until(lambda: bool(listener.told))
        [departure] = listener.told
        assert departure.account == "eth0"
        assert departure.device == bridge
        assert bytes_and_packets(departure.counters) == bytes_and_packets(expected)
        assert bytes_and_packets(departure.counters)[3] > 0
        ip("link", "del", "netvolveth")
        assert await listener.departures.settle()
        assert len(listener.told) == 1


async def test_messages_that_the_kernel_dropped_are_noticed_and_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink_socket, "_EVENT_BUFFER_BYTES", 1)
    monkeypatch.setattr(netlink_socket, "_SO_RCVBUFFORCE", socket.SO_RCVBUF)
    pairs = "".join(f"link add nva{n} type veth peer name nvb{n}\n" for n in range(50))
    async with listening() as listener:
        started = time.monotonic()
        subprocess.run(["ip", "-batch", "-"], input=pairs, text=True, check=True)  # meanwhile nobody reads
        assert await listener.departures.settle()
        assert listener.departures.overruns > 0
        assert listener.departures.links_by_name() == {name: index for index, name in socket.if_nameindex()}
        print(
            f"\n{listener.departures.overruns} overruns healed {time.monotonic() - started:.2f} s after the first"
        )
        remove_pairs = "".join(f"link del nva{n}\n" for n in range(50))
        await asyncio.to_thread(subprocess.run, ["ip", "-batch", "-"], input=remove_pairs, text=True, check=True)
