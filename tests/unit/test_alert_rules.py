"""The alert rules against the catalogue, their promtool tests and the runbook."""

import re
from collections.abc import Iterable

import pytest

from exporter.metrics.catalogue import CATALOGUE
from tests.harness.exporter import REPOSITORY
from tests.harness.rules import Rule, promtool_tests, rules, seconds

RULES = list(rules())
ALERTS = [rule for rule in RULES if rule.is_alert]
RECORDED = {rule.name: rule for rule in RULES if not rule.is_alert}
FAMILIES = {family.name: family for family in CATALOGUE}
TARGET_LABELS = {"job", "instance"}

CASES = ("fires", "before for", "just-below", "missing-data", "restart", "removed")
EXCEPTIONS = {
    # It tells of targets that are gone: that data is missing and the last target removed is what it fires on.
    ("NetvolExporterMissing critical", "just-below"),
    ("NetvolExporterMissing critical", "missing-data"),
    ("NetvolExporterMissing critical", "removed"),
}

NAME = re.compile(r"\b(?:docker|netvol_exporter)_\w+\b(?<!:)(?!:)|\b\w+(?::\w+)+\b|\bup\b")


def named(expression: str) -> set[str]:
    """Metrics and recorded series of an expression, without what stands in strings, selectors and label lists."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)|\{[^}]*\}", " ", bare)
    return {re.sub(r"(?<=_seconds)_bucket$", "", name) for name in NAME.findall(bare)}


def labels_of(names: Iterable[str]) -> set[str]:
    """All labels that these series can have."""
    found = set(TARGET_LABELS)
    for name in names:
        if name in FAMILIES:
            found |= set(FAMILIES[name].labels)
        elif name in RECORDED:
            found |= labels_of(named(RECORDED[name].expression))
    return found


def used_labels(expression: str) -> set[str]:
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)", expression)
    selected = re.findall(r"(\w+) *(?:=~|!~|!=|=)", " ".join(re.findall(r"\{([^}]*)\}", expression)))
    return {label for text in lists for label in re.split(r"[ ,]+", text) if label} | set(selected)


def made_labels(expression: str) -> set[str]:
    """Labels that an expression makes of others."""
    return set(re.findall(r'label_replace\(.*?, *"(\w+)", *"\$1"', expression))


def templates(rule: Rule) -> str:
    return " ".join(rule.text["annotations"].values())


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_all_that_a_rule_names_exists(rule: Rule) -> None:
    names = named(rule.expression)
    assert names <= FAMILIES.keys() | RECORDED.keys() | {"up"}
    labels = labels_of(names) | made_labels(rule.expression)
    assert used_labels(rule.expression) <= labels
    if not rule.is_alert:
        return
    asked = set(re.findall(r"[\w:]+(?=\{job=)", templates(rule)))
    assert asked <= FAMILIES.keys() | RECORDED.keys()
    assert set(re.findall(r"\$labels\.(\w+)", templates(rule))) <= labels


@pytest.mark.parametrize("rule", ALERTS, ids=str)
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on(rule: Rule) -> None:
    assert rule.severity in {"critical", "warning", "info"}
    assert rule.wait_seconds > 0
    annotations = rule.text["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "{{" not in annotations["summary"]
    assert annotations["runbook_url"] == f"docs/alerts.md#{rule.name.lower()}"
    assert f"\n## {rule.name}\n" in (REPOSITORY / "docs/alerts.md").read_text()


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    sections = re.findall(
        r"^## ((?:Docker|Netvol)\w+)$", (REPOSITORY / "docs/alerts.md").read_text(), re.MULTILINE
    )
    assert set(sections) == {rule.name for rule in ALERTS}


def test_the_runbook_asks_for_series_that_exist() -> None:
    text = (REPOSITORY / "docs/alerts.md").read_text()
    asked = re.findall(r"(?<![\w:])(?:docker_|netvol_exporter_|instance\w*:|netvol:threshold:)[\w:]+", text)
    assert len(asked) > 20
    assert set(asked) <= FAMILIES.keys() | RECORDED.keys()


def test_thresholds_are_in_one_file_and_each_is_read() -> None:
    recorded = {name for name in RECORDED if name.startswith("netvol:threshold:")}
    assert {RECORDED[name].file.name for name in recorded} == {"thresholds.yml"}
    assert {name for rule in ALERTS for name in named(rule.expression) if "threshold" in name} == recorded
    for rule in ALERTS:
        compared = re.findall(r"(?:[<>]=?|[!=]=) *(\S+)", re.sub(r"\{[^}]*\}", "", rule.expression))
        assert all(text in ("0", "1") or text.startswith("scalar(netvol:threshold:") for text in compared), rule


def cases_of(rule: Rule) -> set[str]:
    """The cases that promtool tests of an alert; see the head of its test files."""
    found = set()
    for test in promtool_tests():
        if not test["name"].startswith(f"{rule}: "):
            continue
        series = " ".join(item["series"] for item in test["input_series"])
        instances = set(re.findall(r'instance="([^"]+)"', series))
        looks = [look for look in test["alert_rule_test"] if look["alertname"] == rule.name]
        fired = [
            (seconds(look["eval_time"]), alert["exp_labels"])
            for look in looks
            for alert in look.get("exp_alerts", ())
            if alert["exp_labels"]["severity"] == rule.severity
        ]
        # promtool demands exactly these alerts: what is not among them did not fire.
        assert {labels.get("instance", "fires") for _, labels in fired} == {"fires"}, test["name"]
        found |= instances | {"fires"}
        quiet = [seconds(look["eval_time"]) for look in looks if not look.get("exp_alerts")]
        if any(0 < min(at for at, _ in fired) - when < max(rule.wait_seconds, 61) for when in quiet):
            found.add("before for")
    return found


@pytest.mark.parametrize("rule", ALERTS, ids=str)
def test_an_alert_is_tested_to_fire_and_not_to_fire(rule: Rule) -> None:
    exempt = {case for name, case in EXCEPTIONS if name == str(rule)}
    assert set(CASES) - cases_of(rule) == exempt


def test_table_of_alerts_by_tests_is_the_one_in_the_measurements() -> None:
    """Print it with -s."""
    lines = [f"| alert | {' | '.join(CASES)} | others |", f"|---|{'---|' * len(CASES)}---|"]
    for rule in ALERTS:
        tested = cases_of(rule)
        marks = " | ".join("yes" if case in tested else "none" for case in CASES)
        lines.append(f"| {rule} | {marks} | {', '.join(sorted(tested - set(CASES)))} |")
    table = "\n".join(lines)
    print(f"\n{table}")
    assert table in (REPOSITORY / "docs/measurements.md").read_text()
