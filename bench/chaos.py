"""Injects faults into the engine and the host beside a running exporter; prints a table. Run it with `make chaos`.

Each fault begins with everything well. While it lasts and until all is well again the page is scraped twice a
second. Columns: scrapes answered of all; the longest; seconds until docker_engine_up said 0 after the engine was
away (- where it never was); seconds from the engine's return until the page was right again, which is told by a
network that was made meanwhile; events of networks counted against those that were made; drift; resident memory
and descriptors before and after; lines logged.
"""

import argparse
import contextlib
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.harness import privatens
from tests.harness.engine import PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.wait import eventually
from tests.harness.workloads import remove_containers, run

NOBODY = 65534


@dataclass
class Watcher:
    """Scrapes in a thread of its own, and remembers what it saw."""

    exporter: ExporterProcess
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    ups: list[tuple[float, float | None]] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            started = time.monotonic()
            try:
                scrape = self.exporter.scrape()
            except OSError:
                self.failed += 1
            else:
                self.seconds.append(time.monotonic() - started)
                self.ups.append((time.monotonic(), scrape.value("docker_engine_up")))
                self.received.append(traffic(scrape))
            self._done.wait(0.5)

    def down_after(self, since: float) -> str:
        downs = [when - since for when, up in self.ups if up == 0 and when > since]
        return f"{downs[0]:.1f}" if downs else "never"


def traffic(scrape: Scrape) -> float:
    return scrape.value("docker_container_network_receive_bytes_total", container="sink", network="app") or 0.0


