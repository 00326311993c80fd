"""Keeps what is known of every volume current: sees what changes, and lets it be asked for or walked."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from exporter.engine.api import EngineError
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Volume
from exporter.logs import get_logger
from exporter.volume.capacity import Capacity
from exporter.volume.encryption import DeviceStack
from exporter.volume.kinds import bind_mounts, is_bind_mount, needs_mount, writers_of
from exporter.volume.mounts import MountChanges, MountPoint, parse_mountinfo, real_path
from exporter.volume.places import Place, folder_of, place_of, with_shared_filesystems
from exporter.volume.plugin_status import ask_plugins
from exporter.volume.probing import Probing
from exporter.volume.state import VolumeOptions, VolumeState, declared_bytes
from exporter.volume.usage import Space
from exporter.volume.walking import Walking
from exporter.volume.writes import read_written_bytes

_MOUNTINFO = Path("/proc/self/mountinfo")
_DEBOUNCE_SECONDS = 0.1
_LOOKING_REST = 20.0
"""Looking at mounts again takes at most a twentieth of the time, however fast containers come and go."""

_VOLUMES_AT_A_TIME = 200
"""After so many the event loop serves others."""

_ENGINES_REASONS = ("", "missing", "permission")
"""Failures for which the engine is asked for the usage; what takes too long here does so there too."""


class _Probe(Protocol):
    def __call__(self, states: Collection[VolumeState], *, only_new: bool = False) -> Awaitable[None]: ...


class VolumeEngine(Protocol):
    """What an engine tells of volumes beside their list; both raise EngineError (see `exporter.engine.api`)."""

    def volume_usage(self) -> Awaitable[Mapping[str, int]]:
        """Bytes by volume."""
        ...

    def volume_status(self, name: str) -> Awaitable[Mapping[str, float]]:
        """The numbers that the volume's plugin tells."""
        ...


