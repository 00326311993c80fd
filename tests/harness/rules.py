"""The shipped alert rules and their promtool tests, read as data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.exporter import REPOSITORY

PROMETHEUS = REPOSITORY / "deploy/prometheus"
RULE_FILES = (*sorted(PROMETHEUS.glob("rules/*.yml")), *sorted(PROMETHEUS.glob("rules/optional/*.yml")))
TEST_FILES = sorted(PROMETHEUS.glob("tests/*.yml"))


@dataclass(frozen=True)
class Rule:
    """A rule as its file has it; `name` is the alert's or the recorded series'."""

    file: Path
    group: str
    text: dict[str, Any]

    @property
    def is_alert(self) -> bool:
        return "alert" in self.text

    @property
    def name(self) -> str:
        return str(self.text.get("alert") or self.text["record"])

    @property
    def expression(self) -> str:
        return str(self.text["expr"])

    @property
    def severity(self) -> str:
        return str(self.text["labels"]["severity"])

    @property
    def wait_seconds(self) -> int:
        """Its `for`."""
        return seconds(self.text["for"])

    def __str__(self) -> str:
        return f"{self.name} {self.severity}" if self.is_alert else self.name


def rules() -> Iterator[Rule]:
    """All shipped rules, in the order of their files."""
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for text in group["rules"]:
                yield Rule(file, group["name"], text)


def promtool_tests() -> Iterator[dict[str, Any]]:
    """All tests of rules, as promtool reads them."""
    for file in TEST_FILES:
        yield from yaml.safe_load(file.read_text())["tests"]


def seconds(duration: str) -> int:
    """A duration in Prometheus' form, such as 1h30m."""
    parts = re.findall(r"(\d+)([smhd])", str(duration))
    return sum(int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)


def fired_labels() -> Iterator[dict[str, str]]:
    """The labels of every alert that the promtool tests make fire."""
    for test in promtool_tests():
        for look in test.get("alert_rule_test", ()):
            for alert in look.get("exp_alerts", ()):
                yield {"alertname": look["alertname"], **alert["exp_labels"]}
