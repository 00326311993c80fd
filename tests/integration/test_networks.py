"""Networks of every kind on a real engine."""

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.workloads import execute, run, send

pytestmark = pytest.mark.engine


def pool(scrape: Scrape, network: str) -> tuple[float | None, float | None]:
    return (
        scrape.value("docker_network_addresses", network=network),
        scrape.value("docker_network_addresses_used", network=network),
    )


@pytest.mark.parametrize(
    ("options", "containers"),
    [
        ({"subnet": "10.123.0.0/29"}, 5),
        ({"subnet": "10.123.0.0/29", "gateway": "10.123.0.3"}, 5),
        ({"subnet": "10.123.0.0/24", "iprange": "10.123.0.128/30", "gateway": "10.123.0.1"}, 4),
        ({"subnet": "10.123.0.0/29", "aux_addresses": {"router": "10.123.0.6"}}, 4),
        ({"subnet": "10.123.0.0/24", "iprange": "10.123.0.128/30"}, 3),
        ({"subnet": "10.123.0.0/24", "iprange": "10.123.0.252/30"}, 2),
    ],
)
def test_a_pool_is_full_just_when_the_engine_has_no_more_addresses(
    client: docker.DockerClient, exporter: ExporterProcess, options: dict[str, object], containers: int
) -> None:
    client.networks.create("small", ipam=IPAMConfig(pool_configs=[IPAMPool(**options)]))
    for number in range(containers):
        run(client, f"c{number}", network="small")
    with pytest.raises(docker.errors.APIError, match="no available IPv4 addresses"):
        run(client, "one-too-many", network="small")
    scrape = exporter.eventually(
        lambda s: s.value("docker_network_containers", network="small") == containers, "all containers"
    )
    size, used = pool(scrape, "small")
    assert size == used


def test_tcp_of_a_container_is_told(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    client.networks.create("app")
    sender, receiver = run(client, "sender", network="app"), run(client, "receiver", network="app")
    send(sender, receiver, "app", 1_000_000)
    inside = execute(sender, "cat /proc/net/snmp").splitlines()
    names, values = [line.split() for line in inside if line.startswith("Tcp:")]
    truth = dict(zip(names, values, strict=True))
    exporter.eventually(
        lambda s: s.value("docker_container_tcp_sent_segments_total", container="sender") == int(truth["OutSegs"]),
        "the kernel's segments",
        25,
    )
