"""Alerts on their whole way: exporter, Prometheus with the shipped rules, Alertmanager, webhook."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.harness.alertmanager import AlertmanagerServer, Notification, WebhookReceiver
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.prometheus import PrometheusServer
from tests.harness.rules import RULE_FILES, fired_labels
from tests.harness.wait import eventually
from tests.harness.workloads import execute, run

MIB = 2**20
WRITE = "i=0; while [ $i -lt 49 ]; do dd if=/dev/zero of=/data/$i bs=1M count=1 2>&-; i=$((i+1)); sleep 0.5; done"
SHARED = (
    "instance_filesystem:docker_filesystem_fill:ratio"
    " and on (job, instance, filesystem) instance_filesystem:docker_volume_info:shared"
)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def alertmanager(webhook: WebhookReceiver) -> Iterator[AlertmanagerServer]:
    with AlertmanagerServer(webhook) as server:
        yield server


@pytest.mark.engine
def test_a_volume_that_fills_calls_the_pager_and_calls_it_off_when_it_is_emptied(
    client: docker.DockerClient, engine: PrivateEngine, webhook: WebhookReceiver, alertmanager: AlertmanagerServer
) -> None:
    """Rules and routes as shipped, with their waits; only the intervals of Prometheus are a second."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={50 * MIB}"}
    place = Path(client.volumes.create("cache", driver_opts=options).attrs["Mountpoint"])
    with ExporterProcess(f"--engine.host={engine.host}", "--volume.interval=1s") as exporter:
        instance = exporter.url.removeprefix("http://")
        with PrometheusServer(instance, rule_files=RULE_FILES, alertmanager=alertmanager.address) as prometheus:
            client.volumes.create("on-the-disk")
            writer = run(client, "writer", volumes={"cache": {"bind": "/data"}})
            started = time.time()
            writer.exec_run(["sh", "-c", WRITE], detach=True)
            eventually(lambda: filled(place) > 0.5, "half full", 60)
            half_at = time.time()
            forecast = 'instance_volume:docker_volume_full:seconds{volume="cache"}'
            foretold = eventually(lambda: prometheus.value(forecast), "a forecast")
            eventually(lambda: filled(place) > 0.97, "97 % full", 60)
            full_at = time.time()
            disks = eventually(lambda: prometheus.query(SHARED), "a file system that is watched")
            assert len(disks) == 1, "each that volumes share is watched, and the tmpfs is not one"
            assert disks[0]["metric"]["filesystem"] != str(place)
            state = 'ALERTS{alertname="DockerVolumeFillingUp", alertstate="%s"}'
            eventually(lambda: prometheus.query(state % "pending"), "a pending alert", 20)
            pending_at = time.time()
            eventually(lambda: prometheus.query(state % "firing"), "a firing alert", 90)
            firing_at = time.time()
            told = one_notification(webhook, "firing", 60)
            assert told.receiver == "pager"
            assert told.labels == {
                "alertname": "DockerVolumeFillingUp",
                "severity": "critical",
                "job": "netvol",
                "instance": instance,
                "volume": "cache",
                "filesystem": str(place),
            }
            assert told.annotations["summary"] == "A Docker volume is almost full."
            text = rf"Volume cache on {re.escape(instance)} is 98(\.\d+)?% full: (1|1020|1016)(MiB|KiB) are left\."
            assert re.fullmatch(text, told.annotations["description"])
            assert told.annotations["runbook_url"] == "docs/alerts.md#dockervolumefillingup"

            execute(writer, "rm /data/*")
            emptied_at = time.time()
            eventually(lambda: not prometheus.query(state % "firing"), "the alert's end", 20)
            resolved_at = time.time()
            called_off = one_notification(webhook, "resolved", 90)
            assert called_off.labels == told.labels
    for what, seconds in (
        ("fills from empty to 97 %", full_at - started),
        ("half full: foretold full in", foretold),
        ("half full to 97 %", full_at - half_at),
        ("97 % full to pending", pending_at - full_at),
        ("pending to firing (for: 1m)", firing_at - pending_at),
        ("firing to webhook (group_wait: 10s)", told.at - firing_at),
        ("97 % full to webhook", told.at - full_at),
        ("emptied to no longer firing", resolved_at - emptied_at),
        ("emptied to resolved at the webhook (group_interval: 1m)", called_off.at - emptied_at),
    ):
        print(f"\n{what:<58}{seconds:6.1f} s", end="")


def filled(place: Path) -> float:
    found = os.statvfs(place)
    return 1 - found.f_bavail / found.f_blocks if found.f_blocks * found.f_frsize == 50 * MIB else 0.0


def one_notification(webhook: WebhookReceiver, status: str, timeout_seconds: float) -> Notification:
    """The only alert of which the webhook was told with this status."""

    def found() -> list[Notification]:
        return [notification for notification in webhook.notifications if notification.status == status]

    notifications = eventually(found, f"a webhook call: {status}", timeout_seconds)
    assert len(notifications) == 1, notifications
    return notifications[0]


