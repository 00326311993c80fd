"""The kernel's list of established TCP connections of a network namespace, over NETLINK_SOCK_DIAG.

A diag socket belongs to the namespace in which it was opened, so a namespace has to be entered once, by a thread
that does nothing else (setns(2), CAP_SYS_ADMIN), and is then asked from anywhere. Own code, because the general
libraries decode every attribute of every socket, and none opens the socket in another namespace. Formats:
sock_diag(7), linux/inet_diag.h, linux/tcp.h.
"""

import ctypes
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NETLINK_SOCK_DIAG = 4
_TCPDIAG_GETSOCK = 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST_DUMP = 0x301
_INET_DIAG_INFO = 2
_ESTABLISHED = 1 << 1
_CLONE_NEWNET = 0x40000000

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=3xB48xI4x")  # extensions, an empty socket id, states: the older form (inet_diag_req)
_MESSAGE = struct.Struct("=BBBBHH16s16sI8x20x")  # inet_diag_msg; ports and addresses in network order
_ATTRIBUTE = struct.Struct("=HH")
_LAST_ACK_RECEIVED_OFFSET, _RTT_OFFSET = 56, 68  # of struct tcp_info
_NUMBER = struct.Struct("=I")
_RECEIVE_BYTES = 1 << 18
_ANSWER_SECONDS = 2.0


class Connection(NamedTuple):
    """An established connection. Addresses are in the compressed form that the engine uses."""

    local: str
    peer: str
    rtt_seconds: float
    idle_seconds: float


def parse_answer(datagram: bytes) -> tuple[list[Connection], bool]:
    """The connections of one datagram, and whether it ends the answer.

    Connections whose round-trip time was never measured are left out. What is cut off is passed over.

    Raises OSError with the number that the kernel gave if it refused the request.
    """
    connections: list[Connection] = []
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size or at + length > len(datagram):
            break
        body = datagram[at + _HEADER.size : at + length]
        if kind == _NLMSG_DONE:
            return connections, True
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", body)[0] if len(body) >= _NUMBER.size else errno.EPROTO
            raise OSError(number, os.strerror(number))
        connection = _connection(body)
        if connection is not None:
            connections.append(connection)
        at += (length + 3) & ~3
    return connections, False


def open_diag_socket(namespace: int) -> socket.socket:
    """Open a diag socket in the network namespace of a descriptor (of `/proc/<pid>/ns/net`).

    The calling thread enters the namespace and returns to its own; nothing else may run in it meanwhile.

    Raises PermissionError without CAP_SYS_ADMIN, other OSErrors where the kernel has no NETLINK_SOCK_DIAG.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        finally:
            _enter(own)
    finally:
        os.close(own)
    diag.settimeout(_ANSWER_SECONDS)
    return diag


def connections_of(diag: socket.socket) -> Iterator[Connection]:
    """Ask for all established TCP connections, IPv4 and IPv6. Raises OSError.

    The older form of the request is used, since it covers both families at once: for each the kernel goes through
    its table of the sockets of all namespaces (net/ipv4/inet_diag.c), and that is what it costs.
    """
    request = _REQUEST.pack(1 << (_INET_DIAG_INFO - 1), _ESTABLISHED)
    header = _HEADER.pack(_HEADER.size + len(request), _TCPDIAG_GETSOCK, _NLM_F_REQUEST_DUMP, 1, 0)
    diag.send(header + request)
    ended = False
    while not ended:
        connections, ended = parse_answer(diag.recv(_RECEIVE_BYTES))
        yield from connections


def _connection(body: bytes) -> Connection | None:
    if len(body) < _MESSAGE.size:
        return None
    family, _, _, _, _, _, local, peer, _ = _MESSAGE.unpack_from(body)
    at = _MESSAGE.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size or at + length > len(body):
            return None
        info = body[at + _ATTRIBUTE.size : at + length]
        if kind == _INET_DIAG_INFO and len(info) >= _RTT_OFFSET + _NUMBER.size:
            rtt_microseconds = _NUMBER.unpack_from(info, _RTT_OFFSET)[0]
            idle_milliseconds = _NUMBER.unpack_from(info, _LAST_ACK_RECEIVED_OFFSET)[0]
            if rtt_microseconds == 0:
                return None
            return Connection(
                _address(family, local), _address(family, peer), rtt_microseconds / 1e6, idle_milliseconds / 1e3
            )
        at += (length + 3) & ~3
    return None


def _address(family: int, packed: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed[:4])
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