class Measuring:
    """The state of every volume, kept current by `run`. `version` changes with anything that is known."""

    name = "volume"

    def __init__(
        self,
        inventory: Inventory,
        options: VolumeOptions,
        watch: Callable[[str], AbstractContextManager[None]],
        engine: VolumeEngine | None = None,
        are_files_here: Callable[[], bool] = lambda: True,
    ) -> None:
        """`watch` is the runner's: a round that fails becomes a metric and a log line.

        `engine` is asked for what can't be read here. `are_files_here` says whether its host is the one whose
        files are seen: the same path may exist on another.
        """
        self.states: dict[str, VolumeState] = {}
        self.version = 0
        self._inventory = inventory
        self._options = options
        self._watch = watch
        self._engine = engine
        self._are_files_here = are_files_here
        self._probing = Probing(options)
        self._walking = Walking(options, self.states, self._note_change)
        self._written: Mapping[str, int] = {}
        self._stale = asyncio.Event()
        self._unprobed = asyncio.Event()
        self._unprobed_remote = asyncio.Event()
        self._probed = asyncio.Event()

    @property
    def spaces(self) -> Mapping[MountPoint, Space]:
        """The space of the file systems that hold volumes."""
        return self._probing.spaces

    def capacity(self, state: VolumeState) -> Capacity | None:
        """A volume's limit, None if nothing is known of it."""
        return self._probing.capacity(state)

    async def run(self) -> None:
        """Measure for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._mark_changes(), name="changes of volumes")
                group.create_task(self._mark_mounts(), name="mounts of volumes")
                group.create_task(self._look_when_stale(), name="places of volumes")
                local, remote = self._probing.probe_local, self._probing.probe_remote
                group.create_task(self._probe_when_due(local, self._unprobed), name="space of this host")
                group.create_task(self._probe_when_due(remote, self._unprobed_remote), name="space of servers")
                group.create_task(self._walking.run(lambda: self._watch(self.name)), name="volume usage")
                group.create_task(self._ask_engine_when_due(), name="usage by the engine")
                group.create_task(self._ask_plugins_when_due(), name="status of plugins")
        finally:
            await self._close()

    async def measure_all(self) -> None:
        """Measure each volume once."""
        try:
            with self._watch(self.name):
                await self._look()
                states = list(self.states.values())
                await self._probing.probe_local(states)
                await self._probing.probe_remote(states)
                self._take_up_probed()
                await self._walking.walk_all()
                await self._ask_engine()
                await self._ask_plugins()
        finally:
            await self._close()

    async def _mark_changes(self) -> None:
        """What the inventory says makes a look necessary: a volume came, went, got or lost a user."""
        while True:
            generation, relevant = self._inventory.generation, self._relevant()
            while self._relevant() == relevant:
                generation = await self._inventory.changed(generation)
                # Looking through all containers for each of a burst of changes would hold up the loop.
                await asyncio.sleep(_DEBOUNCE_SECONDS)
            self._stale.set()

    def _relevant(self) -> tuple[object, ...]:
        containers = self._inventory.containers.values()
        return (
            dict(self._inventory.volumes),
            bind_mounts(containers, self._options.bind_mounts).keys(),
            {(container.id, container.pid) for container in containers if container.mounts},
        )

    async def _mark_mounts(self) -> None:
        """What the kernel says makes a look necessary, whatever the order of the engine's events: a mount."""
        with MountChanges(self._stale):
            await asyncio.get_running_loop().create_future()

    async def _look_when_stale(self) -> None:
        while True:
            started = time.monotonic()
            self._stale.clear()
            with self._watch(self.name):
                await self._look()
            rest = max(_DEBOUNCE_SECONDS, (time.monotonic() - started) * _LOOKING_REST)
            await asyncio.sleep(rest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.interval_seconds):
                    await self._stale.wait()

    async def _look(self) -> None:
        """Find out where the volumes are, and who may write to them."""
        volumes = self._volumes()
        found = await asyncio.to_thread(_found, volumes if self._are_files_here() else {}, self._options.rootfs)
        places, encrypted = found
        writers = writers_of(self._inventory)
        for name in self.states.keys() - volumes.keys():
            del self.states[name]
            self._walking.forget(name)
        for number, (name, volume) in enumerate(volumes.items(), start=1):
            if number % _VOLUMES_AT_A_TIME == 0:
                await asyncio.sleep(0)
            state = self._state(volume)
            self._place(state, places.get(name))
            state.is_encrypted = encrypted.get(state.place.mount.device) if state.place is not None else None
            before, state.writers = state.writers, writers.get(name, {})
            self._walking.take_up([state])
            if before.items() - state.writers.items():
                state.lost_a_writer = not state.is_walked
                self._walking.hurry(name)
        await self._note_writes()
        await self._walking.close_unused(encrypted.keys())
        self._probing.keep_only([place.mount for place in places.values()])
        await self._probing.close_unused([place.mount.path for place in places.values()])
        if any(state.place and (state.directory is None or state.lost_a_writer) for state in self.states.values()):
            self._unprobed.set()
            self._unprobed_remote.set()
        elif self.states:
            # Nothing to wait for: what isn't here is the engine's to tell.
            self._probed.set()
        self._note_change()

    def _volumes(self) -> dict[str, Volume]:
        containers = self._inventory.containers.values()
        return {**self._inventory.volumes, **bind_mounts(containers, self._options.bind_mounts)}

    def _state(self, volume: Volume) -> VolumeState:
        state = self.states.get(volume.name)
        if state is None:
            state = self.states[volume.name] = VolumeState.of(volume)
            state.declared_bytes = declared_bytes(volume, self._options)
        elif state.volume != volume:
            if state.volume.labels != volume.labels:
                state.declared_bytes = declared_bytes(volume, self._options)
            # It may be another volume that has this name now.
            state.volume = volume
            self._walking.hurry(volume.name)
        return state

    def _place(self, state: VolumeState, place: Place | None) -> None:
        if place is not None and place.has_files_of(state.place):
            state.place = place
        elif place is not None or state.place is not None:
            state.move(place)
            self._walking.forget(state.volume.name)

    async def _note_writes(self) -> None:
        """Find out to whose volumes was written since the last look."""
        ids = {id_ for state in self.states.values() for id_ in state.writers}
        containers = [self._inventory.containers[id_] for id_ in ids if id_ in self._inventory.containers]
        options = self._options
        written = await asyncio.to_thread(read_written_bytes, containers, options.procfs, options.rootfs)
        busy = {id_ for id_, count in written.items() if count != self._written.get(id_, count)}
        self._written = written
        self._walking.written(name for name, state in self.states.items() if not busy.isdisjoint(state.writers))

    async def _probe_when_due(self, probe: _Probe, unprobed: asyncio.Event) -> None:
        """Ask for the space at each interval, and at once where a new volume or file system came."""
        due = 0.0
        while True:
            unprobed.clear()
            is_due = time.monotonic() >= due
            if is_due:
                due = time.monotonic() + self._options.interval_seconds
            with self._watch(self.name):
                await probe(list(self.states.values()), only_new=not is_due)
                self._take_up_probed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - time.monotonic(), 0.01)):
                    await unprobed.wait()

    def _take_up_probed(self) -> None:
        """Let those be walked of which is known now that nothing else tells their usage."""
        self._walking.take_up(self.states.values())
        self._note_change()
        if self.states:
            self._probed.set()

    async def _ask_plugins_when_due(self) -> None:
        while True:
            with self._watch(self.name):
                await self._ask_plugins()
            await asyncio.sleep(self._options.interval_seconds)

    async def _ask_plugins(self) -> None:
        if self._engine is not None:
            await ask_plugins(self.states.values(), self._engine.volume_status)
            self._note_change()

    async def _ask_engine_when_due(self) -> None:
        """Ask the engine rarely and only if needed: it walks all volumes, and on old versions all images."""
        await self._probed.wait()
        while True:
            with self._watch(self.name):
                asked = await self._ask_engine()
            await asyncio.sleep(self._options.engine_usage_seconds if asked else self._options.interval_seconds)

    async def _ask_engine(self) -> bool:
        """Take the engine's word for volumes that can't be read here; whether it was asked."""
        if self._engine is None or not self._options.engine_usage:
            return False
        if not any(map(_is_left_to_engine, self.states.values())):
            return False
        started = time.monotonic()
        try:
            usage = await self._engine.volume_usage()
        except EngineError as error:
            get_logger().warning("engine's disk usage not read", reason=str(error))
            return True
        for name, used_bytes in usage.items():
            state = self.states.get(name)
            if state is not None and _is_left_to_engine(state):
                state.succeeded(used_bytes, None, time.monotonic() - started, is_engines=True)
        self._note_change()
        return True

    def _note_change(self) -> None:
        self.version += 1

    async def _close(self) -> None:
        await self._walking.close()
        await self._probing.close()


def _found(volumes: Mapping[str, Volume], rootfs: Path) -> tuple[dict[str, Place], dict[str, bool | None]]:
    """Where volumes are, and whether each of their devices is encrypted; reads files, so not on the loop."""
    table = parse_mountinfo(_MOUNTINFO.read_bytes())
    # In a container the links of the host lead elsewhere; there what they lead to is mounted in their place.
    folders = set(map(folder_of, volumes.values())) - {""} if rootfs == Path("/") else set()
    links = {folder: real_path(folder, table) for folder in folders}
    places = {name: place_of(volume, table, rootfs, links) for name, volume in volumes.items()}
    found = with_shared_filesystems({name: place for name, place in places.items() if place is not None})
    stack = DeviceStack(table, rootfs)
    return found, {device: stack.is_encrypted(device) for device in {p.mount.device for p in found.values()}}


def _is_left_to_engine(state: VolumeState) -> bool:
    """Whether a volume can't be read here, and never could be: the engine counts otherwise, values would jump."""
    if needs_mount(state.volume) or is_bind_mount(state.volume) or state.failing not in _ENGINES_REASONS:
        return False
    unreadable = state.place is None or bool(state.failing)
    return unreadable and (state.used_bytes is None or state.is_engines)
