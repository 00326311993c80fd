"""Measures the exporter's own netlink code, beside pyroute2 where that is installed: `python -m bench.netlink`.

It needs root, makes its links in a network namespace of its own, and takes some seconds.
"""

import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from exporter.network.links import Links
from exporter.network.netlink import parse_events
from exporter.network.netlink_socket import Netlink, open_events

LINKS = 414
ROUNDS = 20
MARKER = "NETVOL_BENCH_NETLINK"


def main() -> None:
    if MARKER not in os.environ:
        command = ["unshare", "--net", sys.executable, "-m", "bench.netlink"]
        raise SystemExit(subprocess.run(command, env={**os.environ, MARKER: "1"}, check=False).returncode)
    events = open_events()
    pairs = "".join(f"link add a{number} type veth peer name b{number}\n" for number in range(LINKS // 2))
    subprocess.run(["ip", "-batch", "-"], input=pairs, text=True, check=True)
    with Netlink() as netlink:
        links, _ = netlink.links()
        bridges = {link.ifindex for link in links[:10]}
        everything = {link.ifindex for link in links}
        print(f"{len(links)} links; median of {ROUNDS} rounds")
        show("all links, with counters", netlink.links)
        show("the counters of all links", lambda: netlink.counters(everything))
        show("the counters of 10 links, as at each poll", lambda: netlink.counters(bridges))
    datagrams = []
    while True:
        try:
            datagrams.append(events.recv(1 << 16))
        except BlockingIOError:
            break
    each = 1 / len(datagrams)
    show("one message of a link that changed", lambda: follow(datagrams), each)
    if importlib.util.find_spec("pyroute2") is None:
        print("pyroute2 is not installed; to compare: pip install pyroute2")
        return
    with importlib.import_module("pyroute2").IPRoute() as general:
        show("all links through pyroute2", lambda: list(general.get_links()))


def follow(datagrams: list[bytes]) -> None:
    links: Links[object] = Links()
    for datagram in datagrams:
        for event in parse_events(datagram):
            links.apply(event)


def show(what: str, measured: Callable[[], object], share: float = 1) -> None:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        measured()
        seconds.append(time.perf_counter() - started)
    print(f"{what:45} {statistics.median(seconds) * share * 1000:9.3f} ms")


if __name__ == "__main__":
    main()
