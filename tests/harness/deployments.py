"""The files of `deploy`, as a user has them in a clone, and what is asked of the Prometheus that they start."""

import json
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY

_IMAGE = re.compile(r"\$\{[A-Z_]+_IMAGE:-([^}]+)\}")


def pinned_images() -> set[str]:
    """All images that files of `deploy` name, but the exporter's own."""
    files = [*(REPOSITORY / "deploy/compose").glob("*.yaml"), *(REPOSITORY / "deploy/swarm").glob("*.yml")]
    names = {name for path in files for name in _IMAGE.findall(path.read_text())}
    return {name for name in names if not name.startswith("netvol-exporter")}


def copy_of_deploy(folder: Path) -> Path:
    """A copy, since some tests change it: the folder `deploy` with what it refers to beside it."""
    for name in ("deploy", "dashboards"):
        shutil.copytree(REPOSITORY / name, folder / name, dirs_exist_ok=True)
    return folder / "deploy"


def compose_command() -> list[str]:
    """The plugin, or where there is none Debian's docker-compose."""
    plugin = ["docker", "compose"]
    done = subprocess.run([*plugin, "version"], capture_output=True, check=False)
    return plugin if done.returncode == 0 else ["docker-compose"]


def query(engine: PrivateEngine, container: str, expression: str) -> list[dict[str, Any]]:
    """The result vector of an instant query, asked inside Prometheus' container; empty while it doesn't answer."""
    asked = urllib.parse.urlencode({"query": expression})
    address = f"http://127.0.0.1:9090/api/v1/query?{asked}"
    command = ["docker", "exec", container, "wget", "-q", "-O-", address]
    done = subprocess.run(command, env=engine.environment, check=False, capture_output=True, text=True)
    result: list[dict[str, Any]] = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
    return result


def value(engine: PrivateEngine, container: str, expression: str) -> float | None:
    """The value of an instant query with at most one result."""
    found = query(engine, container, expression)
    assert len(found) <= 1, found
    return float(found[0]["value"][1]) if found else None
