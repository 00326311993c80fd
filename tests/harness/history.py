"""Hours of made-up history of some hosts, as OpenMetrics text from which promtool makes blocks of a Prometheus.

Pictures of dashboards want curves of a day at work, and nobody can wait for them. Names and labels are checked
against the catalogue, so that the history can't tell what the exporter doesn't.
"""

import math
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from exporter.metrics.catalogue import CATALOGUE, Kind

HOUR = 3600
MIB, GIB = 2**20, 2**30
Curve = Callable[[float], float]
"""A value at seconds since the history's start."""

_PROJECTS = ("shop", "wiki", "mail", "forge", "chat", "metrics")
_SERVICES = ("web", "db", "worker", "cache", "queue", "search")
_VOLUMES = ("db-data", "uploads", "cache", "index", "queue", "logs")
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_EXACT = {family.name: set(family.labels) for family in CATALOGUE if family.kind is not Kind.HISTOGRAM}
_HISTOGRAMS = {family.name: set(family.labels) for family in CATALOGUE if family.kind is Kind.HISTOGRAM}


@dataclass(frozen=True)
class Scale:
    """How much there is: of each project on each host one network, and as many containers and volumes as said."""

    hosts: int = 2
    projects: int = 4
    containers: int = 3
    volumes: int = 2


@dataclass(frozen=True)
class Writer:
    """Writes series of one host over a time range."""

    out: TextIO
    start: float
    end: float
    step: float
    instance: str = ""

    def gauge(self, name: str, value: float | Curve, **labels: str) -> None:
        """A value that does not change, or a curve."""
        assert name not in _EXACT or set(labels) <= _EXACT[name], (name, labels)
        told = {**labels, "instance": self.instance, "job": "netvol"}
        head = name + "{" + ",".join(f'{key}="{text}"' for key, text in told.items()) + "} "
        for number in range(int((self.end - self.start) / self.step) + 1):
            since = number * self.step
            self.out.write(f"{head}{value(since) if callable(value) else value:.10g} {self.start + since:.0f}\n")

    def counter(self, name: str, rate: float | Curve, **labels: str) -> None:
        """A counter by its rate; one of events, which are few, rises by whole numbers."""
        total = 0.0

        def grown(since: float) -> float:
            nonlocal total
            total += (rate(since) if callable(rate) else rate) * self.step
            return (
                math.floor(total) if name.endswith(("events_total", "restarts_total", "errors_total")) else total
            )

        self.gauge(name, grown, **labels)

    def histogram(self, name: str, rate: float, median: float, **labels: str) -> None:
        """A histogram of values that are spread around a median, which comes and goes within hours."""
        assert set(labels) == _HISTOGRAMS[name]

        def here(since: float) -> float:
            return median * (1 + 0.4 * math.sin(since / 4000 + median * 1e5))

        def share(bound: float, since: float) -> float:
            return rate / (1 + (here(since) / bound) ** 3)

        def recorded(times: float, since: float) -> float:
            return times * here(since)

        # What the rules record of it: as many times the median as share() says.
        for quantile, times in (("p50", 1.0), ("p95", (0.95 / 0.05) ** (1 / 3))):
            self.gauge(f"instance_network:{name}:{quantile}_rate5m", partial(recorded, times), **labels)
        for bound in _BUCKETS:
            self.counter(f"{name}_bucket", partial(share, bound), **labels, le=f"{bound:g}")
        self.counter(f"{name}_bucket", rate, **labels, le="+Inf")
        self.counter(f"{name}_count", rate, **labels)


def make_blocks(folder: Path, scale: Scale, start: float, end: float, step: float) -> Path:
    """A data folder for a Prometheus with the whole history in it."""
    text, data = folder / "history.om", folder / "data"
    with text.open("w") as out:
        write(out, scale, start, end, step)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text.unlink()
    return data


def write(out: TextIO, scale: Scale, start: float, end: float, step: float) -> None:
    """The whole history."""
    chance = random.Random(6)
    for number in range(scale.hosts):
        host = Writer(out, start, end, step, f"10.0.0.{11 + number}:10420")
        _write_host(host, scale, chance)
        for place in range(scale.projects):
            name = _PROJECTS[place % len(_PROJECTS)] + (f"-{place}" if place >= len(_PROJECTS) else "")
            _write_network(host, scale, chance, name, base=4e6 / (place + 1) ** 1.5 * (number + 1))
            _write_volumes(host, scale, chance, name)
        if number == 0:
            _write_trouble(host)
    out.write("# EOF\n")


