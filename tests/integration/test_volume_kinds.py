"""Every kind of volume on a real engine, compared with du, df and stat at the same moment."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import pytest

from tests.harness import privatens
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.plugin import VolumePlugin
from tests.harness.wait import eventually
from tests.harness.workloads import disk_usage, execute, run

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Row:
    """What the page says of a volume, or what the tools say; None where there is nothing to say."""

    source: str
    used_bytes: float | None
    inodes_used: float | None
    capacity_bytes: float | None
    available_bytes: float | None
    inodes: float | None
    inodes_free: float | None


NOTHING = Row("", None, None, None, None, None, None)


def shown(scrape: Scrape, name: str) -> Row:
    [(info, _)] = scrape.series("docker_volume_info", volume=name)
    values = [
        scrape.value(f"docker_volume_{what}", volume=name)
        for what in ("used_bytes", "inodes_used", "capacity_bytes", "available_bytes", "inodes", "inodes_free")
    ]
    return Row(info["capacity_source"], *values)


def df(path: str, *columns: str) -> list[int]:
    command = ["df", "-B1", f"--output={','.join(columns)}", path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.splitlines()[1].split()]


def by_df(path: str) -> Row:
    """A file system of its own: all six numbers are df's."""
    used, size, available, inodes, inodes_used, inodes_free = df(
        path, "used", "size", "avail", "itotal", "iused", "iavail"
    )
    return Row("mount", used, inodes_used, size, available, inodes, inodes_free)


def by_du(path: str, declared_bytes: int | None) -> Row:
    """A directory: usage is du's, the rest df's of the disk, or the declaration's."""
    used, inodes_used = disk_usage(Path(path))
    size, available, inodes, inodes_free = df(path, "size", "avail", "itotal", "iavail")
    source = "filesystem" if declared_bytes is None else "declared"
    if declared_bytes is not None:
        size, available = declared_bytes, min(declared_bytes - used, available)
    return Row(source, used, inodes_used, size, available, inodes, inodes_free)


@pytest.fixture(autouse=True)
def own_namespaces() -> None:
    """What is mounted here is mounted for the tests alone."""
    privatens.enter()


