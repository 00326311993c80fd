"""Keeps the inventory true: connects, reads events first, lists, follows, reconnects, and says how that goes.

The reader of the stream only appends to a queue: a reader that stalls costs every client of the engine 100 ms
an event once 1,024 are unread, and then loses events silently (moby: daemon/events/events.go, pubsub).
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from exporter.engine.api import Engine, EngineError, EngineUnavailableError
from exporter.engine.events import Ledger, affected_by
from exporter.engine.kinds import KindWatch, Objects, Pace
from exporter.engine.parse import Event
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Network, Volume
from exporter.logs import get_logger

_MOST_QUEUED = 100_000
_LONG_SILENCE_SECONDS = 10.0
_SILENCE_KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Times in seconds."""

    first_retry_seconds: float = 0.2
    last_retry_seconds: float = 3.0
    heartbeat_seconds: float = 2.0
    replay_seconds: float = 2.0
    pace: Pace = field(default_factory=Pace)


class Watch:
    """The inventory's only writer."""

    def __init__(self, engine: Engine, inventory: Inventory, options: WatchOptions | None = None) -> None:
        self._engine = engine
        self._inventory = inventory
        self._options = options or WatchOptions()
        self._queue: deque[Event] = deque()
        self._queued = asyncio.Event()
        self._reported_up: bool | None = None
        self._losing = False
        self._first_since = 0.0
        self._opened_at = 0.0
        self._heard_at = time.monotonic()
        self._silence = 0.0
        self.ledger = Ledger()
        self.drift: Counter[str] = Counter({"container": 0, "network": 0, "volume": 0})
        self.stream_connected = False
        self.stream_openings = 0
        pace = self._options.pace
        self._kinds: dict[str, KindWatch[Container] | KindWatch[Network] | KindWatch[Volume]] = {
            "container": KindWatch(_containers(engine, inventory), self.drift, pace),
            "network": KindWatch(_networks(engine, inventory), self.drift, pace),
            "volume": KindWatch(_volumes(engine, inventory), self.drift, pace),
        }

    @property
    def silent_seconds(self) -> float:
        """For how long the engine has not answered, or had not until a minute ago: what it then told is new."""
        now = time.monotonic()
        return max(now - self._heard_at, self._silence)

    async def run(self) -> None:
        """Follow the engine for ever, also when it comes late, goes and comes back."""
        retry = self._options.first_retry_seconds
        while True:
            started = time.monotonic()
            async with _engine_errors() as failure:
                await self._follow_engine()
            self._report_down(failure.reason)
            if time.monotonic() - started > self._options.last_retry_seconds:
                retry = self._options.first_retry_seconds
            await asyncio.sleep(retry * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not cryptography
            retry = min(retry * 2, self._options.last_retry_seconds)

    async def _follow_engine(self) -> None:
        info, now = await self._engine.connect()
        self._hear()
        self._inventory.put_engine(info)
        self._first_since = self._first_since or now
        async with asyncio.TaskGroup() as group:
            opened = asyncio.Event()
            group.create_task(self._read_events(opened), name="event stream")
            group.create_task(self._reduce_events(), name="events")
            group.create_task(self._heartbeat(), name="heartbeat")
            await opened.wait()
            self._report_up()
            for kind, watch in self._kinds.items():
                group.create_task(watch.run(), name=f"watch {kind}s")

    async def _read_events(self, opened: asyncio.Event) -> None:
        """Read the stream, and open it again when it ends, as long as the engine answers.

        At once, where a proxy cut it after a while; ever later, where it never lasts.
        """
        retry = self._options.first_retry_seconds
        while True:
            started = time.monotonic()
            since = self.ledger.resume_point(self._first_since)
            try:
                async with self._engine.events(since) as events:
                    self.ledger.reopened()
                    self._opened_at = time.monotonic()
                    self.stream_connected = True
                    self.stream_openings += 1
                    if opened.is_set():
                        self._relist()
                    opened.set()
                    async for event in events:
                        if len(self._queue) < _MOST_QUEUED:
                            self._queue.append(event)
                        else:
                            self._overflow()
                        self._queued.set()
            except EngineUnavailableError as error:
                get_logger().debug("event stream broke", reason=str(error))
            finally:
                self.stream_connected = False
            if time.monotonic() - started > self._options.last_retry_seconds:
                retry = self._options.first_retry_seconds
            # Other connections may have been cut with it: the ping after this doesn't take one of them any more.
            await asyncio.sleep(retry)
            retry = min(retry * 2, self._options.last_retry_seconds)
            await self._engine.ping()

    async def _reduce_events(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._options.replay_seconds):
                    await self._queued.wait()
            except TimeoutError:
                is_over = time.monotonic() - self._opened_at >= self._options.replay_seconds
                if self.stream_connected and is_over and self.ledger.replay_ended():
                    get_logger().warning("events were lost", reason="the engine no longer has them")
                    self._relist()
                continue
            self._queued.clear()
            if time.monotonic() - self._opened_at >= self._options.replay_seconds:
                self.ledger.stream_is_live()
            gaps = self.ledger.gaps
            while self._queue:
                self._apply(self._queue.popleft())
            lost = self.ledger.gaps > gaps
            if lost:
                if not self._losing:
                    get_logger().warning(
                        "events were lost", reason="the engine has them no more, or one can't be read"
                    )
                self._relist()
                # A stream of nonsense must not make lists follow each other without a pause.
                await asyncio.sleep(self._options.first_retry_seconds)
            self._losing = lost

    def _overflow(self) -> None:
        """Give up what is queued: a list tells more than so many events."""
        get_logger().warning("events were lost", reason=f"more than {_MOST_QUEUED} came at once")
        self._queue.clear()
        self.ledger.gaps += 1
        self._relist()

    def _apply(self, event: Event) -> None:
        if not self.ledger.accept(event):
            return
        affected = affected_by(event)
        for kind, key in affected.objects:
            self._kinds[kind].touch(key)
        if affected.everything:
            self._kinds[affected.everything].relist()

    def _relist(self) -> None:
        for watch in self._kinds.values():
            watch.relist()

    async def _heartbeat(self) -> None:
        """A frozen engine and a half-open connection give no other sign.

        An answer that is late is told before it is given up, and only one in time ends that.
        """
        patience = self._engine.patience_seconds
        while True:
            await asyncio.sleep(self._options.heartbeat_seconds)
            started = time.monotonic()
            late = asyncio.get_running_loop().call_later(
                patience, self._report_down, "it leaves a ping unanswered"
            )
            try:
                await self._engine.ping()
            finally:
                late.cancel()
            self._hear()
            if time.monotonic() - started <= patience:
                self._report_up()

    def _hear(self) -> None:
        now = time.monotonic()
        silence, self._heard_at = now - self._heard_at, now
        if silence > _LONG_SILENCE_SECONDS:
            self._silence = silence
            asyncio.get_running_loop().call_later(_SILENCE_KEPT_SECONDS, self._forget_silence)

    def _forget_silence(self) -> None:
        self._silence = 0.0

    def _report_up(self) -> None:
        if self._reported_up is not True:
            self._reported_up = True
            info = self._inventory.engine
            get_logger().info(
                "engine connected",
                host=self._engine.host,
                version=info.version if info else "",
                api_version=info.api_version if info else "",
            )

    def _report_down(self, reason: str) -> None:
        if self._reported_up is not False:
            self._reported_up = False
            get_logger().warning("engine unreachable", host=self._engine.host, reason=reason)


class _Failure:
    reason = ""


@asynccontextmanager
async def _engine_errors() -> AsyncIterator[_Failure]:
    """Keep the reason why the engine can't be followed; anything else goes on its way."""
    failure = _Failure()
    try:
        yield failure
    except EngineError as error:
        failure.reason = str(error)
    except ExceptionGroup as group:
        engine_errors, others = group.split(EngineError)
        if others is not None:
            raise
        failure.reason = str(_first(engine_errors))


def _first(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _containers(engine: Engine, inventory: Inventory) -> Objects[Container]:
    return Objects(
        kind="container",
        list_all=engine.list_containers,
        fetch=engine.container,
        key=lambda container: container.id,
        same=_same_container,
        known=lambda: inventory.containers,
        put=inventory.put_container,
        remove=inventory.remove_container,
        listed=lambda: inventory.mark_listed("container"),
        listed_whole=False,
    )


def _networks(engine: Engine, inventory: Inventory) -> Objects[Network]:
    return Objects(
        kind="network",
        list_all=engine.list_networks,
        fetch=engine.network,
        key=lambda network: network.id,
        same=lambda known, listed: known == listed,
        known=lambda: inventory.networks,
        put=inventory.put_network,
        remove=inventory.remove_network,
        listed=lambda: inventory.mark_listed("network"),
        listed_whole=True,
    )


def _volumes(engine: Engine, inventory: Inventory) -> Objects[Volume]:
    return Objects(
        kind="volume",
        list_all=engine.list_volumes,
        fetch=engine.volume,
        key=lambda volume: volume.name,
        # Its time of creation is really the last change of its root directory (moby: volume/local).
        same=lambda known, listed: replace(known, created_at=listed.created_at) == listed,
        known=lambda: inventory.volumes,
        put=inventory.put_volume,
        remove=inventory.remove_volume,
        listed=lambda: inventory.mark_listed("volume"),
        listed_whole=True,
    )


def _same_container(known: Container, listed: Container) -> bool:
    """Whether a list's entry shows nothing new; what a list lacks, or words otherwise, can't be compared."""

    def attachments(container: Container) -> set[tuple[str, str, str, str]]:
        return {
            (endpoint.network_id, endpoint.endpoint_id, endpoint.ipv4, endpoint.ipv6)
            for endpoint in container.endpoints
        }

    return (
        known.name == listed.name
        and known.state == listed.state
        and known.health == listed.health
        and attachments(known) == attachments(listed)
        and {(mount.volume, mount.destination) for mount in known.mounts}
        == {(mount.volume, mount.destination) for mount in listed.mounts}
    )
