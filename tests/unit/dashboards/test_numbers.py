"""What queries of the dashboards answer, reckoned by promtool; a host is told by its instance."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.harness.grafana import Dashboard
from tests.harness.rules import PROMETHEUS

FOLDER = Path(__file__).parents[3] / "dashboards/json"
Samples = dict[str, float]


def query(uid: str, place: str) -> str:
    """A query of a dashboard with all hosts chosen; the last, where two panels have the same title."""
    board = Dashboard(json.loads((FOLDER / f"{uid}.json").read_text()))
    *_, expression = [asked.expression for asked in board.queries() if asked.place == place]
    return board.filled(expression, {})


def check(
    folder: Path, series: dict[str, str], at: str, expected: dict[str, Samples], interval: str = "1h"
) -> None:
    """Ask for these queries at a time, and compare what they give: labels and value."""
    test = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, samples in expected.items()
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_number_is_found(tmp_path: Path) -> None:
    check(tmp_path, {"up": "1x2"}, "1h", {"up": {"up": 1}})
    with pytest.raises(AssertionError, match="FAILED"):
        check(tmp_path, {"up": "1x2"}, "1h", {"up": {"up": 0}})


@pytest.mark.parametrize(("rules_are_loaded", "down"), [(True, 3), (False, 1)])
def test_an_exporter_that_is_down_is_counted_once_and_with_the_rules_however_long(
    tmp_path: Path, *, rules_are_loaded: bool, down: int
) -> None:
    series = {
        'up{job="netvol", instance="answers"}': "1x49",
        'up{job="netvol", instance="since-today"}': "1x47 0x1",
        'up{job="netvol", instance="since-yesterday"}': "1x10 0x38",
        'up{job="netvol", instance="never-answered"}': "0x49",
        'up{job="node", instance="another-job"}': "0x49",
        'netvol_exporter_build_info{job="netvol", instance="answers", version="1"}': "1x49",
        'netvol_exporter_build_info{job="netvol", instance="since-today", version="1"}': "1x47 stale",
        'netvol_exporter_build_info{job="netvol", instance="since-yesterday", version="1"}': "1x10 stale",
    }
    if rules_are_loaded:
        ups = {name: values for name, values in series.items() if name.startswith('up{job="netvol"')}
        series |= {f"instance:{name.replace('{', ':netvol{', 1)}": values for name, values in ups.items()}
    known = {"answers": 1.0, "since-today": 0.0}
    if rules_are_loaded:
        known |= {"since-yesterday": 0.0, "never-answered": 0.0}
    expected: dict[str, Samples] = {
        query("netvol-overview", "Exporters down A"): {"{}": down},
        query("netvol-overview", "Hosts A"): {f'{{instance="{host}"}}': up for host, up in known.items()},
        query("netvol-exporter", "Exporters up A"): {"{}": 1 / len(known)},
    }
    check(tmp_path, series, "49h", expected)


def test_that_no_exporter_is_scraped_is_shown_among_the_alerts(tmp_path: Path) -> None:
    [missing] = [
        rule
        for group in yaml.safe_load((PROMETHEUS / "rules/exporter.yml").read_text())["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "NetvolExporterMissing"
    ]
    labels = f'alertname="NetvolExporterMissing", severity="{missing["labels"]["severity"]}"'
    of_volume = 'alertname="DockerVolumeFillingUp", severity="warning", job="netvol", instance="a", volume="db"'
    series = {
        f'ALERTS{{{labels}, alertstate="firing"}}': "1x9",
        f"ALERTS_FOR_STATE{{{labels}}}": "60x9",
        f'ALERTS{{{of_volume}, alertstate="firing"}}': "1x9",
        f"ALERTS_FOR_STATE{{{of_volume}}}": "120x9",
        'ALERTS{alertname="DockerEngineDown", job="netvol", instance="a", alertstate="pending"}': "1x9",
        'ALERTS{alertname="NodeDown", job="node", instance="a", alertstate="firing"}': "1x9",
    }
    row = 'severity="{}", alertname="{}"'.format
    expected: dict[str, Samples] = {
        query("netvol-overview", "Alerts firing A"): {"{}": 2},
        query("netvol-overview", "Alerts A"): {
            f"{{{row('critical', 'NetvolExporterMissing')}}}": 60_000,
            f'{{{row("warning", "DockerVolumeFillingUp")}, instance="a", subject="db"}}': 120_000,
        },
        query("netvol-volumes", "annotation Alerts"): {
            f'ALERTS{{{labels}, alertstate="firing"}}': 1,
            f'ALERTS{{{of_volume}, alertstate="firing"}}': 1,
        },
    }
    check(tmp_path, series, "9h", expected)


def test_a_declared_limit_is_reached_by_the_volumes_own_growth_and_another_by_what_its_disk_loses(
    tmp_path: Path,
) -> None:
    series: dict[str, str] = {}
    for volume, source, used, available in (
        ("grows", "declared", "400+10x20", "500-1x20"),
        ("only-its-disk-fills", "declared", "400x20", "500-10x20"),
        ("is-over", "declared", "1200+10x20", "0x20"),
        ("few-samples", "declared", "_x12 400+10x8", "500-10x20"),
        ("has-its-own-disk", "mount", "400x20", "500-10x20"),
        ("shares-a-disk", "filesystem", "400+10x20", "500-10x20"),
    ):
        labels = f'job="netvol", instance="a", volume="{volume}"'
        series |= {
            f'docker_volume_info{{{labels}, capacity_source="{source}"}}': "1x20",
            f"docker_volume_used_bytes{{{labels}}}": used,
            f"docker_volume_available_bytes{{{labels}}}": available,
            f"docker_volume_capacity_bytes{{{labels}}}": "1000x20",
        }
    left = {"grows": 400 / 10 * 60, "is-over": 0, "has-its-own-disk": 300 / 10 * 60}
    expected: dict[str, Samples] = {
        query("netvol-volumes", "Full soonest A"): {"{}": 0},
        query("netvol-volumes", "Full within 30 days A"): {
            f'{{instance="a", volume="{volume}"}}': seconds for volume, seconds in left.items()
        },
    }
    check(tmp_path, series, "20m", expected, interval="1m")
