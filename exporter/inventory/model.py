"""What exists on a Docker host, as plain data without behaviour of its own and without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

HOST_MODE = "host"
NONE_MODE = "none"
_JOINED = "container:"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself (`GET /version` and `GET /info`)."""

    version: str
    api_version: str
    os: str
    kernel: str
    storage_driver: str
    cgroup_version: str
    data_root: str
    rootless: bool
    user_namespaces: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's attachment to one network; exists only while the container runs.

    Addresses are empty strings where the engine gives none. `interface_name` is the name that the operator
    asked for (`com.docker.network.endpoint.ifname`, engine 28.0 and later), otherwise empty: the engine does
    not tell which name it gave.
    """

    network_id: str
    network_name: str
    endpoint_id: str
    ipv4: str = ""
    ipv4_prefix_length: int = 0
    ipv6: str = ""
    ipv6_prefix_length: int = 0
    mac_address: str = ""
    interface_name: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of a container. `volume` is the volume's name, empty for a bind mount or a tmpfs."""

    kind: str
    volume: str
    source: str
    destination: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Container:
    """A container, running or not.

    `started_at` is in seconds since the epoch by the engine's clock, 0 if it never ran. `pid` is the process
    id in the engine's pid namespace, 0 unless it runs. `health` is empty where there is no health check.
    """

    id: str
    name: str
    image: str
    state: str
    pid: int = 0
    started_at: float = 0.0
    restart_count: int = 0
    health: str = ""
    network_mode: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    mounts: tuple[Mount, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it has processes, and so a network namespace; a paused container has."""
        return self.pid > 0

    @property
    def joined_container(self) -> str:
        """Id of the container whose network namespace this one shares (`container:X`), or empty."""
        return self.network_mode.removeprefix(_JOINED) if self.network_mode.startswith(_JOINED) else ""


def is_process_of(container_id: str, cgroup: bytes) -> bool:
    """Whether a process is a container's, by the text of its `/proc/<pid>/cgroup`.

    The names of its cgroups carry the container's id on every version and with every driver. A number of a process
    alone says nothing: it is another's as soon as the container ended.
    """
    word = container_id.encode(errors="backslashreplace")
    if not word:
        return False
    # No regular expression: compiling one for each id costs a hundred times as much as looking.
    start = cgroup.find(word)
    while start >= 0:
        end = start + len(word)
        if not cgroup[max(start - 1, 0) : start].isalnum() and not cgroup[end : end + 1].isalnum():
            return True
        start = cgroup.find(word, start + 1)
    return False


@dataclass(frozen=True, slots=True)
class Subnet:
    """One address pool of a network, in CIDR notation as the engine's IPAM configuration gives it."""

    subnet: str
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """A Docker network. `created_at` is in seconds since the epoch; `ipam_driver` gives out its addresses."""

    id: str
    name: str
    driver: str
    scope: str = "local"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipv6: bool = False
    created_at: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ipam_driver: str = "default"
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """A Docker volume.

    `mountpoint` is a path on the engine's host; something is mounted there only while a container uses a
    volume that has driver options. `options` can hold passwords: they never reach a metric or a log. A cluster
    volume is Swarm's (CSI); it has no files of its own on a host.
    """

    name: str
    driver: str
    mountpoint: str
    scope: str = "local"
    created_at: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    is_cluster: bool = False
