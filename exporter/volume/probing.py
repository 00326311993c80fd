"""Asks file systems for their space, and directories for their quota: what the kernel knows without a walk."""

import asyncio
from collections.abc import Collection

from exporter.logs import get_logger
from exporter.volume.capacity import Capacity, capacity_of
from exporter.volume.mounts import MountPoint
from exporter.volume.state import VolumeOptions, VolumeState
from exporter.volume.usage import MeasureError, Space, Walker, close_all


class Probing:
    """The space of the file systems that hold volumes, and of the volumes that have a limit in the kernel."""

    def __init__(self, options: VolumeOptions) -> None:
        self.spaces: dict[MountPoint, Space] = {}
        self._timeout_seconds = options.space_timeout_seconds
        self._local = Walker("space")
        self._remote: dict[str, Walker] = {}

    async def probe_remote(self, states: Collection[VolumeState], *, only_new: bool = False) -> None:
        """Ask the servers of volumes, at a time, each mount by a child of its own: none waits for a dead one."""
        async with asyncio.TaskGroup() as group:
            for state in _asked(states, is_remote=True, only_new=only_new):
                group.create_task(self._probe_directory(state), name=f"space of {state.volume.name}")

    async def probe_local(self, states: Collection[VolumeState], *, only_new: bool = False) -> None:
        """Ask this host's file systems and directories; `only_new` leaves out those to which nothing happened."""
        answered = [
            state
            for state in _asked(states, is_remote=False, only_new=only_new)
            if await self._probe_directory(state)
        ]
        placed = [state for state in states if state.place is not None]
        own = {state.place.mount for state in placed if state.place is not None and state.place.is_own}
        shared = {
            state.place.mount
            for state in placed
            if state.place is not None and not state.place.is_own and state.directory is not None
        }
        local = {mount for mount in shared if not mount.is_remote}
        self.keep_only(own | shared)
        for mount in (local - self.spaces.keys()) if only_new else local:
            try:
                found = await self._local.space(mount.path, self._timeout_seconds)
                if found.is_told:
                    self.spaces[mount] = found
            except MeasureError as error:
                # What was known stays: without it a quota would be no quota, and a declaration leave more.
                get_logger().debug("file system not readable", filesystem=mount.path, reason=str(error))
        for state in answered:
            self._judge(state)

    def capacity(self, state: VolumeState) -> Capacity | None:
        """A volume's limit, None if nothing is known of it."""
        quota = own = filesystem = None
        if state.place is not None and state.directory is not None:
            filesystem = self.spaces.get(state.place.mount)
            if state.place.is_own:
                own = state.directory.space if state.directory.space.is_told else None
            elif self._is_limited(state):
                quota = state.directory.space
        return capacity_of(
            quota=quota,
            own=own,
            declared_bytes=state.declared_bytes,
            filesystem=filesystem,
            used_bytes=state.used_bytes,
        )

    def keep_only(self, mounts: Collection[MountPoint]) -> None:
        """Forget the space of all other file systems."""
        for mount in self.spaces.keys() - set(mounts):
            del self.spaces[mount]

    async def close_unused(self, paths: Collection[str]) -> None:
        """End the children that asked servers about other mount points than these."""
        await close_all(self._remote.pop(path) for path in self._remote.keys() - set(paths))

    async def close(self) -> None:
        """End all children."""
        await close_all([self._local, *self._remote.values()])

    async def _probe_directory(self, state: VolumeState) -> bool:
        """Ask for a directory's space; whether that was answered."""
        place = state.place
        if place is None:
            return False
        state.lost_a_writer = False
        prober = self._local
        if place.mount.is_remote:
            prober = self._remote.setdefault(place.mount.path, Walker(place.mount.path))
        try:
            found = await prober.directory(place.path, self._timeout_seconds)
        except MeasureError as error:
            if place.has_files_of(state.place):
                state.failed(error)
            return False
        if not place.has_files_of(state.place):  # they are elsewhere by now
            return False
        state.directory = found
        if not found.space.is_told:
            return True
        if place.is_own or place.mount.is_remote:
            self.spaces[place.mount] = found.space
        if place.is_own:
            used = found.space.size_bytes - found.space.free_bytes
            inodes = found.space.inodes - found.space.inodes_free if found.space.inodes else None
            state.succeeded(used, inodes, found.seconds)
        return True

    def _judge(self, state: VolumeState) -> None:
        """See whether a directory's quota is its own, and then take its usage from that."""
        directory = state.directory
        if state.place is None or state.place.is_own or directory is None:
            return
        project = directory.project
        state.has_own_quota = project is not None and project.is_own and self._is_limited(state)
        if project is not None and state.has_own_quota:
            by_space = directory.space.size_bytes - directory.space.free_bytes
            used = by_space if project.used_bytes is None else project.used_bytes
            state.succeeded(used, project.inodes_used, directory.seconds)

    def _is_limited(self, state: VolumeState) -> bool:
        """Whether a directory is told another size than its file system: then it is its quota's."""
        if state.place is None or state.directory is None or state.directory.project is None:
            return False
        filesystem = self.spaces.get(state.place.mount)
        return filesystem is not None and state.directory.space.size_bytes < filesystem.size_bytes


def _asked(states: Collection[VolumeState], *, is_remote: bool, only_new: bool) -> list[VolumeState]:
    return [
        state
        for state in states
        if state.place is not None
        and state.place.mount.is_remote == is_remote
        and _is_asked(state, only_new=only_new)
    ]


def _is_asked(state: VolumeState, *, only_new: bool) -> bool:
    if state.directory is None:
        return not (only_new and state.failing)
    if state.place is None or (only_new and not state.lost_a_writer):
        return False
    return state.place.is_own or state.place.mount.is_remote or state.place.mount.project_quota