def busy(chance: random.Random, base: float, *, burst: float = 1) -> Curve:
    """Work that comes and goes within hours, with noise and now and then a burst."""
    phase, period = chance.random() * 7, chance.uniform(1.5, 5) * HOUR
    until = 0.0

    def rate(since: float) -> float:
        nonlocal until
        if chance.random() < 0.004:
            until = since + chance.uniform(120, 900)
        wave = 1 + 0.45 * math.sin(phase + 2 * math.pi * since / period)
        return base * wave * chance.lognormvariate(0, 0.06) * (burst if since < until else 1)

    return rate


def _write_host(host: Writer, scale: Scale, chance: random.Random) -> None:
    containers = scale.projects * scale.containers
    host.gauge("up", 1)
    host.gauge("scrape_duration_seconds", lambda _: 0.006 * chance.lognormvariate(0, 0.2))
    host.gauge("docker_engine_up", 1)
    engine = {"version": "28.5.2", "api_version": "1.51", "os": "Debian GNU/Linux 12", "kernel": "6.1.0-40-amd64"}
    host.gauge("docker_engine_info", 1, **engine, storage_driver="overlay2", cgroup_version="2", rootless="false")
    host.gauge("docker_engine_containers", containers, state="running")
    host.gauge("docker_engine_containers", 2, state="exited")
    host.gauge("docker_engine_networks", scale.projects + 1, driver="bridge")
    host.gauge("docker_engine_volumes", scale.projects * scale.volumes, driver="local")
    host.gauge("docker_engine_event_stream_connected", 1)
    for action, daily in (("start", 240), ("die", 230), ("health_status", 20), ("oom", 9), ("create", 220)):
        host.counter(
            "docker_engine_events_total", busy(chance, daily / 86400, burst=9), type="container", action=action
        )
    for action, kind in (("connect", "network"), ("disconnect", "network"), ("mount", "volume")):
        host.counter("docker_engine_events_total", busy(chance, 240 / 86400, burst=9), type=kind, action=action)
    for name in ("event_stream_reconnects", "event_gaps"):
        host.counter(f"docker_engine_{name}_total", 2 / 86400 if "stream" in name else 0)
    host.counter("docker_engine_inventory_drift_total", 0, kind="container")
    for endpoint, rate, median in (
        ("_ping", 0.5, 0.0008),
        ("containers/json", 0.004, 0.009),
        ("volumes", 0.004, 0.004),
    ):
        host.histogram("docker_engine_request_duration_seconds", rate, median, endpoint=endpoint)
    host.gauge("netvol_exporter_build_info", 1, version="0.1.0", revision="4f2a9c1", python="3.13.5")
    for collector, seconds in (
        ("engine", 0.002),
        ("network", 0.004),
        ("tcp", 0.006),
        ("rtt", 0.01),
        ("volume", 0.03),
    ):
        host.gauge("netvol_exporter_collector_success", 1, collector=collector)
        host.gauge(
            "netvol_exporter_collector_duration_seconds",
            lambda _, seconds=seconds: seconds * chance.lognormvariate(0, 0.25),  # type: ignore[misc]
            collector=collector,
        )
        host.gauge(
            "netvol_exporter_collector_last_success_timestamp_seconds",
            lambda since: host.start + since - 2 - chance.uniform(0, 0.5),
            collector=collector,
        )
    host.gauge("netvol_exporter_unattributed_interfaces", 0)
    host.counter("netvol_exporter_netlink_overruns_total", 0)
    series = 60 * containers
    host.gauge("netvol_exporter_series", series)
    host.gauge("netvol_exporter_page_bytes", series * 110)
    host.counter("netvol_exporter_scrapes_total", 1 / 15, code="200")
    host.counter("process_cpu_seconds_total", busy(chance, 0.011))
    host.gauge("process_resident_memory_bytes", lambda _: 61 * MIB + chance.uniform(0, 0.4) * MIB)
    host.gauge("process_open_fds", 30 + 2 * containers)
    host.gauge("process_max_fds", 1024 * 1024)
    disk = {"filesystem": "/", "device": "/dev/sda1", "fstype": "ext4"}
    host.gauge("docker_filesystem_size_bytes", 220 * GIB, **disk)
    growth = chance.uniform(0.2, 0.5)
    host.gauge("docker_filesystem_available_bytes", lambda since: (70 - growth * since / HOUR) * GIB, **disk)
    host.gauge("docker_filesystem_inodes", 14.6e6, **disk)
    host.gauge("docker_filesystem_inodes_free", 12.9e6, **disk)
    for anonymous, amount in (("true", 7), ("false", 1)):
        host.gauge("docker_volume_dangling", amount, anonymous=anonymous)
        host.gauge("docker_volume_dangling_bytes", amount * 310 * MIB, anonymous=anonymous)


