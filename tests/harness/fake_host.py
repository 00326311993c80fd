"""A host made up for a fake engine: processes in a `/proc` of files, volumes in directories."""

import ipaddress
import os
import shutil
import struct
import time
from pathlib import Path
from typing import Any

from tests.harness.fake_engine import FakeEngine

_FIRST_PID = 1000
_SNMP = (
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs "
    "OutSegs RetransSegs InErrs OutRsts InCsumErrors\n"
    "Tcp: 1 200 120000 -1 10 10 0 0 3 1000 2000 5 0 0 0\n"
)
_DEV_HEAD = (
    "Inter-|   Receive   |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
)


class FakeHost:
    """Adds networks, volumes and containers to an engine, and what the kernel would show of them to a folder."""

    def __init__(self, engine: FakeEngine, folder: Path) -> None:
        self.engine = engine
        self.procfs = folder / "proc"
        self._volumes = folder / "volumes"
        self._subnets: dict[str, ipaddress.IPv4Network] = {}
        self._network_ids: dict[str, str] = {}
        self._attached: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        """Process ids by the containers' names."""
        self._ids: dict[str, str] = {}
        self._next_pid = _FIRST_PID

    def add_network(self, name: str) -> None:
        number = len(self._subnets)
        subnet = ipaddress.IPv4Network(f"10.{number // 256}.{number % 256}.0/24")
        self._network_ids[name] = self.engine.add_network(
            name, IPAM={"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]}
        )
        self._subnets[name], self._attached[name] = subnet, 1

    def add_volume(self, name: str, content: bytes = b"") -> None:
        folder = self._volumes / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(content)
        self.engine.add_volume(name, Mountpoint=str(folder))

    def add_container(self, name: str, network: str, volume: str = "", **more: Any) -> str:
        """A running container; gives its id."""
        pid = self._next_pid
        self._next_pid += 1
        subnet = self._subnets[network]
        self._attached[network] += 1
        address = subnet[self._attached[network]]
        endpoint = {
            "NetworkID": self._network_ids[network],
            "EndpointID": f"{pid:064x}",
            "IPAddress": str(address),
            "IPPrefixLen": subnet.prefixlen,
            "Gateway": str(subnet[1]),
            "MacAddress": "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed),
        }
        mount = {
            "Type": "volume",
            "Name": volume,
            "Source": str(self._volumes / volume),
            "Destination": "/data",
            "RW": True,
        }
        container_id = self.engine.add_container(
            name,
            pid=pid,
            HostConfig={"NetworkMode": network},
            NetworkSettings={"Networks": {network: endpoint}},
            Mounts=[mount] if volume else [],
            **more,
        )
        self.pids[name], self._ids[name] = pid, container_id
        process = self.procfs / str(pid)
        (process / "net").mkdir(parents=True)
        # A real namespace, which has no link to the reader's: so nothing of it is known but what is polled.
        (process / "ns").mkdir()
        (process / "ns" / "net").symlink_to("/proc/self/ns/net")
        (process / "cgroup").write_text(f"0::/system.slice/docker-{container_id}.scope\n")
        (process / "stat").write_text(f"{pid} (fake (x) ) S " + "1 " * 18 + f"{_now_ticks()} 0 0\n")
        (process / "net" / "route").write_text(_routes(subnet))
        (process / "net" / "dev_mcast").write_text("2    eth0            1     0     01005e000001\n")
        (process / "net" / "snmp").write_text(_SNMP)
        (process / "net" / "netstat").write_text("TcpExt: ListenOverflows\nTcpExt: 0\n")
        (process / "net" / "sockstat").write_text("sockets: used 3\nTCP: inuse 1 orphan 0 tw 2 alloc 3 mem 1\n")
        self.set_traffic(name, 0, 0)
        return container_id

    def set_traffic(self, name: str, received_bytes: int, sent_bytes: int) -> None:
        """Let a container have received and sent so much, in packets of 1,000 bytes."""
        numbers = (
            f"{received_bytes} {received_bytes // 1000} 0 0 0 0 0 0 {sent_bytes} {sent_bytes // 1000} 0 0 0 0 0 0"
        )
        text = f"{_DEV_HEAD}    lo: {'0 ' * 16}\n  eth0: {numbers}\n"
        place = self.procfs / str(self.pids[name]) / "net" / "dev"
        fresh = place.with_name("dev.new")
        fresh.write_text(text)
        fresh.rename(place)  # a read sees the one or the other, as of the kernel

    def remove_container(self, name: str) -> None:
        """Let it vanish, without an event."""
        process = self.procfs / str(self.pids.pop(name))
        shutil.rmtree(process)
        del self.engine.containers[self._ids.pop(name)]

    def id_of(self, name: str) -> str:
        return self._ids[name]


def _now_ticks() -> int:
    """When a process that starts now started, in the unit of `/proc/<pid>/stat`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def _routes(subnet: ipaddress.IPv4Network) -> str:
    """As the kernel prints them: addresses as integers of the machine (net/ipv4/fib_trie.c)."""
    gateway, network, mask = (
        struct.unpack("=I", address.packed)[0] for address in (subnet[1], subnet.network_address, subnet.netmask)
    )
    return (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        f"eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        f"eth0\t{network:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n"
    )
