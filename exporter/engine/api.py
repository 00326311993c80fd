"""The only place that knows the engine's URLs: a typed, read-only adapter over aiodocker.

It sends GET to a fixed list of paths and nothing else, each call with a time-out. It uses aiodocker for the
transports (unix, tcp with TLS, ssh) and for reading contexts of the docker client, but not its event reader, which
is silent for good once a stream died, nor its choice of the API version, which is the newest.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiodocker
import aiohttp

from exporter.engine.parse import (
    NONSENSE,
    Event,
    count_of,
    parse_container,
    parse_engine_info,
    parse_event,
    parse_listed_container,
    parse_network,
    parse_time,
    parse_volume,
    parse_volume_status,
    unreadable_event,
)
from exporter.engine.transport import Target, TlsFiles, TransportError, target, without_password
from exporter.inventory.model import Container, EngineInfo, Network, Volume
from exporter.memory import return_free_memory

DEFAULT_HOST = "unix:///var/run/docker.sock"

_NEWEST_API = (1, 51)
"""The newest API whose shapes are known here; 1.52 changes events, addresses and disk usage."""

# It logs what it raises as well, at every try.
logging.getLogger("aiodocker.ssh").setLevel(logging.CRITICAL)

_WATCHED_KINDS = ("container", "network", "volume")
_LONGEST_EVENT_BYTES = 16 * 2**20
_LONGEST_LIST_BYTES = 128 * 2**20
"""Ten thousand containers take some 40 MiB."""

_LONGEST_ANSWER_BYTES = 8 * 2**20
"""Of one object; a container takes some 10 kB."""

_LONG_ANSWER_BYTES = 2**20
_LONGEST_REASON = 300
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_CLOSE_SECONDS = 1.0
_MANY_CALLS = 100
_KEEP_ALIVE_SECONDS = 7
_KEEP_ALIVE_TRIES = 3
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEP_ALIVE_TRIES),
)
"""A stream is closed that for 28 s nobody was at the other end of (tcp(7))."""

_SSH_CALLS = 8
"""Each call is a session of the one connection, of which sshd allows 10 (MaxSessions); one more is the ping."""
_NOT_FOUND = 404
_SERVER_ERROR = 500
_NO_CONNECTION = 900
"""aiodocker's number for it."""

_LISTS = frozenset({"containers", "networks", "volumes", "disk_usage"})
_SIGNS_OF_LIFE = frozenset({"ping", "version", "info"})
"""Where these fail, the engine is not well. Elsewhere one container or plugin may be at fault."""


class EngineError(Exception):
    """The engine refused a call or answered nonsense; the message is one line."""


class EngineUnavailableError(EngineError):
    """The engine can't be reached, or did not answer in time."""


class NoAnswerError(EngineUnavailableError):
    """A call was not answered in time. Of the engine that says nothing unless the call was a ping."""


class NotFoundError(EngineError):
    """The object does not exist (any more)."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the engine is, and how long its answers may take.

    `list_volumes_seconds` is longer than the others: the engine asks every volume plugin, each of which has
    a minute (moby: volume/drivers/proxy.go), and waits for the removal of a big volume to end. An engine that has
    not answered a ping for `patience_seconds` counts as down; it is given up after `ping_seconds`.
    """

    host: str = ""
    tls: TlsFiles = field(default_factory=TlsFiles)
    connect_seconds: float = 5.0
    ping_seconds: float = 10.0
    patience_seconds: float = 3.0
    call_seconds: float = 15.0
    list_volumes_seconds: float = 65.0
    disk_usage_seconds: float = 600.0


Observer = Callable[[str, float], None]
"""Called with the endpoint's name and the duration in seconds of each call that ended."""


