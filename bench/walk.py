"""Measures how volumes are measured; prints what docs/volumes.md says. Run it with `make bench-walk`.

Ways to count a tree, alternating in one run: coreutils' du (which tells bytes alone), this project's walker, the
same without GNU find, and scandir-rs where it is installed. Then the exporter beside a real engine with that
tree as a volume: scrapes and pauses of the event loop with and without a walk, resident memory. Then many small
volumes: one sweep, what it costs between sweeps, and the share of time.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Volume
from exporter.metrics.runner import Runner
from exporter.volume import walker
from exporter.volume.measuring import Measuring
from exporter.volume.state import VolumeOptions
from tests.harness import privatens
from tests.harness.engine import PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess

FILES_IN_A_DIRECTORY = 1000
BESIDE_SECONDS = 60
SHARE_SECONDS = 120
SCANDIR_RS = """
import sys, scandir_rs
print(scandir_rs.Count(sys.argv[1], return_type=scandir_rs.ReturnType.Ext).collect())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="files of the big volume")
    parser.add_argument("--volumes", type=int, default=2000, help="small volumes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison")
    arguments = parser.parse_args()
    privatens.enter()
    clean_leftovers()
    engine = PrivateEngine()
    try:
        engine.start()
        with contextlib.closing(engine.client()) as client:
            path = Path(client.volumes.create("big").attrs["Mountpoint"])
            fill(path, arguments.files)
            compare(path, arguments.rounds)
            pauses(path)
            beside(engine, arguments.files)
            share(engine)
            client.volumes.get("big").remove()
            sweep(engine, client, arguments.volumes)
    finally:
        engine.remove()


