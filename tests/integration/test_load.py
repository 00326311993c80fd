"""More scrapes than anybody needs."""

import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
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

        def scrape(_: int) -> tuple[int, float]:
            started = time.monotonic()
            try:
                with urllib.request.urlopen(f"{exporter.url}/metrics", timeout=30) as answer:
                    answer.read()
                    return answer.status, time.monotonic() - started
            except urllib.error.HTTPError as refused:
                return refused.code, time.monotonic() - started

        ages = []
        storm = pool.map(scrape, range(1000))
        results = []
        for result in storm:
            results.append(result)
            if len(results) % 100 == 0:
                labels = {"collector": "network"}
                last = exporter.scrape().value(
                    "netvol_exporter_collector_last_success_timestamp_seconds", **labels
                )
                ages.append(time.time() - (last or 0))
        codes = Counter(code for code, _ in results)
        print(f"\n{dict(codes)}, longest {max(seconds for _, seconds in results) * 1000:.0f} ms; ", end="")
        print(f"counters at most {max(ages):.2f} s old at polls every {POLL_SECONDS} s")
        assert set(codes) <= {200, 503}
        assert codes[200] > 500
        assert max(ages) < 2 * POLL_SECONDS
        time.sleep(1)
        assert exporter.descriptors <= descriptors + 5
