"""Usage and space of volumes: measured on a schedule and in processes of their own; a scrape only reads."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Volume
from exporter.inventory.visibility import EVERYTHING, Visibility
from exporter.logs import get_logger
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
    VOLUME_INFO,
    VOLUME_INODES,
    VOLUME_INODES_FREE,
    VOLUME_INODES_USED,
    VOLUME_MEASURED,
    VOLUME_MEASUREMENT_DURATION,
    VOLUME_MEASUREMENT_ERRORS,
    VOLUME_MOUNT_INFO,
    VOLUME_USED_BYTES,
)
from exporter.metrics.samples import FamilySamples, LabelSet, Sample, label_set
from exporter.volume.mounts import MountPoint, MountTable, on_host, parse_mountinfo, seen_here
from exporter.volume.schedule import Schedule
from exporter.volume.usage import MeasureError, Space, Walker

_ANONYMOUS_NAME = re.compile(r"[0-9a-f]{64}")
_ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_VOLUME = "com.docker.compose.volume"
_DEBOUNCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Where the host's files are seen, and how often and how long to measure; times in seconds."""

    rootfs: Path = Path("/")
    interval_seconds: float = 60.0
    timeout_seconds: float = 300.0
    space_timeout_seconds: float = 5.0
    max_share: float = 0.05


@dataclass(slots=True)
class _State:
    """What is known of one volume beside what the engine tells."""

    labels: LabelSet
    used_bytes: int | None = None
    inodes_used: int | None = None
    measured_at: float = 0.0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    failing: str = ""
    mount: MountPoint | None = None


