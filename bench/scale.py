"""Measures the exporter beside a fake engine with ten thousand containers. Run it with `make scale`.

No real engine here can run so many. The fake one speaks the API over a unix socket, the processes are files of a
made-up `/proc` in memory, and the volumes are real directories: so the exporter's own costs are real, while the
kernel's (generating `/proc`) and the engine's are not in them; `make bench` has those.
"""

import argparse
import gzip
import os
import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness import privatens
from tests.harness.exporter import ExporterProcess
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.fake_host import FakeHost
from tests.harness.wait import eventually


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--volumes", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=60, help="length of the comparison of CPU")
    arguments = parser.parse_args()
    privatens.enter()
    with TemporaryDirectory(prefix="nv-", dir="/dev/shm") as folder:
        host = FakeHost(FakeEngine(Path(folder) / "docker.sock"), Path(folder))
        populate(host, arguments.containers, arguments.networks, arguments.volumes)
        print(
            f"{arguments.containers} containers on {arguments.networks} networks, {arguments.volumes} volumes, "
            f"{os.cpu_count()} processors"
        )
        with served(host.engine) as call:
            measure(host, call, arguments.volumes, arguments.seconds)


def populate(host: FakeHost, containers: int, networks: int, volumes: int) -> None:
    for number in range(networks):
        host.add_network(f"net{number}")
    for number in range(volumes):
        host.add_volume(f"volume{number}", b"x" * 5000)
    for number in range(containers):
        volume = f"volume{number % volumes}" if volumes else ""
        host.add_container(f"c{number}", f"net{number % networks}", volume)


def measure(host: FakeHost, call: Callable[[Callable[[], object]], None], volumes: int, seconds: int) -> None:
    launched = time.monotonic()
    flags = (f"--engine.host={host.engine.host}", f"--path.procfs={host.procfs}", "--limit.series=0")
    exporter = ExporterProcess(*flags, ready=False)
    with exporter:
        eventually(lambda: is_ready(exporter), "ready", 300)
        row("start to ready", f"{time.monotonic() - launched:.1f} s")
        row("calls to the engine until then", f"{len(host.engine.requests)}")
        eventually(
            lambda: exporter.get("/metrics").count("\ndocker_volume_used_bytes{") >= volumes, "volumes", 300
        )
        row("all volumes measured after", f"{time.monotonic() - launched:.1f} s")
        own = exporter.cpu_seconds
        time.sleep(seconds)
        row("exporter's CPU, no scrapes", f"{(exporter.cpu_seconds - own) / seconds:.1%} of a core")
        polls = [poll_seconds(exporter) for _ in range(5)]
        row("one poll", f"{statistics.median(polls) * 1e3:.0f} ms (median of 5)")
        scrapes, sizes = zip(*(scrape(exporter) for _ in range(10)), strict=True)
        row(
            "one scrape, compressed",
            f"{statistics.median(scrapes) * 1e3:.1f} ms (median of 10), {sizes[-1] / 1e6:.2f} MB",
        )
        page = exporter.get("/metrics")
        series = sum(not line.startswith("#") for line in page.splitlines())
        row("page", f"{series} series, {len(page) / 1e6:.1f} MB")
        times = [event_to_page(host, call, exporter, number) for number in range(5)]
        row("event to page, with the scrape", f"{statistics.median(times):.2f} s (median of 5)")
        row("resident memory", f"{exporter.resident_bytes / 1e6:.0f} MB, {exporter.descriptors} descriptors")


def is_ready(exporter: ExporterProcess) -> bool:
    try:
        return bool(exporter.get("/-/ready"))
    except OSError:
        return False


def poll_seconds(exporter: ExporterProcess) -> float:
    time.sleep(6)
    found = exporter.scrape().value("netvol_exporter_collector_duration_seconds", collector="network")
    assert found is not None
    return found


def scrape(exporter: ExporterProcess) -> tuple[float, int]:
    started = time.monotonic()
    request = urllib.request.Request(exporter.url + "/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    seconds = time.monotonic() - started
    assert gzip.decompress(body).endswith(b"\n")
    return seconds, len(body)


def event_to_page(
    host: FakeHost, call: Callable[[Callable[[], object]], None], exporter: ExporterProcess, number: int
) -> float:
    """From the event of a container's start until a scrape has its traffic."""
    name = f"new{number}"

    def start() -> None:
        container_id = host.add_container(name, "net0")
        host.set_traffic(name, 1000, 1000)
        host.engine.emit("container", "start", container_id, name=name)

    began = time.monotonic()
    call(start)
    series = f'docker_container_network_receive_bytes_total{{container="{name}"'
    eventually(lambda: series in exporter.get("/metrics"), name, 60)
    return time.monotonic() - began


def row(name: str, value: str) -> None:
    print(f"{name:<40}{value}", flush=True)


if __name__ == "__main__":
    main()
