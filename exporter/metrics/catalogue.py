"""Every metric family that the exporter can show, as data; `docs/metrics.md` is made from it.

Names are a contract with users: stable once released. Units are base units; a name ends with its unit, and a
counter's with `_total`. Series carry what identifies an object; what describes it is in an `_info` gauge.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The types of the exposition formats that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Group(StrEnum):
    """The chapters of the catalogue; a page that would grow too long loses those of `CONTAINER` first."""

    ENGINE = "engine"
    NETWORK = "network"
    CONTAINER = "container"
    VOLUME = "volume"
    EXPORTER = "exporter"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family. `labels` is in the order of the page; `open_labels` allows further `label_…`."""

    name: str
    kind: Kind
    group: Group
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    open_labels: bool = False


CATALOGUE: list[Family] = []


def _family(  # noqa: PLR0913 - the columns of a table, not the knobs of a function
    name: str,
    kind: Kind,
    group: Group,
    text: str,
    labels: tuple[str, ...] = (),
    *,
    open_labels: bool = False,
) -> Family:
    stem = name.removesuffix("_total")
    unit = next((unit for unit in ("bytes_per_second", "bytes", "seconds") if stem.endswith(f"_{unit}")), "")
    family = Family(name, kind, group, text, labels, unit, open_labels)
    CATALOGUE.append(family)
    return family


# --- Engine ---------------------------------------------------------------------------------------------

ENGINE_UP = _family(
    "docker_engine_up", Kind.GAUGE, Group.ENGINE, "Whether the Docker engine can be reached and answers."
)
ENGINE_INFO = _family(
    "docker_engine_info",
    Kind.GAUGE,
    Group.ENGINE,
    "What the Docker engine says of itself; always 1.",
    ("version", "api_version", "os", "kernel", "storage_driver", "cgroup_version", "rootless"),
)
ENGINE_CONTAINERS = _family(
    "docker_engine_containers", Kind.GAUGE, Group.ENGINE, "Containers by state.", ("state",)
)
ENGINE_NETWORKS = _family("docker_engine_networks", Kind.GAUGE, Group.ENGINE, "Networks by driver.", ("driver",))
ENGINE_VOLUMES = _family("docker_engine_volumes", Kind.GAUGE, Group.ENGINE, "Volumes by driver.", ("driver",))
ENGINE_EVENTS = _family(
    "docker_engine_events_total",
    Kind.COUNTER,
    Group.ENGINE,
    "Events of containers, networks and volumes since the exporter started; exec_* and top count as exec.",
    ("type", "action"),
)
ENGINE_EVENT_STREAM_CONNECTED = _family(
    "docker_engine_event_stream_connected", Kind.GAUGE, Group.ENGINE, "Whether the event stream is open."
)
ENGINE_EVENT_STREAM_RECONNECTS = _family(
    "docker_engine_event_stream_reconnects_total",
    Kind.COUNTER,
    Group.ENGINE,
    "How often the event stream was opened again; proxies that cut idle streams make it rise harmlessly.",
)
ENGINE_EVENT_GAPS = _family(
    "docker_engine_event_gaps_total",
    Kind.COUNTER,
    Group.ENGINE,
    "Times that events were lost: after a reconnect the engine no longer had all, or one can't be read; counts of "
    "events may be too low.",
)
ENGINE_INVENTORY_DRIFT = _family(
    "docker_engine_inventory_drift_total",
    Kind.COUNTER,
    Group.ENGINE,
    "Objects that a full resync had to correct because no event told of their change.",
    ("kind",),
)
ENGINE_REQUEST_DURATION = _family(
    "docker_engine_request_duration_seconds",
    Kind.HISTOGRAM,
    Group.ENGINE,
    "Duration of the exporter's calls to the engine.",
    ("endpoint",),
)

# --- Networks -------------------------------------------------------------------------------------------

NETWORK_INFO = _family(
    "docker_network_info",
    Kind.GAUGE,
    Group.NETWORK,
    "What describes a network; always 1. Join on network.",
    (
        "network",
        "network_id",
        "driver",
        "scope",
        "internal",
        "attachable",
        "ingress",
        "ipv6",
        "encrypted",
        "mtu",
        "compose_project",
    ),
)
NETWORK_CREATED = _family(
    "docker_network_created_timestamp_seconds",
    Kind.GAUGE,
    Group.NETWORK,
    "When the network was created, in seconds since the epoch.",
    ("network",),
)
NETWORK_CONTAINERS = _family(
    "docker_network_containers",
    Kind.GAUGE,
    Group.NETWORK,
    "Running containers that are attached to the network; those on host networking count for host.",
    ("network",),
)

