import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from prometheus_client.parser import text_string_to_metric_families

from exporter.daemon import Daemon
from exporter.metrics.catalogue import CATALOGUE, Kind
from exporter.metrics.page import Format
from exporter.settings import load
from exporter.web.server import ListenError
from tests.harness.fake_engine import FakeEngine
from tests.harness.wait import eventually_async


@asynccontextmanager
async def running(fake: FakeEngine, *flags: str) -> AsyncIterator[tuple[Daemon, str]]:
    port = _free_port()
    daemon = Daemon(load([f"--engine.host={fake.host}", f"--web.listen-address=127.0.0.1:{port}", *flags], {}))
    task = asyncio.get_running_loop().create_task(daemon.run())
    try:
        await asyncio.sleep(0.1)
        yield daemon, f"http://127.0.0.1:{port}"
    finally:
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait([task])
        assert task.cancelled(), task.exception()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


async def test_it_ends_within_two_seconds_of_sigterm(fake_engine: FakeEngine) -> None:
    flags = [f"--engine.host={fake_engine.host}", "--web.listen-address=127.0.0.1:0"]
    daemon = Daemon(load(flags, {}))
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        await eventually_async(daemon.ready, "ready")
        os.kill(os.getpid(), signal.SIGTERM)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 2


async def test_it_serves_what_the_engine_has(
    fake_engine: FakeEngine,
) -> None:
    fake_engine.add_container("web")
    fake_engine.add_network("app")
    async with running(fake_engine, "--network.source=engine") as (daemon, url):
        await eventually_async(daemon.ready, "ready")
        text = await get(f"{url}/metrics")
        assert "docker_engine_up 1\n" in text
        assert 'docker_network_info{network="app"' in text
        assert 'netvol_exporter_collector_success{collector="network"} 1\n' in text
        assert "works" in await get(f"{url}/")


async def test_without_an_engine_it_serves_that_the_engine_is_down_and_picks_it_up_later(
    fake_engine: FakeEngine,
) -> None:
    await fake_engine.stop()
    async with running(fake_engine) as (daemon, url):
        text = await get(f"{url}/metrics")
        assert "docker_engine_up 0\n" in text
        assert "docker_network" not in text
        assert "503" in (await _status(f"{url}/-/ready"))
        await fake_engine.start()
        await eventually_async(daemon.ready, "ready")
        await asyncio.sleep(0.2)  # as old as a page may be
        assert "docker_engine_up 1\n" in await get(f"{url}/metrics")


async def _status(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return str(answer.status)


async def test_every_series_is_in_the_catalogue_with_its_labels(fake_engine: FakeEngine) -> None:
    web = fake_engine.add_container("web")
    fake_engine.add_network("app")
    fake_engine.add_volume("data")
    fake_engine.emit("container", "start", web)
    families = {family.name.removesuffix("_total"): family for family in CATALOGUE}
    async with running(fake_engine, "--network.source=engine") as (daemon, url):
        await eventually_async(daemon.ready, "ready")
        for parsed in text_string_to_metric_families(await get(f"{url}/metrics")):
            if parsed.name.startswith("process_"):
                continue
            family = families[parsed.name]
            assert parsed.type == family.kind.value
            for sample in parsed.samples:
                extra = {"le"} if family.kind is Kind.HISTOGRAM else set()
                assert set(sample.labels) - extra == set(family.labels), sample


async def test_a_list_of_volumes_that_hangs_delays_readiness_by_seconds_only(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.daemon._VOLUME_LIST_PATIENCE_SECONDS", 0.3)
    fake_engine.stalled["volumes"] = asyncio.Event()
    async with running(fake_engine) as (daemon, _):
        await eventually_async(daemon.ready, "ready")
    fake_engine.stalled["volumes"].set()


async def test_many_scrapes_at_once_make_one_page(fake_engine: FakeEngine) -> None:
    async with running(fake_engine) as (daemon, _):
        await eventually_async(daemon.ready, "ready")
        pages = await asyncio.gather(*(daemon.page() for _ in range(50)))
        assert len({id(page) for page in pages}) == 1


async def test_nothing_blocks_the_loop(fake_engine: FakeEngine) -> None:
    fake_engine.add_container("web")
    fake_engine.add_volume("data")
    daemon = Daemon(load([f"--engine.host={fake_engine.host}", "--web.listen-address=127.0.0.1:0"], {}))
    with blockbuster_ctx("exporter"):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(daemon.run())
            await eventually_async(daemon.ready, "ready")
            assert "docker_engine_up 1\n" in (await daemon.page()).in_format(Format.TEXT).decode()
            task.cancel()


async def test_once_gives_the_page_and_whether_the_engine_was_reached(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine.add_network("app")
    page, reached = await Daemon(load([f"--engine.host={fake_engine.host}"], {})).once()
    assert reached
    assert b'docker_network_info{network="app"' in page
    monkeypatch.setattr("exporter.daemon._ONCE_PATIENCE_SECONDS", 0.2)
    page, reached = await Daemon(load(["--engine.host=unix:///nowhere.sock"], {})).once()
    assert not reached
    assert b"docker_engine_up 0\n" in page


async def test_an_address_in_use_ends_it_with_a_clear_error(fake_engine: FakeEngine) -> None:
    async with running(fake_engine) as (_, url):
        port = url.rpartition(":")[2]
        with pytest.raises(ListenError, match=r"--web\.listen-address"):
            await Daemon(
                load([f"--engine.host={fake_engine.host}", f"--web.listen-address=127.0.0.1:{port}"], {})
            ).run()
