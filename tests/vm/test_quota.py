"""Volumes with a size, which the engine keeps to with project quotas, on xfs and on ext4."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.workloads import disk_usage, execute, run
from tests.vm.machine import PATIENCE_SECONDS
from tests.vm.storage import QuotaFileSystem

MIB = 2**20
CAPACITY_BYTES = 50 * MIB


@dataclass(frozen=True, slots=True)
class SizedVolume:
    """A volume that was created with a size."""

    name: str
    directory: Path

    def value(self, scrape: Scrape, name: str) -> float | None:
        return scrape.value(f"docker_volume_{name}", volume=self.name)


_numbers = itertools.count(1)


@pytest.fixture
def sized(quota_client: docker.DockerClient) -> SizedVolume:
    """Of a name that was not used before: the engine remembers paths that have a project, also when they are gone.

    A volume that is created a second time has no quota (moby: quota/projectquota.go, SetQuota).
    """
    volume = quota_client.volumes.create(f"sized-{next(_numbers)}", driver_opts={"size": "50m"})
    return SizedVolume(volume.name, Path(volume.attrs["Mountpoint"]))


@pytest.fixture
def writer(quota_client: docker.DockerClient, sized: SizedVolume) -> Any:
    """A container that has written 7 MiB into the volume with a size."""
    writer = run(quota_client, "writer", volumes={sized.name: {"bind": "/data"}})
    execute(writer, "mkdir /data/folder; dd if=/dev/zero of=/data/folder/file bs=1M count=7; sync")
    return writer


def source(scrape: Scrape, volume: str) -> str:
    [(labels, _)] = scrape.series("docker_volume_info", volume=volume)
    return labels["capacity_source"]


def assert_page_is_right(exporter: ExporterProcess, quotas: QuotaFileSystem, sized: SizedVolume) -> None:
    truth = quotas.quota_of(sized.directory)
    assert truth.limit_bytes == CAPACITY_BYTES
    assert (truth.used_bytes, truth.inodes_used) == disk_usage(sized.directory)
    assert 7 * MIB <= truth.used_bytes < 8 * MIB
    scrape = exporter.eventually(
        lambda scrape: sized.value(scrape, "used_bytes") == truth.used_bytes, f"{truth}", PATIENCE_SECONDS
    )
    assert sized.value(scrape, "capacity_bytes") == CAPACITY_BYTES
    assert sized.value(scrape, "available_bytes") == CAPACITY_BYTES - truth.used_bytes
    assert sized.value(scrape, "inodes_used") == truth.inodes_used
    assert source(scrape, sized.name) == "quota"


def test_capacity_usage_and_inodes_of_a_volume_with_a_size_are_what_the_quota_tools_say(
    quota_exporter: ExporterProcess, quota_file_system: QuotaFileSystem, sized: SizedVolume, writer: Any
) -> None:
    assert_page_is_right(quota_exporter, quota_file_system, sized)


def test_without_a_limit_of_inodes_those_of_the_file_system_are_told(
    quota_exporter: ExporterProcess, sized: SizedVolume, writer: Any
) -> None:
    def agrees(scrape: Scrape) -> bool:
        truth = os.statvfs(sized.directory)
        return (sized.value(scrape, "inodes"), sized.value(scrape, "inodes_free")) == (
            truth.f_files,
            truth.f_ffree,
        )

    quota_exporter.eventually(agrees, "the inodes that statvfs tells", PATIENCE_SECONDS)


def test_it_stays_right_when_the_container_is_gone(
    quota_exporter: ExporterProcess, quota_file_system: QuotaFileSystem, sized: SizedVolume, writer: Any
) -> None:
    assert_page_is_right(quota_exporter, quota_file_system, sized)
    writer.remove(force=True)
    quota_exporter.eventually(
        lambda scrape: not scrape.value("docker_volume_containers", volume=sized.name, state="running"),
        "no container uses it",
        PATIENCE_SECONDS,
    )
    assert_page_is_right(quota_exporter, quota_file_system, sized)


def test_an_exporter_that_starts_after_the_container_is_gone_tells_the_same(
    quota_engine: PrivateEngine, quota_file_system: QuotaFileSystem, sized: SizedVolume, writer: Any
) -> None:
    writer.remove(force=True)
    with ExporterProcess(f"--engine.host={quota_engine.host}") as exporter:
        assert_page_is_right(exporter, quota_file_system, sized)


def test_a_full_volume_has_nothing_available(
    quota_exporter: ExporterProcess, quota_file_system: QuotaFileSystem, sized: SizedVolume, writer: Any
) -> None:
    said = execute(writer, "dd if=/dev/zero of=/data/full bs=64k count=1000; sync")
    assert "No space left" in said or "quota exceeded" in said, said
    scrape = quota_exporter.eventually(
        lambda scrape: sized.value(scrape, "available_bytes") == 0, "nothing available", PATIENCE_SECONDS
    )
    assert sized.value(scrape, "capacity_bytes") == CAPACITY_BYTES
    scrape = quota_exporter.eventually(
        lambda scrape: sized.value(scrape, "used_bytes") == CAPACITY_BYTES, "all used", PATIENCE_SECONDS
    )
    assert quota_file_system.quota_of(sized.directory).used_bytes == CAPACITY_BYTES


def test_space_that_is_freed_is_available_again(
    quota_exporter: ExporterProcess, sized: SizedVolume, writer: Any
) -> None:
    execute(writer, "dd if=/dev/zero of=/data/full bs=64k count=1000; sync")
    quota_exporter.eventually(
        lambda scrape: sized.value(scrape, "available_bytes") == 0, "nothing available", PATIENCE_SECONDS
    )
    execute(writer, "rm /data/full; sync")
    quota_exporter.eventually(
        lambda scrape: (sized.value(scrape, "available_bytes") or 0) > 42 * MIB, "space again", PATIENCE_SECONDS
    )


def test_a_volume_without_a_size_beside_it_has_the_file_system_s_capacity(
    quota_client: docker.DockerClient, quota_exporter: ExporterProcess, sized: SizedVolume, writer: Any
) -> None:
    volume = quota_client.volumes.create("plain")
    user = run(quota_client, "user", volumes={"plain": {"bind": "/data"}})
    execute(user, "dd if=/dev/zero of=/data/file bs=1M count=3; sync")
    used_bytes, _ = disk_usage(Path(volume.attrs["Mountpoint"]))
    scrape = quota_exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="plain") == used_bytes,
        "du's bytes",
        PATIENCE_SECONDS,
    )
    assert source(scrape, "plain") == "filesystem"
    truth = os.statvfs(volume.attrs["Mountpoint"])
    capacity_bytes = scrape.value("docker_volume_capacity_bytes", volume="plain")
    assert capacity_bytes == truth.f_blocks * truth.f_frsize