class Bench:
    """A real engine with two containers that talk, and an exporter beside it."""

    only = ""
    log = False

    def __init__(self, *flags: str) -> None:
        self.engine = PrivateEngine(*flags)
        self.networks = 0

    def __enter__(self) -> Self:
        self.engine.start()
        with contextlib.closing(self.engine.client()) as client:
            client.networks.create("app")
            client.volumes.create("data")
        self.populate()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.remove()

    def populate(self) -> None:
        """Start the containers that don't run (any more)."""
        with contextlib.closing(self.engine.client()) as client:
            if {container.name for container in client.containers.list()} >= {"sink", "source"}:
                return
            remove_containers(client)
            sink = run(client, "sink", network="app", volumes={"data": {"bind": "/data"}})
            sink.reload()
            address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
            run(client, "source", network="app", command=["ping", "-q", "-i", "0.1", "-s", "1000", address])

    def change(self) -> str:
        """Make a network and remove another, as events and as something to be seen on the page."""
        self.networks += 1
        with contextlib.closing(self.engine.client()) as client:
            client.networks.create(f"made{self.networks}")
            for network in client.networks.list(names=[f"made{self.networks - 1}"]):
                network.remove()
        return f"made{self.networks}"

    def suffer(  # noqa: PLR0913 - the columns of a table
        self,
        name: str,
        begin: Callable[[], object],
        end: Callable[[], object],
        seconds: float,
        *,
        is_away: bool = True,
        started_by: tuple[str, ...] = (),
    ) -> None:
        if self.only not in name:
            return
        with ExporterProcess(f"--engine.host={self.engine.host}", started_by=started_by) as exporter:
            eventually(lambda: traffic(exporter.scrape()), "traffic", 30)
            time.sleep(2)
            memory, descriptors, lines = (
                exporter.resident_bytes,
                exporter.descriptors,
                len(exporter.log.splitlines()),
            )
            before = exporter.scrape()
            watcher = Watcher(exporter)
            with watcher.watching():
                time.sleep(1)
                began = time.monotonic()
                begin()
                time.sleep(seconds)
                lived_on = watcher.received[-1] > watcher.received[0]
                end()
                returned = time.monotonic()
                made = self.change()
                exporter.eventually(lambda s: s.series("docker_network_info", network=made), "right again", 60)
                recovered = time.monotonic() - returned
            time.sleep(3)
            after = exporter.scrape()
            events = sum(
                (after.value("docker_engine_events_total", type="network", action=action) or 0)
                - (before.value("docker_engine_events_total", type="network", action=action) or 0)
                for action in ("create", "destroy")
            )
            gaps = after.value("docker_engine_event_gaps_total") or 0
            drift = sum(value for _, value in after.series("docker_engine_inventory_drift_total"))
            print(
                f"{name:<40}{len(watcher.seconds):>4} of {len(watcher.seconds) + watcher.failed:<4}"
                f"{max(watcher.seconds) * 1000:>8.0f} ms{watcher.down_after(began) if is_away else '-':>7}"
                f"{recovered:>8.1f} s{'yes' if lived_on else 'no':>8}{events:>8.0f}{gaps:>6.0f}{drift:>7.0f}"
                f"{memory / 1e6:>8.1f}{exporter.resident_bytes / 1e6:>7.1f}"
                f"{descriptors:>6}{exporter.descriptors:>5}"
                f"{len(exporter.log.splitlines()) - lines:>6}",
                flush=True,
            )
            if self.log:
                print("\n".join(exporter.log.splitlines()[lines:]))
        self.populate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long each fault lasts")
    parser.add_argument("--log", action="store_true", help="print what the exporter logged")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    Bench.only, Bench.log = arguments.only, arguments.log
    privatens.enter()
    clean_leftovers()
    print(
        f"{'fault':<40}{'scrapes':<13}{'longest':>6}{'up 0':>9}{'right':>9}{'traffic':>9}{'events':>8}{'gaps':>6}"
        f"{'drift':>7}{'MB':>8}{'after':>7}{'fds':>6}{'':>5}{'lines':>6}"
    )
    with Bench() as bench:
        engine = bench.engine
        bench.suffer("nothing", lambda: None, lambda: None, seconds, is_away=False)
        bench.suffer("engine frozen", engine.freeze, engine.thaw, seconds)
        bench.suffer("engine frozen for two minutes", engine.freeze, engine.thaw, 120)
        bench.suffer("engine stopped and started", engine.stop, engine.start, seconds)
        bench.suffer("engine killed and started", engine.kill, engine.start, seconds)
        bench.suffer("socket replaced by a file", lambda: replace_socket(engine), engine.start, seconds)
        bench.suffer(
            "permission lost",
            lambda: lose_permission(engine),
            lambda: permit(engine),
            seconds,
            started_by=as_nobody(engine),
        )
        bench.suffer(
            "out of descriptors (limit 24)",
            lambda: None,
            lambda: None,
            seconds,
            is_away=False,
            started_by=("prlimit", "--nofile=24:24"),
        )
        bench.suffer("events cut", lambda: cut_streams(engine), lambda: None, seconds, is_away=False)
    with Bench("--live-restore") as bench:
        bench.suffer("killed and started, live-restore", bench.engine.kill, bench.engine.start, seconds)
        bench.suffer("stopped and started, live-restore", bench.engine.stop, bench.engine.start, seconds)


def replace_socket(engine: PrivateEngine) -> None:
    """The engine is gone, and something else has its socket's path."""
    engine.stop()
    engine.socket.unlink(missing_ok=True)
    engine.socket.touch()


def as_nobody(engine: PrivateEngine) -> tuple[str, ...]:
    engine.root.chmod(0o755)
    engine.socket.chmod(0o666)
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def lose_permission(engine: PrivateEngine) -> None:
    """A socket that is open stays so; the engine that starts again makes it anew, for root alone."""
    engine.stop()
    engine.start()
    engine.socket.chmod(stat.S_IRUSR | stat.S_IWUSR)


def permit(engine: PrivateEngine) -> None:
    engine.socket.chmod(0o666)


def cut_streams(engine: PrivateEngine) -> None:
    """What a proxy does to an idle stream."""
    subprocess.run(["ss", "-K", "-x", "src", str(engine.socket)], check=False, capture_output=True)


if __name__ == "__main__":
    main()
