"""The dashboards' JSON, without Grafana and without Prometheus.

The rules of Grafana's dashboard-linter that apply are here by their names; `target-promql-rule` is kept by a real
Prometheus in tests/integration/test_dashboards.py.
"""

import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import __main__, parts
from exporter.metrics.catalogue import CATALOGUE, Kind
from tests.harness.rules import PROMETHEUS, rules

Json = dict[str, Any]

FOLDER = Path(__file__).parents[3] / "dashboards"
BOARDS: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("json/*.json"))}
each_dashboard = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))

# What Prometheus itself writes, and what every Prometheus client tells of its process.
FOREIGN = {
    "up": {"job", "instance"},
    "scrape_duration_seconds": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity"},
    "ALERTS_FOR_STATE": {"alertname", "severity"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
}
# What the rules of the alerts record.
RECORDED = {"instance:up:netvol": {"job", "instance"}} | {
    f"instance_network:docker_network_tcp_rtt_seconds:{quantile}_rate5m": {"job", "instance", "network", "peer"}
    for quantile in ("p50", "p95")
}
FAMILIES = (
    RECORDED
    | {family.name: set(family.labels) for family in CATALOGUE}
    | {
        f"{family.name}_{suffix}": {*family.labels, *(("le",) if suffix == "bucket" else ())}
        for family in CATALOGUE
        if family.kind is Kind.HISTOGRAM
        for suffix in ("bucket", "count", "sum")
    }
)
LABELS = set().union(*FAMILIES.values()) | {"job", "instance", "severity", "alertname"}
MADE = {"subject", "engine"}
"""Labels that a query makes with `label_join` or `label_replace`."""

SELECTOR = re.compile(r"([a-zA-Z_][a-zA-Z0-9_:]*)?\{((?:[^{}\"]|\"[^\"]*\")*)\}")
GROUPING = re.compile(r"\b(by|on|ignoring|group_left|group_right|without) \(([^()]*)\)")
WORDS = {"and", "or", "unless", "bool", "inf"}
UNITS = {
    "none",
    "short",
    "percentunit",
    "Bps",
    "bytes",
    "s",
    "pps",
    "cpm",
    "reqps",
    "dtdurations",
    "dateTimeFromNow",
}


def panels(board: Json) -> list[Json]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: Json) -> Iterator[tuple[str, Json]]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target


