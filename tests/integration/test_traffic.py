"""The main promise: traffic by network name, equal to the kernel's counters to the byte."""

from typing import Any

import docker
import pytest

from exporter.metrics.catalogue import CONTAINER_TRAFFIC
from exporter.network.counters import InterfaceCounters
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, execute, interface_of, run, send

pytestmark = pytest.mark.engine

PAYLOAD = 50_000_000
HEADERS = 14 + 20 + 32
"""Bytes of Ethernet, IPv4, and TCP with time stamps, in each packet, however large the kernel makes those."""

SEGMENT = 1448
"""Payload of one segment at an MTU of 1,500."""

FIELDS = [family.name.removeprefix("docker_container_network_") for family in CONTAINER_TRAFFIC]


def of_container(scrape: Scrape, container: str, network: str) -> InterfaceCounters:
    values = [
        scrape.value(f"docker_container_network_{field}", container=container, network=network) for field in FIELDS
    ]
    return InterfaceCounters(*(int(value) for value in values if value is not None))


def of_network(scrape: Scrape, network: str) -> InterfaceCounters:
    values = [scrape.value(f"docker_network_{field}", network=network) for field in FIELDS]
    return InterfaceCounters(*(int(value) for value in values if value is not None))


def difference(after: InterfaceCounters, before: InterfaceCounters) -> InterfaceCounters:
    return InterfaceCounters(*(a - b for a, b in zip(after, before, strict=True)))


def total(first: InterfaceCounters, second: InterfaceCounters) -> InterfaceCounters:
    return InterfaceCounters(*(a + b for a, b in zip(first, second, strict=True)))


def retransmitted_segments(container: Any) -> int:
    """What TCP sent again in the container's namespace, read inside the container."""
    (names, values) = (
        line.split() for line in execute(container, "cat /proc/net/snmp").splitlines() if line.startswith("Tcp:")
    )
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def test_fifty_megabytes_over_one_of_two_networks_are_counted_to_the_byte(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("front")
    back = client.networks.create("back")
    sender, receiver = run(client, "sender", network="front"), run(client, "receiver", network="front")
    for container in (sender, receiver):
        back.connect(container)
    interfaces = {
        (name, network): interface_of(container, network)
        for name, container in (("sender", sender), ("receiver", receiver))
        for network in ("front", "back")
    }

    def inside() -> dict[tuple[str, str], InterfaceCounters]:
        counters = {"sender": counters_inside(sender), "receiver": counters_inside(receiver)}
        return {key: counters[key[0]][interface] for key, interface in interfaces.items()}

    def page_equals_kernel() -> Scrape | None:
        before, scrape, after = inside(), exporter.scrape(), inside()
        page = {key: of_container(scrape, *key) for key in interfaces}
        return scrape if before == page == after else None

    exporter.eventually(
        lambda scrape: len(scrape.series("docker_container_network_info", network="back")) == 2, "attachments"
    )
    before = eventually(page_equals_kernel, "the page equal to the kernel's counters before")
    kernel_before = inside()
    send(sender, receiver, "front", PAYLOAD)
    after = eventually(page_equals_kernel, "the page equal to the kernel's counters after")
    kernel_after = inside()
    assert before is not None
    assert after is not None

    moved = {key: difference(kernel_after[key], kernel_before[key]) for key in interfaces}
    for key in interfaces:
        assert difference(of_container(after, *key), of_container(before, *key)) == moved[key]
    received = moved["receiver", "front"]
    beyond = received.receive_bytes - PAYLOAD - HEADERS * received.receive_packets
    # What opens the connection, and ARP, have a few bytes more or less; a busy machine sends some segments again.
    assert -1000 < beyond <= retransmitted_segments(sender) * SEGMENT + 1000
    assert moved["sender", "front"].transmit_bytes == moved["receiver", "front"].receive_bytes
    assert moved["sender", "back"] == moved["receiver", "back"] == InterfaceCounters()
    for network in ("front", "back"):
        expected = total(moved["sender", network], moved["receiver", network])
        assert difference(of_network(after, network), of_network(before, network)) == expected
    print(f"\npayload {PAYLOAD}, received {received}")


def test_a_shared_network_namespace_is_counted_once(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    owner, peer = run(client, "owner", network="app"), run(client, "peer", network="app")
    run(client, "joined", network_mode=f"container:{owner.id}")
    exporter.eventually(lambda scrape: scrape.series("docker_container_info", container="joined"), "the joiner")
    send(peer, owner, "app", 1_000_000)

    def settled() -> Scrape | None:
        inside, scrape = counters_inside(owner)["eth0"], exporter.scrape()
        return scrape if of_container(scrape, "owner", "app") == inside else None

    scrape = eventually(settled, "the owner's counters")
    assert scrape is not None
    assert not scrape.series("docker_container_network_receive_bytes_total", container="joined")
    both = total(of_container(scrape, "owner", "app"), of_container(scrape, "peer", "app"))
    assert of_network(scrape, "app") == both


def test_a_leaving_container_takes_nothing_away_and_a_new_one_adds_from_its_first_byte(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    sender, receiver = run(client, "sender", network="app"), run(client, "receiver", network="app")
    send(sender, receiver, "app", 5_000_000)

    def settled() -> Scrape | None:
        scrape = exporter.scrape()
        equal = of_container(scrape, "receiver", "app") == counters_inside(receiver)["eth0"]
        return scrape if equal and of_container(scrape, "receiver", "app").receive_bytes > 5_000_000 else None

    before = eventually(settled, "the transfer on the page")
    assert before is not None
    receiver.remove(force=True)
    after = exporter.eventually(
        lambda scrape: not scrape.series("docker_container_info", container="receiver"), "the receiver gone"
    )
    assert of_network(after, "app").receive_bytes >= of_network(before, "app").receive_bytes
    again = run(client, "again", network="app")
    send(sender, again, "app", 3_000_000)
    exporter.eventually(
        lambda scrape: (
            of_network(scrape, "app").receive_bytes >= of_network(after, "app").receive_bytes + 3_000_000
        ),
        "the new container's bytes in the network's total",
    )


def test_the_engine_s_stats_tell_a_single_homed_container_s_traffic(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    client.networks.create("app")
    sender, receiver = run(client, "sender", network="app"), run(client, "receiver", network="app")
    with ExporterProcess(
        f"--engine.host={engine.host}", "--network.source=engine", "--poll.interval=1s"
    ) as exporter:
        send(sender, receiver, "app", 2_000_000)
        exporter.eventually(
            lambda scrape: (scrape.value("docker_network_receive_bytes_total", network="app") or 0) > 2_000_000,
            "the engine's counters",
            40,
        )
        assert "docker_network_receive_errors_total" not in exporter.scrape().text
