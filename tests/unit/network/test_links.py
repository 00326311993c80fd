import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from exporter.network.links import Departure, Links
from exporter.network.netlink import Link, LinkEvent, NamespaceGone, parse_events

FIXTURES = Path(__file__).parent / "fixtures"
BRIDGE = Link(5, "br-1", "bridge")


def captured(name: str) -> list[LinkEvent | NamespaceGone]:
    """What a real kernel told while engine 20.10 started and ended a container."""
    return parse_events(gzip.decompress((FIXTURES / f"netlink_{name}.bin.gz").read_bytes()))


def listed(*links: Link) -> "Links[str]":
    table: Links[str] = Links(clock=lambda: 0.0)
    table.dump_begins()
    assert table.dump_ends(links, whole=True) == []
    return table


def replay(table: "Links[str]", events: Iterable[LinkEvent | NamespaceGone]) -> list[Departure[str]]:
    return [departure for event in events if (departure := table.apply(event)) is not None]


def traffic(received: int, transmitted: int) -> InterfaceCounters:
    return InterfaceCounters(
        received, received // 10, transmit_bytes=transmitted, transmit_packets=transmitted // 10
    )


def attached(host: int = 7, inner: int = 6, namespace: int = 0, counters: InterfaceCounters = NO_TRAFFIC) -> Link:
    """The host's end of the pair of a container on `BRIDGE`; the counters are the container's."""
    seen = InterfaceCounters(
        counters.transmit_bytes,
        counters.transmit_packets,
        transmit_bytes=counters.receive_bytes,
        transmit_packets=counters.receive_packets,
    )
    return Link(host, f"veth{host}", "veth", "", 5, inner, namespace, seen)


def returning(
    counters: InterfaceCounters, host: int = 7, ifindex: int = 6, mac: str = "02:42:ac:12:00:02"
) -> Link:
    return Link(ifindex, f"veth{ifindex}", "veth", mac, 0, host, None, counters)


def test_a_container_on_a_bridge_that_was_never_polled_is_told_with_all_that_it_counted() -> None:
    [departure] = replay(listed(), captured("bridge"))
    assert departure.counters == InterfaceCounters(1422, 13, transmit_bytes=336, transmit_packets=4)
    assert departure.gained == departure.counters
    assert departure.account is None
    assert departure.device == "br-3e9efff77036"
    assert departure.mac == "02:42:ac:12:00:02"
    assert departure.whole
    assert not departure.balancer


def test_a_container_on_a_macvlan_is_told_with_its_parent() -> None:
    [departure] = replay(listed(Link(3, "par0", "veth", peer=2)), captured("macvlan"))
    assert departure.gained == InterfaceCounters(transmit_bytes=84, transmit_packets=2)
    assert departure.device == "par0"
    assert departure.whole


def test_a_container_on_an_overlay_is_told_on_both_its_networks_and_swarm_s_load_balancer_apart() -> None:
    departures = replay(listed(Link(15, "docker_gwbridge", "bridge")), captured("overlay"))
    assert [(d.device, d.balancer) for d in departures] == [
        ("vx-001001-prxcy", False),
        ("docker_gwbridge", False),
        ("vx-001001-prxcy", True),
    ]
    overlay, gateway, _ = departures
    assert overlay.gained == InterfaceCounters(336, 4, transmit_bytes=336, transmit_packets=4)
    assert gateway.gained == InterfaceCounters(306, 3)


def test_an_interface_made_inside_the_container_is_told_although_its_index_changes_on_return() -> None:
    [departure] = replay(listed(Link(2, "brx", "bridge")), captured("made_inside"))
    assert departure.gained == InterfaceCounters(536, 6, transmit_bytes=512, transmit_packets=6)
    assert departure.device == "brx"


def test_a_namespace_destroyed_with_the_interface_in_it_tells_at_least_what_was_received() -> None:
    [departure] = replay(listed(Link(2, "brx", "bridge")), captured("destroyed"))
    assert departure.counters.receive_bytes == 732
    assert not departure.whole


