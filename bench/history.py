"""Measures what the rules and the dashboards ask of Prometheus. Run it with `make bench-rules`.

A real Prometheus holds a day of 400 containers: the series are those of a real page of the exporter beside a fake
engine, with families that it can't have there filled in from the catalogue; their values go on evenly. promtool
makes the blocks, and fills in the recorded series by the shipped rules themselves.
"""

import argparse
import itertools
import json
import random
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.catalogue import CATALOGUE, Family, Kind
from exporter.network.rtt import BUCKETS_MICROSECONDS
from tests.harness import privatens
from tests.harness.exporter import REPOSITORY, ExporterProcess
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.fake_host import FakeHost
from tests.harness.prometheus import PrometheusServer
from tests.harness.rules import RULE_FILES, rules
from tests.harness.wait import eventually

BLOCK_SECONDS = 7200
POINTS = 1000

FILLED_IN = {
    "type": ("container", "network", "volume"),
    "action": ("create", "start", "die", "destroy", "oom", "connect"),
    "peer": ("network", "external"),
    "reason": ("timeout",),
    "anonymous": ("true", "false"),
    "le": (*(repr(bound / 1e6) for bound in BUCKETS_MICROSECONDS), "+Inf"),
}


@dataclass(frozen=True)
class Series:
    """A series as it stands on the page, without its value."""

    text: str
    name: str
    is_counter: bool
    value: float

    @classmethod
    def of(cls, name: str, labels: Mapping[str, str], value: float, *, is_counter: bool = False) -> "Series":
        """A series with the labels that Prometheus adds."""
        everything = {**labels, "job": "netvol", "instance": "host:10420"}
        pairs = ",".join(f"{label}={json.dumps(text)}" for label, text in everything.items())
        return cls(f"{name}{{{pairs}}} ", name, is_counter, value)


@dataclass(frozen=True)
class Query:
    """Something that is asked again and again: a rule or a table for now, a graph or a variable for the day."""

    what: str
    name: str
    expression: str
    label: str = ""
    """A variable's: its values are asked for."""

    @property
    def is_over_day(self) -> bool:
        return self.what in ("graph", "variable")


@dataclass(frozen=True)
class Timed:
    """How many seconds it took, and how many series, values or labels were found."""

    query: Query
    seconds: float
    found: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=400)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--scrape-interval", type=int, default=15, help="seconds")
    parser.add_argument("--dashboards", type=Path, default=REPOSITORY / "dashboards/json", help="folder of JSON")
    parser.add_argument("--rows", type=int, default=12, help="of each table")
    arguments = parser.parse_args()
    queries = [*rule_queries(), *dashboard_queries(arguments.dashboards, arguments.scrape_interval)]
    privatens.enter()
    series = list(series_of_a_host(arguments.containers, arguments.networks, arguments.volumes))
    end = int(time.time()) // BLOCK_SECONDS * BLOCK_SECONDS
    start = end - arguments.hours * 3600
    with TemporaryDirectory(prefix="netvol-bench-history-", dir="/var/tmp") as folder:
        data = Path(folder) / "data"
        samples = sum(
            make_block(series, first, arguments.scrape_interval, Path(folder), data)
            for first in range(start, end, BLOCK_SECONDS)
        )
        print(f"{len(series)} series, {samples / 1e6:.0f} million samples in {arguments.hours} h", flush=True)
        with PrometheusServer(data=data) as prometheus:
            record(prometheus, start, end, data)
        with PrometheusServer(data=data) as prometheus:
            measure(prometheus, queries, start, end - 1, arguments.rows)


