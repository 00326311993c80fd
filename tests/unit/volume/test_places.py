from pathlib import Path

from exporter.inventory.model import Volume
from exporter.volume.mounts import MountPoint, MountTable
from exporter.volume.places import place_of, with_shared_filesystems

ROOT = MountPoint("/", "/", "8:1", "ext4", "/dev/sda1")
VOLUMES = "/var/lib/docker/volumes"


def volume(name: str, **options: str) -> Volume:
    return Volume(name, "local", f"{VOLUMES}/{name}/_data", options=options)


def mounted(name: str, root: str = "/", device: str = "0:50", fstype: str = "tmpfs") -> MountPoint:
    return MountPoint(f"{VOLUMES}/{name}/_data", root, device, fstype, "source")


def test_a_plain_volume_lies_on_the_file_system_of_its_directory() -> None:
    place = place_of(volume("data"), MountTable([ROOT]), Path("/"))
    assert place is not None
    assert (place.mount, place.is_own) == (ROOT, False)


def test_an_option_volume_has_no_place_until_it_is_mounted_and_then_its_own() -> None:
    ram = volume("ram", type="tmpfs", device="tmpfs")
    assert place_of(ram, MountTable([ROOT]), Path("/")) is None
    place = place_of(ram, MountTable([ROOT, mounted("ram")]), Path("/"))
    assert place is not None
    assert place.is_own


def test_a_bound_directory_shares_its_file_system() -> None:
    bound = volume("b", type="none", o="bind", device="/srv/data")
    place = place_of(bound, MountTable([ROOT, mounted("b", "/srv/data", "8:1", "ext4")]), Path("/"))
    assert place is not None
    assert (place.is_own, place.mount.path) == (False, "/")


def test_a_bound_disk_is_the_volumes_own_but_the_hosts_own_disk_is_not() -> None:
    bound = volume("b", type="none", o="bind", device="/mnt/disk")
    disk = MountPoint("/mnt/disk", "/", "8:16", "xfs", "/dev/sdb")
    place = place_of(bound, MountTable([ROOT, disk, mounted("b", "/", "8:16", "xfs")]), Path("/"))
    assert place is not None
    assert (place.is_own, place.mount.path) == (True, "/mnt/disk")
    place = place_of(bound, MountTable([ROOT, mounted("b", "/", "8:1", "ext4")]), Path("/"))
    assert place is not None
    assert not place.is_own


def test_a_disk_that_was_mounted_on_a_plain_volume_is_its_own() -> None:
    place = place_of(volume("data"), MountTable([ROOT, mounted("data", "/", "8:16", "ext4")]), Path("/"))
    assert place is not None
    assert place.is_own


def test_of_a_server_a_part_is_the_volumes_own_too() -> None:
    share = volume("share", type="nfs", device=":/export/a")
    place = place_of(share, MountTable([ROOT, mounted("share", "/a", "0:60", "nfs4")]), Path("/"))
    assert place is not None
    assert place.is_own
    assert place.mount.path == f"{VOLUMES}/share/_data"


def test_what_is_mounted_inside_is_told() -> None:
    inside = MountPoint(f"{VOLUMES}/data/_data/deep/er", "/x", "8:1", "ext4", "/dev/sda1")
    beside = MountPoint(f"{VOLUMES}/data/_data2", "/x", "8:1", "ext4", "/dev/sda1")
    place = place_of(volume("data"), MountTable([ROOT, inside, beside]), Path("/"))
    assert place is not None
    assert place.nested == ("deep/er",)


def test_files_are_found_below_the_place_where_the_hosts_root_is_seen() -> None:
    host = MountPoint("/host", "/", "8:1", "ext4", "/dev/sda1")
    overlay = MountPoint("/", "/", "0:40", "overlay", "overlay")
    place = place_of(volume("data"), MountTable([overlay, host]), Path("/host"))
    assert place is not None
    assert (place.path, place.mount) == (f"/host{VOLUMES}/data/_data", host)


def test_a_volume_without_a_mount_point_has_no_place() -> None:
    assert place_of(Volume("c", "csi", "", is_cluster=True), MountTable([ROOT]), Path("/")) is None


def test_a_folder_of_volumes_that_is_a_symbolic_link_is_found_where_it_leads_to() -> None:
    disk = MountPoint("/srv", "/", "8:16", "xfs", "/dev/sdb")
    place = place_of(volume("data"), MountTable([ROOT, disk]), Path("/"), {VOLUMES: "/srv/volumes"})
    assert place is not None
    assert (place.path, place.mount) == ("/srv/volumes/data/_data", disk)
    other = Volume("p", "plugin", f"{VOLUMES}/p/_data", options={})
    assert place_of(other, MountTable([ROOT, mounted("p")]), Path("/"), {VOLUMES: "/srv/volumes"}) is not None


def test_a_disk_of_which_only_parts_are_seen_is_one_file_system() -> None:
    overlay = MountPoint("/", "/", "0:40", "overlay", "overlay")
    volumes = MountPoint(VOLUMES, VOLUMES, "8:1", "ext4", "/dev/sda1")
    bind = MountPoint(f"{VOLUMES}/bound/_data", "/srv/data", "8:1", "ext4", "/dev/sda1")
    table = MountTable([overlay, volumes, bind, mounted("cache", "/", "0:60", "tmpfs")])
    bound = volume("bound", type="none", o="bind", device="/srv/data")
    cache = volume("cache", type="tmpfs", device="tmpfs")
    places = {each.name: place_of(each, table, Path("/")) for each in (bound, volume("data"), cache)}
    shared = with_shared_filesystems({name: place for name, place in places.items() if place is not None})
    assert {name: place.mount.path for name, place in shared.items()} == {
        "bound": VOLUMES,
        "data": VOLUMES,
        "cache": f"{VOLUMES}/cache/_data",
    }


def test_a_bind_mount_may_be_below_a_symbolic_link() -> None:
    run = MountPoint("/run", "/", "0:25", "tmpfs", "tmpfs")
    source = Volume("/var/run/app", "", "/var/run/app")
    place = place_of(source, MountTable([ROOT, run]), Path("/"), {"/var/run/app": "/run/app"})
    assert place is not None
    assert (place.path, place.mount) == ("/run/app", run)
