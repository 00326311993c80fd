"""Every kind of network: known bytes through it, attributed by name and equal to the kernel's counters."""

import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from exporter.network.counters import InterfaceCounters
from exporter.network.procfs import parse_net_dev
from tests.harness.engine import IMAGE, PrivateEngine, docker_command
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, execute, interface_of, run, send
from tests.integration.test_traffic import of_container, of_network

pytestmark = pytest.mark.engine

PAYLOAD = 1_000_000
Make = Callable[[docker.DockerClient], str]

TABLE: list[tuple[str, int, int]] = []


@pytest.fixture(scope="module", autouse=True)
def _print_table() -> Iterator[None]:
    yield
    print("\n\n| network | payload | received by the kernel = by the page |\n|---|---|---|")
    for kind, payload, received in TABLE:
        print(f"| {kind} | {payload} | {received} |")


def default_bridge(_: docker.DockerClient) -> str:
    return "bridge"


def user_defined(client: docker.DockerClient) -> str:
    client.networks.create("user-defined")
    return "user-defined"


def internal(client: docker.DockerClient) -> str:
    client.networks.create("internal", internal=True)
    return "internal"


def dual_stack(client: docker.DockerClient) -> str:
    pools = [IPAMPool(subnet="fd00:77::/64"), IPAMPool(subnet="10.77.0.0/24")]
    client.networks.create("dual-stack", enable_ipv6=True, ipam=IPAMConfig(pool_configs=pools))
    return "dual-stack"


