"""Every query of the dashboards, on a real Prometheus that scraped the real exporter beside real containers."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess
from tests.harness.grafana import Asked, Dashboard, Window
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import execute, run

pytestmark = pytest.mark.engine

Series = dict[str, Any]

BOARDS = sorted((REPOSITORY / "dashboards/json").glob("*.json"))
RULES = sorted((REPOSITORY / "deploy/prometheus/rules").glob("*.yml"))

CHOSEN = {
    "project": ["shop"],
    "network": ["shop_default"],
    "container": ["shop-server-1", "shop-talker-1"],
    "volume": ["shop_plain", "growing"],
}
MAY_BE_EMPTY: dict[tuple[str, str], str] = {}
"""Queries that have nothing to show here, and why."""


@dataclass(frozen=True)
class Scene:
    """A Prometheus that saw all that the dashboards can show, and when that was."""

    prometheus: PrometheusServer
    window: Window


def boards() -> list[Dashboard]:
    return [Dashboard(json.loads(path.read_text())) for path in BOARDS]


def in_project(name: str) -> dict[str, str]:
    return {"com.docker.compose.project": "shop", "com.docker.compose.service": name}


def make_networks(client: docker.DockerClient) -> str:
    """Traffic inside, across, and a conversation; gives the address of a server."""
    client.networks.create("shop_default", labels={"com.docker.compose.project": "shop"})
    client.networks.create("other")
    server = run(client, "shop-server-1", network="shop_default", labels=in_project("server"))
    server.exec_run(["nc", "-ll", "-p", "7", "-e", "cat"], detach=True)
    eventually(lambda: ":0007 " in execute(server, "cat /proc/net/tcp /proc/net/tcp6"), "the server listening")
    server.reload()
    settings = server.attrs["NetworkSettings"]["Networks"]["shop_default"]
    talker = run(client, "shop-talker-1", network="shop_default", labels=in_project("talker"))
    talk = f"while true; do echo ping; sleep 0.1; done | nc {settings['IPAddress']} 7"
    talker.exec_run(["sh", "-c", talk], detach=True)
    talker.exec_run(["ping", "-i", "0.2", settings["Gateway"]], detach=True)
    run(client, "alone", network="other")
    return str(settings["IPAddress"])


def make_volumes(client: docker.DockerClient) -> None:
    """One of each kind, one that grows, one that is full, one that can't be measured, and two that nobody uses."""
    memory = {"type": "tmpfs", "device": "tmpfs"}
    client.volumes.create("shop_plain", labels={"com.docker.compose.project": "shop"})
    client.volumes.create("declared", labels={"netvol.capacity": "60m"})
    client.volumes.create("growing", driver_opts={**memory, "o": "size=50m"})
    client.volumes.create("full", driver_opts={**memory, "o": "size=4m"})
    client.volumes.create("missing")
    client.volumes.create("nobody")
    run(client, "dangles", volumes=["/anonymous"]).remove(force=True)
    names = ("shop_plain", "declared", "growing", "full", "missing")
    writer = run(client, "writer", volumes={name: {"bind": f"/v/{name}"} for name in names})
    execute(writer, "head -c 4m /dev/zero > /v/full/file; head -c 1m /dev/zero > /v/declared/file")
    grow = "while true; do head -c 50k /dev/zero >> /v/growing/file; sleep 0.5; done"
    writer.exec_run(["sh", "-c", grow], detach=True)
    shutil.rmtree(client.volumes.get("missing").attrs["Mountpoint"])


def make_trouble(client: docker.DockerClient) -> None:
    """One that is unhealthy, one that restarts all the time, and one that wants more memory than it may."""
    healthcheck = {"test": ["CMD-SHELL", "false"], "interval": 200_000_000, "retries": 1}
    run(client, "sick", healthcheck=healthcheck, labels=in_project("sick"))
    run(client, "loop", command=["false"], restart_policy={"Name": "always"})
    greedy = ["sh", "-c", "while true; do head -c 100m /dev/zero | tail; sleep 1; done"]
    # The kernel may choose its shell: then it starts again.
    run(client, "greedy", command=greedy, mem_limit="16m", restart_policy={"Name": "always"})


@pytest.fixture
def scene(engine: PrivateEngine, client: docker.DockerClient) -> Iterator[Scene]:
    flags = [
        f"--engine.host={engine.host}",
        *("--collector.rtt", "--poll.interval=1s", "--volume.interval=1s", "--limit.series=100000"),
    ]
    with ExitStack() as ends:
        exporter = ends.enter_context(ExporterProcess(*flags))
        prometheus = ends.enter_context(PrometheusServer(exporter.url.removeprefix("http://"), rule_files=RULES))
        start = time.time()
        address = make_networks(client)
        make_volumes(client)
        make_trouble(client)
        connection = ends.enter_context(socket.create_connection((address, 7)))

        def alert() -> bool:
            connection.sendall(b"ping\n")
            connection.recv(100)
            firing = 'ALERTS{alertname="DockerVolumeFillingUp", alertstate="firing"}'
            return bool(prometheus.query(f"count_over_time({firing}[1m]) > 3"))

        eventually(alert, "the alert on the full volume", 150, pause_seconds=1)
        # The exporter reads TCP every 10 s: rates look further back than four scrapes, as they do in earnest.
        yield Scene(prometheus, Window(start, time.time(), step=1, scrape_interval=5))


def ask(board: Dashboard, scene: Scene) -> dict[Asked, list[Series]]:
    """The answers to all queries; an error fails the test with the query that made it."""
    answers = {}
    for asked in board.queries():
        try:
            answers[asked] = board.answer(asked, scene.prometheus, scene.window)
        except HTTPError as error:
            raise AssertionError(f"{asked}: {error.read().decode()}") from error
    return answers


def test_every_query_of_every_dashboard_has_data_and_heeds_what_is_chosen(scene: Scene) -> None:
    empty: set[tuple[str, str]] = set()
    print()
    for board in boards():
        answers = ask(board, scene)
        empty |= {(board.uid, asked.place) for asked, series in answers.items() if not series}
        options = {one["name"]: board.options(one, scene.prometheus) for one in board.variables}
        chosen = {name: sorted({*values} & {*CHOSEN.get(name, values)}) for name, values in options.items()}
        assert all(chosen.values()), options
        for name, values in chosen.items():
            board.choose(name, values)
        with_choice = ask(board, scene)
        for asked, series in with_choice.items():
            # Alerts are marked on all dashboards of the host that they are about.
            for one in series if "ALERTS" not in asked.expression else []:
                strangers = {k: v for k, v in one["metric"].items() if k in chosen and v not in chosen[k]}
                assert not strangers, asked
        print(
            f"{board.uid}: {len(board.panels)} panels, {len(answers)} queries, {sum(map(bool, answers.values()))} "
            f"with data, {sum(map(bool, with_choice.values()))} with data of what is chosen; values to choose: "
            + ", ".join(f"{name} {len(values)}" for name, values in options.items())
        )
    assert empty == set(MAY_BE_EMPTY)
