"""The exporter beside engines that can't be had here: other versions, Podman, and ones that answer nonsense."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import privatens
from tests.harness.dialects import ALL, DOCKER_20_10, DOCKER_29, Dialect
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.fake_host import FakeHost

pytestmark = pytest.mark.engine
UP = "docker_engine_up"


@dataclass
class Beside:
    """An exporter, the host that it sees, and what calls a function where the engine runs."""

    exporter: ExporterProcess
    host: FakeHost
    call: Callable[[Callable[[], object]], None]

    def start_container(self, name: str) -> None:
        def start() -> None:
            container_id = self.host.add_container(name, "back", "data")
            self.host.set_traffic(name, 5000, 6000)
            self.host.engine.emit("container", "start", container_id, name=name)

        self.call(start)

    def remove_container(self, name: str) -> None:
        def remove() -> None:
            container_id = self.host.id_of(name)
            self.host.remove_container(name)
            self.host.engine.emit("container", "die", container_id, name=name)
            self.host.engine.emit("container", "destroy", container_id, name=name)

        self.call(remove)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the path of a socket."""
    privatens.enter()
    with tempfile.TemporaryDirectory(prefix="nv-") as name:
        yield Path(name)


@pytest.fixture
def beside(folder: Path, request: pytest.FixtureRequest) -> Iterator[Beside]:
    dialect = getattr(request, "param", DOCKER_20_10)
    host = FakeHost(FakeEngine(folder / "docker.sock", dialect=dialect), folder)
    host.add_network("front")
    host.add_network("back")
    host.add_volume("data", b"x" * 10_000)
    host.add_container("web", "front", "data")
    host.add_container("db", "back")
    host.set_traffic("web", 1000, 2000)
    with (
        served(host.engine) as call,
        ExporterProcess(f"--engine.host={host.engine.host}", f"--path.procfs={host.procfs}") as exporter,
    ):
        yield Beside(exporter, host, call)


def received(scrape: Scrape, name: str) -> float | None:
    series = scrape.series("docker_container_network_receive_bytes_total", container=name)
    return series[0][1] if series else None


@pytest.mark.parametrize("beside", ALL, ids=lambda dialect: dialect.name, indirect=True)
def test_the_page_is_the_same_whatever_engine_tells(beside: Beside) -> None:
    exporter = beside.exporter
    scrape = exporter.eventually(lambda s: s.value("docker_volume_used_bytes", volume="data"), "the volume")
    assert scrape.series("docker_container_info", container="web")
    assert (received(scrape, "web"), received(scrape, "db")) == (1000, 0)
    assert scrape.series("docker_container_network_transmit_bytes_total", container="web", network="front")
    assert scrape.value("docker_volume_containers", volume="data", state="running") == 1
    beside.start_container("late")
    exporter.eventually(lambda s: received(s, "late") == 5000, "a container that started", 3)
    beside.remove_container("late")
    scrape = exporter.eventually(lambda s: received(s, "late") is None, "a container that went", 3)
    assert scrape.value("docker_network_receive_bytes_total", network="back") == 5000
    assert scrape.value(UP) == 1
    assert sum(value for _, value in scrape.series("docker_engine_inventory_drift_total")) == 0


def test_an_engine_that_is_upgraded_to_another_api_is_followed_on(beside: Beside) -> None:
    engine = beside.host.engine

    def upgrade(dialect: Dialect) -> None:
        engine.dialect = dialect
        engine.cut_streams()

    beside.call(lambda: upgrade(DOCKER_29))
    beside.start_container("late")
    scrape = beside.exporter.eventually(lambda s: received(s, "late") == 5000, "a container that started", 10)
    assert scrape.value(UP) == 1


ANSWERS = {
    "an error": (500, '{"message": "the engine is not well"}'),
    "an error without a message": (500, "<html>Bad Gateway</html>"),
    "half of its JSON": (200, '[{"Id": "ab'),
    "another type": (200, '"a text"'),
    "null": (200, "null"),
    "objects without their names": (200, '[{"Id": null}, 7]'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_engine_that_answers_nonsense_costs_nothing_that_is_known(
    beside: Beside, answer: tuple[int, str]
) -> None:
    engine = beside.host.engine
    paths = ("containers/json", "networks", "volumes")

    def spoil() -> None:
        engine.failing.update(dict.fromkeys(paths, answer))
        engine.cut_streams()

    def heal() -> None:
        engine.failing.clear()
        engine.cut_streams()

    before = beside.exporter.eventually(lambda s: s.series("docker_volume_used_bytes"), "all")
    beside.call(spoil)
    beside.host.set_traffic("web", 3000, 4000)
    scrape = beside.exporter.eventually(lambda s: received(s, "web") == 3000, "traffic that goes on", 8)
    for family in ("docker_container_info", "docker_network_info", "docker_volume_info"):
        assert len(scrape.series(family)) == len(before.series(family))
    beside.call(heal)
    beside.start_container("late")
    scrape = beside.exporter.eventually(lambda s: received(s, "late") == 5000, "a container that started", 10)
    assert scrape.value(UP) == 1


def test_events_of_unknown_kinds_and_lines_that_are_no_events_end_nothing(beside: Beside) -> None:
    engine = beside.host.engine

    def emit_nonsense() -> None:
        engine.emit("teapot", "boil", "x")
        engine.emit("container", "levitate", "no-such-id")
        engine.emit("container", "x" * 100_000, "y" * 10_000, label="z" * 10_000)
        for queue in engine.streams:
            for line in (b"{}\n", b"[]\n", b"\n", b"\xff\xfe\n", b'{"Type": 7, "Action": [], "Actor": "x"}\n'):
                queue.put_nowait(line)

    beside.call(emit_nonsense)
    beside.start_container("late")
    scrape = beside.exporter.eventually(lambda s: received(s, "late") == 5000, "a container that started", 5)
    assert scrape.value(UP) == 1


def test_an_engine_that_takes_seconds_for_each_answer_slows_no_scrape(beside: Beside) -> None:
    beside.call(lambda: setattr(beside.host.engine, "delay_seconds", 2.0))
    beside.start_container("late")
    scrape = beside.exporter.eventually(lambda s: received(s, "late") == 5000, "a container that started", 15)
    assert scrape.value(UP) == 1
    durations = [value for _, value in scrape.series("netvol_exporter_collector_duration_seconds")]
    assert max(durations) < 1
