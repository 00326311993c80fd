"""Measures what the dashboards' queries and the rules cost a real Prometheus that has a day of many containers.

The history is made up (tests/harness/history.py); one host with 100 networks has 400 containers and 200 volumes.
Run it with `make bench-queries`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness import history
from tests.harness.exporter import REPOSITORY
from tests.harness.grafana import Dashboard, Window
from tests.harness.prometheus import PrometheusServer

BOARDS = sorted((REPOSITORY / "dashboards/json").glob("*.json"))
RULES = sorted((REPOSITORY / "deploy/prometheus/rules").rglob("*.yml"))
GRAPH_POINTS = 720
SHOWN = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--interval", type=int, default=30, help="seconds between two scrapes")
    parser.add_argument("--networks", type=int, default=100, help="with four containers and two volumes each")
    arguments = parser.parse_args()
    scale = history.Scale(hosts=1, projects=arguments.networks, containers=4, volumes=2)
    end = float(int(time.time()) // 60 * 60)
    start = end - arguments.hours * 3600
    with TemporaryDirectory(prefix="netvol-bench-", dir="/var/tmp") as folder:
        began = time.monotonic()
        data = history.make_blocks(Path(folder), scale, start, end, arguments.interval)
        print(f"history made in {time.monotonic() - began:.0f} s")
        with PrometheusServer(data=data, rules=RULES, interval="1m") as prometheus:
            series = prometheus.value('count({job="netvol"})', end)
            print(f"{series:.0f} series, {arguments.hours:g} h, scraped every {arguments.interval} s\n")
            for hours in (6.0, arguments.hours):
                step = max(hours * 3600 / GRAPH_POINTS, arguments.interval)
                measure_dashboards(prometheus, Window(end - hours * 3600, end, step, arguments.interval))
            measure_rules(prometheus, end)


def measure_dashboards(prometheus: PrometheusServer, window: Window) -> None:
    slowest: list[tuple[float, str]] = []
    hours = (window.end - window.start) / 3600
    print(f"{hours:g} h shown, a point every {window.step:g} s")
    for path in BOARDS:
        board = Dashboard(json.loads(path.read_text()))
        took = []
        for asked in board.queries():
            seconds = timed(lambda board=board, asked=asked: board.answer(asked, prometheus, window))  # type: ignore[misc]
            took.append(seconds)
            slowest.append((seconds, f"{asked.board} {asked.place}"))
        print(f"  {board.uid:<18}{len(took):>4} queries{sum(took):>8.2f} s one after the other")
    print_slowest(slowest)


def measure_rules(prometheus: PrometheusServer, at: float) -> None:
    rules = prometheus.rules()
    took = [(timed(lambda rule=rule: prometheus.query(rule["query"], at)), rule["name"]) for rule in rules]  # type: ignore[misc]
    print(f"rules\n  {len(rules)} rules and alerts {sum(seconds for seconds, _ in took):.2f} s")
    print_slowest(took)


def timed(action: Callable[[], object]) -> float:
    """The shorter of two runs: the first also reads the disk."""
    took = []
    for _ in range(2):
        began = time.monotonic()
        action()
        took.append(time.monotonic() - began)
    return min(took)


def print_slowest(took: list[tuple[float, str]]) -> None:
    for seconds, name in sorted(took, reverse=True)[:SHOWN]:
        print(f"    {seconds:6.3f} s  {name}")


if __name__ == "__main__":
    main()
