import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from exporter import logs
from exporter.engine.api import Engine, EngineOptions
from exporter.engine.kinds import Pace
from exporter.engine.watch import Watch, WatchOptions
from exporter.inventory.inventory import Inventory
from tests.harness.fake_engine import FakeEngine
from tests.harness.wait import eventually_async

OPTIONS = WatchOptions(
    first_retry_seconds=0.02,
    last_retry_seconds=0.1,
    heartbeat_seconds=0.2,
    replay_seconds=0.1,
    pace=Pace(
        debounce_seconds=0.01,
        resync_seconds=0.3,
        settle_seconds=0.1,
        first_retry_seconds=0.02,
        unanswered_seconds=0.3,
    ),
)


@dataclass
class Watched:
    watch: Watch
    inventory: Inventory
    engine: Engine

    def names(self) -> set[str]:
        return {container.name for container in self.inventory.containers.values()}


@asynccontextmanager
async def watching(fake: FakeEngine, options: WatchOptions = OPTIONS, **seconds: float) -> AsyncIterator[Watched]:
    times = {"call_seconds": 0.5, "ping_seconds": 0.2, "connect_seconds": 0.5, **seconds}
    engine = Engine(EngineOptions(host=fake.host, **times))  # type: ignore[arg-type]
    inventory = Inventory()
    watch = Watch(engine, inventory, options)
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        yield Watched(watch, inventory, engine)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await engine.close()
        assert task.cancelled(), task.exception()


async def complete(watched: Watched) -> None:
    await eventually_async(lambda: watched.inventory.complete and watched.inventory.volumes_listed, "inventory")


async def test_all_objects_are_listed_and_followed(fake_engine: FakeEngine) -> None:
    web = fake_engine.add_container("web")
    fake_engine.add_network("app")
    fake_engine.add_volume("data")
    async with watching(fake_engine) as watched:
        await complete(watched)
        assert watched.names() == {"web"}
        assert set(watched.inventory.volumes) == {"data"}
        shop = fake_engine.add_container("shop")
        fake_engine.emit("container", "start", shop)
        await eventually_async(lambda: watched.names() == {"web", "shop"}, "the new container")
        fake_engine.containers[shop]["Name"] = "/store"
        fake_engine.emit("container", "rename", shop)
        await eventually_async(lambda: watched.names() == {"web", "store"}, "the new name")
        del fake_engine.containers[web]
        fake_engine.emit("container", "destroy", web)
        await eventually_async(lambda: watched.names() == {"store"}, "the container gone")
        assert watched.watch.ledger.counts["container", "start"] == 1
        assert watched.watch.drift.total() == 0


async def test_an_engine_that_comes_late_is_picked_up(fake_engine: FakeEngine) -> None:
    await fake_engine.stop()
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    async with watching(fake_engine) as watched:
        await asyncio.sleep(0.3)
        assert not watched.engine.up
        assert stream.getvalue().count("engine unreachable") == 1
        await fake_engine.start()
        await complete(watched)
        assert watched.engine.up
        assert stream.getvalue().count("engine connected") == 1


async def test_a_restarted_engine_is_followed_again_and_what_changed_meanwhile_is_seen(
    fake_engine: FakeEngine,
) -> None:
    web = fake_engine.add_container("web")
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.emit("container", "start", web)
        await eventually_async(lambda: watched.watch.ledger.counts.total() == 1, "the event")
        await fake_engine.stop()
        await eventually_async(lambda: not watched.engine.up, "the engine seen away")
        assert watched.names() == {"web"}
        del fake_engine.containers[web]
        fake_engine.add_container("other")
        fake_engine.ring = []
        await fake_engine.start()
        await eventually_async(lambda: watched.names() == {"other"}, "the new inventory")
        await eventually_async(lambda: watched.watch.ledger.gaps == 1, "the gap, since the ring was lost")
        assert watched.watch.drift.total() == 0


