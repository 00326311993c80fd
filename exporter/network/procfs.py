"""Traffic counters from `/proc/<pid>/net/dev`: exact, unprivileged, and without any work for the engine.

Each container's `/proc/<pid>` is held open as a directory. The kernel ties such a descriptor to the process
and not to its number, so once the process is gone nothing can be read through it, even if the number was given
to another process: no foreign namespace is ever read. It keeps neither process nor namespace alive.
"""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, is_process_of
from exporter.logs import get_logger
from exporter.network.accounting import NamespaceKey, Reading
from exporter.network.attribution import (
    Evidence,
    attribute,
    gateway_subnets,
    parse_addresses,
    parse_routes,
)
from exporter.network.counters import InterfaceCounters
from exporter.network.netlink import parse_interface_indexes
from exporter.network.source import namespace_key

T = TypeVar("T")

_IGNORED = (
    "lo",
    "tunl0",
    "sit0",
    "gre0",
    "gretap0",
    "erspan0",
    "ip_vti0",
    "ip6_vti0",
    "ip6tnl0",
    "ip6gre0",
)
"""The loopback, and the fallback tunnels that the kernel puts into every namespace with their modules."""

_COLUMNS = 16
_MOST_DIGITS = 20
"""Of a number of 64 bits."""
_HEADER_LINES = 2
_READ_BYTES = 65536
_OTHER_DESCRIPTORS = 64
"""Kept free for scrapes, the engine, the walkers and the files that are read."""
_SURELY_WHOLE_BYTES = 2048
"""The kernel answers in pages of whole records (fs/seq_file.c): what is far shorter than a page is all."""
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 60.0
_GONE = (FileNotFoundError, ProcessLookupError)


def parse_net_dev(text: bytes) -> dict[str, InterfaceCounters]:
    """Read `/proc/<pid>/net/dev`: the counters of each interface but the loopback and fallback tunnels.

    The columns have been the same since Linux 2.2 (net/core/net-procfs.c, dev_seq_printf_stats); a line that
    does not have at least these, for instance of a truncated read, is passed over. A name may hold any bytes but
    spaces, slashes and colons; those that are no UTF-8 become lone surrogates, as in names of files.
    """
    interfaces = {}
    for line in text.split(b"\n")[_HEADER_LINES:]:
        name, colon, rest = line.partition(b":")
        columns = rest.split()
        if not colon or len(columns) < _COLUMNS:
            continue
        interface = name.strip().decode(errors="surrogateescape")
        if interface in _IGNORED or interface.startswith("ifb"):
            continue
        digits = b"".join(columns[:12])
        if not digits.isdigit() or len(digits) > 12 * _MOST_DIGITS:
            continue
        c = [int(column) for column in columns[:12]]
        interfaces[interface] = InterfaceCounters(c[0], c[1], c[2], c[3], c[8], c[9], c[10], c[11])
    return interfaces


def is_whole(net_dev: bytes) -> bool:
    """Whether a text of `/proc/<pid>/net/dev` shows no sign of having been cut off.

    Every namespace has a loopback. Half a file must not be taken for a namespace that lost its interfaces.
    """
    return net_dev.endswith(b"\n") and net_dev.count(b"\n") > _HEADER_LINES


def start_ticks(stat: bytes) -> int:
    """When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)).

    The command's name, in parentheses, can hold spaces and parentheses itself.

    Raises ValueError if the text is no stat line.
    """
    fields = stat.rpartition(b")")[2].split()
    # Fields 3 to 23: where there is a further one, the number before it was not cut off.
    if len(fields) < 21 or not fields[19].isdigit() or len(fields[19]) > _MOST_DIGITS:  # noqa: PLR2004 - see above
        raise ValueError("not a line of /proc/<pid>/stat")
    return int(fields[19])


@dataclass(slots=True)
class _Namespace:
    descriptor: int
    born_watched: bool
    text: bytes = b""
    reading: Reading | None = None
    attributed_from: tuple[object, ...] = ()
    retry_at: float = 0.0
    retry_seconds: float = _FIRST_RETRY_SECONDS
    incomplete: bool = field(default=False)
    indexes: Mapping[str, int] = field(default_factory=dict)


