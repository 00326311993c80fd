"""Ties what is polled to the kernel's messages about links, so that what is counted after a poll isn't lost.

An interface's account is claimed when it is polled first; its departure then credits what it counted since. One
that was never polled is credited whole, to the network that its host device tells. Where the exporter is not in
the host's network namespace no such messages come: then polls alone count, and up to one poll is lost at the end
of a container.
"""

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exporter.inventory.inventory import Inventory
from exporter.logs import get_logger
from exporter.network.accounting import Accounting, InterfaceAccount, NamespaceKey, Reading
from exporter.network.counters import InterfaceCounters
from exporter.network.departures import Departures, read_bridges
from exporter.network.devices import Devices, bridge_of
from exporter.network.links import Departure
from exporter.network.netlink_socket import Netlink


class Follower:
    """Follows the links of this process's network namespace for the accounting."""

    def __init__(self, inventory: Inventory, accounting: Accounting, procfs: Path = Path("/proc")) -> None:
        self._procfs = procfs
        self._inventory = inventory
        self._accounting = accounting
        self._departures: Departures[InterfaceAccount] = Departures(self._departed)
        self._namespaces: dict[NamespaceKey, int] = {}
        self._devices = Devices({})
        self._generation = -1
        self._settled = False
        self._active = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._netlink: Netlink | None = None

    @property
    def overruns(self) -> int | None:
        """How often the kernel dropped messages that were not read in time; None if nobody listens."""
        return self._departures.overruns if self._active else None

    async def run(self) -> None:
        """Listen for ever; where a sandbox forbids netlink, say so once, and let polls alone count."""
        self._active = True
        try:
            await self._departures.run()
        except OSError as error:
            self._stop_following(str(error))

    def poll_begins(self) -> None:
        """Say that counters are about to be read."""
        self._departures.poll_begins()

    async def poll_ends(self, readings: Iterable[Reading]) -> None:
        """Take in all that happened until now, and find out the namespaces of new readings."""
        if not self._active:
            return
        new = {r.key: r.key[1] for r in readings if r.key not in self._namespaces}
        if new:
            loop = asyncio.get_running_loop()
            self._namespaces.update(await loop.run_in_executor(self._thread, self._namespace_ids, new))
        self._settled = await self._departures.settle()

    def keep_only(self, keys: frozenset[NamespaceKey]) -> None:
        """Forget the namespaces of containers that ended."""
        for key in self._namespaces.keys() - keys:
            del self._namespaces[key]

    def claim(self, reading: Reading, name: str, account: InterfaceAccount) -> InterfaceAccount | None:
        """The account of an interface that was polled and wasn't known; None if it must not be counted now.

        Without an id the namespace has no link to this one, so nothing will be told of its interfaces and polls
        alone count. Without an index it can't be told yet which of the links it is.
        """
        if not self._active:
            return account
        if not self._settled:
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

    def _namespace_ids(self, pids: Mapping[NamespaceKey, int]) -> dict[NamespaceKey, int]:
        found = {}
        for key, pid in pids.items():
            try:
                namespace = self._questions().namespace_of(self._procfs / str(pid))
            except ProcessLookupError:
                continue
            except PermissionError as error:
                self._stop_following(f"the containers' network namespaces can't be told apart: {error.strerror}")
                return {}
            if namespace is not None:
                found[key] = namespace
        return found

    def _stop_following(self, reason: str) -> None:
        """Let polls alone count: what can't be tied to its departure would otherwise be counted twice."""
        if self._active:
            self._active = False
            get_logger().warning("up to one poll is lost at the end of a container", reason=reason)

    def _departed(self, departure: Departure[InterfaceAccount]) -> None:
        if not self._active:
            return
        if self._generation != self._inventory.generation:
            self._generation = self._inventory.generation
            self._devices = Devices(self._inventory.networks)
        network = self._devices.network_of(departure.device, departure.mac)
        if departure.account is not None:
            self._accounting.depart(departure.account, departure.counters, network)
        elif departure.gained is not None and network and not departure.balancer:
            self._accounting.credit(network, departure.gained)
