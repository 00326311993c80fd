import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from exporter.engine.api import Engine, EngineError, EngineUnavailableError, NoAnswerError
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint
from exporter.metrics.runner import CollectorError
from exporter.network.engine_stats import EngineSource, parse_stats

ANSWER = json.loads((Path(__file__).parents[1] / "engine/fixtures/engine_20_10.json").read_text())["stats"]


class FakeEngine:
    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    async def stats(self, container_id: str) -> Any:
        answer = self._answers[container_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


def source(answers: Mapping[str, Any]) -> EngineSource:
    return EngineSource(cast("Engine", FakeEngine(answers)), started_at=100.0)


def container(name: str, *networks: str, started_at: float = 200.0) -> Container:
    endpoints = tuple(Endpoint(n, n, f"e{n}") for n in networks)
    return Container(name, name, "x", "running", pid=1, started_at=started_at, endpoints=endpoints)


def test_counters_of_a_real_answer_are_read() -> None:
    counters = parse_stats(ANSWER)
    assert set(counters) == {"eth0", "eth1"}
    assert counters["eth0"].receive_bytes > 0


async def test_a_container_on_one_network_is_attributed() -> None:
    one = {"networks": {"eth0": {"rx_bytes": 7}}}
    [reading] = await source({"a": one}).read([container("a", "n1")], Inventory())
    assert reading.networks == {"eth0": "n1"}
    assert reading.born_watched


async def test_a_container_on_two_networks_is_not_guessed_at() -> None:
    [reading] = await source({"a": ANSWER}).read([container("a", "n1", "n2")], Inventory())
    assert reading.networks == {}


async def test_a_container_without_sample_is_left_out() -> None:
    readings = await source({"a": EngineError("link not found"), "b": ANSWER}).read(
        [container("a"), container("b")], Inventory()
    )
    assert [reading.key[0] for reading in readings] == ["b"]


async def test_an_engine_that_is_away_is_told_in_one_line() -> None:
    with pytest.raises(CollectorError, match="the engine does not answer"):
        await source({"a": EngineUnavailableError("gone")}).read([container("a")], Inventory())


@pytest.mark.parametrize(
    "nonsense", [[], {"networks": []}, {"networks": {"eth0": 7}}, {"networks": {"eth0": {"rx_bytes": -1}}}]
)
async def test_a_container_of_which_the_engine_tells_nonsense_is_left_out(nonsense: Any) -> None:
    readings = await source({"a": nonsense, "b": ANSWER}).read([container("a"), container("b")], Inventory())
    assert "b" in [reading.key[0] for reading in readings]
    assert all(min(counters) >= 0 for reading in readings for counters in reading.interfaces.values())


async def test_a_container_of_which_the_engine_never_tells_hides_no_other() -> None:
    stuck = {"a": NoAnswerError("no answer in time"), "b": ANSWER}
    readings = await source(stuck).read([container("a"), container("b")], Inventory())
    assert [reading.key[0] for reading in readings] == ["b"]
    with pytest.raises(CollectorError, match="no answer in time"):
        await source(stuck).read([container("a")], Inventory())
