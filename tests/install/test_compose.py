"""The Compose stack: `docker compose up -d` gives an exporter that is scraped, rules, alerts, dashboards."""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from tests.harness.deployments import compose_command, copy_of_deploy, pinned_images, value
from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import REPOSITORY
from tests.harness.installed import HostBefore, run_documented
from tests.harness.stand_ins import make_stand_ins
from tests.harness.wait import eventually
from tests.harness.workloads import received, run, send

pytestmark = pytest.mark.engine

FILES = {"standard": "compose.yaml", "minimal": "compose.minimal.yaml", "hardened": "compose.hardened.yaml"}
LACKS = {
    "standard": set[str](),
    "minimal": {"Traffic counters", "Host network namespace", "Volumes"},
    "hardened": {"Traffic counters", "Host"},
}


class Stack:
    """The stack of one profile."""

    def __init__(self, engine: PrivateEngine, folder: Path, file: str) -> None:
        self._engine, self._file = engine, file
        self._folder = copy_of_deploy(folder) / "compose"
        self._command = compose_command()
        if self._command == ["docker-compose"]:
            # Version 1 knows all of the files but the project's name.
            for path in self._folder.glob("compose*.yaml"):
                path.write_text(path.read_text().replace("\nname: netvol\n", "\n"))
        # Faster than in production, so that the test is: the engine is asked for volumes' usage after that time.
        services = self._folder / "services.yaml"
        faster = "  exporter:\n    environment: {NETVOL_VOLUME_INTERVAL: 2s}\n"
        text = services.read_text().replace("  exporter:\n", faster).replace("interval: 30s", "interval: 2s")
        services.write_text(text)
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(configuration.read_text().replace("15s", "1s"))

    def up(self) -> None:
        """Start it as docs/install.md says."""
        is_default = self._file == "compose.yaml"
        instead = {
            "cd deploy/compose": f"cd {self._folder}",
            "docker compose": " ".join(self._command),
            "compose.hardened.yaml": self._file,
        }
        run_documented(
            self._engine,
            "docs/install.md",
            "Compose" if is_default else "Another profile",
            instead=instead,
            environment=self._environment(),
        )

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self._folder,
            env=self._engine.environment | self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """What is other here than on a user's host."""
        places = {"DOCKER_SOCKET": str(self._engine.socket), "DOCKER_ROOT": str(self._engine.data_root)}
        return places | ({"COMPOSE_PROJECT_NAME": "netvol"} if self._command == ["docker-compose"] else {})

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def inspect(self, service: str) -> Any:
        return json.loads(docker_command(self._engine, "inspect", self.container(service)))[0]


@pytest.fixture(scope="session")
def images(private_engine: PrivateEngine) -> None:
    make_stand_ins(private_engine, pinned_images())


