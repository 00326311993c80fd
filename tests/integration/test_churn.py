"""Containers that live shorter than a poll: with the kernel's messages about links, no byte is lost."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from exporter.network.procfs import parse_net_dev
from tests.harness.engine import IMAGE, PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, run
from tests.integration.test_traffic import of_network, total

pytestmark = pytest.mark.engine

CONTAINERS = 200


def short_life(
    client: docker.DockerClient, number: int, sink: str, end: Callable[[object], None]
) -> InterfaceCounters:
    """Start a container that sends some and then tells its own last counters; nothing is counted after that.

    It takes its interface down before it reads them: broadcasts of others would still be counted otherwise.
    """
    generator = random.Random(number)
    pings, seconds = generator.randint(1, 20), generator.uniform(0.2, 1)
    script = (
        f"ping -q -c {pings} -i 0.01 -s {generator.randint(100, 1400)} {sink} >/dev/null; sleep {seconds:.2f};"
        "ip link set eth0 down; cat /proc/net/dev; echo told; exec sleep ${STAY}"
    )
    container = client.containers.run(
        IMAGE,
        ["sh", "-c", script],
        name=f"short{number}",
        detach=True,
        network="app",
        cap_add=["NET_ADMIN"],
        environment={"STAY": "0" if end is leave else "1000"},
    )
    if end is leave:
        container.wait()
    eventually(lambda: b"told" in container.logs(), f"the last words of short{number}", 60)
    counters = parse_net_dev(container.logs())["eth0"]
    end(container)
    return counters


def leave(container: object) -> None:
    container.wait()  # type: ignore[attr-defined]
    container.remove()  # type: ignore[attr-defined]


def kill(container: object) -> None:
    container.kill()  # type: ignore[attr-defined]
    container.remove()  # type: ignore[attr-defined]


def remove(container: object) -> None:
    container.remove(force=True)  # type: ignore[attr-defined]


def churn(client: docker.DockerClient, count: int, sink: str, end: Callable[[object], None]) -> InterfaceCounters:
    with ThreadPoolExecutor(8) as pool:
        counters = list(pool.map(lambda number: short_life(client, number, sink, end), range(count)))
    summed = NO_TRAFFIC
    for each in counters:
        summed = total(summed, each)
    return summed


@pytest.mark.parametrize(("end", "count"), [(leave, CONTAINERS), (kill, 50), (remove, 50)])
def test_the_totals_are_the_sum_of_the_containers_own_last_counters(
    client: docker.DockerClient, engine: PrivateEngine, end: Callable[[object], None], count: int
) -> None:
    with ExporterProcess(f"--engine.host={engine.host}", "--poll.interval=5s") as exporter:
        client.networks.create("app")
        sink = run(client, "sink", network="app")
        sink.reload()
        address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
        started = time.monotonic()
        expected = churn(client, count, address, end)
        seconds = time.monotonic() - started

        def deviation() -> InterfaceCounters:
            told, truth = of_network(exporter.scrape(), "app"), total(expected, counters_inside(sink)["eth0"])
            # The kernel goes on counting drops on an interface that is down, after the container read its last.
            return InterfaceCounters(*(a - b for a, b in zip(told, truth, strict=True)))._replace(
                receive_dropped=0
            )

        try:
            eventually(lambda: deviation() == NO_TRAFFIC, "the sum", 15)
        finally:
            print(
                f"\n{count} containers in {seconds:.0f} s, {end.__name__}: sum {expected}, deviation {deviation()}"
            )
            scrape = exporter.scrape()
            assert scrape.value("netvol_exporter_netlink_overruns_total") == 0


def test_without_the_host_s_network_namespace_what_no_poll_saw_is_lost_and_nothing_is_made_up(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    with ExporterProcess(f"--engine.host={engine.host}", "--poll.interval=5s", own_network=True) as exporter:
        client.networks.create("app")
        sink = run(client, "sink", network="app")
        sink.reload()
        address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
        expected = churn(client, 40, address, leave)
        time.sleep(6)
        told = of_network(exporter.scrape(), "app")
        truth = total(expected, counters_inside(sink)["eth0"])
        share = told.transmit_bytes / truth.transmit_bytes
        print(f"\nwithout link messages: {told.transmit_bytes} of {truth.transmit_bytes} bytes, {share:.1%}")
        assert all(a <= b for a, b in zip(told, truth, strict=True))
        assert exporter.scrape().value("docker_network_egress_bytes_total", network="app") is None


def test_a_restart_of_the_exporter_in_the_middle_makes_no_false_jump(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    client.networks.create("app")
    sink = run(client, "sink", network="app")
    sink.reload()
    address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
    exporter = ExporterProcess(f"--engine.host={engine.host}")
    exporter.start()
    with PrometheusServer(exporter.url.removeprefix("http://")) as prometheus:
        first = churn(client, 20, address, leave)
        time.sleep(2)
        exporter.stop()
        exporter.start()
        time.sleep(2)
        second = churn(client, 20, address, leave)
        time.sleep(2)
        increase = prometheus.value('sum(increase(docker_network_receive_bytes_total{network="app"}[5m]))')
        raw = prometheus.values(
            'docker_network_receive_bytes_total{network="app"}', time.time() - 300, time.time()
        )
        exporter.stop()
    truth = first.receive_bytes + second.receive_bytes + counters_inside(sink)["eth0"].receive_bytes
    print(f"\nincrease() {increase}, truth {truth}, highest sample {max(raw)}")
    assert increase is not None
    # increase() extrapolates to the edges of its window, and the first sample of a counter is no increase.
    assert increase < truth * 1.1
    assert increase > second.receive_bytes
