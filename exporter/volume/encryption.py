"""Whether a file system is encrypted at rest, by the stack of block devices below it (sysfs-block)."""

from pathlib import Path

from exporter.volume.mounts import MountTable, seen_here

_DM_CRYPT = "CRYPT-"
"""With this begins the UUID that cryptsetup gives each mapping that it makes (sysfs-block-dm)."""


class DeviceStack:
    """The block devices of this host. `sysfs` is the same in a container: it has no namespace for them."""

    def __init__(self, table: MountTable, rootfs: Path = Path("/"), sysfs: Path = Path("/sys")) -> None:
        self._table = table
        self._rootfs = rootfs
        self._sysfs = sysfs

    def is_encrypted(self, device: str) -> bool | None:
        """Whether all that is written to a device (`major:minor`) passes dm-crypt, also through LVM and RAID.

        A loop device is as encrypted as the file system that holds its file. None where it can't be told: a file
        system without a block device (network, memory, btrfs, zfs), or a device that is not seen here.
        """
        if device.startswith("0:"):
            return None
        try:
            return self._is_encrypted((self._sysfs / "dev/block" / device).resolve(strict=True))
        except (OSError, RecursionError):  # a loop device whose file seems to lie on itself, seen from a container
            return None

    def _is_encrypted(self, folder: Path) -> bool | None:
        if _read(folder / "dm/uuid").startswith(_DM_CRYPT):
            return True
        if (folder / "partition").exists():
            return self._is_encrypted(folder.parent)
        backing_file = _read(folder / "loop/backing_file")
        if backing_file:
            mount = self._table.holding(seen_here(backing_file, self._rootfs))
            return self.is_encrypted(mount.device) if mount is not None else None
        below = [self._is_encrypted(slave.resolve(strict=True)) for slave in (folder / "slaves").iterdir()]
        if False in below:
            return False
        return None if None in below else bool(below)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
