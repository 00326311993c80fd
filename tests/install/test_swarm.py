"""The Swarm stack on a Swarm of one node: a real Prometheus finds the exporter and names the node."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import docker
import pytest

from tests.harness.deployments import copy_of_deploy, pinned_images, query, value
from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import REPOSITORY
from tests.harness.installed import HostBefore, run_documented
from tests.harness.stand_ins import make_stand_ins
from tests.harness.wait import eventually
from tests.harness.workloads import received, run, send

pytestmark = pytest.mark.engine


@pytest.fixture
def swarm(engine: PrivateEngine) -> Iterator[None]:
    docker_command(engine, "swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    docker_command(engine, "swarm", "leave", "--force")


@pytest.fixture
def before(client: docker.DockerClient, swarm: None) -> HostBefore:
    return HostBefore(client)


@pytest.fixture
def stack(engine: PrivateEngine, before: HostBefore, tmp_path: Path) -> Iterator[float]:
    """What docs/install.md says, with faster scrapes, discovery and measurements; when that was begun."""
    make_stand_ins(engine, pinned_images())
    folder = copy_of_deploy(tmp_path)
    configuration = folder / "swarm/prometheus.yml"
    configuration.write_text(configuration.read_text().replace("15s", "1s"))
    stack = folder / "swarm/stack.yml"
    faster = "NETVOL_PATH_PROCFS: /host/proc\n      NETVOL_VOLUME_INTERVAL: 2s\n"
    stack.write_text(stack.read_text().replace("NETVOL_PATH_PROCFS: /host/proc\n", faster))
    instead = {
        "cd deploy/swarm": f"cd {folder}/swarm",
    }
    places = {"DOCKER_SOCKET": str(engine.socket), "DOCKER_ROOT": str(engine.data_root)}
    started = time.monotonic()
    run_documented(engine, "docs/install.md", "Swarm", instead=instead, environment=places)
    yield started
    docker_command(engine, "stack", "rm", "netvol")
    with_label = ("ps", "-aq", "--filter", "label=com.docker.stack.namespace=netvol")
    eventually(lambda: docker_command(engine, *with_label) == "", "all tasks gone", 60)


def container_of(engine: PrivateEngine, service: str) -> str:
    """The running container of a service of the stack."""
    name = f"label=com.docker.swarm.service.name=netvol_{service}"
    return eventually(
        lambda: docker_command(engine, "ps", "-q", "--filter", name, "--filter", "status=running"),
        f"a container of {service}; tasks: {docker_command(engine, 'stack', 'ps', '--no-trunc', 'netvol')}",
        60,
    )


def test_every_node_is_found_by_its_name_with_right_numbers(
    engine: PrivateEngine, client: docker.DockerClient, before: HostBefore, stack: float
) -> None:
    prometheus = container_of(engine, "prometheus")
    node = docker_command(engine, "node", "inspect", "self", "--format", "{{.Description.Hostname}}")
    ups = 'up{job="netvol"}'
    eventually(lambda: value(engine, prometheus, ups) == 1, "Prometheus having found the exporter", 60)
    scraped = time.monotonic() - stack
    right = before.wait_until_right(partial(value, engine, prometheus), stack, walked=True)
    print(f"\nscraped {scraped:.1f} s after the stack was deployed, right numbers {right:.1f} s")
    assert [found["metric"]["instance"] for found in query(engine, prometheus, ups)] == [node]

    docker_command(engine, "network", "create", "--driver", "overlay", "--attachable", "app")
    sender = run(client, "sender", network="app")
    receiver = run(client, "receiver", network="app")
    info = f'docker_container_info{{container="receiver",instance="{node}"}}'
    eventually(lambda: value(engine, prometheus, info) == 1, info, 30)
    send(sender, receiver, "app", 1_000_000)
    traffic = (
        f'docker_container_network_receive_bytes_total{{container="receiver",network="app",instance="{node}"}}'
    )
    eventually(lambda: value(engine, prometheus, traffic) == received(receiver, "app"), traffic, 30)

    alertmanager = 'up{job="alertmanager"}'
    eventually(lambda: value(engine, prometheus, alertmanager) == 1, "Alertmanager, configured by a secret", 60)
    rules = docker_command(engine, "exec", prometheus, "wget", "-q", "-O-", "http://127.0.0.1:9090/api/v1/rules")
    files = {group["file"].rpartition("/")[2] for group in json.loads(rules)["data"]["groups"]}
    assert files == {path.name for path in (REPOSITORY / "deploy/prometheus/rules").glob("*.yml")}
    for name in (path.name for path in (REPOSITORY / "dashboards/json").glob("*.json")):
        grafana = container_of(engine, "grafana")
        assert docker_command(engine, "exec", grafana, "cat", f"/var/lib/grafana/dashboards/{name}")

    table = docker_command(engine, "exec", container_of(engine, "exporter"), "netvol-exporter", "check")
    lacks = [line for line in table.splitlines() if line.startswith("lack")]
    assert len(lacks) == 1
    assert "Host network namespace" in lacks[0]
    for container in client.containers.list(filters={"label": "com.docker.stack.namespace=netvol"}):
        container.reload()
        assert container.attrs["HostConfig"]["CapDrop"] == ["ALL"], container.name
    for test in ("sender", "receiver"):  # before their network, which the swarm's end removes
        client.containers.get(test).remove(force=True)
