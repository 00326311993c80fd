import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.engine.api import EngineError
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Mount, Volume
from exporter.metrics.runner import Runner
from exporter.volume import measuring as measuring_module
from exporter.volume.measuring import Measuring
from exporter.volume.state import VolumeOptions
from exporter.volume.walker import usage
from tests.harness.wait import eventually_async


class EngineUsage:
    """The engine's word on usage, and how often it was asked."""

    def __init__(self, usage: Mapping[str, int] | EngineError) -> None:
        self._usage = usage
        self.asked = 0

    async def volume_status(self, name: str) -> Mapping[str, float]:
        return {"Size": float(len(name))}

    async def volume_usage(self) -> Mapping[str, int]:
        self.asked += 1
        if isinstance(self._usage, EngineError):
            raise self._usage
        return self._usage


def measuring(inventory: Inventory, engine: EngineUsage | None = None, **options: Any) -> Measuring:
    inventory.mark_listed("volume")
    options.setdefault("interval_seconds", 0.2)
    return Measuring(inventory, VolumeOptions(**options), Runner().watch, engine)


def folder(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir()
    (tmp_path / name / "file").write_bytes(b"x" * 50_000)
    return str(tmp_path / name)


@asynccontextmanager
async def running(measuring: Measuring) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(measuring.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_comes_later_is_measured_soon_and_what_goes_is_forgotten(tmp_path: Path) -> None:
    inventory = Inventory()
    known = measuring(inventory, interval_seconds=60)
    async with running(known):
        await asyncio.sleep(0.2)
        inventory.put_volume(Volume("data", "local", folder(tmp_path, "data")))
        await eventually_async(
            lambda: "data" in known.states and known.states["data"].used_bytes is not None, "measured", 2
        )
        inventory.remove_volume("data")
        await eventually_async(lambda: "data" not in known.states, "forgotten", 2)


async def test_a_volume_whose_user_stopped_is_measured_again_at_once(tmp_path: Path) -> None:
    path = folder(tmp_path, "data")
    inventory = Inventory()
    inventory.put_volume(Volume("data", "local", path))
    mount = Mount("volume", "data", path, "/data", read_only=False)
    inventory.put_container(Container("a", "db", "x", "running", pid=5, mounts=(mount,)))
    known = measuring(inventory, interval_seconds=60)
    async with running(known):
        await eventually_async(lambda: known.states["data"].used_bytes if known.states else None, "measured", 2)
        (tmp_path / "data" / "more").write_bytes(b"x" * 500_000)
        inventory.put_container(Container("a", "db", "x", "exited", mounts=(mount,)))
        await eventually_async(lambda: known.states["data"].used_bytes == usage(path)[0], "measured again", 2)


async def test_a_volume_whose_user_was_restarted_is_measured_again_at_once(tmp_path: Path) -> None:
    path = folder(tmp_path, "data")
    inventory = Inventory()
    inventory.put_volume(Volume("data", "local", path))
    mount = Mount("volume", "data", path, "/data", read_only=False)
    inventory.put_container(Container("a", "db", "x", "running", pid=5, mounts=(mount,)))
    known = measuring(inventory, interval_seconds=60)
    async with running(known):
        await eventually_async(lambda: known.states["data"].used_bytes if known.states else None, "measured", 10)
        (tmp_path / "data" / "more").write_bytes(b"x" * 500_000)
        inventory.put_container(Container("a", "db", "x", "running", pid=6, mounts=(mount,)))
        await eventually_async(lambda: known.states["data"].used_bytes == usage(path)[0], "measured again", 10)


async def test_the_engine_is_asked_for_what_cannot_be_read_here_and_only_then(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("seen", "local", folder(tmp_path, "seen")))
    engine = EngineUsage({"seen": 1, "hidden": 77})
    await measuring(inventory, engine).measure_all()
    assert engine.asked == 0
    inventory.put_volume(Volume("hidden", "local", str(tmp_path / "hidden")))
    known = measuring(inventory, engine)
    await known.measure_all()
    assert engine.asked == 1
    assert known.states["hidden"].used_bytes == 77
    assert known.states["seen"].used_bytes != 1


async def test_the_engine_is_not_asked_again_before_its_time(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("hidden", "local", str(tmp_path / "hidden")))
    engine = EngineUsage({"hidden": 77})
    known = measuring(inventory, engine, interval_seconds=0.05)
    async with running(known):
        await eventually_async(lambda: engine.asked, "asked", 2)
        await asyncio.sleep(0.5)
    assert engine.asked == 1


async def test_an_engine_that_does_not_answer_leaves_the_usage_unknown(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("hidden", "local", str(tmp_path / "hidden")))
    known = measuring(inventory, EngineUsage(EngineError("a disk usage operation is already running")))
    await known.measure_all()
    assert known.states["hidden"].used_bytes is None


async def test_the_engine_is_never_asked_where_that_is_off(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("hidden", "local", str(tmp_path / "hidden")))
    engine = EngineUsage({"hidden": 77})
    await measuring(inventory, engine, engine_usage=False).measure_all()
    assert engine.asked == 0


async def test_the_same_path_on_another_host_is_not_taken_for_the_volume(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.mark_listed("volume")
    inventory.put_volume(Volume("data", "local", folder(tmp_path, "data")))
    known = Measuring(
        inventory, VolumeOptions(), Runner().watch, EngineUsage({"data": 99}), are_files_here=lambda: False
    )
    await known.measure_all()
    assert known.states["data"].used_bytes == 99
    assert known.capacity(known.states["data"]) is None


async def test_an_engine_elsewhere_is_asked_at_once_and_not_an_interval_later(tmp_path: Path) -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("data", "local", folder(tmp_path, "data")))
    engine = EngineUsage({"data": 99})
    options = VolumeOptions(interval_seconds=60)
    known = Measuring(inventory, options, Runner().watch, engine, are_files_here=lambda: False)
    async with running(known):
        await eventually_async(lambda: engine.asked and known.states["data"].used_bytes == 99, "its word", 5)


async def test_no_server_is_asked_where_a_bind_mount_is_since_only_a_child_may_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path, "server")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:60 / {path} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(measuring_module, "_MOUNTINFO", mounts)
    asked: list[str] = []
    for name in ("lstat", "readlink", "stat"):
        monkeypatch.setattr(os, name, recording(getattr(os, name), asked))
    inventory = Inventory()
    mount = Mount("bind", "", path, "/data", read_only=False)
    inventory.put_container(Container("a", "db", "x", "running", pid=5, mounts=(mount,)))
    known = measuring(inventory, bind_mounts=re.compile("/data"))
    await known.measure_all()
    place = known.states[path].place
    assert place is not None
    assert (place.path, place.mount.fstype) == (path, "nfs4")
    assert str(tmp_path) in asked
    assert not [each for each in asked if each.startswith(path)]


def recording(function: Callable[..., Any], asked: list[str]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(path))
        return function(path, *arguments, **options)

    return call
