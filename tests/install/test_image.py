"""The image: what is in it, and the exporter in it as docs/install.md runs it, in each profile."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

import exporter
from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import REPOSITORY
from tests.harness.installed import HostBefore, InstalledExporter, resident_bytes, run_documented
from tests.harness.prometheus import PrometheusServer
from tests.harness.stand_ins import EXPORTER_IMAGE, base_name, make_stand_ins
from tests.harness.wait import eventually
from tests.harness.workloads import disk_usage, execute, received, run, send

pytestmark = pytest.mark.engine

NAME = "netvol-exporter"
PAYLOAD = 1_000_000
LACKS = {"Traffic counters", "Host network namespace", "Volumes"}
# Behind a proxy the engine may be on any host, so nothing of this one is looked at.
PROFILES = {"Minimal": LACKS, "Hardened": {"Traffic counters", "Host"}, "Standard": set[str]()}


@dataclass(frozen=True)
class Running:
    """The exporter as a profile runs it, and how long that took."""

    profile: str
    exporter: InstalledExporter
    seconds_to_ready: float

    @property
    def walks(self) -> bool:
        """Whether it sees the files of volumes."""
        return self.profile == "Standard"


@pytest.fixture(scope="session")
def socket_proxy(private_engine: PrivateEngine) -> None:
    [name] = set(re.findall(r"wollomatic/socket-proxy:\S+", (REPOSITORY / "docs/install.md").read_text()))
    make_stand_ins(private_engine, {name})


@pytest.fixture
def before(client: docker.DockerClient) -> HostBefore:
    return HostBefore(client)


@pytest.fixture(params=PROFILES)
def running(
    request: pytest.FixtureRequest, engine: PrivateEngine, before: HostBefore, socket_proxy: None
) -> Running:
    # The engine is asked for volumes' usage after that time: a minute in production.
    faster = {f"docker {verb} -": f"docker {verb} -e NETVOL_VOLUME_INTERVAL=2s -" for verb in ("run", "create")}
    return start(engine, request.param, **faster)


def start(engine: PrivateEngine, profile: str, **instead: str) -> Running:
    installed = InstalledExporter()
    run_documented(engine, "docs/install.md", profile, instead=instead)
    return Running(profile, installed, installed.wait_until_ready())


def lacks(engine: PrivateEngine) -> set[str]:
    """What `check` calls a lack, run as docs/install.md says."""
    table, page = run_documented(engine, "docs/install.md", "What can be seen").split("\n# ", 1)
    assert "docker_engine_up 1" in page
    return {re.split(r"\s{2,}", line)[1] for line in table.splitlines() if line.startswith("lack")}


def inspect(engine: PrivateEngine, what: str) -> Any:
    return json.loads(docker_command(engine, "inspect", what))[0]


def test_the_image_tells_who_it_is_and_runs_as_nobody_in_particular(private_engine: PrivateEngine) -> None:
    image = inspect(private_engine, EXPORTER_IMAGE)
    configuration = image["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in configuration["Labels"].items()}
    assert labels["version"] == exporter.__version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"] == NAME
    assert configuration["User"] == "10420:10420"
    assert configuration["StopSignal"] == "SIGTERM"
    assert "curl" not in configuration["Healthcheck"]["Test"]
    base = inspect(private_engine, base_name())
    print(f"\nimage {image['Size'] / 1e6:.0f} MB, of these the base {base['Size'] / 1e6:.0f} MB")
    assert image["Size"] - base["Size"] < 60_000_000


def test_only_what_runs_is_in_the_image_and_nothing_is_left_to_compile(private_engine: PrivateEngine) -> None:
    def inside(*command: str) -> str:
        return docker_command(
            private_engine, "run", "--rm", "--entrypoint", command[0], EXPORTER_IMAGE, *command[1:]
        )

    assert inside("ls", "/opt") == "netvol-exporter"
    listing = inside("find", "/opt/netvol-exporter", "-name", "*.py*").splitlines()
    assert not any("/site-packages/pip/" in path or "/hatchling/" in path for path in listing)
    sources = {path for path in listing if path.endswith(".py") and "/site-packages/" in path}
    compiled = {re.sub(r"__pycache__/(.*)\.cpython-\d+\.pyc", r"\1.py", path) for path in listing}
    assert len(sources) > 300
    assert sources <= compiled
    # All that is imported at the start, of Python's own library too, comes from byte code.
    imported = inside(
        "sh", "-c", "python -v -m exporter.healthy --version 2>&1; python -v -m exporter --version 2>&1"
    )
    code_from_source = re.findall(r"^# wrote|^# code object from '(?!<)(.*\.py)'", imported, re.MULTILINE)
    assert code_from_source == []


@pytest.mark.parametrize("profile", ["Minimal"])
def test_the_health_check_follows_the_address_and_tells_when_nobody_answers(
    engine: PrivateEngine, client: docker.DockerClient, profile: str
) -> None:
    address = {"-p 127.0.0.1:10420:10420": "-e NETVOL_WEB_LISTEN_ADDRESS=:8000 -p 127.0.0.1:10420:8000"}
    faster = {"docker run ": "docker run --health-interval=1s --health-timeout=2s --health-retries=1 "}
    start(engine, profile, **address, **faster)

    def health() -> Any:
        return inspect(engine, NAME)["State"]["Health"]

    eventually(lambda: health()["Status"] == "healthy", "the container healthy", 30)
    assert health()["Log"][-1]["Output"] == ":8000: HTTP status 200\n"
    client.containers.get(NAME).kill("SIGSTOP")
    eventually(lambda: health()["Status"] == "unhealthy", "the container unhealthy", 60)


def test_a_build_of_a_revision_tells_it_on_the_page(engine: PrivateEngine) -> None:
    revision = {"docker run ": "docker run -e NETVOL_EXPORTER_REVISION=abc123 "}
    found = start(engine, "Minimal", **revision).exporter.scrape()
    assert found.value("netvol_exporter_build_info", revision="abc123", version=exporter.__version__) == 1


def test_each_profile_gives_right_numbers_and_lacks_what_check_says(
    running: Running, before: HostBefore, engine: PrivateEngine, client: docker.DockerClient
) -> None:
    right = before.wait_until_right(running.exporter.tell, running.exporter.started, walked=running.walks)
    client.networks.create("app")
    sender, receiver = (run(client, name, network="app") for name in ("sender", "receiver"))
    running.exporter.eventually(lambda s: s.series("docker_container_info", container="receiver"), "the container")
    send(sender, receiver, "app", PAYLOAD)
    assert PAYLOAD < received(receiver, "app") < 1.1 * PAYLOAD
    series = 'docker_container_network_receive_bytes_total{container="receiver",network="app"}'
    with PrometheusServer(running.exporter.address) as prometheus:
        eventually(lambda: prometheus.value(series) == received(receiver, "app"), series, 30)
        both = 'docker_network_receive_bytes_total{network="app"}'
        eventually(lambda: prometheus.value(both) == received(receiver, "app") + received(sender, "app"), both, 30)

        used = before.used_bytes(walked=running.walks)
        query = 'docker_volume_used_bytes{volume="data"}'
        eventually(lambda: prometheus.value(query) == used, f"{query} of {used}", 30)

    assert lacks(engine) == PROFILES[running.profile]
    state = inspect(engine, NAME)
    assert state["HostConfig"]["ReadonlyRootfs"]
    assert state["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in state["HostConfig"]["SecurityOpt"]
    has_socket = any(mount["Destination"] == "/var/run/docker.sock" for mount in state["Mounts"])
    assert has_socket == (running.profile != "Hardened")
    memory = resident_bytes(engine, NAME) / 1e6
    container = client.containers.get(NAME)
    container.stop()
    assert container.wait()["StatusCode"] == 0
    print(
        f"\n{running.profile}: ready after {running.seconds_to_ready:.2f} s, right numbers after {right:.2f} s, "
        f"{memory:.0f} MB resident"
    )


def test_the_table_of_profiles_tells_what_check_says() -> None:
    [row] = re.findall(
        r"^\| what `check` calls a lack \|(.*)\|$", (REPOSITORY / "docs/install.md").read_text(), re.MULTILINE
    )
    cells = [cell.strip() for cell in row.split("|")]
    minimal, hardened = ({part.strip() for part in cell.split(",")} for cell in cells[:2])
    assert (minimal, hardened) == (PROFILES["Minimal"], PROFILES["Hardened"])
    assert cells[2:] == ["nothing"]


def test_in_the_standard_profile_networks_are_split_and_what_ended_is_counted(
    engine: PrivateEngine, client: docker.DockerClient
) -> None:
    client.networks.create("app")
    client.networks.create("backend")
    running = start(engine, "Standard")
    sender = run(client, "sender", network="app")
    receiver = run(client, "receiver", network="app")
    client.networks.get("backend").connect(receiver)
    running.exporter.eventually(lambda s: s.series("docker_container_info", container="receiver"), "the container")
    send(sender, receiver, "app", PAYLOAD)
    name = "docker_container_network_receive_bytes_total"
    running.exporter.eventually(
        lambda s: (
            {labels["network"]: count for labels, count in s.series(name, container="receiver")}
            == {network: received(receiver, network) for network in ("app", "backend")}
        ),
        "what the kernel counts, by network",
    )
    scrape = running.exporter.scrape()
    assert scrape.series("docker_network_egress_bytes_total", network="app")
    before = scrape.value("docker_network_receive_bytes_total", network="app") or 0
    # It lives for less than a poll.
    address = receiver.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
    receiver.exec_run(["nc", "-l", "-p", "9001", "-e", "cat"], detach=True)
    command = ["sh", "-c", f"sleep 0.2; head -c 200000 /dev/zero | nc {address} 9001 | wc -c"]
    client.containers.run("netvol-test/busybox:1", command, network="app", remove=True)
    running.exporter.eventually(
        lambda s: (s.value("docker_network_receive_bytes_total", network="app") or 0) > before + 400_000,
        "both directions of what a container that ended sent",
    )


def test_without_the_capability_only_what_all_may_read_is_measured(
    engine: PrivateEngine, client: docker.DockerClient
) -> None:
    owner = run(client, "owner", volumes={"closed": {"bind": "/closed"}, "open": {"bind": "/open"}})
    for name in ("closed", "open"):
        execute(owner, f"dd if=/dev/zero of=/{name}/file bs=1M count=3; chown 999:999 /{name}; sync")
    execute(owner, "chmod 700 /closed")
    group = f"--group-add {engine.socket.stat().st_gid}"
    running = start(engine, "Standard", **{"--user 0:0 --cap-add DAC_READ_SEARCH": group})
    used, _ = disk_usage(Path(client.volumes.get("open").attrs["Mountpoint"]))
    scrape = running.exporter.eventually(
        lambda s: (
            s.value("docker_volume_used_bytes", volume="open") == used
            and s.value("docker_volume_measurement_errors_total", volume="closed", reason="permission")
        ),
        "one measured, one not",
    )
    assert scrape.series("docker_container_network_receive_bytes_total", container="owner", network="bridge")
    assert lacks(engine) == {"Volumes"}


def test_the_proxy_of_the_hardened_profile_refuses_what_the_exporter_never_asks(
    engine: PrivateEngine, client: docker.DockerClient, socket_proxy: None
) -> None:
    start(engine, "Hardened")
    ask = (
        "import http.client, sys; to = http.client.HTTPConnection('netvol-socket-proxy', 2375);"
        "to.request(*sys.argv[1:]); print(to.getresponse().status)"
    )

    def status(method: str, path: str) -> str:
        return docker_command(engine, "exec", NAME, "python", "-c", ask, method, path)

    assert status("GET", "/v1.41/containers/json") == "200"
    for method, path in (
        ("POST", "/v1.41/containers/create"),
        ("POST", "/v1.41/containers/netvol-exporter/kill"),
        ("GET", "/v1.41/containers/netvol-exporter/archive"),
        ("GET", "/v1.41/containers/netvol-exporter/logs"),
        ("DELETE", "/v1.41/volumes/data"),
    ):
        assert status(method, path) in ("403", "405")
    # Another container on the same network is refused altogether.
    other = run(client, "other", network="netvol-socket")
    assert "403" in execute(other, "wget -O- http://netvol-socket-proxy:2375/_ping 2>&1")
