"""A real Prometheus scrapes while containers come and go."""

import time

import docker
import pytest

from tests.harness.exporter import ExporterProcess
from tests.harness.prometheus import PrometheusServer, promtool_check_metrics
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, interface_of, run, send

pytestmark = pytest.mark.engine


def test_a_minute_of_coming_and_going_gives_no_failed_scrape_no_negative_rate_and_no_spike(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    stays = run(client, "stays", network="app")
    with PrometheusServer(exporter.url.removeprefix("http://")) as prometheus:
        started = time.time()
        sent = 0
        while time.time() - started < 60:
            leaves = run(client, "leaves", network="app")
            send(leaves, stays, "app", 2_000_000)
            sent += 2_000_000
            leaves.remove(force=True)
        end = time.time()
        ups = prometheus.values('up{job="netvol"}', started, end)
        rates = prometheus.values('rate(docker_network_receive_bytes_total{network="app"}[10s])', started, end)
        # On a network of containers alone one's bytes sent are another's received: all that was received is what
        # the one that stays received, and what it sent.
        counters = counters_inside(stays)[interface_of(stays, "app")]
        exchanged = counters.receive_bytes + counters.transmit_bytes
        assert set(ups) == {1.0}
        assert len(ups) >= 55
        assert min(rates) >= 0
        # What left takes nothing with it: all that was ever reported is what the kernel counted.
        assert exchanged > sent
        eventually(
            lambda: (
                prometheus.value('docker_network_receive_bytes_total{network="app"}')
                == pytest.approx(exchanged, rel=0.01)
            ),
            f"a scraped total of {exchanged} bytes",
        )
        assert max(rates) * 10 < sent
        assert all(target["lastError"] == "" for target in prometheus.targets())
        print(f"\n{len(ups)} scrapes, up always 1; rates {min(rates):.0f} to {max(rates):.0f} B/s; sent {sent}")


def test_promtool_has_nothing_to_say_about_the_page(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    client.volumes.create("data")
    run(client, "web", network="app", volumes={"data": {"bind": "/data"}})
    scrape = exporter.eventually(lambda s: s.value("docker_volume_used_bytes", volume="data"), "a full page")
    assert promtool_check_metrics(scrape.text) == ""
