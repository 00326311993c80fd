"""Volumes on encrypted disks: LUKS, LVM on LUKS, and what is none."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.harness.exporter import ExporterProcess
from tests.harness.workloads import execute, run
from tests.vm.machine import PATIENCE_SECONDS, disk
from tests.vm.storage import df

_CHEAP_KEY = ("--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "-")


def command(*words: str | Path, given: str = "") -> None:
    subprocess.run(words, check=True, input=given, text=True, capture_output=True)


def opened(name: str, on: Path) -> Path:
    """A new LUKS device."""
    command("cryptsetup", "luksFormat", *_CHEAP_KEY, on, given="password")
    command("cryptsetup", "open", "--key-file", "-", on, name, given="password")
    return Path("/dev/mapper") / name


@pytest.fixture
def luks(machine: None) -> Iterator[Path]:
    yield opened("secret", disk("luks"))
    command("cryptsetup", "close", "secret")


@pytest.fixture
def lvm_on_luks(machine: None) -> Iterator[Path]:
    physical = opened("physical", disk("lvm"))
    command("vgcreate", "--quiet", "group", physical)
    command("lvcreate", "--quiet", "--yes", "--name", "logical", "--size", "500M", "group")
    yield Path("/dev/mapper/group-logical")
    command("vgremove", "--quiet", "--yes", "group")
    command("cryptsetup", "close", "physical")


@pytest.fixture
def lvm(machine: None) -> Iterator[Path]:
    command("vgcreate", "--quiet", "--yes", "open", disk("plain"))
    command("lvcreate", "--quiet", "--yes", "--name", "logical", "--size", "500M", "open")
    yield Path("/dev/mapper/open-logical")
    command("vgremove", "--quiet", "--yes", "open")
    command("pvremove", "--quiet", disk("plain"))


@pytest.fixture
def plain(machine: None) -> Path:
    return disk("plain")


@pytest.mark.parametrize(("device", "encrypted"), [("luks", 1), ("lvm_on_luks", 1), ("lvm", 0), ("plain", 0)])
def test_a_volume_on_a_device_tells_whether_it_is_encrypted_and_how_full_it_is(
    device: str,
    encrypted: int,
    client: docker.DockerClient,
    exporter: ExporterProcess,
    request: pytest.FixtureRequest,
) -> None:
    path: Path = request.getfixturevalue(device)
    command("mkfs.ext4", "-q", "-F", path)
    volume = client.volumes.create("disk", driver_opts={"type": "ext4", "device": str(path)})
    user = run(client, "user", volumes={"disk": {"bind": "/data"}})
    execute(user, "dd if=/dev/zero of=/data/file bs=1M count=7; sync")
    truth = df(volume.attrs["Mountpoint"])
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="disk") == truth.used_bytes,
        f"{truth}",
        PATIENCE_SECONDS,
    )
    [(info, _)] = scrape.series("docker_volume_info", volume="disk")
    assert (info["kind"], info["capacity_source"]) == ("ext4", "mount")
    assert scrape.value("docker_volume_capacity_bytes", volume="disk") == truth.size_bytes
    assert scrape.value("docker_volume_available_bytes", volume="disk") == truth.available_bytes
    assert scrape.value("docker_volume_encrypted", volume="disk") == encrypted
    user.remove(force=True)  # the device can only be closed when it is not mounted


def test_of_a_volume_without_a_device_nothing_is_said(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.volumes.create("ram", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=50m"})
    run(client, "user", volumes={"ram": {"bind": "/data"}})
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_capacity_bytes", volume="ram") == 50 * 2**20,
        "its capacity",
        PATIENCE_SECONDS,
    )
    assert scrape.value("docker_volume_encrypted", volume="ram") is None
