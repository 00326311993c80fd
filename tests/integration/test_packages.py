"""The packages that a user installs: wheel and sdist, made here, installed in environments of their own."""

import json
import os
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path

import docker
import pytest

from exporter import __version__
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY, Scrape
from tests.harness.privatens import outside
from tests.harness.workloads import run

pytestmark = pytest.mark.engine

LOCK = REPOSITORY / "requirements/runtime.txt"


def build(source: Path, folder: Path, *targets: str, moment: int = 1_700_000_000) -> None:
    words = [part for target in targets for part in ("--target", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *words],
        cwd=source,
        check=True,
        capture_output=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(moment)},
    )


def wheel_in(folder: Path) -> Path:
    [wheel] = folder.glob("*.whl")
    return wheel


def run_in(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program, away from the checkout, so that only what is installed is found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("NETVOL_", "PYTHON"))}
    done = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, folder, "wheel", "sdist")
    return folder


@pytest.fixture(scope="module")
def environment(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel and its locked dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    started = time.monotonic()
    venv.create(folder, with_pip=True)
    pip = [
        *outside(),
        str(folder / "bin/python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "-q",
        "install",
    ]
    run_in(folder, *pip, "--require-hashes", "-r", str(LOCK))
    run_in(folder, *pip, "--no-deps", str(wheel_in(packages)))
    print(f"\nenvironment, locked dependencies and wheel: {time.monotonic() - started:.1f} s")
    return folder


def test_the_wheel_with_its_locked_dependencies_is_whole(environment: Path) -> None:
    done = run_in(environment, str(environment / "bin/python"), "-m", "pip", "check", check=False)
    assert done.returncode == 0, done.stdout
    version = run_in(environment, str(environment / "bin/netvol-exporter"), "--version")
    assert version.stdout == f"netvol-exporter {__version__}\n"


def test_the_installed_wheel_tells_the_truth_about_an_engine(
    environment: Path, client: docker.DockerClient, engine: PrivateEngine
) -> None:
    client.networks.create("app")
    web = run(client, "web", network="app", volumes={"data": {"bind": "/data"}})
    web.exec_run(["sh", "-c", "head -c 3145728 /dev/zero > /data/file; sync"])
    started = time.monotonic()
    done = run_in(environment, str(environment / "bin/netvol-exporter"), "--once", f"--engine.host={engine.host}")
    print(f"\nwheel, once: {time.monotonic() - started:.1f} s")
    page = Scrape(done.stdout)
    [(_, used)] = page.series("docker_volume_used_bytes", volume="data")
    assert 3145728 <= used < 3145728 + 16384
    assert page.series("docker_container_network_receive_bytes_total", container="web", network="app")
    assert page.value("docker_engine_up") == 1


def test_two_builds_of_the_wheel_are_the_same_file(packages: Path, tmp_path: Path) -> None:
    build(REPOSITORY, tmp_path, "wheel")
    assert wheel_in(tmp_path).read_bytes() == wheel_in(packages).read_bytes()


def test_the_wheel_made_from_the_sdist_is_the_same_file(packages: Path, tmp_path: Path) -> None:
    [sdist] = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "dist", "wheel")
    assert wheel_in(tmp_path / "dist").read_bytes() == wheel_in(packages).read_bytes()


def test_pipx_installs_it_and_removes_it(packages: Path, tmp_path: Path) -> None:
    # With the locked versions, so that a test of ours does not depend on today's releases.
    locked = [line.split()[0] for line in LOCK.read_text().splitlines() if "==" in line]
    (tmp_path / "constraints.txt").write_text("\n".join(locked))
    for name in ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR"):
        (tmp_path / name).mkdir()
    pipx = [
        *outside(),
        "env",
        *(f"{name}={tmp_path / name}" for name in ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR")),
        "pipx",
    ]
    run_in(tmp_path, *pipx, "install", str(wheel_in(packages)), f"--pip-args=-c {tmp_path}/constraints.txt")
    program = tmp_path / "PIPX_BIN_DIR" / "netvol-exporter"
    assert run_in(tmp_path, str(program), "--version").stdout == f"netvol-exporter {__version__}\n"
    run_in(tmp_path, *pipx, "uninstall", "netvol-exporter")
    assert not program.exists()


def test_the_sbom_lists_the_locked_dependencies_and_nothing_else() -> None:
    run_in(REPOSITORY, *outside(), "make", "sbom")
    listed = json.loads((REPOSITORY / "dist/netvol-exporter.cdx.json").read_text())["components"]
    locked = {line.split()[0] for line in LOCK.read_text().splitlines() if "==" in line}
    found = {f"{component['name'].replace('_', '-')}=={component['version']}" for component in listed}
    assert found == locked | {f"netvol-exporter=={__version__}"}


def test_an_audit_that_can_not_ask_fails() -> None:
    # In the tests' own network there is nobody to ask.
    done = run_in(REPOSITORY, "make", "audit", check=False)
    assert done.returncode != 0
