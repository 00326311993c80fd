"""The families of volumes and of the file systems that hold them; a scrape only reads what was measured."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from exporter.inventory.inventory import Inventory
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.metrics.catalogue import (
    FILESYSTEM_AVAILABLE_BYTES,
    FILESYSTEM_INODES,
    FILESYSTEM_INODES_FREE,
    FILESYSTEM_SIZE_BYTES,
    VOLUME_AVAILABLE_BYTES,
    VOLUME_CAPACITY_BYTES,
    VOLUME_CONTAINERS,
    VOLUME_CREATED,
    VOLUME_DANGLING,
    VOLUME_DANGLING_BYTES,
    VOLUME_ENCRYPTED,
    VOLUME_INFO,
    VOLUME_INODES,
    VOLUME_INODES_FREE,
    VOLUME_INODES_USED,
    VOLUME_MEASURED,
    VOLUME_MEASUREMENT_DURATION,
    VOLUME_MEASUREMENT_ERRORS,
    VOLUME_MOUNT_INFO,
    VOLUME_PLUGIN_STATUS,
    VOLUME_USED_BYTES,
)
from exporter.metrics.samples import FamilySamples, LabelSet, LabelSets, Sample, label_set
from exporter.volume.capacity import Capacity
from exporter.volume.kinds import is_anonymous, is_bind_mount, kind_of, name_in, takes_none_unmounted, users_of
from exporter.volume.measuring import Measuring
from exporter.volume.mounts import on_host
from exporter.volume.state import VolumeState

_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_VOLUME = "com.docker.compose.volume"


class VolumeCollector:
    """Collector `volume`."""

    name = "volume"

    def __init__(
        self,
        inventory: Inventory,
        measuring: Measuring,
        rootfs: Path = Path("/"),
        visibility: Visibility = EVERYTHING,
    ) -> None:
        self._inventory = inventory
        self._measuring = measuring
        self._rootfs = rootfs
        self._visibility = visibility
        self._label_sets = LabelSets()
        self._described: tuple[tuple[int, int], list[FamilySamples]] | None = None

    def samples(self) -> Iterator[FamilySamples]:
        """All families of volumes and of the file systems that hold them."""
        if not self._inventory.volumes_listed:
            return
        key = (self._inventory.generation, self._measuring.version)
        if self._described is None or self._described[0] != key:
            self._described = (key, list(self._describe()))
        yield from self._described[1]

    def _describe(self) -> Iterator[FamilySamples]:
        self._label_sets.next_round()
        users = users_of(self._inventory)
        shown = {
            name: state
            for name, state in self._measuring.states.items()
            if (name in self._inventory.volumes or is_bind_mount(state.volume))
            and not (is_anonymous(state.volume) and name not in users)
        }
        capacities = {name: self._measuring.capacity(state) for name, state in shown.items()}
        yield VOLUME_INFO, [(self._info_labels(state, capacities[name]), 1) for name, state in shown.items()]
        yield (
            VOLUME_CREATED,
            [(state.labels, state.volume.created_at) for state in shown.values() if state.volume.created_at],
        )
        yield from _measured(shown)
        yield from _limits(shown, capacities)
        yield (
            VOLUME_ENCRYPTED,
            [
                (state.labels, int(known))
                for state in shown.values()
                if (known := _is_encrypted(state)) is not None
            ],
        )
        yield (
            VOLUME_PLUGIN_STATUS,
            [
                (label_set(VOLUME_PLUGIN_STATUS.labels, (name, field)), number)
                for name, state in shown.items()
                for field, number in state.plugin_status.items()
            ],
        )
        yield from self._consumers(shown, users)
        yield from self._dangling(users)
        yield from self._filesystems()

    def _info_labels(self, state: VolumeState, capacity: Capacity | None) -> LabelSet:
        volume = state.volume
        is_known = state.place is not None and state.directory is not None
        return self._label_sets(
            VOLUME_INFO.labels,
            (
                volume.name,
                volume.driver,
                volume.scope,
                kind_of(volume),
                capacity.source if capacity is not None else "",
                on_host(state.place.mount.path, self._rootfs) if state.place is not None and is_known else "",
                "true" if is_anonymous(volume) else "false",
                volume.labels.get(_COMPOSE_PROJECT, ""),
                volume.labels.get(_COMPOSE_VOLUME, ""),
            ),
        )

    def _consumers(self, shown: dict[str, VolumeState], users: dict[str, Counter[str]]) -> Iterator[FamilySamples]:
        yield (
            VOLUME_CONTAINERS,
            [
                (self._label_sets(VOLUME_CONTAINERS.labels, (name, state)), users.get(name, Counter())[state])
                for name in shown
                for state in ("running", "stopped")
            ],
        )
        mounts: list[Sample] = [
            (
                self._label_sets(
                    VOLUME_MOUNT_INFO.labels,
                    (
                        name_in(mount),
                        container.name,
                        mount.destination,
                        "true" if mount.read_only else "false",
                    ),
                ),
                1,
            )
            for container in self._inventory.containers.values()
            if self._visibility.containers.shows(container.name)
            for mount in container.mounts
            if name_in(mount) in shown
        ]
        yield VOLUME_MOUNT_INFO, mounts

    def _dangling(self, users: dict[str, Counter[str]]) -> Iterator[FamilySamples]:
        """Count what nobody uses; who uses a cluster volume, only other nodes know.

        What of it is not measured yet makes the sum unknown. What can't be measured does not, unless it is all.
        """
        counts: Counter[str] = Counter({"true": 0, "false": 0})
        sizes: dict[str, list[int]] = {"true": [], "false": []}
        pending: set[str] = set()
        unmeasurable: set[str] = set()
        for name, volume in self._inventory.volumes.items():
            if name in users or volume.is_cluster:
                continue
            anonymous = "true" if is_anonymous(volume) else "false"
            counts[anonymous] += 1
            state = self._measuring.states.get(name)
            if state is None or state.is_pending:
                pending.add(anonymous)
            elif state.used_bytes is not None:
                sizes[anonymous].append(state.used_bytes)
            elif state.failing or not takes_none_unmounted(volume):
                unmeasurable.add(anonymous)
            else:
                sizes[anonymous].append(0)
        yield VOLUME_DANGLING, [(label_set(("anonymous",), (key,)), n) for key, n in counts.items()]
        yield (
            VOLUME_DANGLING_BYTES,
            [
                (label_set(("anonymous",), (key,)), sum(known))
                for key, known in sizes.items()
                if key not in pending and (known or key not in unmeasurable)
            ],
        )

    def _filesystems(self) -> Iterator[FamilySamples]:
        spaces = {
            label_set(
                FILESYSTEM_SIZE_BYTES.labels,
                (on_host(mount.path, self._rootfs), mount.source, mount.fstype),
            ): space
            for mount, space in self._measuring.spaces.items()
        }
        yield FILESYSTEM_SIZE_BYTES, [(labels, space.size_bytes) for labels, space in spaces.items()]
        yield FILESYSTEM_AVAILABLE_BYTES, [(labels, space.available_bytes) for labels, space in spaces.items()]
        limited = {labels: space for labels, space in spaces.items() if space.inodes}
        yield FILESYSTEM_INODES, [(labels, space.inodes) for labels, space in limited.items()]
        yield FILESYSTEM_INODES_FREE, [(labels, space.inodes_free) for labels, space in limited.items()]


def _is_encrypted(state: VolumeState) -> bool | None:
    """Whether files are encrypted below their file system; not told of what the file system itself encrypts.

    Nor of a directory that was not seen: it may be elsewhere, or such a one.
    """
    if state.directory is None or (state.directory.has_encrypted_names and not state.is_encrypted):
        return None
    return state.is_encrypted


def _limits(shown: dict[str, VolumeState], capacities: Mapping[str, Capacity | None]) -> Iterator[FamilySamples]:
    known = [(shown[name].labels, capacity) for name, capacity in capacities.items() if capacity is not None]
    yield VOLUME_CAPACITY_BYTES, [(labels, capacity.capacity_bytes) for labels, capacity in known]
    yield (
        VOLUME_AVAILABLE_BYTES,
        [(labels, capacity.available_bytes) for labels, capacity in known if capacity.available_bytes is not None],
    )
    # Some file systems (btrfs) have no fixed number of inodes and tell 0: that is no limit.
    yield VOLUME_INODES, [(labels, capacity.inodes) for labels, capacity in known if capacity.inodes]
    yield VOLUME_INODES_FREE, [(labels, capacity.inodes_free) for labels, capacity in known if capacity.inodes]


def _measured(shown: dict[str, VolumeState]) -> Iterator[FamilySamples]:
    measured = [(state, state.used_bytes) for state in shown.values() if state.used_bytes is not None]
    yield VOLUME_USED_BYTES, [(state.labels, used_bytes) for state, used_bytes in measured]
    yield (
        VOLUME_INODES_USED,
        [(state.labels, state.inodes_used) for state, _ in measured if state.inodes_used is not None],
    )
    yield VOLUME_MEASURED, [(state.labels, state.measured_at) for state, _ in measured]
    yield VOLUME_MEASUREMENT_DURATION, [(state.labels, state.seconds) for state, _ in measured]
    yield (
        VOLUME_MEASUREMENT_ERRORS,
        [
            (label_set(VOLUME_MEASUREMENT_ERRORS.labels, (name, reason)), count)
            for name, state in shown.items()
            for reason, count in state.errors.items()
        ],
    )
