"""TCP health of each network namespace, from `/proc/<pid>/net/{snmp,netstat,sockstat}`.

Only what the kernel counts per namespace is told: `orphan`, `alloc` and `mem` of sockstat are of the whole
machine (net/ipv4/proc.c, sockstat_seq_show). Connections are not listed one by one: reading `/proc/net/tcp` costs
more than all else together.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from exporter.inventory.inventory import Inventory
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.metrics.catalogue import (
    CONTAINER_TCP_CONNECTIONS,
    CONTAINER_TCP_LISTEN_OVERFLOWS,
    CONTAINER_TCP_RETRANSMITTED_SEGMENTS,
    CONTAINER_TCP_SENT_SEGMENTS,
)
from exporter.metrics.samples import FamilySamples, LabelSet, LabelSets
from exporter.network.procfs import ProcfsSource, read_file

_SNMP_NAMES = (b"OutSegs", b"RetransSegs", b"CurrEstab")
_ACTIVITY_NAMES = (b"InSegs", b"CurrEstab")
_NETSTAT_NAMES = (b"ListenOverflows",)
_MOST_DIGITS = 20
"""Of a number of 64 bits."""
_ESTABLISHED, _TIME_WAIT = "established", "time_wait"


class TcpCounters(NamedTuple):
    """Of one network namespace; None where the kernel does not tell."""

    sent_segments: int | None = None
    retransmitted_segments: int | None = None
    established: int | None = None
    listen_overflows: int | None = None
    time_wait: int | None = None


def parse_snmp(text: bytes) -> tuple[int | None, int | None, int | None]:
    """Segments sent and retransmitted, and established connections, of `/proc/<pid>/net/snmp`."""
    sent, retransmitted, established = _fields(text, b"Tcp:", _SNMP_NAMES)
    return sent, retransmitted, established


def parse_activity(text: bytes) -> tuple[int | None, int | None]:
    """Segments received, and established connections, of `/proc/<pid>/net/snmp`."""
    received, established = _fields(text, b"Tcp:", _ACTIVITY_NAMES)
    return received, established


def parse_netstat(text: bytes) -> int | None:
    """Listen overflows of `/proc/<pid>/net/netstat`."""
    return _fields(text, b"TcpExt:", _NETSTAT_NAMES)[0]


def parse_sockstat(text: bytes) -> int | None:
    """Connections in time_wait of `/proc/<pid>/net/sockstat`."""
    start, end = _line(text, b"TCP:")
    words = text[start:end].split()
    for name, value in zip(words[1::2], words[2::2], strict=False):
        if name == b"tw":
            return _count(value)
    return None


def read_tcp(descriptor: int) -> TcpCounters:
    """Read the counters through an open `/proc/<pid>`. Raises OSError if the process is gone."""
    sent, retransmitted, established = parse_snmp(read_file(descriptor, "net/snmp"))
    return TcpCounters(
        sent_segments=sent,
        retransmitted_segments=retransmitted,
        established=established,
        listen_overflows=parse_netstat(read_file(descriptor, "net/netstat")),
        time_wait=parse_sockstat(read_file(descriptor, "net/sockstat")),
    )


class TcpCollector:
    """Collector `tcp`."""

    name = "tcp"
    interval_seconds = 10.0
    """The kernel sums up some 200 counters over all processors for each read: five times the cost of traffic."""

    def __init__(self, inventory: Inventory, visibility: Visibility = EVERYTHING) -> None:
        self._inventory = inventory
        self._visibility = visibility
        self._counters: dict[str, TcpCounters] = {}
        self._label_sets = LabelSets()

    async def poll(self, source: ProcfsSource) -> None:
        """Read all namespaces that the source has open."""
        self._counters = await source.visit(read_tcp)

    def samples(self) -> Iterator[FamilySamples]:
        """Segments, overflows and connections of each container that owns a namespace."""
        rows = []
        self._label_sets.next_round()
        for container_id, counters in self._counters.items():
            container = self._inventory.containers.get(container_id)
            if (
                container is None
                or not container.is_running
                or not self._visibility.containers.shows(container.name)
            ):
                continue
            rows.append((self._labels(container.name), counters))
        yield (
            CONTAINER_TCP_SENT_SEGMENTS,
            [(own[0], c.sent_segments) for own, c in rows if c.sent_segments is not None],
        )
        yield (
            CONTAINER_TCP_RETRANSMITTED_SEGMENTS,
            [(own[0], c.retransmitted_segments) for own, c in rows if c.retransmitted_segments is not None],
        )
        yield (
            CONTAINER_TCP_LISTEN_OVERFLOWS,
            [(own[0], c.listen_overflows) for own, c in rows if c.listen_overflows is not None],
        )
        connections = [(own[1], c.established) for own, c in rows if c.established is not None]
        connections += [(own[2], c.time_wait) for own, c in rows if c.time_wait is not None]
        yield CONTAINER_TCP_CONNECTIONS, connections

    def _labels(self, name: str) -> tuple[LabelSet, LabelSet, LabelSet]:
        names = CONTAINER_TCP_CONNECTIONS.labels
        return (
            self._label_sets(("container",), (name,)),
            self._label_sets(names, (name, _ESTABLISHED)),
            self._label_sets(names, (name, _TIME_WAIT)),
        )


def _fields(text: bytes, prefix: bytes, names: tuple[bytes, ...]) -> tuple[int | None, ...]:
    """Some of the fields of two lines with a prefix: the names, and below them the values (net/ipv4/proc.c).

    Of a file that was cut off in either, none: half a number would look like a counter that began anew.
    There are up to 150 names, and they are the same in each namespace: where those wanted stand is looked up once.
    """
    start, end = _line(text, prefix)
    header = text[start:end]
    values = text[end + 1 : max(text.find(b"\n", end + 1), 0)].split()
    if not header or not values or values[0] != prefix:
        return (None,) * len(names)
    found = []
    for position in _positions(header, names):
        value = values[position] if position is not None and position < len(values) else b""
        found.append(_count(value))
    return tuple(found)


@lru_cache(maxsize=64)
def _positions(header: bytes, names: tuple[bytes, ...]) -> tuple[int | None, ...]:
    columns = header.split()
    return tuple(columns.index(name) if name in columns else None for name in names)


def _line(text: bytes, prefix: bytes) -> tuple[int, int]:
    """Where the first line that begins with a prefix begins and ends; an empty place if there is no whole one."""
    start = 0 if text.startswith(prefix) else text.find(b"\n" + prefix) + 1
    if start == 0 and not text.startswith(prefix):
        return 0, 0
    return start, max(text.find(b"\n", start), start)


def _count(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else None
