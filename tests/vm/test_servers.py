"""Volumes on file servers: NFS and SMB, each served by this machine to itself."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.harness.exporter import ExporterProcess
from tests.harness.workloads import disk_usage, execute, run
from tests.vm.machine import PATIENCE_SECONDS, disk, service
from tests.vm.storage import df

EXPORT = Path("/export")
PASSWORD = "kept-from-the-page"
SAMBA = """
[share]
path = /export
read only = no
"""


@pytest.fixture(scope="module")
def export(machine: None) -> Iterator[Path]:
    """A folder with a disk of its own, for the servers to serve."""
    subprocess.run(["mkfs.ext4", "-q", "-F", disk("plain")], check=True)
    EXPORT.mkdir()
    subprocess.run(["mount", disk("plain"), EXPORT], check=True)
    yield EXPORT
    subprocess.run(["umount", EXPORT], check=True)
    EXPORT.rmdir()


@pytest.fixture(scope="module")
def nfs(export: Path) -> Iterator[dict[str, str]]:
    """The options of a volume on the NFS server."""
    # After a new start the server would wait 90 s for clients that come back.
    Path("/etc/nfs.conf").write_text("[nfsd]\nvers3=n\ngrace-time=10\nlease-time=10\n")
    Path("/etc/exports").write_text(f"{export} 127.0.0.1(rw,no_root_squash,no_subtree_check,insecure)\n")
    service("start", "nfs-server")
    yield {"type": "nfs", "o": "addr=127.0.0.1,rw,nfsvers=4", "device": f":{export}"}
    service("stop", "nfs-server")


@pytest.fixture(scope="module")
def smb(export: Path) -> Iterator[dict[str, str]]:
    """The options of a volume on the SMB server."""
    Path("/etc/samba/smb.conf").write_text(SAMBA)
    command = ["smbpasswd", "-a", "-s", "root"]
    subprocess.run(command, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True)
    service("start", "smbd")
    options = f"addr=127.0.0.1,username=root,password={PASSWORD},vers=3.0"
    yield {"type": "cifs", "o": options, "device": "//127.0.0.1/share"}
    service("stop", "smbd")


@pytest.fixture(params=["nfs", "smb"])
def served(request: pytest.FixtureRequest) -> dict[str, str]:
    """The options of a volume on a file server."""
    options: dict[str, str] = request.getfixturevalue(request.param)
    return options


def test_a_mounted_volume_has_the_space_that_df_tells_of_the_server_s_file_system(
    client: docker.DockerClient, exporter: ExporterProcess, served: dict[str, str]
) -> None:
    volume = client.volumes.create("served", driver_opts=served)
    user = run(client, "user", volumes={"served": {"bind": "/data"}})
    execute(user, "dd if=/dev/zero of=/data/file bs=1M count=7; sync")
    truth = df(volume.attrs["Mountpoint"])
    # NFS rounds to the size of its transfers.
    assert truth.size_bytes == pytest.approx(df(EXPORT).size_bytes, abs=2**20)
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="served") == truth.used_bytes,
        f"{truth}",
        PATIENCE_SECONDS,
    )
    [(info, _)] = scrape.series("docker_volume_info", volume="served")
    assert (info["kind"], info["capacity_source"]) == (served["type"], "mount")
    assert scrape.value("docker_volume_capacity_bytes", volume="served") == truth.size_bytes
    assert scrape.value("docker_volume_available_bytes", volume="served") == truth.available_bytes
    assert scrape.value("docker_volume_encrypted", volume="served") is None
    assert PASSWORD not in scrape.text


def test_a_volume_that_is_not_mounted_has_neither_capacity_nor_usage(
    client: docker.DockerClient, exporter: ExporterProcess, served: dict[str, str]
) -> None:
    def has_space(name: str) -> list[bool]:
        scrape = exporter.scrape()
        families = ("capacity_bytes", "available_bytes", "used_bytes", "inodes", "inodes_used", "inodes_free")
        return [scrape.value(f"docker_volume_{family}", volume=name) is not None for family in families]

    client.volumes.create("never", driver_opts=served)
    client.volumes.create("once", driver_opts=served)
    user = run(client, "user", volumes={"once": {"bind": "/data"}})
    exporter.eventually(lambda _: has_space("once")[0], "its capacity while mounted", PATIENCE_SECONDS)
    user.remove(force=True)
    exporter.eventually(lambda _: not any(has_space("once")), "nothing afterwards", PATIENCE_SECONDS)
    scrape = exporter.scrape()
    assert not any(has_space("never"))
    for name in ("never", "once"):
        [(info, _)] = scrape.series("docker_volume_info", volume=name)
        assert info["capacity_source"] == ""


@pytest.fixture
def hanging(client: docker.DockerClient, exporter: ExporterProcess, nfs: dict[str, str]) -> Iterator[None]:
    """A container uses a volume whose server is gone, so that every access hangs."""
    volume = client.volumes.create("served", driver_opts=nfs)
    user = run(client, "user", volumes={"served": {"bind": "/data"}})
    execute(user, "dd if=/dev/zero of=/data/file bs=1M count=7; sync")
    exporter.eventually(
        lambda scrape: scrape.value("docker_volume_capacity_bytes", volume="served"),
        "its capacity",
        PATIENCE_SECONDS,
    )
    service("stop", "nfs-server")
    asked = ["timeout", "--signal=KILL", "5", "stat", "--file-system", volume.attrs["Mountpoint"]]
    assert subprocess.run(asked, check=False, capture_output=True).returncode != 0, "the file system still answers"
    yield
    service("start", "nfs-server")


def test_the_page_answers_within_a_second_while_the_server_is_gone(
    exporter: ExporterProcess, hanging: None
) -> None:
    slowest = 0.0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        begin = time.monotonic()
        exporter.get("/metrics")
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.2)
    print(f"\nslowest page while the server was gone: {slowest:.3f} s")
    assert slowest < 1


def test_other_volumes_are_measured_while_the_server_is_gone(
    client: docker.DockerClient, exporter: ExporterProcess, hanging: None
) -> None:
    volume = client.volumes.create("plain")
    writer = run(client, "writer", volumes={"plain": {"bind": "/data"}})
    execute(writer, "dd if=/dev/zero of=/data/file bs=1M count=3; sync -f /data/file")
    used_bytes, _ = disk_usage(Path(volume.attrs["Mountpoint"]))
    exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="plain") == used_bytes,
        "du's bytes",
        PATIENCE_SECONDS,
    )


def test_a_volume_whose_server_came_back_is_measured_again(
    client: docker.DockerClient, exporter: ExporterProcess, hanging: None
) -> None:
    exporter.eventually(
        lambda scrape: scrape.value("docker_volume_measurement_errors_total", volume="served", reason="timeout"),
        "an error that tells that it hangs",
        PATIENCE_SECONDS,
    )
    service("start", "nfs-server")
    execute(client.containers.get("user"), "dd if=/dev/zero of=/data/more bs=1M count=20; sync")
    truth = df(client.volumes.get("served").attrs["Mountpoint"])
    exporter.eventually(
        lambda scrape: scrape.value("docker_volume_used_bytes", volume="served") == truth.used_bytes,
        f"{truth}",
        PATIENCE_SECONDS,
    )