async def test_an_idle_stream_that_a_proxy_cuts_is_reopened_and_no_event_is_lost_or_doubled(
    fake_engine: FakeEngine,
) -> None:
    async with watching(fake_engine) as watched:
        await complete(watched)
        for number in range(20):
            fake_engine.emit("volume", "create", f"v{number}")
            if number % 5 == 4:
                openings = watched.watch.stream_openings
                fake_engine.cut_streams()
                fake_engine.emit("volume", "create", f"while-closed-{number}")
                await eventually_async(lambda o=openings: watched.watch.stream_openings > o, "reopened")  # type: ignore[misc]
        await eventually_async(lambda: watched.watch.ledger.counts["volume", "create"] == 24, "all events")
        await asyncio.sleep(0.2)
        assert watched.watch.ledger.counts["volume", "create"] == 24
        assert watched.watch.ledger.gaps == 0
        assert watched.engine.up


async def test_a_replay_that_takes_a_moment_to_come_is_no_gap(fake_engine: FakeEngine) -> None:
    """Its first line comes a round trip after the headers, and the silence before the opening is none of it."""
    options = replace(OPTIONS, replay_seconds=0.4)
    async with watching(fake_engine, options) as watched:
        await complete(watched)
        fake_engine.emit("volume", "create", "data")
        await eventually_async(lambda: watched.watch.ledger.counts.total() == 1, "the event")
        fake_engine.replay_seconds = 0.15
        for _ in range(6):
            openings = watched.watch.stream_openings
            fake_engine.cut_streams()
            await eventually_async(lambda o=openings: watched.watch.stream_openings > o, "reopened")  # type: ignore[misc]
            await asyncio.sleep(0.45)
        assert watched.watch.ledger.gaps == 0


async def test_a_frozen_engine_is_noticed_and_its_thaw_too(fake_engine: FakeEngine) -> None:
    async with watching(fake_engine) as watched:
        await complete(watched)
        for path in ("_ping", "version", "info"):
            fake_engine.stalled[path] = asyncio.Event()
        await eventually_async(lambda: not watched.engine.up, "the engine seen frozen", 3)
        for stalled in fake_engine.stalled.values():
            stalled.set()
        fake_engine.stalled.clear()
        await eventually_async(lambda: watched.engine.up and watched.watch.stream_connected, "the thaw", 3)


async def test_an_engine_that_is_frozen_for_a_moment_is_told_once_and_its_thaw_too(
    fake_engine: FakeEngine,
) -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    async with watching(fake_engine, ping_seconds=5, patience_seconds=0.1) as watched:
        await complete(watched)
        fake_engine.stalled["_ping"] = asyncio.Event()
        await eventually_async(lambda: "unanswered" in stream.getvalue(), "the line")
        await asyncio.sleep(0.3)
        fake_engine.stalled.pop("_ping").set()
        await eventually_async(lambda: stream.getvalue().count("engine connected") == 2, "the thaw")
        await asyncio.sleep(0.5)
        assert len(stream.getvalue().splitlines()) == 3
        assert watched.watch.stream_openings == 1


async def test_a_list_of_volumes_that_hangs_holds_up_nothing_else(fake_engine: FakeEngine) -> None:
    fake_engine.stalled["volumes"] = asyncio.Event()
    async with watching(fake_engine) as watched:
        await eventually_async(lambda: watched.inventory.complete, "containers and networks")
        assert not watched.inventory.volumes_listed
        web = fake_engine.add_container("web")
        fake_engine.emit("container", "start", web)
        await eventually_async(lambda: watched.names() == {"web"}, "the container")
        fake_engine.stalled["volumes"].set()
        await complete(watched)


async def test_a_change_without_event_is_corrected_by_the_resync_and_counted(fake_engine: FakeEngine) -> None:
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.add_network("silent")
        await eventually_async(lambda: watched.watch.drift["network"] == 1, "the drift", 3)
        assert {network.name for network in watched.inventory.networks.values()} == {"silent"}


async def test_a_volume_whose_directory_changes_is_no_drift(fake_engine: FakeEngine) -> None:
    fake_engine.add_volume("data", CreatedAt="2024-01-01T00:00:00Z")
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.volumes["data"]["CreatedAt"] = "2025-01-01T00:00:00Z"
        await asyncio.sleep(1)
        assert watched.watch.drift.total() == 0


async def test_a_prune_that_names_nobody_relists(fake_engine: FakeEngine) -> None:
    fake_engine.add_volume("data")
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.volumes.clear()
        fake_engine.emit("volume", "prune", "")
        await eventually_async(lambda: not watched.inventory.volumes, "the volumes gone")