class ProcfsSource:
    """Reads in a thread of its own, where alone descriptors are opened and closed; the loop never waits."""

    name = "procfs"
    counts_errors = True
    tells_indexes = True
    fast = True

    def __init__(self, procfs: Path) -> None:
        self._procfs = procfs
        self._namespaces: dict[NamespaceKey, _Namespace] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="procfs")
        self._born_ticks = _own_start_ticks()
        self._gateways: Mapping[tuple[int, int], str] = {}
        self._generation = -1
        self._lacks_descriptors = False

    def sees(self, container: Container) -> bool:
        """Whether the process that the engine names is one here, and the container's.

        A remote engine, Docker Desktop and a container without the host's process namespace have other
        process numbers.
        """
        try:
            return is_process_of(container.id, (self._procfs / str(container.pid) / "cgroup").read_bytes())
        except OSError:
            return False

    async def read(self, owners: Sequence[Container], inventory: Inventory) -> list[Reading]:
        """Read all namespaces; it takes about 20 µs each."""
        if inventory.generation != self._generation:
            self._generation = inventory.generation
            self._gateways = gateway_subnets(inventory.networks.values())
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read_all, owners, self._gateways)

    async def visit(self, read: Callable[[int], T], only: Collection[str] | None = None) -> dict[str, T]:
        """Call a function with the open `/proc/<pid>` of each namespace; its results by the container's id.

        `only` names the containers, by default all. Namespaces of which it raises OSError are left out: their
        containers are gone.
        """

        def visit_all() -> dict[str, T]:
            found = {}
            for key, namespace in self._namespaces.items():
                if only is None or key[0] in only:
                    with contextlib.suppress(OSError):
                        found[key[0]] = read(namespace.descriptor)
            return found

        return await asyncio.get_running_loop().run_in_executor(self._thread, visit_all)

    async def close(self) -> None:
        """Close all descriptors and end the thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._keep_only, frozenset[NamespaceKey]())
        self._thread.shutdown(wait=False)

    def _read_all(self, owners: Sequence[Container], gateways: Mapping[tuple[int, int], str]) -> list[Reading]:
        readings = []
        wanted = {namespace_key(owner): owner for owner in owners}
        self._keep_only(frozenset(wanted))
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(limit - _OTHER_DESCRIPTORS, limit // 2)
        self._tell_lack(len(wanted), most, limit)
        for key, owner in wanted.items():
            namespace = self._namespaces.get(key)
            if namespace is None and len(self._namespaces) < most:
                namespace = self._open(key, owner)
            if namespace is not None:
                reading = self._read_one(namespace, key, owner, gateways)
                if reading is not None:
                    readings.append(reading)
        return readings

    def _tell_lack(self, wanted: int, most: int, limit: int) -> None:
        """Say once that containers are left out, and once that none is any more."""
        if self._lacks_descriptors == (wanted > most):
            return
        self._lacks_descriptors = wanted > most
        if self._lacks_descriptors:
            get_logger().warning(
                "too few open files allowed for all containers", containers=wanted, shown=most, limit=limit
            )
        else:
            get_logger().info("enough open files allowed again", containers=wanted, limit=limit)

    def _open(self, key: NamespaceKey, owner: Container) -> _Namespace | None:
        try:
            descriptor = os.open(self._procfs / str(owner.pid), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except _GONE:
            return None
        try:
            # Only now is it certain which process this is: the check goes through the descriptor.
            if not is_process_of(owner.id, read_file(descriptor, "cgroup")):
                raise ProcessLookupError
            born_watched = start_ticks(read_file(descriptor, "stat")) >= self._born_ticks
        except (*_GONE, ValueError):
            os.close(descriptor)
            return None
        except OSError:  # out of descriptors, or of a right
            os.close(descriptor)
            raise
        namespace = self._namespaces[key] = _Namespace(descriptor, born_watched)
        return namespace

    def _read_one(
        self,
        namespace: _Namespace,
        key: NamespaceKey,
        owner: Container,
        gateways: Mapping[tuple[int, int], str],
    ) -> Reading | None:
        try:
            text = read_file(namespace.descriptor, "net/dev")
        except (*_GONE, OSError):
            return None
        source = (owner.endpoints, gateways)
        reading = namespace.reading
        due = namespace.incomplete and time.monotonic() >= namespace.retry_at
        settled = namespace.attributed_from == source and not due
        if reading is not None and settled and text == namespace.text:
            return reading
        if not is_whole(text):
            return None
        interfaces = parse_net_dev(text)
        networks = reading.networks if reading is not None else {}
        changed = reading is None or _replaced(reading.interfaces, interfaces)
        if changed or namespace.attributed_from != source:
            namespace.retry_seconds = _FIRST_RETRY_SECONDS
            networks = self._attribute(namespace, owner, tuple(interfaces), gateways)
            namespace.attributed_from = source
        elif due:
            networks = self._attribute(namespace, owner, tuple(interfaces), gateways)
        namespace.text = text
        macs = {endpoint.network_id: endpoint.mac_address for endpoint in owner.endpoints}
        namespace.reading = Reading(
            key,
            interfaces,
            networks,
            namespace.born_watched,
            namespace.indexes,
            {name: macs.get(network, "") for name, network in networks.items()},
        )
        return namespace.reading

    def _attribute(
        self,
        namespace: _Namespace,
        owner: Container,
        interfaces: tuple[str, ...],
        gateways: Mapping[tuple[int, int], str],
    ) -> Mapping[str, str]:
        """Decide anew; an interface that was decided keeps its network while the endpoint still exists.

        A container may change its own routes and addresses later (a VPN); its interfaces stay where they are.
        """
        before = namespace.reading
        endpoints = {endpoint.network_id for endpoint in owner.endpoints}
        kept = {
            name: network
            for name, network in (before.networks if before else {}).items()
            if name in interfaces and (network in endpoints or network in gateways.values())
        }
        open_interfaces = tuple(name for name in interfaces if name not in kept)
        open_endpoints = [e for e in owner.endpoints if e.network_id not in kept.values()]
        found: dict[str, str] = {}
        if open_interfaces:
            evidence = _evidence(namespace.descriptor, open_interfaces)
            found = attribute(open_interfaces, open_endpoints, evidence, gateways)
        networks = {**kept, **found}
        namespace.indexes = _indexes(namespace.descriptor)
        # An interface that was still down has no index yet; without it, it can't be counted (see Follower.claim).
        namespace.incomplete = len(networks) < len(interfaces) or not networks.keys() <= namespace.indexes.keys()
        namespace.retry_at = time.monotonic() + namespace.retry_seconds
        namespace.retry_seconds = min(2 * namespace.retry_seconds, _LAST_RETRY_SECONDS)
        return networks

    def _keep_only(self, keys: frozenset[NamespaceKey]) -> None:
        for key in [key for key in self._namespaces if key not in keys]:
            os.close(self._namespaces.pop(key).descriptor)


def raise_descriptor_limit() -> None:
    """Allow as many open files as the system lets us have: one per container, beside the connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _evidence(descriptor: int, interfaces: Sequence[str]) -> Evidence:
    try:
        routes = parse_routes(read_file(descriptor, "net/route"))
    except OSError:
        return Evidence()
    addresses: frozenset[tuple[str, str]] = frozenset()
    with contextlib.suppress(OSError):  # there is no such file where the kernel has no IPv6
        addresses = parse_addresses(read_file(descriptor, "net/if_inet6"))
    macs = {}
    # Readable only with CAP_SYS_PTRACE, and a container can hide it: a help, not a need.
    with contextlib.suppress(OSError):
        devices = sysfs_devices(read_file(descriptor, "mountinfo"))
        # Elsewhere than at its mount namespace's own root a container could have put anything there.
        if os.readlink("root", dir_fd=descriptor) == "/":
            for name in interfaces:
                with contextlib.suppress(OSError):
                    macs[name] = _mac(descriptor, name, devices)
    return Evidence(routes, addresses, macs)


