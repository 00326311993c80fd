import os
import socket
from pathlib import Path

import pytest

from exporter.network.netlink import NetlinkError, counters_request
from exporter.network.netlink_socket import Netlink, open_events, receive_events


def test_the_kernel_lists_its_links() -> None:
    with Netlink() as netlink:
        links, whole = netlink.links()
    assert whole
    assert {link.ifindex: link.name for link in links} == dict(socket.if_nameindex())


@pytest.mark.parametrize("more", [0, 100], ids=["one by one", "all at once"])
def test_the_kernel_counts_the_asked_links_only(more: int) -> None:
    with Netlink() as netlink:
        counters = netlink.counters({1, *range(10**6, 10**6 + more)})
        assert list(counters) == [1]
        receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with receiver, sender:
            receiver.bind(("127.0.0.1", 0))
            sender.sendto(b"x" * 1000, receiver.getsockname())
        assert netlink.counters({1})[1].receive_bytes >= counters[1].receive_bytes + 1000


def test_no_links_have_no_counters() -> None:
    with Netlink() as netlink:
        assert netlink.counters(()) == {}


def test_an_answer_that_nobody_waited_for_is_passed_over() -> None:
    with Netlink() as netlink:
        netlink._send([counters_request(1), counters_request(1)])
        assert netlink.links()[1]
        netlink._send([counters_request(1)])
        assert list(netlink.counters({1})) == [1]


def test_a_process_that_does_not_exist_has_no_namespace() -> None:
    with Netlink() as netlink, pytest.raises(NetlinkError):
        netlink.namespace_id(pid=2**22 - 3)


def test_a_namespace_is_asked_for_by_process_or_descriptor() -> None:
    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with Netlink() as netlink:
            assert netlink.namespace_id(pid=os.getpid()) == netlink.namespace_id(descriptor=descriptor)
    finally:
        os.close(descriptor)


def test_the_namespace_of_a_process_is_found_through_procfs() -> None:
    with Netlink() as netlink:
        assert netlink.namespace_of(Path(f"/proc/{os.getpid()}")) == netlink.namespace_id(pid=os.getpid())
        with pytest.raises(ProcessLookupError):
            netlink.namespace_of(Path(f"/proc/{2**22 - 3}"))


def test_without_the_right_to_trace_the_process_id_tells_if_procfs_is_one_s_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    (tmp_path / "self").symlink_to(str(os.getpid()))
    with Netlink() as netlink:
        assert netlink.namespace_of(tmp_path / str(os.getpid())) == netlink.namespace_id(pid=os.getpid())
        with pytest.raises(ProcessLookupError):
            netlink.namespace_of(tmp_path / str(2**22 - 3))


def test_a_procfs_of_another_pid_namespace_is_not_taken_for_one_s_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    (tmp_path / "self").symlink_to(str(os.getpid() + 1))
    with Netlink() as netlink, pytest.raises(PermissionError):
        netlink.namespace_of(tmp_path / str(os.getpid()))


def test_without_events_nobody_waits() -> None:
    with open_events() as events:
        assert events.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 65536
        with pytest.raises(BlockingIOError):
            receive_events(events)


def test_what_another_process_sends_is_not_believed() -> None:
    with open_events() as events:
        sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with sender:
            try:
                sender.sendto(b"\x10\0\0\0" * 5, (events.getsockname()[0], 0))
            except ConnectionRefusedError:  # the kernel forbids it already
                return
            assert receive_events(events) == []
