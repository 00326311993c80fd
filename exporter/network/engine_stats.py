"""Traffic counters from the engine's stats API: for remote engines, and where the host's /proc isn't seen.

The API names interfaces and not networks, so only a container with exactly one network can be attributed. Its
error counters are always 0 on Linux (moby: libnetwork/osl/interface_linux.go copies bytes, packets and drops
only), so this source has none.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.engine.api import Engine, EngineError, EngineUnavailableError, NoAnswerError
from exporter.engine.parse import NONSENSE, count_of
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container
from exporter.metrics.runner import CollectorError
from exporter.network.accounting import Reading
from exporter.network.counters import InterfaceCounters
from exporter.network.source import namespace_key

PARALLEL_CALLS = 64
"""Engine 20.10 answers all that wait in one round of its collector, a second each: never one by one."""


def parse_stats(stats: Mapping[str, Any]) -> dict[str, InterfaceCounters]:
    """The counters of each interface in an answer of the stats API.

    Raises one of NONSENSE if the answer has another form.
    """
    return {
        name: InterfaceCounters(
            receive_bytes=count_of(counters.get("rx_bytes", 0)),
            receive_packets=count_of(counters.get("rx_packets", 0)),
            receive_dropped=count_of(counters.get("rx_dropped", 0)),
            transmit_bytes=count_of(counters.get("tx_bytes", 0)),
            transmit_packets=count_of(counters.get("tx_packets", 0)),
            transmit_dropped=count_of(counters.get("tx_dropped", 0)),
        )
        for name, counters in (stats.get("networks") or {}).items()
    }


class EngineSource:
    """Asks the engine for the statistics of each container, many at a time."""

    name = "engine"
    counts_errors = False
    tells_indexes = False
    fast = False

    def __init__(self, engine: Engine, started_at: float) -> None:
        """`started_at` is when the exporter started, in seconds since the epoch."""
        self._engine = engine
        self._started_at = started_at

    async def read(self, owners: Sequence[Container], inventory: Inventory) -> list[Reading]:  # noqa: ARG002 - the protocol's; the engine tells no routes
        """Read all namespaces; with engine 20.10 it takes a second or two, later ones take milliseconds.

        Raises CollectorError if the engine is away.
        """
        readings: list[Reading] = []
        unanswered: list[NoAnswerError] = []
        queue = iter(list(owners))

        async def worker() -> None:
            for owner in queue:
                try:
                    reading = await self._read_one(owner)
                except NoAnswerError as error:  # of one container, where its lock is held, or of all
                    unanswered.append(error)
                    continue
                if reading is not None:
                    readings.append(reading)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(PARALLEL_CALLS, len(owners))):
                    group.create_task(worker(), name=f"stats {number}")
        except* EngineUnavailableError as group_of_errors:
            raise CollectorError(f"the engine does not answer: {group_of_errors.exceptions[0]}") from None
        if unanswered and not readings:
            raise CollectorError(f"the engine does not answer: {unanswered[0]}")
        return readings

    async def close(self) -> None:
        """Nothing is held."""

    async def _read_one(self, owner: Container) -> Reading | None:
        try:
            interfaces = parse_stats(await self._engine.stats(owner.id))
        except EngineUnavailableError:
            raise
        except (EngineError, *NONSENSE):
            return None  # it stopped meanwhile, or the engine could not read it this time
        networks: dict[str, str] = {}
        if len(owner.endpoints) == 1 and len(interfaces) == 1:
            networks = dict.fromkeys(interfaces, owner.endpoints[0].network_id)
        return Reading(
            namespace_key(owner), interfaces, networks, born_watched=owner.started_at >= self._started_at
        )
