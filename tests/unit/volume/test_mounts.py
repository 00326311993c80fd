import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.volume.mounts import on_host, parse_mountinfo, real_path, seen_here

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


def test_links_are_followed_as_the_kernel_follows_them(tmp_path: Path) -> None:
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/relative").symlink_to("../absolute/./deep/")
    (tmp_path / "disk/deep/up").symlink_to("../..")
    (tmp_path / "circle").symlink_to("circle")
    table = parse_mountinfo(TEXT)
    for path in (
        "",
        "/absolute/relative/none",
        "/absolute/relative/up/disk",
        "/absolute/deep/../../disk",
        "/none/x",
    ):
        assert real_path(f"{tmp_path}{path}", table) == os.path.realpath(f"{tmp_path}{path}")
    for path in ("/", "/x\0y", f"{tmp_path}/circle/x"):
        assert real_path(path, table) == path


@pytest.mark.parametrize("fstype", ["nfs4", "cifs", "fuse.sshfs", "autofs"])
def test_no_link_is_read_on_a_server_nor_behind_it_nor_where_another_leads_to_it(
    fstype: str, tmp_path: Path
) -> None:
    (tmp_path / "server/inside").mkdir(parents=True)
    for link in ("server/link", "server/inside/link"):
        (tmp_path / link).symlink_to(tmp_path)
    (tmp_path / "here").symlink_to("server/")
    table = parse_mountinfo(
        TEXT
        + f"40 22 0:60 / {tmp_path}/server rw - {fstype} server:/ rw\n".encode()
        + f"41 40 0:61 / {tmp_path}/server/inside rw - tmpfs tmpfs rw\n".encode()
    )
    assert real_path(f"{tmp_path}/server/link", table) == f"{tmp_path}/server/link"
    assert real_path(f"{tmp_path}/server/inside/link", table) == f"{tmp_path}/server/inside/link"
    assert real_path(f"{tmp_path}/here/link", table) == f"{tmp_path}/server/link"
    assert real_path(f"{tmp_path}/here/../here", table) == f"{tmp_path}/server"


def test_on_a_host_whose_root_is_a_servers_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("disk")
    table = parse_mountinfo(b"22 1 0:60 / / rw - nfs4 server:/ rw")
    assert real_path(f"{tmp_path}/link", table) == f"{tmp_path}/disk"
