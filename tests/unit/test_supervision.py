import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.supervision import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(2)
        yield listening


def test_the_supervisor_is_told_each_state_on_a_line(supervisor: socket.socket) -> None:
    Supervisor({"NOTIFY_SOCKET": supervisor.getsockname()}).notify("READY=1", "STATUS=serving")
    assert supervisor.recv(100) == b"READY=1\nSTATUS=serving"


def test_an_abstract_socket_is_named_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0netvol-test-notify")
        listening.settimeout(2)
        Supervisor({"NOTIFY_SOCKET": "@netvol-test-notify"}).notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_without_a_supervisor_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Supervisor({}).notify("READY=1")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "none")}).notify("READY=1")


async def test_a_loop_that_turns_says_so_in_half_the_time_that_is_granted(supervisor: socket.socket) -> None:
    told = Supervisor({"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "40000"})
    task = asyncio.get_running_loop().create_task(told.keep_alive())
    await asyncio.sleep(0.1)
    task.cancel()
    assert supervisor.recv(100) == b"WATCHDOG=1"
    assert supervisor.recv(100) == b"WATCHDOG=1"


async def test_a_watchdog_of_another_process_or_none_is_not_fed(supervisor: socket.socket) -> None:
    address = supervisor.getsockname()
    await Supervisor({"NOTIFY_SOCKET": address}).keep_alive()
    await Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}).keep_alive()
    supervisor.settimeout(0)
    with pytest.raises(BlockingIOError):
        supervisor.recv(100)
