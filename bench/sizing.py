"""Measures what a container, a network and a volume cost in series, and those series in a real Prometheus.

Run it with `make bench-sizing`. Series are counted on the page beside a real engine, before and after one more
object. Memory and disk are those of a real Prometheus that scrapes a fake host often: in two minutes it gets
as many samples of each series as in two hours at 15 s, when it writes them to disk: then its memory is largest.
"""

import argparse
import contextlib
import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import docker

from tests.harness import privatens
from tests.harness.engine import IMAGE, PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.fake_host import FakeHost
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import remove_containers, run

SCRAPES = 480
"""In two hours at 15 s, which is when Prometheus writes a block."""

SCRAPE_SECONDS = 0.25
_SETTLE_SECONDS = 12.0
_DAY_SAMPLES = 24 * 3600 / 15
_KEEP_DAYS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=400)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--volumes", type=int, default=100)
    arguments = parser.parse_args()
    privatens.enter()
    count_series()
    with TemporaryDirectory(prefix="nv-", dir="/dev/shm") as folder:
        host = FakeHost(FakeEngine(Path(folder) / "docker.sock"), Path(folder))
        for number in range(arguments.networks):
            host.add_network(f"net{number}")
        for number in range(arguments.volumes):
            host.add_volume(f"volume{number}", b"x" * 5000)
        for number in range(arguments.containers):
            network, volume = f"net{number % arguments.networks}", number < arguments.volumes
            host.add_container(f"c{number}", network, f"volume{number}" if volume else "")
        print(
            f"\n{arguments.containers} containers, {arguments.networks} networks, {arguments.volumes} volumes; "
            f"{SCRAPES} scrapes, as in two hours at 15 s"
        )
        with served(host.engine):
            measure_prometheus(host, arguments.containers)


def count_series() -> None:
    engine = PrivateEngine()
    try:
        engine.start()
        with (
            contextlib.closing(engine.client()) as client,
            ExporterProcess(f"--engine.host={engine.host}", "--poll.interval=1s") as exporter,
        ):
            client.networks.create("first")
            client.volumes.create("first")
            run(client, "first", network="first", volumes={"first": {"bind": "/data"}})
            last = settled(exporter)
            row("series beside one container, network and volume", f"{len(last)}")
            for what, name, add in additions(client):
                add()
                now = settled(exporter)
                # The others are counted once however many there are, such as those of a kind of event.
                row(
                    f"one more {what}",
                    f"+{sum(name in one for one in now - last)} with its name, +{len(now - last)}",
                )
                last = now
            remove_containers(client)
    finally:
        engine.remove()


def additions(client: docker.DockerClient) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """What is added, a text in its series, and how it is added."""
    mounts = {"first": {"bind": "/data"}}
    yield "network", 'network="more"', lambda: client.networks.create("more")
    yield "volume", 'volume="more"', lambda: client.volumes.create("more")
    yield "container on one network", '"plain"', lambda: run(client, "plain", network="first")
    yield "network of a container", '"plain"', lambda: client.networks.get("more").connect("plain")
    yield "such with a volume", '"mounts"', lambda: run(client, "mounts", network="first", volumes=mounts)
    yield "container that doesn't run", '"idle"', lambda: client.containers.create(IMAGE, ["true"], name="idle")


def settled(exporter: ExporterProcess) -> set[str]:
    """The series of the page, once it stands: TCP is read every ten seconds."""
    time.sleep(_SETTLE_SECONDS)
    eventually(lambda: series(exporter) == series(exporter), "a page that stands", 60)
    return series(exporter)


def series(exporter: ExporterProcess) -> set[str]:
    page = exporter.get("/metrics").splitlines()
    return {line.rpartition(" ")[0] for line in page if line and not line.startswith("#")}


def measure_prometheus(host: FakeHost, containers: int) -> None:
    flags = (f"--engine.host={host.engine.host}", f"--path.procfs={host.procfs}", "--poll.interval=100ms")
    with ExporterProcess(*flags) as exporter:
        page = len(settled(exporter))
        target = f"127.0.0.1:{exporter.port}"
        interval = f"{round(SCRAPE_SECONDS * 1000)}ms"
        with (
            traffic(host),
            PrometheusServer(target, interval=interval, flags=["--web.enable-admin-api"]) as server,
        ):
            appended = "prometheus_tsdb_head_samples_appended_total"
            eventually(lambda: own(server, appended) > SCRAPES * page, f"{SCRAPES} scrapes", 900)
            samples = own(server, appended)
            head = own(server, "prometheus_tsdb_head_series")
            resident = own(server, "process_resident_memory_bytes")
            log = size(server.data / "wal") + size(server.data / "chunks_head")
            block = snapshot(server)
        with PrometheusServer(interval="1s") as idle:
            time.sleep(_SETTLE_SECONDS)
            empty = own(idle, "process_resident_memory_bytes")
    per_series, per_sample = (resident - empty) / head, block / samples
    hundred = head * 100 / containers
    row("series", f"{head:.0f}, {hundred:.0f} per 100 containers")
    row("resident memory of an empty Prometheus", f"{empty / 1e6:.0f} MB")
    row("resident memory", f"{resident / 1e6:.0f} MB, {per_series / 1e3:.1f} kB a series")
    row("write-ahead log and head chunks", f"{log / 1e6:.0f} MB, {log / samples:.1f} B a sample")
    row("block on disk, with its index", f"{block / 1e6:.1f} MB, {per_sample:.2f} B a sample")
    row("100 containers: memory", f"{hundred * per_series / 1e6:.0f} MB")
    row("100 containers: disk a day at 15 s", f"{hundred * _DAY_SAMPLES * per_sample / 1e6:.0f} MB")
    days = hundred * _DAY_SAMPLES * per_sample * _KEEP_DAYS / 1e9
    row(f"100 containers: disk in {_KEEP_DAYS} days", f"{days:.2f} GB")


@contextmanager
def traffic(host: FakeHost) -> Iterator[None]:
    """Let three of four containers send and receive something between two scrapes."""
    stop = threading.Event()

    def move() -> None:
        chance = random.Random(1)
        totals = dict.fromkeys(host.pids, 0)
        while not stop.wait(SCRAPE_SECONDS):
            for number, name in enumerate(totals):
                if number % 4:
                    totals[name] += round(chance.lognormvariate(10, 2))
                    host.set_traffic(name, totals[name], totals[name] // 3)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def own(server: PrometheusServer, name: str) -> float:
    """A value of Prometheus' own page."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.split("{")[0].split(" ")[0] == name:
                return float(line.split()[-1])
    return 0.0


def snapshot(server: PrometheusServer) -> int:
    """The bytes of a block with all that was scraped."""
    request = urllib.request.Request(f"{server.url}/api/v1/admin/tsdb/snapshot", method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        name = json.load(answer)["data"]["name"]
    return size(server.data / "snapshots" / name)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def row(name: str, value: str) -> None:
    print(f"{name:<55}{value}", flush=True)


if __name__ == "__main__":
    main()
