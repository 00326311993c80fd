"""The overview: is anything wrong on any host, and where to look next."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    BAD,
    FILESYSTEM_FILL,
    SEVERITIES,
    UP,
    UP_TEXTS,
    VOLUME_FILL,
    WARN,
    Column,
    Query,
    bars,
    board,
    graph,
    link_to,
    number,
    project_variable,
    rows,
    with_panels,
)
from dashboards.promql import (
    OWN_LIMIT,
    PROJECT,
    alerts,
    column,
    described,
    leaders,
    of_exporter,
    rate,
    series,
    top,
    total,
    volume_fill,
)

UID = "netvol-overview"

_FIRING = alerts("ALERTS", alertstate="firing")
_SINCE = f"{alerts('ALERTS_FOR_STATE')} * 1000 and ignoring (alertstate) {_FIRING}"
_SUBJECTS = '"network", "subnet", "volume", "filesystem", "container", "collector"'
_SUBJECT = (
    f'label_replace(label_join({_SINCE}, "subject", " ", {_SUBJECTS}), "subject", "$1", "subject", " *(.*?) *")'
)


def _traffic(direction: str) -> tuple[str, str]:
    name = f"docker_network_{direction}_bytes_total"
    return rate(name), total(name)


def _counted(name: str) -> str:
    """How often it happened in the time range, in whole numbers; `increase` stretches them to the range's ends."""
    return f"ceil(increase({series(name)}[$__range]) > 0)"


