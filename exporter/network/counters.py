"""The kernel's counters of one interface, and what a source of them has to offer."""

from typing import NamedTuple


class InterfaceCounters(NamedTuple):
    """Counters of an interface as its own network namespace sees them, since the interface was made.

    The order is that of the catalogue's `NETWORK_TRAFFIC` and `CONTAINER_TRAFFIC`. A named tuple, because
    thousands are made a second and a frozen dataclass takes three times as long to make.
    """

    receive_bytes: int = 0
    receive_packets: int = 0
    receive_errors: int = 0
    receive_dropped: int = 0
    transmit_bytes: int = 0
    transmit_packets: int = 0
    transmit_errors: int = 0
    transmit_dropped: int = 0


NO_TRAFFIC = InterfaceCounters()
