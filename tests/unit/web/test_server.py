import asyncio
import errno
import gzip
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from structlog.testing import capture_logs

from exporter.metrics.catalogue import ENGINE_UP, VOLUME_USED_BYTES
from exporter.metrics.page import Page, make_page
from exporter.metrics.samples import NO_LABELS, label_set
from exporter.settings import ListenAddress, WebSettings
from exporter.web.server import ListenError, Server
from exporter.web.status import StatusRow
from tests.harness.wait import eventually_async


class FakeSite:
    is_ready = False

    async def page(self) -> Page:
        volumes = [(label_set(("volume",), (f"v{number}",)), number) for number in range(3000)]
        return make_page([(ENGINE_UP, [(NO_LABELS, 1)]), (VOLUME_USED_BYTES, volumes)])

    def ready(self) -> bool:
        return self.is_ready

    def status(self) -> Sequence[StatusRow]:
        return [StatusRow("Docker engine", "here", healthy=True)]


class LargeSite(FakeSite):
    async def page(self) -> Page:
        volumes = [(label_set(("volume",), ("v" * 500 + str(number),)), number) for number in range(30_000)]
        return make_page([(VOLUME_USED_BYTES, volumes)])


@asynccontextmanager
async def serving(
    site: FakeSite, counts: list[str] | None = None, max_requests: int = 40
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    settings = WebSettings(listen_address=[ListenAddress("127.0.0.1:0")], max_requests=max_requests)
    started: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
    server = Server(settings, site, (counts if counts is not None else []).append)
    task = asyncio.get_running_loop().create_task(server.run(started.set_result))
    try:
        [url] = await started
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            yield url.removesuffix("/metrics"), client
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_page_is_served_as_text_and_counted() -> None:
    counts: list[str] = []
    async with (
        serving(FakeSite(), counts) as (url, client),
        client.get(f"{url}/metrics", headers={"Accept-Encoding": ""}) as answer,
    ):
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"docker_engine_up 1\n" in await answer.read()
    assert counts == ["200"]


async def test_prometheus_gets_openmetrics_compressed() -> None:
    headers = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    async with serving(FakeSite()) as (url, client), client.get(f"{url}/metrics", headers=headers) as answer:
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()).endswith(b"# EOF\n")


async def test_it_is_healthy_at_once_and_ready_when_the_site_is() -> None:
    site = FakeSite()
    async with serving(site) as (url, client):
        async with client.get(f"{url}/-/healthy") as answer:
            assert answer.status == 200
        async with client.get(f"{url}/-/ready") as answer:
            assert answer.status == 503
            assert "waiting for the engine" in await answer.text()
        site.is_ready = True
        async with client.get(f"{url}/-/ready") as answer:
            assert answer.status == 200


async def test_a_person_sees_the_status_page() -> None:
    async with serving(FakeSite()) as (url, client), client.get(f"{url}/") as answer:
        assert answer.content_type == "text/html"
        assert "Docker engine" in await answer.text()


async def test_nothing_can_be_posted() -> None:
    async with serving(FakeSite()) as (url, client), client.post(f"{url}/metrics") as answer:
        assert answer.status == 405


class SlowSite(FakeSite):
    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def page(self) -> Page:
        await self.go.wait()
        return await super().page()


async def test_more_requests_at_a_time_than_allowed_are_refused_with_a_sentence() -> None:
    counts: list[str] = []
    site = SlowSite()
    async with serving(site, counts, max_requests=2) as (url, client), asyncio.TaskGroup() as group:

        async def status() -> int:
            async with client.get(f"{url}/metrics") as answer:
                return answer.status

        waiting = [group.create_task(status()) for _ in range(2)]
        await asyncio.sleep(0.1)
        async with client.get(f"{url}/metrics") as refused:
            assert refused.status == 503
            assert "2 requests are being answered already (--web.max-requests)" in await refused.text()
        site.go.set()
        assert [await task for task in waiting] == [200, 200]
        assert await status() == 200
    assert counts == ["503", "200", "200", "200"]


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.server._SEND_SECONDS", 0.2)
    counts: list[str] = []
    async with serving(LargeSite(), counts, max_requests=1) as (url, client):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually_async(lambda: counts == ["408"], "cut off")
        async with client.get(f"{url}/-/healthy") as answer:
            assert answer.status == 200
        writer.close()
        del reader


async def test_clients_that_do_not_read_hold_up_the_end_for_less_than_two_seconds() -> None:
    async with serving(LargeSite()) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        streams = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for _, writer in streams:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        ending = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - ending < 1.9
    for _, writer in streams:
        writer.close()


@pytest.mark.parametrize(
    "request_head", [b"GET /" + b"a" * 20_000, b"GET /metrics HTTP/1.1\r\nX: " + b"b" * 20_000]
)
async def test_an_oversized_request_is_refused(request_head: bytes) -> None:
    async with serving(FakeSite()) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_head + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.server._IDLE_SECONDS", 0.2)
    async with serving(FakeSite()) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metr")
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()


async def test_idle_connections_take_no_more_than_their_share_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.web.server._LEAST_CONNECTIONS", 10)
    async with serving(FakeSite(), max_requests=5) as (url, client):
        host, port = url.removeprefix("http://").split(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        async with asyncio.timeout(3):
            async with client.get(f"{url}/metrics") as answer:
                assert answer.status == 200
            for reader, _ in idle[:20]:
                assert await reader.read() == b""
        assert not idle[-1][0].at_eof()
        for _, writer in idle:
            writer.close()


async def test_that_no_connection_can_be_accepted_is_told_once() -> None:
    loop = asyncio.get_running_loop()
    async with serving(FakeSite()):
        with capture_logs() as told:
            for _ in range(100):
                error = OSError(errno.EMFILE, "Too many open files")
                loop.call_exception_handler({"message": "accept", "exception": error, "socket": None})
    assert [line["event"] for line in told] == ["connections can't be accepted"]


async def test_an_address_in_use_is_named_with_the_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server(
            WebSettings(listen_address=[ListenAddress(f"127.0.0.1:{port}")]), FakeSite(), lambda _: None
        )
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: .* --web.listen-address"):
            await server.run()


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
async def test_a_host_that_is_no_name_is_named_with_the_flag(host: str) -> None:
    server = Server(WebSettings(listen_address=[ListenAddress(f"{host}:0")]), FakeSite(), lambda _code: None)
    with pytest.raises(ListenError, match=r"--web\.listen-address"):
        await server.run()


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"GET /metrics\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /%00%ff/../metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: \xff\xfe;q=\x80\r\nAccept-Encoding: \xed\xa0\x80\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: [\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0" * 1000,
]


async def test_garbage_is_answered_or_cut_off_and_others_are_served_on(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(FakeSite()) as (url, client):
        host, _, port = url.removeprefix("http://").partition(":")
        for garbage in GARBAGE:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(garbage)
            writer.write_eof()
            async with asyncio.timeout(5):
                await reader.read()
            writer.close()
            async with client.get(f"{url}/-/healthy") as answer:
                assert answer.status == 200
    assert [record for record in caplog.records if record.exc_info] == []