def series_of_a_host(containers: int, networks: int, volumes: int) -> Iterator[Series]:
    """What the exporter shows of such a host, and of each family that is not among it what it could show."""
    with TemporaryDirectory(prefix="nv-", dir="/dev/shm") as folder:
        host = FakeHost(FakeEngine(Path(folder) / "docker.sock"), Path(folder))
        for number in range(networks):
            host.add_network(network_name(number))
        for number in range(volumes):
            host.add_volume(f"volume{number}", b"x" * 5000)
            if number % 2:
                host.engine.volumes[f"volume{number}"]["Labels"] = {"netvol.capacity": "50GB"}
        for number in range(containers):
            host.add_container(f"c{number}", network_name(number % networks), f"volume{number % volumes}")
        page = page_of(host, volumes)
    shown = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            shown.add(re.sub(r"_(bucket|count|sum)$", "", sample.name))
            is_counter = family.type in ("counter", "histogram")
            yield Series.of(sample.name, sample.labels, sample.value, is_counter=is_counter)
    objects = {
        "network": [network_name(number) for number in range(networks)],
        "container": [f"c{number}" for number in range(containers)],
        "volume": [f"volume{number}" for number in range(volumes)],
    }
    yield from (
        series for family in CATALOGUE if family.name not in shown for series in filled_in(family, objects)
    )
    yield Series.of("up", {}, 1)


def network_name(number: int) -> str:
    """Of one length: the fake engine's ids begin with the names."""
    return f"net{number:03}"


def page_of(host: FakeHost, volumes: int) -> str:
    """The exporter's page when all volumes are measured."""
    flags = (f"--engine.host={host.engine.host}", f"--path.procfs={host.procfs}")
    measured = "\ndocker_volume_used_bytes{"
    with served(host.engine), ExporterProcess(*flags) as exporter:
        eventually(lambda: exporter.get("/metrics").count(measured) >= volumes, "all volumes", 60)
        return exporter.get("/metrics")


def filled_in(family: Family, objects: Mapping[str, Sequence[str]]) -> Iterator[Series]:
    """Every series that a family could have with these objects."""
    parts = {"_bucket": ("le",), "_count": (), "_sum": ()} if family.kind == Kind.HISTOGRAM else {"": ()}
    for suffix, more in parts.items():
        names = (*family.labels, *more)
        for chosen in itertools.product(*(objects.get(name) or FILLED_IN.get(name, ("x",)) for name in names)):
            labels = dict(zip(names, chosen, strict=True))
            yield Series.of(family.name + suffix, labels, 1, is_counter=family.kind != Kind.GAUGE)


def make_block(series: list[Series], first: int, interval: int, folder: Path, data: Path) -> int:
    """Make one block of two hours; gives the number of its samples."""
    times = range(first, first + BLOCK_SECONDS, interval)
    stamps = [f" {at}\n" for at in times]
    text = folder / "openmetrics"
    with text.open("w") as file:
        for one in series:
            file.write(
                "".join([f"{one.text}{value}{at}" for value, at in zip(values(one, times), stamps, strict=True)])
            )
        file.write("# EOF\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", text, data],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    text.unlink()
    return len(series) * len(times)


