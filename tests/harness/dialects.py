"""How engines of several versions, and Podman, tell the same: applied to the answers of the fake engine.

The shapes are those of the API's own change log (moby: docs/api/version-history.md, api/docs/CHANGELOG.md) and of
Podman's compatibility layer (containers/podman: pkg/api/handlers/compat, pkg/domain/entities/events.go). Fields
that no version has are added too: a newer engine than all known must not confuse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def _as_it_is(told: Json) -> Json:
    return told


@dataclass(frozen=True, slots=True)
class Dialect:
    """Names and versions of an engine, and what it makes of events, containers (whole, or listed) and others."""

    name: str
    api_version: str
    min_api_version: str
    event: Callable[[Json], Json] = _as_it_is
    container: Callable[[Json], Json] = _as_it_is
    listed: Callable[[Json], Json] = _as_it_is
    network: Callable[[Json], Json] = _as_it_is
    volume: Callable[[Json], Json] = _as_it_is


def _event_with_old_names(event: Json) -> Json:
    """Until 1.51 containers' events tell their action, id and image a second time."""
    told = {**event, "time": event["timeNano"] // 10**9}
    if event["Type"] == "container":
        told |= {"status": event["Action"], "id": event["Actor"]["ID"], "from": "x"}
    return told


def _container_until_1_51(container: Json) -> Json:
    networks = container["NetworkSettings"]["Networks"]
    first: Json = next(iter(networks.values()), {})
    top = {"IPAddress": first.get("IPAddress", ""), "MacAddress": first.get("MacAddress", ""), "Bridge": ""}
    return {**container, "NetworkSettings": {**top, "Networks": networks}, "SizeRw": None}


def _container_since_1_52(container: Json) -> Json:
    state = (
        {**container["State"], "Health": {"Status": "none"}} if isinstance(container["State"], dict) else "running"
    )
    networks = {
        name: {**endpoint, "GwPriority": 0, "DNSNames": ["x"], "DriverOpts": None}
        for name, endpoint in container["NetworkSettings"]["Networks"].items()
    }
    return {
        **container,
        "State": state,
        "NetworkSettings": {"Networks": networks},
        "ImageManifestDescriptor": {"digest": "sha256:0"},
        "Storage": {"RootFS": {}},
    }


def _network_since_1_52(network: Json) -> Json:
    status = {"IPAM": {"Subnets": {"10.0.0.0/24": {"IPsInUse": 9, "DynamicIPsAvailable": 245}}}}
    return {
        **network,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "Status": status,
        "Peers": None,
        "ConfigFrom": None,
    }


def _volume_since_1_42(volume: Json) -> Json:
    return {**volume, "ClusterVolume": None, "Labels": None, "Options": None, "UsageData": None, "Status": {}}


def _from_the_future(told: Json) -> Json:
    return {**told, "Unheard": {"of": [1, None, {"deep": "x" * 100}]}, "AlsoNew": None}


_PODMAN_ACTIONS = {"destroy": "remove", "die": "died"}


def _podman_event(event: Json) -> Json:
    action = event["Action"]
    actor = dict(event["Actor"])
    if event["Type"] == "container":
        action = _PODMAN_ACTIONS.get(action, action)
    if event["Type"] == "volume":
        actor = {"ID": "", "Attributes": {**actor["Attributes"], "name": actor["ID"]}}
    return {
        **event,
        "Action": action,
        "Actor": actor,
        "status": action,
        "id": actor["ID"],
        "from": "localhost/x:latest",
        "HealthStatus": "",
    }


def _podman_listed(container: Json) -> Json:
    return {**container, "HostConfig": {"NetworkMode": "host"}, "Command": "sleep", "SizeRw": 0}


def _podman_network(network: Json) -> Json:
    return {**network, "EnableIPv4": True, "Containers": {"x": {"Name": "x"}}, "Peers": [], "Services": {}}


DOCKER_20_10 = Dialect("Docker 20.10", "1.41", "1.12", _event_with_old_names, _container_until_1_51)
DOCKER_24 = Dialect(
    "Docker 24.0", "1.43", "1.12", _event_with_old_names, _container_until_1_51, volume=_volume_since_1_42
)
DOCKER_28 = Dialect(
    "Docker 28.5", "1.51", "1.24", _event_with_old_names, _container_until_1_51, volume=_volume_since_1_42
)
DOCKER_29 = Dialect(
    "Docker 29.1",
    "1.52",
    "1.44",
    container=_container_since_1_52,
    listed=_container_since_1_52,
    network=_network_since_1_52,
    volume=_volume_since_1_42,
)
FUTURE = Dialect(
    "Docker of the future",
    "1.99",
    "1.44",
    _from_the_future,
    lambda told: _from_the_future(_container_since_1_52(told)),
    lambda told: _from_the_future(_container_since_1_52(told)),
    lambda told: _from_the_future(_network_since_1_52(told)),
    lambda told: _from_the_future(_volume_since_1_42(told)),
)
PODMAN = Dialect(
    "Podman",
    "1.44",
    "1.24",
    _podman_event,
    _container_until_1_51,
    _podman_listed,
    _podman_network,
)
ALL = (DOCKER_20_10, DOCKER_24, DOCKER_28, DOCKER_29, FUTURE, PODMAN)
