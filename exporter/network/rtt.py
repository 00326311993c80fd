"""Round-trip times of the containers' established TCP connections, per network, as real traffic sees them.

What is observed: at each look at a network namespace, the kernel's smoothed round-trip time of every
established connection of which the peer acknowledged data since the look before, and of every new one. So a
busy connection counts once a look, however much it carries, and the value of an idle one, or of one that only
receives, is not counted again and again: it says nothing new. The time includes how long the peer takes to
acknowledge: where it has nothing to send back that can be 40 ms and more (delayed acknowledgement). Connections
that live shorter than the pause between two looks are not seen.

A round of looks ends when it has used two hundredths of the time since the round before, and the next one
begins with the namespace that was not looked at for longest: what all this costs is bounded, however many
connections there are.
"""

import asyncio
import contextlib
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Network
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.metrics.catalogue import NETWORK_TCP_RTT
from exporter.metrics.runner import CollectorError
from exporter.metrics.samples import FamilySamples, LabelSet, Sample, label_set
from exporter.network.peers import Peers
from exporter.network.rtt_namespaces import DiagNamespace, Sight, Sighting
from exporter.network.sock_diag import open_diag_sockets

_DIGITS = (90, 110, 135, 160, 190, 230, 280, 340, 400, 470, 550, 650, 770)
BUCKETS_MICROSECONDS = (
    *(50, 75, 100, 150, 200, 300, 400, 550, 700),
    *(digits * 10 for digits in _DIGITS),
    *(digits * 100 for digits in _DIGITS),
    *(digits * 1000 for digits in (*_DIGITS[:7], 350, 500, 750, 1000, 1500, 2500, 5000, 10000)),
)
"""Upper bounds. From 0.9 to 280 ms each is at most 1.23 times the one below, so that a quantile that is
interpolated in a bucket is off by 12 % at worst, and by 8 % near round values, which lie inside of buckets and
not at an edge."""

_SHARE_OF_TIME = 0.02
_LONGEST_ROUND_SECONDS = 0.05
_OPENED_AT_ONCE = 64
_NO_ADMIN = "round-trip times need CAP_SYS_ADMIN, to enter the containers' network namespaces once"
_NO_PTRACE = "round-trip times need CAP_SYS_PTRACE beside CAP_SYS_ADMIN where containers run as other users"
_NO_DIAG = "round-trip times can't be had, the kernel does not list TCP connections (module tcp_diag): "

T = TypeVar("T")
Key = tuple[str, str]
"""A network's id and a kind of peer."""


class NamespaceSource(Protocol):
    """Has `/proc/<pid>` of each network namespace open."""

    async def visit(self, read: Callable[[int], T]) -> dict[str, T]:
        """Call a function with each of the descriptors; its results by the container's id."""


