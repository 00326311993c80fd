"""The exporter as a user runs it: a process of its own, scraped over HTTP."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.wait import eventually

REPOSITORY = Path(__file__).parents[2]


class Scrape:
    """The samples of one page."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def series(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of all series of this name that have these labels."""
        return [
            (found, value)
            for sample, found, value in self._samples
            if sample == name and labels.items() <= found.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one series of this name and labels, None if there is none."""
        found = self.series(name, **labels)
        assert len(found) <= 1, f"{len(found)} series {name} {labels}"
        return found[0][1] if found else None


class ExporterProcess:
    """`python -m exporter` with flags; as a context manager it is ready inside and ended outside."""

    def __init__(
        self, *flags: str, ready: bool = True, own_network: bool = False, started_by: Sequence[str] = ()
    ) -> None:
        """With `own_network` it is not in the engine's network namespace, as in a container.

        `started_by` are words before the command, for instance of `docker run`.
        """
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._flags = [f"--web.listen-address=127.0.0.1:{self.port}", *flags]
        self._ready = ready
        self._own_network = own_network
        self._started_by = started_by
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(tempfile.mkdtemp(prefix="netvol-test-exporter-")) / "log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NETVOL_", "DOCKER_"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._entered(), *self._started_by, sys.executable, "-m", "exporter", *self._flags],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        path = "/-/ready" if self._ready else "/-/healthy"
        eventually(lambda: self._answers(path), f"the exporter answering; its log:\n{self.log}", 30)

    def stop(self) -> int:
        """End it with SIGTERM; it must end within two seconds. Gives its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._process = None

    def scrape(self) -> Scrape:
        return Scrape(self.get("/metrics"))

    def get(self, path: str) -> str:
        if self._own_network:
            command = [
                "nsenter",
                f"--net=/proc/{self.pid}/ns/net",
                "busybox",
                "wget",
                "-q",
                "-O-",
                self.url + path,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise OSError(done.stderr)
            return done.stdout
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def eventually(self, condition: Callable[[Scrape], object], what: str, timeout_seconds: float = 10) -> Scrape:
        """Scrape until a condition holds, and give the scrape for which it did."""
        last: list[Scrape] = []

        def check() -> Scrape | None:
            last[:] = [self.scrape()]
            return last[0] if condition(last[0]) else None

        found = eventually(check, what, timeout_seconds)
        assert found is not None
        return found

    def _entered(self) -> list[str]:
        return ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"] if self._own_network else []

    def _answers(self, path: str) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the exporter ended; its log:\n{self.log}")
        try:
            return bool(self.get(path))
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            code = self.stop()
            assert kind is not None or code == 0, self.log
        shutil.rmtree(self._log.parent, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
