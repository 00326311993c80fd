"""TCP health of each network namespace, from `/proc/<pid>/net/{snmp,netstat,sockstat}`.

Only what the kernel counts per namespace is told: `orphan`, `alloc` and `mem` of sockstat are of the whole
machine (net/ipv4/proc.c, sockstat_seq_show). Connections are not listed one by one: reading `/proc/net/tcp` costs
more than all else together.
"""

from collections.abc import Iterator
from typing import NamedTuple

from exporter.inventory.inventory import Inventory
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.metrics.catalogue import (
    CONTAINER_TCP_CONNECTIONS,
    CONTAINER_TCP_LISTEN_OVERFLOWS,
    CONTAINER_TCP_RETRANSMITTED_SEGMENTS,
    CONTAINER_TCP_SENT_SEGMENTS,
)
from exporter.metrics.samples import FamilySamples, LabelSet, label_set
from exporter.network.procfs import ProcfsSource, read_file

_ESTABLISHED, _TIME_WAIT = "established", "time_wait"


class TcpCounters(NamedTuple):
    """Of one network namespace; None where the kernel does not tell."""

    sent_segments: int | None = None
    retransmitted_segments: int | None = None
    established: int | None = None
    listen_overflows: int | None = None
    time_wait: int | None = None


def parse_snmp(text: bytes) -> dict[bytes, int]:
    """The fields of the `Tcp:` lines of `/proc/<pid>/net/snmp`, by name."""
    return _named_fields(text, b"Tcp:")


def parse_netstat(text: bytes) -> dict[bytes, int]:
    """The fields of the `TcpExt:` lines of `/proc/<pid>/net/netstat`, by name."""
    return _named_fields(text, b"TcpExt:")


def parse_sockstat(text: bytes) -> dict[bytes, int]:
    """The fields of the `TCP:` line of `/proc/<pid>/net/sockstat`, by name."""
    for line in text.split(b"\n"):
        if line.startswith(b"TCP:"):
            words = line.split()[1:]
            return {
                name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()
            }
    return {}


def read_tcp(descriptor: int) -> TcpCounters:
    """Read the counters through an open `/proc/<pid>`. Raises OSError if the process is gone."""
    snmp = parse_snmp(read_file(descriptor, "net/snmp"))
    netstat = parse_netstat(read_file(descriptor, "net/netstat"))
    sockstat = parse_sockstat(read_file(descriptor, "net/sockstat"))
    return TcpCounters(
        sent_segments=snmp.get(b"OutSegs"),
        retransmitted_segments=snmp.get(b"RetransSegs"),
        established=snmp.get(b"CurrEstab"),
        listen_overflows=netstat.get(b"ListenOverflows"),
        time_wait=sockstat.get(b"tw"),
    )


class TcpCollector:
    """Collector `tcp`."""

    name = "tcp"

    def __init__(self, inventory: Inventory, visibility: Visibility = EVERYTHING) -> None:
        self._inventory = inventory
        self._visibility = visibility
        self._counters: dict[str, TcpCounters] = {}
        self._labels: dict[str, tuple[LabelSet, LabelSet, LabelSet]] = {}

    async def poll(self, source: ProcfsSource) -> None:
        """Read all namespaces that the source has open."""
        self._counters = await source.visit(read_tcp)

    def samples(self) -> Iterator[FamilySamples]:
        """Segments, overflows and connections of each container that owns a namespace."""
        rows = []
        labels: dict[str, tuple[LabelSet, LabelSet, LabelSet]] = {}
        for container_id, counters in self._counters.items():
            container = self._inventory.containers.get(container_id)
            if (
                container is None
                or not container.is_running
                or not self._visibility.containers.shows(container.name)
            ):
                continue
            known = self._labels.get(container.name) or _labels(container.name)
            labels[container.name] = known
            rows.append((known, counters))
        self._labels = labels
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


def _labels(name: str) -> tuple[LabelSet, LabelSet, LabelSet]:
    names = CONTAINER_TCP_CONNECTIONS.labels
    return (
        label_set(("container",), (name,)),
        label_set(names, (name, _ESTABLISHED)),
        label_set(names, (name, _TIME_WAIT)),
    )


def _named_fields(text: bytes, prefix: bytes) -> dict[bytes, int]:
    """Two lines with the same prefix: the names, and below them the values (net/ipv4/proc.c)."""
    start = text.find(b"\n" + prefix) + 1 if not text.startswith(prefix) else 0
    if start == 0 and not text.startswith(prefix):
        return {}
    names, _, rest = text[start:].partition(b"\n")
    values = rest.partition(b"\n")[0]
    if not values.startswith(prefix):
        return {}
    found = {}
    for name, value in zip(names.split()[1:], values.split()[1:], strict=False):
        if value.lstrip(b"-").isdigit():
            found[name] = int(value)
    return found
