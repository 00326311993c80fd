"""Where the files of a volume are seen here, and whether their file system is the volume's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from exporter.inventory.model import Volume
from exporter.volume.kinds import is_bind_mount, needs_mount
from exporter.volume.mounts import MountPoint, MountTable, seen_here


@dataclass(frozen=True, slots=True)
class Place:
    """A path, the file system that it lies on, and what is mounted inside it (relative paths).

    `is_own` says that the file system is the volume's alone, so that its space is the volume's.
    """

    path: str
    mount: MountPoint
    is_own: bool
    nested: tuple[str, ...] = ()

    def has_files_of(self, other: "Place | None") -> bool:
        """Whether the same files are there; what is mounted inside may have changed."""
        return other is not None and (self.path, self.mount, self.is_own) == (
            other.path,
            other.mount,
            other.is_own,
        )


def folder_of(volume: Volume) -> str:
    """The folder in which the driver `local` has all its volumes; a bind mount itself; empty for others."""
    if is_bind_mount(volume):
        return volume.mountpoint
    return volume.mountpoint.rpartition("/")[0].rpartition("/")[0] if volume.driver == "local" else ""


def place_of(
    volume: Volume, table: MountTable, rootfs: Path, links: Mapping[str, str] = MappingProxyType({})
) -> Place | None:
    """Find a volume's files; None while it has none, or none that is seen here.

    `links` says where folders that are symbolic links lead to: mounts are known by their real paths alone.

    A volume with driver options has files only while something is mounted on its mount point: what is seen there
    otherwise is the disk below. What is mounted is the volume's own file system if it is all of one (its root),
    unless that holds the directories of volumes too; of a server's no more is known than that it is mounted.
    """
    if not volume.mountpoint:
        return None
    folder = folder_of(volume)
    path = seen_here(links.get(folder, folder) + volume.mountpoint.removeprefix(folder), rootfs)
    exact, holder = table.at(path), table.holding(path)
    if holder is None or (exact is None and needs_mount(volume)):
        return None
    around = table.holding(path.rpartition("/")[0] or "/")
    is_own = exact is not None and (
        exact.is_remote or (exact.root == "/" and around is not None and exact.device != around.device)
    )
    mount = holder if holder.is_remote else table.filesystem_of(holder)
    return Place(path, mount, is_own, tuple(table.below(path)))


def with_shared_filesystems(places: Mapping[str, Place]) -> dict[str, Place]:
    """The places, with one mount for each file system that they share, also where none shows it whole.

    In a container each bind shows a part of the host's disk: one full disk would look like several.
    """
    shared: dict[str, MountPoint] = {}
    for place in places.values():
        known = shared.setdefault(place.mount.device, place.mount)
        if not place.is_own and (len(place.mount.path), place.mount.path) < (len(known.path), known.path):
            shared[place.mount.device] = place.mount
    return {
        name: place if place.is_own else replace(place, mount=shared[place.mount.device])
        for name, place in places.items()
    }