def values(series: Series, times: range) -> Iterator[float]:
    """What a series shows at these times: counters rise evenly, space shrinks, much stays as it is."""
    chosen = random.Random(series.text)
    step = chosen.randint(1, 1000)
    if series.is_counter:
        return iter(range(times.start // times.step * step, times.stop // times.step * step, step))
    if re.search(r"_(available_bytes|free)$", series.name):
        full_in = chosen.randint(2, 40) * 86400
        day = 86400
        return (int(series.value * (1 - at % day / full_in)) for at in times)
    if re.search(r"_(used|per_second|connections|used_bytes|duration_seconds)$", series.name):
        return (series.value + (at // times.step * step) % 997 for at in times)
    if series.name.endswith(("measured_timestamp_seconds", "last_success_timestamp_seconds")):
        return (at // 60 * 60 for at in times)
    return itertools.repeat(series.value, len(times))


def record(prometheus: PrometheusServer, start: int, end: int, data: Path) -> None:
    """Let promtool evaluate the recording rules over the history."""
    subprocess.run(
        [
            *("promtool", "tsdb", "create-blocks-from", "rules", f"--start={start}", f"--end={end}"),
            *(f"--url={prometheus.url}", "--eval-interval=60s", f"--output-dir={data}"),
            *RULE_FILES,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def rule_queries() -> Iterator[Query]:
    for rule in rules():
        yield Query("alert" if rule.is_alert else "recorded", str(rule), rule.expression)


def dashboard_queries(folder: Path, interval: int) -> Iterator[Query]:
    """Queries of all panels, annotations and variables, over the last day and with every variable set to All."""
    for file in sorted(folder.glob("*.json")):
        dashboard = json.loads(file.read_text())
        variables = [one for one in dashboard.get("templating", {}).get("list", ()) if one["type"] == "query"]
        values = {
            # As Grafana reckons it: never below four scrapes, never below a step and a scrape.
            "__rate_interval": f"{max(4 * interval, 86400 // POINTS + interval)}s",
            "__interval": f"{86400 // POINTS}s",
            "__range": "24h",
            "__range_s": "86400",
            **{variable["name"]: variable.get("allValue") or ".+" for variable in variables},
        }
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                what = "table" if target.get("instant") else "graph"
                name = f"{file.stem}: {panel.get('title')} ({target.get('refId')})"
                yield Query(what, name, replaced(target["expr"], values))
        for mark in dashboard["annotations"]["list"]:
            yield Query("graph", f"{file.stem}: annotation {mark['name']}", replaced(mark["expr"], values))
        for variable in variables:
            found = re.fullmatch(r"label_values\((.+), *(\w+)\)", variable["query"]["query"])
            assert found, variable["query"]
            yield Query("variable", f"{file.stem}: ${variable['name']}", replaced(found[1], values), found[2])


def panels(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in holder.get("panels", ()):
        yield panel
        yield from panels(panel)


def replaced(expression: str, values: Mapping[str, str]) -> str:
    """With variables filled in; `$1` of a label_replace is none."""
    return re.sub(r"\$\{?([a-z_]\w*)(?::\w+)?\}?", lambda found: values[found[1]], expression)


def measure(prometheus: PrometheusServer, queries: list[Query], start: int, end: int, rows: int) -> None:
    """Ask each three times as it is asked in use, and print the slowest."""
    timed = [Timed(query, *median(partial(ask, prometheus, query, start, end))) for query in queries]
    for title, kinds in (("Rules", ("recorded", "alert")), ("Dashboards", ("table", "graph", "variable"))):
        chosen = [one for one in timed if one.query.what in kinds]
        if chosen:
            tell(title, chosen, rows)


def ask(prometheus: PrometheusServer, query: Query, start: int, end: int) -> int:
    if query.label:
        return len(prometheus.label_values(query.expression, query.label, start=start, end=end))
    if query.is_over_day:
        return len(prometheus.values(query.expression, start, end, (end - start) / POINTS))
    return len(prometheus.query(query.expression, at=end))


def median(ask: Callable[[], int]) -> tuple[float, int]:
    """Seconds, the median of three, and how much was found."""
    times, found = [], 0
    for _ in range(3):
        began = time.monotonic()
        found = ask()
        times.append(time.monotonic() - began)
    return statistics.median(times), found


def tell(title: str, timed: list[Timed], rows: int) -> None:
    seconds = [one.seconds for one in timed]
    print(
        f"\n{title}: {len(timed)} queries, {sum(seconds):.2f} s together, {sum(s > 1 for s in seconds)} above 1 s"
    )
    for one in sorted(timed, key=lambda one: -one.seconds)[:rows]:
        print(f"{f'{one.query.what} {one.query.name}'[:85]:<86}{one.seconds * 1e3:7.0f} ms {one.found:7} found")
    empty = sorted({one.query.name for one in timed if not one.found and one.query.what != "alert"})
    print(f"without any result: {', '.join(empty) or 'none'}")


if __name__ == "__main__":
    main()
