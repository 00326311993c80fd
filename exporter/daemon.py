"""Builds the parts, supervises their tasks, and knows when the exporter is ready; it knows no details."""

import asyncio
import contextlib
import math
import os
import re
import signal
import time
from collections.abc import Sequence

from exporter import __version__
from exporter.engine.api import Engine, EngineOptions
from exporter.engine.collector import EngineCollector
from exporter.engine.transport import TlsFiles
from exporter.engine.watch import Watch, WatchOptions
from exporter.inventory.inventory import Inventory
from exporter.inventory.visibility import NameFilter, Visibility
from exporter.logs import get_logger
from exporter.memory import share_arenas
from exporter.metrics.instruments import Instruments
from exporter.metrics.page import Format, Page, make_page
from exporter.metrics.runner import Runner
from exporter.metrics.samples import Collector, FamilySamples
from exporter.network.choice import Choice, choose_source, is_engine_here
from exporter.network.collector import NetworkCollector
from exporter.network.engine_stats import EngineSource
from exporter.network.procfs import ProcfsSource, raise_descriptor_limit
from exporter.network.rtt import RttCollector
from exporter.network.source import CounterSource
from exporter.network.tcp import TcpCollector
from exporter.settings import REVISION_VARIABLE, NamePattern, Settings
from exporter.supervision import Supervisor
from exporter.volume.collector import VolumeCollector
from exporter.volume.measuring import Measuring
from exporter.volume.state import VolumeOptions
from exporter.web.server import ListenError, Server, log_addresses
from exporter.web.status import StatusRow

SCRAPE_FRESHNESS_SECONDS = 1.0
"""A scrape that finds counters older than this polls first, where that takes milliseconds."""

CHANGE_FRESHNESS_SECONDS = 0.1
"""Likewise, where containers or networks changed since: they are to be seen at once."""

_PAGE_SECONDS = 0.2
_HEARTBEAT_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
_LEAST_PATIENCE_SECONDS = 0.5
_ENGINE_SOURCE_SECONDS = 10.0
_VOLUME_LIST_PATIENCE_SECONDS = 5.0
_ONCE_PATIENCE_SECONDS = 15.0