def test_what_was_polled_is_told_with_its_account() -> None:
    events = captured("made_inside")
    table = listed()
    assert replay(table, events[:5]) == []
    assert table.claim(0, 2, "eth0 of web") == "eth0 of web"
    [departure] = replay(table, events[5:])
    assert departure.account == "eth0 of web"


def test_an_interface_claimed_again_keeps_its_account() -> None:
    table = listed(BRIDGE, attached())
    assert table.claim(0, 6, "first") == "first"
    assert table.claim(0, 6, "second") == "first"


def test_what_was_there_before_the_exporter_gained_only_what_it_counted_since() -> None:
    table = listed(BRIDGE, attached(counters=traffic(1000, 500)))
    [departure] = replay(table, [LinkEvent(returning(traffic(1200, 900)))])
    assert departure.gained == traffic(200, 400)
    assert departure.device == "br-1"


def test_a_poll_that_read_an_interface_just_before_it_left_may_not_count_it() -> None:
    table = listed(BRIDGE, attached())
    table.poll_begins()
    assert len(replay(table, [LinkEvent(returning(traffic(100, 100)))])) == 1
    assert table.claim(0, 6, "late") is None


def test_an_interface_that_left_is_never_claimed_again_whatever_a_source_remembers() -> None:
    table = listed(BRIDGE, attached())
    replay(table, [LinkEvent(returning(traffic(100, 100)))])
    table.poll_begins()
    assert table.claim(0, 6, "eth1, made anew under its old name and read with its old index") is None
    assert table.claim(0, 8, "eth1, with its own") is not None


def test_a_late_reading_of_one_that_left_is_not_taken_for_the_next_with_its_key() -> None:
    table = listed(BRIDGE, attached())
    table.poll_begins()
    replay(table, [LinkEvent(returning(traffic(100, 100))), NamespaceGone(0), LinkEvent(attached(host=9))])
    assert table.claim(0, 6, "may be the old one") is None
    table.poll_begins()
    assert table.claim(0, 6, "the new one") == "the new one"


def test_a_namespace_id_given_out_again_is_another_container_s() -> None:
    table = listed(BRIDGE, attached())
    table.claim(0, 2, "old")
    table.claim(0, 6, "old")
    replay(table, [LinkEvent(returning(traffic(100, 100))), NamespaceGone(0)])
    table.poll_begins()
    replay(table, [LinkEvent(attached(host=9, inner=6))])
    assert table.claim(0, 6, "new") == "new"
    assert table.claim(0, 2, "new") == "new"


def test_the_return_of_an_interface_is_told_once() -> None:
    table = listed(BRIDGE, attached())
    end = [
        LinkEvent(returning(traffic(100, 100))),
        LinkEvent(Link(7, "veth7", "veth", "", 5)),
        LinkEvent(Link(6, "veth6", "veth"), gone=True),
        LinkEvent(Link(7, "veth7", "veth"), gone=True),
    ]
    assert len(replay(table, end)) == 1


def test_a_network_disconnected_at_run_time_closes_only_its_interface() -> None:
    table = listed(BRIDGE, attached(), attached(host=9, inner=8))
    table.claim(0, 6, "eth0")
    table.claim(0, 8, "eth1")
    [departure] = replay(table, [LinkEvent(returning(traffic(100, 100), host=9, ifindex=8))])
    assert departure.account == "eth1"
    assert table.claim(0, 6, "x") == "eth0"


def test_an_interface_that_nothing_told_of_is_found_by_its_index_and_otherwise_by_its_mac_address() -> None:
    for ifindex in (60, 99):
        table = listed(Link(3, "eth9"))
        table.claim(4, 60, "macvlan", mac="02:00:00:00:00:07")
        back = Link(ifindex, "veth1", "macvlan", "02:00:00:00:00:07", 0, 3, None, traffic(100, 100))
        [departure] = replay(table, [LinkEvent(back)])
        assert departure.account == "macvlan"
        assert departure.gained is None


