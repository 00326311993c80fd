"""Measures the exporter beside a real engine with many containers; prints a table. Run it with `make bench`.

It starts a private engine, as the tests do, and on it N containers on ten networks, and reports: time and CPU of
a poll, from `docker run` to the series on the page, the scrape, resident memory, and the engine's CPU with and
without the exporter.
"""

import argparse
import contextlib
import gzip
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import docker

from exporter.network.tcp import read_tcp
from tests.harness import privatens
from tests.harness.engine import IMAGE, PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess
from tests.harness.proxy import RecordingProxy

NETWORKS = 10
TRAFFIC_FILES = ("dev",)
TCP_FILES = ("snmp", "netstat", "sockstat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=60, help="length of each comparison")
    arguments = parser.parse_args()
    privatens.enter()
    clean_leftovers()
    engine = PrivateEngine()
    try:
        engine.start()
        with contextlib.closing(engine.client()) as client, TemporaryDirectory() as folder:
            print(f"{arguments.containers} containers on {NETWORKS} networks, {os.cpu_count()} processors")
            pids = start_containers(client, arguments.containers)
            measure(engine, client, pids, Path(folder), arguments.seconds)
    finally:
        engine.remove()


def start_containers(client: docker.DockerClient, count: int) -> list[int]:
    for number in range(NETWORKS):
        client.networks.create(f"net{number}")

    def start(number: int) -> None:
        client.containers.run(
            IMAGE,
            ["sleep", "100000"],
            name=f"c{number}",
            detach=True,
            network=f"net{number % NETWORKS}",
            volumes={f"volume{number}": {"bind": "/data"}},
        )

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(count)))
    print(f"started in {time.monotonic() - started:.0f} s")
    return [client.api.inspect_container(f"c{number}")["State"]["Pid"] for number in range(count)]


def measure(
    engine: PrivateEngine, client: docker.DockerClient, pids: Sequence[int], folder: Path, seconds: int
) -> None:
    time.sleep(5)
    idle = cpu_over(engine.cpu_seconds, seconds)
    with RecordingProxy(folder / "proxy.sock", engine.socket) as proxy:
        launched = time.monotonic()
        with ExporterProcess(f"--engine.host={proxy.host}", "--poll.interval=5s") as exporter:
            row("start to ready", f"{time.monotonic() - launched:.2f} s")
            time.sleep(15)
            calls = len(proxy.requests)
            own = exporter.cpu_seconds
            busy = cpu_over(engine.cpu_seconds, seconds)
            own = exporter.cpu_seconds - own
            row("engine's CPU without / with the exporter", f"{idle:.3f} / {busy:.3f} s in {seconds} s")
            row(
                "exporter's CPU, polls of 5 s, no scrapes",
                f"{own:.3f} s in {seconds} s ({own / seconds:.2%} of a core)",
            )
            row("engine calls in that time", str(sorted(p for _, p in proxy.requests[calls:])))
            polls = [poll_seconds(exporter) for _ in range(10)]
            row("one poll, wall", f"{statistics.median(polls) * 1e3:.2f} ms (median of 10)")
            scrapes = [scrape_seconds(exporter) for _ in range(20)]
            row(
                "one scrape with its poll, gzip, wall", f"{statistics.median(scrapes) * 1e3:.1f} ms (median of 20)"
            )
            page = exporter.get("/metrics")
            row("page", f"{len(page)} bytes, {sum(not line.startswith('#') for line in page.splitlines())} series")
            row("resident memory", f"{exporter.resident_bytes / 2**20:.1f} MB, {exporter.descriptors} descriptors")
            times = [run_to_page(client, exporter, number) for number in range(5)]
            row("docker run's return to the series on the page", f"{statistics.median(times):.2f} s (median of 5)")
    for what, flags, files in (
        ("traffic alone", ["--no-collector.tcp"], TRAFFIC_FILES),
        ("traffic and RTT, no connections", ["--no-collector.tcp", "--collector.rtt"], (*TRAFFIC_FILES, "snmp")),
    ):
        bare = bare_loop(pids, files)
        with ExporterProcess(f"--engine.host={engine.host}", "--poll.interval=0.25s", *flags) as exporter:
            time.sleep(3)
            own = cpu_over(lambda process=exporter: process.cpu_seconds, 20) / 80
            row(f"CPU of a poll, {what}", compared(own, bare, len(pids)))
    row("CPU of a round of TCP, every 10 s", compared(tcp_round(pids), bare_loop(pids, TCP_FILES), len(pids)))


def compared(own: float, bare: float, count: int) -> str:
    """A figure beside that of a bare loop that opens, reads and closes the same files."""
    each = own / count * 1e6
    return f"{own * 1e3:.1f} ms, {each:.0f} us a container; bare loop {bare * 1e3:.1f} ms: {own / bare:.2f} times"


def tcp_round(pids: Sequence[int]) -> float:
    """CPU seconds of reading and parsing TCP of all namespaces, through directories that are open."""
    descriptors = [os.open(f"/proc/{pid}", os.O_RDONLY) for pid in pids]
    started = time.process_time()
    for _ in range(20):
        for descriptor in descriptors:
            read_tcp(descriptor)
    took = (time.process_time() - started) / 20
    for descriptor in descriptors:
        os.close(descriptor)
    return took


def cpu_over(cpu_seconds, seconds: float) -> float:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a function of a harness class
    before = cpu_seconds()
    time.sleep(seconds)
    return float(cpu_seconds() - before)


def bare_loop(pids: Sequence[int], files: Sequence[str]) -> float:
    """CPU seconds of a process that does nothing but open, read and close the files, per round."""
    program = (
        "import os, sys, time\n"
        "files = sys.argv[1].split(',')\n"
        "paths = [f'/proc/{pid}/net/{name}' for pid in sys.argv[2:] for name in files]\n"
        "def once():\n"
        "    for path in paths:\n"
        "        f = os.open(path, os.O_RDONLY); os.read(f, 65536); os.close(f)\n"
        "once(); start = time.process_time()\n"
        "for _ in range(50): once()\n"
        "print((time.process_time() - start) / 50)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ",".join(files), *map(str, pids)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def poll_seconds(exporter: ExporterProcess) -> float:
    time.sleep(1.1)
    name = "netvol_exporter_collector_duration_seconds"
    value = exporter.scrape().value(name, collector="network")
    assert value is not None
    return value


def scrape_seconds(exporter: ExporterProcess) -> float:
    time.sleep(1.1)
    request = urllib.request.Request(exporter.url + "/metrics", headers={"Accept-Encoding": "gzip"})
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read()
    took = time.monotonic() - started
    gzip.decompress(body)
    return took


def run_to_page(client: docker.DockerClient, exporter: ExporterProcess, number: int) -> float:
    name = f"fresh{number}"
    client.containers.run(IMAGE, ["sleep", "100000"], name=name, detach=True, network="net0")
    returned = time.monotonic()
    series = f'docker_container_network_receive_bytes_total{{container="{name}",network="net0"}}'
    while series not in exporter.get("/metrics"):
        time.sleep(0.01)
    return time.monotonic() - returned


def row(what: str, figure: str) -> None:
    print(f"{what:52} {figure}", flush=True)


if __name__ == "__main__":
    main()