def dashboard() -> Dashboard:
    """Alerts and state at the top, then traffic and volumes, then a line for each host."""
    receive, received = _traffic("receive")
    transmit, transmitted = _traffic("transmit")
    fill = volume_fill()
    down = f"(1 - {series('up')})"
    filesystem_fill = (
        f"1 - {series('docker_filesystem_available_bytes')} / {series('docker_filesystem_size_bytes')}"
    )
    restarting = series("docker_container_state", 'state=~"restarting|dead"')
    unhealthy = series("docker_container_health", status="unhealthy")
    events = series("docker_engine_events_total", 'action!="exec"')
    return with_panels(
        board(
            UID,
            "Docker networks and volumes / Overview",
            "Hosts, alerts, the busiest networks and the fullest volumes, as netvol-exporter sees them.",
            project_variable(),
        ),
        number(
            "Alerts firing",
            "Alerts of the rules in deploy/prometheus/rules that fire on the chosen hosts, or because there is no "
            "exporter to scrape.",
            "none",
            f"count({_FIRING}) or vector(0)",
            BAD,
            width=3,
        ),
        number(
            "Exporters down",
            "Exporters that can't be scraped now. One that is down for more than a day is counted where the rules "
            "in deploy/prometheus/rules are loaded.",
            "none",
            f"sum({of_exporter(down)})",
            BAD,
            width=3,
            link=link_to("netvol-exporter"),
        ),
        number(
            "Engines down",
            "Engines that don't answer their exporter.",
            "none",
            f"sum({series('docker_engine_up')} == bool 0)",
            BAD,
            width=3,
            link=link_to("netvol-exporter"),
        ),
        number("Hosts", "Hosts whose exporter answers.", "none", f"count({series('docker_engine_up')})", width=3),
        number(
            "Running",
            "Running containers on the chosen hosts.",
            "none",
            f"sum({series('docker_engine_containers', state='running')})",
            width=3,
        ),
        number(
            "In trouble",
            "Containers that are unhealthy, restarting or dead.",
            "none",
            f"count(count by (job, instance, container) ({restarting} or {unhealthy})) or vector(0)",
            WARN,
            width=3,
        ),
        number(
            "Fullest volume",
            "How full the fullest volume with a limit of its own is: a quota, a file system, or a declared size.",
            "percentunit",
            f"max({described(fill, 'volume', OWN_LIMIT, PROJECT)})",
            VOLUME_FILL,
            width=3,
            none="none",
            link=link_to("netvol-volumes"),
        ),
        number(
            "Fullest file system",
            "How full the fullest file system that holds volumes is.",
            "percentunit",
            f"max({filesystem_fill})",
            FILESYSTEM_FILL,
            width=3,
            link=link_to("netvol-volumes"),
        ),
        rows(
            "Alerts",
            "What fires, on what, and since when it is so. What to do about each is in docs/alerts.md.",
            (
                Column("severity", "Severity", width=75, colors=SEVERITIES),
                Column("alertname", "Alert", width=300),
                Column("subject", "On"),
                Column("instance", "Instance", width=140),
                Column("Value", "Since", "dateTimeFromNow", width=120),
            ),
            column(_SUBJECT, "severity", "alertname", "subject"),
            sort_by="Severity",
            ascending=True,
            width=14,
        ),
        rows(
            "Containers in trouble",
            "Containers that are unhealthy, restarting or dead, or were restarted or killed for want of memory in "
            "the time range.",
            (
                Column("container", "Container", link=link_to("netvol-networks", container="${__value.raw}")),
                Column("instance", "Instance", width=135),
                Column("state", "State", width=85),
                Column("status", "Health", width=85),
                Column("Value #C", "Restarts", width=75),
                Column("Value #D", "OOM kills", width=80),
            ),
            column(described(restarting, "container", PROJECT), "container", "state"),
            column(described(unhealthy, "container", PROJECT), "container", "status"),
            column(described(_counted("docker_container_restarts_total"), "container", PROJECT), "container"),
            column(described(_counted("docker_container_oom_events_total"), "container", PROJECT), "container"),
            sort_by="Restarts",
            width=10,
        ),
        graph(
            "Busiest networks: into containers",
            "Bytes into the containers of the ten networks that received most in the time range.",
            "Bps",
            Query(top(receive, "network", received, PROJECT), "{{network}} · {{instance}}"),
        ),
        graph(
            "Busiest networks: out of containers",
            "Bytes out of the containers of the ten networks that transmitted most in the time range.",
            "Bps",
            Query(top(transmit, "network", transmitted, PROJECT), "{{network}} · {{instance}}"),
        ),
        bars(
            "Fullest volumes",
            "Volumes with a limit of their own: a quota, a file system, or a declared size. Orange from 85 %, red "
            "from 97 %, where the alert DockerVolumeFillingUp looks.",
            "percentunit",
            Query(described(fill, "volume", OWN_LIMIT, PROJECT), "{{volume}} · {{instance}}"),
            VOLUME_FILL,
            limit=1,
            link=link_to("netvol-volumes", volume="${__field.labels.volume}"),
        ),
        bars(
            "Fullest file systems",
            "File systems that hold volumes: where a volume has no limit of its own, this is what it can fill.",
            "percentunit",
            Query(filesystem_fill, "{{filesystem}} · {{instance}}"),
            FILESYSTEM_FILL,
            limit=1,
            link=link_to("netvol-volumes"),
        ),
        graph(
            "Events",
            "What happened to containers, networks and volumes, by the engine's events. Commands run in "
            "containers are left out.",
            "short",
            Query(
                leaders(
                    f"sum by (type, action) (increase({events}[$__rate_interval])) > 0",
                    "type, action",
                    f"sum by (type, action) (increase({events}[$__range] @ end()))",
                ),
                "{{type}} {{action}}",
            ),
            stacked=True,
            bars=True,
            decimals=0,
            width=24,
        ),
        rows(
            "Hosts",
            "One line for each host. An exporter that is down has no other numbers.",
            (
                Column("instance", "Instance", link=link_to("netvol-exporter", instance="${__value.raw}")),
                Column("Value #A", "Exporter", steps=UP, texts=UP_TEXTS, width=80),
                Column("Value #B", "Engine", steps=UP, texts=UP_TEXTS, width=80),
                Column("version", "Version", width=100),
                Column("Value #D", "Running", width=100),
                Column("Value #E", "Networks", width=100),
                Column("Value #F", "Volumes", width=100),
                Column("Value #G", "Volumes hold", "bytes", width=130),
                Column("Value #H", "Into containers", "Bps", width=140),
                Column("Value #I", "Out of containers", "Bps", width=150),
            ),
            column(of_exporter(series("up"))),
            column(series("docker_engine_up")),
            column(series("docker_engine_info"), "version"),
            column(series("docker_engine_containers", state="running")),
            f"sum by (instance) ({series('docker_engine_networks')})",
            f"sum by (instance) ({series('docker_engine_volumes')})",
            f"sum by (instance) ({series('docker_volume_used_bytes')})",
            f"sum by (instance) ({receive})",
            f"sum by (instance) ({transmit})",
            sort_by="Into containers",
        ),
    )
