"""Round-trip times: a real delay on one container's link shows on its network and on no other."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable

import docker
import pytest

from exporter.network.netlink_socket import Netlink
from tests.harness.delay import DelayedLink
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess, Scrape
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import execute, run

pytestmark = pytest.mark.engine

HISTOGRAM = "docker_network_tcp_rtt_seconds"


def listen(client: docker.DockerClient, name: str, network: str, then: str) -> str:
    """A container that listens on port 7; its address."""
    server = run(client, name, network=network)
    server.exec_run(["nc", "-l", "-p", "7", "-e", *then.split()], detach=True)
    eventually(lambda: ":0007 " in execute(server, "cat /proc/net/tcp /proc/net/tcp6"), "the server listening")
    server.reload()
    return str(server.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def talk(client: docker.DockerClient, network: str, *, listener: str = "cat") -> None:
    """Two containers with one connection, over which one sends small messages all the time."""
    address = listen(client, f"{network}-server", network, listener)
    talker = run(client, f"{network}-talker", network=network)
    talker.exec_run(["sh", "-c", f"while true; do echo ping; sleep 0.1; done | nc {address} 7"], detach=True)


def port_of(container: str, client: docker.DockerClient, bridge: str) -> str:
    """The host's end of a container's veth pair."""
    index = execute(client.containers.get(container), "cat /sys/class/net/eth0/iflink").strip()
    links = subprocess.run(
        ["ip", "-o", "link", "show", "master", bridge], check=True, capture_output=True, text=True
    )
    [line] = [line for line in links.stdout.splitlines() if line.startswith(f"{index}:")]
    return line.split()[1].partition("@")[0]


def counted(scrape: Scrape, network: str, peer: str = "network", bucket: str = "+Inf") -> float:
    return scrape.value(f"{HISTOGRAM}_bucket", network=network, peer=peer, le=bucket) or 0.0


def test_a_delay_of_twenty_milliseconds_moves_the_median_of_its_network_and_of_no_other(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    slow = client.networks.create("slow")
    client.networks.create("quick")
    for network in ("slow", "quick"):
        talk(client, network)
    bridge = f"br-{slow.id[:12]}"
    flags = [f"--engine.host={engine.host}", "--collector.rtt", "--poll.interval=0.5s"]
    with (
        ExporterProcess(*flags) as exporter,
        PrometheusServer(exporter.url.removeprefix("http://")) as prometheus,
    ):

        def median(network: str) -> float | None:
            rate = f'rate({HISTOGRAM}_bucket{{network="{network}",peer="network"}}[6s])'
            return prometheus.value(f"histogram_quantile(0.5, sum by (le) ({rate}))")

        def medians() -> dict[str, float | None]:
            return {network: median(network) for network in ("slow", "quick")}

        time.sleep(8)
        before = medians()
        with DelayedLink(port_of("slow-talker", client, bridge), bridge, 0.010):
            time.sleep(14)
            after = medians()
    print(f"\nmedian round-trip times, without the delay {before}, with it {after}")
    assert after["slow"] == pytest.approx(0.020, rel=0.1)
    for quick in (before["slow"], before["quick"], after["quick"]):
        assert quick is not None
        assert quick < 0.005


def test_who_only_receives_does_not_bring_up_its_old_time_again_and_again(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    network = client.networks.create("stream")
    talk(client, "stream", listener="sh -c cat>/dev/null")
    bridge = f"br-{network.id[:12]}"
    with ExporterProcess(f"--engine.host={engine.host}", "--collector.rtt", "--poll.interval=0.5s") as exporter:
        exporter.eventually(lambda scrape: counted(scrape, "stream") > 3, "the quick link observed", 20)
        with DelayedLink(port_of("stream-talker", client, bridge), bridge, 0.010):
            time.sleep(8)  # the smoothed time takes some round trips to follow
            before = exporter.scrape()
            after = exporter.eventually(
                lambda scrape: counted(scrape, "stream") >= counted(before, "stream") + 8,
                "the slow link observed",
                20,
            )
    quick = counted(after, "stream", bucket="0.0135") - counted(before, "stream", bucket="0.0135")
    assert quick == 0


def test_a_peer_on_the_host_is_external(client: docker.DockerClient, engine: PrivateEngine) -> None:
    client.networks.create("app")
    address = listen(client, "server", "app", "cat")
    with (
        ExporterProcess(f"--engine.host={engine.host}", "--collector.rtt", "--poll.interval=0.2s") as exporter,
        socket.create_connection((address, 7)) as connection,
    ):

        def talked(condition: Callable[[Scrape], bool]) -> Callable[[Scrape], bool]:
            def check(scrape: Scrape) -> bool:
                connection.sendall(b"ping\n")
                connection.recv(100)
                return condition(scrape)

            return check

        scrape = exporter.eventually(
            talked(lambda s: counted(s, "app", "external") > 2), "the connection observed"
        )
    assert counted(scrape, "app", "network") == 0


def test_the_namespace_of_a_container_that_ended_is_let_go(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    def is_there(namespace: int) -> bool:
        """Whether the kernel has a namespace of this id, which it takes back when it is gone."""
        command = ["ip", "netns", "list-id", "nsid", str(namespace)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def is_connected(scrape: Scrape) -> bool:
        family = "docker_container_tcp_connections"
        return scrape.value(family, container="server", state="established") == 1

    with ExporterProcess(f"--engine.host={engine.host}", "--collector.rtt", "--poll.interval=1s") as exporter:
        client.networks.create("app")
        address = listen(client, "server", "app", "cat")
        server = client.containers.get("server")
        with Netlink() as kernel:
            namespace = kernel.namespace_id(pid=server.attrs["State"]["Pid"])
        assert namespace is not None
        # Closed before the container ends: otherwise the kernel itself may keep the other end for a minute.
        with socket.create_connection((address, 7)) as connection:
            connection.sendall(b"ping\n")
            exporter.eventually(is_connected, "the connection")
            time.sleep(2)  # two polls, so that the exporter has asked for it
            assert is_there(namespace)
        server.remove(force=True)
        eventually(lambda: not is_there(namespace), "the namespace gone", 5)


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
            *("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c", program),
            *("--once", "--collector.rtt", f"--engine.host={engine.host}"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'netvol_exporter_collector_success{collector="rtt"} 0' in done.stdout
    assert 'netvol_exporter_collector_success{collector="network"} 1' in done.stdout
    assert done.stderr.count("CAP_SYS_ADMIN") == 1
