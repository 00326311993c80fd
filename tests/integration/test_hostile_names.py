"""Names and labels that try to break page, scrape or log: read back by promtool and a real Prometheus."""

import json
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from tests.harness import privatens
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.fake_engine import FakeEngine, served
from tests.harness.prometheus import PrometheusServer, promtool_check_metrics
from tests.harness.workloads import run

pytestmark = pytest.mark.engine

FORGED = '\nts=2024-01-01T00:00:00Z level=error event="forged"'
TEXTS = {
    "quotes": 'a "b" \'c\' {d="e"} 1',
    "backslashes": "a\\n\\\\b\\",
    "newlines": "a\nb\r\nc\n",
    "series": 'x"} 1\ndocker_engine_up 0\n# EOF\n',
    "utf8": "übergröße \N{SPOUTING WHALE} \u2028\u202e\ufeff",
    "control": "\x01\x1b[2J\x7f\x85\t",
    "long": "x" * 10_000,
    "empty": "",
}


def openmetrics(exporter: ExporterProcess) -> dict[str, Any]:
    """Families by name, as another's parser reads them."""
    request = urllib.request.Request(
        exporter.url + "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        page = answer.read().decode()
    return {family.name: family for family in read_openmetrics(page)}  # type: ignore[no-untyped-call]


def test_labels_of_a_real_engines_objects_come_out_as_they_went_in(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    run(client, "web", labels={f"x.{name}": text for name, text in TEXTS.items()})
    client.volumes.create("data", labels={"netvol.capacity": "50 gigs" + FORGED + "\x1b[2J" + "x" * 10_000})
    flags = [f"--container.labels=x.{name}" for name in TEXTS]
    with ExporterProcess(f"--engine.host={engine.host}", *flags) as exporter:
        scrape = exporter.eventually(lambda s: s.series("docker_volume_info", volume="data"), "the volume")
        [(labels, _)] = scrape.series("docker_container_info", container="web")
        assert {name: labels[f"label_x_{name}"] for name in TEXTS} == TEXTS
        [sample] = openmetrics(exporter)["docker_container_info"].samples
        assert {name: sample.labels[f"label_x_{name}"] for name in TEXTS} == TEXTS
        assert promtool_check_metrics(exporter.get("/metrics")) == ""
        with PrometheusServer(exporter.url.removeprefix("http://")) as prometheus:
            [result] = prometheus.query('docker_container_info{container="web"}')
            # A label that is empty is none.
            told = {name: result["metric"].get(f"label_x_{name}", "") for name in TEXTS}
            assert told == TEXTS
            assert prometheus.value("docker_engine_up") == 1
        lines = [line for line in exporter.log.split("\n") if "capacity of volume not usable" in line]
    assert len(lines) == 1
    assert re.search("characters", lines[0])
    assert len(lines[0]) < 2000
    assert lines[0].isprintable()


NAMES = (*TEXTS.values(), "\ud800", "a\udcffb", "\0", "..", "a/../b", "<script>alert(1)</script>", "x" * 100_000)


@pytest.fixture
def hostile_engine() -> Iterator[FakeEngine]:
    """An engine whose objects have names that no real one would allow."""
    privatens.enter()
    with tempfile.TemporaryDirectory(prefix="nv-") as folder:
        engine = FakeEngine(Path(folder) / "docker.sock")
        for name in filter(None, NAMES):
            # The volume's and the network's name are their id too.
            engine.add_network(name)
            engine.add_volume(name, Mountpoint=f"/nowhere/{name}", Labels={"netvol.capacity": name})
            engine.add_container(name, Config={"Image": name, "Labels": {"x": name}})
        with served(engine) as call:
            yield engine
            call(lambda: engine.emit("container", "start", "\ud800", name="\ud800"))


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_names_that_no_engine_allows_leave_a_page_that_prometheus_reads(
    hostile_engine: FakeEngine, form: str
) -> None:
    flags = ("--container.labels=x", f"--log.format={form}", "--log.level=debug", "--network.source=engine")
    expected = [name.encode(errors="backslashreplace").decode() for name in NAMES if name]
    with ExporterProcess(f"--engine.host={hostile_engine.host}", *flags) as exporter:
        scrape = exporter.eventually(
            lambda s: len(s.series("docker_volume_info")) == len(expected), "all volumes", 20
        )
        for family, label in (
            ("docker_container_info", "container"),
            ("docker_network_info", "network"),
            ("docker_volume_info", "volume"),
        ):
            assert sorted(labels[label] for labels, _ in scrape.series(family)) == sorted(expected), family
        assert promtool_check_metrics(exporter.get("/metrics")) == ""
        assert len(openmetrics(exporter)["docker_volume_info"].samples) == len(expected)
        assert "<script>" not in exporter.get("/")
        with PrometheusServer(exporter.url.removeprefix("http://")) as prometheus:
            assert prometheus.value("up") == 1
            assert prometheus.value("count(docker_volume_info)") == len(expected)
            assert prometheus.value("docker_engine_up") == 1
        log = exporter.log
    for line in log.rstrip("\n").split("\n"):
        assert line.isprintable()
        assert line.startswith("{" if form == "json" else "ts=")
        assert len(line) < 5000
        if form == "json":
            json.loads(line)
    assert "Traceback" not in log


def test_promtool_is_strict_so_that_these_tests_mean_something() -> None:
    for value in ("a\\d800", 'a"b', "a\nb"):
        assert promtool_check_metrics(f'# TYPE some_bytes gauge\nsome_bytes{{name="{value}"}} 1\n')
