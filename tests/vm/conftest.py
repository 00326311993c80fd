import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.harness import privatens
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.workloads import remove_containers
from tests.vm.machine import disk
from tests.vm.storage import QuotaFileSystem

# No bridge: two engines share the machine's network namespace, and the containers need no network.
_FLAGS = ("--bridge=none", "--iptables=false")


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """These tests make file systems, start servers and take no care of what else is there."""
    assert disk("tree").exists(), "these tests only run in their virtual machine: sudo make vm"
    privatens.stay()


@pytest.fixture(scope="session")
def engine(machine: None) -> Iterator[PrivateEngine]:
    """An engine on the machine's root disk, which has no quota."""
    engine = PrivateEngine(*_FLAGS)
    engine.start()
    yield engine
    engine.remove()


@pytest.fixture
def client(engine: PrivateEngine) -> Iterator[docker.DockerClient]:
    yield from _emptied(engine)


@pytest.fixture
def exporter(engine: PrivateEngine, client: docker.DockerClient) -> Iterator[ExporterProcess]:
    with ExporterProcess(f"--engine.host={engine.host}", "--volume.interval=1s") as process:
        yield process


@pytest.fixture(scope="session", params=["xfs", "ext4"])
def quota_file_system(machine: None, request: pytest.FixtureRequest) -> Iterator[QuotaFileSystem]:
    """A file system that enforces project quotas."""
    fstype = request.param
    if fstype == "xfs":
        subprocess.run(["mkfs.xfs", "-q", disk("xfs")], check=True)
    else:
        # No blocks for root alone, so that free is available.
        options = ["-O", "project,quota", "-E", "quotatype=prjquota", "-m", "0"]
        subprocess.run(["mkfs.ext4", "-q", *options, disk("ext4")], check=True)
    path = Path("/mnt") / f"quota-{fstype}"
    path.mkdir()
    subprocess.run(["mount", "-o", "prjquota", disk(fstype), path], check=True)
    yield QuotaFileSystem(path, fstype)
    subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="session")
def quota_engine(quota_file_system: QuotaFileSystem) -> Iterator[PrivateEngine]:
    """An engine with its data root on the file system with quotas."""
    engine = PrivateEngine(*_FLAGS, data_root=quota_file_system.path / "docker")
    engine.start()
    yield engine
    engine.remove()


@pytest.fixture
def quota_client(quota_engine: PrivateEngine) -> Iterator[docker.DockerClient]:
    yield from _emptied(quota_engine)


@pytest.fixture
def quota_exporter(quota_engine: PrivateEngine, quota_client: docker.DockerClient) -> Iterator[ExporterProcess]:
    with ExporterProcess(f"--engine.host={quota_engine.host}", "--volume.interval=1s") as process:
        yield process


def _emptied(engine: PrivateEngine) -> Iterator[docker.DockerClient]:
    """A client; what it made is removed afterwards."""
    client = engine.client()
    yield client
    remove_containers(client)
    for volume in client.volumes.list():
        volume.remove(force=True)
    client.close()