def variables(board: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def expressions(board: Json) -> list[str]:
    """All PromQL of a dashboard but that of its variables."""
    marks = board["annotations"]["list"]
    return [target["expr"] for _, target in targets(board)] + [mark["expr"] for mark in marks]


def selectors(expression: str) -> list[tuple[str, list[str]]]:
    """Names of families and their matchers."""
    return [(name, re.split(r", (?=\w+[=!])", matchers)) for name, matchers in SELECTOR.findall(expression)]


# --- The files -------------------------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_modules_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dashboards", "--check"])
    assert __main__.main() == 0


def test_a_file_that_is_not_current_or_left_over_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "FOLDER", tmp_path / "dashboards")
    monkeypatch.setattr(sys, "argv", ["dashboards"])
    assert __main__.main() == 0
    (tmp_path / "dashboards/json/netvol-volumes.json").write_text("{}")
    (tmp_path / "dashboards/json/old.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["dashboards", "--check"])
    assert __main__.main() == 1
    told = capsys.readouterr().err
    assert "dashboards/json/netvol-volumes.json, dashboards/json/old.json; run make dashboards" in told
    monkeypatch.setattr(sys, "argv", ["dashboards"])
    assert __main__.main() == 0
    assert sorted(path.name for path in (tmp_path / "dashboards/json").glob("*.json")) == sorted(
        f"{uid}.json" for uid in BOARDS
    )


def test_there_are_four_with_uids_that_stay_and_that_are_their_file_names() -> None:
    assert list(BOARDS) == ["netvol-exporter", "netvol-networks", "netvol-overview", "netvol-volumes"]
    assert [board["uid"] for board in BOARDS.values()] == list(BOARDS)
    assert {module.UID for module in __main__.MODULES} == set(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@each_dashboard
def test_a_provisioned_one_asks_for_nothing(board: Json) -> None:
    assert not {"__inputs", "__requires", "id"} & set(board)
    assert board["schemaVersion"] == 42
    assert "netvol-exporter" in board["tags"]


@each_dashboard
def test_the_one_for_grafana_com_asks_for_the_data_source_and_is_the_same_otherwise(board: Json) -> None:
    shared = json.loads((FOLDER / "grafana.com" / f"{board['uid']}.json").read_text())
    [asked] = shared.pop("__inputs")
    required = shared.pop("__requires")
    assert asked["pluginId"] == "prometheus"
    assert {part["id"] for part in required if part["type"] == "panel"} == {p["type"] for p in panels(board)}
    assert shared.pop("id") is None
    source = variables(shared)["datasource"].pop("current")
    assert source["value"] == f"${{{asked['name']}}}"
    assert shared == board


# --- Panels ----------------------------------------------------------------------------------------------------


@each_dashboard
def test_no_two_panels_overlap_and_none_is_outside(board: Json) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@each_dashboard
def test_panels_have_numbers_of_their_own_and_their_queries_letters(board: Json) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels(board):
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


@each_dashboard
def test_nothing_grows_with_the_number_of_hosts_networks_or_volumes_but_tables(board: Json) -> None:
    assert not any("repeat" in panel for panel in board["panels"])
    for title, target in targets(board):
        many = re.search(r"{{(instance|network|container|volume|filesystem|collector)}}", target["legendFormat"])
        # A graph asks for the same ten at each step, bars for the ten of now.
        wanted = r" and on \(.*?\) topk\(10, .*@ end\(\)" if target["range"] else r"^sort_desc\(topk\(10, "
        assert not many or re.search(wanted, target["expr"]), title


@each_dashboard
def test_a_table_names_its_columns_after_labels_or_queries_that_it_has(board: Json) -> None:
    for panel in panels(board):
        if panel["type"] != "table":
            continue
        letters = [target["refId"] for target in panel["targets"]]
        grouped = [
            set(re.match(r"(?:max|sum) by \((.*?)\)", target["expr"])[1].split(", "))  # type: ignore[index]
            for target in panel["targets"]
        ]
        sources = set(panel["transformations"][1]["options"]["renameByName"])
        values = {f"Value #{letter}" for letter in letters} if len(letters) > 1 else {"Value"}
        assert sources <= set().union(*grouped) | values, panel["title"]
        # Rows meet where all common labels are equal.
        assert "instance" in set.intersection(*grouped), panel["title"]
        titles = set(panel["transformations"][1]["options"]["renameByName"].values())
        assert {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} <= titles
        assert panel["options"]["sortBy"][0]["displayName"] in titles


@each_dashboard
def test_links_lead_to_dashboards_and_variables_that_are_there(board: Json) -> None:
    [others] = board["links"]
    assert (others["type"], others["tags"]) == ("dashboards", ["netvol-exporter"])
    assert others["includeVars"]
    assert others["keepTime"]
    urls = re.findall(r'"url": "(.*?)"', json.dumps(panels(board)))
    for url in urls:
        path, _, query = url.partition("?")
        target = BOARDS[path.removeprefix("/d/")]
        names = {*re.findall(r"var-(\w+)=", query), *re.findall(r"\${(\w+):queryparam}", query)}
        assert names <= set(variables(target)), url
        assert {"datasource", "job", "instance"} <= names
        assert "${__url_time_range}" in query


# --- Metrics and labels ----------------------------------------------------------------------------------------


@each_dashboard
def test_every_metric_and_label_of_a_selector_is_in_the_catalogue(board: Json) -> None:
    queries = expressions(board) + [v["query"]["query"] for v in variables(board).values() if v["type"] == "query"]
    named = [found for expression in queries for found in selectors(expression)]
    assert named
    for name, matchers in named:
        # Without a name: the projects of all kinds of objects.
        pattern = name or next(m.split('"')[1] for m in matchers if m.startswith("__name__"))
        families = [family for family in FAMILIES | FOREIGN if re.fullmatch(pattern, family)]
        assert len(families) == (1 if name else 3), f"{name} {matchers}"
        for family in families:
            labels = {re.split(r"[=!]", matcher)[0] for matcher in matchers} - {"job", "instance", "__name__"}
            assert labels <= (FAMILIES | FOREIGN)[family], f"{family}: {labels}"


@each_dashboard
def test_no_metric_stands_without_a_selector_and_groupings_name_labels_that_exist(board: Json) -> None:
    for expression in expressions(board):
        for _, labels in GROUPING.findall(expression):
            named = {label for label in labels.split(", ") if label}
            assert named <= LABELS | MADE | {"alertstate"}, expression
        rest = re.sub(r'"[^"]*"', "", GROUPING.sub("", SELECTOR.sub("", expression)))
        rest = re.sub(r"\[.*?\]", "", rest)
        assert set(re.findall(r"[a-zA-Z_]\w*(?!\w*\s*\()", rest)) <= WORDS, expression


@each_dashboard
def test_a_condition_binds_no_arithmetic(board: Json) -> None:
    """`a and on (x) b * c` is `a and on (x) (b * c)`, which shows the numbers of a."""
    for expression in expressions(board):
        assert not re.search(rf"and on \([^()]*\) {SELECTOR.pattern} [*/+-]", expression), expression


@each_dashboard
def test_legends_name_labels_that_their_query_keeps(board: Json) -> None:
    for title, target in targets(board):
        expression = target["expr"]
        aggregated = re.match(r"(?:topk\(10, )?(?:histogram_quantile\([\d.]+, )?sum by \((.*?)\)", expression)
        families = [(FAMILIES | FOREIGN)[name] for name, _ in selectors(expression)]
        kept = set(aggregated[1].split(", ")) if aggregated else {"job", "instance"}.union(*families)
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, title


@each_dashboard
def test_what_other_jobs_have_too_is_tied_to_the_exporter(board: Json) -> None:
    for expression in expressions(board):
        if re.search(r"\b(up|scrape_\w+|process_\w+){", expression):
            assert re.search(r"and on \(job, instance\) \(?last_over_time\(netvol_exporter_build_info", expression)


def test_colours_change_where_the_alerts_are() -> None:
    at = {rule.name.rpartition(":")[2]: rule.expression for rule in rules() if "threshold" in rule.name}
    colours = {
        ("volume_fill_warning_ratio", "volume_fill_critical_ratio"): parts.VOLUME_FILL,
        ("filesystem_fill_warning_ratio", "filesystem_fill_critical_ratio"): parts.FILESYSTEM_FILL,
        ("network_addresses_used_ratio",): parts.POOL_FILL,
        ("tcp_retransmitted_ratio",): parts.RETRANSMITTED,
        ("network_errors_ratio",): parts.LOST,
        ("network_packets_dropped_ratio",): parts.LOST,
        ("volume_measure_age_seconds",): parts.STALE,
    }
    for names, steps in colours.items():
        products = [at[name].split(" * ") for name in names]
        assert [math.prod(map(float, factors)) for factors in products] == [value for value, _ in steps], names


def test_volumes_are_as_full_and_full_as_soon_as_the_alerts_reckon() -> None:
    def plain(expression: str) -> str:
        """Without selectors, spaces and brackets, which differ."""
        return re.sub(r"\{.*?\}|[\s()]", "", expression)

    recorded = {rule.name: plain(rule.expression) for rule in rules()}
    shown = [plain(expression) for expression in expressions(BOARDS["netvol-volumes"])]
    fill = recorded["instance_volume:docker_volume_fill:ratio"]
    full = recorded["instance_volume:docker_volume_full:seconds"]
    assert sum(fill in one for one in shown) >= 4
    assert sum(full in one for one in shown) >= 4


def test_every_family_of_networks_and_volumes_is_shown_somewhere() -> None:
    text = "\n".join(expression for board in BOARDS.values() for expression in expressions(board))
    left_out = {
        # Raw material: what is shown is its age, or what a rate of it says already.
        "docker_network_created_timestamp_seconds",
        "docker_network_receive_bytes_per_second",
        "docker_network_transmit_bytes_per_second",
        "docker_volume_created_timestamp_seconds",
        "docker_volume_inodes_used",
        # In the plugin's own units, so nobody can say what the axis is.
        "docker_volume_plugin_status",
    }
    missing = {
        family.name
        for family in CATALOGUE
        if family.group in ("network", "volume") and not re.search(rf"\b{family.name}(:\w+)?{{", text)
    }
    assert missing == left_out


def test_the_example_of_remote_write_keeps_what_the_dashboard_and_the_alerts_of_volumes_ask_for() -> None:
    example = yaml.safe_load((PROMETHEUS / "examples/remote_write.yml").read_text())
    [[keep]] = [one["write_relabel_configs"] for one in example["remote_write"] if "write_relabel_configs" in one]
    asked = {name for _, target in targets(BOARDS["netvol-volumes"]) for name, _ in selectors(target["expr"])}
    for rule in rules():
        if rule.file.name == "volumes.yml":
            asked |= set(re.findall(r"(?<!:)\bdocker_\w+\b(?!:)", rule.expression))
    assert "docker_filesystem_available_bytes" in asked
    assert {name for name in asked if not re.fullmatch(keep["regex"], name)} == set()


def test_the_page_names_the_version_of_the_sdk_that_is_pinned() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
    [pinned] = project["dependency-groups"]["dashboards"]
    assert " ".join(pinned.split("==")) in (FOLDER.parent / "docs/dashboards.md").read_text()


# --- Grafana's dashboard-linter --------------------------------------------------------------------------------


def template_datasource_rule(board: Json) -> None:
    source = variables(board)["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")


def template_job_and_instance_rules(board: Json) -> None:
    for name, label in (("job", "Job"), ("instance", "Instance")):
        variable = variables(board)[name]
        assert (variable["type"], variable["label"], variable["multi"]) == ("query", label, True)
        assert variable["allValue"] == ".+"
        assert variable["datasource"]["uid"] == "${datasource}"


def template_label_promql_rule(board: Json) -> None:
    for variable in variables(board).values():
        if variable["type"] == "query":
            assert re.fullmatch(r"label_values\(.+, \w+\)", variable["query"]["query"])


def template_on_time_change_reload_rule(board: Json) -> None:
    assert {v["refresh"] for v in variables(board).values() if v["type"] == "query"} == {2}


def template_unused_rule(board: Json) -> None:
    queries = json.dumps([expressions(board), [v.get("query") for v in variables(board).values()]])
    for name in variables(board):
        assert name == "datasource" or f'${name}\\"' in queries, name


def panel_datasource_rule(board: Json) -> None:
    for panel in panels(board):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def panel_title_description_rule(board: Json) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]


def panel_units_rule(board: Json) -> None:
    for panel in panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def panel_no_targets_rule(board: Json) -> None:
    for panel in panels(board):
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])


