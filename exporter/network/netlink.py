"""What the kernel says of links over rtnetlink: the messages' bytes read and written, without I/O.

Own code, because this is done at every poll and for every container that comes or goes. The general library
(pyroute2) decodes all of some 60 attributes of a link into objects where nine are wanted here, and has no
question for the counters alone: for 414 links it takes 160 ms where this takes 10 ms for the links and 1.5 ms for
the counters, a hundredth; `bench/netlink.py` measures it. The formats are those of rtnetlink(7), linux/if_link.h
and linux/net_namespace.h, in the machine's byte order.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_DELNSID, RTM_GETNSID = 89, 90
RTM_NEWSTATS, RTM_GETSTATS = 92, 94
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTERRUPTED, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 5, 10, 18
_IFLA_STATS64, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 23, 29, 37
_IFLA_NEW_NETNSID, _IFLA_NEW_IFINDEX = 45, 49
_IFLA_INFO_KIND = 1
_IFLA_STATS_LINK_64 = 1
_RTEXT_FILTER_SKIP_STATS = 1 << 3  # without the statistics of IPv6, which are half of the message
_NETNSA_NSID, _NETNSA_PID, _NETNSA_FD = 1, 2, 3

_OF_LINK = frozenset(
    {
        _IFLA_ADDRESS,
        _IFLA_IFNAME,
        _IFLA_LINK,
        _IFLA_MASTER,
        _IFLA_LINKINFO,
        _IFLA_STATS64,
        _IFLA_LINK_NETNSID,
        _IFLA_NEW_NETNSID,
        _IFLA_NEW_IFINDEX,
    }
)
_OF_INFO = frozenset({_IFLA_INFO_KIND})
_OF_STATS = frozenset({_IFLA_STATS_LINK_64})
_OF_NAMESPACE = frozenset({_NETNSA_NSID})

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, changed flags
_STATS = struct.Struct("=BxHII")  # family, padding, index, filter
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NUMBER = struct.Struct("=i")
_COUNTERS = struct.Struct("=16Q")  # rtnl_link_stats64 as far as rx_missed_errors
MOST_ERRNO = 4095
"""The kernel's errors are all smaller (linux/err.h); `os.strerror` takes no number of more than 31 bits."""
_NO_FAMILY = bytes(4)
_MULTICAST_COLUMNS, _INDEX_DIGITS = 5, 10
_ATTRIBUTE_TYPE = 0x3FFF  # without the flags "nested" and "network byte order"


class NetlinkError(OSError):
    """The kernel refused a request, or a message was cut off; then there is no `errno`."""


class Link(NamedTuple):
    """A network device of one namespace.

    `peer` is what IFLA_LINK says: the other end of a veth pair, the parent of a macvlan or VLAN; 0 if there is
    none any more. `peer_namespace` is the id of the namespace that `peer` is in, None if it is this one.
    `counters` are in the device's own view.
    """

    ifindex: int
    name: str = ""
    kind: str = ""
    mac: str = ""
    master: int = 0
    peer: int = 0
    peer_namespace: int | None = None
    counters: InterfaceCounters = NO_TRAFFIC


class LinkEvent(NamedTuple):
    """A link appeared, changed or went. `moved_to` is namespace id and index where it went, None if deleted."""

    link: Link
    gone: bool = False
    moved_to: tuple[int, int] | None = None


class NamespaceGone(NamedTuple):
    """The kernel freed the id of a namespace; it may give it to another."""

    namespace: int


class Message(NamedTuple):
    """One netlink message, its header read; the payload is at `start` to `end` of the datagram."""

    type: int
    flags: int
    sequence: int
    start: int
    end: int


class Request(NamedTuple):
    """A question to the kernel."""

    type: int
    payload: bytes
    flags: int = 0

    def pack(self, sequence: int) -> bytes:
        """The message's bytes."""
        length = _HEADER.size + len(self.payload)
        return _HEADER.pack(length, self.type, self.flags | NLM_F_REQUEST, sequence, 0) + self.payload


def links_request() -> Request:
    """Ask for all links of the namespace."""
    family = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return Request(RTM_GETLINK, family + _attribute(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS), NLM_F_DUMP)


def counters_request(ifindex: int | None = None) -> Request:
    """Ask for the counters of a link, or of all links."""
    payload = _STATS.pack(socket.AF_UNSPEC, 0, ifindex or 0, 1 << (_IFLA_STATS_LINK_64 - 1))
    return Request(RTM_GETSTATS, payload, NLM_F_DUMP if ifindex is None else 0)


def namespace_request(*, pid: int | None = None, descriptor: int | None = None) -> Request:
    """Ask for the id of a process's network namespace, or of an open `/proc/<pid>/ns/net`."""
    what = _attribute(_NETNSA_PID, pid) if pid is not None else _attribute(_NETNSA_FD, descriptor or 0)
    return Request(RTM_GETNSID, _NO_FAMILY + what, NLM_F_ACK)


def split_messages(datagram: bytes) -> Iterator[Message]:
    """Find the messages of a datagram.

    Raises NetlinkError where it was cut off.
    """
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _HEADER.size:
            raise NetlinkError("a netlink message was cut off")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise NetlinkError("a netlink message was cut off")
        yield Message(kind, flags, sequence, offset + _HEADER.size, offset + length)
        offset += length + 3 & ~3


