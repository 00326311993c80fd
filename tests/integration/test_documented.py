"""Commands and configuration of the documents, run as they stand there."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess, Scrape, free_port
from tests.harness.privatens import outside
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, run, send

pytestmark = pytest.mark.engine

EXAMPLES = REPOSITORY / "deploy/prometheus/examples"


def fresh_clone(folder: Path) -> Path:
    """What git has of this checkout, as a clone would have it: no virtual environment, nothing built."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def scrape(port: int) -> Scrape | None:
    """The page of an exporter in the machine's own network, None while there is none."""
    words = [*outside(), "busybox", "wget", "-q", "-O-", f"http://127.0.0.1:{port}/metrics"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return Scrape(done.stdout) if done.returncode == 0 else None


def test_make_run_serves_right_numbers_from_a_fresh_clone(
    client: docker.DockerClient, engine: PrivateEngine, tmp_path: Path
) -> None:
    client.networks.create("app")
    sender = run(client, "sender", network="app")
    receiver = run(client, "receiver", network="app", volumes={"data": {"bind": "/data"}})
    receiver.exec_run(["sh", "-c", "head -c 1048576 /dev/zero > /data/file; sync"])
    send(sender, receiver, "app", 1_000_000)
    clone, port = fresh_clone(tmp_path / "clone"), free_port()
    flags = f"--engine.host={engine.host} --web.listen-address=127.0.0.1:{port}"
    started = time.monotonic()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*outside(), "make", "run", f"ARGS={flags}"],
            cwd=clone,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def is_right() -> bool:
        page = scrape(port)
        if page is None:
            assert process.poll() is None, (tmp_path / "log").read_text()
            return False
        received = page.value("docker_container_network_receive_bytes_total", container="receiver", network="app")
        used = page.value("docker_volume_used_bytes", volume="data")
        return received == counters_inside(receiver)["eth0"].receive_bytes and (used or 0) >= 1048576

    try:
        eventually(is_right, "right numbers", 300)
        print(f"\nmake run in a fresh clone, to right numbers: {time.monotonic() - started:.1f} s")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@contextmanager
def prometheus(configuration: dict[str, Any], folder: Path) -> Iterator[str]:
    """A real Prometheus with a configuration of ours; gives its address."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={urllib.parse.urlparse(url).netloc}",
            ],
            stderr=log,
        )
    try:
        yield url
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, query: str) -> list[dict[str, str]]:
    """The labels of each series of an instant query."""
    with contextlib.suppress(OSError):
        words = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=10) as answer:
            return [found["metric"] for found in json.load(answer)["data"]["result"]]
    return []


def example(name: str, port: int) -> dict[str, Any]:
    """An example with its hosts' names led to one exporter, scraped each second."""
    text = (EXAMPLES / name).read_text()
    found: dict[str, Any] = yaml.safe_load(text.replace("localhost:10420", f"127.0.0.1:{port}"))
    found["global"] = {**found.get("global", {}), "scrape_interval": "1s"}
    for job in found["scrape_configs"]:
        job["scrape_interval"] = "1s"
        # What stands for the names that only the reader's network knows.
        to_here = {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"}
        job["relabel_configs"] = [*job.get("relabel_configs", []), to_here]
    return found


@pytest.mark.parametrize("name", ["static.yml", "file_sd.yml"])
def test_the_examples_name_instances_by_their_hosts(exporter: ExporterProcess, tmp_path: Path, name: str) -> None:
    shutil.copy(EXAMPLES / "targets.json", tmp_path)
    with prometheus(example(name, exporter.port), tmp_path) as url:
        query = "docker_engine_up == 1"
        eventually(lambda: len(ask(url, query)) == 2, "both instances", 30)
        found = ask(url, query)
    assert {(one["instance"], one["job"]) for one in found} == {("docker1", "netvol"), ("docker2", "netvol")}
    assert all(one["site"] in {"berlin", "lisbon"} for one in found)


def test_the_example_for_fewer_series_drops_what_it_says(
    client: docker.DockerClient, exporter: ExporterProcess, tmp_path: Path
) -> None:
    run(client, "web")
    run(client, "runner-1")
    exporter.eventually(lambda s: s.series("docker_container_tcp_connections", container="runner-1"), "TCP", 20)
    with prometheus(example("relabelling.yml", exporter.port), tmp_path) as url:
        eventually(lambda: ask(url, 'docker_container_info{container="web", name="web"}'), "the container", 30)
        assert ask(url, '{container=~"runner.*"}') == []
        assert ask(url, '{__name__=~"docker_container_tcp.*"}') == []


def test_the_example_for_remote_write_sends_what_it_says(exporter: ExporterProcess, tmp_path: Path) -> None:
    configuration = example("remote_write.yml", exporter.port)
    receiver = free_port()
    [configuration["remote_write"]] = [
        [one] for one in configuration["remote_write"] if one["name"] == "victoriametrics"
    ]
    # Prometheus itself can be the one that is written to.
    configuration["remote_write"][0]["url"] = f"http://127.0.0.1:{receiver}/api/v1/write"
    (tmp_path / "far").mkdir()
    (tmp_path / "far.yml").write_text("{}\n")
    with (tmp_path / "far.log").open("wb") as log:
        far = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path}/far.yml",
                f"--storage.tsdb.path={tmp_path}/far",
                f"--web.listen-address=127.0.0.1:{receiver}",
                "--web.enable-remote-write-receiver",
            ],
            stderr=log,
        )
    try:
        with prometheus(configuration, tmp_path):
            url = f"http://127.0.0.1:{receiver}"
            [up] = eventually(lambda: ask(url, "docker_engine_up"), "the series on the other side", 60)
            assert (up["instance"], up["site"]) == ("docker1", "berlin")
            eventually(lambda: ask(url, "docker_network_info"), "networks on the other side", 30)
            assert ask(url, '{__name__=~"process_.*|netvol_.*|docker_container_.*"}') == []
    finally:
        far.terminate()
        far.wait(20)
