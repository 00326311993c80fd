"""Follows the host's links, and tells when an interface leaves its container and what it had counted then.

Docker takes an interface out of a container the same way whatever ends it (docs/decisions/0002): it is set
down, moved back to the host's namespace, where a RTM_NEWLINK with both directions of its counters announces it,
and only then deleted. So its final counters are those of its return. At the deletion it is too late: each end of
a veth pair counts only what it sent, and takes what it received from the other end, which is gone by then
(drivers/net/veth.c, veth_get_stats64).

An interface inside a container is identified by the id of its namespace and its index there. Neither is unique
for ever, and an index alone not even at one moment: engines from 28.0 on make bridge interfaces inside the
container, where the first one always gets the same. Both together are unique while the interface exists.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from exporter.network.netlink import Link, LinkEvent, NamespaceGone

_VETH, _VXLAN = "veth", "vxlan"

AccountT = TypeVar("AccountT")
"""What the user of this module keeps for an interface that it polls."""


@dataclass(frozen=True, slots=True)
class Departure(Generic[AccountT]):
    """An interface left its container for good.

    `counters` are its last, as the container saw them. `account` is what was claimed for it, None if it was
    never polled. `gained` is what it counted while it was watched, None if that is not known, because it was
    there before and nothing told of it. `whole` is False where messages were lost, or the namespace went with the
    interface in it: what was counted at the very end may then be missing.

    `device` is the name of the host's device that tells the network: the bridge, the parent of a macvlan or
    ipvlan, the vxlan of an overlay; empty if it isn't known. `balancer` says that it belonged to a load balancer
    of Swarm, not to a container.
    """

    counters: InterfaceCounters
    gained: InterfaceCounters | None
    account: AccountT | None
    device: str
    mac: str
    lived_seconds: float
    whole: bool = True
    balancer: bool = False


@dataclass(slots=True, eq=False)
class _Inside(Generic[AccountT]):
    """An interface in another namespace: a container's, or a port of an overlay's own bridge.

    `hosted` if the other end of its pair is in the host's namespace. `seen` is the last that the other end told
    of its counters.
    """

    namespace: int
    ifindex: int
    since: float
    baseline: InterfaceCounters | None = None
    kind: str = ""
    mac: str = ""
    device: str = ""
    hosted: bool = False
    port: bool = False
    balancer: bool = False
    seen: InterfaceCounters = NO_TRAFFIC
    account: AccountT | None = None


@dataclass(slots=True, eq=False)
class _Host(Generic[AccountT]):
    """A link of the host's namespace. `inside` is the other end of its pair, where that is in another one."""

    link: Link
    master: int = 0
    inside: "_Inside[AccountT] | None" = None
    device: str = ""
    balancer: bool = False


@dataclass(slots=True)
class _Overlay:
    """The namespace in which Docker keeps the bridge and the vxlan of an overlay network."""

    device: str
    has_ports: bool = False


