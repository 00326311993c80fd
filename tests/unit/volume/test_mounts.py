import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.volume.mounts import on_host, parse_mountinfo, seen_here

TEXT = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 254:0 /var/lib/docker /var/lib/docker rw - ext4 /dev/vda rw
31 30 0:50 / /var/lib/docker/volumes/ram/_data rw shared:9 master:1 - tmpfs tmpfs rw,size=50m
32 22 0:51 / /mnt/with\040space rw - nfs4 server:/a\134b rw
broken line
33 22 0:52 / /mnt/over rw - tmpfs one rw
34 33 0:53 / /mnt/over rw - tmpfs two rw
"""


def test_the_mount_that_holds_a_path_is_the_innermost() -> None:
    table = parse_mountinfo(TEXT)
    held = table.holding("/var/lib/docker/volumes/data/_data")
    assert held is not None
    assert (held.path, held.device, held.fstype, held.source) == ("/var/lib/docker", "254:0", "ext4", "/dev/vda")


def test_a_volume_that_is_mounted_is_told_from_one_that_is_not() -> None:
    table = parse_mountinfo(TEXT)
    ram = table.at("/var/lib/docker/volumes/ram/_data")
    assert ram is not None
    assert ram.fstype == "tmpfs"
    assert table.at("/var/lib/docker/volumes/data/_data") is None


def test_the_file_system_of_a_bind_mount_is_the_whole_one() -> None:
    table = parse_mountinfo(TEXT)
    part = table.at("/var/lib/docker")
    assert part is not None
    assert table.filesystem_of(part).path == "/"


def test_a_file_system_that_is_nowhere_whole_stands_for_itself() -> None:
    table = parse_mountinfo(b"30 22 254:0 /volumes /host/volumes ro - ext4 /dev/vda rw\n")
    part = table.at("/host/volumes")
    assert part is not None
    assert table.filesystem_of(part) is part


def test_spaces_and_backslashes_are_read() -> None:
    mount = parse_mountinfo(TEXT).at("/mnt/with space")
    assert mount is not None
    assert mount.source == "server:/a\\b"


def test_a_later_mount_hides_an_earlier_one() -> None:
    mount = parse_mountinfo(TEXT).at("/mnt/over")
    assert mount is not None
    assert mount.source == "two"


def test_an_empty_table_holds_nothing() -> None:
    assert parse_mountinfo(b"").holding("/a") is None


@given(st.binary())
def test_a_file_of_any_form_raises_nothing(text: bytes) -> None:
    parse_mountinfo(text)


def test_paths_are_translated_between_the_host_and_here() -> None:
    assert seen_here("/var/lib", Path("/host")) == "/host/var/lib"
    assert seen_here("/var/lib", Path("/")) == "/var/lib"
    assert on_host("/host/var/lib", Path("/host")) == "/var/lib"
    assert on_host("/host", Path("/host")) == "/"
    assert on_host("/hostile", Path("/host")) == "/hostile"
    assert on_host("/var/lib", Path("/")) == "/var/lib"


def test_only_a_line_feed_ends_a_line() -> None:
    mount = parse_mountinfo(b"30 22 254:0 / /mnt/a\rb\x0bc rw - ext4 /dev/vda rw\n").at("/mnt/a\rb\x0bc")
    assert mount is not None


def test_a_path_that_is_no_unicode_is_the_path_of_its_files() -> None:
    mount = parse_mountinfo(b"30 22 254:0 / /mnt/\xff rw - ext4 /dev/vda rw\n").at(os.fsdecode(b"/mnt/\xff"))
    assert mount is not None


def test_half_a_line_is_passed_over() -> None:
    line = b"30 22 254:0 / /mnt/data rw - nfs4 server:/data rw\n"
    assert parse_mountinfo(line[:-15]).at("/mnt/data") is None
    assert parse_mountinfo(line.replace(b"254:0", b"../..")).at("/mnt/data") is None
