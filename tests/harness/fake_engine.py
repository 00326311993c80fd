"""An engine that speaks the API over a unix socket from memory, for faults that a real one can't be made to do."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.harness.dialects import Dialect

_VERSION = "/{version:v[0-9.]+}"


class FakeEngine:
    """Its objects are dictionaries in the API's own form; tests change them and emit events, or not."""

    def __init__(
        self,
        socket: Path,
        api_version: str = "1.41",
        min_api_version: str = "1.12",
        dialect: Dialect | None = None,
    ) -> None:
        self.socket = socket
        self.dialect = dialect or Dialect("fake", api_version, min_api_version)
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.ring: list[dict[str, Any]] = []
        self.failing: dict[str, tuple[int, str]] = {}
        """Status and body that a path (without version) answers instead of what it should."""
        self.stalled: dict[str, asyncio.Event] = {}
        """Paths whose answers wait for an event."""
        self.delay_seconds = 0.0
        """How long every answer takes."""
        self.replay_seconds = 0.0
        """How long after its headers the event stream's first line comes."""
        self.answer_seconds: Callable[[], float] = lambda: 0.0
        """How much longer each answer takes after it was made: it may be old when it comes."""
        self.streams: list[asyncio.Queue[bytes | None]] = []
        self._made = 0
        self._runner: web.AppRunner | None = None

    def upgrade(self, api_version: str, min_api_version: str = "1.12") -> None:
        """Speak another version of the API from now on."""
        self.dialect = replace(self.dialect, api_version=api_version, min_api_version=min_api_version)

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def calls(self) -> Counter[str]:
        """Requests by path without version."""
        return Counter(path.partition("?")[0] for path in self.requests)

    def add_container(self, name: str, *, state: str = "running", pid: int = 1, **more: Any) -> str:
        container_id = f"{self._made:08x}" * 8
        self._made += 1
        self.containers[container_id] = {
            "Id": container_id,
            "Name": f"/{name}",
            "State": {
                "Status": state,
                "Running": state == "running",
                "Pid": pid,
                "StartedAt": "2024-01-01T00:00:00Z",
            },
            "Config": {"Image": "x", "Labels": {}},
            "HostConfig": {"NetworkMode": "app"},
            "NetworkSettings": {"Networks": {}},
            "Mounts": [],
            "RestartCount": 0,
            **more,
        }
        return container_id

    def add_network(self, name: str, **more: Any) -> str:
        network_id = f"{name}-".ljust(64, "0")
        self.networks[network_id] = {"Id": network_id, "Name": name, "Driver": "bridge", "Scope": "local", **more}
        return network_id

    def add_volume(self, name: str, **more: Any) -> None:
        self.volumes[name] = {
            "Name": name,
            "Driver": "local",
            "Mountpoint": f"/nowhere/{name}",
            "Scope": "local",
            **more,
        }

    def emit(self, kind: str, action: str, actor: str, **attributes: str) -> None:
        event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": actor, "Attributes": attributes},
            "scope": "local",
            "timeNano": time.time_ns(),
        }
        self.ring = [*self.ring, event][-256:]
        for queue in self.streams:
            queue.put_nowait(self._line(event))

    def _line(self, event: dict[str, Any]) -> bytes:
        return json.dumps(self.dialect.event(event)).encode() + b"\n"

    def cut_streams(self) -> None:
        """End all event streams cleanly, as a proxy does with idle ones."""
        for queue in self.streams:
            queue.put_nowait(None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeEngine"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        application = web.Application()
        for path, handler in {
            "/version": self._version,
            "/_ping": self._ping,
            "/info": self._info,
            "/events": self._events,
            "/containers/json": self._list_containers,
            "/containers/{id}/json": self._container,
            "/networks": self._list_networks,
            "/networks/{id}": self._network,
            "/volumes": self._list_volumes,
            "/volumes/{id}": self._volume,
            "/containers/{id}/stats": self._stats,
            "/system/df": self._disk_usage,
        }.items():
            for prefix in ("", _VERSION):
                application.router.add_get(prefix + path, self._guarded(path, handler))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def listen(self) -> int:
        """Serve at a TCP port as well, and return it."""
        assert self._runner is not None
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[-1][1]
        return port

    async def stop(self) -> None:
        """Go away, as an engine that is stopped or killed."""
        self.cut_streams()
        if self._runner is not None:
            await self._runner.cleanup()
        self.socket.unlink(missing_ok=True)

    def _guarded(self, path: str, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.StreamResponse:
            short = request.path_qs.split("/", 2)[-1] if request.match_info.get("version") else request.path_qs[1:]
            self.requests.append(short)
            bare = short.partition("?")[0]
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if bare in self.stalled:
                await self.stalled[bare].wait()
            if bare in self.failing:
                status, body = self.failing[bare]
                # The engine says no charset, and aiodocker looks for just this.
                return web.Response(
                    status=status, body=body.encode(), headers={"Content-Type": "application/json"}
                )
            answer: web.StreamResponse = await handler(request)
            await asyncio.sleep(self.answer_seconds())
            return answer

        return guarded

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "Version": self.dialect.name,
                "ApiVersion": self.dialect.api_version,
                "MinAPIVersion": self.dialect.min_api_version,
            }
        )

    async def _info(self, _request: web.Request) -> web.Response:
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"
        return web.json_response({"Driver": "overlay2", "KernelVersion": "6", "SystemTime": moment})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(float(request.query.get("since", "0")) * 1e9)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for event in self.ring:
            if event["timeNano"] >= since:
                queue.put_nowait(self._line(event))
        self.streams.append(queue)
        try:
            await asyncio.sleep(self.replay_seconds)
            while (line := await queue.get()) is not None:
                await response.write(line)
        finally:
            self.streams.remove(queue)
        return response

    async def _list_containers(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [
                self.dialect.listed(
                    {
                        **container,
                        "Names": [container["Name"]],
                        "State": container["State"]["Status"],
                        "Status": "Up",
                        "Labels": container["Config"]["Labels"],
                    }
                )
                for container in self.containers.values()
            ]
        )

    async def _container(self, request: web.Request) -> web.Response:
        return _found(self.containers, request, "container", self.dialect.container)

    async def _list_networks(self, _request: web.Request) -> web.Response:
        return web.json_response([self.dialect.network(network) for network in self.networks.values()])

    async def _network(self, request: web.Request) -> web.Response:
        return _found(self.networks, request, "network", self.dialect.network)

    async def _list_volumes(self, _request: web.Request) -> web.Response:
        return web.json_response({"Volumes": [self.dialect.volume(volume) for volume in self.volumes.values()]})

    async def _volume(self, request: web.Request) -> web.Response:
        return _found(self.volumes, request, "volume", self.dialect.volume)

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response({"read": "2024-01-01T00:00:00Z", "networks": {"eth0": {"rx_bytes": 7}}})

    async def _disk_usage(self, _request: web.Request) -> web.Response:
        volumes = [{"Name": name, "UsageData": {"Size": 7, "RefCount": 0}} for name in self.volumes]
        return web.json_response({"Volumes": volumes})


@contextmanager
def served(engine: FakeEngine) -> Iterator[Callable[[Callable[[], object]], None]]:
    """The engine on an event loop in a thread, for an exporter in another process; gives what calls there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(function: Callable[[], object]) -> None:
        async def called() -> None:
            function()

        asyncio.run_coroutine_threadsafe(called(), loop).result()

    asyncio.run_coroutine_threadsafe(engine.start(), loop).result()
    try:
        yield call
    finally:
        asyncio.run_coroutine_threadsafe(engine.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _found(
    objects: dict[str, dict[str, Any]],
    request: web.Request,
    kind: str,
    told: Callable[[dict[str, Any]], dict[str, Any]],
) -> web.Response:
    found = objects.get(request.match_info["id"])
    if found is None:
        return web.json_response({"message": f"no such {kind}"}, status=404)
    return web.json_response(told(found))
