"""What a user types."""

import subprocess
import sys
import time
from pathlib import Path

import docker
import pytest
from playwright.sync_api import sync_playwright

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, ExporterProcess
from tests.harness.prometheus import promtool_check_metrics
from tests.harness.workloads import run

pytestmark = pytest.mark.engine


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("netvol-exporter")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_once_prints_a_whole_page_and_exits(client: docker.DockerClient, engine: PrivateEngine) -> None:
    client.volumes.create("data")
    client.networks.create("app")
    run(client, "web", network="app")
    done = command("--once", f"--engine.host={engine.host}")
    assert done.returncode == 0
    assert 'docker_volume_used_bytes{volume="data"} ' in done.stdout
    assert 'docker_container_network_receive_bytes_total{container="web",network="app"} ' in done.stdout
    assert promtool_check_metrics(done.stdout) == ""


def test_check_tells_what_is_seen(client: docker.DockerClient, engine: PrivateEngine) -> None:
    client.volumes.create("data")
    run(client, "web")
    done = command("check", f"--engine.host={engine.host}")
    assert done.returncode == 0
    print(f"\n{done.stdout}")
    assert "lack" not in done.stdout
    for subject in ("Docker engine", "Traffic counters", "Host network namespace", "Volumes"):
        assert subject in done.stdout


def test_check_without_rights_tells_what_to_change(client: docker.DockerClient, engine: PrivateEngine) -> None:
    client.volumes.create("data")
    run(client, "web")
    engine.socket.chmod(0o666)
    engine.root.chmod(0o755)
    # The interpreter may lie where only root can read, so everything is imported before the rights are given up.
    program = (
        "import os, sys; from exporter.__main__ import main;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", program, "check", f"--engine.host={engine.host}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"\n{done.stdout}")
    assert "0 of 1 local volumes are readable" in done.stdout
    assert "CAP_DAC_READ_SEARCH" in done.stdout
    assert "--network=host" in done.stdout


def test_without_an_engine_it_serves_and_picks_the_engine_up_when_it_starts() -> None:
    engine = PrivateEngine()
    try:
        with ExporterProcess(f"--engine.host={engine.host}", ready=False) as exporter:
            assert exporter.scrape().value("docker_engine_up") == 0
            assert exporter.log.count("engine unreachable") == 1
            engine.start()
            exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up", 5)
            exporter.eventually(lambda s: s.value("docker_network_info", network="bridge"), "its networks", 5)
            started = time.monotonic()
            engine.stop()
            exporter.eventually(lambda s: s.value("docker_engine_up") == 0, "the engine down", 5)
            print(f"\ndown told {time.monotonic() - started:.2f} s after the stop began")
            assert exporter.log.count("engine unreachable") == 2
            assert "Traceback" not in exporter.log
    finally:
        engine.remove()


def test_the_status_page_shows_in_a_browser(
    client: docker.DockerClient, exporter: ExporterProcess, tmp_path: Path
) -> None:
    run(client, "web")
    exporter.eventually(lambda s: s.series("docker_container_info", container="web"), "the container")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page()
        page.goto(exporter.url)
        assert page.title() == "netvol-exporter"
        assert "1, of these 1 running" in page.inner_text("table")
        page.screenshot(path=str(tmp_path / "status.png"))
        page.click("text=Metrics")
        assert "docker_engine_up 1" in page.inner_text("body")
        browser.close()
