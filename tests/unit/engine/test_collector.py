import re

from exporter.engine.api import Engine, EngineOptions
from exporter.engine.collector import EngineCollector
from exporter.engine.watch import Watch
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, EngineInfo
from exporter.inventory.visibility import EVERYTHING, NameFilter, Visibility
from exporter.metrics.page import Format, make_page


def page(visibility: Visibility = EVERYTHING, *, complete: bool = True) -> str:
    engine, inventory = Engine(EngineOptions()), Inventory()
    inventory.put_engine(
        EngineInfo("28", "1.51", "Debian", "6", "overlay2", "2", "/var/lib/docker", rootless=True)
    )
    labels = {"com.docker.compose.project": "shop", "team": "blue", "secret": "hidden"}
    inventory.put_container(
        Container(
            "c1",
            "web",
            "nginx",
            "running",
            pid=3,
            started_at=5.0,
            restart_count=2,
            health="healthy",
            labels=labels,
        )
    )
    inventory.put_container(Container("c2", "job", "x", "exited"))
    if complete:
        inventory.mark_listed("container")
        inventory.mark_listed("network")
    collector = EngineCollector(engine, Watch(engine, inventory), inventory, visibility)
    return make_page(collector.samples()).in_format(Format.TEXT).decode()


def test_the_engine_and_its_containers_are_told() -> None:
    text = page()
    assert "docker_engine_up 0\n" in text
    assert 'docker_engine_info{version="28",api_version="1.51"' in text
    assert 'docker_engine_containers{state="running"} 1\n' in text
    assert 'docker_container_state{container="web",state="running"} 1\n' in text
    assert 'docker_container_health{container="web",status="healthy"} 1\n' in text
    assert 'docker_container_restarts_total{container="web"} 2\n' in text
    assert 'docker_container_started_timestamp_seconds{container="web"} 5.0\n' in text
    assert 'docker_container_started_timestamp_seconds{container="job"}' not in text


def test_no_label_of_a_container_is_shown_unless_it_is_allowed_by_name() -> None:
    assert "blue" not in page()
    text = page(Visibility(container_labels=("team", "absent")))
    assert 'compose_project="shop"' in text
    assert 'label_team="blue"' in text
    assert "hidden" not in text


def test_an_excluded_container_has_no_series_and_is_counted() -> None:
    text = page(Visibility(containers=NameFilter(exclude=re.compile("web"))))
    assert '"web"' not in text
    assert 'docker_engine_containers{state="running"} 1\n' in text


def test_before_the_first_inventory_only_the_engine_s_state_is_told() -> None:
    text = page(complete=False)
    assert "docker_engine_up 0\n" in text
    assert "docker_container" not in text
