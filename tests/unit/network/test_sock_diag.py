import contextlib
import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.sock_diag import connections_of, open_diag_socket, parse_answer


@given(st.binary())
def test_answers_of_any_form_raise_nothing_but_the_kernel_s_refusal(datagram: bytes) -> None:
    with contextlib.suppress(OSError):
        parse_answer(datagram)


def test_a_refusal_is_raised_with_its_number() -> None:
    error = (
        (20).to_bytes(4, "little")
        + (2).to_bytes(2, "little")
        + bytes(10)
        + (-13).to_bytes(4, "little", signed=True)
    )
    with pytest.raises(PermissionError):
        parse_answer(error)


def test_an_end_of_the_list_ends_the_answer() -> None:
    assert parse_answer((16).to_bytes(4, "little") + (3).to_bytes(2, "little") + bytes(10)) == ([], True)


def test_a_connection_of_this_process_is_listed_with_its_round_trip_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        for _ in range(3):
            client.sendall(b"x")
            accepted.recv(1)
            accepted.sendall(b"y")
            client.recv(1)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:
            found = [c for c in connections_of(diag) if c.local == c.peer == "127.0.0.1"]
        client.close()
        accepted.close()
    assert len(found) >= 2
    assert all(0 < connection.rtt_seconds < 1 and connection.idle_seconds < 5 for connection in found)


def test_a_thread_comes_back_from_the_namespace_it_entered() -> None:
    """Needs root, as all of `make test` does."""
    before = os.readlink("/proc/thread-self/ns/net")
    places = []

    def enter() -> None:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        open_diag_socket(own).close()
        places.append(os.readlink("/proc/thread-self/ns/net"))
        os.close(own)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert places == [before]
