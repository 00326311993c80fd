"""Writes the reference pages that are made from the code; with --check it only says whether they are current."""

import sys
from pathlib import Path

from exporter.metrics.catalogue import CATALOGUE, Family, Group
from exporter.settings import flags

DOCS = Path(__file__).parent.parent / "docs"
_NOTICE = "<!-- Made by `make docs` from the code: edit there. -->\n"
_TITLES = {
    Group.ENGINE: "Engine",
    Group.NETWORK: "Networks",
    Group.CONTAINER: "Containers",
    Group.VOLUME: "Volumes and their file systems",
    Group.EXPORTER: "The exporter itself",
}
_METRICS_HEAD = """# Metrics

Names are stable once released. Directions are the containers' view: receive is into the container. A value
that is not known is absent. Join the `_info` families on the object's name, for instance
`docker_network_receive_bytes_total * on (network) group_left (compose_project) docker_network_info`.
`process_*` families, as of every Prometheus client, come in addition.

Counters are read on the exporter's own schedule (`--poll.interval`), so that traffic between two scrapes is
seen; a scrape that finds them older than a second reads them again first. When a collector's values were taken
is `netvol_exporter_collector_last_success_timestamp_seconds`.
"""
_CONFIGURATION_HEAD = """# Configuration

Each setting is a flag and an environment variable; the flag wins. Durations are written as `5s`, `1m30s` or
`100ms`, or as seconds. Lists in the environment are separated by commas. `--version` prints the version,
`--once` prints the page once and exits (1 if the engine can't be reached), and `netvol-exporter check` says what
can and can't be seen. An unusable value ends the start with exit code 2 and one line that says what is allowed.
"""


def metrics_page() -> str:
    """The tables of `docs/metrics.md`."""
    parts = [_METRICS_HEAD, _NOTICE]
    for group, title in _TITLES.items():
        parts.append(f"\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n")
        parts += [_row(family) for family in CATALOGUE if family.group is group]
    return "".join(parts)


def configuration_page() -> str:
    """The table of `docs/configuration.md`."""
    rows = [
        f"| `{flag.name}` | `{variable}` | {f'`{flag.default}`' if flag.default else ''} | {flag.help} |\n"
        for variable, flag in flags().items()
    ]
    head = "\n| flag | environment | default | meaning |\n|---|---|---|---|\n"
    return "".join([_CONFIGURATION_HEAD, _NOTICE, head, *rows])


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) + (", `label_*`" if family.open_labels else "")
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n"


def main() -> int:
    """Write or check the pages; 1 if one is not current."""
    pages = {"metrics.md": metrics_page(), "configuration.md": configuration_page()}
    stale = []
    for name, text in pages.items():
        path = DOCS / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            stale.append(name)
        else:
            path.write_text(text)
    if stale:
        print(f"not current: {', '.join(f'docs/{name}' for name in stale)}; run make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
