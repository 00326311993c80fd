"""The exporter installed as the documents say, wherever it runs, seen through the address where it is scraped."""

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.harness.documents import commands
from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import REPOSITORY, Scrape
from tests.harness.wait import eventually
from tests.harness.workloads import disk_usage, execute, received, run, send


def run_documented(
    engine: PrivateEngine,
    document: str,
    heading: str,
    *,
    instead: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Run the commands under a heading against the engine, which has its socket and data root elsewhere.

    `instead` is what else is other here. Gives what they print.
    """
    script = commands(document, heading)
    places = {
        "/var/run/docker.sock:/": f"{engine.socket}:/",
        "%g /var/run/docker.sock": f"%g {engine.socket}",
        "/var/lib/docker": str(engine.data_root),
    }
    for old, new in (places | (instead or {})).items():
        script = script.replace(old, new)
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=REPOSITORY,
        env=engine.environment | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(slots=True)
class InstalledExporter:
    """What answers at an address."""

    address: str = "127.0.0.1:10420"
    started: float = field(default_factory=time.monotonic)

    def wait_until_ready(self, timeout_seconds: float = 60) -> float:
        """Give the seconds since this was made; make it just before the exporter is started."""
        eventually(self._is_ready, f"the exporter ready at {self.address}", timeout_seconds, 0.02)
        return time.monotonic() - self.started

    def scrape(self) -> Scrape:
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            return Scrape(answer.read().decode())

    def tell(self, series: str) -> float | None:
        """The value of a series of the page, which is named as in a query."""
        name, _, labels = series.removesuffix("}").partition("{")
        return self.scrape().value(name, **dict(re.findall(r'(\w+)="([^"]*)"', labels)))

    def eventually(self, condition: Callable[[Scrape], object], what: str, timeout_seconds: float = 30) -> Scrape:
        """Scrape until a condition holds, and give the scrape for which it did."""
        last: list[Scrape] = []

        def check() -> Scrape | None:
            last[:] = [self.scrape()]
            return last[0] if condition(last[0]) else None

        found = eventually(check, what, timeout_seconds, 0.2)
        assert found is not None
        return found

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class HostBefore:
    """A host with traffic and a volume from before the exporter: so it can be told when its numbers are right."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        owner = run(client, "owner", volumes={"data": {"bind": "/data"}})
        execute(
            owner, "dd if=/dev/zero of=/data/file bs=1000 count=3000; chown -R 999 /data; chmod 700 /data; sync"
        )
        client.networks.create("before")
        sender, self._receiver = (run(client, name, network="before") for name in ("teller", "listener"))
        send(sender, self._receiver, "before", 1_000_000)

    def used_bytes(self, *, walked: bool) -> int:
        """Of the volume `data`: where it can't be walked the engine tells apparent bytes, du allocated ones."""
        return disk_usage(Path(self._client.volumes.get("data").attrs["Mountpoint"]))[0] if walked else 3_000_000

    def wait_until_right(self, tell: Callable[[str], float | None], started: float, *, walked: bool) -> float:
        """Wait until `tell` has what kernel and disk have; gives the seconds since `started`."""
        traffic = 'docker_container_network_receive_bytes_total{container="listener",network="before"}'
        usage = 'docker_volume_used_bytes{volume="data"}'
        used = self.used_bytes(walked=walked)

        def is_right() -> bool:
            return tell(usage) == used and tell(traffic) == received(self._receiver, "before")

        eventually(is_right, f"{usage} of {used} and {traffic}", 90)
        return time.monotonic() - started


def resident_bytes(engine: PrivateEngine, container: str) -> int:
    """Resident memory of a container's processes."""
    processes = docker_command(engine, "top", container, "-o", "pid").split()[1:]
    return sum(process_bytes(int(pid)) for pid in processes)


def process_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
