"""Volumes: what du says, on a real engine."""

import os
from pathlib import Path

import docker
import pytest

from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import ExporterProcess
from tests.harness.workloads import disk_usage, execute, run

pytestmark = pytest.mark.engine


def test_files_sparse_files_hard_links_and_links_outside_are_counted_as_du_counts_them(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    volume = client.volumes.create("data")
    writer = run(client, "writer", volumes={"data": {"bind": "/data"}})
    execute(writer, "dd if=/dev/urandom of=/data/file bs=1M count=20")
    execute(writer, "dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=1073741823")
    execute(
        writer, "dd if=/dev/zero of=/data/one bs=1k count=300; ln /data/one /data/two; ln /data/one /data/three"
    )
    execute(writer, "mkdir /data/sub; ln -s /etc /data/outside; sync")
    bytes_used, inodes_used = disk_usage(Path(volume.attrs["Mountpoint"]))
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="data") == bytes_used, "du's bytes"
    )
    assert scrape.value("docker_volume_inodes_used", volume="data") == inodes_used
    assert 20_000_000 < bytes_used < 30_000_000
    print(f"\ndu -s -B1 -x: {bytes_used}, du -s --inodes -x: {inodes_used}; the page says the same")


def test_the_file_system_that_holds_a_volume_is_told_with_its_size(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    volume = client.volumes.create("data")
    truth = os.statvfs(volume.attrs["Mountpoint"])
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_capacity_bytes", volume="data"), "the capacity"
    )
    [(info, _)] = scrape.series("docker_volume_info", volume="data")
    assert info["capacity_source"] == "filesystem"
    size = truth.f_blocks * truth.f_frsize
    assert scrape.value("docker_filesystem_size_bytes", filesystem=info["filesystem"]) == size
    free = scrape.value("docker_filesystem_available_bytes", filesystem=info["filesystem"])
    assert free == pytest.approx(truth.f_bavail * truth.f_frsize, abs=100_000_000)


def test_who_uses_a_volume_is_told(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    client.volumes.create("data")
    run(client, "reader", volumes={"data": {"bind": "/input", "mode": "ro"}})
    stopped = run(client, "stopped", volumes={"data": {"bind": "/data"}})
    stopped.kill()
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_containers", volume="data", state="stopped") == 1,
        "the stopped one",
    )
    assert scrape.value("docker_volume_containers", volume="data", state="running") == 1
    mount = {"container": "reader", "destination": "/input", "read_only": "true"}
    assert scrape.value("docker_volume_mount_info", volume="data", **mount) == 1


def test_a_tmpfs_volume_has_its_own_size_while_it_is_mounted_and_none_otherwise(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.volumes.create("ram", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=50m"})
    scrape = exporter.eventually(lambda scrape: scrape.series("docker_volume_info", volume="ram"), "the volume")
    assert scrape.value("docker_volume_capacity_bytes", volume="ram") is None
    user = run(client, "user", volumes={"ram": {"bind": "/ram"}})
    execute(user, "dd if=/dev/zero of=/ram/file bs=1M count=7")
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="ram") == 7 * 2**20, "seven MiB"
    )
    assert scrape.value("docker_volume_capacity_bytes", volume="ram") == 50 * 2**20
    user.remove(force=True)
    exporter.eventually(
        lambda scrape: scrape.value("docker_volume_capacity_bytes", volume="ram") is None, "unmounted"
    )
    assert exporter.scrape().value("docker_volume_used_bytes", volume="ram") is None


def test_an_anonymous_dangling_volume_is_summed_and_not_listed(
    engine: PrivateEngine, exporter: ExporterProcess
) -> None:
    name = docker_command(engine, "volume", "create")
    scrape = exporter.eventually(
        lambda scrape: (scrape.value("docker_volume_dangling_bytes", anonymous="true") or 0) > 0, "its bytes"
    )
    assert scrape.value("docker_volume_dangling", anonymous="true") == 1
    assert name not in scrape.text