def test_a_stranger_that_comes_to_the_host_is_no_departure() -> None:
    table = listed(BRIDGE, attached())
    assert replay(table, [LinkEvent(Link(60, "wlan0", "", "02:00:00:00:00:09", counters=traffic(9, 9)))]) == []


def test_a_new_pair_is_no_departure() -> None:
    table = listed(BRIDGE)
    assert replay(table, [LinkEvent(Link(6, "a", "veth")), LinkEvent(Link(7, "b", "veth", peer=6))]) == []


def test_a_deleted_link_of_no_container_is_no_departure() -> None:
    table = listed(BRIDGE, Link(7, "tap0", "tun", master=5, counters=traffic(9, 9)))
    assert replay(table, [LinkEvent(Link(7, "tap0", "tun"), gone=True)]) == []


def test_an_interface_that_goes_on_to_another_namespace_stays_one() -> None:
    table = listed(BRIDGE, attached())
    table.claim(0, 6, "eth0")
    replay(table, [LinkEvent(attached(namespace=3, inner=8))])
    [departure] = replay(table, [LinkEvent(returning(traffic(100, 100), ifindex=8))])
    assert departure.account == "eth0"


def test_links_are_known_by_name() -> None:
    assert listed(BRIDGE, attached()).by_name() == {"br-1": 5, "veth7": 7}


def test_an_end_that_was_missed_is_healed_by_the_next_list_with_what_is_known() -> None:
    table = listed(BRIDGE)
    replay(table, [LinkEvent(attached()), LinkEvent(attached(counters=traffic(800, 700)))])
    table.claim(0, 6, "eth0")
    table.dump_begins()
    [departure] = table.dump_ends([BRIDGE], whole=True)
    assert departure.account == "eth0"
    assert departure.counters == traffic(800, 700)
    assert not departure.whole


def test_a_list_that_may_lack_links_ends_nothing() -> None:
    table = listed(BRIDGE, attached())
    table.dump_begins()
    assert table.dump_ends([BRIDGE], whole=False) == []
    assert len(replay(table, [LinkEvent(returning(traffic(100, 100)))])) == 1


def test_a_start_that_was_missed_is_healed_by_the_next_list() -> None:
    table = listed(BRIDGE)
    table.dump_begins()
    assert table.dump_ends([BRIDGE, attached(counters=traffic(300, 300))], whole=True) == []
    [departure] = replay(table, [LinkEvent(returning(traffic(500, 400)))])
    assert departure.gained == traffic(500, 400)


def test_a_list_that_is_older_than_an_event_changes_nothing() -> None:
    table = listed(BRIDGE, attached())
    table.dump_begins()
    assert len(replay(table, [LinkEvent(returning(traffic(100, 100)))])) == 1
    assert table.dump_ends([BRIDGE, attached()], whole=True) == []
    rest = [LinkEvent(Link(6, "veth6", "veth"), gone=True), LinkEvent(Link(7, "veth7", "veth"), gone=True)]
    assert replay(table, rest) == []


# --- No byte twice, whatever comes between ---------------------------------------------------------------


@dataclass
class Account:
    """How a user of this module keeps the books, in the fewest words."""

    credited: int
    closed: bool = False


@dataclass
class Books:
    """Polls one container's interface and takes in its departure."""

    table: "Links[Account]" = field(default_factory=lambda: Links(clock=lambda: 0.0))
    account: Account | None = None
    total: int = 0

    def poll(self, read: int) -> None:
        if self.account is None or self.account.closed:
            self.account = self.table.claim(0, 2, Account(0))
        if self.account is not None and not self.account.closed:
            self.total += read - self.account.credited
            self.account.credited = read

    def take(self, event: LinkEvent | NamespaceGone) -> None:
        departure = self.table.apply(event)
        if departure is None:
            return
        if departure.account is None:
            self.total += (departure.gained or NO_TRAFFIC).receive_bytes
        elif not departure.account.closed:
            self.total += departure.counters.receive_bytes - departure.account.credited
            departure.account.closed = True


