"""Listens to the kernel for interfaces that leave their containers, and for their final counters.

Whoever polls counters loses what was counted between the last poll and the end of a container, and all of a
container that lived shorter than a poll. The kernel tells it, to whoever is in the host's network namespace.

What is lost here is never lost silently: where the kernel had to drop messages because they were not read in
time (ENOBUFS), that is counted, and all links are listed anew.
"""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable
from typing import Generic

from exporter.logs import get_logger
from exporter.network.counters import InterfaceCounters
from exporter.network.links import AccountT, Departure, Links
from exporter.network.netlink import Link, NetlinkError
from exporter.network.netlink_socket import Netlink, open_events, receive_events

_MESSAGES_AT_ONCE = 64
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0


class Departures(Generic[AccountT]):
    """Follows the links of this process's network namespace; tells departures in the order that they happen."""

    def __init__(
        self, on_departure: Callable[[Departure[AccountT]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_departure = on_departure
        self._links: Links[AccountT] = Links(clock)
        self._events: socket.socket | None = None
        self._stale = asyncio.Event()
        self._fresh = asyncio.Event()
        self._failure: OSError | None = None
        self.overruns = 0
        """How often the kernel dropped messages because they were not read in time."""

    @property
    def ready(self) -> bool:
        """Whether all links are known; only then polls may rely on departures."""
        return self._fresh.is_set()

    async def run(self) -> None:
        """Listen for ever.

        Raises OSError where the kernel offers no netlink, or a sandbox forbids it.
        """
        loop = asyncio.get_running_loop()
        events = open_events()
        self._events = events
        loop.add_reader(events, self._on_readable)
        try:
            self._stale.set()
            while True:
                await self._stale.wait()
                if self._failure is not None:
                    raise self._failure
                await self._list_anew()
        finally:
            loop.remove_reader(events)
            self._fresh.clear()
            self._events = None
            events.close()

    async def settle(self) -> bool:
        """Take in all that has happened until now, so that claims of a poll's readings find their links.

        False if that is not known, because messages were lost or nobody listens: then nothing that was not
        claimed before may be counted yet. Nothing is lost by that, as counters only rise until their departure.
        """
        if self._events is None:
            return False
        while self._read_some():  # noqa: ASYNC110 - the pause lets others run; there is no event to wait for
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._fresh.wait()
        return self.ready

    def poll_begins(self) -> None:
        """Say that a poll begins to read counters; see `claim`."""
        self._links.poll_begins()

    def claim(self, namespace: int, ifindex: int, account: AccountT, mac: str = "") -> AccountT | None:
        """Tie an account to an interface that was polled, after `settle`; see `Links.claim`."""
        return self._links.claim(namespace, ifindex, account, mac)

    def forget(self, account: AccountT) -> None:
        """Forget an interface that went without a departure; see `Links.forget`."""
        self._links.forget(account)

    def links_by_name(self) -> dict[str, int]:
        """The index of each link of this namespace by its name, bridges among them."""
        return self._links.by_name()

    def _on_readable(self) -> None:
        self._read_some()

    def _read_some(self) -> bool:
        """Read a bounded number of messages; whether there may be more. A wake-up must not hold up the loop."""
        if self._events is None:
            return False
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                events = receive_events(self._events)
            except BlockingIOError:
                return False
            except OSError as error:
                self._lost(error)
                return self._failure is None
            for event in events:
                departure = self._links.apply(event)
                if departure is not None:
                    self._on_departure(departure)
        return True

    def _lost(self, error: OSError) -> None:
        self._fresh.clear()
        self._stale.set()
        if error.errno == errno.ENOBUFS or isinstance(error, NetlinkError):
            self.overruns += 1
            return
        self._failure = error
        if self._events is not None:
            asyncio.get_running_loop().remove_reader(self._events)

    async def _list_anew(self) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        while True:
            self._stale.clear()
            self._links.dump_begins()
            try:
                links, whole = await asyncio.to_thread(_list_links)
            except OSError as error:
                get_logger().warning("links can't be listed", error=str(error), retry_in_seconds=retry_seconds)
                links, whole = [], False
            for departure in self._links.dump_ends(links, whole=whole):
                self._on_departure(departure)
            if self._stale.is_set():  # messages were lost meanwhile: the list and they don't fit together
                return
            if whole:
                self._fresh.set()
                return
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(2 * retry_seconds, _LAST_RETRY_SECONDS)


def _list_links() -> tuple[list[Link], bool]:
    with Netlink() as netlink:
        return netlink.links()


def read_bridges(netlink: Netlink, bridges: dict[str, int]) -> dict[str, InterfaceCounters]:
    """The counters of bridge devices by network id, given their indexes; for a thread, see `Netlink`.

    They are the bridge's own: received is what containers sent to the host and beyond, without the 14 bytes of
    Ethernet header of each packet, transmitted what came from there, with them (net/bridge/br_input.c,
    br_device.c).
    """
    counters = netlink.counters(set(bridges.values()))
    return {network: counters[ifindex] for network, ifindex in bridges.items() if ifindex in counters}