ENGINE_DOWN = ("DockerEngineDown", "critical")
EXPORTER_DOWN = ("NetvolExporterDown", "critical")
EXPORTER_MISSING = ("NetvolExporterMissing", "critical")
FILESYSTEM_FULL = ("DockerVolumeFilesystemFillingUp", "critical")
FILESYSTEM_OUT_OF_INODES = ("DockerVolumeFilesystemInodesFillingUp", "critical")
VOLUME_OUT_OF_INODES = ("DockerVolumeInodesFillingUp", "critical")
VOLUME_FULL = ("DockerVolumeFillingUp", "critical")
VOLUME_FILLS = ("DockerVolumeFillingUp", "warning")


def alerts_of(instance: str, **labels: str) -> dict[tuple[str, str], dict[str, str]]:
    """Every alert of the shipped rules with the labels it has when it fires, as if all fired on one host."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    given = {"job": "netvol", "instance": instance, **labels}
    for fired in fired_labels():
        # The rules' tests leave out the job where it makes no difference.
        on_host = {"job": "netvol", **fired} if "instance" in fired else fired
        found.setdefault((fired["alertname"], fired["severity"]), {k: given.get(k, v) for k, v in on_host.items()})
    return found


def held_back(alertmanager: AlertmanagerServer, instance: str = "a") -> set[tuple[str, str]]:
    return {
        (alert["labels"]["alertname"], alert["labels"]["severity"])
        for alert in alertmanager.alerts()
        if alert["status"]["inhibitedBy"] and alert["labels"].get("instance", instance) == instance
    }


def test_while_the_engine_is_down_nothing_else_of_its_host_is_told(alertmanager: AlertmanagerServer) -> None:
    here, elsewhere = alerts_of("a"), alerts_of("b")
    alertmanager.post(*(labels for name, labels in here.items() if name != EXPORTER_DOWN), elsewhere[VOLUME_FULL])
    assert held_back(alertmanager) == here.keys() - {ENGINE_DOWN, EXPORTER_DOWN, EXPORTER_MISSING}
    assert held_back(alertmanager, "b") == set()


def test_while_the_exporter_is_down_nothing_else_of_its_host_is_told(alertmanager: AlertmanagerServer) -> None:
    here, elsewhere = alerts_of("a"), alerts_of("b")
    alertmanager.post(*here.values(), elsewhere[VOLUME_FULL])
    assert held_back(alertmanager) == here.keys() - {EXPORTER_DOWN, EXPORTER_MISSING}
    assert held_back(alertmanager, "b") == set()


def test_a_full_file_system_holds_back_its_volumes_and_no_others(alertmanager: AlertmanagerServer) -> None:
    alerts = alerts_of("a", filesystem="/srv")
    alertmanager.post(alerts[FILESYSTEM_FULL], alerts[VOLUME_FULL])
    assert held_back(alertmanager) == {VOLUME_FULL}
    alertmanager.post({**alerts[FILESYSTEM_FULL], "instance": "b"}, {**alerts[VOLUME_FULL], "instance": "c"})
    alertmanager.post({**alerts[VOLUME_FULL], "instance": "b", "filesystem": "/var"})
    assert held_back(alertmanager, "b") | held_back(alertmanager, "c") == set()


def test_a_file_system_out_of_inodes_holds_back_its_volumes_inodes_alone(alertmanager: AlertmanagerServer) -> None:
    alerts = alerts_of("a", filesystem="/srv")
    alertmanager.post(alerts[FILESYSTEM_OUT_OF_INODES], alerts[VOLUME_OUT_OF_INODES], alerts[VOLUME_FULL])
    assert held_back(alertmanager) == {VOLUME_OUT_OF_INODES}


def test_a_critical_alert_holds_back_the_warning_on_the_same_volume(alertmanager: AlertmanagerServer) -> None:
    alerts = alerts_of("a")
    alertmanager.post(alerts[VOLUME_FULL], alerts[VOLUME_FILLS], {**alerts[VOLUME_FILLS], "volume": "other"})
    held = [alert["labels"] for alert in alertmanager.alerts() if alert["status"]["inhibitedBy"]]
    assert held == [alerts[VOLUME_FILLS]]


def test_what_is_held_back_reaches_no_receiver(alertmanager: AlertmanagerServer, webhook: WebhookReceiver) -> None:
    alerts = alerts_of("a")
    alertmanager.post(alerts[ENGINE_DOWN], alerts[VOLUME_FULL], alerts_of("b")[VOLUME_FULL])
    eventually(lambda: len(webhook.notifications) >= 2, "two pages", 40)
    told = {(told.receiver, told.labels["alertname"], told.labels["instance"]) for told in webhook.notifications}
    assert told == {("pager", "DockerEngineDown", "a"), ("pager", "DockerVolumeFillingUp", "b")}
