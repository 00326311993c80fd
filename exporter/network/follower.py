"""Ties what is polled to the kernel's messages about links, so that what is counted after a poll isn't lost.

An interface's account is claimed when it is polled first; its departure then credits what it counted since. One
that was never polled is credited whole, to the network that its host device tells. Where the exporter is not in
the host's network namespace no such messages come: then polls alone count, and up to one poll is lost at the end
of a container.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import is_process_of
from exporter.logs import get_logger
from exporter.network.accounting import Accounting, InterfaceAccount, NamespaceKey, Reading
from exporter.network.counters import InterfaceCounters
from exporter.network.departures import Departures, read_bridges
from exporter.network.devices import Devices, bridge_of
from exporter.network.links import Departure
from exporter.network.netlink_socket import Netlink

_LONGEST_UNPOLLED_SECONDS = 60.0
_MOST_HOMELESS = 1024
_HOMELESS_SECONDS = 30.0


class Follower:
    """Follows the links of this process's network namespace for the accounting."""

    def __init__(
        self,
        inventory: Inventory,
        accounting: Accounting,
        procfs: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._procfs = procfs
        self._inventory = inventory
        self._accounting = accounting
        self._departures: Departures[InterfaceAccount] = Departures(self._departed)
        accounting.on_gone = self._departures.forget
        self.silent_seconds: Callable[[], float] = lambda: 0.0
        """For how long the engine has not told what containers there are."""
        self._namespaces: dict[NamespaceKey, int] = {}
        self._unlinked: dict[NamespaceKey, Mapping[str, int | None]] = {}
        self._ended: set[NamespaceKey] = set()
        self._homeless: deque[tuple[float, Departure[InterfaceAccount]]] = deque(maxlen=_MOST_HOMELESS)
        self._poll_began_at = 0.0
        self._poll_seconds = 0.0
        self._devices = Devices({})
        self._generation = -1
        self._settled = False
        self._active = False
        self._by_index = True
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._netlink: Netlink | None = None

    @property
    def overruns(self) -> int | None:
        """How often the kernel dropped messages that were not read in time; None if nobody listens."""
        return self._departures.overruns if self._active else None

    @property
    def _follows(self) -> bool:
        return self._active and self._by_index

    async def run(self) -> None:
        """Listen for ever; where a sandbox forbids netlink, say so once, and let polls alone count."""
        self._active = True
        try:
            await self._departures.run()
        except OSError as error:
            self._stop_following(str(error))

    def poll_begins(self, *, by_index: bool) -> None:
        """Say that counters are about to be read, from a source that tells the indexes of interfaces or not.

        Without them nothing polled can be tied to its departure, so polls alone count.
        """
        self._by_index = by_index
        now = self._clock()
        self._poll_began_at, self._poll_seconds = now, now - (self._poll_began_at or now)
        self._departures.poll_begins()

    async def poll_ends(self, readings: Iterable[Reading]) -> None:
        """Take in all that happened until now, and find out the namespaces of new readings."""
        if not self._follows:
            return
        new = {reading.key: reading for reading in readings if self._may_have_link(reading)}
        if new:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._namespace_ids, tuple(new))
            for key, namespace in found.items():
                if namespace is None:
                    self._unlinked[key] = _interfaces(new[key])
                else:
                    self._namespaces[key] = namespace
        self._settled = await self._departures.settle()
        self._house()

    def keep_only(self, keys: frozenset[NamespaceKey]) -> None:
        """Forget the namespaces of containers that ended."""
        for key in self._namespaces.keys() - keys:
            del self._namespaces[key]
        for key in self._unlinked.keys() - keys:
            del self._unlinked[key]
        self._ended &= keys

    def claim(self, reading: Reading, name: str, account: InterfaceAccount) -> InterfaceAccount | None:
        """The account of an interface that was polled and wasn't known; None if it must not be counted now.

        Without an id the namespace has no link to this one, so nothing will be told of its interfaces and polls
        alone count. Without an index it can't be told yet which of the links it is.
        """
        if not self._follows:
            return account
        if not self._settled or reading.key in self._ended:
            return None
        namespace, index = self._namespaces.get(reading.key), reading.indexes.get(name)
        if namespace is None:
            return account
        if index is None:
            return None
        return self._departures.claim(namespace, index, account, reading.macs.get(name, ""))

    async def bridge_counters(self) -> Mapping[str, InterfaceCounters]:
        """The counters of the bridge devices that are seen here, by network id, in the device's own view."""
        if not self._active or not self._departures.ready:
            return {}
        links = self._departures.links_by_name()
        bridges = {
            network.id: links[device]
            for network in self._inventory.networks.values()
            if (device := bridge_of(network)) in links
        }
        if not bridges:
            return {}
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: read_bridges(self._questions(), bridges))

    async def close(self) -> None:
        """End the thread and close its socket."""

        def close() -> None:
            if self._netlink is not None:
                self._netlink.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)

    def _questions(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def _may_have_link(self, reading: Reading) -> bool:
        """Whether a namespace's id is to be asked for.

        It gets one with the first link to this namespace: without it, only other interfaces can change that.
        """
        if reading.key in self._namespaces:
            return False
        before = self._unlinked.get(reading.key)
        return before is None or before != _interfaces(reading)

    def _namespace_ids(self, keys: Sequence[NamespaceKey]) -> dict[NamespaceKey, int | None]:
        found: dict[NamespaceKey, int | None] = {}
        for key in keys:
            try:
                namespace = self._namespace_id(key[0], self._procfs / str(key[1]))
            except (ProcessLookupError, FileNotFoundError):
                # It ended after it was read: its departure tells all, also what was read.
                self._ended.add(key)
            except PermissionError as error:
                self._stop_following(f"the containers' network namespaces can't be told apart: {error.strerror}")
                return {}
            else:
                found[key] = namespace
        return found

    def _namespace_id(self, container_id: str, process: Path) -> int | None:
        namespace = self._questions().namespace_of(process)
        # Looked at only now: if the container's process has the number still, it had it before.
        if not is_process_of(container_id, (process / "cgroup").read_bytes()):
            raise ProcessLookupError
        return namespace

    def _stop_following(self, reason: str) -> None:
        """Let polls alone count: what can't be tied to its departure would otherwise be counted twice."""
        if self._active:
            self._active = False
            get_logger().warning("up to one poll is lost at the end of a container", reason=reason)

    def _departed(self, departure: Departure[InterfaceAccount]) -> None:
        if self._follows and not self._credited(departure):
            self._homeless.append((self._clock(), departure))

    def _house(self) -> None:
        """Try again what departed from a network that the inventory did not know yet."""
        if self._homeless and self._generation != self._inventory.generation:
            waiting, self._homeless = self._homeless, deque(maxlen=_MOST_HOMELESS)
            for since, departure in waiting:
                if not self._credited(departure) and self._clock() - since < _HOMELESS_SECONDS:
                    self._homeless.append((since, departure))

    def _credited(self, departure: Departure[InterfaceAccount]) -> bool:
        """Credit a departure; False if its network isn't known (yet)."""
        if self._generation != self._inventory.generation:
            self._generation = self._inventory.generation
            self._devices = Devices(self._inventory.networks)
        network = self._devices.network_of(departure.device, departure.mac)
        account = departure.account
        if account is not None:
            if not account.network and not network and not account.closed:
                return False
            self._accounting.depart(account, departure.counters, network)
            return True
        # What lived for polls and polls without being claimed is no container's: a hand-made veth, a sandbox.
        # While the engine was away, containers came of which nothing is known.
        unpolled_seconds = max(_LONGEST_UNPOLLED_SECONDS, 3 * self._poll_seconds) + self.silent_seconds()
        if departure.gained is None or departure.balancer or departure.lived_seconds > unpolled_seconds:
            return True
        if network:
            self._accounting.credit(network, departure.gained)
        return bool(network)


def _interfaces(reading: Reading) -> Mapping[str, int | None]:
    return {name: reading.indexes.get(name) for name in reading.interfaces}