@given(st.lists(st.tuples(st.integers(0, 21), st.integers(0, 3), st.integers(0, 536)), max_size=6))
def test_whenever_it_is_polled_the_sum_is_what_the_container_counted(polls: list[tuple[int, int, int]]) -> None:
    """A poll reads at one event, and its reading is taken in some events later.

    In this capture the interface exists from the first event on, and returns with the ninth.
    """
    events = captured("made_inside")
    returns = next(i for i, e in enumerate(events) if isinstance(e, LinkEvent) and e.link.name == "vethin")
    books = Books()
    books.table.dump_begins()
    books.table.dump_ends([], whole=True)
    taken_at = 0
    pending: dict[int, int] = {}
    begins = set()
    for begins_at, duration, read in sorted((max(1, at), duration, read) for at, duration, read in polls):
        if begins_at >= taken_at and begins_at <= returns:  # one poll at a time; it reads while there is something
            taken_at = begins_at + duration
            begins.add(begins_at)
            pending[taken_at] = max([read, *pending.values()])
    for position, event in enumerate([*events, None, None, None, None]):
        if position in begins:
            books.table.poll_begins()
        if position in pending:
            books.poll(pending[position])
        if event is not None:
            books.take(event)
    assert books.total == 536


@given(st.sampled_from(["bridge", "made_inside", "overlay", "macvlan"]), st.integers(0, 50), st.integers(0, 50))
def test_whatever_messages_are_lost_nothing_is_counted_twice(name: str, first: int, count: int) -> None:
    events = captured(name)
    whole = sum(d.counters.receive_bytes + d.counters.transmit_bytes for d in replay(listed(), captured(name)))
    table = listed(Link(2, "brx", "bridge"), Link(3, "par0"), Link(5, "br-3e9efff77036", "bridge"))
    departures = replay(table, events[:first])
    # The kernel's own list after the loss, as far as the events before and in it tell.
    existing: dict[int, Link] = {2: Link(2, "brx", "bridge"), 3: Link(3, "par0"), 5: Link(5, "br-3", "bridge")}
    for event in events[: first + count]:
        if isinstance(event, LinkEvent):
            existing.pop(event.link.ifindex, None)
            if not event.gone:
                existing[event.link.ifindex] = event.link
    local = {link.peer for link in existing.values() if link.peer_namespace is None}
    now = [link._replace(peer_namespace=None) if link.ifindex in local else link for link in existing.values()]
    table.dump_begins()
    departures += table.dump_ends(now, whole=True)
    departures += replay(table, events[first + count :])
    # A port of an overlay's own bridge that was not recognised names no network.
    gained = [d.gained or NO_TRAFFIC for d in departures if d.device or d.mac.startswith("02:42:")]
    assert sum(g.receive_bytes + g.transmit_bytes for g in gained) <= whole


@pytest.mark.parametrize("name", ["bridge", "overlay", "macvlan", "made_inside", "destroyed"])
def test_nothing_of_a_container_that_is_gone_is_kept(name: str) -> None:
    table = listed(Link(2, "brx", "bridge"), Link(3, "par0"), Link(5, "br-3e9efff77036", "bridge"))
    before = len(table.by_name())
    replay(table, captured(name))
    replay(table, [NamespaceGone(n) for n in range(8)])
    assert table._insides == {}
    assert table._ended == set()
    assert len(table.by_name()) <= before + 1


def test_an_interface_that_a_container_made_for_itself_is_forgotten_and_docker_s_is_not() -> None:
    table = listed(attached(host=7, inner=6, namespace=0))
    assert table.claim(0, 6, "docker's") == "docker's"
    assert table.claim(0, 99, "its own") == "its own"
    for account in ("docker's", "its own"):
        table.forget(account)
    assert set(table._insides) == {(0, 6)}
