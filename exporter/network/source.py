"""What a source of traffic counters offers, and which containers have traffic of their own to read."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import HOST_MODE, NONE_MODE, Container
from exporter.network.accounting import NamespaceKey, Reading


class CounterSource(Protocol):
    """Reads the counters of the network namespaces of containers."""

    @property
    def name(self) -> str:
        """`procfs` or `engine`, as the flag `--network.source` calls it."""

    @property
    def counts_errors(self) -> bool:
        """Whether it tells interface errors; what isn't told is absent from the page, not 0."""

    @property
    def tells_indexes(self) -> bool:
        """Whether its readings have the kernel's indexes of interfaces."""

    @property
    def fast(self) -> bool:
        """Whether a read takes milliseconds, so that a scrape may ask for a fresh one."""

    async def read(self, owners: Sequence[Container], inventory: Inventory) -> list[Reading]:
        """Read the namespaces of these containers; one that vanished meanwhile is left out."""

    async def close(self) -> None:
        """Let go of what it holds."""


def namespace_key(container: Container) -> NamespaceKey:
    """What tells a container's network namespace from that of its next start."""
    return container.id, container.pid, container.started_at


def namespace_owners(containers: Iterable[Container]) -> list[Container]:
    """The running containers that own a network namespace with networks in it.

    Host networking has no traffic of its own, `none` has no interface. A container that joined another's
    namespace (`container:X`) is counted there, once; after a restart of X the joiner sits in the old, empty
    one, while the engine reports X's counters for it, so it is never read.
    """
    return [
        container
        for container in containers
        if container.is_running
        and container.network_mode not in (HOST_MODE, NONE_MODE)
        and not container.joined_container
    ]
