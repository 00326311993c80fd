"""What is mounted where, as the exporter's own mount namespace shows it (`/proc/self/mountinfo`, proc(5)).

The own view is the one that counts: it says what a path that is about to be measured really is. An option
volume that is not mounted here would otherwise be taken for the disk below it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_OCTAL = re.compile(rb"\\([0-7]{3})")
_FIXED_FIELDS = 6


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One mount: where, which part of which file system. `device` is `major:minor`."""

    path: str
    root: str
    device: str
    fstype: str
    source: str


class MountTable:
    """All mounts of a namespace."""

    def __init__(self, mounts: Iterable[MountPoint]) -> None:
        # A later mount on the same path hides an earlier one.
        self._by_path = {mount.path: mount for mount in mounts}
        self._whole: dict[str, MountPoint] = {}
        for mount in sorted(self._by_path.values(), key=lambda mount: len(mount.path), reverse=True):
            if mount.root == "/":
                self._whole[mount.device] = mount

    def at(self, path: str) -> MountPoint | None:
        """The mount whose mount point is exactly this path."""
        return self._by_path.get(path)

    def holding(self, path: str) -> MountPoint | None:
        """The mount that a path lies on; None only where the table is empty."""
        pure = PurePosixPath(path)
        for parent in (pure, *pure.parents):
            mount = self._by_path.get(str(parent))
            if mount is not None:
                return mount
        return None

    def filesystem_of(self, mount: MountPoint) -> MountPoint:
        """The mount that shows the whole file system of which a bind mount shows a part.

        The engine binds its data root onto itself, and volumes are often binds; the file system is one.
        Where it is nowhere mounted whole, as in a container, the part stands for it.
        """
        return self._whole.get(mount.device, mount)


def parse_mountinfo(text: bytes) -> MountTable:
    """Read a mountinfo file; lines of another form are passed over."""
    mounts = []
    for line in text.splitlines():
        head, separator, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        if not separator or len(fields) < _FIXED_FIELDS or len(rest) < 2:  # noqa: PLR2004 - type and source
            continue
        mounts.append(
            MountPoint(
                path=_unescaped(fields[4]),
                root=_unescaped(fields[3]),
                device=fields[2].decode(errors="replace"),
                fstype=rest[0].decode(errors="replace"),
                source=_unescaped(rest[1]),
            )
        )
    return MountTable(mounts)


def on_host(path: str, rootfs: Path) -> str:
    """A path as the host calls it: without the place where the host's root is seen."""
    prefix = str(rootfs).rstrip("/")
    return (path.removeprefix(prefix) or "/") if prefix and (path + "/").startswith(prefix + "/") else path


def seen_here(path: str, rootfs: Path) -> str:
    """A path of the host as it is seen here."""
    return str(rootfs).rstrip("/") + path


def _unescaped(field: bytes) -> str:
    """Spaces, tabs, line feeds and backslashes are written as three octal digits (fs/proc_namespace.c)."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field).decode(errors="replace")
