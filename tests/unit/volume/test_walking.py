import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.inventory.model import Volume
from exporter.volume.mounts import MountPoint
from exporter.volume.places import Place
from exporter.volume.state import VolumeOptions, VolumeState
from exporter.volume.usage import DirectorySpace, MeasureError, Measurement, Space, Walker
from exporter.volume.walking import Walking
from tests.harness.wait import eventually_async

DIRECTORY = DirectorySpace(Space(1, 1, 1, 1, 1), 0.1)


def states(*places: tuple[str, str]) -> dict[str, VolumeState]:
    """States of volumes by path and device."""
    found = {}
    for path, device in places:
        state = found[path] = VolumeState.of(Volume(path, "local", path))
        state.move(Place(path, MountPoint("/", "/", device, "ext4", "/dev/x"), is_own=False))
        state.directory = DIRECTORY
    return found


class Walks:
    """Walks that take as long as they are told, and what went on at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: set[str] = set()
        self.together: set[frozenset[str]] = set()
        self.error: MeasureError | None = None
        walks = self

        async def usage(_: Walker, path: str, *__: object) -> Measurement:
            walks.running.add(path)
            walks.together.add(frozenset(walks.running))
            await asyncio.sleep(0.02)
            walks.running.discard(path)
            if walks.error is not None:
                raise walks.error
            return Measurement(1234, 5, 0.02)

        monkeypatch.setattr(Walker, "usage", usage)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    return Walks(monkeypatch)


@contextlib.asynccontextmanager
async def running(walking: Walking) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(walking.run(contextlib.nullcontext))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await walking.close()


async def test_each_file_system_is_walked_by_one_and_several_at_a_time(walks: Walks) -> None:
    known = states(("/a", "8:1"), ("/b", "8:1"), ("/c", "8:2"))
    walking = Walking(VolumeOptions(), known, lambda: None)
    walking.take_up(known.values())
    async with running(walking):
        await eventually_async(lambda: all(state.used_bytes == 1234 for state in known.values()), "all walked")
    assert not any({"/a", "/b"} <= together for together in walks.together)
    assert any("/c" in together and len(together) == 2 for together in walks.together)


async def test_a_failed_walk_is_counted_and_tried_again_later(walks: Walks) -> None:
    walks.error = MeasureError("permission", "no")
    known = states(("/a", "8:1"))
    walking = Walking(VolumeOptions(interval_seconds=0.1, max_share=1), known, lambda: None)
    walking.take_up(known.values())
    known["/a"].writers = {"x": 5}
    walking.take_up(known.values())
    async with running(walking):
        await eventually_async(lambda: known["/a"].errors["permission"] >= 2, "tried again")
    assert known["/a"].used_bytes is None


async def test_what_a_walk_found_of_files_that_are_others_by_now_is_not_taken(walks: Walks) -> None:
    known = states(("/a", "8:1"))
    walking = Walking(VolumeOptions(), known, lambda: None)
    walking.take_up(known.values())
    async with running(walking):
        await eventually_async(lambda: "/a" in walks.running, "walking")
        known["/a"].move(None)
        walking.take_up(known.values())
        await eventually_async(lambda: not walks.running, "done")
        await asyncio.sleep(0.01)
    assert known["/a"].used_bytes is None


async def test_a_real_volume_is_walked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    known = states((str(tmp_path), "8:1"))
    changes: list[int] = []
    walking = Walking(VolumeOptions(), known, lambda: changes.append(1))
    walking.take_up(known.values())
    await walking.walk_all()
    await walking.close()
    assert known[str(tmp_path)].inodes_used == 2
    assert changes
