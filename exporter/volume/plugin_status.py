"""Asks volume plugins for the numbers that they tell of their volumes: some know a size without a mount."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

from exporter.engine.api import EngineError
from exporter.logs import get_logger
from exporter.volume.kinds import kind_of
from exporter.volume.state import VolumeState

AskStatus: TypeAlias = Callable[[str], Awaitable[Mapping[str, float]]]
"""Asks the engine for the numbers in a volume's status, by the volume's name."""


async def ask_plugins(states: Collection[VolumeState], ask: AskStatus) -> None:
    """Take over what plugins tell; each plugin is asked for one volume at a time, and all plugins at once.

    A plugin that fails is left alone until the next time: a dead one costs the engine seconds for each question.
    """
    by_driver: dict[str, list[VolumeState]] = {}
    for state in states:
        if kind_of(state.volume) == "plugin":
            by_driver.setdefault(state.volume.driver, []).append(state)
    async with asyncio.TaskGroup() as group:
        for driver, plugins in by_driver.items():
            group.create_task(_ask_plugin(plugins, ask), name=f"status by {driver}")


async def _ask_plugin(states: Collection[VolumeState], ask: AskStatus) -> None:
    unasked = list(states)
    while unasked:
        state = unasked[0]
        try:
            state.plugin_status = await ask(state.volume.name)
        except EngineError as error:
            get_logger().debug("plugin's status not read", volume=state.volume.name, reason=str(error))
            break
        del unasked[0]
    for state in unasked:
        state.plugin_status = {}
