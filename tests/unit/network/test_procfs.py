import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint
from exporter.network.accounting import Accounting
from exporter.network.procfs import (
    ProcfsSource,
    _evidence,
    _mac,
    parse_net_dev,
    raise_descriptor_limit,
    start_ticks,
    sysfs_devices,
)

FIXTURES = Path(__file__).parent / "fixtures"
ID = "c" * 64


def fake_process(procfs: Path, pid: int = 7, *, container: str = ID, start: int = 10**12) -> Path:
    process = procfs / str(pid)
    (process / "net").mkdir(parents=True)
    (process / "cgroup").write_text(f"0::/docker/{container}\n")
    (process / "stat").write_text(f"{pid} (a (b) c) " + " ".join(["S", *["0"] * 18, str(start), "0"]))
    for name in ("dev", "route", "if_inet6"):
        (process / "net" / name).write_bytes((FIXTURES / f"multi_homed_{name}.txt").read_bytes())
    (process / "net" / "dev_mcast").write_text("3 eth1 1 0 01005e000001\n5 eth2 1 0 01005e000001\n")
    return process


def container(pid: int = 7, *networks: tuple[str, str, int]) -> Container:
    endpoints = networks or (("n1", "172.18.0.2", 16), ("n6", "172.30.0.129", 24))
    return Container(
        ID,
        "web",
        "x",
        "running",
        pid=pid,
        started_at=1.0,
        endpoints=tuple(
            Endpoint(n, n, f"e{n}", ipv4=ip, ipv4_prefix_length=prefix) for n, ip, prefix in endpoints
        ),
    )


def test_counters_of_a_real_namespace_are_read_without_the_loopback() -> None:
    interfaces = parse_net_dev((FIXTURES / "multi_homed_dev.txt").read_bytes())
    assert set(interfaces) == {"eth1", "eth2"}
    assert interfaces["eth2"].receive_bytes == 300
    assert interfaces["eth2"].transmit_bytes == 196
    assert interfaces["eth2"].transmit_packets == 2


@given(st.binary())
def test_a_counter_file_of_any_form_raises_nothing(text: bytes) -> None:
    parse_net_dev(text)


@given(st.integers(0, 600))
def test_a_truncated_counter_file_gives_only_whole_lines(length: int) -> None:
    whole = (FIXTURES / "multi_homed_dev.txt").read_bytes()
    parsed = parse_net_dev(whole[:length])
    full = parse_net_dev(whole)
    assert {name: c for name, c in parsed.items() if name in full} == {name: full[name] for name in parsed}


def test_more_columns_than_today_do_no_harm() -> None:
    text = b"h\nh\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"
    assert parse_net_dev(text)["eth0"].transmit_dropped == 12


def test_the_start_of_a_process_is_read_past_any_command_name() -> None:
    assert start_ticks(b"7 (x) y) z) " + b" ".join([b"S", *[b"0"] * 18, b"4711", b"0"])) == 4711
    with pytest.raises(ValueError, match="stat"):
        start_ticks(b"7 (x)")


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[ProcfsSource]:
    source = ProcfsSource(tmp_path)
    yield source
    await source.close()


async def test_a_namespace_is_read_and_attributed(source: ProcfsSource, tmp_path: Path) -> None:
    fake_process(tmp_path)
    [reading] = await source.read([container()], Inventory())
    assert reading.networks == {"eth1": "n1", "eth2": "n6"}
    assert reading.interfaces["eth1"].receive_bytes == 646
    assert reading.born_watched


async def test_a_quiet_namespace_gives_the_very_same_reading(source: ProcfsSource, tmp_path: Path) -> None:
    fake_process(tmp_path)
    owner = container()
    [first] = await source.read([owner], Inventory())
    [second] = await source.read([owner], Inventory())
    assert first is second


async def test_a_process_that_is_not_the_container_s_is_never_read(source: ProcfsSource, tmp_path: Path) -> None:
    fake_process(tmp_path, container="d" * 64)
    assert await source.read([container()], Inventory()) == []
    assert not source.sees(container())