class Observations:
    """A histogram's counts by bucket, and the sum of what was observed."""

    __slots__ = ("counts", "sum_microseconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MICROSECONDS) + 1)
        self.sum_microseconds = 0

    def observe(self, microseconds: int) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS_MICROSECONDS, microseconds)] += 1
        self.sum_microseconds += microseconds

    def add(self, other: "Observations") -> None:
        """Count all that another one has."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_microseconds += other.sum_microseconds


class RttCollector:
    """Collector `rtt`. It asks the kernel in a thread of its own."""

    name = "rtt"
    interval_seconds = 0.0
    """Each poll: what a round costs is bounded by the time since the one before."""

    def __init__(
        self,
        inventory: Inventory,
        visibility: Visibility = EVERYTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inventory = inventory
        self._visibility = visibility
        self._clock = clock
        self._namespaces: dict[str, DiagNamespace] = {}
        self._peers: dict[str, Peers] = {}
        self._generation = -1
        self._observed: dict[Key, Observations] = {}
        self._labels: dict[tuple[str, str], list[LabelSet]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rtt")
        self._round_at = float("-inf")
        self._may_enter = False

    async def poll(self, source: NamespaceSource) -> None:
        """Look at the connections of the namespaces that the source has open, as many as there is time for.

        Raises CollectorError without CAP_SYS_ADMIN, or if the kernel can't tell.
        """
        sights = await source.visit(Sighting({namespace.inode for namespace in self._namespaces.values()}))
        if self._generation != self._inventory.generation:
            self._generation = self._inventory.generation
            self._peers.clear()
        containers, networks = self._inventory.containers, dict(self._inventory.networks)
        owners = {name: containers[name] for name in sights if name in containers}
        loop = asyncio.get_running_loop()
        observed, refusals = await loop.run_in_executor(self._thread, self._round, sights, owners, networks)
        for key, observations in observed.items():
            self._observed.setdefault(key, Observations()).add(observations)
        for key in [key for key in self._observed if key[0] and key[0] not in networks]:
            del self._observed[key]
        if refusals:
            raise CollectorError(refusals[0])

    async def close(self) -> None:
        """Close all sockets and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._keep_only, {})
        self._thread.shutdown(wait=False)

    def samples(self) -> Iterator[FamilySamples]:
        """The histogram of each network and kind of peer that was seen."""
        used: dict[tuple[str, str], list[LabelSet]] = {}
        samples: list[Sample] = []
        for (network_id, peer), observations in self._observed.items():
            name = self._inventory.network_label(network_id)
            if bool(name) != bool(network_id) or (name and not self._visibility.networks.shows(name)):
                continue
            labels = used[name, peer] = self._labels.get((name, peer)) or _labels(name, peer)
            total = 0
            for bucket_labels, count in zip(labels, observations.counts, strict=False):
                total += count
                samples.append((bucket_labels, total))
            samples += [(labels[-2], total), (labels[-1], observations.sum_microseconds / 1e6)]
        self._labels = used
        yield NETWORK_TCP_RTT, samples

    def _round(
        self, sights: Mapping[str, Sight], owners: Mapping[str, Container], networks: Mapping[str, Network]
    ) -> tuple[dict[Key, Observations], list[str]]:
        """In the thread, one round at a time: what was observed, and what was refused."""
        now = self._clock()
        deadline = now + min((now - self._round_at) * _SHARE_OF_TIME, _LONGEST_ROUND_SECONDS)
        self._round_at = now
        self._keep_only(sights)
        observed: dict[Key, Observations] = {}
        refusals = [] if all(sight.inode for sight in sights.values()) else [_NO_PTRACE]
        wanting: list[DiagNamespace] = []
        for name in sorted(filter(owners.__contains__, self._namespaces), key=self._last_look):
            namespace, peers = self._namespaces[name], self._peers.get(name)
            if peers is None:
                peers = self._peers[name] = Peers(owners[name], networks)
            namespace.looked_at = self._clock()
            try:
                for connection in namespace.look(lambda: self._clock() >= deadline):
                    key = peers.over(connection.local, connection.peer)
                    if key is not None:
                        observed.setdefault(key, Observations()).observe(connection.rtt_microseconds)
            except OSError as error:
                # What is left of this answer would be taken for the next one's: begin anew with a new socket.
                self._namespaces.pop(name).close()
                refusals.append(f"{_NO_DIAG}{error.strerror}")
            if namespace.wants_diag:
                wanting.append(namespace)
            if self._clock() >= deadline or len(wanting) == _OPENED_AT_ONCE:
                break
        return observed, self._open(wanting) + refusals

    def _last_look(self, name: str) -> float:
        return self._namespaces[name].looked_at

    def _open(self, wanting: Sequence[DiagNamespace]) -> list[str]:
        """Open diag sockets, to be asked first in the next round; why that was refused, if it was.

        As long as it did not succeed once it is tried with the own namespace, which needs the same right.
        """
        descriptors: dict[int, DiagNamespace | None] = {}
        if not self._may_enter:
            descriptors[os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)] = None
        for namespace in wanting:
            with contextlib.suppress(OSError):  # the process is gone
                descriptors[namespace.open()] = namespace
        if not descriptors:
            return []
        refusals = []
        for (descriptor, wanted_by), diag in zip(
            descriptors.items(), open_diag_sockets(list(descriptors)), strict=True
        ):
            os.close(descriptor)
            if isinstance(diag, OSError):
                forbidden = isinstance(diag, PermissionError)
                refusals.append(_NO_ADMIN if forbidden else f"{_NO_DIAG}{diag.strerror}")
            elif wanted_by is None:
                self._may_enter = True
                diag.close()
            else:
                wanted_by.diag, wanted_by.looked_at = diag, 0.0
        return refusals

    def _keep_only(self, sights: Mapping[str, Sight]) -> None:
        """Take up new namespaces, and close those whose process is gone, or is in another namespace by now."""
        for name, namespace in list(self._namespaces.items()):
            sight = sights.get(name)
            if sight is None or sight.inode != namespace.inode:
                self._namespaces.pop(name).close()
        for name, sight in sights.items():
            if sight.directory >= 0:
                self._namespaces[name] = DiagNamespace(sight)


def _labels(network: str, peer: str) -> list[LabelSet]:
    """Of each bucket, of the count and of the sum."""
    names, values = NETWORK_TCP_RTT.labels, (network, peer)
    bounds = (*(repr(bound / 1e6) for bound in BUCKETS_MICROSECONDS), "+Inf")
    return [
        *(label_set((*names, "le"), (*values, bound), suffix="_bucket") for bound in bounds),
        label_set(names, values, suffix="_count"),
        label_set(names, values, suffix="_sum"),
    ]
