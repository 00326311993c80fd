from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.volume.encryption import DeviceStack
from exporter.volume.mounts import MountPoint, MountTable

TABLE = MountTable([MountPoint("/", "/", "8:1", "ext4", "/dev/sda1")])
Add = Callable[..., Path]


@pytest.fixture
def sysfs(tmp_path: Path) -> Add:
    """Adds a block device to a made-up sysfs: its name, number, what is below it, and files of it."""

    def add(name: str, number: str, *below: str, folder: str = "", **files: str) -> Path:
        device = tmp_path / "devices" / folder / name
        device.mkdir(parents=True)
        if "partition" not in files:
            (device / "slaves").mkdir()
        for other in below:
            (device / "slaves" / other).symlink_to(tmp_path / "devices" / other)
        for file, text in files.items():
            path = device / file.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")
        (tmp_path / "dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/block" / number).symlink_to(device)
        return tmp_path

    return add


def test_a_plain_disk_is_not_encrypted(sysfs: Add) -> None:
    root = sysfs("sda", "8:0")
    sysfs("sda1", "8:1", folder="sda", partition="1")
    assert DeviceStack(TABLE, sysfs=root).is_encrypted("8:0") is False
    assert DeviceStack(TABLE, sysfs=root).is_encrypted("8:1") is False


def test_dm_crypt_is_found_through_lvm(sysfs: Add) -> None:
    sysfs("sda", "8:0")
    sysfs("dm-0", "253:0", "sda", dm__uuid="CRYPT-LUKS2-0123-luks")
    root = sysfs("dm-1", "253:1", "dm-0", dm__uuid="LVM-abc")
    assert DeviceStack(TABLE, sysfs=root).is_encrypted("253:0") is True
    assert DeviceStack(TABLE, sysfs=root).is_encrypted("253:1") is True


def test_one_plain_disk_of_several_makes_it_unencrypted(sysfs: Add) -> None:
    sysfs("sda", "8:0")
    sysfs("sdb", "8:16")
    sysfs("dm-0", "253:0", "sda", dm__uuid="CRYPT-LUKS2-0123-luks")
    root = sysfs("dm-1", "253:1", "dm-0", "sdb", dm__uuid="LVM-abc")
    assert DeviceStack(TABLE, sysfs=root).is_encrypted("253:1") is False


def test_a_loop_device_is_as_encrypted_as_where_its_file_lies(sysfs: Add) -> None:
    sysfs("sda", "8:0")
    sysfs("dm-0", "253:0", "sda", dm__uuid="CRYPT-LUKS2-0123-luks")
    root = sysfs("loop0", "7:0", loop__backing_file="/images/data.img")
    crypted = MountTable([*[MountPoint("/images", "/", "253:0", "ext4", "/dev/mapper/x")]])
    assert DeviceStack(crypted, sysfs=root).is_encrypted("7:0") is True
    assert DeviceStack(MountTable([]), sysfs=root).is_encrypted("7:0") is None


def test_without_a_block_device_that_is_seen_nothing_is_told(tmp_path: Path) -> None:
    assert DeviceStack(TABLE, sysfs=tmp_path).is_encrypted("0:45") is None
    assert DeviceStack(TABLE, sysfs=tmp_path).is_encrypted("8:99") is None


def test_a_loop_device_whose_file_seems_to_lie_on_itself_is_unknown(sysfs: Add) -> None:
    """As it looks from a container that has another root than the host."""
    root = sysfs("loop0", "7:0", loop__backing_file="/images/data.img")
    table = MountTable([MountPoint("/", "/", "7:0", "ext4", "/dev/loop0")])
    assert DeviceStack(table, sysfs=root).is_encrypted("7:0") is None
