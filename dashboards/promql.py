"""PromQL as the panels need it: selectors that heed the variables, rates, and the top of the whole time range.

`$job` with "All" matches every job of the Prometheus, so what other jobs have as well (`up`, `process_*`) must be
tied to an exporter of ours.
"""

HOST = 'job=~"$job", instance=~"$instance"'
PROJECT = 'compose_project=~"$project"'
# Media that are read-only are full for good.
OWN_LIMIT = 'capacity_source=~"quota|mount|declared", kind!~"squashfs|iso9660|udf|erofs"'
ALERTS = 'alertname=~"Docker.*|Netvol.*"'
TOP = 10
"""How many series a panel shows at most, however many networks, containers or volumes there are."""


def series(name: str, *matchers: str, **labels: str) -> str:
    """A selector of a family on the chosen hosts, by matchers and by labels that have just this value."""
    equal = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{name}{{{', '.join((HOST, *matchers, *equal))}}}"


def alerts(name: str, **labels: str) -> str:
    """The shipped alerts on the chosen hosts, and the one that has no host: that no exporter is scraped at all."""
    equal = [f'{label}="{value}"' for label, value in labels.items()]
    missing = ", ".join(('alertname="NetvolExporterMissing"', *equal))
    return f"({series(name, ALERTS, **labels)} or {name}{{{missing}}})"


def rate(name: str, *matchers: str) -> str:
    """A counter's increase per second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def total(name: str, *matchers: str) -> str:
    """A counter's increase over the whole time range; the same at each step."""
    return f"increase({series(name, *matchers)}[$__range] @ end())"


def highest(name: str, *matchers: str) -> str:
    """A gauge's highest value in the whole time range; the same at each step."""
    return f"max_over_time({series(name, *matchers)}[$__range] @ end())"


def lowest(name: str, *matchers: str) -> str:
    """A gauge's lowest value in the whole time range; the same at each step."""
    return f"min_over_time({series(name, *matchers)}[$__range] @ end())"


def keep(expression: str, label: str, condition: str) -> str:
    """Only those series for whose host and object the condition has a series."""
    return f"{expression} and on (job, instance, {label}) {condition}"


def described(expression: str, kind: str, *matchers: str) -> str:
    """Only what is on a network, in a container or in a volume that its `_info` describes so now."""
    return keep(expression, kind, series(f"docker_{kind}_info", *matchers))


def leaders(expression: str, labels: str, ranking: str) -> str:
    """The same few series at each step: those that rank highest over the whole time range.

    A plain `topk` chooses anew at each step, and a graph of it shows everything that was ever among the highest.
    """
    return f"({expression}) and on ({labels}) topk({TOP}, {ranking})"


def top(expression: str, kind: str, ranking: str, *matchers: str) -> str:
    """The leaders among networks, containers or volumes that their `_info` described so within the time range."""
    return leaders(expression, f"job, instance, {kind}", was_described(ranking, kind, *matchers))


def was_described(expression: str, kind: str, *matchers: str) -> str:
    """Likewise of what its `_info` described so at any time within the time range."""
    return keep(expression, kind, f"last_over_time({series(f'docker_{kind}_info', *matchers)}[$__range] @ end())")


def of_exporter(expression: str) -> str:
    """Only the exporters' own series, where other jobs have the family too.

    Also of one that is down: the rules know it as long as it is a target, without them it is known for a day.
    """
    answered = f"last_over_time({series('netvol_exporter_build_info')}[1d])"
    return f"{expression} and on (job, instance) ({answered} or {series('instance:up:netvol')})"


def top_exporters(expression: str, ranking: str) -> str:
    """The leaders among the exporters."""
    known = f"last_over_time({series('netvol_exporter_build_info')}[$__range] @ end())"
    return leaders(expression, "job, instance", f"{ranking} and on (job, instance) {known}")


def volume_fill(*matchers: str) -> str:
    """How full volumes are, as the alerts see it: of a declared limit what they hold, else what is not free."""
    used, capacity, available = (
        series(f"docker_volume_{what}_bytes", *matchers) for what in ("used", "capacity", "available")
    )
    declared = keep(f"{used} / {capacity}", "volume", series("docker_volume_info", capacity_source="declared"))
    return f"({declared} or 1 - {available} / {capacity})"


def share(part: str, whole: str) -> str:
    """A ratio without the nonsense of nothing by nothing."""
    return f"{part} / ({whole} > 0)"


def column(expression: str, *labels: str) -> str:
    """One value for each combination of labels, as the columns of a table need them to meet in one row."""
    return f"max by ({', '.join(('instance', *labels))}) ({expression})"