def parse_events(datagram: bytes) -> list[LinkEvent | NamespaceGone]:
    """Read what the kernel multicasts about links and namespace ids; what is about other things is left out.

    Raises NetlinkError where it was cut off.
    """
    events: list[LinkEvent | NamespaceGone] = []
    for message in split_messages(datagram):
        if message.type in (RTM_NEWLINK, RTM_DELLINK):
            event = parse_link(datagram, message.start, message.end)
            if event is not None:
                events.append(event._replace(gone=True) if message.type == RTM_DELLINK else event)
        elif message.type == RTM_DELNSID:
            namespace = parse_namespace(datagram, message.start, message.end)
            if namespace is not None:
                events.append(NamespaceGone(namespace))
    return events


def parse_link(data: bytes, start: int, end: int) -> LinkEvent | None:
    """Read the payload of a RTM_NEWLINK or RTM_DELLINK; None if it is not about the device as such.

    A bridge tells of its ports in messages of its own (family AF_BRIDGE), also that a port left, while the
    device still exists.
    """
    if end - start < _LINK.size or data[start] != socket.AF_UNSPEC:
        return None
    ifindex = _LINK.unpack_from(data, start)[2]
    found = _attributes(data, start + _LINK.size, end, _OF_LINK)
    info = found.get(_IFLA_LINKINFO, b"")
    link = Link(
        ifindex,
        _text(found.get(_IFLA_IFNAME, b"")),
        _text(_attributes(info, 0, len(info), _OF_INFO).get(_IFLA_INFO_KIND, b"")),
        found.get(_IFLA_ADDRESS, b"").hex(":"),
        _number(found.get(_IFLA_MASTER)) or 0,
        _number(found.get(_IFLA_LINK)) or 0,
        _number(found.get(_IFLA_LINK_NETNSID)),
        _counters(found.get(_IFLA_STATS64, b"")),
    )
    namespace = _number(found.get(_IFLA_NEW_NETNSID))
    if namespace is None:
        return LinkEvent(link)
    # A link keeps its index unless that is taken where it goes; kernels before 5.1 don't tell.
    return LinkEvent(link, moved_to=(namespace, _number(found.get(_IFLA_NEW_IFINDEX)) or ifindex))


def parse_stats(data: bytes, start: int, end: int) -> tuple[int, InterfaceCounters] | None:
    """Read the payload of a RTM_NEWSTATS: index and counters of a link."""
    if end - start < _STATS.size:
        return None
    counters = _attributes(data, start + _STATS.size, end, _OF_STATS).get(_IFLA_STATS_LINK_64)
    return None if counters is None else (_STATS.unpack_from(data, start)[2], _counters(counters))


def parse_namespace(data: bytes, start: int, end: int) -> int | None:
    """Read the payload of a RTM_NEWNSID or RTM_DELNSID; None if the namespace has no id."""
    namespace = _number(_attributes(data, start + len(_NO_FAMILY), end, _OF_NAMESPACE).get(_NETNSA_NSID))
    return namespace if namespace is not None and namespace >= 0 else None


def raise_error(data: bytes, start: int) -> None:
    """Raise what the payload of a NLMSG_ERROR or NLMSG_DONE says, if it is an error."""
    error = -(_number(data[start : start + _NUMBER.size]) or 0)
    if error > 0:
        raise NetlinkError(error, os.strerror(min(error, MOST_ERRNO)))


def parse_interface_indexes(text: bytes) -> dict[str, int]:
    """Read `/proc/<pid>/net/dev_mcast`: the index of each interface that has joined a multicast group.

    All that are up have, unless they can't (net/core/dev_addr_lists.c, dev_mc_seq_show). Unlike the list of
    `/sys/class/net` it is readable without privilege. A line that was cut off is passed over: half of `eth10` is
    `eth1`.
    """
    indexes = {}
    for line in text.split(b"\n"):
        columns = line.split()
        if len(columns) >= _MULTICAST_COLUMNS and columns[0].isdigit() and len(columns[0]) <= _INDEX_DIGITS:
            indexes[columns[1].decode(errors="surrogateescape")] = int(columns[0])
    return indexes


def _attributes(data: bytes, start: int, end: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """The wanted attributes by type; what doesn't fit is passed over.

    A link has some 60, most of which nobody here wants, so this loop is where the time goes.
    """
    found = {}
    while end - start >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= end - start:
            break
        if kind & _ATTRIBUTE_TYPE in wanted:
            found[kind & _ATTRIBUTE_TYPE] = data[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    return found


def _attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + _NUMBER.size, kind) + _NUMBER.pack(value)


def _counters(data: bytes) -> InterfaceCounters:
    """The counters as `/proc/net/dev` shows them: missed packets count as dropped (net/core/net-procfs.c)."""
    if len(data) < _COUNTERS.size:
        return NO_TRAFFIC
    c = _COUNTERS.unpack_from(data)
    return InterfaceCounters(c[2], c[0], c[4], c[6] + c[15], c[3], c[1], c[5], c[7])


def _number(data: bytes | None) -> int | None:
    if data is None or len(data) != _NUMBER.size:
        return None
    return int.from_bytes(data, sys.byteorder, signed=True)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")