def fill(path: Path, files: int) -> None:
    """Make empty files and small ones, a thousand in a directory."""
    for number in range(files // FILES_IN_A_DIRECTORY):
        folder = path / f"dir{number:05d}"
        folder.mkdir()
        descriptor = os.open(folder, os.O_RDONLY)
        for name in range(FILES_IN_A_DIRECTORY):
            file = os.open(f"some-file-name-{name:06d}.dat", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
            if name % 50 == 0:
                os.write(file, b"x" * 100 * name)
            os.close(file)
        os.close(descriptor)
    os.sync()


def compare(path: Path, rounds: int) -> None:
    ways: dict[str, Callable[[], object]] = {
        "du -s -B1 -x": lambda: subprocess.run(
            ["du", "-s", "-B1", "-x", str(path)], check=True, capture_output=True
        ),
        "walker": lambda: walker.usage(str(path), is_large=True),
        "walker without find": lambda: walker.walk(str(path)),
    }
    if importlib.util.find_spec("scandir_rs"):
        command = [sys.executable, "-c", SCANDIR_RS, str(path)]
        ways["scandir-rs"] = lambda: subprocess.run(command, check=True, capture_output=True)
    walls: dict[str, list[float]] = {name: [] for name in ways}
    processors: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, processor = time.monotonic(), cpu_seconds()
            way()
            walls[name].append(time.monotonic() - wall)
            processors[name].append(cpu_seconds() - processor)
    blocks, inodes = walker.usage(str(path))
    by_du = int(subprocess.run(["du", "-s", "-B1", "-x", path], check=True, capture_output=True).stdout.split()[0])
    print(f"\na tree of {inodes} inodes, {blocks} bytes; du says {by_du}; {rounds} rounds in turn")
    print(f"{'':<22}{'median wall':>13}{'median CPU':>13}{'least CPU':>13}{'CPU of du':>13}")
    base = statistics.median(processors["du -s -B1 -x"])
    for name in ways:
        wall, cpu = statistics.median(walls[name]), statistics.median(processors[name])
        print(f"{name:<22}{wall:>11.2f} s{cpu:>11.2f} s{min(processors[name]):>11.2f} s{cpu / base:>12.2f}x")


def pauses(path: Path) -> None:
    """The longest time that the event loop was not free, without and with a walk, in this process."""

    async def longest(measuring: Measuring | None) -> tuple[float, float]:
        task = asyncio.get_running_loop().create_task(measuring.run()) if measuring else None
        started, found = time.monotonic(), 0.0
        while time.monotonic() - started < (60 if measuring else 5):
            before = time.monotonic()
            await asyncio.sleep(0.001)
            found = max(found, time.monotonic() - before - 0.001)
            if measuring and measuring.states and measuring.states["big"].used_bytes is not None:
                break
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        return found, time.monotonic() - started

    inventory = Inventory()
    inventory.mark_listed("volume")
    inventory.put_volume(Volume("big", "local", str(path)))
    without, _ = asyncio.run(longest(None))
    measuring = Measuring(inventory, VolumeOptions(), Runner().watch)
    with_walk, seconds = asyncio.run(longest(measuring))
    print(f"\nlongest pause of the event loop: {without * 1000:.1f} ms without a walk, ", end="")
    print(f"{with_walk * 1000:.1f} ms with one")
    print(f"(the walk, at lowest priority beside the loop: {seconds:.1f} s)")


def beside(engine: PrivateEngine, files: int) -> None:
    """The exporter with the big volume, walking half of the time: scrapes and memory with and without a walk."""
    flags = ("--volume.interval=1s", "--volume.max-age=1s", "--volume.max-share=0.5")
    with ExporterProcess(f"--engine.host={engine.host}", *flags) as exporter:
        exporter.eventually(lambda scrape: scrape.value("docker_volume_used_bytes", volume="big"), "a walk", 120)
        own, theirs = [exporter.resident_bytes], [0]
        scrapes: dict[bool, list[float]] = {True: [], False: []}
        started = time.monotonic()
        while time.monotonic() - started < BESIDE_SECONDS:
            before = is_walking(exporter.pid)
            seconds = scrape_seconds(exporter)
            if is_walking(exporter.pid) == before:
                scrapes[before].append(seconds)
            own.append(exporter.resident_bytes)
            theirs.append(max((resident_bytes(pid) for pid in descendants(exporter.pid)), default=0))
    for walking, name in ((False, "without a walk"), (True, "with a walk")):
        print(
            f"scrapes {name}: median {statistics.median(scrapes[walking]) * 1000:.1f} ms ({len(scrapes[walking])})"
        )
    print(f"resident, walks of {files} files again and again: exporter {own[0] / 1e6:.1f} MB at first, ", end="")
    print(f"{own[-1] / 1e6:.1f} MB after {BESIDE_SECONDS} s; the biggest of the walker's processes ", end="")
    print(f"{theirs[1] / 1e6:.1f} MB at first, {max(theirs) / 1e6:.1f} MB at most")


def share(engine: PrivateEngine) -> None:
    """The share of time that walks take of a volume that is always due."""
    flags = ("--volume.interval=1s", "--volume.max-age=1s")
    with ExporterProcess(f"--engine.host={engine.host}", *flags) as exporter:
        exporter.eventually(lambda scrape: scrape.value("docker_volume_used_bytes", volume="big"), "a walk", 120)
        started, before, walked, looks = time.monotonic(), tree_cpu_seconds(exporter.pid), 0, 0
        while time.monotonic() - started < SHARE_SECONDS:
            walked, looks = walked + is_walking(exporter.pid), looks + 1
            time.sleep(0.05)
        processor = (tree_cpu_seconds(exporter.pid) - before) / SHARE_SECONDS
    print(f"walking again and again: {walked / looks * 100:.1f} % of the time (at most 5 is allowed), ", end="")
    print(f"{processor * 100:.1f} % of a processor, over {SHARE_SECONDS} s")


def sweep(engine: PrivateEngine, client: docker.DockerClient, volumes: int) -> None:
    """Many small volumes: time until all are measured, and what it costs when nothing happens."""
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda number: client.volumes.create(f"small{number}").name, range(volumes)))
    for name in names:
        Path(client.volumes.get(name).attrs["Mountpoint"], "file").write_bytes(b"x" * 5000)
    with ExporterProcess(f"--engine.host={engine.host}") as exporter:
        started = time.monotonic()
        exporter.eventually(lambda s: len(s.series("docker_volume_used_bytes")) == volumes, "all measured", 300)
        seconds = time.monotonic() - started
        time.sleep(5)
        before, idle = tree_cpu_seconds(exporter.pid), time.monotonic()
        time.sleep(70)
        share = (tree_cpu_seconds(exporter.pid) - before) / (time.monotonic() - idle)
        series = exporter.scrape()
        walking_seconds = sum(value for _, value in series.series("docker_volume_measurement_duration_seconds"))
    print(
        f"\n{volumes} small volumes: all measured after {seconds:.1f} s, walks together {walking_seconds:.2f} s;"
    )
    print(f"between sweeps exporter and walkers take {share * 100:.2f} % of a processor (over 70 s, no scrapes)")


def scrape_seconds(exporter: ExporterProcess) -> float:
    started = time.monotonic()
    exporter.scrape()
    elapsed = time.monotonic() - started
    time.sleep(0.22)  # the page is kept for 0.2 s
    return elapsed


def cpu_seconds() -> float:
    """Processor time of this process and its children that ended."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for child in children(pid):
            found += [child, *descendants(child)]
    return found


def is_walking(pid: int) -> bool:
    """Whether find is at work below the exporter."""
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if b"find" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
                return True
    return False


def resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def tree_cpu_seconds(pid: int) -> float:
    """Processor time of a process and all below it, with that of their children that ended."""
    total = 0.0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    main()
