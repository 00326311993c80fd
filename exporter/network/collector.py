"""Traffic by network and by container: polls a source, keeps the accounts, and tells what it knows."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint, Network
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.metrics.catalogue import (
    CONTAINER_NETWORK_INFO,
    CONTAINER_TRAFFIC,
    EXPORTER_NETLINK_OVERRUNS,
    EXPORTER_UNATTRIBUTED_INTERFACES,
    NETWORK_ADDRESSES,
    NETWORK_ADDRESSES_USED,
    NETWORK_CONTAINERS,
    NETWORK_CREATED,
    NETWORK_EGRESS,
    NETWORK_INFO,
    NETWORK_INGRESS,
    NETWORK_RECEIVE_PEAK,
    NETWORK_RECEIVE_RATE,
    NETWORK_TRAFFIC,
    NETWORK_TRANSMIT_PEAK,
    NETWORK_TRANSMIT_RATE,
    Family,
)
from exporter.metrics.runner import CollectorError
from exporter.metrics.samples import NO_LABELS, FamilySamples, LabelSet, LabelSets, Sample, label_set
from exporter.network.accounting import Accounting, NamespaceKey, Reading
from exporter.network.addresses import pools_of
from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from exporter.network.follower import Follower
from exporter.network.rates import Rates
from exporter.network.source import CounterSource, namespace_key, namespace_owners

_TRAFFICLESS_DRIVERS = ("host", "null")
_MTU_OPTION = "com.docker.network.driver.mtu"
_COMPOSE_PROJECT = "com.docker.compose.project"
_ERRORS = (2, 6)


@dataclass(slots=True)
class _Row:
    """Traffic of one container on one network, with its label set."""

    labels: LabelSet
    counters: InterfaceCounters


@dataclass(slots=True)
class _Rows:
    """What a reading became; kept while the very same reading is returned, as for a quiet namespace."""

    reading: Reading
    generation: int
    rows: list[_Row] = field(default_factory=list)


class NetworkCollector:
    """Collector `network`."""

    name = "network"

    def __init__(
        self,
        inventory: Inventory,
        visibility: Visibility = EVERYTHING,
        procfs: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inventory = inventory
        self._visibility = visibility
        self._clock = clock
        self._accounting = Accounting()
        self.follower = Follower(inventory, self._accounting, procfs)
        """Follows the kernel's messages about links; its task is run beside the polls."""
        self._bridges: Mapping[str, InterfaceCounters] = {}
        self._rates = Rates()
        self._generation = -1
        self._owners: list[Container] = []
        self._living: frozenset[NamespaceKey] = frozenset()
        self._containers: dict[NamespaceKey, _Rows] = {}
        self._errors_known = True
        self._inventory_samples: list[FamilySamples] = []
        self._attachment_samples: list[Sample] | None = None
        self._row_labels, self._attachment_labels = LabelSets(), LabelSets()
        self._rows_generation = -1
        self.polled_at: float | None = None
        """When the last poll was taken, by the monotonic clock; None before the first."""
        self.polled_generation = -1
        """The inventory's generation that the last poll was taken of."""

    async def poll(self, source: CounterSource) -> None:
        """Read all counters once and take them into the accounts.

        Raises CollectorError if the source can't be read.
        """
        self._follow_inventory()
        generation = self._generation
        self.follower.poll_begins(by_index=source.tells_indexes)
        try:
            readings = await source.read(self._owners, self._inventory)
        except CollectorError:
            # What can't be read now is not known now; the totals so far stay true.
            self._containers.clear()
            self._rates.forget()
            raise
        now = self._clock()
        self._errors_known = source.counts_errors
        await self.follower.poll_ends(readings)
        self._take(readings)
        self._bridges = await self.follower.bridge_counters()
        self.polled_at, self.polled_generation = now, generation
        self._rates.poll(
            now,
            {
                network.id: self._accounting.totals.get(network.id, NO_TRAFFIC)
                for network in self._networks_with_traffic()
            },
        )

    def samples(self) -> Iterator[FamilySamples]:
        """All families of networks, and of containers on networks."""
        if not self._inventory.complete:
            return
        self._follow_inventory()
        yield from self._inventory_samples
        if self._attachment_samples is None:
            self._attachment_labels.next_round()
            self._attachment_samples = [(labels, 1) for labels in self._attachments()]
        yield CONTAINER_NETWORK_INFO, self._attachment_samples
        if self.polled_at is None:
            return
        yield from self._totals()
        yield from self._rate_gauges()
        yield from self._container_traffic()
        yield EXPORTER_UNATTRIBUTED_INTERFACES, [(NO_LABELS, self._accounting.unattributed)]
        overruns = self.follower.overruns
        yield EXPORTER_NETLINK_OVERRUNS, [(NO_LABELS, overruns)] if overruns is not None else []

    def _take(self, readings: Iterable[Reading]) -> None:
        if self._rows_generation != self._generation:  # all rows are made anew
            self._rows_generation = self._generation
            self._row_labels.next_round()
        current: dict[NamespaceKey, _Rows] = {}
        for reading in readings:
            before = self._containers.get(reading.key)
            if before is None or before.reading is not reading or before.generation != self._generation:
                whole = self._accounting.take(reading, self.follower.claim)
                if before is None or before.reading.networks != reading.networks:
                    self._attachment_samples = None
                # What could not be counted yet is taken again, though nothing of it may have changed.
                generation = self._generation if whole else -1
                before = _Rows(reading, generation, self._rows_of(reading))
            current[reading.key] = before
        self._containers = current
        self._accounting.keep_only(self._living)
        self.follower.keep_only(self._living)

    def _rows_of(self, reading: Reading) -> list[_Row]:
        container = self._inventory.containers.get(reading.key[0])
        if container is None or not self._visibility.containers.shows(container.name):
            return []
        # By the networks' names: those that the inventory doesn't have (yet, or any more) are one series with what
        # belongs to none.
        sums: dict[str, InterfaceCounters] = {}
        for interface, counters in reading.interfaces.items():
            name = self._inventory.network_label(reading.networks.get(interface, ""))
            before = sums.get(name)
            sums[name] = counters if before is None else _sum(before, counters)
        return [
            _Row(self._row_labels(("container", "network"), (container.name, name)), sum_)
            for name, sum_ in sums.items()
            if not name or self._visibility.networks.shows(name)
        ]

    def _totals(self) -> Iterator[FamilySamples]:
        totals = self._accounting.totals
        networks = [
            (labels, totals.get(network, NO_TRAFFIC)) for network, labels in self._network_labels().items()
        ]
        for index, family in self._counted(NETWORK_TRAFFIC):
            yield family, [(labels, total[index]) for labels, total in networks]
        labels = self._network_labels()
        bridges = [(labels[network], device) for network, device in self._bridges.items() if network in labels]
        yield NETWORK_EGRESS, [(label, device.receive_bytes) for label, device in bridges]
        yield NETWORK_INGRESS, [(label, device.transmit_bytes) for label, device in bridges]

    def _rate_gauges(self) -> Iterator[FamilySamples]:
        labels = self._network_labels()
        rates = [(labels[network], rate) for network in labels if (rate := self._rates.rate(network))]
        yield NETWORK_RECEIVE_RATE, [(label, rate[0]) for label, rate in rates]
        yield NETWORK_TRANSMIT_RATE, [(label, rate[1]) for label, rate in rates]
        peaks = [(labels[network], peak) for network in labels if (peak := self._rates.peak(network))]
        yield NETWORK_RECEIVE_PEAK, [(label, peak[0]) for label, peak in peaks]
        yield NETWORK_TRANSMIT_PEAK, [(label, peak[1]) for label, peak in peaks]

    def _container_traffic(self) -> Iterator[FamilySamples]:
        rows = [row for key, rows in self._containers.items() if key in self._living for row in rows.rows]
        for index, family in self._counted(CONTAINER_TRAFFIC):
            yield family, [(row.labels, row.counters[index]) for row in rows]

    def _counted(self, families: tuple[Family, ...]) -> Iterator[tuple[int, Family]]:
        for index, family in enumerate(families):
            if self._errors_known or index not in _ERRORS:
                yield index, family

    def _follow_inventory(self) -> None:
        if self._generation == self._inventory.generation:
            return
        self._generation = self._inventory.generation
        self._owners = namespace_owners(self._inventory.containers.values())
        self._living = frozenset(map(namespace_key, self._owners))
        # A container can be known before its network is: what it counts until then is not forgotten.
        awaited = {endpoint.network_id for owner in self._owners for endpoint in owner.endpoints}
        for network in self._accounting.totals.keys() - self._inventory.networks.keys() - awaited:
            self._accounting.forget_network(network)
        self._inventory_samples = list(self._describe())
        self._attachment_samples = None

    def _networks_with_traffic(self) -> list[Network]:
        return [
            network for network in self._inventory.networks.values() if network.driver not in _TRAFFICLESS_DRIVERS
        ]

    def _network_labels(self) -> Mapping[str, LabelSet]:
        return {
            network.id: label_set(("network",), (self._inventory.network_label(network.id),))
            for network in self._networks_with_traffic()
            if self._shows(network)
        }

    def _shows(self, network: Network) -> bool:
        return self._visibility.networks.shows(self._inventory.network_label(network.id))

    def _describe(self) -> Iterator[FamilySamples]:
        networks = [network for network in self._inventory.networks.values() if self._shows(network)]
        labels = {
            network.id: label_set(("network",), (self._inventory.network_label(network.id),))
            for network in networks
        }
        attached = dict.fromkeys(labels, 0)
        for container in self._inventory.containers.values():
            if container.is_running:
                for endpoint in container.endpoints:
                    if endpoint.network_id in attached:
                        attached[endpoint.network_id] += 1
        yield NETWORK_INFO, [(self._info_labels(network), 1) for network in networks]
        yield (
            NETWORK_CREATED,
            [(labels[network.id], network.created_at) for network in networks if network.created_at],
        )
        yield NETWORK_CONTAINERS, [(labels[network], count) for network, count in attached.items()]
        yield from self._pools(networks)

    def _pools(self, networks: list[Network]) -> Iterator[FamilySamples]:
        endpoints: dict[str, list[Endpoint]] = {}
        for container in self._inventory.containers.values():
            for endpoint in container.endpoints:
                endpoints.setdefault(endpoint.network_id, []).append(endpoint)
        pools = [
            (label_set(NETWORK_ADDRESSES.labels, (self._inventory.network_label(network.id), pool.subnet)), pool)
            for network in networks
            for pool in pools_of(network, endpoints.get(network.id, ()))
        ]
        yield NETWORK_ADDRESSES, [(labels, pool.size) for labels, pool in pools]
        yield NETWORK_ADDRESSES_USED, [(labels, pool.used) for labels, pool in pools]

    def _info_labels(self, network: Network) -> LabelSet:
        return label_set(
            NETWORK_INFO.labels,
            (
                self._inventory.network_label(network.id),
                network.id,
                network.driver,
                network.scope,
                _flag(network.internal),
                _flag(network.attachable),
                _flag(network.ingress),
                _flag(network.ipv6),
                _flag("encrypted" in network.options),
                network.options.get(_MTU_OPTION, ""),
                network.labels.get(_COMPOSE_PROJECT, ""),
            ),
        )

    def _attachments(self) -> Iterator[LabelSet]:
        for container in self._inventory.containers.values():
            if not container.is_running or not self._visibility.containers.shows(container.name):
                continue
            rows = self._containers.get(namespace_key(container))
            interfaces = {network: name for name, network in rows.reading.networks.items()} if rows else {}
            for endpoint in container.endpoints:
                name = self._inventory.network_label(endpoint.network_id)
                if not self._visibility.networks.shows(name):
                    continue
                yield self._attachment_labels(
                    CONTAINER_NETWORK_INFO.labels,
                    (
                        container.name,
                        name,
                        interfaces.get(endpoint.network_id, endpoint.interface_name),
                        endpoint.ipv4,
                        endpoint.ipv6,
                        endpoint.mac_address,
                    ),
                )


def _flag(value: bool) -> str:  # noqa: FBT001 - turns a truth value into a label's value
    return "true" if value else "false"


def _sum(first: InterfaceCounters, second: InterfaceCounters) -> InterfaceCounters:
    return InterfaceCounters(*(a + b for a, b in zip(first, second, strict=True)))
