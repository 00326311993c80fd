"""Containers come and go for a long time beside a scraped exporter; prints how it fares. Run it with `make soak`.

Each container sends some, then tells its own last counters, which the totals are compared with at the end; so are
the events. It ends with 1 if anything is not as it should be, memory and descriptors too. As many come as the
engine can start. Once a minute: containers so far, scrapes and failed ones, the longest scrape, resident memory,
descriptors, drift.
"""

import argparse
import contextlib
import http.client
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from tests.harness import privatens
from tests.harness.engine import PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, run
from tests.integration.test_churn import leave, short_life
from tests.integration.test_traffic import of_network, total

_MOST_GROWTH = 0.02
_MOST_DESCRIPTORS = 0.15
"""They vary by some, as connections come and go with containers."""


class Soak:
    """The containers that came and went, and what they said of themselves."""

    def __init__(self, engine: PrivateEngine, seconds: float, workers: int) -> None:
        self._engine = engine
        self._end = time.monotonic() + seconds
        self._workers = workers
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.sum = NO_TRAFFIC
        self.done = 0

    def churn(self, sink: str) -> None:
        with ThreadPoolExecutor(self._workers) as pool:
            for future in [pool.submit(self._work, sink) for _ in range(self._workers)]:
                future.result()

    def _work(self, sink: str) -> None:
        with contextlib.closing(self._engine.client()) as client:
            while time.monotonic() < self._end:
                counters = short_life(client, next(self._numbers), sink, leave)
                with self._lock:
                    self.sum, self.done = total(self.sum, counters), self.done + 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=8, help="containers at a time")
    arguments = parser.parse_args()
    privatens.enter()
    clean_leftovers()
    engine = PrivateEngine()
    try:
        engine.start()
        with (
            contextlib.closing(engine.client()) as client,
            ExporterProcess(f"--engine.host={engine.host}") as exporter,
        ):
            client.networks.create("app")
            sink = run(client, "sink", network="app")
            sink.reload()
            address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
            soak = Soak(engine, arguments.minutes * 60, arguments.workers)
            before = events_of_containers(exporter.scrape())
            thread = threading.Thread(target=soak.churn, args=(address,))
            thread.start()
            seen = watch(exporter, soak, thread)

            def deviation() -> InterfaceCounters:
                truth = total(soak.sum, counters_inside(sink)["eth0"])
                told = of_network(exporter.scrape(), "app")
                # The kernel goes on counting drops on an interface that is down.
                return InterfaceCounters(*(a - b for a, b in zip(told, truth, strict=True)))._replace(
                    receive_dropped=0
                )

            with contextlib.suppress(AssertionError):
                eventually(lambda: deviation() == NO_TRAFFIC, "the totals equal", 20)
            found = deviation()
            print(f"{soak.done} containers told {soak.sum}\ndeviation of the page: {found}")
            events = {
                action: count - before[action] for action, count in events_of_containers(exporter.scrape()).items()
            }
            print(f"events of containers, each {soak.done} in truth: {events}")
            growth, descriptors = seen.rise(lambda line: line[0]), seen.rise(lambda line: line[1])
            print(f"rise from the middle third to the last: memory {growth:.1%}, descriptors {descriptors:.1%}")
            is_exact = found == NO_TRAFFIC and set(events.values()) == {soak.done} and not seen.drift
            is_right = is_exact and not seen.failed and growth < _MOST_GROWTH and descriptors < _MOST_DESCRIPTORS
    finally:
        engine.remove()
    return 0 if is_right else 1


def events_of_containers(scrape: Scrape) -> dict[str, int]:
    family = "docker_engine_events_total"
    return {
        action: int(scrape.value(family, type="container", action=action) or 0)
        for action in ("create", "start", "die", "destroy")
    }


@dataclass(slots=True)
class Seen:
    """What was seen from outside; `lines` are resident bytes and descriptors once a minute."""

    failed: int = 0
    drift: float = 0.0
    lines: list[tuple[float, float]] = field(default_factory=list)

    def rise(self, of: Callable[[tuple[float, float]], float]) -> float:
        """By how much a figure is higher in the last third of the time than in the middle; 0 of a short run."""
        third = len(self.lines) // 3
        if not third:
            return 0.0
        middle, last = self.lines[-2 * third : -third], self.lines[-third:]
        return statistics.mean(map(of, last)) / statistics.mean(map(of, middle)) - 1


def watch(exporter: ExporterProcess, soak: Soak, thread: threading.Thread) -> Seen:
    """Scrape each second as long as it lasts."""
    seen, started, scrapes, longest = Seen(), time.monotonic(), 0, 0.0
    print(
        f"{'minute':>6}{'containers':>12}{'scrapes':>9}{'failed':>8}{'longest':>10}{'MB':>8}{'fds':>6}{'drift':>7}"
    )
    next_line = started
    while thread.is_alive():
        began = time.monotonic()
        try:
            scrape: Scrape | None = exporter.scrape()
            longest = max(longest, time.monotonic() - began)
        except (OSError, http.client.HTTPException, ValueError):
            scrape, seen.failed = None, seen.failed + 1
        scrapes += 1
        if scrape is not None:
            seen.drift = sum(value for _, value in scrape.series("docker_engine_inventory_drift_total"))
        if scrape is not None and began >= next_line:
            next_line += 60
            memory, descriptors = exporter.resident_bytes, exporter.descriptors
            seen.lines.append((memory, descriptors))
            minute = (began - started) / 60
            print(
                f"{minute:>6.0f}{soak.done:>12}{scrapes:>9}{seen.failed:>8}{longest * 1000:>7.0f} ms"
                f"{memory / 1e6:>8.1f}{descriptors:>6}{seen.drift:>7.0f}",
                flush=True,
            )
        thread.join(max(1 - (time.monotonic() - began), 0))
    return seen


if __name__ == "__main__":
    sys.exit(main())
