"""Monotone totals per network, made of the deltas of the interfaces that come and go.

Totals start at 0 with the exporter: if they started at the sum of the living containers' counters, Prometheus
would see a false reset after each restart of the exporter. A container that was there before contributes from
then on, one that started later from its first byte, an interface whose counters went back its new value (it is
another interface), and one that leaves takes nothing away.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters

NamespaceKey = tuple[str, int, float]
"""Id of the container that owns the namespace, its process id, and when it started: a restart is another."""


@dataclass(slots=True, eq=False)
class InterfaceAccount:
    """What is known of one interface: its last counters, what of them was credited, and to which network.

    `claimed` once it may be credited, `closed` once its final counters were: whatever is read of it later is
    older. `index` is the kernel's number of it, 0 if that isn't known.
    """

    counters: InterfaceCounters
    credited: InterfaceCounters
    network: str
    claimed: bool = False
    closed: bool = False
    index: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The interfaces of one network namespace at one moment.

    `networks` holds the id of the network of each attributed interface, `indexes` the kernel's number of each
    in its namespace, `macs` its address; all as far as known. `born_watched` says that the namespace was made
    after the exporter started, so that all it counted is to be credited.
    """

    key: NamespaceKey
    interfaces: Mapping[str, InterfaceCounters]
    networks: Mapping[str, str] = field(default_factory=dict)
    born_watched: bool = False
    indexes: Mapping[str, int] = field(default_factory=dict)
    macs: Mapping[str, str] = field(default_factory=dict)


Claim = Callable[[Reading, str, InterfaceAccount], InterfaceAccount | None]
"""Called for each interface that is new: its account, an older one of it, or None not to count it now."""


_READINGS_MISSED = 3
"""An interface that is missing from more readings than these that tell of others is gone."""

_POLLS_GONE = 12
"""For so many polls a namespace is remembered that no container is known to have: one may be known again."""


def _claim_nothing(_reading: Reading, _name: str, account: InterfaceAccount) -> InterfaceAccount:
    return account


class Accounting:
    """The totals. It has no clock and no I/O; readings come in, totals stand to be read."""

    def __init__(self) -> None:
        self._namespaces: dict[NamespaceKey, dict[str, InterfaceAccount]] = {}
        self._missed: dict[NamespaceKey, dict[str, tuple[InterfaceAccount, int]]] = {}
        self._gone: dict[NamespaceKey, tuple[dict[str, InterfaceAccount], int]] = {}
        self.on_gone: Callable[[InterfaceAccount], None] = lambda _account: None
        """Called with the account of an interface that went while its namespace stayed."""
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

    def take(self, reading: Reading, claim: Claim = _claim_nothing) -> bool:
        """Credit what a namespace's interfaces counted since they were last read.

        What an interface counts before it is known to which network it belongs is held back and credited
        when that becomes known. An interface that a reading missed, because the list of them was cut off or
        changed while it was read, goes on where it was. False if an interface could not be counted yet, and is to
        be taken again.
        """
        known = self._known(reading.key)
        from_zero = known is not None or reading.born_watched
        accounts: dict[str, InterfaceAccount] = {}
        whole = True
        for name, counters in reading.interfaces.items():
            network = reading.networks.get(name, "")
            account = (known.get(name) or self._back(reading, name)) if known is not None else None
            if account is None or account.closed:
                account = InterfaceAccount(counters, NO_TRAFFIC if from_zero else counters, network)
            elif account.claimed and counters == account.counters and network == account.network:
                accounts[name] = account
                continue
            elif _went_back(account.counters, counters):
                account.credited = NO_TRAFFIC
            if not account.claimed:
                claimed = claim(reading, name, account)
                if claimed is not None:
                    account = claimed
                    account.claimed = True
            accounts[name] = account
            account.counters, account.network = counters, network
            account.index = reading.indexes.get(name, account.index)
            if not account.claimed or account.closed:
                whole = False
            elif network and counters != account.credited:
                self._credit(network, counters, account.credited)
                account.credited = counters
        if known is not None:
            self._miss(reading.key, known, accounts)
        self._namespaces[reading.key] = accounts
        return whole

    def depart(self, account: InterfaceAccount, final: InterfaceCounters, network: str) -> None:
        """Credit what an interface counted since it was last read, and close its account.

        `network` is that of its host device, for an account that was not attributed.
        """
        if account.closed:
            return
        account.closed = True
        owner = account.network or network
        if owner:
            self._credit(owner, InterfaceCounters(*map(max, final, account.credited)), account.credited)

    def credit(self, network: str, gained: InterfaceCounters) -> None:
        """Credit what an interface counted that was never polled."""
        self._credit(network, gained, NO_TRAFFIC)

    def keep_only(self, keys: Iterable[NamespaceKey]) -> None:
        """Forget the namespaces that are gone, though not at once; what they contributed stays.

        Of two containers that swap names one is not known for a moment; its traffic is not new afterwards.
        """
        kept = set(keys)
        self._gone = {key: (accounts, age + 1) for key, (accounts, age) in self._gone.items() if age < _POLLS_GONE}
        for key in [key for key in self._namespaces if key not in kept]:
            self._gone[key] = self._namespaces.pop(key), 0
            self._missed.pop(key, None)

    def forget_network(self, network: str) -> None:
        """Drop the total of a network that was removed."""
        self._totals.pop(network, None)

    def _known(self, key: NamespaceKey) -> dict[str, InterfaceAccount] | None:
        known = self._namespaces.get(key)
        return known if known is not None else self._gone.pop(key, (None, 0))[0]

    def _back(self, reading: Reading, name: str) -> InterfaceAccount | None:
        """The account of an interface that an earlier reading missed; the kernel uses no index a second time."""
        account, _ = self._missed.get(reading.key, {}).get(name, (None, 0))
        return account if account is not None and account.index == reading.indexes.get(name) else None

    def _miss(
        self, key: NamespaceKey, known: Mapping[str, InterfaceAccount], accounts: Mapping[str, InterfaceAccount]
    ) -> None:
        """Remember for a few readings what this one lacks; a container may make interfaces for ever."""
        if key not in self._missed and known.keys() <= accounts.keys():
            return
        missed: dict[str, tuple[InterfaceAccount, int]] = {}
        for name, (account, readings) in self._missed.get(key, {}).items():
            if accounts.get(name) is account:
                continue
            if readings < _READINGS_MISSED:
                missed[name] = account, readings + 1
            else:
                self.on_gone(account)
        missed |= {name: (account, 1) for name, account in known.items() if name not in accounts and account.index}
        if missed:
            self._missed[key] = missed
        else:
            self._missed.pop(key, None)

    def _credit(self, network: str, now: InterfaceCounters, before: InterfaceCounters) -> None:
        totals = self._totals.get(network)
        if totals is None:
            totals = self._totals[network] = [0] * len(NO_TRAFFIC)
        for index, (new, old) in enumerate(zip(now, before, strict=True)):
            if new != old:
                totals[index] += new - old


def _went_back(before: InterfaceCounters, now: InterfaceCounters) -> bool:
    return any(new < old for new, old in zip(now, before, strict=True))
