"""Towards the engine the exporter only reads, and only what the documents say."""

import re
from pathlib import Path

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.proxy import RecordingProxy
from tests.harness.workloads import run

pytestmark = pytest.mark.engine

# The expression of docs/operations.md for socket proxies.
ALLOWED = re.compile(
    r"(/v1\.\d{1,2})?/(_ping|version|info|events|networks|networks/[a-zA-Z0-9_.-]+|volumes|volumes/[a-zA-Z0-9_.-]+"
    r"|system/df|containers/json|containers/[a-zA-Z0-9_.-]+/(json|stats))"
)


@pytest.mark.parametrize("source", ["procfs", "engine"])
def test_only_get_and_only_the_documented_paths(
    client: docker.DockerClient, engine: PrivateEngine, tmp_path: Path, source: str
) -> None:
    with RecordingProxy(tmp_path / "proxy.sock", engine.socket) as proxy:
        flags = [f"--engine.host={proxy.host}", f"--network.source={source}", "--poll.interval=1s"]
        with ExporterProcess(*flags) as exporter:
            network = client.networks.create("app")
            web = run(client, "web", network="app", volumes={"data": {"bind": "/data"}})
            exporter.eventually(lambda s: s.value("docker_volume_used_bytes", volume="data"), "the volume")
            web.remove(force=True)
            network.remove()
            exporter.eventually(lambda s: '"app"' not in s.text, "the network gone")
        assert len(proxy.requests) > 10
        for method, path in proxy.requests:
            assert method == "GET"
            assert ALLOWED.fullmatch(path.partition("?")[0]), path
    assert ALLOWED.pattern in (Path(__file__).parents[2] / "docs/operations.md").read_text()


def test_in_steady_state_a_poll_of_procfs_costs_the_engine_no_call(
    client: docker.DockerClient, engine: PrivateEngine, tmp_path: Path
) -> None:
    run(client, "web")
    with (
        RecordingProxy(tmp_path / "proxy.sock", engine.socket) as proxy,
        ExporterProcess(f"--engine.host={proxy.host}", "--poll.interval=0.1s") as exporter,
    ):
        before = len(proxy.requests)
        polls = 0.0
        for _ in range(30):
            scrape = exporter.scrape()
            last = scrape.value("netvol_exporter_collector_last_success_timestamp_seconds", collector="network")
            polls += last is not None
        new = [path for _, path in proxy.requests[before:] if not path.endswith("/_ping")]
        assert polls == 30
        assert new == []
