"""The engine's JSON as inventory objects and events; where versions differ in shape, it ends here.

Only what all of API 1.41 to 1.52 and Podman give is read: `Type`, `Action` and `Actor` of events (1.52 drops
the older names), `NetworkSettings.Networks` of containers (1.52 drops the addresses at the top). A field that
is missing or null counts as empty; an object without its id or name raises EngineAnswerError.
"""

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from exporter.inventory.model import Container, Endpoint, EngineInfo, Mount, Network, Subnet, Volume

_INTERFACE_OPTION = "com.docker.network.endpoint.ifname"
_FRACTION = re.compile(r"\.(\d+)")
_HEALTH_IN_STATUS = {
    "(healthy)": "healthy",
    "(unhealthy)": "unhealthy",
    "(health: starting)": "starting",
}
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
_MAX_STATUS_NUMBERS = 32
_NO_HEALTH_CHECK = ("", "none")


class EngineAnswerError(Exception):
    """The engine answered something that is not what its API describes."""


NONSENSE = (
    *(EngineAnswerError, ArithmeticError, AttributeError, LookupError),
    *(RecursionError, TypeError, ValueError),
)
"""What reading an answer of another form can raise: here, in the JSON decoder, and in aiodocker's own reading."""

UNREADABLE = "unreadable"
"""Kind of the event that stands for a line of the event stream that can't be read."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `time_nano` is the engine's clock in nanoseconds since the epoch; `actor` an id or a name."""

    kind: str
    action: str
    actor: str
    time_nano: int
    scope: str = "local"
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_event(json: Any) -> Event:
    """Read one line of the event stream.

    Raises EngineAnswerError if it is no event, or one at a time that Go can't tell.
    """
    actor = _object(_object(json, "event").get("Actor") or {}, "event's actor")
    kind, action = json.get("Type"), json.get("Action")
    if not isinstance(kind, str) or not isinstance(action, str):
        raise EngineAnswerError(f"an event without type or action: {str(json)[:200]}")
    attributes = _texts(actor.get("Attributes"))
    time_nano = json.get("timeNano")
    if time_nano is None:
        time_nano = count_of(json.get("time") or 0) * 1_000_000_000
    return Event(
        kind=kind,
        action=action,
        actor=str(actor.get("ID") or attributes.get("name", "")),
        time_nano=count_of(time_nano),
        scope=str(json.get("scope") or "local"),
        attributes=attributes,
    )


def unreadable_event(line: bytes) -> Event:
    """What stands for a line that is no event; the same line is the same event."""
    return Event(UNREADABLE, UNREADABLE, hashlib.sha256(line).hexdigest(), time_nano=0)


def count_of(value: Any) -> int:
    """A count or a time, which is never negative; Go's largest is that of 64 bits.

    Raises EngineAnswerError for anything else. A larger one would make the whole page unreadable: no scraper reads
    a number of 400 digits.
    """
    if not isinstance(value, int) or not 0 <= value < 2**64:
        raise EngineAnswerError(f"no count: {str(value)[:50]}")
    return int(value)


def parse_engine_info(version: Any, info: Any, api_version: str) -> EngineInfo:
    """Read `GET /version` and `GET /info`; `api_version` is the one that was negotiated."""
    version, info = _object(version, "version"), _object(info, "info")
    security = [str(option) for option in info.get("SecurityOptions") or []]
    return EngineInfo(
        version=str(version.get("Version") or ""),
        api_version=api_version,
        os=str(info.get("OperatingSystem") or version.get("Os") or ""),
        kernel=str(info.get("KernelVersion") or version.get("KernelVersion") or ""),
        storage_driver=str(info.get("Driver") or ""),
        cgroup_version=str(info.get("CgroupVersion") or ""),
        data_root=str(info.get("DockerRootDir") or ""),
        rootless=any(option.startswith("name=rootless") for option in security),
        user_namespaces=any(option.startswith("name=userns") for option in security),
    )


def parse_container(json: Any) -> Container:
    """Read `GET /containers/{id}/json`.

    Raises EngineAnswerError if id or name are missing.
    """
    container = _object(json, "container")
    state = _object(container.get("State") or {}, "container's state")
    config = _object(container.get("Config") or {}, "container's configuration")
    host_config = _object(container.get("HostConfig") or {}, "container's host configuration")
    health = str(_object(state.get("Health") or {}, "health").get("Status") or "")
    status = str(state.get("Status") or "")
    running = bool(state.get("Running")) or bool(state.get("Paused"))
    # The engine calls all unhealthy whose check it no longer runs, also what is stopped or paused on purpose
    # (moby: container/health.go); its list tells the health of what runs only.
    has_check = status == "running" and health not in _NO_HEALTH_CHECK
    name = _text(container, "Name", "container").removeprefix("/")
    if not name:
        raise EngineAnswerError("container with an empty name")
    return Container(
        id=_text(container, "Id", "container"),
        name=name,
        image=str(config.get("Image") or ""),
        state=status,
        pid=count_of(state.get("Pid") or 0) if running else 0,
        started_at=parse_time(state.get("StartedAt")),
        restart_count=count_of(container.get("RestartCount") or 0),
        health=health if has_check else "",
        network_mode=str(host_config.get("NetworkMode") or ""),
        labels=_texts(config.get("Labels")),
        endpoints=_endpoints(container),
        mounts=_mounts(container),
    )