_DIRECTIONS = (("receive", "into"), ("transmit", "out of"))
_COUNTED = (
    ("bytes", "Bytes"),
    ("packets", "Packets"),
    ("errors", "Interface errors"),
    ("packets_dropped", "Packets dropped"),
)

NETWORK_TRAFFIC = tuple(
    _family(
        f"docker_network_{direction}_{what}_total",
        Kind.COUNTER,
        Group.NETWORK,
        f"{subject} {way} the network's containers since the exporter started (procfs is polled on the "
        "exporter's own schedule); a container that leaves takes nothing away.",
        ("network",),
    )
    for direction, way in _DIRECTIONS
    for what, subject in _COUNTED
)
"""Receive bytes, packets, errors, packets dropped; then the same for transmit."""

NETWORK_RECEIVE_RATE, NETWORK_TRANSMIT_RATE = (
    _family(
        f"docker_network_{direction}_bytes_per_second",
        Kind.GAUGE,
        Group.NETWORK,
        f"Rate of bytes {way} the network's containers over the last poll.",
        ("network",),
    )
    for direction, way in _DIRECTIONS
)
NETWORK_RECEIVE_PEAK, NETWORK_TRANSMIT_PEAK = (
    _family(
        f"docker_network_{direction}_peak_bytes_per_second",
        Kind.GAUGE,
        Group.NETWORK,
        f"Highest rate of bytes {way} the network's containers over any poll of the last 60 s.",
        ("network",),
    )
    for direction, way in _DIRECTIONS
)

NETWORK_EGRESS = _family(
    "docker_network_egress_bytes_total",
    Kind.COUNTER,
    Group.NETWORK,
    "Bytes that left a bridge network to the host and beyond, as its bridge device counts them: without Ethernet "
    "headers.",
    ("network",),
)
NETWORK_INGRESS = _family(
    "docker_network_ingress_bytes_total",
    Kind.COUNTER,
    Group.NETWORK,
    "Bytes that entered a bridge network from the host and beyond, as its bridge device counts them.",
    ("network",),
)
NETWORK_ADDRESSES = _family(
    "docker_network_addresses",
    Kind.GAUGE,
    Group.NETWORK,
    "Addresses that a subnet's pool, or its --ip-range, can give; network and broadcast address are none.",
    ("network", "subnet"),
)
NETWORK_ADDRESSES_USED = _family(
    "docker_network_addresses_used",
    Kind.GAUGE,
    Group.NETWORK,
    "Addresses of a subnet's pool that are taken: by containers, the gateway and auxiliary addresses.",
    ("network", "subnet"),
)

NETWORK_TCP_RTT = _family(
    "docker_network_tcp_rtt_seconds",
    Kind.HISTOGRAM,
    Group.NETWORK,
    "Smoothed round-trip time of the containers' established TCP connections by network: at each look one value "
    "of each connection whose peer acknowledged data since; the peer is on the same network or external.",
    ("network", "peer"),
)

# --- Containers -----------------------------------------------------------------------------------------

CONTAINER_INFO = _family(
    "docker_container_info",
    Kind.GAUGE,
    Group.CONTAINER,
    "What describes a container; always 1. Join on container.",
    (
        "container",
        "container_id",
        "image",
        "compose_project",
        "compose_service",
        "swarm_service",
        "swarm_task",
    ),
    open_labels=True,
)
CONTAINER_STATE = _family(
    "docker_container_state",
    Kind.GAUGE,
    Group.CONTAINER,
    "The container's state now: created, running, paused, restarting, removing, exited or dead; always 1.",
    ("container", "state"),
)
CONTAINER_HEALTH = _family(
    "docker_container_health",
    Kind.GAUGE,
    Group.CONTAINER,
    "The outcome of a running container's health check, if it has one: starting, healthy, unhealthy; always 1.",
    ("container", "status"),
)
CONTAINER_STARTED = _family(
    "docker_container_started_timestamp_seconds",
    Kind.GAUGE,
    Group.CONTAINER,
    "When the container was last started, in seconds since the epoch.",
    ("container",),
)
CONTAINER_RESTARTS = _family(
    "docker_container_restarts_total",
    Kind.COUNTER,
    Group.CONTAINER,
    "How often the engine restarted the container by its restart policy.",
    ("container",),
)
CONTAINER_OOM_EVENTS = _family(
    "docker_container_oom_events_total",
    Kind.COUNTER,
    Group.CONTAINER,
    "Out-of-memory kills in the container since the exporter started, by the engine's events.",
    ("container",),
)
CONTAINER_NETWORK_INFO = _family(
    "docker_container_network_info",
    Kind.GAUGE,
    Group.CONTAINER,
    "Interface and addresses of a container on a network; always 1.",
    ("container", "network", "interface", "ip_address", "ipv6_address", "mac_address"),
)
CONTAINER_TRAFFIC = tuple(
    _family(
        f"docker_container_network_{direction}_{what}_total",
        Kind.COUNTER,
        Group.CONTAINER,
        f"{subject} {way} the container by network, as the kernel counts them; network is empty where it "
        "can't be known.",
        ("container", "network"),
    )
    for direction, way in _DIRECTIONS
    for what, subject in _COUNTED
)
"""In the order of `NETWORK_TRAFFIC`."""