async def test_a_process_older_than_the_exporter_does_not_count_from_zero(
    source: ProcfsSource, tmp_path: Path
) -> None:
    fake_process(tmp_path, start=1)
    [reading] = await source.read([container()], Inventory())
    assert not reading.born_watched


async def test_a_container_that_vanished_is_left_out(source: ProcfsSource, tmp_path: Path) -> None:
    process = fake_process(tmp_path)
    owner = container()
    await source.read([owner], Inventory())
    process.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "net" / "dev").unlink()
    assert await source.read([owner], Inventory()) == []
    assert await source.read([container(99)], Inventory()) == []


async def test_an_interface_keeps_its_network_when_the_container_changes_its_routes(
    source: ProcfsSource, tmp_path: Path
) -> None:
    process = fake_process(tmp_path)
    owner = container()
    await source.read([owner], Inventory())
    (process / "net" / "route").write_text("Iface Destination Gateway Flags RefCnt Use Metric Mask\n")
    text = (process / "net" / "dev").read_text()
    (process / "net" / "dev").write_text(text + "  tun0: 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")
    [reading] = await source.read([owner], Inventory())
    assert reading.networks == {"eth1": "n1", "eth2": "n6"}
    assert "tun0" in reading.interfaces


async def test_an_interface_that_is_given_to_another_network_follows_the_endpoints(
    source: ProcfsSource, tmp_path: Path
) -> None:
    fake_process(tmp_path)
    await source.read([container(7, ("n1", "172.18.0.2", 16))], Inventory())
    [reading] = await source.read([container(7, ("other", "172.18.0.2", 16))], Inventory())
    assert reading.networks["eth1"] == "other"


