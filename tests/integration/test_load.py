"""More scrapes than anybody needs."""

import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.workloads import run

pytestmark = pytest.mark.engine

POLL_SECONDS = 0.5


def test_a_storm_of_scrapes_is_answered_or_refused_and_leaves_polling_on_time(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    client.networks.create("app")
    for number in range(3):
        run(client, f"web{number}", network="app")
    flags = [f"--engine.host={engine.host}", f"--poll.interval={POLL_SECONDS}s"]
    with ExporterProcess(*flags) as exporter, ThreadPoolExecutor(50) as pool:
        descriptors = exporter.descriptors

        def scrape(_: int) -> tuple[int, float, float]:
            """Status, seconds, and when the counters on the page were polled."""
            started = time.monotonic()
            try:
                with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=30) as answer:
                    page = Scrape(answer.read().decode())
            except urllib.error.HTTPError as refused:
                return refused.code, time.monotonic() - started, 0.0
            last = page.value("netvol_exporter_collector_last_success_timestamp_seconds", collector="network")
            return 200, time.monotonic() - started, last or 0.0

        results = list(pool.map(scrape, range(1000)))
        codes = Counter(code for code, _, _ in results)
        polls = sorted({polled for code, _, polled in results if code == 200})
        pause = max(later - earlier for earlier, later in pairwise(polls))
        print(f"\n{dict(codes)}, longest {max(seconds for _, seconds, _ in results) * 1000:.0f} ms; ", end="")
        print(f"{len(polls)} polls, at most {pause:.2f} s from one to the next at an interval of {POLL_SECONDS} s")
        assert set(codes) <= {200, 503}
        assert codes[200] > 500
        assert len(polls) > 3
        assert pause < 2 * POLL_SECONDS
        time.sleep(1)
        assert exporter.descriptors <= descriptors + 5