CONTAINER_TCP_CONNECTIONS = _family(
    "docker_container_tcp_connections",
    Kind.GAUGE,
    Group.CONTAINER,
    "TCP connections in the container's network namespace: established (with close_wait) and time_wait.",
    ("container", "state"),
)
CONTAINER_TCP_SENT_SEGMENTS = _family(
    "docker_container_tcp_sent_segments_total",
    Kind.COUNTER,
    Group.CONTAINER,
    "TCP segments sent in the container's network namespace, retransmitted ones included.",
    ("container",),
)
CONTAINER_TCP_RETRANSMITTED_SEGMENTS = _family(
    "docker_container_tcp_retransmitted_segments_total",
    Kind.COUNTER,
    Group.CONTAINER,
    "TCP segments retransmitted in the container's network namespace.",
    ("container",),
)
CONTAINER_TCP_LISTEN_OVERFLOWS = _family(
    "docker_container_tcp_listen_overflows_total",
    Kind.COUNTER,
    Group.CONTAINER,
    "Connections dropped because the queue of a listening socket in the container was full.",
    ("container",),
)

# --- Volumes --------------------------------------------------------------------------------------------

VOLUME_INFO = _family(
    "docker_volume_info",
    Kind.GAUGE,
    Group.VOLUME,
    "What describes a volume; always 1. Join on volume. Driver options are never shown.",
    (
        "volume",
        "driver",
        "scope",
        "kind",
        "capacity_source",
        "filesystem",
        "anonymous",
        "compose_project",
        "compose_volume",
    ),
)
VOLUME_USED_BYTES = _family(
    "docker_volume_used_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "Bytes that the volume's files occupy on disk: allocated size, hard links once, as du -x counts.",
    ("volume",),
)
VOLUME_CAPACITY_BYTES = _family(
    "docker_volume_capacity_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "The volume's limit; where it comes from is capacity_source of docker_volume_info.",
    ("volume",),
)
VOLUME_AVAILABLE_BYTES = _family(
    "docker_volume_available_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "Bytes that can still be written to the volume.",
    ("volume",),
)
VOLUME_INODES = _family(
    "docker_volume_inodes", Kind.GAUGE, Group.VOLUME, "The volume's limit of inodes.", ("volume",)
)
VOLUME_INODES_USED = _family(
    "docker_volume_inodes_used",
    Kind.GAUGE,
    Group.VOLUME,
    "Inodes of the volume: files, directories and all else, hard links once, the volume's root included.",
    ("volume",),
)
VOLUME_INODES_FREE = _family(
    "docker_volume_inodes_free",
    Kind.GAUGE,
    Group.VOLUME,
    "Inodes that can still be created in the volume.",
    ("volume",),
)
VOLUME_CREATED = _family(
    "docker_volume_created_timestamp_seconds",
    Kind.GAUGE,
    Group.VOLUME,
    "When the volume was created, as the engine tells it, in seconds since the epoch.",
    ("volume",),
)
VOLUME_CONTAINERS = _family(
    "docker_volume_containers",
    Kind.GAUGE,
    Group.VOLUME,
    "Containers that mount the volume, by whether they run; paused ones run.",
    ("volume", "state"),
)
VOLUME_MOUNT_INFO = _family(
    "docker_volume_mount_info",
    Kind.GAUGE,
    Group.VOLUME,
    "A container's mount of a volume; always 1.",
    ("volume", "container", "destination", "read_only"),
)
VOLUME_ENCRYPTED = _family(
    "docker_volume_encrypted",
    Kind.GAUGE,
    Group.VOLUME,
    "Whether the volume's files are encrypted at rest by dm-crypt below their file system; absent where it can't "
    "be told.",
    ("volume",),
)
VOLUME_PLUGIN_STATUS = _family(
    "docker_volume_plugin_status",
    Kind.GAUGE,
    Group.VOLUME,
    "Numbers that the volume's plugin tells of it, mounted or not, in the plugin's own units.",
    ("volume", "field"),
)
VOLUME_MEASURED = _family(
    "docker_volume_measured_timestamp_seconds",
    Kind.GAUGE,
    Group.VOLUME,
    "When the volume's usage was last measured, in seconds since the epoch.",
    ("volume",),
)
VOLUME_MEASUREMENT_DURATION = _family(
    "docker_volume_measurement_duration_seconds",
    Kind.GAUGE,
    Group.VOLUME,
    "How long the last measurement of the volume took.",
    ("volume",),
)
VOLUME_MEASUREMENT_ERRORS = _family(
    "docker_volume_measurement_errors_total",
    Kind.COUNTER,
    Group.VOLUME,
    "Failed measurements of the volume by reason: permission, missing, timeout, io or died.",
    ("volume", "reason"),
)
VOLUME_DANGLING = _family(
    "docker_volume_dangling",
    Kind.GAUGE,
    Group.VOLUME,
    "Volumes that no container uses, by whether they are anonymous.",
    ("anonymous",),
)
VOLUME_DANGLING_BYTES = _family(
    "docker_volume_dangling_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "Bytes that removing the dangling volumes would free; without those that can't be measured.",
    ("anonymous",),
)

