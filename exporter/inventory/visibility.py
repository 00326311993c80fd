"""Which containers and networks have series of their own, and which of a container's labels are shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NOT_IN_A_LABEL_NAME = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class NameFilter:
    """An include and an exclude expression, each for the whole name; None for no restriction."""

    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None

    def shows(self, name: str) -> bool:
        """Whether a name is included and not excluded."""
        if self.include is not None and self.include.fullmatch(name) is None:
            return False
        return self.exclude is None or self.exclude.fullmatch(name) is None


@dataclass(frozen=True, slots=True)
class Visibility:
    """What is shown. What isn't still counts: in its network's totals, and among a volume's users."""

    networks: NameFilter = NameFilter()
    containers: NameFilter = NameFilter()
    container_labels: Sequence[str] = ()


EVERYTHING = Visibility()


def label_name(container_label: str) -> str:
    """The name that a container's label has on the page: `com.example.team` is `label_com_example_team`."""
    return "label_" + _NOT_IN_A_LABEL_NAME.sub("_", container_label)