def _write_network(host: Writer, scale: Scale, chance: random.Random, project: str, base: float) -> None:
    network, subnet = f"{project}_default", f"172.{18 + len(project)}.0.0/24"
    described = {
        "driver": "bridge",
        "scope": "local",
        "compose_project": project,
        "mtu": "1500",
        "internal": "false",
    }
    host.gauge("docker_network_info", 1, network=network, **described)
    host.gauge("docker_network_containers", scale.containers, network=network)
    host.gauge("docker_network_addresses", 254, network=network, subnet=subnet)
    host.gauge("docker_network_addresses_used", 236 if project == "forge" else 9, network=network, subnet=subnet)
    receive, transmit = busy(chance, base, burst=4), busy(chance, base * 0.8, burst=3)
    for direction, rate in (("receive", receive), ("transmit", transmit)):
        host.counter(f"docker_network_{direction}_bytes_total", rate, network=network)
        host.counter(
            f"docker_network_{direction}_packets_total", busy(chance, base / 900, burst=3), network=network
        )
        host.counter(f"docker_network_{direction}_errors_total", 0, network=network)
        drops = busy(chance, 0.4, burst=20) if project == "shop" and direction == "receive" else 0
        host.counter(f"docker_network_{direction}_packets_dropped_total", drops, network=network)
        peak = busy(chance, base * 2.2, burst=4)
        host.gauge(f"docker_network_{direction}_peak_bytes_per_second", peak, network=network)
    host.counter("docker_network_egress_bytes_total", busy(chance, base * 0.3, burst=2), network=network)
    host.counter("docker_network_ingress_bytes_total", busy(chance, base * 0.2, burst=2), network=network)
    for peer, median in (("network", 0.0004), ("external", 0.018)):
        median_here = median * chance.uniform(0.7, 2)
        host.histogram("docker_network_tcp_rtt_seconds", 2, median_here, network=network, peer=peer)
    for number in range(scale.containers):
        service = _SERVICES[number % len(_SERVICES)]
        name = f"{project}-{service}-{1 + number // len(_SERVICES)}"
        _write_container(host, chance, name, project, service, network, base / (number + 1.3), number)


def _write_container(  # noqa: PLR0917 - a row of a table
    host: Writer,
    chance: random.Random,
    name: str,
    project: str,
    service: str,
    network: str,
    base: float,
    number: int,
) -> None:
    described = {"container_id": f"{chance.getrandbits(48):012x}", "image": f"{service}:1"}
    host.gauge(
        "docker_container_info", 1, container=name, **described, compose_project=project, compose_service=service
    )
    host.gauge("docker_container_state", 1, container=name, state="running")
    place = {"interface": "eth0", "ip_address": f"172.18.{number // 250}.{number % 250 + 2}", "ipv6_address": ""}
    host.gauge("docker_container_network_info", 1, container=name, network=network, **place, mac_address="")
    for direction in ("receive", "transmit"):
        rate = busy(chance, base, burst=3)
        host.counter(f"docker_container_network_{direction}_bytes_total", rate, container=name, network=network)
    sent = busy(chance, base / 1400)
    host.counter("docker_container_tcp_sent_segments_total", sent, container=name)
    lost = 0.03 if name == "shop-worker-1" else 0.0008
    host.counter(
        "docker_container_tcp_retransmitted_segments_total", busy(chance, base / 1400 * lost), container=name
    )
    overflows = busy(chance, 0.02, burst=30) if service == "db" else 0.0
    host.counter("docker_container_tcp_listen_overflows_total", overflows, container=name)
    connections = busy(chance, 4 + base / 2e5)
    host.gauge(
        "docker_container_tcp_connections", lambda t: round(connections(t)), container=name, state="established"
    )
    host.counter("docker_container_restarts_total", 0, container=name)
    host.counter("docker_container_oom_events_total", 0, container=name)


