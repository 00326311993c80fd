from collections.abc import Mapping

from exporter.engine.api import EngineError
from exporter.inventory.model import Volume
from exporter.volume.plugin_status import ask_plugins
from exporter.volume.state import VolumeState


def states(*volumes: tuple[str, str]) -> list[VolumeState]:
    return [VolumeState.of(Volume(name, driver, "")) for name, driver in volumes]


async def test_only_plugins_are_asked() -> None:
    asked: list[str] = []

    async def ask(name: str) -> Mapping[str, float]:
        asked.append(name)
        return {"Size": 10.0}

    local, plugin = states(("data", "local"), ("remote", "rexray"))
    await ask_plugins([local, plugin], ask)
    assert asked == ["remote"]
    assert (local.plugin_status, plugin.plugin_status) == ({}, {"Size": 10.0})


async def test_a_dead_plugin_is_asked_once_and_what_it_told_goes_but_others_are_heard() -> None:
    asked: list[str] = []

    async def ask(name: str) -> Mapping[str, float]:
        asked.append(name)
        if name.startswith("dead"):
            raise EngineError("plugin does not answer")
        return {"Size": 10.0}

    known = states(("dead-1", "dead"), ("dead-2", "dead"), ("good", "rexray"))
    known[1].plugin_status = {"Size": 5.0}
    await ask_plugins(known, ask)
    assert asked.count("dead-1") == 1
    assert "dead-2" not in asked
    assert [state.plugin_status for state in known] == [{}, {}, {"Size": 10.0}]
