"""What Grafana does between a dashboard's JSON and Prometheus: it fills in variables and asks.

The rules are those of Grafana's Prometheus data source: several chosen values become `(a|b)`, each escaped for a
regular expression in a string, and "All" becomes the variable's own text for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.harness.prometheus import PrometheusServer

Json = dict[str, Any]
ALL = "All"


@dataclass(frozen=True)
class Asked:
    """A query as it is in the dashboard, and where."""

    board: str
    place: str
    expression: str
    is_range: bool


@dataclass(frozen=True)
class Window:
    """What the time picker says, and how far apart the points of a graph are."""

    start: float
    end: float
    step: float
    scrape_interval: float

    @property
    def globals(self) -> dict[str, str]:
        """The variables that every dashboard has. The pause between two scrapes is the data source's setting."""
        rate_interval = max(self.step + self.scrape_interval, 4 * self.scrape_interval)
        return {
            "__rate_interval": f"{rate_interval:g}s",
            "__range": f"{self.end - self.start:.0f}s",
            "__interval": f"{self.step:g}s",
        }


class Dashboard:
    """One dashboard and the values that are chosen for its variables; at first all."""

    def __init__(self, board: Json) -> None:
        self._board = board
        self.uid: str = board["uid"]
        self._chosen: dict[str, str | Sequence[str]] = {}

    @property
    def variables(self) -> list[Json]:
        """The variables that ask Prometheus."""
        return [one for one in self._board["templating"]["list"] if one["type"] == "query"]

    @property
    def panels(self) -> list[Json]:
        return [panel for panel in self._board["panels"] if panel["type"] != "row"]

    def queries(self) -> list[Asked]:
        """Every query of every panel and annotation."""
        asked = [
            Asked(self.uid, f"{panel['title']} {target['refId']}", target["expr"], target["range"])
            for panel in self.panels
            for target in panel["targets"]
        ]
        marks = self._board["annotations"]["list"]
        return asked + [
            Asked(self.uid, f"annotation {mark['name']}", mark["expr"], is_range=True) for mark in marks
        ]

    def choose(self, name: str, values: str | Sequence[str]) -> None:
        """Choose values, or `ALL`."""
        self._chosen[name] = values

    def filled(self, text: str, builtin: Mapping[str, str]) -> str:
        """A query without variables; what is none, such as the `$1` of `label_replace`, stays."""
        values = dict(builtin)
        for variable in self.variables:
            chosen = self._chosen.get(variable["name"], ALL)
            values[variable["name"]] = variable["allValue"] if chosen == ALL else _alternatives(chosen)
        return re.sub(r"\$(\w+)", lambda found: values.get(found[1], found[0]), text)

    def options(self, variable: Json, prometheus: PrometheusServer) -> list[str]:
        """What a variable can be chosen from."""
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found, variable
        return prometheus.label_values(self.filled(found[1], {}), found[2])

    def answer(self, asked: Asked, prometheus: PrometheusServer, window: Window) -> list[Json]:
        """The series that Prometheus gives; an error of Prometheus is one here."""
        expression = self.filled(asked.expression, window.globals)
        if asked.is_range:
            return prometheus.matrix(expression, window.start, window.end, window.step)
        # An instant query has no range of its own: `@ end()` and the variables are of the window's end.
        return prometheus.query(expression, window.end)


def _alternatives(chosen: str | Sequence[str]) -> str:
    values = [chosen] if isinstance(chosen, str) else chosen
    escaped = [re.sub(r"[\^$*+?.()|\[\]{}]", r"\\\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