async def test_one_object_that_the_engine_cannot_tell_of_does_not_hide_the_others(fake_engine: FakeEngine) -> None:
    bad = fake_engine.add_container("bad")
    fake_engine.add_container("good")
    fake_engine.failing[f"containers/{bad}/json"] = (500, '{"message": "driver failed"}')
    async with watching(fake_engine) as watched:
        await complete(watched)
        assert watched.names() == {"good"}


async def test_a_container_of_which_the_engine_never_tells_holds_up_no_other_and_is_told_once(
    fake_engine: FakeEngine,
) -> None:
    """Its lock is held: the engine lists it, answers pings and all else, but not for this one."""
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    stuck = fake_engine.add_container("stuck")
    fake_engine.add_container("good")
    fake_engine.stalled[f"containers/{stuck}/json"] = asyncio.Event()
    async with watching(fake_engine) as watched:
        await complete(watched)
        assert watched.names() == {"good"}
        web = fake_engine.add_container("web")
        fake_engine.emit("container", "start", stuck)
        fake_engine.emit("container", "start", web)
        await eventually_async(lambda: watched.names() == {"good", "web"}, "the new container", 0.3)
        await asyncio.sleep(1.5)
        assert watched.watch.stream_openings == 1
        assert watched.engine.up
        fake_engine.stalled.pop(f"containers/{stuck}/json").set()
        await eventually_async(lambda: watched.names() == {"good", "web", "stuck"}, "the container", 2)
        assert watched.watch.drift.total() == 0
    text = stream.getvalue()
    assert text.count("engine leaves questions unanswered") == 1
    assert text.count("engine answers all questions again") == 1
    assert text.count("\n") == 3, text


async def test_a_first_list_that_fails_is_made_again_soon(fake_engine: FakeEngine) -> None:
    slow = replace(OPTIONS, pace=replace(OPTIONS.pace, resync_seconds=60))
    fake_engine.failing["networks"] = (503, '{"message": "starting"}')
    async with watching(fake_engine, slow) as watched:
        await eventually_async(lambda: fake_engine.calls["networks"] >= 2, "a second try")
        fake_engine.failing.clear()
        await eventually_async(lambda: watched.inventory.complete, "the inventory", 2)


async def test_events_are_not_remembered_where_lists_follow_each_other(fake_engine: FakeEngine) -> None:
    async with watching(fake_engine, replace(OPTIONS, pace=replace(OPTIONS.pace, resync_seconds=60))) as watched:
        await complete(watched)
        for number in range(20):
            fake_engine.emit("volume", "create", f"v{number}")
        fake_engine.emit("volume", "prune", "")
        await eventually_async(lambda: fake_engine.calls["volumes"] == 2, "the list")
        assert not watched.watch._kinds["volume"]._touched


@pytest.mark.parametrize("status", [403, 500])
async def test_a_proxy_that_forbids_events_is_told_once(fake_engine: FakeEngine, status: int) -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    fake_engine.failing["events"] = (status, '{"message": "not allowed"}')
    async with watching(fake_engine):
        await eventually_async(lambda: "not allowed" in stream.getvalue(), "the log line")
        await asyncio.sleep(0.3)
        assert stream.getvalue().count("not allowed") == 1


async def test_an_event_that_cannot_be_read_is_a_gap_and_holds_up_none_that_follow(
    fake_engine: FakeEngine,
) -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.emit("container", "start", "before")
        # It stays in the ring, so each opening of the stream begins with it.
        fake_engine.ring.append({"Type": [], "Action": 7, "timeNano": fake_engine.ring[-1]["timeNano"] + 1})
        fake_engine.emit("container", "start", "after")
        for _ in range(3):
            openings = watched.watch.stream_openings
            fake_engine.cut_streams()
            await eventually_async(lambda o=openings: watched.watch.stream_openings > o, "reopened")  # type: ignore[misc]
        await eventually_async(lambda: watched.watch.ledger.gaps == 1, "the gap")
        fake_engine.add_container("late")
        fake_engine.emit("container", "start", next(iter(fake_engine.containers)))
        await eventually_async(lambda: watched.names() == {"late"}, "the container")
        await asyncio.sleep(0.2)
        assert watched.watch.ledger.gaps == 1
        assert watched.watch.ledger.counts["container", "start"] == 3
        assert watched.watch.stream_openings == 4
        assert stream.getvalue().count("events were lost") == 1
        assert watched.engine.up