def sysfs_devices(mountinfo: bytes) -> frozenset[int]:
    """The numbers of the devices that a mount namespace has sysfs on (proc_pid_mountinfo(5))."""
    found = set()
    for line in mountinfo.split(b"\n")[:-1]:
        fields, separator, kind = line.partition(b" - ")
        words = fields.split(b" ", 3)
        if separator and kind.startswith(b"sysfs ") and len(words) > 3:  # noqa: PLR2004 - the third is the device
            major, _, minor = words[2].partition(b":")
            if major.isdigit() and minor.isdigit() and len(words[2]) <= _MOST_DIGITS:
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _mac(directory: int, interface: str, sysfs: frozenset[int]) -> str:
    """The address of an interface, told by sysfs and by nothing that a container put into its place.

    A FIFO there would never be opened, and a link to a device of the host be read without end: so it is looked at
    first, which opens nothing (open(2), O_PATH).

    Raises OSError if it is not there, or not sysfs' word.
    """
    path = os.open(f"root/sys/class/net/{interface}/address", os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.fstat(path).st_dev not in sysfs:
            raise PermissionError
        descriptor = os.open(f"/proc/self/fd/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _READ_BYTES).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    finally:
        os.close(path)


def read_file(directory: int, name: str) -> bytes:
    """Read a file of `/proc` whole, relative to an open directory. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        text = os.read(descriptor, _READ_BYTES)
        if len(text) < _SURELY_WHOLE_BYTES:
            return text
        parts = [text]
        while parts[-1]:
            parts.append(os.read(descriptor, _READ_BYTES))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _replaced(before: Mapping[str, InterfaceCounters], now: Mapping[str, InterfaceCounters]) -> bool:
    """Whether there are other interfaces than before, also under the same names: new ones count from 0."""
    if before.keys() != now.keys():
        return True
    return any(
        counters.receive_packets < before[name].receive_packets
        or counters.transmit_packets < before[name].transmit_packets
        for name, counters in now.items()
    )


def _indexes(descriptor: int) -> Mapping[str, int]:
    try:
        return parse_interface_indexes(read_file(descriptor, "net/dev_mcast"))
    except OSError:
        return {}


def _own_start_ticks() -> int:
    return start_ticks(Path("/proc/self/stat").read_bytes())