def parse_listed_container(json: Any) -> Container:
    """Read an entry of `GET /containers/json`: as `parse_container`, without pid, start and restarts."""
    container = _object(json, "container")
    names = [str(name) for name in container.get("Names") or []]
    status = str(container.get("Status") or "")
    return Container(
        id=_text(container, "Id", "container"),
        name=_own_name(names),
        image=str(container.get("Image") or ""),
        state=str(container.get("State") or ""),
        health=next((health for text, health in _HEALTH_IN_STATUS.items() if status.endswith(text)), ""),
        network_mode=str((container.get("HostConfig") or {}).get("NetworkMode") or ""),
        labels=_texts(container.get("Labels")),
        endpoints=_endpoints(container),
        mounts=_mounts(container),
    )


def parse_network(json: Any) -> Network:
    """Read an entry of `GET /networks`, or `GET /networks/{id}`."""
    network = _object(json, "network")
    ipam = _object(network.get("IPAM") or {}, "network's IPAM")
    return Network(
        id=_text(network, "Id", "network"),
        name=_text(network, "Name", "network"),
        driver=str(network.get("Driver") or ""),
        scope=str(network.get("Scope") or ""),
        internal=bool(network.get("Internal")),
        attachable=bool(network.get("Attachable")),
        ingress=bool(network.get("Ingress")),
        ipv6=bool(network.get("EnableIPv6")),
        created_at=parse_time(network.get("Created")),
        options=_texts(network.get("Options")),
        labels=_texts(network.get("Labels")),
        ipam_driver=str(ipam.get("Driver") or "default"),
        subnets=tuple(
            Subnet(
                subnet=str(pool.get("Subnet") or ""),
                ip_range=str(pool.get("IPRange") or ""),
                gateway=str(pool.get("Gateway") or ""),
                auxiliary_addresses=tuple(_texts(pool.get("AuxiliaryAddresses")).values()),
            )
            for pool in ipam.get("Config") or []
            if pool.get("Subnet")
        ),
    )


def parse_volume(json: Any) -> Volume:
    """Read an entry of `GET /volumes`, or `GET /volumes/{name}`."""
    volume = _object(json, "volume")
    return Volume(
        name=_text(volume, "Name", "volume"),
        driver=str(volume.get("Driver") or ""),
        mountpoint=str(volume.get("Mountpoint") or ""),
        scope=str(volume.get("Scope") or ""),
        created_at=parse_time(volume.get("CreatedAt")),
        options=_texts(volume.get("Options")),
        labels=_texts(volume.get("Labels")),
        is_cluster=bool(volume.get("ClusterVolume")),
    )


def parse_volume_status(json: Any) -> dict[str, float]:
    """Read the numbers of `Status` in an answer to `GET /volumes/{name}`: what the plugin chose to tell.

    Texts are left out unless they are plain numbers: they could be anything, secrets too. At most 32 are read.
    """
    status = _object(json, "volume").get("Status")
    if not isinstance(status, dict):
        return {}
    numbers = ((str(name), _number(value)) for name, value in status.items())
    told = {name: number for name, number in numbers if number is not None}
    return dict(list(told.items())[:_MAX_STATUS_NUMBERS])


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if _PLAIN_NUMBER.fullmatch(value) else None
    return float(value) if isinstance(value, int | float) and abs(value) <= sys.float_info.max else None


def parse_time(text: Any) -> float:
    """Seconds since the epoch of a time as Go writes it, 0 for none (Go's year 1) and for what is no time."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return 0.0
    # Python reads at most microseconds; Go writes nanoseconds and drops trailing zeros.
    short = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text)
    try:
        return datetime.fromisoformat(short).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _endpoints(container: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    settings = _object(container.get("NetworkSettings") or {}, "network settings")
    networks = _object(settings.get("Networks") or {}, "networks")
    return tuple(
        Endpoint(
            network_id=str(entry.get("NetworkID") or ""),
            network_name=name,
            endpoint_id=str(entry["EndpointID"]),
            ipv4=str(entry.get("IPAddress") or ""),
            ipv4_prefix_length=count_of(entry.get("IPPrefixLen") or 0),
            ipv6=str(entry.get("GlobalIPv6Address") or ""),
            ipv6_prefix_length=count_of(entry.get("GlobalIPv6PrefixLen") or 0),
            mac_address=str(entry.get("MacAddress") or ""),
            interface_name=_texts(entry.get("DriverOpts")).get(_INTERFACE_OPTION, ""),
        )
        for name, entry in sorted(networks.items())
        # A container that was never started, or is stopped, has networks but no endpoints on them.
        if isinstance(entry, dict) and entry.get("EndpointID")
    )


def _mounts(container: Mapping[str, Any]) -> tuple[Mount, ...]:
    return tuple(
        Mount(
            kind=str(mount.get("Type") or ""),
            volume=str(mount.get("Name") or "") if mount.get("Type") == "volume" else "",
            source=str(mount.get("Source") or ""),
            destination=str(mount.get("Destination") or ""),
            read_only=not mount.get("RW", True),
        )
        for mount in container.get("Mounts") or []
    )


def _own_name(names: list[str]) -> str:
    # Legacy links add names of the form /other/alias; the container's own has one slash.
    own = [name for name in names if name.count("/") == 1] or names
    return own[0].removeprefix("/") if own else ""


def _object(json: Any, what: str) -> dict[str, Any]:
    if not isinstance(json, dict):
        raise EngineAnswerError(f"{what} is no JSON object but {type(json).__name__}")
    return json


def _text(json: Mapping[str, Any], key: str, what: str) -> str:
    value = json.get(key)
    if not isinstance(value, str) or not value:
        # Never its values: environment, arguments and options hold passwords.
        raise EngineAnswerError(f"{what} without {key}; it has {', '.join(sorted(json))[:200] or 'nothing'}")
    return value


def _texts(json: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in json.items()} if isinstance(json, dict) else {}
