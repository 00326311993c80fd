"""Stands in for wollomatic/socket-proxy, in a container: it takes the same flags and lets the same requests pass.

A request passes if its path matches the expression of its method, GET or HEAD, between ^ and $ (which bind closer
than | does, as in the original), and its sender has an address of the host that `-allowfrom` names; otherwise it
gets 405 or 403. One request a connection.
"""

import contextlib
import http.server
import os
import re
import socket
import sys


def flags() -> dict[str, str]:
    pairs = (argument.lstrip("-").partition("=") for argument in sys.argv[1:])
    return {name: value for name, _, value in pairs}


class Handler(http.server.BaseHTTPRequestHandler):
    allow_from = flags().get("allowfrom", "127.0.0.1")

    def __getattr__(self, name: str) -> object:
        # Each method is handled by `do_METHOD`.
        if name.startswith("do_"):
            return self.judge
        raise AttributeError(name)

    def judge(self) -> None:
        if self.client_address[0] not in self.allowed_addresses():
            self.send_error(http.HTTPStatus.FORBIDDEN)
        elif re.match(f"^{flags().get(f'allow{self.command}', '(?!)')}$", self.path.partition("?")[0]):
            self.pass_on()
        else:
            self.send_error(http.HTTPStatus.METHOD_NOT_ALLOWED)

    def allowed_addresses(self) -> set[str]:
        try:
            return {str(found[4][0]) for found in socket.getaddrinfo(self.allow_from, None)}
        except OSError:
            return set()

    def pass_on(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect("/var/run/docker.sock")
            lines = [f"{self.command} {self.path} HTTP/1.1", "Host: docker", "Connection: close"]
            engine.sendall("\r\n".join([*lines, "", ""]).encode())
            self.close_connection = True
            with contextlib.suppress(OSError):
                while data := engine.recv(65536):
                    self.connection.sendall(data)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of the base class
        os.write(2, f"{format % arguments}\n".encode())


if __name__ == "__main__":
    http.server.ThreadingHTTPServer((flags().get("listenip", "127.0.0.1"), 2375), Handler).serve_forever()