async def test_objects_with_impossible_ids_and_numbers_end_nothing(fake_engine: FakeEngine) -> None:
    fake_engine.add_container("web")
    async with watching(fake_engine) as watched:
        await complete(watched)
        for actor in ("..", "\ud800", "x" * 100_000, "a/b", "\0"):
            for kind in ("container", "network", "volume"):
                fake_engine.emit(kind, "start", actor)
        fake_engine.failing["containers/huge/json"] = (200, '{"Id": "huge", "Name": "/h", "RestartCount": 1e999}')
        fake_engine.emit("container", "start", "huge")
        late = fake_engine.add_container("late")
        fake_engine.emit("container", "start", late)
        await eventually_async(lambda: watched.names() == {"web", "late"}, "the container")
        assert watched.engine.up


class Changes:
    """Lets containers and networks of an engine come and go, and take each other's names, at random."""

    def __init__(self, fake: FakeEngine, generator: random.Random) -> None:
        self._fake = fake
        self._random = generator
        self.containers: dict[str, str] = {}
        """Names by id."""

    def step(self) -> None:
        self._random.choice(
            (self._create, self._destroy, self._rename, self._swap, self._network, self._no_network)
        )()

    def _free(self) -> list[str]:
        return sorted({f"n{number}" for number in range(6)} - set(self.containers.values()))

    def _create(self) -> None:
        for name in self._free()[:1]:
            container_id = self._fake.add_container(name, pid=self._random.randint(1, 9))
            self.containers[container_id] = name
            self._fake.emit("container", "create", container_id)
            self._fake.emit("container", "start", container_id)

    def _destroy(self) -> None:
        for container_id in self._some(1):
            del self.containers[container_id], self._fake.containers[container_id]
            self._fake.emit("container", "destroy", container_id)

    def _rename(self) -> None:
        for container_id, name in zip(self._some(1), self._free()[-1:], strict=False):
            self._give(container_id, name)

    def _swap(self) -> None:
        pair, free = self._some(2), self._free()
        if len(pair) == 2 and free:
            names = [self.containers[container_id] for container_id in pair]
            self._give(pair[0], free[0])
            self._give(pair[1], names[0])
            self._give(pair[0], names[1])

    def _give(self, container_id: str, name: str) -> None:
        self.containers[container_id] = name
        self._fake.containers[container_id]["Name"] = f"/{name}"
        self._fake.emit("container", "rename", container_id)

    def _network(self) -> None:
        self._fake.emit("network", "create", self._fake.add_network(f"app{self._random.randint(0, 9)}"))

    def _no_network(self) -> None:
        for network_id in list(self._fake.networks)[:1]:
            del self._fake.networks[network_id]
            self._fake.emit("network", "destroy", network_id)

    def _some(self, count: int) -> list[str]:
        return self._random.sample(sorted(self.containers), min(count, len(self.containers)))


@pytest.mark.parametrize("seed", range(6))
async def test_containers_that_come_go_and_take_each_others_names_are_as_the_engine_has_them_in_the_end(
    fake_engine: FakeEngine, seed: int
) -> None:
    """Answers take now longer, now shorter, so that they overtake each other, the events and the lists."""
    generator = random.Random(seed)
    changes = Changes(fake_engine, generator)
    fake_engine.answer_seconds = lambda: generator.choice((0, 0, 0.005, 0.03))
    # On a busy machine events are read late: they have the half of the time that they have in earnest.
    options = replace(OPTIONS, pace=replace(OPTIONS.pace, settle_seconds=0.5))
    async with watching(fake_engine, options) as watched:
        await complete(watched)
        for _ in range(150):
            changes.step()
            await asyncio.sleep(generator.choice((0, 0, 0, 0.002, 0.02)))
            shown = [container.name for container in watched.inventory.containers.values()]
            assert len(set(shown)) == len(shown)
        inventory = watched.inventory
        await eventually_async(
            lambda: {c.id: c.name for c in inventory.containers.values()} == changes.containers, "all containers"
        )
        await eventually_async(lambda: inventory.networks.keys() == fake_engine.networks.keys(), "networks")
        assert watched.watch.drift.total() == 0