class VolumeCollector:
    """Collector `volume`."""

    name = "volume"

    def __init__(
        self,
        inventory: Inventory,
        options: VolumeOptions,
        watch: Callable[[str], AbstractContextManager[None]],
        visibility: Visibility = EVERYTHING,
    ) -> None:
        """`watch` is the runner's: a round that fails becomes a metric and a log line."""
        self._inventory = inventory
        self._options = options
        self._watch = watch
        self._visibility = visibility
        self._schedule = Schedule(options.interval_seconds, options.max_share)
        self._states: dict[str, _State] = {}
        self._spaces: dict[MountPoint, Space] = {}
        self._walker = Walker("usage")
        self._prober = Walker("space")
        self._work = asyncio.Event()
        self._mounts_changed = asyncio.Event()
        self._version = 0
        self._described: tuple[tuple[int, int], list[FamilySamples]] | None = None

    async def run(self) -> None:
        """Measure for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_inventory(), name="volumes of the inventory")
                group.create_task(self._probe_when_due(), name="space of file systems")
                group.create_task(self._walk_when_due(), name="volume usage")
        finally:
            await self._close()

    async def measure_all(self) -> None:
        """Measure each volume once; for `--once`."""
        try:
            await self._refresh()
            await self._probe_filesystems()
            for name in list(self._schedule.names()):
                with self._watch(self.name):
                    await self._measure(name)
        finally:
            await self._close()

    def samples(self) -> Iterator[FamilySamples]:
        """All families of volumes and of the file systems that hold them."""
        if not self._inventory.volumes_listed:
            return
        key = (self._inventory.generation, self._version)
        if self._described is None or self._described[0] != key:
            self._described = (key, list(self._describe()))
        yield from self._described[1]

    def _describe(self) -> Iterator[FamilySamples]:
        volumes = self._inventory.volumes
        users = _users(self._inventory)
        shown = {
            name: state
            for name, state in self._states.items()
            if name in volumes and not (is_anonymous(volumes[name]) and name not in users)
        }
        yield VOLUME_INFO, [(self._info_labels(volumes[name], state), 1) for name, state in shown.items()]
        yield (
            VOLUME_CREATED,
            [(s.labels, volumes[name].created_at) for name, s in shown.items() if volumes[name].created_at],
        )
        yield from _measured(shown)
        yield from self._capacities(shown)
        yield from self._consumers(shown, users)
        yield from self._dangling(users)
        yield from self._filesystems()

    async def _follow_inventory(self) -> None:
        """Take up new volumes at once, and look at the mounts again when one may have come or gone."""
        while True:
            generation, relevant = self._inventory.generation, self._relevant()
            with self._watch(self.name):
                await self._refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.interval_seconds):
                    while self._relevant() == relevant:
                        generation = await self._inventory.changed(generation)
                        await asyncio.sleep(_DEBOUNCE_SECONDS)

    def _relevant(self) -> set[tuple[str, str]]:
        """What makes a look at the mounts worthwhile: which volumes there are, and who runs with them."""
        users = {
            (mount.volume, container.id)
            for container in self._inventory.containers.values()
            if container.is_running
            for mount in container.mounts
            if mount.volume
        }
        return users | {(name, "") for name in self._inventory.volumes}

    async def _probe_when_due(self) -> None:
        """Ask the file systems for their space at each interval, and at once where a new one came."""
        while True:
            self._mounts_changed.clear()
            with self._watch(self.name):
                await self._probe_filesystems()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.interval_seconds):
                    await self._mounts_changed.wait()

    async def _walk_when_due(self) -> None:
        while True:
            name, until = self._schedule.next(time.monotonic())
            if name is not None:
                with self._watch(self.name):
                    await self._measure(name)
                continue
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(until - time.monotonic(), 0.01)):
                    await self._work.wait()

    async def _refresh(self) -> None:
        """Find out where the volumes are."""
        table = parse_mountinfo(await asyncio.to_thread(Path("/proc/self/mountinfo").read_bytes))
        volumes = self._inventory.volumes
        for name in self._states.keys() - volumes.keys():
            del self._states[name]
            self._schedule.remove(name)
        for name, volume in volumes.items():
            state = self._states.get(name)
            if state is None:
                state = self._states[name] = _State(label_set(("volume",), (name,)))
            mount = self._mount_of(volume, table)
            if mount is None:
                self._schedule.remove(name)
            elif mount == state.mount:
                self._schedule.add(name)
            else:
                self._schedule.hurry(name)
            if mount != state.mount:
                # Its files are others now: what was measured before is no longer so.
                state.used_bytes = state.inodes_used = None
                state.mount = mount
                self._mounts_changed.set()
        self._version += 1
        self._work.set()

    def _mount_of(self, volume: Volume, table: MountTable) -> MountPoint | None:
        """The file system that holds a volume's files; None while it has none, or none that is seen here."""
        if not volume.mountpoint:
            return None
        path = seen_here(volume.mountpoint, self._options.rootfs)
        mount = table.at(path) if needs_mount(volume) else table.holding(path)
        return table.filesystem_of(mount) if mount is not None else None

    async def _probe_filesystems(self) -> None:
        mounts = {state.mount for state in self._states.values() if state.mount is not None}
        for mount in self._spaces.keys() - mounts:
            del self._spaces[mount]
        for mount in mounts:
            try:
                self._spaces[mount] = await self._prober.space(mount.path, self._options.space_timeout_seconds)
            except MeasureError as error:
                self._spaces.pop(mount, None)
                get_logger().debug("file system not readable", filesystem=mount.path, reason=str(error))
        self._version += 1

    async def _measure(self, name: str) -> None:
        volume, state = self._inventory.volumes.get(name), self._states.get(name)
        if volume is None or state is None:
            self._schedule.remove(name)
            return
        started = time.monotonic()
        try:
            found = await self._walker.usage(
                seen_here(volume.mountpoint, self._options.rootfs), self._options.timeout_seconds
            )
        except MeasureError as error:
            state.errors[error.reason] += 1
            if state.failing != error.reason:
                state.failing = error.reason
                get_logger().warning("volume not measured", volume=name, reason=error.reason, detail=str(error))
        else:
            state.used_bytes, state.inodes_used = found.used_bytes, found.inodes_used
            state.seconds, state.measured_at = found.seconds, time.time()
            if state.failing:
                state.failing = ""
                get_logger().info("volume measured again", volume=name)
        self._version += 1
        if name in self._schedule:
            self._schedule.done(name, time.monotonic(), time.monotonic() - started)

    async def _close(self) -> None:
        await self._walker.close()
        await self._prober.close()

    def _info_labels(self, volume: Volume, state: _State) -> LabelSet:
        filesystem = on_host(state.mount.path, self._options.rootfs) if state.mount else ""
        source = ""
        if state.mount in self._spaces:
            source = "mount" if needs_mount(volume) else "filesystem"
        return label_set(
            VOLUME_INFO.labels,
            (
                volume.name,
                volume.driver,
                volume.scope,
                kind_of(volume),
                source,
                filesystem,
                "true" if is_anonymous(volume) else "false",
                volume.labels.get(_COMPOSE_PROJECT, ""),
                volume.labels.get(_COMPOSE_VOLUME, ""),
            ),
        )

    def _capacities(self, shown: dict[str, _State]) -> Iterator[FamilySamples]:
        spaces = [
            (state.labels, self._spaces[state.mount])
            for state in shown.values()
            if state.mount is not None and state.mount in self._spaces
        ]
        yield VOLUME_CAPACITY_BYTES, [(labels, space.size_bytes) for labels, space in spaces]
        yield VOLUME_AVAILABLE_BYTES, [(labels, space.available_bytes) for labels, space in spaces]
        # Some file systems (btrfs) have no fixed number of inodes and tell 0: that is no limit.
        limited = [(labels, space) for labels, space in spaces if space.inodes]
        yield VOLUME_INODES, [(labels, space.inodes) for labels, space in limited]
        yield VOLUME_INODES_FREE, [(labels, space.inodes_free) for labels, space in limited]

    def _consumers(self, shown: dict[str, _State], users: dict[str, Counter[str]]) -> Iterator[FamilySamples]:
        yield (
            VOLUME_CONTAINERS,
            [
                (label_set(VOLUME_CONTAINERS.labels, (name, state)), users.get(name, Counter())[state])
                for name in shown
                for state in ("running", "stopped")
            ],
        )
        mounts: list[Sample] = [
            (
                label_set(
                    VOLUME_MOUNT_INFO.labels,
                    (
                        mount.volume,
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
            if mount.volume in shown
        ]
        yield VOLUME_MOUNT_INFO, mounts

    def _dangling(self, users: dict[str, Counter[str]]) -> Iterator[FamilySamples]:
        counts: Counter[str] = Counter({"true": 0, "false": 0})
        sizes: Counter[str] = Counter({"true": 0, "false": 0})
        for name, volume in self._inventory.volumes.items():
            if name not in users:
                anonymous = "true" if is_anonymous(volume) else "false"
                counts[anonymous] += 1
                state = self._states.get(name)
                sizes[anonymous] += (state.used_bytes if state else None) or 0
        yield VOLUME_DANGLING, [(label_set(("anonymous",), (key,)), n) for key, n in counts.items()]
        yield VOLUME_DANGLING_BYTES, [(label_set(("anonymous",), (key,)), n) for key, n in sizes.items()]

    def _filesystems(self) -> Iterator[FamilySamples]:
        spaces = {
            label_set(
                FILESYSTEM_SIZE_BYTES.labels,
                (on_host(mount.path, self._options.rootfs), mount.source, mount.fstype),
            ): space
            for mount, space in self._spaces.items()
        }
        yield FILESYSTEM_SIZE_BYTES, [(labels, space.size_bytes) for labels, space in spaces.items()]
        yield FILESYSTEM_AVAILABLE_BYTES, [(labels, space.available_bytes) for labels, space in spaces.items()]
        limited = {labels: space for labels, space in spaces.items() if space.inodes}
        yield FILESYSTEM_INODES, [(labels, space.inodes) for labels, space in limited.items()]
        yield FILESYSTEM_INODES_FREE, [(labels, space.inodes_free) for labels, space in limited.items()]


def is_anonymous(volume: Volume) -> bool:
    """Whether the engine made up the name: by its label (engine 23.0 and later) or the name's form."""
    return _ANONYMOUS_LABEL in volume.labels or _ANONYMOUS_NAME.fullmatch(volume.name) is not None


def needs_mount(volume: Volume) -> bool:
    """Whether a volume's files are only there while it is mounted (moby: volume/local/local_unix.go)."""
    return volume.driver != "local" or bool(volume.options.get("type") or volume.options.get("device"))


def kind_of(volume: Volume) -> str:
    """What kind of volume it is: directory, bind, the type of a local mount (tmpfs, nfs, ext4), or plugin."""
    if volume.driver != "local":
        return "plugin"
    if "bind" in volume.options.get("o", "").split(","):
        return "bind"
    return volume.options.get("type") or "directory"


def _users(inventory: Inventory) -> dict[str, Counter[str]]:
    """How many containers, running and stopped, mount each volume; one that mounts it twice counts once."""
    users: dict[str, Counter[str]] = {}
    for container in inventory.containers.values():
        state = "running" if container.is_running else "stopped"
        for name in {mount.volume for mount in container.mounts if mount.volume}:
            users.setdefault(name, Counter())[state] += 1
    return users


def _measured(shown: dict[str, _State]) -> Iterator[FamilySamples]:
    measured = [state for state in shown.values() if state.used_bytes is not None]
    yield VOLUME_USED_BYTES, [(state.labels, state.used_bytes or 0) for state in measured]
    yield VOLUME_INODES_USED, [(state.labels, state.inodes_used or 0) for state in measured]
    yield VOLUME_MEASURED, [(state.labels, state.measured_at) for state in measured]
    yield VOLUME_MEASUREMENT_DURATION, [(state.labels, state.seconds) for state in measured]
    yield (
        VOLUME_MEASUREMENT_ERRORS,
        [
            (label_set(VOLUME_MEASUREMENT_ERRORS.labels, (name, reason)), count)
            for name, state in shown.items()
            for reason, count in state.errors.items()
        ],
    )
