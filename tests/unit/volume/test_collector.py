import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Mount, Volume
from exporter.metrics.page import Format, make_page
from exporter.metrics.runner import Runner
from exporter.volume.collector import VolumeCollector
from exporter.volume.measuring import Measuring
from exporter.volume.state import VolumeOptions
from exporter.volume.walker import usage
from tests.harness.wait import eventually_async


class Measured:
    """A collector with its measuring."""

    def __init__(self, inventory: Inventory, **options: Any) -> None:
        inventory.mark_listed("volume")
        options.setdefault("interval_seconds", 0.2)
        self.measuring = Measuring(inventory, VolumeOptions(**options), Runner().watch)
        self.collector = VolumeCollector(inventory, self.measuring)


def volume(tmp_path: Path, name: str = "data", **more: Any) -> Volume:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 50_000)
    return Volume(name, "local", str(folder), **more)


def page(measured: Measured) -> str:
    return make_page(measured.collector.samples()).in_format(Format.TEXT).decode()


@asynccontextmanager
async def running(measured: Measured) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(measured.measuring.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_volume_is_measured_once_it_is_there_and_gone_once_it_is_gone(tmp_path: Path) -> None:
    inventory = Inventory()
    measured = Measured(inventory)
    async with running(measured):
        inventory.put_volume(volume(tmp_path))
        used, inodes = usage(str(tmp_path / "data"))
        await eventually_async(
            lambda: f'docker_volume_used_bytes{{volume="data"}} {used}\n' in page(measured), "measured"
        )
        text = page(measured)
        assert f'docker_volume_inodes_used{{volume="data"}} {inodes}\n' in text
        assert 'capacity_source="filesystem"' in text
        assert "docker_filesystem_size_bytes{" in text
        inventory.remove_volume("data")
        assert 'volume="data"' not in page(measured)


async def test_an_option_volume_that_is_not_mounted_is_not_taken_for_the_disk_below(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(volume(tmp_path, "ram", options={"type": "tmpfs", "device": "tmpfs"}))
    measured = Measured(inventory)
    await measured.measuring.measure_all()
    text = page(measured)
    assert (
        'docker_volume_info{volume="ram",driver="local",scope="local",kind="tmpfs",capacity_source="",filesystem=""'
        in text
    )
    assert "docker_volume_used_bytes" not in text
    assert "docker_volume_capacity_bytes" not in text


async def test_a_volume_that_cannot_be_measured_has_a_reason_and_no_value(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("gone", "local", str(tmp_path / "gone")))
    measured = Measured(inventory)
    await measured.measuring.measure_all()
    text = page(measured)
    assert 'docker_volume_measurement_errors_total{volume="gone",reason="missing"} 1\n' in text
    assert "docker_volume_used_bytes" not in text
    assert "docker_volume_encrypted" not in text


async def test_who_uses_a_volume_is_told(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(volume(tmp_path))
    mount = Mount("volume", "data", "/x", "/var/lib/data", read_only=True)
    inventory.put_container(Container("a", "web", "x", "running", pid=5, mounts=(mount, mount)))
    inventory.put_container(Container("b", "old", "x", "exited", mounts=(mount,)))
    measured = Measured(inventory)
    await measured.measuring.measure_all()
    text = page(measured)
    assert 'docker_volume_containers{volume="data",state="running"} 1\n' in text
    assert 'docker_volume_containers{volume="data",state="stopped"} 1\n' in text
    assert (
        'docker_volume_mount_info{volume="data",container="web",destination="/var/lib/data",read_only="true"} 1\n'
        in text
    )


async def test_anonymous_dangling_volumes_are_summed_and_not_listed(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(volume(tmp_path, "a" * 64))
    inventory.put_volume(volume(tmp_path, "named"))
    measured = Measured(inventory)
    await measured.measuring.measure_all()
    text = page(measured)
    used = usage(str(tmp_path / ("a" * 64)))[0]
    assert 'docker_volume_dangling{anonymous="true"} 1\n' in text
    assert f'docker_volume_dangling_bytes{{anonymous="true"}} {used}\n' in text
    assert "a" * 64 not in text
    assert 'volume="named"' in text


async def test_dangling_volumes_of_which_no_size_is_known_are_not_said_to_take_none(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("gone", "local", str(tmp_path / "gone")))
    inventory.put_volume(Volume("far", "rexray", ""))
    inventory.put_volume(Volume("csi", "csi", "", is_cluster=True))
    measured = Measured(inventory)
    await measured.measuring.measure_all()
    assert 'docker_volume_dangling{anonymous="false"} 2\n' in page(measured)
    assert 'docker_volume_dangling_bytes{anonymous="false"}' not in page(measured)
    inventory.put_volume(volume(tmp_path, "ram", options={"type": "tmpfs", "device": "tmpfs"}))
    await measured.measuring.measure_all()
    assert 'docker_volume_dangling_bytes{anonymous="false"} 0\n' in page(measured)


def test_before_the_volumes_are_listed_nothing_is_claimed() -> None:
    inventory = Inventory()
    measuring = Measuring(inventory, VolumeOptions(), Runner().watch)
    assert list(VolumeCollector(inventory, measuring).samples()) == []
