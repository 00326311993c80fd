"""A real Prometheus that scrapes, and its promtool."""

import json
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.exporter import free_port
from tests.harness.wait import eventually


class PrometheusServer:
    """Prometheus with one job; as a context manager it has scraped each target once inside."""

    def __init__(
        self,
        *targets: str,
        interval: str = "1s",
        job: str = "netvol",
        rule_files: Sequence[Path] = (),
        alertmanager: str = "",
        data: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        """It evaluates rules as often as it scrapes; `alertmanager` is an address that it tells of alerts.

        `data` is a folder that is kept; `flags` are Prometheus' own.
        """
        self._flags = flags
        self._folder = Path(tempfile.mkdtemp(prefix="netvol-test-prometheus-"))
        self.url = f"http://127.0.0.1:{free_port()}"
        self._targets = targets
        self._job = job
        self.data = data or self._folder / "data"
        """The folder of its database."""
        self._process: subprocess.Popen[bytes] | None = None
        configuration = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(targets)}]}],
            "rule_files": list(map(str, rule_files)),
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
            },
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(configuration))

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result vector of an instant query."""
        when = {} if at is None else {"time": at}
        result: list[dict[str, Any]] = self._ask("query", query=expression, **when)["result"]
        return result

    def value(self, expression: str, at: float | None = None) -> float | None:
        """The value of an instant query with at most one result, now or at a time in seconds since the epoch."""
        result = self.query(expression, at)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def values(self, expression: str, start: float, end: float, step: float = 1) -> list[float]:
        """All values of all series of a range query."""
        result = self._ask("query_range", query=expression, start=start, end=end, step=step)["result"]
        return [float(value) for series in result for _, value in series["values"]]

    def matrix(self, expression: str, start: float, end: float, step: float = 1) -> list[dict[str, Any]]:
        """The series of a range query."""
        result: list[dict[str, Any]] = self._ask("query_range", query=expression, start=start, end=end, step=step)[
            "result"
        ]
        return result

    def label_values(self, selector: str, label: str, **times: float) -> list[str]:
        """All values of a label in the series that a selector matches, `start` and `end` of a time if given."""
        found: list[str] = self._ask(f"label/{label}/values", **{"match[]": selector}, **times)
        return found

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("targets")["activeTargets"]
        return found

    def _ask(self, path: str, **parameters: Any) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)["data"]

    def _has_scraped(self) -> bool:
        """Asked of the database: a target is told as healthy before its samples are committed."""
        try:
            # A folder that is kept has others, too.
            return self._scraped() >= set(self._targets)
        except (urllib.error.URLError, OSError):
            return False

    def _scraped(self) -> set[str]:
        return {found["metric"]["instance"] for found in self.query(f'up{{job="{self._job}"}} == 1')}

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self.data}",
                    f"--web.listen-address={urllib.parse.urlparse(self.url).netloc}",
                    *self._flags,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(self._has_scraped, "Prometheus having scraped its targets", 30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)


def promtool_check_metrics(page: str) -> str:
    """What `promtool check metrics` has to say about a page: nothing, if it is fine."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