def custom_mtu_and_name(client: docker.DockerClient) -> str:
    options = {"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "custom0"}
    client.networks.create("custom", options=options)
    return "custom"


def macvlan(client: docker.DockerClient) -> str:
    pair = ["parent0", "type", "veth", "peer", "name", "parent1"]
    subprocess.run(["ip", "link", "add", *pair], check=True)
    for name in ("parent0", "parent1"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    pools = [IPAMPool(subnet="10.88.0.0/24")]
    client.networks.create(
        "macvlan", driver="macvlan", options={"parent": "parent0"}, ipam=IPAMConfig(pool_configs=pools)
    )
    return "macvlan"


@pytest.fixture(autouse=True)
def _no_parent_left() -> Iterator[None]:
    yield
    subprocess.run(["ip", "link", "delete", "parent0"], check=False, capture_output=True)


def settled(
    exporter: ExporterProcess, container: Any, name: str, network: str, interface: str
) -> InterfaceCounters:
    """The page's counters once they are the kernel's, read before and after the scrape."""

    def equal() -> InterfaceCounters | None:
        # What a command prints may be lost by the engine: then there is nothing to compare, and it is asked again.
        before = counters_inside(container).get(interface)
        page = of_container(exporter.scrape(), name, network)
        return page if before == page == counters_inside(container).get(interface) else None

    found = eventually(equal, f"{name} on {network} equal to the kernel's counters")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("make", "family"),
    [
        (default_bridge, "IPv4"),
        (user_defined, "IPv4"),
        (internal, "IPv4"),
        (dual_stack, "IPv4"),
        (dual_stack, "IPv6"),
        (custom_mtu_and_name, "IPv4"),
        (macvlan, "IPv4"),
    ],
)
def test_known_bytes_are_attributed_by_name(
    client: docker.DockerClient, exporter: ExporterProcess, make: Make, family: str
) -> None:
    ipv6 = family == "IPv6"
    network = make(client)
    sender, receiver = run(client, "sender", network=network), run(client, "receiver", network=network)
    interface = interface_of(receiver, network)
    exporter.eventually(
        lambda s: s.series("docker_container_network_receive_bytes_total", container="receiver"), "it"
    )
    before = settled(exporter, receiver, "receiver", network, interface)
    send(sender, receiver, network, PAYLOAD, ipv6=ipv6)
    after = settled(exporter, receiver, "receiver", network, interface)
    received = after.receive_bytes - before.receive_bytes
    assert PAYLOAD < received < PAYLOAD * 1.1
    scrape = exporter.scrape()
    assert of_network(scrape, network).receive_bytes >= received
    assert scrape.value("netvol_exporter_unattributed_interfaces") == 0
    TABLE.append((f"{make.__name__}, {family}", PAYLOAD, received))


@pytest.fixture
def swarm(engine: PrivateEngine, client: docker.DockerClient) -> Iterator[None]:
    docker_command(engine, "swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    for container in client.containers.list(all=True, ignore_removed=True):
        if not container.labels.get("com.docker.swarm.service.name"):
            container.remove(force=True)
    for service in docker_command(engine, "service", "ls", "-q").split():
        docker_command(engine, "service", "rm", service)
    eventually(lambda: not client.containers.list(all=True, ignore_removed=True), "the tasks gone", 30)
    docker_command(engine, "swarm", "leave", "--force")


@pytest.mark.usefixtures("swarm")
def test_overlay_ingress_and_gateway_bridge_are_attributed(
    client: docker.DockerClient, engine: PrivateEngine, exporter: ExporterProcess
) -> None:
    docker_command(engine, "network", "create", "-d", "overlay", "--attachable", "overlay")
    sender, receiver = run(client, "sender", network="overlay"), run(client, "receiver", network="overlay")
    interface = interface_of(receiver, "overlay")
    before = settled(exporter, receiver, "receiver", "overlay", interface)
    send(sender, receiver, "overlay", PAYLOAD)
    after = settled(exporter, receiver, "receiver", "overlay", interface)
    assert PAYLOAD < after.receive_bytes - before.receive_bytes < PAYLOAD * 1.1
    TABLE.append(("overlay", PAYLOAD, after.receive_bytes - before.receive_bytes))

    docker_command(
        engine,
        "service",
        "create",
        "-d",
        "--name",
        "svc",
        "--network",
        "overlay",
        "--publish",
        "8088:80",
        IMAGE,
        "sleep",
        "99999",
    )
    filters = {"label": "com.docker.swarm.service.name=svc"}
    [task] = eventually(lambda: client.containers.list(filters=filters), "the task", 30)
    exporter.eventually(
        lambda s: len(s.series("docker_container_network_receive_bytes_total", container=task.name)) == 3,
        "3 networks",
    )
    known = {interface_of(task, network): network for network in ("overlay", "ingress")}
    [gateway] = counters_inside(task).keys() - known.keys()
    for interface, network in {**known, gateway: "docker_gwbridge"}.items():
        target = execute(task, f"ip -4 addr show dev {interface}").split("inet ")[1].split("/")[0]
        if network == "docker_gwbridge":
            target = execute(task, "ip route").split("default via ")[1].split()[0]
            execute(task, f"ping -q -c 20 -i 0.01 -s 1000 {target}")
        counters = settled(exporter, task, task.name, network, interface)
        TABLE.append((f"{network} of a service with a published port", 0, counters.receive_bytes))
    assert of_container(exporter.scrape(), task.name, "docker_gwbridge").receive_bytes > 20_000
    assert exporter.scrape().value("netvol_exporter_unattributed_interfaces") == 0


def test_host_and_none_have_no_traffic_series(client: docker.DockerClient, exporter: ExporterProcess) -> None:
    run(client, "hosted", network_mode="host")
    run(client, "silent", network_mode="none")
    scrape = exporter.eventually(lambda s: s.value("docker_network_containers", network="host") == 1, "the host's")
    assert scrape.value("docker_network_containers", network="none") == 1
    for name in ("hosted", "silent"):
        assert not scrape.series("docker_container_network_receive_bytes_total", container=name)


def test_a_joiner_is_counted_with_its_owner_also_after_the_owner_restarted(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    owner, peer = run(client, "owner", network="app"), run(client, "peer", network="app")
    joiner = run(client, "joiner", network_mode=f"container:{owner.id}")
    exporter.eventually(
        lambda s: s.series("docker_container_network_receive_bytes_total", container="owner"), "owner"
    )
    owner.restart(timeout=0)
    send(peer, owner, "app", PAYLOAD)
    settled(exporter, owner, "owner", "app", interface_of(owner, "app"))
    scrape = exporter.scrape()
    assert set(counters_inside(joiner)) == set()
    assert not scrape.series("docker_container_network_receive_bytes_total", container="joiner")
    assert PAYLOAD < of_container(scrape, "owner", "app").receive_bytes < PAYLOAD * 1.1
    owner.remove(force=True)
    gone = exporter.eventually(
        lambda s: not s.series("docker_container_info", container="owner"), "the owner gone"
    )
    assert not gone.series("docker_container_network_receive_bytes_total", container="joiner")
    assert gone.value("docker_container_state", container="joiner", state="running") == 1


def test_an_interface_and_routes_of_the_container_s_own_change_no_attribution(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    client.networks.create("app")
    peer = run(client, "peer", network="app")
    vpn = run(client, "vpn", network="app", cap_add=["NET_ADMIN"])
    exporter.eventually(lambda s: s.series("docker_container_network_receive_bytes_total", container="vpn"), "it")
    # As a VPN does: an interface of its own, the default route and a network route over it.
    execute(
        vpn, "ip link add link eth0 name tun0 type macvlan; ip addr add 10.99.0.2/24 dev tun0; ip link set tun0 up"
    )
    execute(
        vpn, "ip route del default; ip route add default dev tun0; ip route add 172.16.0.0/12 dev tun0 metric 9"
    )
    send(peer, vpn, "app", PAYLOAD)
    settled(exporter, vpn, "vpn", "app", "eth0")

    def told(scrape: Scrape) -> bool:
        return scrape.value("netvol_exporter_unattributed_interfaces") == 1

    scrape = exporter.eventually(told, "the interface of the container's own counted as unattributed")
    assert scrape.series("docker_container_network_receive_bytes_total", container="vpn", network="")
    TABLE.append(
        (
            "user_defined, container with tun0 and routes of its own",
            PAYLOAD,
            of_container(scrape, "vpn", "app").receive_bytes,
        )
    )


def test_a_burst_of_a_second_stays_visible_as_a_peak(client: docker.DockerClient, engine: PrivateEngine) -> None:
    client.networks.create("app")
    sender, receiver = run(client, "sender", network="app"), run(client, "receiver", network="app")
    with ExporterProcess(f"--engine.host={engine.host}", "--poll.interval=1s") as exporter:
        receiver.exec_run(["nc", "-l", "-p", "9000", "-e", "sh", "-c", "cat >/dev/null"], detach=True)
        receiver.reload()
        sender.reload()
        address = receiver.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
        eventually(lambda: ":2328 " in execute(receiver, "cat /proc/net/tcp /proc/net/tcp6"), "listening")
        # A burst that lies across two polls is split between them; this one begins with a poll.
        wait = "while [ ! -e /tmp/go ]; do usleep 1000; done"
        sender.exec_run(["sh", "-c", f"{wait}; timeout 1 cat /dev/zero | nc {address} 9000"], detach=True)

        def polled() -> float | None:
            name = "netvol_exporter_collector_last_success_timestamp_seconds"
            return exporter.scrape().value(name, collector="network")

        last = polled()
        eventually(lambda: polled() != last, "a poll")
        time.sleep((polled() or 0) + 1.02 - time.time())  # just after the next one
        Path(f"/proc/{sender.attrs['State']['Pid']}/root/tmp/go").touch()
        # What the burst really was: when the kernel's counter began and ceased to rise, and by how much.
        source = Path(f"/proc/{receiver.attrs['State']['Pid']}/net/dev")
        seen = [(time.monotonic(), parse_net_dev(source.read_bytes())["eth0"].receive_bytes)]
        while time.monotonic() - seen[0][0] < 2.5:
            time.sleep(0.005)
            seen.append((time.monotonic(), parse_net_dev(source.read_bytes())["eth0"].receive_bytes))
        moving = [moment for (moment, now), (_, after) in pairwise(seen) if after > now + 10_000]
        seconds, burst = moving[-1] - moving[0], seen[-1][1] - seen[0][1]

        def quiet(scrape: Scrape) -> bool:
            return (scrape.value("docker_network_receive_bytes_per_second", network="app") or 0) < burst / 100

        scrape = exporter.eventually(quiet, "the quiet after the burst", 15)
        peak = scrape.value("docker_network_receive_peak_bytes_per_second", network="app")
        assert peak is not None
        rate = burst / max(
            seconds, 1
        )  # on a busy machine it is shorter than the poll, over which it is spread then
        print(
            f"\n{burst:.3e} B in {seconds:.2f} s: {rate:.3e} B/s; peak {peak:.3e}; over 60 s {burst / 60:.3e} B/s"
        )
        assert peak == pytest.approx(rate, rel=0.1)


def test_what_stays_in_a_network_and_what_crosses_to_the_host_are_told_apart(
    client: docker.DockerClient, exporter: ExporterProcess
) -> None:
    network = client.networks.create("app")
    device = f"br-{network.id[:12]}"
    sender, receiver = run(client, "sender", network="app"), run(client, "receiver", network="app")

    def bridge() -> tuple[int, int]:
        text = subprocess.run(["cat", "/proc/net/dev"], check=True, capture_output=True).stdout
        counters = parse_net_dev(text)[device]
        return counters.receive_bytes, counters.transmit_bytes

    def told() -> tuple[float | None, float | None]:
        scrape = exporter.scrape()
        return (
            scrape.value("docker_network_egress_bytes_total", network="app"),
            scrape.value("docker_network_ingress_bytes_total", network="app"),
        )

    exporter.eventually(
        lambda s: s.value("docker_network_egress_bytes_total", network="app") is not None, "egress"
    )
    send(sender, receiver, "app", 5_000_000)
    eventually(lambda: told() == bridge(), "the bridge's own counters")
    inside = bridge()
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    execute(sender, f"ping -q -c 100 -i 0.01 -s 1000 {gateway}")
    eventually(lambda: told() == bridge(), "the bridge's own counters")
    outside = bridge()
    egress, ingress = outside[0] - inside[0], outside[1] - inside[1]
    print(f"\n5,000,000 bytes inside: egress {inside[0]}, ingress {inside[1]}; 100 pings out: {egress}, {ingress}")
    assert inside[0] < 50_000
    assert 100 * 1028 <= egress < 100 * 1028 + 1000
    assert 100 * 1042 <= ingress < 100 * 1042 + 1000
