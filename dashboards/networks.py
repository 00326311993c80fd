"""Networks: who carries the traffic, what goes wrong on the way, and which address pool runs out."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    LOST,
    POOL_FILL,
    RETRANSMITTED,
    Column,
    Query,
    bars,
    board,
    graph,
    link_to,
    number,
    object_variable,
    project_variable,
    rows,
    with_panels,
)
from dashboards.promql import (
    PROJECT,
    column,
    described,
    highest,
    leaders,
    rate,
    series,
    share,
    top,
    total,
    was_described,
)

UID = "netvol-networks"

_NETWORK = 'network=~"$network"'
_CONTAINER = 'container=~"$container"'
_NAMES = "{{network}} · {{instance}}"
_CONTAINER_NAMES = "{{container}} · {{instance}}"


def _of_network(name: str) -> str:
    return rate(name, _NETWORK)


def _sum(expression: str) -> str:
    """The chosen networks together, of the chosen projects."""
    return f"sum({described(expression, 'network', PROJECT)})"


def _busiest(name: str) -> str:
    return top(_of_network(name), "network", total(name, _NETWORK), PROJECT)


def _busiest_containers(name: str) -> str:
    by = "sum by (job, instance, container)"
    matchers = (_NETWORK, _CONTAINER)
    return top(f"{by} ({rate(name, *matchers)})", "container", f"{by} ({total(name, *matchers)})", PROJECT)


def _both(what: str, of: str) -> str:
    """Both directions together, of networks or of the chosen containers."""
    return (
        f"{rate(f'docker_network_receive_{what}_total', of)} + {rate(f'docker_network_transmit_{what}_total', of)}"
    )


def _per_minute(expression: str) -> str:
    """What is so rare that nobody thinks of it per second."""
    return f"({expression}) * 60"


def _both_total(what: str) -> str:
    receive, transmit = (f"docker_network_{way}_{what}_total" for way in ("receive", "transmit"))
    return f"{total(receive, _NETWORK)} + {total(transmit, _NETWORK)}"


def _round_trip(quantile: str) -> str:
    """The networks with the longest times, each with the peers on it and those outside.

    As the rules record them: to reckon quantiles of so many buckets at each step of a day takes many seconds.
    """
    name = f"instance_network:docker_network_tcp_rtt_seconds:{quantile}_rate5m"
    ranking = was_described(highest(name, _NETWORK), "network", PROJECT)
    return leaders(series(name, _NETWORK), "job, instance, network, peer", ranking)


def dashboard() -> Dashboard:
    """The sum and the worst at the top, then networks, containers, address pools and TCP."""
    receive, transmit = (f"docker_network_{way}_bytes_total" for way in ("receive", "transmit"))
    container_receive, container_transmit = (
        f"docker_container_network_{way}_bytes_total" for way in ("receive", "transmit")
    )
    egress, ingress = (_of_network(f"docker_network_{way}_bytes_total") for way in ("egress", "ingress"))
    lost = f"({_both('errors', _NETWORK)} + {_both('packets_dropped', _NETWORK)})"
    lost_share = f"{lost} / (({_both('packets', _NETWORK)} + {lost}) >= 10)"
    inside = f"clamp_min({_of_network(transmit)} - {egress}, 0)"
    pool_fill = (
        f"{series('docker_network_addresses_used', _NETWORK)} / {series('docker_network_addresses', _NETWORK)}"
    )
    retransmitted = rate("docker_container_tcp_retransmitted_segments_total", _CONTAINER)
    sent = rate("docker_container_tcp_sent_segments_total", _CONTAINER)
    retransmitted_total = total("docker_container_tcp_retransmitted_segments_total", _CONTAINER)
    overflows = "docker_container_tcp_listen_overflows_total"
    established = (_CONTAINER, 'state="established"')
    connections = series("docker_container_tcp_connections", *established)
    return with_panels(
        board(
            UID,
            "Docker networks and volumes / Networks",
            "Traffic, errors, address pools and TCP of every Docker network, by its name.",
            project_variable(),
            object_variable("network"),
            object_variable("container"),
        ),
        number(
            "Into containers",
            "Bytes into the containers of the chosen networks.",
            "Bps",
            _sum(_of_network(receive)),
        ),
        number(
            "Out of containers",
            "Bytes out of the containers of the chosen networks.",
            "Bps",
            _sum(_of_network(transmit)),
        ),
        number(
            "Leaves the networks",
            "Bytes from the chosen bridge networks to the host and beyond.",
            "Bps",
            _sum(egress),
            none="unknown",
        ),
        number(
            "Errors and drops",
            "Share of the packets in error or dropped, of the network where it is largest among those with ten "
            "packets a second or more. Orange from 1 %, where the alerts look.",
            "percentunit",
            f"max({described(lost_share, 'network', PROJECT)})",
            LOST,
            none="idle",
        ),
        number(
            "Retransmitted",
            "Share of TCP segments that the chosen containers sent a second time. Orange from 5 %.",
            "percentunit",
            share(
                f"sum({described(retransmitted, 'container', PROJECT)})",
                f"sum({described(sent, 'container', PROJECT)})",
            ),
            RETRANSMITTED,
            none="idle",
        ),
        number(
            "Fullest address pool",
            "Share of the addresses that are taken, of the subnet with the fewest left. Orange from 90 %, "
            "where the alert DockerNetworkAddressesNearlyExhausted looks.",
            "percentunit",
            f"max({described(pool_fill, 'network', PROJECT)})",
            POOL_FILL,
            none="unknown",
        ),
        "Traffic by network",
        graph(
            "Into containers",
            "Bytes into the containers of the ten networks that received most in the time range.",
            "Bps",
            Query(_busiest(receive), _NAMES),
        ),
        graph(
            "Out of containers",
            "Bytes out of the containers of the ten networks that transmitted most in the time range.",
            "Bps",
            Query(_busiest(transmit), _NAMES),
        ),
        graph(
            "Peaks into containers",
            "The highest rate of any poll in the last minute: a burst that the average of a scrape interval "
            "hides.",
            "Bps",
            Query(
                top(
                    series("docker_network_receive_peak_bytes_per_second", _NETWORK),
                    "network",
                    highest("docker_network_receive_peak_bytes_per_second", _NETWORK),
                    PROJECT,
                ),
                _NAMES,
            ),
        ),
        graph(
            "Peaks out of containers",
            "The highest rate of any poll in the last minute: a burst that the average of a scrape interval "
            "hides.",
            "Bps",
            Query(
                top(
                    series("docker_network_transmit_peak_bytes_per_second", _NETWORK),
                    "network",
                    highest("docker_network_transmit_peak_bytes_per_second", _NETWORK),
                    PROJECT,
                ),
                _NAMES,
            ),
        ),
        graph(
            "Packets",
            "Packets into and out of the containers of the ten networks with most packets in the time range.",
            "pps",
            Query(
                top(_both("packets", _NETWORK), "network", _both_total("packets"), PROJECT),
                _NAMES,
            ),
        ),
        graph(
            "Errors and drops",
            "Packets per minute that were dropped, both directions, on the ten networks with most of them, "
            "and those in error on all. Drops are often a receiver that does not keep up.",
            "cpm",
            Query(
                top(
                    _per_minute(_both("packets_dropped", _NETWORK)),
                    "network",
                    _both_total("packets_dropped"),
                    PROJECT,
                ),
                _NAMES,
            ),
            Query(_per_minute(_sum(_both("errors", _NETWORK))), "errors, all networks"),
        ),
        graph(
            "Inside and across",
            "Where the traffic of the chosen bridge networks goes: between their containers (east-west), "
            "from them to the host and beyond, and from there to them (north-south).",
            "Bps",
            Query(_sum(inside), "stays inside"),
            Query(_sum(egress), "leaves"),
            Query(_sum(ingress), "enters"),
            stacked=True,
        ),
        graph(
            "Traffic that leaves its network",
            "Bytes from bridge networks to the host and beyond, of the ten that sent most.",
            "Bps",
            Query(_busiest("docker_network_egress_bytes_total"), _NAMES),
        ),
        rows(
            "Networks",
            "One line for each network. Leaves and enters are known for bridge networks, where the exporter is in "
            "the host's network namespace.",
            (
                Column("network", "Network", link=link_to(UID, network="${__value.raw}")),
                Column("instance", "Instance"),
                Column("driver", "Driver", width=90),
                Column("compose_project", "Project"),
                Column("Value #B", "Containers", width=95),
                Column("Value #C", "Into containers", "Bps", width=125),
                Column("Value #D", "Out of containers", "Bps", width=140),
                Column("Value #E", "Leaves", "Bps", width=100),
                Column("Value #F", "Enters", "Bps", width=100),
                Column("Value #G", "Addresses", "percentunit", steps=POOL_FILL, bar=True, width=150),
            ),
            column(series("docker_network_info", _NETWORK, PROJECT), "network", "driver", "compose_project"),
            column(
                described(series("docker_network_containers", _NETWORK), "network", PROJECT),
                "network",
            ),
            column(described(_of_network(receive), "network", PROJECT), "network"),
            column(described(_of_network(transmit), "network", PROJECT), "network"),
            column(described(egress, "network", PROJECT), "network"),
            column(described(ingress, "network", PROJECT), "network"),
            column(described(pool_fill, "network", PROJECT), "network"),
            sort_by="Into containers",
        ),
        "Containers on the networks",
        graph(
            "Into containers",
            "The ten containers that received most in the time range, over the chosen networks.",
            "Bps",
            Query(_busiest_containers(container_receive), _CONTAINER_NAMES),
        ),
        graph(
            "Out of containers",
            "The ten containers that transmitted most in the time range, over the chosen networks.",
            "Bps",
            Query(_busiest_containers(container_transmit), _CONTAINER_NAMES),
        ),
        rows(
            "Containers on the networks",
            "Who is on the chosen networks, under which address, and how much of the traffic is theirs.",
            (
                Column("container", "Container", link=link_to(UID, container="${__value.raw}")),
                Column("network", "Network"),
                Column("instance", "Instance"),
                Column("ip_address", "IPv4"),
                Column("ipv6_address", "IPv6"),
                Column("interface", "Interface", width=90),
                Column("Value #B", "Into container", "Bps", width=130),
                Column("Value #C", "Out of container", "Bps", width=140),
            ),
            column(
                described(series("docker_container_network_info", _NETWORK, _CONTAINER), "container", PROJECT),
                *("container", "network", "interface", "ip_address", "ipv6_address"),
            ),
            *(
                column(
                    described(rate(name, _NETWORK, _CONTAINER), "container", PROJECT),
                    "container",
                    "network",
                )
                for name in (container_receive, container_transmit)
            ),
            sort_by="Into container",
        ),
        "Address pools",
        bars(
            "Fullest address pools",
            "Share of a subnet's addresses that are taken. Orange from 90 %. When all are, no container starts on "
            "the network any more.",
            "percentunit",
            Query(described(pool_fill, "network", PROJECT), "{{network}} {{subnet}} · {{instance}}"),
            POOL_FILL,
            limit=1,
        ),
        rows(
            "Address pools",
            "Addresses of each subnet's pool: how many there are and how many are taken.",
            (
                Column("network", "Network"),
                Column("subnet", "Subnet", width=130),
                Column("instance", "Instance", width=135),
                Column("Value #A", "Addresses", width=85),
                Column("Value #B", "Taken", width=60),
                Column("Value #C", "Share", "percentunit", steps=POOL_FILL, bar=True, width=120),
            ),
            column(
                described(series("docker_network_addresses", _NETWORK), "network", PROJECT), "network", "subnet"
            ),
            column(
                described(series("docker_network_addresses_used", _NETWORK), "network", PROJECT),
                "network",
                "subnet",
            ),
            column(described(pool_fill, "network", PROJECT), "network", "subnet"),
            sort_by="Share",
            width=12,
        ),
        "TCP",
        graph(
            "Round-trip time: median",
            "The kernel's smoothed round-trip time of established connections, by whether the peer is on the same "
            "network or external. Needs --collector.rtt and the rules of the alerts.",
            "s",
            Query(_round_trip("p50"), "{{network}} to {{peer}} · {{instance}}"),
        ),
        graph(
            "Round-trip time: 95 %",
            "Nineteen of twenty values are below. Needs --collector.rtt and the rules of the alerts.",
            "s",
            Query(_round_trip("p95"), "{{network}} to {{peer}} · {{instance}}"),
        ),
        graph(
            "Retransmitted segments",
            "Share of TCP segments that were sent a second time, of the ten containers with most of them. Orange "
            "from 5 %, where the alert DockerContainerTCPRetransmissions looks.",
            "percentunit",
            Query(top(share(retransmitted, sent), "container", retransmitted_total, PROJECT), _CONTAINER_NAMES),
            steps=RETRANSMITTED,
        ),
        graph(
            "Listen queue overflows",
            "Connections per minute that were dropped because the queue of a listening socket was full: the "
            "server does not accept as fast as clients come.",
            "cpm",
            Query(
                top(_per_minute(rate(overflows, _CONTAINER)), "container", total(overflows, _CONTAINER), PROJECT),
                _CONTAINER_NAMES,
            ),
        ),
        graph(
            "Established connections",
            "Established TCP connections of the ten containers that had most at a time.",
            "short",
            Query(
                top(
                    connections,
                    "container",
                    highest("docker_container_tcp_connections", *established),
                    PROJECT,
                ),
                _CONTAINER_NAMES,
            ),
            width=24,
        ),
    )
