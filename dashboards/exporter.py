"""The exporter: does it see everything, is what it tells fresh, and what does it cost."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    GREEN,
    ORANGE,
    UP,
    WARN,
    Column,
    Query,
    board,
    graph,
    number,
    rows,
    with_panels,
)
from dashboards.promql import column, highest, leaders, of_exporter, rate, series, top_exporters, total

UID = "netvol-exporter"

_COLLECTOR = "job, instance, collector"
_COLLECTOR_NAMES = "{{collector}} · {{instance}}"
_ENGINE = f'label_replace({series("docker_engine_info")}, "engine", "$1", "version", "(.*)")'


def _each(expression: str, ranking: str) -> Query:
    """A curve for each exporter; the ten highest."""
    return Query(top_exporters(expression, ranking), "{{instance}}")


def dashboard() -> Dashboard:
    """Whether it works, then how fresh its values are, the engine, and its own needs."""
    success = series("netvol_exporter_collector_success")
    last = series("netvol_exporter_collector_last_success_timestamp_seconds")
    duration = series("netvol_exporter_collector_duration_seconds")
    requests = rate("docker_engine_request_duration_seconds_bucket")
    return with_panels(
        board(
            UID,
            "Docker networks and volumes / Exporter",
            "Health, freshness and cost of netvol-exporter, and its view of the Docker engine.",
        ),
        number(
            "Exporters up",
            "Share of the exporters that can be scraped. One that is down for more than a day is counted where "
            "the rules in deploy/prometheus/rules are loaded.",
            "percentunit",
            f"avg({of_exporter(series('up'))})",
            UP,
        ),
        number(
            "Engines up",
            "Share of the engines that answer their exporter.",
            "percentunit",
            f"avg({series('docker_engine_up')})",
            UP,
        ),
        number(
            "Event streams open",
            "Share of the exporters that hear the engine's events. Without, changes show with the next full "
            "list only.",
            "percentunit",
            f"avg({series('docker_engine_event_stream_connected')})",
            ((0, ORANGE), (1, GREEN)),
        ),
        number(
            "Collectors failing",
            "Collectors whose last round failed: a part of the page is missing or old.",
            "none",
            f"sum({success} == bool 0)",
            WARN,
        ),
        number(
            "Unattributed interfaces",
            "Interfaces of containers that belong to no known network, such as the tunnel of a VPN. Their "
            "traffic is in no network's total.",
            "none",
            f"sum({series('netvol_exporter_unattributed_interfaces')})",
            WARN,
        ),
        number(
            "Series dropped",
            "Series that pages lack because of --limit.series. Unlimited where the exporter has no limit.",
            "none",
            f"sum({series('netvol_exporter_series_dropped')})",
            WARN,
            none="no limit",
        ),
        "Freshness",
        graph(
            "Scrape duration",
            "How long Prometheus waits for the page.",
            "s",
            _each(series("scrape_duration_seconds"), highest("scrape_duration_seconds")),
            width=8,
        ),
        graph(
            "Duration of the collectors",
            "How long the last round of each collector took; the ten slowest.",
            "s",
            Query(
                leaders(duration, _COLLECTOR, highest("netvol_exporter_collector_duration_seconds")),
                _COLLECTOR_NAMES,
            ),
            width=8,
        ),
        graph(
            "Age of the values",
            "Since when each collector has not succeeded; the ten oldest. Volumes are measured on a schedule of "
            "their own.",
            "s",
            Query(
                leaders(f"time() - {last}", _COLLECTOR, f"-last_over_time({last}[$__range] @ end())"),
                _COLLECTOR_NAMES,
            ),
            width=8,
        ),
        rows(
            "Collectors",
            "Whether the last round of each collector succeeded, and when one did.",
            (
                Column("collector", "Collector"),
                Column("instance", "Instance"),
                Column("Value #A", "State", steps=UP, texts={"0": "fails", "1": "works"}, width=75),
                Column("Value #B", "Last success", "dateTimeFromNow", width=140),
                Column("Value #C", "Duration", "s", width=90),
            ),
            column(success, "collector"),
            column(f"{last} * 1000", "collector"),
            column(duration, "collector"),
            sort_by="Duration",
            width=10,
        ),
        rows(
            "Versions",
            "What runs where.",
            (
                Column("instance", "Instance"),
                Column("version", "Exporter", width=80),
                Column("revision", "Revision", width=90),
                Column("python", "Python", width=70),
                Column("engine", "Engine", width=80),
                Column("api_version", "API", width=60),
                Column("kernel", "Kernel", width=150),
                Column("storage_driver", "Storage", width=80),
            ),
            column(series("netvol_exporter_build_info"), "version", "revision", "python"),
            column(
                _ENGINE,
                *("engine", "api_version", "kernel", "storage_driver"),
            ),
            sort_by="Instance",
            ascending=True,
            width=14,
        ),
        "Engine",
        graph(
            "Requests to the engine",
            "What the exporter asks the engine for, by endpoint. With /proc as its source it is little.",
            "reqps",
            Query(
                f"sum by (endpoint) ({rate('docker_engine_request_duration_seconds_count')})",
                "{{endpoint}}",
            ),
            width=8,
        ),
        graph(
            "Engine's answers: 99 %",
            "Within which time the engine gives 99 of 100 answers, by endpoint. A slow engine delays changes, not "
            "traffic.",
            "s",
            Query(f"histogram_quantile(0.99, sum by (endpoint, le) ({requests}))", "{{endpoint}}"),
            width=8,
        ),
        graph(
            "Lost and found",
            "What should stay 0: events that the engine no longer had, objects that a full list had to correct, "
            "messages of the kernel that were not read in time. Reconnects do no harm by themselves.",
            "short",
            *(
                Query(
                    f"sum(increase({series(name)}[$__rate_interval]))",
                    title,
                )
                for name, title in (
                    ("docker_engine_event_gaps_total", "event gaps"),
                    ("docker_engine_inventory_drift_total", "corrections"),
                    ("netvol_exporter_netlink_overruns_total", "netlink overruns"),
                    ("docker_engine_event_stream_reconnects_total", "reconnects"),
                )
            ),
            width=8,
        ),
        "Resources",
        graph(
            "Processor",
            "Share of one processor that the exporter takes; its child processes that walk volumes come in "
            "addition.",
            "percentunit",
            _each(rate("process_cpu_seconds_total"), total("process_cpu_seconds_total")),
            width=8,
        ),
        graph(
            "Memory",
            "Resident memory of the exporter.",
            "bytes",
            _each(series("process_resident_memory_bytes"), highest("process_resident_memory_bytes")),
            width=8,
        ),
        graph(
            "File descriptors",
            "Share of the file descriptors that it may open: one for each container's namespace, and more.",
            "percentunit",
            _each(
                f"{series('process_open_fds')} / {series('process_max_fds')}",
                f"{highest('process_open_fds')} / {highest('process_max_fds')}",
            ),
            width=8,
        ),
        graph(
            "Series",
            "Series on each exporter's page.",
            "short",
            _each(series("netvol_exporter_series"), highest("netvol_exporter_series")),
            width=8,
        ),
        graph(
            "Size of the page",
            "Before compression.",
            "bytes",
            _each(series("netvol_exporter_page_bytes"), highest("netvol_exporter_page_bytes")),
            width=8,
        ),
        graph(
            "Scrapes",
            "Answers to requests for the page by HTTP status; 503 means that more asked at a time than "
            "--web.max-requests allows.",
            "reqps",
            Query(f"sum by (code) ({rate('netvol_exporter_scrapes_total')})", "{{code}}"),
            width=8,
        ),
    )
