import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint
from exporter.metrics.page import Format, make_page
from exporter.network.procfs import ProcfsSource
from exporter.network.tcp import (
    TcpCollector,
    TcpCounters,
    parse_activity,
    parse_netstat,
    parse_snmp,
    parse_sockstat,
    read_tcp,
)

FIXTURES = Path(__file__).parent / "fixtures"
ID = "c" * 64


def test_files_of_a_real_kernel_are_read() -> None:
    sent, retransmitted, established = parse_snmp((FIXTURES / "snmp.txt").read_bytes())
    assert sent is not None
    assert sent > 0
    assert retransmitted is not None
    assert established is not None
    assert parse_activity((FIXTURES / "snmp.txt").read_bytes()) == (16627, 0)
    assert parse_netstat((FIXTURES / "netstat.txt").read_bytes()) is not None
    assert parse_sockstat((FIXTURES / "sockstat.txt").read_bytes()) is not None


def test_a_kernel_with_other_fields_in_another_order_is_read() -> None:
    assert parse_snmp(b"Tcp: CurrEstab MaxConn OutSegs\nTcp: 3 -1 7\n") == (7, None, 3)
    assert parse_netstat(b"TcpExt: A B\nTcpExt: 1 2\n") is None


@given(st.binary())
def test_files_of_any_form_raise_nothing(text: bytes) -> None:
    for parse in (parse_snmp, parse_activity, parse_netstat, parse_sockstat):
        parse(text)
        parse(b"Tcp: " + text + b"\nTcp: 1\nTcpExt: a\nTcpExt: " + text + b"\nTCP: " + text)


def process(procfs: Path) -> None:
    folder = procfs / "7"
    (folder / "net").mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::/docker/{ID}\n")
    (folder / "stat").write_text("7 (x) " + " ".join(["S", *["0"] * 18, "1", "0"]))
    (folder / "net/dev").write_text("h\nh\n eth0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
    (folder / "net/snmp").write_text("Ip: A\nIp: 1\nTcp: CurrEstab OutSegs RetransSegs\nTcp: 3 100 2\n")
    (folder / "net/netstat").write_text("TcpExt: A ListenOverflows\nTcpExt: 0 5\n")
    (folder / "net/sockstat").write_text("sockets: used 9\nTCP: inuse 4 orphan 0 tw 6 alloc 5 mem 1\n")


async def test_each_container_s_tcp_is_told(tmp_path: Path) -> None:
    process(tmp_path)
    inventory, source = Inventory(), ProcfsSource(tmp_path)
    container = Container(ID, "web", "x", "running", pid=7, endpoints=(Endpoint("n", "n", "e"),))
    inventory.put_container(container)
    await source.read([container], inventory)
    collector = TcpCollector(inventory)
    await collector.poll(source)
    text = make_page(collector.samples()).in_format(Format.TEXT).decode()
    assert 'docker_container_tcp_sent_segments_total{container="web"} 100\n' in text
    assert 'docker_container_tcp_retransmitted_segments_total{container="web"} 2\n' in text
    assert 'docker_container_tcp_listen_overflows_total{container="web"} 5\n' in text
    assert 'docker_container_tcp_connections{container="web",state="established"} 3\n' in text
    assert 'docker_container_tcp_connections{container="web",state="time_wait"} 6\n' in text
    inventory.remove_container(ID)
    assert make_page(collector.samples()).series == 0
    await source.close()


def test_what_the_kernel_does_not_tell_is_absent(tmp_path: Path) -> None:
    process(tmp_path)
    (tmp_path / "7/net/netstat").write_text("")
    descriptor = os.open(tmp_path / "7", os.O_RDONLY)
    assert read_tcp(descriptor) == TcpCounters(100, 2, 3, None, 6)
    os.close(descriptor)


def test_half_a_file_tells_no_half_numbers() -> None:
    snmp = b"Ip: A\nIp: 1\nTcp: CurrEstab OutSegs RetransSegs\nTcp: 3 1000 2000\n"
    assert {parse_snmp(snmp[:end]) for end in range(len(snmp))} == {(None, None, None)}
    sockstat = b"sockets: used 9\nTCP: inuse 4 orphan 0 tw 600\n"
    assert {parse_sockstat(sockstat[:end]) for end in range(len(sockstat))} == {None}


def test_a_line_of_which_another_one_ends_alike_is_told_from_it() -> None:
    assert parse_snmp(b"MyTcp: OutSegs\nMyTcp: 1\nTcp: OutSegs\nTcp: 7\n")[0] == 7