@pytest.fixture(params=FILES)
def profile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stack(engine: PrivateEngine, images: None, profile: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(engine, tmp_path, FILES[profile])
    yield stack
    stack.compose("down", "--volumes")


def ask(address: str) -> Any:
    with urllib.request.urlopen(f"http://{address}", timeout=10) as answer:
        return json.load(answer)


def test_up_gives_right_numbers_rules_and_alerts_and_publishes_on_loopback_only(
    engine: PrivateEngine, client: docker.DockerClient, stack: Stack, profile: str
) -> None:
    # The engine is asked for the usage of volumes every 15 minutes only: there is one before.
    before = HostBefore(client)
    started = time.monotonic()
    stack.up()
    up = time.monotonic() - started
    prometheus = stack.container("prometheus")
    eventually(
        lambda: value(engine, prometheus, 'up{job="netvol"}') == 1, "Prometheus having scraped the exporter", 60
    )
    first = time.monotonic() - started
    right = before.wait_until_right(partial(value, engine, prometheus), started, walked=profile == "standard")

    client.networks.create("app")
    sender, receiver = (run(client, name, network="app") for name in ("sender", "receiver"))
    info = 'docker_container_info{container="receiver"}'
    eventually(lambda: value(engine, prometheus, info) == 1, info, 30)
    send(sender, receiver, "app", 1_000_000)
    traffic = 'docker_container_network_receive_bytes_total{container="receiver",network="app"}'
    eventually(lambda: value(engine, prometheus, traffic) == received(receiver, "app"), traffic, 30)

    rules = ask("127.0.0.1:9090/api/v1/rules")["data"]["groups"]
    files = {path.name for path in (REPOSITORY / "deploy/prometheus/rules").glob("*.yml")}
    assert {group["file"].rpartition("/")[2] for group in rules} == files
    [alertmanager] = ask("127.0.0.1:9090/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert alertmanager["url"] == "http://alertmanager:9093/api/v2/alerts"
    assert value(engine, prometheus, 'up{job="alertmanager"}') == 1
    assert ask("127.0.0.1:9093/api/v2/status")["config"]["original"]

    table = docker_command(engine, "exec", stack.container("exporter"), "netvol-exporter", "check")
    lacks = {re.split(r"\s{2,}", line)[1] for line in table.splitlines() if line.startswith("lack")}
    assert lacks == LACKS[profile]
    listening = subprocess.run(["ss", "-Hltn"], check=True, capture_output=True, text=True).stdout
    addresses = {line.split()[3].rpartition(":")[0] for line in listening.splitlines()}
    assert addresses <= {"127.0.0.1", "172.17.0.1", "[::1]"}
    services = ("prometheus", "alertmanager")
    eventually(
        lambda: {stack.inspect(service)["State"]["Health"]["Status"] for service in services} == {"healthy"},
        "Prometheus and Alertmanager healthy",
        60,
        1,
    )
    print(
        f"\n{profile}: up returned after {up:.1f} s, scraped {first:.1f} s after the command was given, "
        f"right numbers {right:.1f} s"
    )


@pytest.mark.parametrize("profile", ["standard"])
def test_no_container_may_more_than_it_needs_and_data_outlives_them(
    engine: PrivateEngine, client: docker.DockerClient, stack: Stack
) -> None:
    stack.up()
    holders = []
    for service in ("exporter", "prometheus", "alertmanager", "grafana"):
        state = stack.inspect(service)
        assert state["HostConfig"]["CapDrop"] == ["ALL"]
        assert "no-new-privileges" in state["HostConfig"]["SecurityOpt"]
        assert state["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert state["Config"]["Healthcheck"]["Test"]
        if any(mount["Destination"] == "/var/run/docker.sock" for mount in state["Mounts"]):
            holders.append(service)
    assert holders == ["exporter"]
    stack.compose("down")
    assert {volume.name for volume in client.volumes.list()} >= {
        f"netvol_{name}" for name in ("prometheus", "alertmanager", "grafana")
    }


@pytest.mark.parametrize("profile", ["standard"])
def test_grafana_finds_its_provisioning_where_it_looks(
    engine: PrivateEngine, client: docker.DockerClient, stack: Stack
) -> None:
    """Grafana itself can't be had here: what it reads is looked at, in its container's place."""
    stack.up()

    def read(path: str) -> str:
        return docker_command(engine, "exec", stack.container("grafana"), "cat", path)

    def listed(path: str) -> list[str]:
        return docker_command(engine, "exec", stack.container("grafana"), "ls", path).split()

    [datasource_file] = listed("/etc/grafana/provisioning/datasources")
    [datasource] = yaml.safe_load(read(f"/etc/grafana/provisioning/datasources/{datasource_file}"))["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    [provider_file] = listed("/etc/grafana/provisioning/dashboards")
    [provider] = yaml.safe_load(read(f"/etc/grafana/provisioning/dashboards/{provider_file}"))["providers"]
    folder = provider["options"]["path"]
    names = listed(folder)
    assert names == sorted(path.name for path in (REPOSITORY / "dashboards/json").glob("*.json"))
    assert len({json.loads(read(f"{folder}/{name}"))["uid"] for name in names}) == len(names) > 0


def test_what_can_be_set_is_in_the_example(tmp_path: Path) -> None:
    folder = REPOSITORY / "deploy/compose"
    used = {name for path in folder.glob("*.yaml") for name in re.findall(r"\$\{([A-Z_]+)", path.read_text())}
    example = set(re.findall(r"^#([A-Z_]+)=", (folder / ".env.example").read_text(), re.MULTILINE))
    assert example == used | {"COMPOSE_FILE"}
