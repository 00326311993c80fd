"""What the inventory and the watch tell of the engine and its containers."""

from collections import Counter
from collections.abc import Iterator

from exporter.engine.api import Engine
from exporter.engine.watch import Watch
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container
from exporter.inventory.visibility import EVERYTHING, Visibility, label_name
from exporter.metrics.catalogue import (
    CONTAINER_HEALTH,
    CONTAINER_INFO,
    CONTAINER_OOM_EVENTS,
    CONTAINER_RESTARTS,
    CONTAINER_STARTED,
    CONTAINER_STATE,
    ENGINE_CONTAINERS,
    ENGINE_EVENT_GAPS,
    ENGINE_EVENT_STREAM_CONNECTED,
    ENGINE_EVENT_STREAM_RECONNECTS,
    ENGINE_EVENTS,
    ENGINE_INFO,
    ENGINE_INVENTORY_DRIFT,
    ENGINE_NETWORKS,
    ENGINE_UP,
    ENGINE_VOLUMES,
)
from exporter.metrics.samples import NO_LABELS, FamilySamples, LabelSet, LabelSets, label_set

_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_SERVICE = "com.docker.compose.service"
_SWARM_SERVICE = "com.docker.swarm.service.name"
_SWARM_TASK = "com.docker.swarm.task.name"


class EngineCollector:
    """Collector `engine`: the engine, its events, and its containers."""

    name = "engine"

    def __init__(
        self, engine: Engine, watch: Watch, inventory: Inventory, visibility: Visibility = EVERYTHING
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._inventory = inventory
        self._visibility = visibility
        self._generation = -1
        self._inventory_samples: list[FamilySamples] = []
        self._label_sets = LabelSets()
        self._names: dict[str, LabelSet] = {}

    def samples(self) -> Iterator[FamilySamples]:
        """All families of the engine, and those of containers that are not about networks or volumes."""
        yield ENGINE_UP, [(NO_LABELS, int(self._engine.up))]
        yield ENGINE_EVENT_STREAM_CONNECTED, [(NO_LABELS, int(self._watch.stream_connected))]
        yield ENGINE_EVENT_STREAM_RECONNECTS, [(NO_LABELS, max(self._watch.stream_openings - 1, 0))]
        yield ENGINE_EVENT_GAPS, [(NO_LABELS, self._watch.ledger.gaps)]
        yield (
            ENGINE_INVENTORY_DRIFT,
            [(label_set(("kind",), (kind,)), count) for kind, count in self._watch.drift.items()],
        )
        yield (
            ENGINE_EVENTS,
            [(label_set(ENGINE_EVENTS.labels, key), count) for key, count in self._watch.ledger.counts.items()],
        )
        if not self._inventory.complete:
            return
        if self._generation != self._inventory.generation:
            self._generation = self._inventory.generation
            self._inventory_samples = list(self._describe())
        yield from self._inventory_samples
        out_of_memory = self._watch.ledger.out_of_memory
        yield CONTAINER_OOM_EVENTS, [(name, out_of_memory[id_]) for id_, name in self._names.items()]

    def _describe(self) -> Iterator[FamilySamples]:
        yield from self._describe_engine()
        containers = self._shown()
        self._label_sets.next_round()
        labels = {container.id: self._label_sets(("container",), (container.name,)) for container in containers}
        self._names = labels
        yield CONTAINER_INFO, [(self._info_labels(container), 1) for container in containers]
        yield (
            CONTAINER_STATE,
            [
                (self._label_sets(CONTAINER_STATE.labels, (container.name, container.state)), 1)
                for container in containers
                if container.state
            ],
        )
        yield (
            CONTAINER_HEALTH,
            [
                (self._label_sets(CONTAINER_HEALTH.labels, (container.name, container.health)), 1)
                for container in containers
                if container.health
            ],
        )
        yield CONTAINER_STARTED, [(labels[c.id], c.started_at) for c in containers if c.started_at]
        yield CONTAINER_RESTARTS, [(labels[c.id], c.restart_count) for c in containers]

    def _shown(self) -> list[Container]:
        shows = self._visibility.containers.shows
        return [container for container in self._inventory.containers.values() if shows(container.name)]

    def _describe_engine(self) -> Iterator[FamilySamples]:
        info = self._inventory.engine
        if info is not None:
            values = (
                info.version,
                info.api_version,
                info.os,
                info.kernel,
                info.storage_driver,
                info.cgroup_version,
                "true" if info.rootless else "false",
            )
            yield ENGINE_INFO, [(label_set(ENGINE_INFO.labels, values), 1)]
        states = Counter(container.state for container in self._inventory.containers.values())
        yield ENGINE_CONTAINERS, [(label_set(("state",), (state,)), count) for state, count in states.items()]
        drivers = Counter(network.driver for network in self._inventory.networks.values())
        yield ENGINE_NETWORKS, [(label_set(("driver",), (driver,)), n) for driver, n in drivers.items()]
        if self._inventory.volumes_listed:
            drivers = Counter(volume.driver for volume in self._inventory.volumes.values())
            yield ENGINE_VOLUMES, [(label_set(("driver",), (driver,)), n) for driver, n in drivers.items()]

    def _info_labels(self, container: Container) -> LabelSet:
        labels = container.labels
        allowed = [name for name in self._visibility.container_labels if name in labels]
        return self._label_sets(
            (*CONTAINER_INFO.labels, *map(label_name, allowed)),
            (
                container.name,
                container.id,
                container.image,
                labels.get(_COMPOSE_PROJECT, ""),
                labels.get(_COMPOSE_SERVICE, ""),
                labels.get(_SWARM_SERVICE, ""),
                labels.get(_SWARM_TASK, ""),
                *(labels[name] for name in allowed),
            ),
        )
