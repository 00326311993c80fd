"""Which of the host's network devices belongs to which Docker network.

The names are given by Docker: `br-` and 12 characters of the network's id unless the operator chose one (moby
libnetwork/drivers/bridge); the parent that the operator named for macvlan and ipvlan, or a dummy device named
`dm-` or `di-` and 12 characters of the id; `vx-`, the VXLAN's number and 5 characters of the id for an overlay.
"""

import ipaddress
from collections.abc import Container, Iterable, Mapping

from exporter.inventory.model import Network

_BRIDGE_NAME = "com.docker.network.bridge.name"
_BRIDGE, _OVERLAY = "bridge", "overlay"
_DUMMIES = {"macvlan": "dm-", "ipvlan": "di-"}
_EVERYWHERE = frozenset({"docker0", "docker_gwbridge"})
_VXLAN = "vx-"
_ID_IN_NAME = 12
_MAC_OF_ADDRESS = "02:42:"


def bridge_of(network: Network) -> str:
    """The name of the network's bridge device on the host, empty if it has none."""
    if network.driver != _BRIDGE:
        return ""
    return network.options.get(_BRIDGE_NAME) or f"br-{network.id[:_ID_IN_NAME]}"


def in_host_namespace(networks: Iterable[Network], links: Container[str]) -> bool | None:
    """Whether these links are those of the engine's own network namespace; None if no network could tell.

    A bridge that is named after a network's id, or by the operator, is nowhere else. Where there is none, all
    of Docker's own must be there: an engine that runs in a container has a `docker0` as the host has.
    """
    bridges = {bridge for network in networks if (bridge := bridge_of(network))}
    if telling := bridges - _EVERYWHERE:
        return any(bridge in links for bridge in telling)
    return all(bridge in links for bridge in bridges) if bridges else None


class Devices:
    """The networks by their devices, as of one inventory."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        self._by_device: dict[str, str] = {}
        self._overlays: list[Network] = []
        for network in networks.values():
            if network.driver == _OVERLAY:
                self._overlays.append(network)
            elif network.driver in _DUMMIES:
                dummy = _DUMMIES[network.driver] + network.id[:_ID_IN_NAME]
                self._by_device[network.options.get("parent") or dummy] = network.id
            elif network.driver == _BRIDGE:
                self._by_device[bridge_of(network)] = network.id

    def network_of(self, device: str, mac: str = "") -> str:
        """The id of the network that an interface was on, empty if it is not known.

        `device` and `mac` are those of its departure. Where the device isn't known, the MAC address of an
        endpoint of an overlay tells its IPv4 address (moby libnetwork/drivers/overlay), and that the network,
        if it is in the subnet of one only.
        """
        if device.startswith(_VXLAN):
            start = device.rpartition("-")[2]
            fitting = [network.id for network in self._overlays if start and network.id.startswith(start)]
        elif not device and mac.startswith(_MAC_OF_ADDRESS):
            fitting = self._overlays_with(mac)
        else:
            return self._by_device.get(device, "")
        return fitting[0] if len(fitting) == 1 else ""

    def _overlays_with(self, mac: str) -> list[str]:
        try:
            address = ipaddress.IPv4Address(bytes.fromhex(mac.removeprefix(_MAC_OF_ADDRESS).replace(":", "")))
        except ValueError:
            return []
        return [network.id for network in self._overlays if _holds(network, address)]


def _holds(network: Network, address: ipaddress.IPv4Address) -> bool:
    for pool in network.subnets:
        try:
            if address in ipaddress.ip_network(pool.subnet, strict=False):
                return True
        except ValueError:
            continue
    return False