class Daemon:
    """The exporter."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._instruments = Instruments(os.environ.get(REVISION_VARIABLE, ""))
        self._runner = Runner()
        self._inventory = Inventory()
        # docker_engine_up is to be true within one poll: a ping is sent and missed in that time.
        heartbeat = min(0.4 * settings.poll.interval, _HEARTBEAT_SECONDS)
        patience = min(0.6 * settings.poll.interval, _PATIENCE_SECONDS)
        self._engine = Engine(
            EngineOptions(
                host=settings.engine.host,
                tls=TlsFiles(settings.engine.tls_ca, settings.engine.tls_cert, settings.engine.tls_key),
                patience_seconds=max(patience, _LEAST_PATIENCE_SECONDS),
            ),
            self._instruments.observe_request,
        )
        self._watch = Watch(self._engine, self._inventory, WatchOptions(heartbeat_seconds=heartbeat))
        visibility = _visibility(settings)
        self._network = NetworkCollector(self._inventory, visibility, settings.path.procfs)
        self._network.follower.silent_seconds = lambda: self._watch.silent_seconds
        self._volumes = Measuring(
            self._inventory,
            _volume_options(settings),
            self._runner.watch,
            self._engine,
            self._is_engine_here,
        )
        self._collectors: tuple[Collector, ...] = (
            EngineCollector(self._engine, self._watch, self._inventory, visibility),
            self._network,
            VolumeCollector(self._inventory, self._volumes, settings.path.rootfs, visibility),
            self._instruments,
        )
        tcp = TcpCollector(self._inventory, visibility) if settings.collector.tcp else None
        self._rtt = RttCollector(self._inventory, visibility) if settings.collector.rtt else None
        # What reads the namespaces that the procfs source has open, after it and at a pace of its own.
        self._companions = [companion for companion in (tcp, self._rtt) if companion is not None]
        self._companions_polled_at: dict[str, float] = {}
        self._collectors = (*self._collectors, *self._companions)
        self._procfs = ProcfsSource(settings.path.procfs)
        self._engine_source = EngineSource(self._engine, time.time())
        self._choice: Choice | None = None
        self._choice_generation = -1
        self._was_engine_here = False
        self._polling = asyncio.Lock()
        self._rendering = asyncio.Lock()
        self._page: Page | None = None
        self._page_at = 0.0
        self._complete_at: float | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ListenError if an address can't be listened on, and whatever ends one of its tasks: half a
        monitor is worse than one that its supervisor starts again.
        """
        raise_descriptor_limit()
        share_arenas()
        get_logger().info("starting", version=__version__, engine=self._engine.host)
        server = Server(self._settings.web, self, self._count_scrape)
        supervisor = Supervisor()

        def serving(urls: Sequence[str]) -> None:
            log_addresses(urls)
            supervisor.notify("READY=1", f"STATUS=serving {', '.join(urls)}")

        refused: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_until_signal(), name="signals")
                group.create_task(server.run(serving), name="web server")
                group.create_task(supervisor.keep_alive(), name="watchdog")
                group.create_task(self._watch.run(), name="watch")
                group.create_task(self._network.follower.run(), name="link messages")
                group.create_task(self._poll_forever(), name="poller")
                group.create_task(self._measure_volumes(), name="volumes")
        except* _StopRequested as stop:
            get_logger().info("stopping", reason=str(stop.exceptions[0]))
            supervisor.notify("STOPPING=1")
        except* ListenError as listening:
            refused = listening.exceptions[0]
        finally:
            await self._close()
        if refused is not None:
            raise refused

    async def once(self) -> tuple[bytes, bool]:
        """Measure everything once; the page, and whether the engine could be reached."""
        raise_descriptor_limit()
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch.run(), name="watch")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ONCE_PATIENCE_SECONDS):
                        await self._first_inventory()
                if self._inventory.complete:
                    await self._poll()
                    await self._volumes.measure_all()
                page = await self.page()
                watch.cancel()
        finally:
            await self._close()
        return page.in_format(Format.TEXT), self._inventory.complete

    async def page(self) -> Page:
        """The page, at most a moment old; made once however many scrapers ask."""
        async with self._rendering:
            if self._page is None or time.monotonic() - self._page_at > _PAGE_SECONDS:
                if self._network.polled_at is not None and self._source().fast:
                    changed = self._network.polled_generation != self._inventory.generation
                    await self._poll(CHANGE_FRESHNESS_SECONDS if changed else SCRAPE_FRESHNESS_SECONDS)
                await asyncio.to_thread(self._instruments.read_process)
                self._page = make_page(self._samples(), self._settings.limit.series)
                self._page_at = time.monotonic()
                self._instruments.page_series = self._page.series
                self._instruments.page_bytes = len(self._page.in_format(Format.TEXT))
            return self._page

    def ready(self) -> bool:
        """Whether the first inventory and poll are done; a list of volumes that hangs is not waited for."""
        if self._complete_at is None or self._network.polled_at is None:
            return False
        waited = time.monotonic() - self._complete_at
        return self._inventory.volumes_listed or waited > _VOLUME_LIST_PATIENCE_SECONDS

    def status(self) -> Sequence[StatusRow]:
        """What a person wants to know at a glance."""
        info = self._inventory.engine
        rows = [
            StatusRow(
                "Docker engine",
                f"{self._engine.host}, version {info.version}, API {info.api_version}"
                if info
                else self._engine.host,
                self._engine.up,
            ),
            StatusRow(
                "Event stream", "open" if self._watch.stream_connected else "closed", self._watch.stream_connected
            ),
        ]
        if self._choice is not None:
            rows.append(StatusRow("Traffic counters", f"{self._choice.source}: {self._choice.reason}"))
        for name in ("network", "volume"):
            success = self._runner.succeeded(name)
            rows.append(StatusRow(f"Collector {name}", "works" if success else "no successful round", success))
        running = sum(container.is_running for container in self._inventory.containers.values())
        return [
            *rows,
            StatusRow("Containers", f"{len(self._inventory.containers)}, of these {running} running"),
            StatusRow("Networks", str(len(self._inventory.networks))),
            StatusRow("Volumes", str(len(self._inventory.volumes))),
        ]

    def _count_scrape(self, code: str) -> None:
        self._instruments.scrapes[code] += 1

    def _samples(self) -> list[FamilySamples]:
        collected: list[FamilySamples] = []
        for collector in self._collectors:
            with self._runner.watch(collector.name, failures_only=True):
                # Whole before it is taken over: half a collector is not shown.
                collected += [(family, list(values)) for family, values in collector.samples()]
        return collected + list(self._runner.samples())

    async def _measure_volumes(self) -> None:
        # Whether the files of the engine's volumes are here is told by its containers.
        await self._first_inventory(volumes=False)
        await self._volumes.run()

    async def _poll_forever(self) -> None:
        await self._first_inventory(volumes=False)
        while True:
            await self._poll()
            interval = float(self._settings.poll.interval)
            if not self._source().fast:
                interval = max(interval, _ENGINE_SOURCE_SECONDS)
            last = self._network.polled_at
            elapsed = time.monotonic() - last if last is not None else 0.0
            # A scrape may have polled meanwhile: the next poll is due an interval after the last one.
            await asyncio.sleep(max(interval - elapsed, 0.0) if elapsed < interval else interval)

    async def _poll(self, freshness_seconds: float = 0.0) -> None:
        """Poll, unless the last poll is fresh enough; never twice at a time."""
        async with self._polling:
            last = self._network.polled_at
            if last is None or time.monotonic() - last > freshness_seconds:
                with self._runner.watch(self._network.name):
                    await self._choose_source()
                    await self._network.poll(self._source())
                if self._source() is self._procfs:
                    await self._poll_companions()

    async def _poll_companions(self) -> None:
        now = time.monotonic()
        for companion in self._companions:
            if now - self._companions_polled_at.get(companion.name, -math.inf) >= companion.interval_seconds:
                self._companions_polled_at[companion.name] = now
                with self._runner.watch(companion.name):
                    await companion.poll(self._procfs)

    async def _choose_source(self) -> None:
        """Choose anew where the inventory changed; the reads of /proc for it stay off the loop."""
        if self._choice_generation == self._inventory.generation:
            return
        generation, wanted = self._inventory.generation, self._settings.network.source
        choice = await asyncio.to_thread(
            choose_source, wanted, self._inventory, self._procfs.sees, before=self._choice
        )
        if self._choice is None or choice.source != self._choice.source:
            get_logger().info("traffic source chosen", source=choice.source, reason=choice.reason)
        self._choice, self._choice_generation = choice, generation

    def _is_engine_here(self) -> bool:
        """Whether the engine's host is this one; once seen it stays so, also while no container runs."""
        self._was_engine_here = self._was_engine_here or is_engine_here(
            self._engine.host, self._inventory, self._procfs.sees
        )
        return self._was_engine_here

    def _source(self) -> CounterSource:
        procfs = self._choice is None or self._choice.source == "procfs"
        return self._procfs if procfs else self._engine_source

    async def _first_inventory(self, *, volumes: bool = True) -> None:
        while not (self._inventory.complete and (self._inventory.volumes_listed or not volumes)):
            await self._inventory.changed(self._inventory.generation)
        self._complete_at = time.monotonic()

    async def _close(self) -> None:
        if self._rtt is not None:
            await self._rtt.close()
        await self._network.follower.close()
        await self._procfs.close()
        await self._engine.close()


def _visibility(settings: Settings) -> Visibility:
    return Visibility(
        NameFilter(_compiled(settings.network.include), _compiled(settings.network.exclude)),
        NameFilter(_compiled(settings.container.include), _compiled(settings.container.exclude)),
        tuple(settings.container.labels),
    )


def _volume_options(settings: Settings) -> VolumeOptions:
    volume = settings.volume
    return VolumeOptions(
        procfs=settings.path.procfs,
        rootfs=settings.path.rootfs,
        interval_seconds=volume.interval,
        max_age_seconds=volume.max_age,
        timeout_seconds=volume.timeout,
        max_share=volume.max_share,
        declared=[(declared.name.compiled, declared.bytes) for declared in volume.capacity],
        bind_mounts=_compiled(volume.bind_mounts),
        engine_usage=volume.engine_df,
    )


def _compiled(pattern: NamePattern | None) -> re.Pattern[str] | None:
    return pattern.compiled if pattern is not None else None


class _StopRequested(Exception):  # noqa: N818 - no error
    pass


async def _until_signal() -> None:
    """Wait for SIGTERM or SIGINT, then end the group of tasks that this one belongs to."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def receive(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    try:
        raise _StopRequested((await received).name)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
