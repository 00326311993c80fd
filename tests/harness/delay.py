"""A real delay on one container's link, where the kernel has no netem: frames take a detour through a process.

The container's port is taken off its bridge and joined to it again through a veth pair and this relay, which
passes each frame on after the delay. Frames go with their virtio header, so that what the kernel left to the
hardware (checksums, segmentation) is left to it again.
"""

import heapq
import itertools
import os
import select
import socket
import subprocess
import threading
import time
from types import TracebackType
from typing import Self

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 1, 15, 23
_PACKET_MR_PROMISC = 1


class DelayedLink:
    """As a context manager: frames between a bridge and the port `veth` take `seconds` each way."""

    def __init__(self, veth: str, bridge: str, seconds: float) -> None:
        self._veth, self._bridge, self._seconds = veth, bridge, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True)

    def __enter__(self) -> Self:
        _ip("link", "set", self._veth, "nomaster")
        _ip("link", "add", "detour0", "type", "veth", "peer", "name", "detour1")
        _ip("link", "set", "detour1", "master", self._bridge)
        for name in ("detour0", "detour1"):
            _ip("link", "set", name, "up")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        _ip("link", "delete", "detour0")
        _ip("link", "set", self._veth, "master", self._bridge)

    def _relay(self) -> None:
        # Of this thread only: on a busy machine frames would wait for a processor and be late.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        ends = (_packet_socket(self._veth), _packet_socket("detour0"))
        other = {ends[0]: ends[1], ends[1]: ends[0]}
        waiting: list[tuple[float, int, socket.socket, bytes]] = []
        order = itertools.count()
        while not self._stop.is_set():
            pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else 0.05
            for end in select.select(ends, [], [], min(pause, 0.05))[0]:
                frame = end.recv(70000)
                heapq.heappush(waiting, (time.monotonic() + self._seconds, next(order), other[end], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                *_, end, frame = heapq.heappop(waiting)
                end.send(frame)
        for end in ends:
            end.close()


def _packet_socket(name: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    end.bind((name, _ETH_P_ALL))
    index = socket.if_nametoindex(name)
    membership = index.to_bytes(4, "little") + _PACKET_MR_PROMISC.to_bytes(2, "little") + bytes(10)
    end.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    return end


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
