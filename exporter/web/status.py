"""The page a person sees at `/`: what the exporter is, how it fares, and where the metrics are."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One line of the table. `healthy` colours it: True fine, False a lack, None neither."""

    name: str
    value: str
    healthy: bool | None = None


_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 500; white-space: nowrap; }
td.fine::before { content: "● "; color: #2a8f4a; }
td.lack::before { content: "▲ "; color: #c0392b; }
"""


def render_status(version: str, metrics_path: str, rows: Sequence[StatusRow]) -> str:
    """The page in HTML; all that comes from outside is escaped, also what UTF-8 can't hold (lone surrogates)."""
    marks = {True: ' class="fine"', False: ' class="lack"', None: ""}
    table = "\n".join(
        f"<tr><th>{escape(row.name)}</th><td{marks[row.healthy]}>{escape(row.value)}</td></tr>" for row in rows
    )
    path = escape(metrics_path)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>netvol-exporter</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>netvol-exporter</h1>
<p>Prometheus exporter for Docker networks and volumes, version {escape(version)}</p>
<p><a href="{path}">Metrics</a> · <a href="/-/healthy">Healthy</a> · <a href="/-/ready">Ready</a></p>
<table>
{table}
</table>
</body>
</html>
"""
    return page.encode(errors="backslashreplace").decode()
