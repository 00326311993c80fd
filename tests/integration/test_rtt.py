"""Round-trip times: a real delay on one container's link shows on its network and on no other."""

import subprocess
import sys
import time

import docker
import pytest

from tests.harness.delay import DelayedLink
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import execute, run

pytestmark = pytest.mark.engine


def chatter(client: docker.DockerClient, network: str) -> None:
    """Two containers that exchange small messages over one connection all the time."""
    server, talker = (
        run(client, f"{network}-server", network=network),
        run(client, f"{network}-talker", network=network),
    )
    server.exec_run(["nc", "-l", "-p", "7", "-e", "cat"], detach=True)
    eventually(lambda: ":0007 " in execute(server, "cat /proc/net/tcp /proc/net/tcp6"), "the server listening")
    server.reload()
    address = server.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
    talker.exec_run(["sh", "-c", f"while true; do echo ping; sleep 0.1; done | nc {address} 7"], detach=True)


def port_of(container: str, client: docker.DockerClient, bridge: str) -> str:
    """The host's end of a container's veth pair."""
    index = execute(client.containers.get(container), "cat /sys/class/net/eth0/iflink").strip()
    links = subprocess.run(
        ["ip", "-o", "link", "show", "master", bridge], check=True, capture_output=True, text=True
    )
    [line] = [line for line in links.stdout.splitlines() if line.startswith(f"{index}:")]
    return line.split()[1].partition("@")[0]


def test_a_delay_of_twenty_milliseconds_moves_the_median_of_its_network_and_of_no_other(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    slow = client.networks.create("slow")
    client.networks.create("quick")
    for network in ("slow", "quick"):
        chatter(client, network)
    bridge = f"br-{slow.id[:12]}"
    flags = [f"--engine.host={engine.host}", "--collector.rtt", "--poll.interval=0.5s"]
    with (
        DelayedLink(port_of("slow-talker", client, bridge), bridge, 0.010),
        ExporterProcess(*flags) as exporter,
        PrometheusServer(exporter.url.removeprefix("http://")) as prometheus,
    ):
        time.sleep(12)

        def median(network: str) -> float | None:
            rate = f'rate(docker_network_tcp_rtt_seconds_bucket{{network="{network}",peer="network"}}[6s])'
            return prometheus.value(f"histogram_quantile(0.5, sum by (le) ({rate}))")

        medians = {network: median(network) for network in ("slow", "quick")}
        print(f"\nmedian round-trip times: {medians}")
        assert medians["slow"] == pytest.approx(0.020, rel=0.1)
        assert medians["quick"] is not None
        assert medians["quick"] < 0.005


def test_without_the_right_it_says_so_once_and_the_rest_goes_on(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    run(client, "web")
    # All rights but the one that entering a namespace needs.
    program = "import sys; from exporter.__main__ import main; sys.exit(main(sys.argv[1:]))"
    with ExporterProcess(f"--engine.host={engine.host}", "--no-collector.rtt") as exporter:
        assert "docker_network_tcp_rtt" not in exporter.scrape().text
    done = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-sys_admin",
            "--inh-caps=-sys_admin",
            sys.executable,
            "-c",
            program,
            "--once",
            "--collector.rtt",
            f"--engine.host={engine.host}",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'netvol_exporter_collector_success{collector="rtt"} 0' in done.stdout
    assert 'netvol_exporter_collector_success{collector="network"} 1' in done.stdout
    assert done.stderr.count("CAP_SYS_ADMIN") == 1
