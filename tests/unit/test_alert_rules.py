"""The alert rules against the catalogue, the promtool tests and the runbook."""

import re
from pathlib import Path

import pytest

from exporter.metrics.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))


def test_there_are_rules() -> None:
    assert RULES


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_every_metric_that_a_rule_names_is_in_the_catalogue(rules: Path) -> None:
    named = set(re.findall(r"\b(?:docker|netvol_exporter)_\w+", rules.read_text()))
    assert named
    assert named <= {family.name for family in CATALOGUE}


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_every_alert_is_tested_has_a_severity_and_a_section_of_the_runbook(rules: Path) -> None:
    tests = (ROOT / "deploy/prometheus/tests" / rules.name).read_text()
    runbook = (ROOT / "docs/alerts.md").read_text()
    for rule in rules.read_text().split("- alert: ")[1:]:
        alert = rule.split()[0]
        assert f"alertname: {alert}" in tests
        assert re.search(r"severity: (critical|warning|info)\n", rule)
        assert f"runbook_url: docs/alerts.md#{alert.lower()}\n" in rule
        assert f"## {alert}\n" in runbook
