"""A unix-socket proxy that writes down each request that passes."""

import contextlib
import re
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_REQUEST = re.compile(rb"^([A-Z]+) (/\S*) HTTP/1\.1\r$", re.MULTILINE)


class RecordingProxy:
    """Passes bytes on both ways; requests here have no body, so each line of that form is one."""

    def __init__(self, listen: Path, engine: Path) -> None:
        self._listen, self._engine = listen, engine
        self._server = socket.socket(socket.AF_UNIX)
        self.requests: list[tuple[str, str]] = []

    @property
    def host(self) -> str:
        return f"unix://{self._listen}"

    def __enter__(self) -> Self:
        self._server.bind(str(self._listen))
        self._server.listen(200)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._listen.unlink()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(str(self._engine))
                threading.Thread(target=self._pump, args=(client, engine, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(engine, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, record: bool) -> None:  # noqa: FBT001 - a thread's argument
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if record:
                    self.requests += [(m[1].decode(), m[2].decode()) for m in _REQUEST.finditer(data)]
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
