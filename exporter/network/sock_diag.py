"""The kernel's list of established TCP connections of a network namespace, over NETLINK_SOCK_DIAG.

A diag socket belongs to the namespace in which it was opened, so a namespace is entered once (setns(2),
CAP_SYS_ADMIN) and then asked from anywhere. Own code, because the general libraries decode every attribute of
every socket, and none opens the socket in another namespace. Formats: sock_diag(7), linux/inet_diag.h,
linux/tcp.h.

The request is the older TCPDIAG_GETSOCK, because its answer has both families: the kernel walks its table of
the connections of all namespaces for each request, empty or not, and SOCK_DIAG_BY_FAMILY would make it walk
twice (net/ipv4/inet_diag.c; 0.46 ms a walk with 262,144 buckets, the size on a machine with 24 GB).
"""

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from exporter.network.netlink import MOST_ERRNO

_NETLINK_SOCK_DIAG = 4
_TCPDIAG_GETSOCK = 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST_DUMP = 0x301
_INET_DIAG_INFO = 2
_ESTABLISHED = 1 << 1
_CLONE_NEWNET = 0x40000000

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_REQUEST = struct.Struct("=BxxB48xII")  # inet_diag_req: family, extensions, an empty socket id, states, dbs
_MESSAGE = struct.Struct("=B7x16s16s4xQ20x")  # inet_diag_msg: family, addresses in network order, cookie
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_INFO = struct.Struct("=68xI48xQ")  # of tcp_info: tcpi_rtt in µs and, since Linux 4.1, tcpi_bytes_acked
_NUMBER = struct.Struct("=i")
_MAPPED = bytes(10) + b"\xff\xff"
_RECEIVE_BYTES = 1 << 16


class Connection(NamedTuple):
    """An established connection.

    `cookie` tells it from every other of its namespace, also later ones. Addresses are packed, 4 or 16 bytes; an
    IPv4 address that a socket of IPv6 maps is given as IPv4. `rtt_microseconds` is the kernel's smoothed
    round-trip time. `acknowledged_bytes` rises when the peer acknowledges data, so when there was a round trip.
    """

    cookie: int
    local: bytes
    peer: bytes
    rtt_microseconds: int
    acknowledged_bytes: int


def parse_answer(datagram: bytes, sequence: int) -> tuple[list[Connection], bool]:
    """The connections of one datagram, and whether it ends the answer to the request of this sequence number.

    Connections whose round-trip time was never measured are left out. What is cut off is passed over.

    Raises OSError with the number that the kernel gave if it refused the request.
    """
    connections: list[Connection] = []
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, _, answered, _ = _HEADER.unpack_from(datagram, at)
        start, end = at + _HEADER.size, at + length
        if length < _HEADER.size or end > len(datagram):
            break
        at = end + 3 & ~3
        if answered != sequence:
            continue
        if kind in (_NLMSG_DONE, _NLMSG_ERROR):
            _raise_refusal(datagram[start:end])
            return connections, True
        connection = _connection(datagram, start, end)
        if connection is not None:
            connections.append(connection)
    return connections, False


class DiagSocket:
    """A diag socket. It keeps its network namespace alive, so it has to be closed when the container ends."""

    def __init__(self, diag: socket.socket) -> None:
        self._socket = diag
        self._sequence = 0

    def established(self) -> Iterator[list[Connection]]:
        """The established TCP connections of both families, some at a time; only one walk at a time.

        The kernel goes on only as it is read, and answers at once: a walk may be left and taken up again later.

        Raises OSError.
        """
        self._sequence += 1
        request = _REQUEST.pack(socket.AF_INET, 1 << (_INET_DIAG_INFO - 1), _ESTABLISHED, 0)
        length = _HEADER.size + len(request)
        header = _HEADER.pack(length, _TCPDIAG_GETSOCK, _NLM_F_REQUEST_DUMP, self._sequence, 0)
        self._socket.send(header + request)
        ended = False
        while not ended:
            datagram = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            connections, ended = parse_answer(datagram, self._sequence)
            yield connections

    def close(self) -> None:
        """Close the socket, and so let go of its namespace."""
        self._socket.close()


def open_diag_sockets(namespaces: Sequence[int]) -> list[DiagSocket | OSError]:
    """Open a diag socket in each of these network namespaces, given by descriptors of `/proc/<pid>/ns/net`.

    A thread of its own enters them one after the other, and then ends: no other code ever runs in a namespace that
    isn't the exporter's, whatever fails. For each namespace its socket, or why there is none: PermissionError
    without CAP_SYS_ADMIN.
    """
    opened: list[DiagSocket | OSError] = []

    def enter_all() -> None:
        for namespace in namespaces:
            try:
                _enter(namespace)
                opened.append(DiagSocket(_diag_socket()))
            except OSError as error:
                opened.append(error)

    thread = threading.Thread(target=enter_all, name="namespaces")
    thread.start()
    thread.join()
    return opened


def _diag_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def _connection(data: bytes, start: int, end: int) -> Connection | None:
    if end - start < _MESSAGE.size:
        return None
    family, local, peer, cookie = _MESSAGE.unpack_from(data, start)
    start += _MESSAGE.size
    while end - start >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= end - start:
            return None
        if kind == _INET_DIAG_INFO:
            if length - _ATTRIBUTE.size < _INFO.size:
                return None
            rtt, acknowledged = _INFO.unpack_from(data, start + _ATTRIBUTE.size)
            if not rtt:
                return None
            return Connection(cookie, _address(family, local), _address(family, peer), rtt, acknowledged)
        start += length + 3 & ~3
    return None


def _address(family: int, packed: bytes) -> bytes:
    if family == socket.AF_INET:
        return packed[:4]
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _raise_refusal(body: bytes) -> None:
    number = -_NUMBER.unpack_from(body)[0] if len(body) >= _NUMBER.size else errno.EPROTO
    if number > 0:
        raise OSError(number, os.strerror(min(number, MOST_ERRNO)))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _enter(namespace: int) -> None:
    if _libc().setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
