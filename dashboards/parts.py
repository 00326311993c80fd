"""What the dashboards have in common: variables, links, annotations, and panels with the same manners."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.promql import HOST, PROJECT, TOP, alerts, series

TAG = "netvol-exporter"
DATASOURCE = options.DataSourceRef(type_val="prometheus", uid="${datasource}")
Panel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel
Steps = Sequence[tuple[float, str]]

MIDDLE = 12
"""The width from which on there is room for a legend beside the curves."""

GREEN, BLUE, ORANGE, RED = "green", "blue", "orange", "red"
# The alerts' colours: orange is a warning, red is critical.
SEVERITIES = {"critical": RED, "warning": ORANGE, "info": BLUE}
UP: Steps = ((0, RED), (1, GREEN))
UP_TEXTS = {"0": "down", "1": "up"}
BAD: Steps = ((1, RED),)
WARN: Steps = ((1, ORANGE),)
VOLUME_FILL: Steps = ((0.85, ORANGE), (0.97, RED))
FILESYSTEM_FILL: Steps = ((0.95, ORANGE), (0.97, RED))
POOL_FILL: Steps = ((0.9, ORANGE),)
RETRANSMITTED: Steps = ((0.05, ORANGE),)
LOST: Steps = ((0.01, ORANGE),)
STALE: Steps = ((3 * 3600, ORANGE),)


@dataclass(frozen=True)
class Query:
    """One query of a panel with its legend; `{{label}}` in it is replaced by Grafana."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: a label of its queries, or `Value #A` of the first, and so on."""

    source: str
    title: str
    unit: str = ""
    steps: Steps = ()
    width: int = 0
    link: str = ""
    bar: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    colors: dict[str, str] = field(default_factory=dict)


# --- Dashboards --------------------------------------------------------------------------------------------


def board(uid: str, title: str, description: str, *variables: Any) -> dashboard.Dashboard:
    """A dashboard without panels, with what all have: data source, job, instance, links, annotations."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, "docker"])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("netvol-exporter")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
    )
    host = (
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        variable("job", "Job", "label_values(netvol_exporter_build_info, job)", every=".+"),
        variable(
            "instance", "Instance", 'label_values(netvol_exporter_build_info{job=~"$job"}, instance)', every=".+"
        ),
    )
    for one in (*host, *variables):
        made.with_variable(one)
    for mark in annotations():
        made.annotation(mark)
    return made


def variable(name: str, label: str, query: str, *, every: str = ".*") -> dashboard.QueryVariable:
    """A variable with several values and "All"; `.*` is also what has no value, such as no Compose project."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .datasource(DATASOURCE)
        .multi(True)
        .include_all(True)
        .all_value(every)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def project_variable() -> dashboard.QueryVariable:
    """Compose projects that have a container, a network or a volume."""
    names = '__name__=~"docker_(container|network|volume)_info"'
    return variable("project", "Compose project", f"label_values({{{names}, {HOST}}}, compose_project)")


def object_variable(kind: str) -> dashboard.QueryVariable:
    """Networks, containers or volumes of the chosen projects."""
    return variable(kind, kind.title(), f"label_values({series(f'docker_{kind}_info', PROJECT)}, {kind})")


def annotations() -> list[dashboard.AnnotationQuery]:
    """Alerts and kills are drawn; starts and ends of containers can be switched on."""

    def mark(name: str, color: str, expression: str, title: str, text: str) -> dashboard.AnnotationQuery:
        return (
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(DATASOURCE)
            .icon_color(color)
            .expr(expression)
            .title_format(title)
            .text_format(text)
            .tag_keys("severity,instance")
            .step("60s")
            .enable(True)
        )

    def events(*matchers: str) -> str:
        counted = series("docker_engine_events_total", *matchers)
        return f"sum by (instance, action) (increase({counted}[$__rate_interval])) > 0"

    ends = events('type="container"', 'action=~"start|die"')
    return [
        mark(
            "Alerts",
            RED,
            alerts("ALERTS", alertstate="firing"),
            "{{alertname}}",
            "{{volume}}{{network}}{{container}}{{filesystem}}",
        ),
        mark(
            "Out of memory", "purple", events('type="container"', 'action="oom"'), "Out of memory", "{{instance}}"
        ),
        mark("Containers", BLUE, ends, "Container {{action}}", "{{instance}}").enable(False),
    ]


# --- Panels ------------------------------------------------------------------------------------------------


def _targets(queries: Sequence[Query]) -> list[Any]:
    return [
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend or "__auto")
        .ref_id(chr(ord("A") + number))
        .datasource(DATASOURCE)
        for number, query in enumerate(queries)
    ]


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    first = model.Threshold(value=None, color=GREEN)
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([first, *(model.Threshold(value=value, color=color) for value, color in steps)])
    )


def _mappings(texts: dict[str, str], colors: dict[str, str]) -> list[Any]:
    results = {
        value: model.ValueMappingResult(text=texts.get(value, value), color=colors.get(value))
        for value in (*texts, *colors)
    }
    return [model.ValueMap(options=results)] if results else []