async def test_a_stream_of_nonsense_is_told_once_and_does_not_wear_the_engine_out(fake_engine: FakeEngine) -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    async with watching(fake_engine) as watched:
        await complete(watched)
        before, started = fake_engine.calls["containers/json"], time.monotonic()
        for number in range(300):
            fake_engine.streams[0].put_nowait(f"<p>line {number}</p>\n".encode())
            await asyncio.sleep(0.002)
        most = 2 * (time.monotonic() - started) / OPTIONS.first_retry_seconds
        assert fake_engine.calls["containers/json"] - before < most
        web = fake_engine.add_container("web")
        fake_engine.emit("container", "start", web)
        await eventually_async(lambda: watched.names() == {"web"}, "the container")
        counts = watched.watch.ledger.counts  # a list may have shown the container before its event came
        await eventually_async(lambda: counts["unreadable", "unreadable"] == 300, "all lines counted")
        assert stream.getvalue().count("events were lost") == 1


async def test_events_that_come_faster_than_they_can_be_followed_are_a_gap_and_not_kept(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.engine.watch._MOST_QUEUED", 100)
    async with watching(fake_engine) as watched:
        await complete(watched)
        lines = [json.dumps(event(number)) + "\n" for number in range(1000)]
        fake_engine.add_container("web")
        fake_engine.streams[0].put_nowait("".join(lines).encode())
        await eventually_async(lambda: watched.watch.ledger.gaps > 0, "a gap")
        assert len(watched.watch._queue) <= 100
        await eventually_async(lambda: watched.names() == {"web"}, "what the events were of")


def event(number: int) -> dict[str, object]:
    actor = {"ID": f"c{number}", "Attributes": {}}
    return {"Type": "container", "Action": "exec_start", "Actor": actor, "timeNano": 10**18 + number}


async def test_an_engine_that_is_always_late_is_down_and_not_up_for_a_moment_after_each_answer(
    fake_engine: FakeEngine,
) -> None:
    async with watching(fake_engine, ping_seconds=5, patience_seconds=0.1) as watched:
        await complete(watched)
        fake_engine.delay_seconds = 0.3
        await eventually_async(lambda: not watched.engine.up, "the engine seen late")
        for _ in range(50):
            assert not watched.engine.up
            await asyncio.sleep(0.02)
        fake_engine.delay_seconds = 0.0
        await eventually_async(lambda: watched.engine.up, "the engine in time again")


async def test_for_how_long_the_engine_was_silent_is_known_for_a_while(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.engine.watch._LONG_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr("exporter.engine.watch._SILENCE_KEPT_SECONDS", 2.0)
    async with watching(fake_engine, ping_seconds=5) as watched:
        await complete(watched)
        await eventually_async(lambda: watched.watch.silent_seconds < 0.3, "answers")
        fake_engine.stalled["_ping"] = asyncio.Event()
        await eventually_async(lambda: watched.watch.silent_seconds > 0.5, "the silence")
        fake_engine.stalled.pop("_ping").set()
        await asyncio.sleep(0.3)
        assert watched.watch.silent_seconds > 0.5
        await eventually_async(lambda: watched.watch.silent_seconds < 0.3, "the silence forgotten")


async def test_a_list_that_fails_again_and_again_is_told_once_and_its_recovery_too(
    fake_engine: FakeEngine,
) -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    async with watching(fake_engine) as watched:
        await complete(watched)
        fake_engine.failing["networks"] = (200, '[{"Id": "ab')
        await eventually_async(lambda: fake_engine.calls["networks"] > 3, "some tries")
        assert stream.getvalue().count("engine can't list") == 1
        fake_engine.failing.clear()
        await eventually_async(lambda: "engine lists again" in stream.getvalue(), "the line of the recovery")
        assert stream.getvalue().count("kind=network") == 2


async def test_a_stream_that_never_lasts_is_opened_ever_more_slowly(fake_engine: FakeEngine) -> None:
    fake_engine.failing["events"] = (200, "")
    async with watching(fake_engine) as watched:
        await complete(watched)
        opened = watched.watch.stream_openings
        await asyncio.sleep(1)
        # Every 0.1 s, not every 0.02 s.
        assert watched.watch.stream_openings - opened <= 11
        fake_engine.failing.clear()
        await eventually_async(lambda: watched.watch.stream_connected, "the stream open", 1)