def _write_volumes(host: Writer, scale: Scale, chance: random.Random, project: str) -> None:
    hours = (host.end - host.start) / HOUR
    for number, what in enumerate(_VOLUMES[: scale.volumes]):
        volume = f"{project}_{what}"
        source = ("quota", "filesystem", "mount", "declared", "filesystem")[(number + len(project)) % 5]
        capacity = 220 * GIB if source == "filesystem" else chance.choice((5, 10, 20, 50)) * GIB
        begin = chance.uniform(0.05, 0.6) * min(capacity, 50 * GIB)
        growth = chance.choice((0, 0.01, 0.04)) * begin / hours
        if project == "shop" and number == 0:
            source, capacity, begin, growth = "quota", 20 * GIB, 15.5 * GIB, 0.66 * GIB / HOUR * 6 / max(hours, 6)
            growth *= HOUR
        described = {"driver": "local", "scope": "local", "compose_project": project, "compose_volume": what}
        kind = "tmpfs" if source == "mount" else "directory"
        host.gauge(
            "docker_volume_info",
            1,
            volume=volume,
            **described,
            kind=kind,
            capacity_source=source,
            filesystem="/",
            anonymous="false",
        )

        def used(since: float, begin: float = begin, growth: float = growth) -> float:
            return begin + growth * since / HOUR

        free = 70 * GIB if source == "filesystem" else capacity
        taken = 0.0 if source == "filesystem" else 1.0
        host.gauge("docker_volume_used_bytes", used, volume=volume)
        host.gauge("docker_volume_capacity_bytes", capacity, volume=volume)
        host.gauge(
            "docker_volume_available_bytes",
            lambda since, free=free, taken=taken: free - taken * used(since),  # type: ignore[misc]
            volume=volume,
        )
        inodes = 2e6 if number % 2 else 5e5
        host.gauge("docker_volume_inodes", inodes, volume=volume)
        host.gauge("docker_volume_inodes_free", inodes * chance.uniform(0.4, 0.95), volume=volume)
        host.gauge("docker_volume_containers", 1, volume=volume, state="running")
        host.gauge("docker_volume_containers", 0, volume=volume, state="stopped")
        user = f"{project}-{_SERVICES[number % scale.containers]}-1"
        host.gauge(
            "docker_volume_mount_info", 1, volume=volume, container=user, destination=f"/{what}", read_only="false"
        )
        host.gauge("docker_volume_encrypted", 0, volume=volume)
        age = chance.uniform(20, 600)
        host.gauge(
            "docker_volume_measured_timestamp_seconds",
            lambda since, age=age: host.start + since - (since + age) % 900,  # type: ignore[misc]
            volume=volume,
        )
        host.gauge("docker_volume_measurement_duration_seconds", chance.uniform(0.002, 3), volume=volume)
        host.counter("docker_volume_measurement_errors_total", 0, volume=volume, reason="timeout")


def _write_trouble(host: Writer) -> None:
    """A container that restarts again and again, one that is unhealthy, a volume that nobody uses, and alerts."""
    for name, state in (("shop-import-1", "restarting"), ("wiki-search-1", "running")):
        host.gauge("docker_container_info", 1, container=name, compose_project=name.partition("-")[0])
        host.gauge("docker_container_state", 1, container=name, state=state)
    host.gauge("docker_container_health", 1, container="wiki-search-1", status="unhealthy")
    host.counter("docker_container_restarts_total", 11 / HOUR, container="shop-import-1")
    host.counter("docker_container_oom_events_total", 2 / HOUR, container="shop-import-1")
    host.gauge("docker_volume_info", 1, volume="old_backup", driver="local", kind="directory", compose_project="")
    host.gauge("docker_volume_used_bytes", 4.2 * GIB, volume="old_backup")
    host.gauge("docker_volume_containers", 0, volume="old_backup", state="running")
    for alert, severity, age, labels in _alerts():
        late = replace(host, start=max(host.end - age, host.start))
        told = {"alertname": alert, "severity": severity, **labels}
        since = late.start
        late.gauge("ALERTS", 1, **told, alertstate="firing")
        late.gauge("ALERTS_FOR_STATE", since, **told)


def _alerts() -> Iterator[tuple[str, str, float, dict[str, str]]]:
    yield "DockerVolumeFillingUp", "critical", 700, {"volume": "shop_db-data"}
    yield "DockerVolumeFillingUp", "warning", 2.6 * HOUR, {"volume": "shop_db-data"}
    pool = {"network": "forge_default", "subnet": "172.23.0.0/24"}
    yield "DockerNetworkAddressesNearlyExhausted", "warning", 9 * HOUR, pool
    yield "DockerContainerUnhealthy", "warning", 1.2 * HOUR, {"container": "wiki-search-1", "status": "unhealthy"}
    yield "DockerContainerRestartLoop", "warning", 4 * HOUR, {"container": "shop-import-1"}
