import contextlib
import shutil
from collections.abc import Iterator

import docker
import pytest

from tests.harness.engine import PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess
from tests.harness.workloads import remove_containers

PROGRAMS = {
    "dockerd": "docker.io",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "chromium": "chromium",
}


@pytest.fixture(scope="session")
def private_engine() -> Iterator[PrivateEngine]:
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    assert not missing, f"the tests need more programs: apt-get install {' '.join(sorted(missing))}"
    clean_leftovers()
    engine = PrivateEngine()
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture
def engine(private_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """The engine, empty before and after."""
    yield private_engine
    try:
        empty(private_engine)
    except docker.errors.APIError:
        # Engine 20.10 sometimes keeps the endpoint of a container that is gone, when many end at once, and then
        # refuses to remove the network; it drops such endpoints when it starts.
        private_engine.stop()
        private_engine.start()
        empty(private_engine)


def empty(engine: PrivateEngine) -> None:
    """Remove all containers, networks and volumes."""
    with contextlib.closing(engine.client()) as client:
        remove_containers(client)
        for network in client.networks.list():
            if network.name not in ("bridge", "host", "none"):
                network.remove()
        for volume in client.volumes.list():
            volume.remove(force=True)


@pytest.fixture
def client(engine: PrivateEngine) -> Iterator[docker.DockerClient]:
    client = engine.client()
    yield client
    client.close()


@pytest.fixture
def exporter(engine: PrivateEngine) -> Iterator[ExporterProcess]:
    with ExporterProcess(f"--engine.host={engine.host}", "--volume.interval=1s") as process:
        yield process
