"""Tells a supervisor how it goes, by the protocol of sd_notify(3): ready, alive, stopping."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

_MICROSECONDS = 1_000_000


class Supervisor:
    """The supervisor that started this process, if there is one that wants to be told (`Type=notify`)."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_seconds = (
            int(microseconds) / _MICROSECONDS if microseconds.isdecimal() and is_meant else 0.0
        )

    def notify(self, *states: str) -> None:
        """Tell states, such as `READY=1`. A supervisor that is gone is no reason to end."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
        ):
            to.settimeout(0)
            to.sendto("\n".join(states).encode(), self._address)

    async def keep_alive(self) -> None:
        """Say that the event loop turns, twice in the time that the supervisor grants; it restarts what hangs."""
        while self._watchdog_seconds:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 2)
