import asyncio
import contextlib
import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from exporter.network import departures as module
from exporter.network.counters import InterfaceCounters
from exporter.network.departures import Departures, read_bridges
from exporter.network.links import Departure
from exporter.network.netlink import Link, LinkEvent, NetlinkError
from exporter.network.netlink_socket import Netlink

BRIDGE = Link(5, "br-1", "bridge")
COUNTED = InterfaceCounters(500, 5, transmit_bytes=300, transmit_packets=3)
RETURN = LinkEvent(Link(6, "veth6", "veth", "02:42:ac:12:00:02", 0, 7, None, COUNTED))


def attached(host: int = 7, inner: int = 6) -> Link:
    return Link(host, f"veth{host}", "veth", "", 5, inner, 0)


class Kernel:
    """Stands for the kernel: lists links, and tells events through a descriptor that is readable meanwhile."""

    def __init__(self) -> None:
        self.links: list[Link] = [BRIDGE, attached()]
        self.whole = True
        self.failure: OSError | None = None
        self.lists = 0
        self._told: deque[LinkEvent | OSError] = deque()
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)

    def tell(self, *events: LinkEvent | OSError) -> None:
        self._told.extend(events)
        os.write(self._writable, b"x" * len(events))

    def list_links(self) -> tuple[list[Link], bool]:
        self.lists += 1
        if self.failure is not None:
            raise self.failure
        return self.links, self.whole

    def receive(self, events: object) -> list[LinkEvent]:
        assert events is self
        os.read(self._readable, 1)
        event = self._told.popleft()
        if isinstance(event, OSError):
            raise event
        return [event]

    def fileno(self) -> int:
        return self._readable

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._readable)
            os.close(self._writable)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr(module, "open_events", lambda: kernel)
    monkeypatch.setattr(module, "receive_events", kernel.receive)
    monkeypatch.setattr(module, "_list_links", kernel.list_links)
    yield kernel
    kernel.close()


@contextlib.asynccontextmanager
async def listening(told: list[Departure[str]]) -> AsyncIterator[Departures[str]]:
    departures: Departures[str] = Departures(told.append)
    task = asyncio.get_running_loop().create_task(departures.run())
    async with asyncio.timeout(5):
        while not departures.ready and not task.done():
            await asyncio.sleep(0.001)
    try:
        yield departures
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("kernel")
async def test_nothing_is_relied_on_before_all_links_are_known() -> None:
    departures: Departures[str] = Departures(print)
    assert not departures.ready
    assert not await departures.settle()


async def test_a_departure_is_told_as_it_happens(kernel: Kernel) -> None:
    told: list[Departure[str]] = []
    async with listening(told) as departures:
        assert departures.links_by_name() == {"br-1": 5, "veth7": 7}
        kernel.tell(RETURN)
        assert await departures.settle()
    assert [departure.counters for departure in told] == [COUNTED]
    assert not departures.ready


async def test_what_happened_during_a_poll_is_known_before_its_readings_are_taken_in(kernel: Kernel) -> None:
    told: list[Departure[str]] = []
    async with listening(told) as departures:
        kernel.tell(*[LinkEvent(attached(100 + i, 1000 + i)) for i in range(200)])
        departures.poll_begins()
        kernel.tell(RETURN)
        assert await departures.settle()
        assert departures.claim(0, 6, "too late") is None
        assert departures.claim(0, 1199, "eth0") == "eth0"
        assert len(told) == 1


async def test_a_wake_up_reads_a_bounded_number_of_messages(kernel: Kernel) -> None:
    async with listening([]) as departures:
        kernel.tell(*[LinkEvent(attached(100 + i, 1000 + i)) for i in range(200)])
        await asyncio.sleep(0)
        departures._read_some()
        assert len(departures.links_by_name()) < 200
        await departures.settle()
        assert len(departures.links_by_name()) == 202


async def test_lost_messages_are_counted_and_healed_by_a_list(kernel: Kernel) -> None:
    told: list[Departure[str]] = []
    async with listening(told) as departures:
        departures.claim(0, 6, "eth0")
        kernel.links = [BRIDGE, attached(9, 8)]
        kernel.tell(OSError(errno.ENOBUFS, "No buffer space available"))
        assert await departures.settle()
        assert departures.overruns == 1
        assert kernel.lists == 2
        assert [(d.account, d.whole) for d in told] == [("eth0", False)]
        assert departures.links_by_name() == {"br-1": 5, "veth9": 9}


async def test_a_message_that_was_cut_off_counts_as_lost(kernel: Kernel) -> None:
    async with listening([]) as departures:
        kernel.tell(NetlinkError("a netlink message was cut off"))
        assert await departures.settle()
        assert departures.overruns == 1


async def test_polls_go_on_while_links_can_not_be_listed(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    async with listening([]) as departures:
        kernel.failure = TimeoutError("timed out")
        kernel.tell(OSError(errno.ENOBUFS, ""))
        assert not await departures.settle()
        kernel.failure = None
        monkeypatch.setattr(module, "_PATIENCE_SECONDS", 5)
        assert await departures.settle()


async def test_a_list_is_tried_again_until_it_is_whole(kernel: Kernel) -> None:
    kernel.whole = False
    told: list[Departure[str]] = []
    departures: Departures[str] = Departures(told.append)
    async with asyncio.timeout(5):
        task = asyncio.get_running_loop().create_task(departures.run())
        while kernel.lists < 2:
            await asyncio.sleep(0.001)
        assert not departures.ready
        kernel.whole = True
        while not departures.ready:
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_socket_that_fails_otherwise_ends_the_exporter(kernel: Kernel) -> None:
    departures: Departures[str] = Departures(print)
    kernel.tell(OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(departures.run(), 5)


def test_bridges_are_read_by_network() -> None:
    class Answers:
        def counters(self, ifindexes: set[int]) -> dict[int, InterfaceCounters]:
            return {ifindex: COUNTED for ifindex in ifindexes if ifindex == 5}

    assert read_bridges(cast("Netlink", Answers()), {"net": 5, "gone": 9}) == {"net": COUNTED}
