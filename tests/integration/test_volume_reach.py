"""Volumes as they come and go, from the host and from inside a container, and what can't be read."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.harness.engine import IMAGE, PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess
from tests.harness.proxy import RecordingProxy
from tests.harness.workloads import disk_usage, execute, run

pytestmark = pytest.mark.engine

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=50m"}


@pytest.fixture(scope="module")
def shared_engine(private_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """An engine whose data root is on a shared mount, as everything is on a host with systemd."""
    engine = PrivateEngine(is_second=True)
    engine.data_root.mkdir()
    subprocess.run(["mount", "--bind", str(engine.data_root), str(engine.data_root)], check=True)
    subprocess.run(["mount", "--make-shared", str(engine.data_root)], check=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


def inside_a_container(engine: PrivateEngine, rootfs: str) -> list[str]:
    """The words of `docker run` for the exporter in a container that sees the host's volumes read-only."""
    volumes = engine.data_root / "volumes"
    system = {f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64", "/bin", sys.base_prefix, str(REPOSITORY))}
    binds = [*sorted(system), f"{engine.socket}:{engine.socket}", f"{volumes}:{rootfs}{volumes}:ro,rslave"]
    command = ["docker", "-H", engine.host, "run", "--rm", "--read-only", "--network=host", "--pid=host"]
    command += ["--cap-drop=ALL", f"--workdir={REPOSITORY}"]
    return [*command, *(word for bind in binds for word in ("-v", bind)), IMAGE]


@pytest.mark.parametrize("place", ["host", "container", "container with --path.rootfs"])
def test_a_tmpfs_volume_is_right_before_its_first_use_while_mounted_and_after(
    shared_engine: PrivateEngine, place: str
) -> None:
    rootfs = "/host" if "rootfs" in place else ""
    started_by = inside_a_container(shared_engine, rootfs) if "container" in place else []
    flags = [f"--engine.host={shared_engine.host}", *([f"--path.rootfs={rootfs}"] if rootfs else [])]
    with (
        contextlib.closing(shared_engine.client()) as client,
        ExporterProcess(*flags, "--volume.interval=1s", started_by=started_by) as exporter,
    ):
        client.volumes.create("ram", driver_opts=TMPFS)
        client.volumes.create("disk")
        scrape = exporter.eventually(
            lambda scrape: scrape.series("docker_volume_info", volume="ram"), "the volume"
        )
        assert scrape.value("docker_volume_capacity_bytes", volume="ram") is None
        for _ in range(2):
            binds = {"ram": {"bind": "/ram"}, "disk": {"bind": "/disk"}}
            user = run(client, "user", network_mode="none", volumes=binds)
            execute(
                user, "dd if=/dev/zero of=/ram/file bs=1M count=7; dd if=/dev/zero of=/disk/file bs=1M count=3"
            )
            scrape = exporter.eventually(
                lambda scrape: scrape.value("docker_volume_used_bytes", volume="ram") == 7 * 2**20, "seven MiB"
            )
            assert scrape.value("docker_volume_capacity_bytes", volume="ram") == 50 * 2**20
            assert scrape.value("docker_volume_available_bytes", volume="ram") == 43 * 2**20
            user.remove(force=True)
            scrape = exporter.eventually(
                lambda scrape: scrape.value("docker_volume_used_bytes", volume="ram") is None, "unmounted", 3
            )
            assert scrape.value("docker_volume_capacity_bytes", volume="ram") is None
        used, _ = disk_usage(Path(client.volumes.get("disk").attrs["Mountpoint"]))
        scrape = exporter.eventually(
            lambda scrape: scrape.value("docker_volume_used_bytes", volume="disk") == used, "the plain volume"
        )
        [(info, _)] = scrape.series("docker_volume_info", volume="disk")
        assert not info["filesystem"].startswith("/host")
        for name in ("ram", "disk"):
            client.volumes.get(name).remove()


@pytest.fixture
def remapped_engine(private_engine: PrivateEngine, tmp_path: Path) -> Iterator[PrivateEngine]:
    """An engine whose containers' root is another user, and whose volumes lie elsewhere (`userns-remap`)."""
    owned = ["/etc/subuid", "/etc/subgid"]
    for file in owned:
        own = tmp_path / Path(file).name
        own.write_text("nobody:200000:65536\nnogroup:200000:65536\n")
        subprocess.run(["mount", "--bind", str(own), file], check=True)
    engine = PrivateEngine("--userns-remap=nobody:nogroup", is_second=True)
    engine.root.chmod(0o711)  # the remapped root must get to its own folder
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
        for file in owned:
            subprocess.run(["umount", file], check=True)


def test_volumes_of_remapped_users_are_found_and_measured(remapped_engine: PrivateEngine) -> None:
    with (
        contextlib.closing(remapped_engine.client()) as client,
        ExporterProcess(f"--engine.host={remapped_engine.host}", "--volume.interval=1s") as exporter,
    ):
        path = Path(client.volumes.create("data").attrs["Mountpoint"])
        assert "200000.200000" in str(path)
        writer = run(client, "writer", network_mode="none", volumes={"data": {"bind": "/data"}})
        execute(writer, "dd if=/dev/zero of=/data/file bs=1M count=3; chmod 700 /data; sync")
        used, inodes = disk_usage(path)
        scrape = exporter.eventually(lambda s: s.value("docker_volume_used_bytes", volume="data") == used, "du's")
        assert used > 3_000_000
        assert scrape.value("docker_volume_inodes_used", volume="data") == inodes
        writer.remove(force=True)


def test_a_stopped_users_last_writes_are_measured_at_once(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    volume = client.volumes.create("data")
    with ExporterProcess(f"--engine.host={engine.host}", "--volume.interval=1h") as exporter:
        writer = run(client, "writer", volumes={"data": {"bind": "/data"}})
        exporter.eventually(lambda scrape: scrape.value("docker_volume_used_bytes", volume="data"), "measured")
        execute(writer, "dd if=/dev/zero of=/data/file bs=1M count=5; sync")
        writer.kill()
        used, _ = disk_usage(Path(volume.attrs["Mountpoint"]))
        exporter.eventually(
            lambda scrape: scrape.value("docker_volume_used_bytes", volume="data") == used, "again", 3
        )


def test_volumes_that_cannot_be_read_have_a_reason_and_the_engines_word(
    client: docker.DockerClient, engine: PrivateEngine, tmp_path: Path
) -> None:
    client.volumes.create("data", labels={"netvol.capacity": "10MB"})
    writer = run(client, "writer", volumes={"data": {"bind": "/data"}})
    execute(writer, "dd if=/dev/zero of=/data/file bs=1000 count=5000")
    proxy = RecordingProxy(tmp_path / "proxy.sock", engine.socket)
    flags = ["--volume.interval=1s", f"--path.rootfs={tmp_path}"]
    with proxy, ExporterProcess(f"--engine.host={proxy.host}", *flags) as exporter:
        scrape = exporter.eventually(
            lambda scrape: scrape.value("docker_volume_used_bytes", volume="data") == 5_000_000, "apparent size"
        )
        assert (scrape.value("docker_volume_measurement_errors_total", volume="data", reason="missing") or 0) > 0
        assert scrape.value("docker_volume_inodes_used", volume="data") is None
        assert scrape.value("docker_volume_capacity_bytes", volume="data") == 10_000_000
        assert scrape.value("docker_volume_available_bytes", volume="data") == 5_000_000
        exporter.eventually(
            lambda scrape: (
                (scrape.value("docker_volume_measurement_errors_total", volume="data", reason="missing") or 0) > 2
            ),
            "tried again",
        )
        assert sum("/system/df" in path for _, path in proxy.requests) == 1


def test_the_engine_is_not_asked_for_disk_usage_where_that_is_off(
    client: docker.DockerClient, engine: PrivateEngine, tmp_path: Path
) -> None:
    client.volumes.create("data")
    proxy = RecordingProxy(tmp_path / "proxy.sock", engine.socket)
    flags = ["--volume.interval=1s", f"--path.rootfs={tmp_path}", "--no-volume.engine-df"]
    with proxy, ExporterProcess(f"--engine.host={proxy.host}", *flags) as exporter:
        scrape = exporter.eventually(
            lambda scrape: scrape.value("docker_volume_measurement_errors_total", volume="data"), "a failure"
        )
        assert scrape.value("docker_volume_used_bytes", volume="data") is None
        assert not any("/system/df" in path for _, path in proxy.requests)


def test_an_unusable_capacity_is_told_once_and_the_next_best_source_taken(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.volumes.create("data", labels={"netvol.capacity": "plenty"})
    scrape = exporter.eventually(
        lambda scrape: scrape.value("docker_volume_capacity_bytes", volume="data"), "a capacity"
    )
    [(info, _)] = scrape.series("docker_volume_info", volume="data")
    assert info["capacity_source"] == "filesystem"
    [line] = [line for line in exporter.log.splitlines() if "plenty" in line]
    assert "volume=data" in line