class Links(Generic[AccountT]):
    """What is known of the host's links. Events come in in the kernel's order; there is no I/O here."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[int, _Host[AccountT]] = {}
        self._insides: dict[tuple[int, int], _Inside[AccountT]] = {}
        self._left: set[tuple[int, int]] = set()
        self._ended: set[tuple[int, int]] = set()
        self._overlays: dict[int, _Overlay] = {}
        self._balancers: set[int] = set()
        self._listed = False
        self._touched: set[int] | None = None

    def by_name(self) -> dict[str, int]:
        """The index of each link of the host's namespace by its name."""
        return {host.link.name: ifindex for ifindex, host in self._hosts.items()}

    def claim(self, namespace: int, ifindex: int, account: AccountT, mac: str = "") -> AccountT | None:
        """Tie an account to an interface that was polled; the same if it is claimed again.

        `namespace` is the id of the container's namespace (`Netlink.namespace_id`), `ifindex` the interface's
        index in it, `mac` the endpoint's if known. Returns the account that is tied to the interface, which is
        an older one if there is one. None if the interface left: its departure told all that it counted, and
        what was read of it must not be counted.
        """
        key = (namespace, ifindex)
        inside = self._insides.get(key)
        # What left since the poll began may be meant, also where another has the same key by now.
        if key in self._left or (inside is None and key in self._ended):
            return None
        if inside is None:
            inside = _Inside(namespace, ifindex, self._clock())
            self._put(inside)
        inside.mac = mac or inside.mac
        if inside.account is None:
            inside.account = account
        return inside.account

    def forget(self, account: AccountT) -> None:
        """Forget an interface that went without a departure: one that a container made for itself."""
        for inside in [i for i in self._insides.values() if i.account is account and not i.hosted]:
            self._drop(inside)

    def poll_begins(self) -> None:
        """From now on nothing is read any more of what left before. One poll ends before the next begins."""
        self._left.clear()

    def apply(self, event: LinkEvent | NamespaceGone) -> Departure[AccountT] | None:
        """Take in an event; the departure that it tells, if any."""
        if isinstance(event, NamespaceGone):
            self._forget_namespace(event.namespace)
            return None
        if self._touched is not None:
            self._touched.update((event.link.ifindex, event.link.peer))  # it tells of the other end as well
        if not event.gone:
            return self._see(event.link)
        host = self._hosts.pop(event.link.ifindex, None) or _Host(event.link)
        if event.moved_to is None:
            return self._vanish(host, event.link)
        self._move(host, event.link, *event.moved_to)
        return None

    def dump_begins(self) -> None:
        """All links are about to be listed; what events tell meanwhile is newer than the list."""
        self._touched = set()

    def dump_ends(self, links: Iterable[Link], *, whole: bool) -> list[Departure[AccountT]]:
        """Take in a list of all links; the departures that no event told. A list may lack links if not whole."""
        touched = self._touched or set()
        departures = []
        listed = set()
        for link in links:
            listed.add(link.ifindex)
            if link.ifindex not in touched:
                departures.append(self._see(link))
        if whole:
            for ifindex in self._hosts.keys() - listed - touched:
                host = self._hosts.pop(ifindex)
                departures.append(self._vanish(host, host.link))
        self._touched = None
        self._listed = True
        return [departure for departure in departures if departure is not None]

    def _see(self, link: Link) -> Departure[AccountT] | None:
        host = self._hosts.get(link.ifindex)
        departure = None
        if host is None:
            host = self._hosts[link.ifindex] = _Host(link)
            departure = self._returned(link)
        host.link = link
        host.master = link.master or host.master  # the last message of a bridge's port no longer names it
        if link.kind == _VETH and link.peer and link.peer_namespace is not None:
            inside = self._other_end(host, link.peer_namespace, link.peer)
            inside.seen = _from_other_end(link.counters)
        return departure

    def _other_end(self, host: _Host[AccountT], namespace: int, ifindex: int) -> _Inside[AccountT]:
        key = (namespace, ifindex)
        inside = host.inside
        if inside is None:
            inside = self._insides.get(key)
            if inside is None or inside.hosted:
                baseline = self._baseline_of_other_end(host.link)
                inside = _Inside(*key, self._clock(), baseline, _VETH, balancer=namespace in self._balancers)
            host.inside, inside.hosted = inside, True
        elif (inside.namespace, inside.ifindex) != key:  # went on to a further namespace
            self._drop(inside)
            inside.namespace, inside.ifindex = key
        self._put(inside)
        return inside

    def _baseline_of_other_end(self, link: Link) -> InterfaceCounters | None:
        if not self._listed:
            return _from_other_end(link.counters)  # it was there before: what it counts from now on
        # A pair that is new on the host is new as a whole, unless this end itself came from elsewhere.
        return NO_TRAFFIC if link.master or link.counters == NO_TRAFFIC else None

    def _move(self, host: _Host[AccountT], link: Link, namespace: int, ifindex: int) -> None:
        if link.kind == _VXLAN:
            self._overlays[namespace] = _Overlay(link.name)
            return
        inside = _Inside[AccountT](
            namespace, ifindex, self._clock(), link.counters, link.kind, link.mac, host.device
        )
        inside.balancer = host.balancer or namespace in self._balancers
        if inside.balancer:
            self._balancers.add(namespace)
        if host.inside is not None:
            host.inside.hosted = False
        partner = self._hosts.get(link.peer) if link.peer_namespace is None else None
        if partner is not None and link.kind == _VETH:
            partner.inside, inside.hosted = inside, True
            overlay = self._overlays.get(namespace)
            if overlay is not None:
                # The first port of an overlay's bridge is its load balancer's, all others are containers'.
                inside.port = True
                partner.device, partner.balancer = overlay.device, not overlay.has_ports
                overlay.has_ports = True
        elif partner is not None:
            inside.device = partner.link.name
        self._put(inside)

    def _returned(self, link: Link) -> Departure[AccountT] | None:
        """Whether a link that is new here comes from a container: it is another's other end, or it has counted."""
        partner = self._hosts.get(link.peer) if link.peer_namespace is None else None
        if partner is not None and partner.inside is not None:
            return self._depart(partner.inside, partner, link.counters, link.mac)
        if link.counters == NO_TRAFFIC:
            return None
        roaming = [inside for inside in self._insides.values() if not inside.hosted]
        fitting = [inside for inside in roaming if inside.ifindex == link.ifindex]
        if len(fitting) != 1:  # its index was taken here, or it was taken there
            fitting = [inside for inside in roaming if inside.mac and inside.mac == link.mac]
        fitting = [inside for inside in fitting if inside.kind in (link.kind, "")]
        return self._depart(fitting[0], None, link.counters, link.mac) if len(fitting) == 1 else None

    def _vanish(self, host: _Host[AccountT], link: Link) -> Departure[AccountT] | None:
        """A link was deleted. If it was a bridge's port and its other end still in a container, that left too."""
        inside = host.inside
        if inside is None:
            return None
        if not host.master:
            self._drop(inside)
            return None
        # What the container received, its other end has sent: that it counted itself, and still tells.
        final = InterfaceCounters(*map(max, inside.seen, _from_other_end(link.counters)))
        return self._depart(inside, host, final, inside.mac, whole=False)

    def _depart(
        self,
        inside: _Inside[AccountT],
        host: _Host[AccountT] | None,
        counters: InterfaceCounters,
        mac: str,
        *,
        whole: bool = True,
    ) -> Departure[AccountT] | None:
        self._drop(inside)
        if host is not None:
            host.inside = None
        if inside.port:
            return None
        self._left.add((inside.namespace, inside.ifindex))
        self._ended.add((inside.namespace, inside.ifindex))
        bridge = self._hosts.get(host.master) if host is not None else None
        return Departure(
            counters,
            None if inside.baseline is None else _difference(counters, inside.baseline),
            inside.account,
            inside.device or (bridge.link.name if bridge is not None else ""),
            mac,
            self._clock() - inside.since,
            whole,
            inside.balancer,
        )

    def _put(self, inside: _Inside[AccountT]) -> None:
        key = (inside.namespace, inside.ifindex)
        self._insides[key] = inside
        self._ended.discard(key)

    def _drop(self, inside: _Inside[AccountT]) -> None:
        key = (inside.namespace, inside.ifindex)
        if self._insides.get(key) is inside:
            del self._insides[key]

    def _forget_namespace(self, namespace: int) -> None:
        self._overlays.pop(namespace, None)
        self._balancers.discard(namespace)
        self._ended = {key for key in self._ended if key[0] != namespace}
        for inside in [i for i in self._insides.values() if i.namespace == namespace and not i.hosted]:
            self._drop(inside)


def _from_other_end(counters: InterfaceCounters) -> InterfaceCounters:
    """What one end of a veth pair sent, the other received; errors and drops have no such counterpart."""
    return InterfaceCounters(
        receive_bytes=counters.transmit_bytes,
        receive_packets=counters.transmit_packets,
        transmit_bytes=counters.receive_bytes,
        transmit_packets=counters.receive_packets,
    )


def _difference(now: InterfaceCounters, before: InterfaceCounters) -> InterfaceCounters:
    return InterfaceCounters(*(max(0, new - old) for new, old in zip(now, before, strict=True)))
