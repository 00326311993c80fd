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
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness import privatens
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.fake_host import FakeHost
from tests.harness.wait import eventually

_PAGE_TOO_OLD_SECONDS = 1.5
"""After so long a scrape makes the exporter poll, and render a page of its own."""

_COMPARED = (
    "docker_engine_events_total",
    "docker_engine_inventory_drift_total",
    "docker_network_receive_bytes_total",
    "netvol_exporter_collector_duration_seconds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--volumes", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=60, help="length of the measurement of CPU")
    parser.add_argument("--churn-seconds", type=int, default=180, help="how long containers come and go")
    parser.add_argument("--churn", type=int, default=50, help="containers that come and go in a second")
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
            flags = (f"--engine.host={host.engine.host}", f"--path.procfs={host.procfs}", "--limit.series=0")
            launched = time.monotonic()
            with ExporterProcess(*flags, ready=False) as exporter:
                eventually(lambda: is_ready(exporter), "ready", 300)
                row("start to ready", f"{time.monotonic() - launched:.1f} s")
                row("calls to the engine until then", f"{len(host.engine.requests)}")
                measure(host, call, exporter, arguments.volumes, arguments.seconds)
                Churn(host, call, exporter, arguments.networks).run(arguments.churn, arguments.churn_seconds)
                row("SIGTERM to its end, amid a scrape", shut_down(exporter))


def populate(host: FakeHost, containers: int, networks: int, volumes: int) -> None:
    for number in range(networks):
        host.add_network(f"net{number}")
    for number in range(volumes):
        host.add_volume(f"volume{number}", b"x" * 5000)
    for number in range(containers):
        volume = f"volume{number % volumes}" if volumes else ""
        host.add_container(f"c{number}", f"net{number % networks}", volume)


Call = Callable[[Callable[[], object]], None]


def measure(host: FakeHost, call: Call, exporter: ExporterProcess, volumes: int, seconds: int) -> None:
    launched = time.monotonic()
    eventually(lambda: exporter.get("/metrics").count("\ndocker_volume_used_bytes{") >= volumes, "volumes", 300)
    row("all volumes measured after", f"{time.monotonic() - launched:.1f} s")
    own = exporter.cpu_seconds
    time.sleep(seconds)
    row("exporter's CPU, no scrapes", f"{(exporter.cpu_seconds - own) / seconds:.1%} of a core")
    polls = [poll_seconds(exporter) for _ in range(5)]
    row("one poll", f"{statistics.median(polls) * 1e3:.0f} ms (median of 5)")
    scrapes, sizes = zip(*(scrape(exporter) for _ in range(10)), strict=True)
    row(
        "one scrape, compressed",
        f"{statistics.median(scrapes) * 1e3:.0f} ms with the poll that it waits for, longest "
        f"{max(scrapes) * 1e3:.0f} ms (of 10), {sizes[-1] / 1e6:.2f} MB",
    )
    page = exporter.get("/metrics")
    series = sum(not line.startswith("#") for line in page.splitlines())
    row("page", f"{series} series, {len(page) / 1e6:.1f} MB")
    times = [event_to_page(host, call, exporter, number) for number in range(5)]
    row("event to page, with the scrape", f"{statistics.median(times):.2f} s (median of 5)")
    row("resident memory", f"{exporter.resident_bytes / 1e6:.0f} MB, {exporter.descriptors} descriptors")


def shut_down(exporter: ExporterProcess) -> str:
    """End it while it answers a scrape, which it must still do, and all within two seconds."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(scrape, exporter)
        time.sleep(_PAGE_TOO_OLD_SECONDS + 0.1)
        began = time.monotonic()
        exporter.stop()
        seconds = time.monotonic() - began
        answer.result()
    return f"{seconds:.2f} s"


class Churn:
    """Containers that come, receive some, live for a little longer than a poll, and go."""

    lives_seconds = 7

    def __init__(self, host: FakeHost, call: Call, exporter: ExporterProcess, networks: int) -> None:
        self._host, self._call, self._exporter, self._networks = host, call, exporter, networks
        self._alive: deque[str] = deque()
        self._number = 0

    def run(self, each_second: int, seconds: int) -> None:
        """Let them come and go in step with one scrape a second; print how that went."""
        before = totals(self._exporter)
        memory, descriptors = self._exporter.resident_bytes, self._exporter.descriptors
        longest, started = 0.0, time.monotonic()
        for second in range(seconds + self.lives_seconds):
            if second >= self.lives_seconds:
                self._call(lambda: self._each(each_second, self._go))
            if second < seconds:
                self._call(lambda: self._each(each_second, self._come))
            began = time.monotonic()
            self._exporter.get("/metrics")
            longest = max(longest, time.monotonic() - began)
            time.sleep(max(started + second + 1 - time.monotonic(), 0))
        row(
            "came and went",
            f"{self._number} in {time.monotonic() - started:.0f} s, longest scrape {longest:.2f} s",
        )
        time.sleep(10)
        after = totals(self._exporter)

        def rise(family: str, **labels: str) -> int:
            return int(
                sum(v for _, v in after.series(family, **labels))
                - sum(v for _, v in before.series(family, **labels))
            )

        counted = {
            "events": sum(
                rise("docker_engine_events_total", action=action) for action in ("start", "die", "destroy")
            ),
            "bytes": rise("docker_network_receive_bytes_total"),
        }
        truth = {"events": 3 * self._number, "bytes": 1000 * self._number}
        row("counted, of", f"{counted} of {truth}")
        row("drift", f"{sum(value for _, value in after.series('docker_engine_inventory_drift_total')):.0f}")
        row(
            "memory and descriptors before, after",
            f"{memory / 1e6:.0f}, {self._exporter.resident_bytes / 1e6:.0f} MB; "
            f"{descriptors}, {self._exporter.descriptors}",
        )

    def _each(self, number: int, do: Callable[[], None]) -> None:
        for _ in range(number):
            do()

    def _come(self) -> None:
        name = f"short{self._number}"
        container_id = self._host.add_container(name, f"net{self._number % self._networks}")
        self._host.set_traffic(name, 1000, 1000)
        self._host.engine.emit("container", "start", container_id, name=name)
        self._alive.append(name)
        self._number += 1

    def _go(self) -> None:
        if self._alive:
            name = self._alive.popleft()
            container_id = self._host.id_of(name)
            self._host.remove_container(name)
            for action in ("die", "destroy"):
                self._host.engine.emit("container", action, container_id, name=name)


def is_ready(exporter: ExporterProcess) -> bool:
    try:
        return bool(exporter.get("/-/ready"))
    except OSError:
        return False


def totals(exporter: ExporterProcess) -> Scrape:
    """The few families that are compared; to parse the whole page would take ten seconds."""
    lines = exporter.get("/metrics").splitlines()
    return Scrape("\n".join(line for line in lines if line.startswith(_COMPARED)) + "\n")


def poll_seconds(exporter: ExporterProcess) -> float:
    time.sleep(6)
    found = totals(exporter).value("netvol_exporter_collector_duration_seconds", collector="network")
    assert found is not None
    return found


def scrape(exporter: ExporterProcess) -> tuple[float, int]:
    time.sleep(_PAGE_TOO_OLD_SECONDS)
    started = time.monotonic()
    request = urllib.request.Request(exporter.url + "/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    seconds = time.monotonic() - started
    assert gzip.decompress(body).endswith(b"\n")
    return seconds, len(body)


def event_to_page(host: FakeHost, call: Call, exporter: ExporterProcess, number: int) -> float:
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
