import contextlib
import ctypes
import errno
import gzip
import os
import socket
import struct
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.sock_diag import Connection, DiagSocket, open_diag_sockets, parse_answer
from tests.harness.wait import eventually

CAPTURED = gzip.decompress((Path(__file__).parent / "fixtures" / "sock_diag.bin.gz").read_bytes())
"""The kernel's answer, request 1, in a namespace with three connections over the loopback, both ends: over IPv4,
over IPv4 to a listener of IPv6, and over IPv6; 100 bytes one way and 10 the other."""


def test_both_ends_of_connections_of_both_families_are_read_from_a_real_answer() -> None:
    connections, ended = parse_answer(CAPTURED, 1)
    assert ended
    addresses = sorted((str(ip_address(c.local)), str(ip_address(c.peer))) for c in connections)
    assert addresses == [("127.0.0.1", "127.0.0.1")] * 4 + [("::1", "::1")] * 2
    assert len({c.cookie for c in connections}) == 6
    assert sorted(c.acknowledged_bytes for c in connections) == [10] * 3 + [101] * 3
    assert all(0 < c.rtt_microseconds < 1000 for c in connections)


def test_what_is_left_of_another_answer_is_passed_over() -> None:
    assert parse_answer(CAPTURED, 2) == ([], False)


@given(st.binary())
def test_answers_of_any_form_raise_nothing_but_the_kernel_s_refusal(datagram: bytes) -> None:
    with contextlib.suppress(OSError):
        parse_answer(datagram, 0)


@given(st.integers(0, len(CAPTURED)), st.integers(0, 255), st.integers(0, len(CAPTURED)))
def test_a_damaged_or_cut_answer_raises_nothing_else_either(at: int, value: int, end: int) -> None:
    damaged = CAPTURED[:at] + bytes([value]) + CAPTURED[at + 1 :]
    with contextlib.suppress(OSError):
        parse_answer(damaged[:end], 1)


def test_a_refusal_is_raised_with_its_number() -> None:
    refusal = struct.pack("=IHHIIi", 20, 2, 0, 5, 0, -errno.EACCES)
    with pytest.raises(PermissionError):
        parse_answer(refusal, 5)


def test_a_connection_of_this_process_is_listed_and_acknowledged_bytes_rise() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as raw:
            diag = DiagSocket(raw)
            before = {c.cookie: c for some in diag.established() for c in some}
            client.sendall(b"x" * 1000)
            accepted.recv(1000)
            accepted.sendall(b"y")
            client.recv(1)
            after = {c.cookie: c for some in diag.established() for c in some}
        client.close()
        accepted.close()
    both = before.keys() & after.keys()
    moved = [after[cookie].acknowledged_bytes - before[cookie].acknowledged_bytes for cookie in both]
    assert 1000 in moved


def test_a_diag_socket_tells_of_the_namespace_in_which_it_was_opened_and_the_process_stays_in_its_own() -> None:
    """Needs root, as all of `make test` does."""
    own = os.readlink("/proc/self/ns/net")
    ready, done = threading.Event(), threading.Event()
    elsewhere: list[int] = []

    def live_elsewhere() -> None:
        assert ctypes.CDLL(None).unshare(0x40000000) == 0
        elsewhere.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        ready.set()
        done.wait()

    thread = threading.Thread(target=live_elsewhere)
    thread.start()
    ready.wait()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        [there] = open_diag_sockets(elsewhere)
        [here] = open_diag_sockets([os.open("/proc/self/ns/net", os.O_RDONLY)])
        assert isinstance(there, DiagSocket)
        assert isinstance(here, DiagSocket)
        assert [c for some in there.established() for c in some] == []
        assert [c for some in here.established() for c in some] != []
    there.close()
    here.close()
    os.close(elsewhere[0])
    done.set()
    thread.join()

    def places() -> set[str]:
        found = set()
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/self/task/{task}/ns/net"))
        return found

    # A thread that was joined may be listed for a moment longer.
    eventually(lambda: places() == {own}, "all threads in the process's own namespace")


def test_what_is_no_namespace_is_refused_and_the_others_are_opened() -> None:
    with Path("/dev/null").open() as null, Path("/proc/self/ns/net").open() as namespace:
        refused, opened = open_diag_sockets([null.fileno(), namespace.fileno()])
    assert isinstance(refused, OSError)
    assert isinstance(opened, DiagSocket)
    opened.close()


def test_an_address_has_the_length_of_its_family() -> None:
    connections, _ = parse_answer(CAPTURED, 1)
    assert {len(c.local) for c in connections} == {4, 16}
    assert all(isinstance(c, Connection) for c in connections)


def test_the_greatest_error_number_is_a_refusal_too() -> None:
    with pytest.raises(OSError, match="Unknown error"):
        parse_answer(struct.pack("=IHHIIi", 20, 2, 0, 5, 0, -(2**31)), 5)
