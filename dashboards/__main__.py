"""Writes the dashboards' JSON: `python -m dashboards`; with --check it only says whether they are current."""

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import exporter, networks, overview, volumes

FOLDER = Path(__file__).parent
PROVISIONED, SHARED = "json", "grafana.com"
MODULES = (overview, networks, volumes, exporter)
OLDEST_GRAFANA = "10.0.0"
_INPUT = "DS_PROMETHEUS"


def provisioned() -> dict[str, dict[str, Any]]:
    """Each dashboard by its uid, as Grafana reads it from a folder."""
    return {module.UID: _plain(module.dashboard()) for module in MODULES}


def _plain(dashboard: Dashboard) -> dict[str, Any]:
    """What the SDK made, as JSON; it would hide links and annotations in a menu that new versions have."""
    board: dict[str, Any] = json.loads(json.dumps(dashboard.build(), cls=JSONEncoder))
    for part in (*board["links"], *board["annotations"]["list"]):
        part.pop("placement", None)
    return board


def shared(board: dict[str, Any]) -> dict[str, Any]:
    """The same dashboard as grafana.com wants it: the importer asks for the data source."""
    kinds = sorted({panel["type"] for panel in board["panels"] if panel["type"] != "row"})
    names = {"bargauge": "Bar gauge", "stat": "Stat", "table": "Table", "timeseries": "Time series"}
    grafana = {"type": "grafana", "id": "grafana", "name": "Grafana", "version": OLDEST_GRAFANA}
    source = {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}
    panels = [{"type": "panel", "id": kind, "name": names[kind], "version": ""} for kind in kinds]
    ask = {
        "name": _INPUT,
        "label": "Prometheus",
        "description": "The Prometheus that scrapes netvol-exporter.",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }
    variables = [
        {**variable, "current": {"selected": True, "text": f"${{{_INPUT}}}", "value": f"${{{_INPUT}}}"}}
        if variable["name"] == "datasource"
        else variable
        for variable in board["templating"]["list"]
    ]
    return {
        "__inputs": [ask],
        "__requires": [grafana, source, *panels],
        **board,
        "id": None,
        "templating": {"list": variables},
    }


def files() -> dict[Path, str]:
    """Every file and what it must hold."""
    found: dict[Path, str] = {}
    for uid, board in provisioned().items():
        # Not one in the other: Grafana reads a folder with all that is below it.
        found[FOLDER / PROVISIONED / f"{uid}.json"] = _text(board)
        found[FOLDER / SHARED / f"{uid}.json"] = _text(shared(board))
    return found


def _text(board: dict[str, Any]) -> str:
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check the files; 1 if one is not current."""
    wanted = files()
    left_over = [path for path in FOLDER.rglob("*.json") if path not in wanted]
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale or left_over:
            names = ", ".join(str(path.relative_to(FOLDER.parent)) for path in [*stale, *left_over])
            print(f"not current: {names}; run make dashboards", file=sys.stderr)
            return 1
        return 0
    for path in left_over:
        path.unlink()
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
