"""The HTTP server: the metrics page, health, readiness and the status page; GET and HEAD only."""

import asyncio
import errno
import logging
import math
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiohttp import http_exceptions, web

from exporter import __version__
from exporter.logs import get_logger
from exporter.metrics.negotiation import accepts_gzip, choose_format
from exporter.metrics.page import Page
from exporter.settings import ListenAddress, WebSettings
from exporter.web.status import StatusRow, render_status

_SMALLEST_COMPRESSED_BYTES = 1024
_LARGEST_ON_LOOP_BYTES = 65536
_SHUTDOWN_SECONDS = 0.8
"""For answers that are under way; aiohttp then waits as long again for those that don't get on."""

_IDLE_SECONDS = 75.0
"""A connection without a whole request for longer is closed; Prometheus keeps one from scrape to scrape."""

_SEND_SECONDS = 30.0
"""A client that has not taken its answer by then is cut off."""


_LEAST_CONNECTIONS = 256
_CONNECTIONS_SHARE = 4
"""Connections may take a quarter of the files that may be open, and no more than these or two for each request."""

_LACKS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_QUIET_SECONDS = 60.0


class Site(Protocol):
    """What there is to serve."""

    async def page(self) -> Page:
        """The metrics page, fresh enough for a scrape."""

    def ready(self) -> bool:
        """Whether the first full inventory and poll are done."""

    def status(self) -> Sequence[StatusRow]:
        """What a person wants to know at a glance."""


class ListenError(Exception):
    """An address can't be listened on; the message names it, the reason and the flag."""


class Server:
    """Serves one site on all its addresses."""

    def __init__(self, settings: WebSettings, site: Site, count: Callable[[str], None]) -> None:
        """`count` is called with the HTTP status of each answer to a request for the metrics page."""
        self._settings = settings
        self._site = site
        self._count = count
        self._requests = 0
        self._busy: set[web.RequestHandler] = set()
        self._lacked_at = -math.inf

    async def run(self, started: Callable[[Sequence[str]], None] = lambda _urls: None) -> None:
        """Serve until cancelled; scrapes that are under way then are still answered.

        `started` is called with the addresses of the metrics page once all are listened on.

        Raises ListenError if one can't be.
        """
        application = web.Application()
        application.router.add_get(self._settings.telemetry_path, self._metrics)
        application.router.add_get("/-/healthy", self._healthy)
        application.router.add_get("/-/ready", self._ready)
        if self._settings.telemetry_path != "/":
            application.router.add_get("/", self._status)
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_library_logger(),
            shutdown_timeout=_SHUTDOWN_SECONDS,
            keepalive_timeout=_IDLE_SECONDS,
        )
        await runner.setup()
        if runner.server is not None:
            self._bound_connections(runner.server)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell)
        try:
            urls = [
                _url(address.host, await _listen(runner, address), self._settings.telemetry_path)
                for address in self._settings.listen_address
            ]
            started(urls)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
            loop.set_exception_handler(None)

    def _bound_connections(self, server: web.Server) -> None:
        """Close the connection that idles longest where there are too many; a scraper opens its own again."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = min(max(_LEAST_CONNECTIONS, 2 * self._settings.max_requests), limit // _CONNECTIONS_SHARE)
        accept = server.connection_made

        def accepted(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
            accept(handler, transport)
            living = [other for other in server.connections if other.transport is not None]
            if len(living) > most:
                idle = next((other for other in living if other not in self._busy and other is not handler), None)
                if idle is not None:
                    idle.force_close()
                else:
                    transport.abort()

        server.connection_made = accepted  # type: ignore[method-assign]  # there is no other way to be told

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say once that no more connections can be accepted; asyncio says so a hundred times a second."""
        error = context.get("exception")
        if "socket" not in context or not isinstance(error, OSError) or error.errno not in _LACKS:
            loop.default_exception_handler(context)
            return
        now = time.monotonic()
        if now - self._lacked_at > _QUIET_SECONDS:
            get_logger().warning("connections can't be accepted", reason=error.strerror)
        self._lacked_at = now

    async def _metrics(self, request: web.Request) -> web.Response:
        limit = self._settings.max_requests
        if self._requests >= limit:
            self._count("503")
            return web.Response(
                status=503,
                text=f"{limit} requests are being answered already (--web.max-requests); try again.\n",
                headers={"Retry-After": "1"},
            )
        self._requests += 1
        self._busy.add(request.protocol)
        try:
            response = await self._answer(request)
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await response.prepare(request)
                    await response.write_eof()
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                self._count("408")
            except ConnectionResetError:  # it hung up meanwhile
                self._count("499")
            else:
                self._count("200")
        finally:
            self._requests -= 1
            self._busy.discard(request.protocol)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        page = await self._site.page()
        form = choose_format(request.headers.get("Accept", ""))
        body = page.in_format(form)
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if len(body) >= _SMALLEST_COMPRESSED_BYTES and accepts_gzip(request.headers.get("Accept-Encoding", "")):
            large = len(body) > _LARGEST_ON_LOOP_BYTES
            body = await asyncio.to_thread(page.compressed, form) if large else page.compressed(form)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="The exporter is healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._site.ready():
            return web.Response(text="The exporter is ready.\n")
        return web.Response(
            status=503, text="Not ready: waiting for the engine's first full inventory and poll.\n"
        )

    async def _status(self, _request: web.Request) -> web.Response:
        text = render_status(__version__, self._settings.telemetry_path, self._site.status())
        return web.Response(
            text=text,
            content_type="text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )


def _library_logger() -> logging.Logger:
    """What aiohttp logs to: all but what clients do, who could otherwise fill the log with garbage requests."""

    def is_ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (http_exceptions.HttpProcessingError, ConnectionError))

    logger = logging.getLogger("exporter.web")
    logger.filters = [is_ours]
    return logger


def log_addresses(urls: Sequence[str]) -> None:
    """Say where to look."""
    for url in urls:
        get_logger().info("serving metrics", url=url)


async def _listen(runner: web.AppRunner, address: ListenAddress) -> int:
    """Listen, and return the port: the one asked for, or the one that the system chose for port 0."""
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except (OSError, UnicodeError) as error:  # the latter of a host that is no name in DNS
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(
            f"can't listen on {address}: {reason}; choose another address with --web.listen-address"
        ) from None
    port: int = runner.addresses[-1][1]
    return port


def _url(host: str | None, port: int, path: str) -> str:
    if host in (None, "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://{f'[{host}]' if host and ':' in host else host}:{port}{path}"
