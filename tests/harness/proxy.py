"""A unix-socket proxy before the engine: it writes down each request that passes, and can do what bad ones do."""

import contextlib
import re
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_REQUEST = re.compile(rb"^([A-Z]+) (/\S*) HTTP/1\.1\r$", re.MULTILINE)


class RecordingProxy:
    """Passes bytes on both ways; requests here have no body, so each line of that form is one.

    `delay_seconds` holds up each request; `answer`, once set, is sent instead of the engine's to each request;
    requests that contain `unanswered` never reach the engine.
    """

    def __init__(self, listen: Path, engine: Path) -> None:
        self._listen, self._engine = listen, engine
        self._server = socket.socket(socket.AF_UNIX)
        self._open: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self.requests: list[tuple[str, str]] = []
        self.delay_seconds = 0.0
        self.answer: bytes | None = None
        self.unanswered = b""

    @property
    def host(self) -> str:
        return f"unix://{self._listen}"

    def cut(self) -> None:
        """Close all connections."""
        for end in list(self._open):
            _shut(end)

    def hold(self) -> None:
        """Pass nothing on and close nothing, as where a route is gone."""
        self._passes.clear()

    def release(self) -> None:
        """Pass on again; connections from before are closed, as the other end would by then."""
        self.cut()
        self._passes.set()

    def answer_each(self, status: str, body: bytes) -> None:
        """Answer each request so, and end the connection of what is open."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.answer = head.encode() + body
        self.cut()

    def answer_no_more(self) -> None:
        """Let the engine answer again."""
        self.answer = None
        self.cut()

    def __enter__(self) -> Self:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._listen))
        self._server.listen(200)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._listen.unlink()
        self.release()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                engine = socket.socket(socket.AF_UNIX)
                try:
                    engine.connect(str(self._engine))
                except OSError:  # the engine is away
                    client.close()
                    engine.close()
                    continue
                self._open |= {client, engine}
                threading.Thread(target=self._pass_requests, args=(client, engine), daemon=True).start()
                threading.Thread(target=self._pass_answers, args=(engine, client), daemon=True).start()

    def _pass_requests(self, client: socket.socket, engine: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.requests += [(m[1].decode(), m[2].decode()) for m in _REQUEST.finditer(data)]
                self._passes.wait()
                time.sleep(self.delay_seconds)
                if self.unanswered and self.unanswered in data:
                    continue
                if self.answer is None:
                    engine.sendall(data)
                else:
                    client.sendall(self.answer)
        self._close(client, engine)

    def _pass_answers(self, engine: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := engine.recv(65536):
                self._passes.wait()
                client.sendall(data)
        self._close(client, engine)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            self._open.discard(end)
            _shut(end)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
