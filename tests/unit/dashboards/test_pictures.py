"""What pictures and queries stand on: the made-up history, and variables filled in as Grafana does."""

import io
import json
import re
from pathlib import Path

from tests.harness import history
from tests.harness.grafana import Dashboard, Window

BOARDS = [json.loads(path.read_text()) for path in (Path(__file__).parents[3] / "dashboards/json").glob("*.json")]


def board(query: str) -> Dashboard:
    variables = [
        {"type": "query", "name": name, "allValue": ".+", "query": {"query": ""}} for name in ("job", "instance")
    ]
    target = {"refId": "A", "expr": query, "range": False}
    panels = [{"type": "stat", "title": "Panel", "targets": [target]}]
    return Dashboard(
        {"uid": "x", "templating": {"list": variables}, "panels": panels, "annotations": {"list": []}}
    )


def test_all_is_the_variables_own_text_for_it_and_what_is_no_variable_stays() -> None:
    text = 'label_replace(up{job=~"$job"}, "short", "$1", "job", "(.).*")'
    assert board(text).filled(text, {}) == text.replace("$job", ".+")


def test_several_values_are_alternatives_and_are_escaped_for_an_expression_in_a_string() -> None:
    made = board("")
    made.choose("job", ["a"])
    made.choose("instance", ["10.0.0.1:1", "b"])
    assert made.filled('{job=~"$job", instance=~"$instance"}', {}) == (
        r'{job=~"a", instance=~"(10\\.0\\.0\\.1:1|b)"}'
    )


def test_the_interval_of_rates_is_four_scrapes_or_a_step_and_a_scrape() -> None:
    assert Window(0, 3600, step=15, scrape_interval=15).globals["__rate_interval"] == "60s"
    assert Window(0, 86400, step=120, scrape_interval=15).globals["__rate_interval"] == "135s"
    assert Window(0, 86400, step=120, scrape_interval=15).globals["__range"] == "86400s"


def test_the_made_up_history_has_every_family_that_a_dashboard_asks_for() -> None:
    out = io.StringIO()
    history.write(out, history.Scale(), 0, 120, 60)
    written = {line.partition("{")[0] for line in out.getvalue().splitlines()}
    asked = {
        name
        for made in BOARDS
        for q in Dashboard(made).queries()
        for name in re.findall(r"\b([\w:]+)\{", q.expression)
    }
    # The one is there with --limit.series only, the other with the rules of the alerts.
    assert asked <= written | {"netvol_exporter_series_dropped", "instance:up:netvol"}
    assert out.getvalue().endswith("# EOF\n")
