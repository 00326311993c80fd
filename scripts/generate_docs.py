"""Writes the reference pages that are made from the code; with --check it only says whether they are current."""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from exporter.metrics.catalogue import CATALOGUE, Family, Group
from exporter.settings import flags

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
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
that is not known is absent. Join the `_info` families on the object's name and the instance, for example
`docker_network_receive_bytes_total * on (instance, network) group_left (compose_project) docker_network_info`.
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
_LICENCES_HEAD = """# Licences of what it is made of

netvol-exporter is licensed under Apache-2.0. These packages are installed with it, in these versions
(`requirements/runtime.txt`, `requirements/ssh.txt`), under these licences as their authors declare them.
`make sbom` writes them with their dependencies as a CycloneDX file.
"""
# Where a package declares no SPDX expression: its word, as SPDX has it.
_SPDX = {"Apache 2.0": "Apache-2.0"}


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


def licences_page() -> str:
    """The table of `docs/licences.md`."""
    always, with_ssh = (_locked(REPOSITORY / f"requirements/{name}.txt") for name in ("runtime", "ssh"))
    rows = [
        f"| {name} | {version} | {_licence(name, version)} | {'' if name in always else 'only with `ssh`'} |\n"
        for name, version in sorted(with_ssh.items())
    ]
    head = "\n| package | version | licence | |\n|---|---|---|---|\n"
    return "".join([_LICENCES_HEAD, _NOTICE, head, *rows])


def _locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ ]+)", path.read_text(), re.MULTILINE))


def _licence(name: str, version: str) -> str:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        sys.exit(f"{name} is not installed: run scripts/setup.sh dev")
    if told["Version"] != version:
        sys.exit(f"{name} {told['Version']} is installed and {version} is locked: run scripts/setup.sh dev")
    classifiers = [text.rpartition(" :: ")[2] for text in told.get_all("Classifier", []) if "License ::" in text]
    words = [told[field] for field in ("License-Expression", "License") if field in told]
    # Some put the licence's whole text there.
    found = next((word for word in words if word and "\n" not in word), " AND ".join(classifiers))
    if not found:
        sys.exit(f"{name} declares no licence: look, and say so here")
    return _SPDX.get(found, found)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) + (", `label_*`" if family.open_labels else "")
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n"


def main() -> int:
    """Write or check the pages; 1 if one is not current."""
    pages = {
        "metrics.md": metrics_page(),
        "configuration.md": configuration_page(),
        "licences.md": licences_page(),
    }
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
