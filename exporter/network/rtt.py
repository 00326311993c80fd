"""Round-trip times of the containers' established TCP connections, per network, as real traffic sees them.

Each poll observes the kernel's smoothed round-trip time of every connection that got an acknowledgement since the
poll before: an idle connection's old value says nothing new and isn't observed again. So a busy connection counts
once a poll, however much it carries. Buckets are six to a decade (the E6 series), so that a quantile that is
interpolated in one is within about a fifth of the truth at worst.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Network
from exporter.metrics.catalogue import NETWORK_TCP_RTT
from exporter.metrics.runner import CollectorError
from exporter.metrics.samples import FamilySamples, LabelSet, Sample, label_set
from exporter.network.procfs import ProcfsSource, read_file
from exporter.network.sock_diag import Connection, connections_of, open_diag_socket
from exporter.network.tcp import parse_snmp

_STEPS = (1, 1.5, 2.2, 3.3, 4.7, 6.8)

BUCKETS_SECONDS = (
    *[round(step * 10.0**decade, 9) for decade in range(-5, 1) for step in _STEPS][4:],
    10.0,
)
"""Upper bounds from 47 µs to 10 s."""

_NEEDED_RIGHT = "round-trip times need CAP_SYS_ADMIN, to enter the containers' network namespaces once"


class _Histogram:
    """Counts of observations by bucket, with the label sets of its series."""

    def __init__(self, network: str, peer: str) -> None:
        values = (network, peer)
        names = NETWORK_TCP_RTT.labels
        bounds = (*map(repr, BUCKETS_SECONDS), "+Inf")
        self._buckets = [label_set((*names, "le"), (*values, bound), suffix="_bucket") for bound in bounds]
        self._sum_labels = label_set(names, values, suffix="_sum")
        self._count_labels: LabelSet = label_set(names, values, suffix="_count")
        self._counts = [0] * len(bounds)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self._sum += seconds

    def samples(self) -> Iterator[Sample]:
        total = 0
        for labels, count in zip(self._buckets, self._counts, strict=True):
            total += count
            yield labels, total
        yield self._count_labels, total
        yield self._sum_labels, self._sum


class RttCollector:
    """Collector `rtt`. Its thread enters network namespaces and is used for nothing else."""

    name = "rtt"
    interval_seconds = 0.0
    """Each poll: what is observed is a sample."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._histograms: dict[tuple[str, str], tuple[str, _Histogram]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rtt")
        self._polled_at: float | None = None
        self._may_enter = False

    async def poll(self, source: ProcfsSource) -> None:
        """Observe the connections of all namespaces that the source has open.

        Raises CollectorError without CAP_SYS_ADMIN.
        """
        owners = {c.id: c for c in self._inventory.containers.values() if c.is_running}
        wanted = {(c.id, c.pid) for c in owners.values()}
        connected = {name for name, count in (await source.visit(_established)).items() if count}
        lacking = {key[0] for key in wanted - self._sockets.keys()}
        # Whether it may enter namespaces at all is found out with any of them, connected or not.
        trial = set() if self._may_enter else set(list(lacking)[:1])
        fresh = await source.visit(_open_namespace, (lacking & connected) | trial)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, self._ask_all, fresh, owners, connected)
        now = time.monotonic()
        since_seconds = now - self._polled_at if self._polled_at is not None else 0.0
        self._polled_at = now
        for container_id, connections in found.items():
            for connection in connections:
                if connection.idle_seconds <= since_seconds:
                    self._observe(owners[container_id], connection)
        for network in {key[0] for key in self._histograms} - self._inventory.networks.keys():
            for key in [key for key in self._histograms if key[0] == network]:
                del self._histograms[key]

    async def close(self) -> None:
        """Close all sockets and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._keep_only, {})
        self._thread.shutdown(wait=False)

    def samples(self) -> Iterator[FamilySamples]:
        """The histogram of each network and kind of peer that was seen."""
        yield (
            NETWORK_TCP_RTT,
            [sample for _, histogram in self._histograms.values() for sample in histogram.samples()],
        )

    def _observe(self, owner: Container, connection: Connection) -> None:
        for endpoint in owner.endpoints:
            if connection.local not in (endpoint.ipv4, endpoint.ipv6):
                continue
            network = self._inventory.networks.get(endpoint.network_id)
            if network is None:
                return
            peer = "network" if is_on_network(network, connection.peer) else "external"
            label = self._inventory.network_label(network.id)
            known = self._histograms.get((network.id, peer))
            if known is None or known[0] != label:
                known = self._histograms[network.id, peer] = (label, _Histogram(label, peer))
            known[1].observe(connection.rtt_seconds)
            return

    def _ask_all(
        self, fresh: Mapping[str, int], owners: Mapping[str, Container], connected: Collection[str]
    ) -> dict[str, list[Connection]]:
        self._keep_only(owners)
        try:
            for container_id, namespace in fresh.items():
                self._sockets[container_id, owners[container_id].pid] = open_diag_socket(namespace)
                self._may_enter = True
        except PermissionError:
            raise CollectorError(_NEEDED_RIGHT) from None
        finally:
            for namespace in fresh.values():
                os.close(namespace)
        found = {}
        for key, diag in list(self._sockets.items()):
            if key[0] not in connected:
                continue
            try:
                found[key[0]] = list(connections_of(diag))
            except OSError:
                # An answer that came too late would be taken for the next one's: ask a new socket then.
                self._sockets.pop(key).close()
        return found

    def _keep_only(self, owners: Mapping[str, Container]) -> None:
        """Close the sockets of containers that ended: an open one keeps their network namespace alive."""
        for container_id, pid in list(self._sockets):
            owner = owners.get(container_id)
            if owner is None or owner.pid != pid:
                self._sockets.pop((container_id, pid)).close()


def is_on_network(network: Network, address: str) -> bool:
    """Whether an address is a container's on the network: in one of its subnets, and not the gateway's."""
    with contextlib.suppress(ValueError):
        peer = ipaddress.ip_address(address)
        for pool in network.subnets:
            if peer in ipaddress.ip_network(pool.subnet, strict=False):
                return address != pool.gateway.partition("/")[0]
    return False


def _established(descriptor: int) -> int | None:
    """How many connections there are: to be told them costs ten times as much, also where there is none."""
    return parse_snmp(read_file(descriptor, "net/snmp"))[2]


def _open_namespace(descriptor: int) -> int:
    return os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=descriptor)