def graph(  # noqa: PLR0913 - the columns of a table, not the knobs of a function
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps = (),
    stacked: bool = False,
    bars: bool = False,
    limit: float | None = None,
    width: int = 12,
    decimals: int | None = None,
) -> timeseries.Panel:
    """Curves over time; the legend has last and highest value, gaps stay gaps. `steps` are drawn as lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([target.range() for target in _targets(queries)])
        .unit(unit)
        .min(0)
        .span(width)
        .height(9)
        .line_width(1)
        .fill_opacity(60 if bars or stacked else 0)
        .show_points(options.VisibilityMode.NEVER)
        .span_nulls(False)
        .draw_style(options.GraphDrawStyle.BARS if bars else options.GraphDrawStyle.LINE)
        .stacking(
            common.StackingConfig().mode(options.StackingMode.NORMAL if stacked else options.StackingMode.NONE)
        )
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(_thresholds(steps))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                options.GraphThresholdsStyleMode.DASHED if steps else options.GraphThresholdsStyleMode.OFF
            )
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.RIGHT if width >= MIDDLE else options.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .sort_by("Last *")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING)
        )
    )
    if limit is not None:
        panel.max(limit)
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def number(  # noqa: PLR0913 - likewise
    title: str,
    description: str,
    unit: str,
    query: str,
    steps: Steps = (),
    *,
    width: int = 4,
    texts: dict[str, str] | None = None,
    none: str = "",
    link: str = "",
) -> stat.Panel:
    """One number, coloured by its thresholds; without thresholds it has no colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([target.instant() for target in _targets([Query(query)])])
        .unit(unit)
        .span(width)
        .height(4)
        .color_mode(options.BigValueColorMode.VALUE if steps else options.BigValueColorMode.NONE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .text_mode(options.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .mappings(_mappings(texts or {}, {}))
    )
    if none:
        panel.no_value(none)
    if link:
        panel.data_links([_data_link(title, link)])
    return panel


def bars(  # noqa: PLR0913 - likewise
    title: str,
    description: str,
    unit: str,
    query: Query,
    steps: Steps,
    *,
    limit: float | None = None,
    width: int = 12,
    height: int = 9,
    link: str = "",
) -> bargauge.Panel:
    """One bar for each series, the highest first."""
    ordered = Query(f"sort_desc(topk({TOP}, {query.expression}))", query.legend)
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([target.instant() for target in _targets([ordered])])
        .unit(unit)
        .min(0)
        .span(width)
        .height(height)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .orientation(options.VizOrientation.HORIZONTAL)
        .value_mode(options.BarGaugeValueMode.COLOR)
        .show_unfilled(True)
        .sizing(options.BarGaugeSizing.MANUAL)
        .min_viz_height(16)
        .max_viz_height(32)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    )
    if limit is not None:
        panel.max(limit)
    if link:
        panel.data_links([_data_link(title, link)])
    return panel


def rows(  # noqa: PLR0913 - likewise
    title: str,
    description: str,
    columns: Sequence[Column],
    *queries: str,
    sort_by: str,
    ascending: bool = False,
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """A table: queries whose labels are the same meet in one row; only the named columns show, in this order."""
    targets = [
        target.instant().format(PromQueryFormat.TABLE) for target in _targets([Query(query) for query in queries])
    ]
    values = {f"Value #{target.build().ref_id}" for target in targets} if len(targets) > 1 else {"Value"}
    hidden = {"Time", "__name__", "job"} | values - {column.source for column in columns}
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(targets)
        .unit("short")
        .span(width)
        .height(height)
        .filterable(True)
        .align(options.FieldTextAlignment.AUTO)
        .cell_height(options.TableCellHeight.SM)
        .show_header(True)
        .sort_by([common.TableSortByFieldState().display_name(sort_by).desc(not ascending)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": dict.fromkeys(sorted(hidden), True),
                    "indexByName": {column.source: place for place, column in enumerate(columns)},
                    "renameByName": {column.source: column.title for column in columns},
                },
            )
        )
        .thresholds(_thresholds(()))
    )
    for column in columns:
        if properties := _properties(column):
            panel.override_by_name(column.title, properties)
    return panel


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    found: list[tuple[str, Any]] = []
    if column.unit:
        found.append(("unit", column.unit))
    if column.width:
        found.append(("custom.width", column.width))
    if column.steps:
        found.append(("thresholds", _thresholds(column.steps).build()))
    if column.bar:
        found.append(("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}))
        found += [("min", 0), ("max", 1)]
    elif column.steps or column.colors:
        found.append(("custom.cellOptions", {"type": "color-text"}))
    if column.texts or column.colors:
        found.append(("mappings", _mappings(column.texts, column.colors)))
    if column.link:
        found.append(("links", [_data_link(column.title, column.link).build()]))
    return [model.DynamicConfigValue(id_val=name, value=value) for name, value in found]


def _data_link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(f"Open {title.lower()}").type(model.DashboardLinkType.LINK).url(url)


def link_to(uid: str, **variables: str) -> str:
    """The address of another dashboard with the chosen time, data source, hosts and projects, and these set."""
    kept = ["job", "instance", *(["project"] if uid != "netvol-exporter" else [])]
    parts = [
        "${__url_time_range}",
        "var-datasource=${datasource}",
        *(f"${{{name}:queryparam}}" for name in kept if name not in variables),
        *(f"var-{name}={value}" for name, value in variables.items()),
    ]
    return f"/d/{uid}?{'&'.join(parts)}"


def with_panels(made: dashboard.Dashboard, *parts: Panel | str) -> dashboard.Dashboard:
    """The dashboard with these panels in reading order, numbered; a text begins a row of that title."""
    for number_of_panel, part in enumerate(parts, start=1):
        if isinstance(part, str):
            made.with_row(dashboard.Row(part).id(number_of_panel))
        else:
            made.with_panel(part.id(number_of_panel))
    return made
