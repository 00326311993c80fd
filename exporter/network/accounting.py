"""Monotone totals per network, made of the deltas of the interfaces that come and go.

Totals start at 0 with the exporter: if they started at the sum of the living containers' counters, Prometheus
would see a false reset after each restart of the exporter. A container that was there before contributes from
then on, one that started later from its first byte, an interface whose counters went back its new value (it is
another interface), and one that leaves takes nothing away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters

NamespaceKey = tuple[str, int, float]
"""Id of the container that owns the namespace, its process id, and when it started: a restart is another."""


@dataclass(slots=True)
class _Interface:
    counters: InterfaceCounters
    credited: InterfaceCounters
    network: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The interfaces of one network namespace at one moment.

    `networks` holds the id of the network of each attributed interface. `born_watched` says that the
    namespace was made after the exporter started, so that all it counted is to be credited.
    """

    key: NamespaceKey
    interfaces: Mapping[str, InterfaceCounters]
    networks: Mapping[str, str] = field(default_factory=dict)
    born_watched: bool = False


class Accounting:
    """The totals. It has no clock and no I/O; readings come in, totals stand to be read."""

    def __init__(self) -> None:
        self._namespaces: dict[NamespaceKey, dict[str, _Interface]] = {}
        self._totals: dict[str, list[int]] = {}

    @property
    def totals(self) -> Mapping[str, list[int]]:
        """By network id, in the order of `InterfaceCounters`."""
        return self._totals

    @property
    def unattributed(self) -> int:
        """Interfaces that belong to no network as far as is known."""
        return sum(
            not interface.network for interfaces in self._namespaces.values() for interface in interfaces.values()
        )

    def take(self, reading: Reading) -> None:
        """Credit what a namespace's interfaces counted since they were last read.

        What an interface counts before it is known to which network it belongs is held back and credited
        when that becomes known.
        """
        known = self._namespaces.get(reading.key)
        from_zero = known is not None or reading.born_watched
        if known is None:
            known = self._namespaces[reading.key] = {}
        elif len(known) != len(reading.interfaces) or known.keys() != reading.interfaces.keys():
            for name in known.keys() - reading.interfaces.keys():
                del known[name]
        for name, counters in reading.interfaces.items():
            network = reading.networks.get(name, "")
            interface = known.get(name)
            if interface is None:
                interface = known[name] = _Interface(counters, NO_TRAFFIC if from_zero else counters, network)
            elif counters == interface.counters and network == interface.network:
                continue
            elif _went_back(interface.counters, counters):
                interface.credited = NO_TRAFFIC
            interface.counters, interface.network = counters, network
            if network and counters != interface.credited:
                self._credit(network, counters, interface.credited)
                interface.credited = counters

    def keep_only(self, keys: Iterable[NamespaceKey]) -> None:
        """Forget the namespaces that are gone; what they contributed stays."""
        kept = set(keys)
        for key in [key for key in self._namespaces if key not in kept]:
            del self._namespaces[key]

    def forget_network(self, network: str) -> None:
        """Drop the total of a network that was removed."""
        self._totals.pop(network, None)

    def _credit(self, network: str, now: InterfaceCounters, before: InterfaceCounters) -> None:
        totals = self._totals.get(network)
        if totals is None:
            totals = self._totals[network] = [0] * len(NO_TRAFFIC)
        for index, (new, old) in enumerate(zip(now, before, strict=True)):
            if new != old:
                totals[index] += new - old


def _went_back(before: InterfaceCounters, now: InterfaceCounters) -> bool:
    return any(new < old for new, old in zip(now, before, strict=True))
