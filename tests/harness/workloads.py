"""Real containers that do exactly known things."""

import subprocess
from pathlib import Path
from typing import Any

import docker

from exporter.network.counters import InterfaceCounters
from exporter.network.procfs import parse_net_dev
from tests.harness.engine import IMAGE
from tests.harness.wait import eventually

_PORT = 9000


def run(client: docker.DockerClient, name: str, **options: Any) -> Any:
    """Start a container that does nothing until it is told to."""
    options.setdefault("command", ["sleep", "100000"])
    return client.containers.run(IMAGE, name=name, detach=True, init=True, stop_signal="SIGKILL", **options)


def remove_containers(client: docker.DockerClient) -> None:
    """Remove all containers and their anonymous volumes; one that goes by itself meanwhile is no error."""
    for container in client.containers.list(all=True, ignore_removed=True):
        container.remove(force=True, v=True)


def send(sender: Any, receiver: Any, network: str, payload_bytes: int, *, ipv6: bool = False) -> None:
    """Send this many bytes over TCP from one container to another's address on a network, and wait for the end."""
    receiver.reload()
    endpoint = receiver.attrs["NetworkSettings"]["Networks"][network]
    address = endpoint["GlobalIPv6Address" if ipv6 else "IPAddress"]
    execute(receiver, "rm -f /tmp/received")
    receive = "wc -c > /tmp/received.part; mv /tmp/received.part /tmp/received"
    receiver.exec_run(["nc", "-l", "-p", str(_PORT), "-e", "sh", "-c", receive], detach=True)
    listening = f":{_PORT:04X} "
    eventually(
        lambda: listening in execute(receiver, "cat /proc/net/tcp /proc/net/tcp6"), "the receiver listening"
    )
    execute(sender, f"head -c {payload_bytes} /dev/zero | nc {address} {_PORT}")
    received = eventually(lambda: execute(receiver, "cat /tmp/received 2>&-").strip(), "all bytes received", 60)
    assert int(received) == payload_bytes


def execute(container: Any, command: str) -> str:
    """Run a command in a container and give what it prints."""
    result = container.exec_run(["sh", "-c", command])
    return str(result.output.decode())


def counters_inside(container: Any) -> dict[str, InterfaceCounters]:
    """The kernel's counters by interface, read inside the container."""
    return parse_net_dev(execute(container, "cat /proc/net/dev").encode())


def interface_of(container: Any, network: str) -> str:
    """The interface whose address is the container's on a network, found inside the container."""
    container.reload()
    mac = container.attrs["NetworkSettings"]["Networks"][network]["MacAddress"]
    for line in execute(container, "grep . /sys/class/net/*/address").splitlines():
        path, _, address = line.partition(":")
        if address == mac:
            return path.split("/")[4]
    raise AssertionError(f"no interface has {mac}")


def received(container: Any, network: str) -> int:
    """Bytes that a container has received from a network so far, as the kernel counts them inside."""
    return counters_inside(container)[interface_of(container, network)].receive_bytes


def disk_usage(path: Path) -> tuple[int, int]:
    """Bytes and inodes by coreutils' du."""

    def du(*options: str) -> int:
        done = subprocess.run(["du", "-s", "-x", *options, str(path)], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[0])

    return du("-B1"), du("--inodes")