def target_rate_interval_rule(board: Json) -> None:
    for expression in expressions(board):
        assert re.findall(r"\brate\([^\[]*\[(.*?)\]", expression) == ["$__rate_interval"] * len(
            re.findall(r"\brate\(", expression)
        )
        # A range that is fixed, or the whole of the dashboard's, is for what is no rate.
        assert set(re.findall(r"\[(.*?)\]", expression)) <= {"$__rate_interval", "$__range", "1h", "6h", "1d"}


def target_job_and_instance_rules(board: Json) -> None:
    for expression in expressions(board):
        for name, matchers in selectors(expression):
            # That there is nothing to scrape is said of no host.
            if 'alertname="NetvolExporterMissing"' not in matchers:
                assert {'job=~"$job"', 'instance=~"$instance"'} <= set(matchers), name


def target_counter_agg_rule(board: Json) -> None:
    for expression in expressions(board):
        for counter in re.finditer(r"(\w*)\(?\w+_(total|bucket|count)\{", expression):
            assert counter[1] in ("rate", "increase"), expression


def target_histogram_rule(board: Json) -> None:
    for expression in expressions(board):
        assert "_bucket{" not in expression or "histogram_quantile(" in expression


def uneditable_rule(board: Json) -> None:
    assert board["editable"] is False