@pytest.fixture
def loop_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Block devices with an ext4 and an xfs, by their type."""
    folder = tmp_path_factory.mktemp("devices")
    devices = {}
    try:
        for kind, megabytes in (("EXT4", 64), ("XFS", 320)):
            image = folder / f"{kind}.img"
            with image.open("wb") as file:
                file.truncate(megabytes * 2**20)
            subprocess.run([f"mkfs.{kind.lower()}", "-q", str(image)], check=True)
            done = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
            devices[kind] = done.stdout.strip()
        yield devices
    finally:
        for device in devices.values():
            subprocess.run(["losetup", "-d", device], check=True)


@pytest.fixture
def quiet_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk that nobody else writes to, so that its free space is the same for df and for the page."""
    folder = tmp_path_factory.mktemp("disk")
    image = folder.parent / "quiet.img"
    with image.open("wb") as file:
        file.truncate(512 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def other_engine(quiet_disk: Path) -> Iterator[PrivateEngine]:
    """An engine whose volumes are on the quiet disk."""
    engine = PrivateEngine(data_root=quiet_disk / "docker", is_second=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture
def own_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is mounted somewhere on the host, for a volume to be bound to."""
    folder = tmp_path / "own-disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


OPTIONS: dict[str, dict[str, str]] = {
    "directory": {},
    "labelled": {},
    "flagged": {},
    "nested": {},
    "tmpfs": {"type": "tmpfs", "device": "tmpfs", "o": "size=50m"},
    "ext4": {"type": "ext4", "device": "EXT4"},
    "xfs": {"type": "xfs", "device": "XFS"},
    "bind": {"type": "none", "o": "bind", "device": "BOUND"},
    "bind-disk": {"type": "none", "o": "bind", "device": "DISK"},
    "unmounted": {"type": "tmpfs", "device": "tmpfs", "o": "size=9m"},
}
OWN = ("tmpfs", "ext4", "xfs", "bind-disk", "plugin")
DECLARED = {"labelled": 60 * 2**20, "flagged": 70 * 10**6}
NAMES = (*OPTIONS, "plugin", "plugin-unmounted")


class Host:
    """An engine with a volume of each kind, a container that writes to those that it can, and nothing else."""

    def __init__(self, client: docker.DockerClient, folder: Path, devices: dict[str, str], disk: Path) -> None:
        self._client = client
        self.bound_path = str(folder / "host")
        for path in (folder / "bound", folder / "host"):
            path.mkdir()
        places = {"BOUND": str(folder / "bound"), "DISK": str(disk), **devices}
        for name, options in OPTIONS.items():
            placed = {key: places.get(value, value) for key, value in options.items()}
            labels = {"netvol.capacity": "60m"} if name == "labelled" else {}
            client.volumes.create(name, driver_opts=placed, labels=labels)
        for name in ("plugin", "plugin-unmounted"):
            client.volumes.create(name, driver="netvoltest")
        targets = {name: f"/v/{name}" for name in NAMES if "unmounted" not in name}
        targets[self.bound_path] = "/host/folder"
        binds = {name: {"bind": target} for name, target in targets.items()}
        self.writer = run(client, "writer", network_mode="none", volumes=binds)
        for number, target in enumerate(targets.values(), start=1):
            execute(
                self.writer, f"mkdir {target}/sub; dd if=/dev/zero of={target}/sub/file bs=64k count={16 * number}"
            )
            execute(self.writer, f"ln {target}/sub/file {target}/again")
            execute(self.writer, f"dd if=/dev/zero of={target}/sparse bs=1 seek=1M count=1; sync")
        # A disk, and a part of the disk that the volume is on, mounted inside a volume.
        self.inside = {name: Path(self.path("nested")) / name for name in ("xfs", "labelled")}
        for name, place in self.inside.items():
            place.mkdir()
            subprocess.run(["mount", "--bind", self.path(name), str(place)], check=True)

    def path(self, name: str) -> str:
        """Where a volume's files are, or those of the bind mount."""
        return name if name == self.bound_path else str(self._client.volumes.get(name).attrs["Mountpoint"])

    def truth(self, name: str) -> Row:
        """What the tools say of a volume."""
        if "unmounted" in name:
            return NOTHING
        if name in OWN:
            return by_df(self.path(name))
        row = by_du(self.path(name), DECLARED.get(name))
        if name == "nested":  # du -x counts what is mounted from the same disk, and can't be told otherwise
            again = disk_usage(self.inside["labelled"])
            row = replace(
                row, used_bytes=(row.used_bytes or 0) - again[0], inodes_used=(row.inodes_used or 0) - again[1]
            )
        return row

    def close(self) -> None:
        for place in self.inside.values():
            subprocess.run(["umount", "-l", str(place)], check=True)
        self.writer.remove(force=True)
        for name in NAMES:
            self._client.volumes.get(name).remove()


def test_every_kind_of_volume_has_the_numbers_of_du_and_df(
    other_engine: PrivateEngine, loop_devices: dict[str, str], quiet_disk: Path, own_disk: Path, tmp_path: Path
) -> None:
    flags = ["--volume.interval=1s", "--volume.capacity=flag.*=70MB", "--volume.bind-mounts=/host.*"]
    with (
        contextlib.closing(other_engine.client()) as client,
        VolumePlugin("netvoltest", tmp_path / "plugin", 20 * 2**20),
        ExporterProcess(f"--engine.host={other_engine.host}", *flags) as exporter,
        contextlib.closing(Host(client, quiet_disk, loop_devices, own_disk)) as host,
    ):
        names = (*NAMES, host.bound_path)
        rows: dict[str, tuple[Row, Row]] = {}

        def are_equal() -> bool:
            scrape = exporter.scrape()
            if all(scrape.series("docker_volume_info", volume=name) for name in names):
                rows.update({name: (shown(scrape, name), host.truth(name)) for name in names})
            return bool(rows) and all(page == truth for page, truth in rows.values())

        with contextlib.suppress(AssertionError):
            eventually(are_equal, "the page's numbers equal to those of the tools", 30)
        scrape = exporter.scrape()
        print_table(rows, scrape)
        for name in ("plugin", "plugin-unmounted"):
            assert scrape.value("docker_volume_plugin_status", volume=name, field="blocks") == 1
        assert {name: page for name, (page, _) in rows.items()} == {
            name: tools for name, (_, tools) in rows.items()
        }


def print_table(rows: dict[str, tuple[Row, Row]], scrape: Scrape) -> None:
    head = ("used", "capacity", "available", "inodes used", "inodes")
    print(f"\n{'volume':<17}{'kind':<11}{'source':<11}" + "".join(f"{word:>13}" for word in head))
    for name, (page, _) in rows.items():
        [(info, _)] = scrape.series("docker_volume_info", volume=name)
        numbers = (page.used_bytes, page.capacity_bytes, page.available_bytes, page.inodes_used, page.inodes)
        text = "".join(f"{'-' if number is None else int(number):>13}" for number in numbers)
        print(f"{Path(name).name:<17}{info['kind']:<11}{page.source or '-':<11}{text}")
