"""What kinds of volumes there are, told from what the engine says of them."""

import re
from collections import Counter
from collections.abc import Iterable

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Mount, Volume

_ANONYMOUS_NAME = re.compile(r"[0-9a-f]{64}")
_ANONYMOUS_LABEL = "com.docker.volume.anonymous"


def is_anonymous(volume: Volume) -> bool:
    """Whether the engine made up the name: by its label (engine 23.0 and later) or the name's form."""
    return _ANONYMOUS_LABEL in volume.labels or _ANONYMOUS_NAME.fullmatch(volume.name) is not None


def is_bind_mount(volume: Volume) -> bool:
    """Whether it is no volume of the engine's, but a directory of the host that containers mount."""
    return not volume.driver


def needs_mount(volume: Volume) -> bool:
    """Whether a volume's files are only there while it is mounted (moby: volume/local/local_unix.go)."""
    if is_bind_mount(volume):
        return False
    return volume.driver != "local" or bool(volume.options.get("type") or volume.options.get("device"))


def takes_none_unmounted(volume: Volume) -> bool:
    """Whether removing a volume that is not mounted frees nothing: tmpfs, nfs, a bind, a disk."""
    return volume.driver == "local" and needs_mount(volume)


def kind_of(volume: Volume) -> str:
    """Its kind: directory, bind, the type of a local mount (tmpfs, nfs, ext4), plugin, cluster or bind_mount."""
    if is_bind_mount(volume):
        return "bind_mount"
    if volume.is_cluster:
        return "cluster"
    if volume.driver != "local":
        return "plugin"
    if not {"bind", "rbind"}.isdisjoint(volume.options.get("o", "").split(",")):
        return "bind"
    return volume.options.get("type") or "directory"


def bind_mounts(containers: Iterable[Container], destination: re.Pattern[str] | None) -> dict[str, Volume]:
    """The bind mounts with such a destination as if they were volumes, by their path on the host.

    No volume has such a name: the engine allows no slash in one.
    """
    if destination is None:
        return {}
    sources = {
        mount.source
        for container in containers
        for mount in container.mounts
        if mount.kind == "bind" and mount.source and destination.fullmatch(mount.destination)
    }
    return {source: Volume(source, "", source, scope="local") for source in sources}


def name_in(mount: Mount) -> str:
    """The name of what a container mounts: the volume's, or the path on the host."""
    return mount.volume or mount.source


def users_of(inventory: Inventory) -> dict[str, Counter[str]]:
    """How many containers, running and stopped, mount each volume; one that mounts it twice counts once."""
    users: dict[str, Counter[str]] = {}
    for container in inventory.containers.values():
        state = "running" if container.is_running else "stopped"
        for name in set(map(name_in, container.mounts)):
            users.setdefault(name, Counter())[state] += 1
    return users


def writers_of(inventory: Inventory) -> dict[str, dict[str, int]]:
    """Of the running containers that may write to each volume, ids and process ids: a restart is another user."""
    writers: dict[str, dict[str, int]] = {}
    for container in inventory.containers.values():
        if container.is_running:
            for mount in container.mounts:
                if not mount.read_only:
                    writers.setdefault(name_in(mount), {})[container.id] = container.pid
    return writers