RULES: tuple[Callable[[Json], None], ...] = (
    template_datasource_rule,
    template_job_and_instance_rules,
    template_label_promql_rule,
    template_on_time_change_reload_rule,
    template_unused_rule,
    panel_datasource_rule,
    panel_title_description_rule,
    panel_units_rule,
    panel_no_targets_rule,
    target_rate_interval_rule,
    target_job_and_instance_rules,
    target_counter_agg_rule,
    target_histogram_rule,
    uneditable_rule,
)


@each_dashboard
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_linters_rule_is_kept(rule: Callable[[Json], None], board: Json) -> None:
    rule(board)


FAULTS: dict[Callable[[Json], None], Callable[[Json], object]] = {
    template_datasource_rule: lambda b: b["templating"]["list"][0].update(label="Source"),
    template_job_and_instance_rules: lambda b: b["templating"]["list"][1].update(allValue=".*"),
    template_label_promql_rule: lambda b: b["templating"]["list"][1].update(query={"query": "up"}),
    template_on_time_change_reload_rule: lambda b: b["templating"]["list"][2].update(refresh=1),
    template_unused_rule: lambda b: b["templating"]["list"].append({"name": "spare", "query": ""}),
    panel_datasource_rule: lambda b: b["panels"][0].update(datasource={"type": "prometheus", "uid": "mine"}),
    panel_title_description_rule: lambda b: b["panels"][0].update(description=""),
    panel_units_rule: lambda b: b["panels"][0]["fieldConfig"]["defaults"].update(unit="furlong"),
    panel_no_targets_rule: lambda b: b["panels"][0].update(targets=[]),
    target_rate_interval_rule: lambda b: b["panels"][0]["targets"][0].update(expr="rate(x{}[5m])"),
    target_job_and_instance_rules: lambda b: b["panels"][0]["targets"][0].update(expr='up{job=~"$job"}'),
    target_counter_agg_rule: lambda b: b["panels"][0]["targets"][0].update(expr="sum(x_total{})"),
    target_histogram_rule: lambda b: b["panels"][0]["targets"][0].update(expr="rate(x_bucket{}[5m])"),
    uneditable_rule: lambda b: b.update(editable=True),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_linters_rule_finds_a_planted_fault(rule: Callable[[Json], None]) -> None:
    board = json.loads((FOLDER / "json/netvol-overview.json").read_text())
    FAULTS[rule](board)
    with pytest.raises(AssertionError):
        rule(board)