async def test_descriptors_are_given_back_when_containers_leave(source: ProcfsSource, tmp_path: Path) -> None:
    for pid in range(10, 40):
        fake_process(tmp_path, pid)
    before = len(os.listdir("/proc/self/fd"))
    await source.read([container(pid) for pid in range(10, 40)], Inventory())
    assert len(os.listdir("/proc/self/fd")) == before + 30
    await source.read([], Inventory())
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_process_that_can_t_be_looked_at_keeps_no_descriptor(
    source: ProcfsSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(_directory: int, _name: str) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    fake_process(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr("exporter.network.procfs.read_file", lacking)
        for _ in range(5):
            with pytest.raises(OSError, match="Too many open files"):
                await source.read([container()], Inventory())
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(await source.read([container()], Inventory())) == 1


async def test_with_too_few_descriptors_some_containers_are_left_out_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers = []
    for number in range(30):
        one = replace(container(10 + number), id=f"{number:064}")
        fake_process(tmp_path, one.pid, container=one.id)
        containers.append(one)
    monkeypatch.setattr("resource.getrlimit", lambda _: (40, 40))
    source = ProcfsSource(tmp_path)
    with capture_logs() as told:
        assert len(await source.read(containers, Inventory())) == 20
        assert len(await source.read(containers, Inventory())) == 20
        monkeypatch.undo()
        assert len(await source.read(containers, Inventory())) == 30
    assert [line["event"] for line in told] == [
        "too few open files allowed for all containers",
        "enough open files allowed again",
    ]
    await source.close()


async def test_nothing_is_read_through_the_descriptor_of_a_dead_process(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    descriptor = os.open(f"/proc/{child.pid}", os.O_RDONLY | os.O_DIRECTORY)
    child.communicate(b"\n")
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        os.open("net/dev", os.O_RDONLY, dir_fd=descriptor)
    os.close(descriptor)


def test_as_many_descriptors_are_allowed_as_the_system_lets_us_have() -> None:
    raise_descriptor_limit()


HALVES = {
    "nothing": 0,
    "half a header": 50,
    "the header alone": (FIXTURES / "multi_homed_dev.txt").read_bytes().find(b"    lo:"),
    "half of its last line": -5,
}


@pytest.mark.parametrize("length", HALVES.values(), ids=HALVES.keys())
async def test_half_a_counter_file_is_no_reading_so_that_nothing_is_counted_twice(
    source: ProcfsSource, tmp_path: Path, length: int
) -> None:
    process, accounting = fake_process(tmp_path), Accounting()
    owner = container()
    [whole] = await source.read([owner], Inventory())
    accounting.take(whole)
    before = {network: list(totals) for network, totals in accounting.totals.items()}
    text = (process / "net" / "dev").read_bytes()
    (process / "net" / "dev").write_bytes(text[:length])
    for reading in await source.read([owner], Inventory()):
        accounting.take(reading)
    (process / "net" / "dev").write_bytes(text)
    [again] = await source.read([owner], Inventory())
    accounting.take(again)
    assert accounting.totals == before


async def test_a_number_that_another_container_has_by_now_gives_no_reading_of_that_one(
    source: ProcfsSource, tmp_path: Path
) -> None:
    """The engine still tells the number of a container that just ended, and the kernel gave it to another."""
    process = fake_process(tmp_path)
    old = container()
    assert await source.read([old], Inventory())
    process.rename(tmp_path / "ended")
    for name in ("dev", "cgroup"):
        (tmp_path / "ended" / ("net" if name == "dev" else ".") / name).unlink()
    fake_process(tmp_path, container="e" * 64)
    other = replace(container(), id="e" * 64, name="other", started_at=2.0)
    [reading] = await source.read([old, other], Inventory())
    assert reading.key[0] == "e" * 64
    # Also where the old one is asked for by that number for the first time.
    restarted = replace(old, started_at=3.0)
    readings = await source.read([restarted, other], Inventory())
    assert [reading.key[0] for reading in readings] == ["e" * 64]


@pytest.mark.parametrize("container_id", ["", "\ud800"])
async def test_a_container_without_a_proper_id_is_never_read(
    source: ProcfsSource, tmp_path: Path, container_id: str
) -> None:
    fake_process(tmp_path)
    assert await source.read([replace(container(), id=container_id)], Inventory()) == []
    assert not source.sees(replace(container(), id=container_id))


def test_interfaces_whose_names_are_no_unicode_stay_apart() -> None:
    columns = b" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
    assert list(parse_net_dev(b"h\nh\n\xff:" + columns + b"\xfe:" + columns)) == ["\udcff", "\udcfe"]


@pytest.mark.parametrize("number", [b"-1", b"1_0", b"+1", b"9" * 300])
def test_what_is_no_counter_is_passed_over(number: bytes) -> None:
    assert parse_net_dev(b"h\nh\neth0: " + number + b" 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n") == {}


def open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def test_the_address_of_an_interface_is_told_by_sysfs() -> None:
    own = open_folder(Path("/proc/self"))
    try:
        assert _evidence(own, ["lo"]).macs == {"lo": "00:00:00:00:00:00"}
        assert _evidence(own, ["nosuch"]).macs == {}
    finally:
        os.close(own)


@pytest.mark.parametrize("kind", ["fifo", "link", "file"])
def test_what_a_container_puts_in_place_of_an_address_is_not_opened(tmp_path: Path, kind: str) -> None:
    address = tmp_path / "root/sys/class/net/eth0/address"
    address.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(address)
    elif kind == "link":
        address.symlink_to("/dev/zero")
    else:
        address.write_text("02:42:00:00:00:01\n")
    devices = sysfs_devices(Path("/proc/self/mountinfo").read_bytes())
    assert devices
    folder = open_folder(tmp_path)
    try:
        with pytest.raises(PermissionError):
            _mac(folder, "eth0", devices)
    finally:
        os.close(folder)


def test_below_another_root_than_its_mount_namespace_s_no_address_is_looked_for(tmp_path: Path) -> None:
    process = fake_process(tmp_path)
    (process / "mountinfo").write_bytes(Path("/proc/self/mountinfo").read_bytes())
    (process / "root").symlink_to(tmp_path / "chroot")
    (tmp_path / "chroot").symlink_to("/")
    folder = open_folder(process)
    try:
        assert _evidence(folder, ["lo"]).macs == {}
    finally:
        os.close(folder)


@given(st.binary())
def test_a_table_of_mounts_of_any_form_raises_nothing(text: bytes) -> None:
    assert sysfs_devices(b"22 28 0:21 / /sys rw - sysfs sysfs rw\n" + text) >= {os.makedev(0, 21)}
