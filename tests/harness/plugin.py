"""A volume plugin for a real engine: a server on a socket that answers as the engine's plugin API asks.

Its volumes are tmpfs file systems of a known size, mounted while a container uses them.
"""

import json
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_SOCKETS = Path("/run/docker/plugins")


class VolumePlugin:
    """One plugin, found by every engine in the tests' own mount namespace; the user's engine doesn't see it."""

    def __init__(self, name: str, folder: Path, size_bytes: int) -> None:
        self._name = name
        self._folder = folder
        self._size_bytes = size_bytes
        self._volumes: set[str] = set()

    def __enter__(self) -> Self:
        _SOCKETS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(_SOCKETS)], check=True)
        plugin = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                answer = json.dumps(plugin.answer(self.path, asked)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "engine"

        self._server = socketserver.ThreadingUnixStreamServer(str(_SOCKETS / f"{self._name}.sock"), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        for name in self._volumes:
            subprocess.run(["umount", "-l", str(self._folder / name)], check=False, capture_output=True)
        subprocess.run(["umount", "-l", str(_SOCKETS)], check=True)

    def answer(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a call of the plugin API (moby: docs/extend/plugins_volume.md)."""
        name = asked.get("Name", "")
        place = self._folder / name
        found: dict[str, Any] = {"Mountpoint": str(place)}
        match path:
            case "/Plugin.Activate":
                found = {"Implements": ["VolumeDriver"]}
            case "/VolumeDriver.Create":
                place.mkdir(parents=True)
                self._volumes.add(name)
            case "/VolumeDriver.Remove":
                self._volumes.remove(name)
            case "/VolumeDriver.Mount":
                command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_bytes}", "plugin", str(place)]
                subprocess.run(command, check=True)
            case "/VolumeDriver.Unmount":
                subprocess.run(["umount", str(place)], check=True)
            case "/VolumeDriver.Get" if name not in self._volumes:
                return {"Err": "no such volume"}
            case "/VolumeDriver.Get":
                found = {"Volume": self._described(name)}
            case "/VolumeDriver.List":
                found = {"Volumes": [self._described(one) for one in self._volumes]}
            case "/VolumeDriver.Capabilities":
                found = {"Capabilities": {"Scope": "local"}}
        return {**found, "Err": ""}

    def _described(self, name: str) -> dict[str, Any]:
        return {"Name": name, "Mountpoint": str(self._folder / name), "Status": {"blocks": 1}}