_FILESYSTEM_LABELS = ("filesystem", "device", "fstype")

FILESYSTEM_SIZE_BYTES = _family(
    "docker_filesystem_size_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "Size of a file system that holds volumes; filesystem is its mount point on the host.",
    _FILESYSTEM_LABELS,
)
FILESYSTEM_AVAILABLE_BYTES = _family(
    "docker_filesystem_available_bytes",
    Kind.GAUGE,
    Group.VOLUME,
    "Bytes that an unprivileged process can still write to a file system that holds volumes.",
    _FILESYSTEM_LABELS,
)
FILESYSTEM_INODES = _family(
    "docker_filesystem_inodes",
    Kind.GAUGE,
    Group.VOLUME,
    "Inodes of a file system that holds volumes.",
    _FILESYSTEM_LABELS,
)
FILESYSTEM_INODES_FREE = _family(
    "docker_filesystem_inodes_free",
    Kind.GAUGE,
    Group.VOLUME,
    "Free inodes of a file system that holds volumes.",
    _FILESYSTEM_LABELS,
)

# --- The exporter itself --------------------------------------------------------------------------------

EXPORTER_BUILD_INFO = _family(
    "netvol_exporter_build_info",
    Kind.GAUGE,
    Group.EXPORTER,
    "The exporter's version, the revision it was built from, and Python's version; always 1.",
    ("version", "revision", "python"),
)
EXPORTER_COLLECTOR_SUCCESS = _family(
    "netvol_exporter_collector_success",
    Kind.GAUGE,
    Group.EXPORTER,
    "Whether the collector's last round succeeded.",
    ("collector",),
)
EXPORTER_COLLECTOR_DURATION = _family(
    "netvol_exporter_collector_duration_seconds",
    Kind.GAUGE,
    Group.EXPORTER,
    "Duration of the collector's last round.",
    ("collector",),
)
EXPORTER_COLLECTOR_LAST_SUCCESS = _family(
    "netvol_exporter_collector_last_success_timestamp_seconds",
    Kind.GAUGE,
    Group.EXPORTER,
    "When the collector last succeeded, and so when its values were taken, in seconds since the epoch.",
    ("collector",),
)
EXPORTER_UNATTRIBUTED_INTERFACES = _family(
    "netvol_exporter_unattributed_interfaces",
    Kind.GAUGE,
    Group.EXPORTER,
    "Interfaces of containers that could not be attributed to a network; they are in no network's total.",
)
EXPORTER_NETLINK_OVERRUNS = _family(
    "netvol_exporter_netlink_overruns_total",
    Kind.COUNTER,
    Group.EXPORTER,
    "How often messages about links were not read in time and dropped; all links are then listed anew.",
)
EXPORTER_SERIES_DROPPED = _family(
    "netvol_exporter_series_dropped",
    Kind.GAUGE,
    Group.EXPORTER,
    "Series that the page lacks because of --limit.series; those of containers are dropped first.",
)
EXPORTER_SERIES = _family(
    "netvol_exporter_series", Kind.GAUGE, Group.EXPORTER, "Series on the page, without these of its own."
)
EXPORTER_SCRAPES = _family(
    "netvol_exporter_scrapes_total",
    Kind.COUNTER,
    Group.EXPORTER,
    "Answers to requests for the page, by HTTP status; 499 stands for a client that hung up before it had all.",
    ("code",),
)
EXPORTER_PAGE_BYTES = _family(
    "netvol_exporter_page_bytes",
    Kind.GAUGE,
    Group.EXPORTER,
    "Size of the last page before compression.",
)
