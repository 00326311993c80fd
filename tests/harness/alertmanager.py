"""A real Alertmanager with the shipped configuration, whose receivers are a web server of the test."""

import json
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.harness.exporter import REPOSITORY, free_port
from tests.harness.wait import eventually

CONFIGURATION = REPOSITORY / "deploy/alertmanager/alertmanager.yml"


@dataclass(frozen=True)
class Notification:
    """One alert of one call of a webhook, and when it came."""

    at: float
    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class WebhookReceiver:
    """Keeps what Alertmanager tells."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        notifications = self.notifications

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                called = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                now = time.time()
                notifications.extend(
                    Notification(now, called["receiver"], alert["status"], alert["labels"], alert["annotations"])
                    for alert in called["alerts"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class AlertmanagerServer:
    """Alertmanager as shipped, but for the webhooks' addresses."""

    def __init__(self, webhook: WebhookReceiver) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="netvol-test-alertmanager-"))
        self.address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        configuration = yaml.safe_load(CONFIGURATION.read_text())
        for receiver in configuration["receivers"]:
            receiver["webhook_configs"] = [{"url": f"{webhook.url}/{receiver['name']}"}]
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(configuration))

    def alerts(self) -> list[dict[str, Any]]:
        """All alerts that it knows, with `status.inhibitedBy`."""
        with urllib.request.urlopen(f"http://{self.address}/api/v2/alerts", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def post(self, *labels: dict[str, str]) -> None:
        """Tell it of firing alerts, as Prometheus does."""
        body = json.dumps([{"labels": one} for one in labels]).encode()
        request = urllib.request.Request(
            f"http://{self.address}/api/v2/alerts", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def _answers(self) -> bool:
        try:
            return self.alerts() is not None
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus-alertmanager",
                    f"--config.file={self._folder}/alertmanager.yml",
                    f"--storage.path={self._folder}/data",
                    f"--web.listen-address={self.address}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "Alertmanager answering", 30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)
