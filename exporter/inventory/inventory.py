"""The single writer's state of what exists on the host, with its indexes and a notification of changes."""

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from exporter.inventory.model import Container, EngineInfo, Network, Volume

_SHORT_ID = 12


class Inventory:
    """Containers and networks by id, volumes by name.

    Only the watch writes; everybody else reads the mappings and waits for `changed`. It belongs to one event
    loop and does no I/O. `generation` rises with each change, so that a reader can tell whether what it
    derived is still true.
    """

    def __init__(self) -> None:
        self._containers: dict[str, Container] = {}
        self._ids_by_name: dict[str, str] = {}
        self._networks: dict[str, Network] = {}
        self._volumes: dict[str, Volume] = {}
        self._engine: EngineInfo | None = None
        self._network_labels: dict[str, str] | None = None
        self._event = asyncio.Event()
        self._listed: set[str] = set()
        self.generation = 0

    @property
    def complete(self) -> bool:
        """Whether the engine's containers and networks were all listed at least once.

        Volumes don't count: a dead volume plugin makes their list hang, and traffic must not wait for it.
        """
        return {"container", "network"} <= self._listed

    @property
    def volumes_listed(self) -> bool:
        """Whether the engine's volumes were all listed at least once."""
        return "volume" in self._listed

    @property
    def engine(self) -> EngineInfo | None:
        """What the engine said of itself when it was last connected, None before."""
        return self._engine

    @property
    def containers(self) -> Mapping[str, Container]:
        """All containers, running or not, by id."""
        return MappingProxyType(self._containers)

    @property
    def networks(self) -> Mapping[str, Network]:
        """All networks by id."""
        return MappingProxyType(self._networks)

    @property
    def volumes(self) -> Mapping[str, Volume]:
        """All volumes by name."""
        return MappingProxyType(self._volumes)

    def network_label(self, network_id: str) -> str:
        """The value of the label `network`: the name, or `name@<12 digits of the id>` for a younger namesake.

        The engine lets networks share a name (`docker network create` without the check, Swarm scopes). An
        unknown id gives an empty string.
        """
        if self._network_labels is None:
            self._network_labels = _unique_labels(self._networks.values())
        return self._network_labels.get(network_id, "")

    async def changed(self, since: int) -> int:
        """Wait until `generation` is another than `since`, and return it."""
        while self.generation == since:
            await self._event.wait()
        return self.generation

    def put_engine(self, engine: EngineInfo) -> None:
        """Remember what the engine says of itself."""
        if engine != self._engine:
            self._engine = engine
            self._bump()

    def put_container(self, container: Container) -> None:
        """Add or replace a container.

        The engine lets no two containers have one name. Another that still has it here was removed or renamed,
        and the fetch that its event asked for is yet to come; until then it is left out, since two containers
        of one name would be two series with the same labels.
        """
        before = self._containers.get(container.id)
        if before == container:
            return
        if before is not None and self._ids_by_name.get(before.name) == container.id:
            del self._ids_by_name[before.name]
        namesake = self._ids_by_name.get(container.name)
        if namesake is not None:
            del self._containers[namesake]
        self._containers[container.id] = container
        self._ids_by_name[container.name] = container.id
        self._bump()

    def put_network(self, network: Network) -> None:
        """Add or replace a network."""
        if self._networks.get(network.id) != network:
            self._networks[network.id] = network
            self._network_labels = None
            self._bump()

    def put_volume(self, volume: Volume) -> None:
        """Add or replace a volume."""
        if self._volumes.get(volume.name) != volume:
            self._volumes[volume.name] = volume
            self._bump()

    def remove_container(self, container_id: str) -> None:
        """Forget a container; an unknown one is no error, events come twice."""
        container = self._containers.pop(container_id, None)
        if container is not None:
            if self._ids_by_name.get(container.name) == container_id:
                del self._ids_by_name[container.name]
            self._bump()

    def remove_network(self, network_id: str) -> None:
        """Forget a network; an unknown one is no error."""
        if self._networks.pop(network_id, None) is not None:
            self._network_labels = None
            self._bump()

    def remove_volume(self, name: str) -> None:
        """Forget a volume; an unknown one is no error."""
        if self._volumes.pop(name, None) is not None:
            self._bump()

    def mark_listed(self, kind: str) -> None:
        """Note that all objects of a kind (`container`, `network`, `volume`) are known."""
        if kind not in self._listed:
            self._listed.add(kind)
            self._bump()

    def _bump(self) -> None:
        self.generation += 1
        event, self._event = self._event, asyncio.Event()
        event.set()


def _unique_labels(networks: Iterable[Network]) -> dict[str, str]:
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for network in sorted(networks, key=lambda network: (network.created_at, network.id)):
        forms = (network.name, f"{network.name}@{network.id[:_SHORT_ID]}")
        label = next((form for form in forms if form not in taken), f"{network.name}@{network.id}")
        taken.add(label)
        labels[network.id] = label
    return labels
