"""How much a volume may hold: the best of what limits it."""

from dataclasses import dataclass
from typing import Literal

from exporter.volume.usage import Space

Source = Literal["quota", "mount", "declared", "filesystem"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """A limit with its source. `available_bytes` is None while it is not known; `inodes` is 0 for no limit."""

    source: Source
    capacity_bytes: int
    available_bytes: int | None
    inodes: int = 0
    inodes_free: int = 0


def capacity_of(
    *,
    quota: Space | None = None,
    own: Space | None = None,
    declared_bytes: int | None = None,
    filesystem: Space | None = None,
    used_bytes: int | None = None,
) -> Capacity | None:
    """Choose the source: a project quota, a file system of the volume's own, a declaration, the shared disk.

    Of a declared capacity is available what it leaves, but not more than the file system does. None if nothing
    is known.
    """
    if quota is not None:
        return _of_space("quota", quota)
    if own is not None:
        return _of_space("mount", own)
    if declared_bytes is None:
        return _of_space("filesystem", filesystem) if filesystem is not None else None
    available = None
    if used_bytes is not None:
        available = max(declared_bytes - used_bytes, 0)
        if filesystem is not None:
            available = min(available, filesystem.available_bytes)
    inodes = (filesystem.inodes, filesystem.inodes_free) if filesystem is not None else (0, 0)
    return Capacity("declared", declared_bytes, available, *inodes)


def _of_space(source: Source, space: Space) -> Capacity:
    return Capacity(source, space.size_bytes, space.available_bytes, space.inodes, space.inodes_free)