class Engine:
    """The Docker engine, as far as the exporter asks it. It belongs to one event loop."""

    def __init__(self, options: EngineOptions, observe: Observer = lambda _endpoint, _seconds: None) -> None:
        self._options = options
        self._observe = observe
        self._calls: aiodocker.Docker | None = None
        self._stream: aiodocker.Docker | None = None
        self._answers = False
        self._asked_at: float | None = None
        self._is_slow = False
        self._read_much = False
        self._slots = asyncio.Semaphore(_MANY_CALLS)

    @property
    def patience_seconds(self) -> float:
        """How long an engine that is well may leave a ping unanswered."""
        return self._options.patience_seconds

    @property
    def up(self) -> bool:
        """Whether the engine can be reached, and has not left a ping unanswered for longer than is usual.

        One call that takes long says nothing: an engine lists volumes only when its slowest plugin has answered.
        """
        waiting = time.monotonic() - self._asked_at if self._asked_at is not None else 0.0
        return self._answers and not self._is_slow and waiting <= self._options.patience_seconds

    @property
    def host(self) -> str:
        """The address in use, or the one that would be tried."""
        client = self._calls
        found = client._connection_info if client else _usual_host()  # noqa: SLF001 - `docker_host` is not the address for unix sockets
        return without_password(self._options.host or found)

    async def connect(self) -> tuple[EngineInfo, float]:
        """Find the engine, agree on an API version, and ask what it is.

        Returns what it says of itself and its clock in seconds since the epoch, from which events are wanted.

        Raises EngineUnavailableError or EngineError.
        """
        await self.close()
        try:
            there = await asyncio.to_thread(target, self._options.host, self._options.tls)
        except TransportError as error:
            self._answers = False
            raise EngineUnavailableError(str(error)) from None
        self._calls, self._stream = self._client(there), self._client(there)
        self._slots = asyncio.Semaphore(_SSH_CALLS if self.host.startswith("ssh:") else _MANY_CALLS)
        version = await self._get("version", "version", versioned=False)
        with _answers():
            api = negotiate(str(version.get("ApiVersion") or ""), str(version.get("MinAPIVersion") or ""))
        self._calls.api_version = self._stream.api_version = f"v{api}"
        info = await self._get("info", "info")
        with _answers():
            return parse_engine_info(version, info, api), parse_time(info.get("SystemTime")) or time.time()

    async def close(self) -> None:
        """Close all connections."""
        clients, self._calls, self._stream = (self._calls, self._stream), None, None
        # ssh says goodbye, and waits for the answer of an engine that may be gone.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(client.close() for client in clients if client is not None))

    async def ping(self) -> None:
        """Ask for a sign of life.

        Raises EngineUnavailableError or EngineError if there is none.
        """
        self._asked_at = asked_at = time.monotonic()
        try:
            await self._get("_ping", "ping", seconds=self._options.ping_seconds, versioned=False, text=True)
            # Down until an answer is in time, and not up for a moment after each that was late.
            self._is_slow = time.monotonic() - asked_at > self._options.patience_seconds
        except EngineUnavailableError:
            self._answers = False
            raise
        finally:
            self._asked_at = None
        if self._read_much:
            self._read_much = False
            await asyncio.to_thread(return_free_memory)

    async def list_containers(self) -> list[Container]:
        """All containers as the list shows them: without pid, time of start and restarts."""
        answer = await self._get("containers/json", "containers", params={"all": "1"})
        with _answers():
            return [parse_listed_container(entry) for entry in answer]

    async def container(self, container_id: str) -> Container:
        """One container, whole. Raises NotFoundError if it is gone."""
        answer = await self._get(f"containers/{_segment(container_id)}/json", "container")
        with _answers():
            return parse_container(answer)

    async def list_networks(self) -> list[Network]:
        """All networks."""
        answer = await self._get("networks", "networks")
        with _answers():
            return [parse_network(entry) for entry in answer]

    async def network(self, network_id: str) -> Network:
        """One network. Raises NotFoundError if it is gone."""
        answer = await self._get(f"networks/{_segment(network_id)}", "network")
        with _answers():
            return parse_network(answer)

    async def list_volumes(self) -> list[Volume]:
        """All volumes. It can take a minute: a plugin may be dead, or a big volume is being removed."""
        answer = await self._get("volumes", "volumes", seconds=self._options.list_volumes_seconds)
        with _answers():
            return [parse_volume(entry) for entry in answer.get("Volumes") or []]

    async def volume(self, name: str) -> Volume:
        """One volume. Raises NotFoundError if it is gone."""
        path = f"volumes/{_segment(name)}"
        answer = await self._get(path, "volume", seconds=self._options.list_volumes_seconds)
        with _answers():
            return parse_volume(answer)

    async def volume_status(self, name: str) -> Mapping[str, float]:
        """The numbers that a volume's plugin tells of it, by name; a list of volumes lacks them."""
        path = f"volumes/{_segment(name)}"
        answer = await self._get(path, "volume", seconds=self._options.list_volumes_seconds)
        with _answers():
            return parse_volume_status(answer)

    async def volume_usage(self) -> Mapping[str, int]:
        """Apparent bytes of local volumes without driver options, by the engine's own walk.

        From API 1.42 on only volumes are walked; before, the engine walks images and containers too, and
        refuses a second caller meanwhile. Volumes that the engine does not tell of are absent.
        """
        answer = await self._get(
            "system/df", "disk_usage", params={"type": "volume"}, seconds=self._options.disk_usage_seconds
        )
        with _answers():
            return {
                str(volume["Name"]): count_of(volume["UsageData"]["Size"])
                for volume in answer.get("Volumes") or []
                if (volume.get("UsageData") or {}).get("Size", -1) >= 0
            }

    async def stats(self, container_id: str) -> Mapping[str, Any]:
        """One sample of a container's statistics, without waiting for a second one.

        Raises EngineError if the engine answered 200 with an error instead of a sample, as 27.0 and later do.
        """
        path = f"containers/{_segment(container_id)}/stats"
        answer = await self._get(path, "stats", params={"stream": "0", "one-shot": "1"})
        with _answers():
            read = str(answer.get("read") or "")
        if not read or read.startswith("0001"):
            raise EngineError(_one_line(str(answer.get("message") or "the engine has no sample of the container")))
        sample: Mapping[str, Any] = answer
        return sample

    def events(self, since: float | str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Open the stream of events of containers, networks and volumes since a time (inclusive).

        `since` is in seconds since the epoch, as a number or in the form `seconds.nanoseconds`. The iterator
        ends when the engine or a proxy closes the stream. A line that can't be read is an event of the kind
        UNREADABLE: the stream goes on, for opened again it would begin with the same line.

        Raises EngineUnavailableError if the stream can't be opened or breaks.
        """
        text = since if isinstance(since, str) else f"{since:.9f}"
        return self._open_events(text)

    @asynccontextmanager
    async def _open_events(self, since: str) -> AsyncIterator[AsyncIterator[Event]]:
        if self._stream is None:
            raise EngineUnavailableError("not connected")
        params = {"since": since, "filters": json.dumps({"type": list(_WATCHED_KINDS)})}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._options.connect_seconds)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._options.call_seconds):
                response = await self._stream._do_query("events", "GET", params=params, timeout=timeout)  # noqa: SLF001 - see the module
        except aiodocker.DockerError as error:
            raise _translated(error) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EngineUnavailableError(_reason(error)) from None
        except NONSENSE as error:
            raise EngineError(f"the engine's answer to events can't be read: {_reason(error)}") from None
        finally:
            self._observe("events", time.monotonic() - started)
        try:
            _notice_half_open(response, self._stream)
            yield _events_of(response.content)
        finally:
            response.close()

    def _client(self, there: Target) -> aiodocker.Docker:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._options.connect_seconds)
        try:
            return aiodocker.Docker(url=there.url, ssl_context=there.tls, timeout=timeout)
        except AssertionError:
            # aiodocker found neither DOCKER_HOST nor a socket; the engine may come later.
            return aiodocker.Docker(url=DEFAULT_HOST, timeout=timeout)
        except aiodocker.DockerError as error:
            # A context that can't be read, or ssh without what it needs.
            self._answers = False
            raise EngineUnavailableError(
                _one_line(error.message).replace("aiodocker[", "netvol-exporter[")
            ) from None
        except (ValueError, OSError) as error:
            self._answers = False
            raise EngineUnavailableError(_reason(error)) from None

    async def _get(  # noqa: PLR0913 - the parameters of a request
        self,
        path: str,
        endpoint: str,
        *,
        params: Mapping[str, str] | None = None,
        seconds: float | None = None,
        versioned: bool = True,
        text: bool = False,
    ) -> Any:
        client = self._calls
        if client is None:
            raise EngineUnavailableError("not connected")
        slot = contextlib.nullcontext() if endpoint == "ping" else self._slots
        started = time.monotonic()
        response = None
        try:
            async with slot, asyncio.timeout(seconds or self._options.call_seconds):
                response = await client._do_query(path, "GET", params=params, versioned_api=versioned)  # noqa: SLF001 - see the module
                try:
                    longest = _LONGEST_LIST_BYTES if endpoint in _LISTS else _LONGEST_ANSWER_BYTES
                    body = await _body(response.content, longest)
                finally:
                    response.release()
                self._read_much |= len(body) > _LONG_ANSWER_BYTES
                answer = body if text else json.loads(body)
        except aiodocker.DockerError as error:
            if error.status < _SERVER_ERROR:
                self._answers = True
            elif error.status == _NO_CONNECTION or endpoint in _SIGNS_OF_LIFE:
                self._answers = False
            raise _translated(error) from None
        except TimeoutError as error:
            raise NoAnswerError(_reason(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            self._answers = False
            raise EngineUnavailableError(_reason(error)) from None
        except NONSENSE as error:
            # Without a response it is aiodocker that can't read an error, as of a proxy whose engine is away.
            self._answers = response is not None
            raise EngineError(f"the engine's answer to {endpoint} can't be read: {_reason(error)}") from None
        finally:
            self._observe(endpoint, time.monotonic() - started)
        self._answers = True
        return answer


def negotiate(newest: str, oldest: str) -> str:
    """The API version to speak with an engine: the newest that both know.

    Raises EngineError if the engine's range has nothing in common with what is known here.
    """
    try:
        top = _version(newest)
        floor = _version(oldest) if oldest else (1, 0)
    except ValueError:
        raise EngineError(f"the engine's API version {newest!r} to {oldest!r} can't be read") from None
    chosen = min(top, _NEWEST_API)
    # An engine that refuses all that is known here is a newer one; what is read has been stable for years.
    chosen = max(chosen, floor)
    return f"{chosen[0]}.{chosen[1]}"


def _notice_half_open(response: aiohttp.ClientResponse, client: aiodocker.Docker) -> None:
    """Let the kernel, or ssh, look after an idle stream: pings go over other connections.

    A router or a load balancer forgets an idle connection without a word to either end.
    """
    transport = response.connection.transport if response.connection else None
    there = transport.get_extra_info("socket") if transport else None
    if there is not None and there.family in (socket.AF_INET, socket.AF_INET6):
        for level, option, value in _KEEP_ALIVE:
            there.setsockopt(level, option, value)
    ssh = getattr(client.connector, "_ssh_conn", None)
    if ssh is not None:
        ssh.set_keepalive(_KEEP_ALIVE_SECONDS, _KEEP_ALIVE_TRIES)


async def _body(content: aiohttp.StreamReader, longest_bytes: int) -> bytes:
    chunks = []
    read_bytes = 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        read_bytes += len(chunk)
        if read_bytes > longest_bytes:
            raise ValueError(f"more than {longest_bytes >> 20} MiB")
    return b"".join(chunks)


async def _events_of(content: aiohttp.StreamReader) -> AsyncIterator[Event]:
    pending = b""
    try:
        async for chunk in content.iter_any():
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _event(line)
            if len(pending) > _LONGEST_EVENT_BYTES:
                raise EngineUnavailableError("an event of more than 16 MiB")
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnavailableError(_reason(error)) from None


def _event(line: bytes) -> Event:
    try:
        return parse_event(json.loads(line))
    except NONSENSE:
        return unreadable_event(line)


class _answers:  # noqa: N801 - reads as a keyword
    """Turn whatever a strange answer makes the parsers raise into EngineError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NONSENSE):
            raise EngineError(f"the engine's answer can't be read: {_reason(error)}") from error


def _translated(error: aiodocker.DockerError) -> EngineError:
    message = _one_line(error.message)
    if error.status == _NOT_FOUND:
        return NotFoundError(message)
    if error.status == _NO_CONNECTION:
        return EngineUnavailableError(message)
    return EngineError(f"{error.status}: {message}")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: object) -> str:
    """A reason as it can be logged, whatever it quotes."""
    line = without_password(" ".join(str(text)[: 2 * _LONGEST_REASON].split()))
    return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "…"


def _version(text: str) -> tuple[int, int]:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2])


def _segment(text: str) -> str:
    """An id or a name as one segment of a path; it never leads to another path than its own.

    Raises NotFoundError for what would be a step up or none: no object has such a name.
    """
    if text in ("", ".", ".."):
        raise NotFoundError(f"no object is named {text!r}")
    return quote(text, safe="", errors="replace")


def _usual_host() -> str:
    return os.environ.get("DOCKER_HOST") or DEFAULT_HOST
