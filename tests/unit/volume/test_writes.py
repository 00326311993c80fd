import os
from pathlib import Path

from exporter.inventory.model import Container
from exporter.volume.writes import cgroup_of, parse_io_service_bytes, parse_io_stat, read_written_bytes

# Captured: Debian 12, systemd, cgroups v2; and this project's test machine, cgroups v1.
IO_STAT = """\
8:0 rbytes=1327104 wbytes=52428800 rios=38 wios=51 dbytes=0 dios=0
253:0 rbytes=1327104 wbytes=4096 rios=38 wios=1 dbytes=0 dios=0
7:0
"""
IO_SERVICE_BYTES = """\
254:0 Read 143360
254:0 Write 8192
254:0 Sync 151552
254:0 Async 0
254:0 Discard 0
254:0 Total 151552
7:1 Read 0
7:1 Write 4096
7:1 Total 4096
Total 155648
"""
CGROUP_V1 = "9:name=systemd:/docker/abc\n7:blkio:/docker/abc\n4:memory:/docker/abc\n0::/\n"
CGROUP_V2 = "0::/system.slice/docker-abc.scope\n"
CGROUP_V2_FROM_A_NAMESPACE = "0::/../docker-abc.scope\n"


def test_bytes_written_are_summed_over_all_devices() -> None:
    assert parse_io_stat(IO_STAT) == 52428800 + 4096
    assert parse_io_stat("") == 0
    assert parse_io_service_bytes(IO_SERVICE_BYTES) == 8192 + 4096
    assert parse_io_service_bytes("Total 0\n") == 0


def test_the_group_that_counts_writes_is_found() -> None:
    assert cgroup_of(CGROUP_V1) == (True, "/docker/abc")
    assert cgroup_of(CGROUP_V2) == (False, "/system.slice/docker-abc.scope")
    assert cgroup_of("") is None


def host(tmp_path: Path, cgroup: str, file: str, text: str) -> list[Container]:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(cgroup)
    counted = tmp_path / "sys/fs/cgroup" / file
    counted.parent.mkdir(parents=True)
    counted.write_text(text)
    return [Container("abc", "web", "x", "running", pid=7), Container("gone", "old", "x", "running", pid=8)]


def test_each_running_containers_writes_are_read_with_either_version(tmp_path: Path) -> None:
    one, two, three = tmp_path / "v1", tmp_path / "v2", tmp_path / "namespace"
    containers = host(one, CGROUP_V1, "blkio/docker/abc/blkio.throttle.io_service_bytes", IO_SERVICE_BYTES)
    assert read_written_bytes(containers, one / "proc", one) == {"abc": 12288}
    containers = host(two, CGROUP_V2, "system.slice/docker-abc.scope/io.stat", IO_STAT)
    assert read_written_bytes(containers, two / "proc", two) == {"abc": 52432896}
    containers = host(three, CGROUP_V2_FROM_A_NAMESPACE, "system.slice/docker-abc.scope/io.stat", IO_STAT)
    assert read_written_bytes(containers, three / "proc", three) == {"abc": 52432896}


def test_where_nothing_is_counted_nothing_is_told(tmp_path: Path) -> None:
    containers = host(tmp_path, CGROUP_V2, "other/io.stat", IO_STAT)
    assert read_written_bytes(containers, tmp_path / "proc", tmp_path) == {}


def test_a_containers_own_groups_may_have_any_name(tmp_path: Path) -> None:
    """Whoever may write to the cgroups can name groups with all but a line feed, and move into them."""
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_bytes(b"0::/docker/abc/\xff\x0b7:blkio:/etc\xe2\x80\xa81:blkio:/x\n")
    group = os.fsencode(tmp_path / "sys/fs/cgroup/docker/abc") + b"/\xff\x0b7:blkio:/etc\xe2\x80\xa81:blkio:/x"
    os.makedirs(group)
    with open(group + b"/io.stat", "w") as file:
        file.write(IO_STAT)
    containers = [Container("abc", "web", "x", "running", pid=7)]
    assert read_written_bytes(containers, tmp_path / "proc", tmp_path) == {"abc": 52432896}


def test_a_number_that_another_process_has_by_now_tells_nothing(tmp_path: Path) -> None:
    containers = host(
        tmp_path, CGROUP_V2.replace("abc", "other"), "system.slice/docker-other.scope/io.stat", IO_STAT
    )
    assert read_written_bytes(containers, tmp_path / "proc", tmp_path) == {}


def test_what_is_no_number_counts_nothing() -> None:
    assert parse_io_stat("8:0 wbytes=-5 wbytes=" + "9" * 5000) == 0
    assert parse_io_service_bytes("8:0 Write x\n8:0 Write -5\n8:0 Write\n") == 0
