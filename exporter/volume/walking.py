"""Walks the volumes whose usage nothing else tells: on a schedule, in one child for each file system."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager

from exporter.volume.schedule import Schedule
from exporter.volume.state import VolumeOptions, VolumeState
from exporter.volume.usage import MeasureError, Walker, close_all


class Walking:
    """The schedule with those who do the work."""

    def __init__(
        self, options: VolumeOptions, states: dict[str, VolumeState], measured: Callable[[], None]
    ) -> None:
        """`measured` is called after each walk."""
        self._states = states
        self._measured = measured
        self._timeout_seconds = options.timeout_seconds
        self._schedule = Schedule(options.interval_seconds, options.max_share, options.max_age_seconds)
        self._walkers: dict[str, Walker] = {}
        self._busy: set[str] = set()
        self._work = asyncio.Event()

    def take_up(self, states: Iterable[VolumeState]) -> None:
        """Put volumes on the schedule, or take them off it, by what is known of them."""
        for state in states:
            if state.is_walked and state.place is not None:
                device = state.place.mount.device
                self._schedule.add(state.volume.name, device, is_idle=not state.writers)
            else:
                self._schedule.remove(state.volume.name)
        self._work.set()

    def hurry(self, name: str) -> None:
        """Walk a volume soon, because something happened to it."""
        self._schedule.hurry(name)
        self._work.set()

    def written(self, names: Iterable[str]) -> None:
        """Prefer volumes that were written to."""
        self._schedule.written(names)

    def forget(self, name: str) -> None:
        """Take a volume off the schedule."""
        self._schedule.remove(name)

    async def run(self, watch: Callable[[], AbstractContextManager[None]]) -> None:
        """Walk for ever; `watch` watches over each walk."""
        async with asyncio.TaskGroup() as group:
            while True:
                name, until = self._schedule.next(time.monotonic(), self._busy)
                place = self._states[name].place if name in self._states else None
                if name is not None and place is not None:
                    self._busy.add(place.mount.device)
                    group.create_task(self._walk_in_turn(name, place.mount.device, watch), name=f"walk of {name}")
                    continue
                self._work.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(until - time.monotonic(), 0.01)):
                        await self._work.wait()

    async def walk_all(self) -> None:
        """Walk each volume that is due once, one after the other."""
        while name := self._schedule.next(0.0)[0]:
            await self._walk(name)

    async def close_unused(self, devices: Collection[str]) -> None:
        """End the children of other devices than these, unless they are at work."""
        await close_all(self._walkers.pop(device) for device in self._walkers.keys() - set(devices) - self._busy)

    async def close(self) -> None:
        """End all children, whatever they are doing."""
        await close_all(self._walkers.values())

    async def _walk_in_turn(
        self, name: str, device: str, watch: Callable[[], AbstractContextManager[None]]
    ) -> None:
        try:
            with watch():
                await self._walk(name)
        finally:
            self._busy.discard(device)
            self._work.set()

    async def _walk(self, name: str) -> None:
        state = self._states.get(name)
        place = state.place if state is not None else None
        if state is None or place is None:
            self._schedule.remove(name)
            return
        walker = self._walkers.setdefault(place.mount.device, Walker(place.mount.device))
        started = time.monotonic()
        try:
            found = await walker.usage(place.path, self._timeout_seconds, place.nested, state.inodes_used or 0)
            if place.has_files_of(state.place):
                state.succeeded(found.used_bytes, found.inodes_used, found.seconds)
        except MeasureError as error:
            state.failed(error)
        finally:
            now = time.monotonic()
            self._schedule.done(name, now, now - started)
        self._measured()
