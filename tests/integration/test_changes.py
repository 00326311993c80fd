"""Changes show within a second of their event, and what is gone is gone from the page."""

import time
from collections.abc import Callable

import docker
import pytest

from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.workloads import run

pytestmark = pytest.mark.engine


def test_every_change_shows_within_a_second(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    seconds: dict[str, float] = {}

    def shows(what: str, condition: Callable[[Scrape], object]) -> None:
        started = time.monotonic()
        exporter.eventually(condition, what, 5)
        seconds[what] = time.monotonic() - started

    def traffic(scrape: Scrape, container: str, network: str) -> object:
        return scrape.series("docker_container_network_receive_bytes_total", container=container, network=network)

    app = client.networks.create("app")
    shows("network created", lambda s: s.value("docker_network_receive_bytes_total", network="app") == 0)
    web = run(client, "web", network="app")
    shows("container started", lambda s: traffic(s, "web", "app"))
    extra = client.networks.create("extra")
    extra.connect(web)
    shows("network connected", lambda s: traffic(s, "web", "extra"))
    extra.disconnect(web)
    shows("network disconnected", lambda s: not traffic(s, "web", "extra"))
    web.rename("shop")
    shows("container renamed", lambda s: traffic(s, "shop", "app") and '"web"' not in s.text)
    web.pause()
    shows("container paused", lambda s: s.value("docker_container_state", container="shop", state="paused"))
    web.unpause()
    client.volumes.create("data")
    shows("volume created", lambda s: s.value("docker_volume_info", volume="data"))
    shows("volume measured", lambda s: s.value("docker_volume_used_bytes", volume="data"))
    client.volumes.get("data").remove()
    shows("volume removed", lambda s: '"data"' not in s.text)
    web.kill()
    shows("container stopped", lambda s: not traffic(s, "shop", "app") and s.series("docker_container_info"))
    web.remove()
    shows("container removed", lambda s: '"shop"' not in s.text)
    app.remove()
    shows("network removed", lambda s: '"app"' not in s.text)
    print("\n" + "\n".join(f"{what:22} {took:.2f} s" for what, took in seconds.items()))
    assert max(seconds.values()) < 1, seconds


def test_events_are_counted_by_type_and_action(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    def count(kind: str, action: str) -> float:
        return exporter.scrape().value("docker_engine_events_total", type=kind, action=action) or 0

    before = {key: count(*key) for key in (("container", "start"), ("volume", "create"), ("container", "exec"))}
    for number in range(3):
        container = run(client, f"c{number}")
        container.exec_run("true")
    client.volumes.create("data")
    exporter.eventually(lambda _: count("container", "exec") == before["container", "exec"] + 9, "the exec events")
    assert count("container", "start") == before["container", "start"] + 3
    assert count("volume", "create") == before["volume", "create"] + 1
    assert exporter.scrape().value("docker_engine_inventory_drift_total", kind="container") == 0


def test_health_and_restarts_are_told(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    healthcheck = {"test": ["CMD-SHELL", "test -e /tmp/well"], "interval": 200_000_000, "retries": 1}
    sick = run(client, "sick", healthcheck=healthcheck)
    exporter.eventually(
        lambda s: s.value("docker_container_health", container="sick", status="unhealthy"), "unhealthy"
    )
    sick.exec_run("touch /tmp/well")
    exporter.eventually(
        lambda s: s.value("docker_container_health", container="sick", status="healthy"), "healthy"
    )
    sick.stop(timeout=0)
    exporter.eventually(lambda s: s.value("docker_container_state", container="sick", state="exited"), "its end")
    assert not exporter.scrape().series("docker_container_health", container="sick")
    run(client, "loop", command=["false"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
    exporter.eventually(
        lambda s: s.value("docker_container_restarts_total", container="loop") == 2, "two restarts"
    )
