"""What is mounted where, as the exporter's own mount namespace shows it (`/proc/self/mountinfo`, proc(5)).

The own view is the one that counts: it says what a path that is about to be measured really is. An option
volume that is not mounted here would otherwise be taken for the disk below it.
"""

import asyncio
import re
import select
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

_OCTAL = re.compile(rb"\\([0-7]{3})")
_DEVICE = re.compile(rb"[0-9]+:[0-9]+")
_FIXED_FIELDS, _LAST_FIELDS = 6, 3
_MOST_LINKS = 40
"""That the kernel follows in one path (path_resolution(7))."""

_REMOTE_TYPES = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "9p",
        "afs",
        "glusterfs",
        "lustre",
        "beegfs",
        "virtiofs",
        "gpfs",
    }
)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One mount: where, which part of which file system. `device` is `major:minor`.

    `project_quota` says whether the file system enforces project quotas (xfs, ext4 and f2fs tell it alike).
    """

    path: str
    root: str
    device: str
    fstype: str
    source: str
    project_quota: bool = False

    @property
    def is_remote(self) -> bool:
        """Whether a server stands behind it, so that any question can hang, and a walk costs others' time."""
        return self.fstype in _REMOTE_TYPES or self.fstype.startswith("fuse")


class MountTable:
    """All mounts of a namespace."""

    def __init__(self, mounts: Iterable[MountPoint]) -> None:
        # A later mount on the same path hides an earlier one.
        self._by_path = {mount.path: mount for mount in mounts}
        self._paths = sorted(self._by_path)
        self._whole: dict[str, MountPoint] = {}
        for mount in sorted(self._by_path.values(), key=lambda mount: len(mount.path), reverse=True):
            if mount.root == "/":
                self._whole[mount.device] = mount

    def at(self, path: str) -> MountPoint | None:
        """The mount whose mount point is exactly this path."""
        return self._by_path.get(path)

    def holding(self, path: str) -> MountPoint | None:
        """The mount that a path lies on; None only where the table is empty."""
        while path:
            mount = self._by_path.get(path)
            if mount is not None:
                return mount
            path = path.rpartition("/")[0]
        return self._by_path.get("/")

    def is_behind_server(self, path: str) -> bool:
        """Whether looking a path up may ask a server, also on the way to what is mounted inside, or by automount.

        One that has the root itself does not count: without it nothing here would run.
        """
        while path:
            mount = self._by_path.get(path)
            if mount is not None and (mount.is_remote or mount.fstype == "autofs"):
                return True
            path = path.rpartition("/")[0]
        return False

    def below(self, path: str) -> list[str]:
        """The mount points inside a directory, relative to it; what is mounted there is not its own."""
        prefix = path.rstrip("/") + "/"
        first = bisect_left(self._paths, prefix)
        return [
            mounted.removeprefix(prefix)
            for mounted in takewhile(lambda mounted: mounted.startswith(prefix), islice(self._paths, first, None))
            if mounted != prefix
        ]

    def filesystem_of(self, mount: MountPoint) -> MountPoint:
        """The mount that shows the whole file system of which a bind mount shows a part.

        The engine binds its data root onto itself, and volumes are often binds; the file system is one.
        Where it is nowhere mounted whole, as in a container, the part stands for it.
        """
        return self._whole.get(mount.device, mount)


class MountChanges:
    """Tells when something was mounted or unmounted: the kernel marks an open mountinfo then (proc(5))."""

    def __init__(self, changed: asyncio.Event, path: Path = Path("/proc/self/mountinfo")) -> None:
        self._changed = changed
        self._path = path

    def __enter__(self) -> Self:
        self._file = self._path.open("rb")
        # Always readable, changed or not: so it is watched for the mark alone, by a poll object of its own.
        self._poll = select.epoll()
        self._poll.register(self._file, select.EPOLLPRI)
        asyncio.get_running_loop().add_reader(self._poll.fileno(), self._mark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._poll.fileno())
        self._poll.close()
        self._file.close()

    def _mark(self) -> None:
        self._poll.poll(0)
        self._changed.set()


def parse_mountinfo(text: bytes) -> MountTable:
    """Read a mountinfo file; lines of another form are passed over.

    The last three fields follow a hyphen. Only a line feed ends a line: the kernel writes an escape for one in a
    path, but none for other bytes that end lines elsewhere.
    """
    mounts = []
    for line in text.split(b"\n"):
        head, separator, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        if not separator or len(fields) < _FIXED_FIELDS or len(rest) < _LAST_FIELDS:
            continue
        if not _DEVICE.fullmatch(fields[2]) or not fields[4].startswith(b"/"):
            continue
        mounts.append(
            MountPoint(
                path=_unescaped(fields[4]),
                root=_unescaped(fields[3]),
                device=fields[2].decode(),
                fstype=rest[0].decode(errors="surrogateescape"),
                source=_unescaped(rest[1]),
                project_quota=b"prjquota" in rest[-1].split(b","),
            )
        )
    return MountTable(mounts)


def real_path(path: str, table: MountTable) -> str:
    """Where an absolute path leads to, by those symbolic links on it that can be read without asking a server.

    A server that is away may never answer, and this is not done in a child that can be killed.
    """
    real, ahead, links = "", path.split("/")[::-1], 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            real = real.rpartition("/")[0]
        elif name not in ("", "."):
            above, real = real, f"{real}/{name}"
            target = None if table.is_behind_server(real) else _link(real)
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    return path
                real = "" if target.startswith("/") else above
                ahead += target.split("/")[::-1]
    return real or "/"


def on_host(path: str, rootfs: Path) -> str:
    """A path as the host calls it: without the place where the host's root is seen."""
    prefix = str(rootfs).rstrip("/")
    return (path.removeprefix(prefix) or "/") if prefix and (path + "/").startswith(prefix + "/") else path


def seen_here(path: str, rootfs: Path) -> str:
    """A path of the host as it is seen here."""
    return str(rootfs).rstrip("/") + path


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except (OSError, ValueError):  # no link, not there, or a path that no file can have
        return None


def _unescaped(field: bytes) -> str:
    """Spaces, tabs, line feeds and backslashes are written as three octal digits (fs/proc_namespace.c)."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field).decode(errors="surrogateescape")
