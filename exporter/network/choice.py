"""Which source of counters to use, and whether the engine's host is this one, decided by what is seen."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container

_SEEN = "the containers' processes are seen in /proc"


@dataclass(frozen=True, slots=True)
class Choice:
    """A source by its name, and why."""

    source: Literal["procfs", "engine"]
    reason: str


def choose_source(
    wanted: Literal["auto", "procfs", "engine"],
    inventory: Inventory,
    sees: Callable[[Container], bool],
    kernel: str | None = None,
    before: Choice | None = None,
) -> Choice:
    """Choose: procfs where it shows the containers' processes, otherwise the engine's stats API.

    While no container runs, the engine's kernel tells whether its host is this one. `kernel` is the release
    of the kernel here, by default the real one. Where processes were seen `before`, an engine's host stays this
    one: a container that isn't seen now has ended, and its event is on its way.
    """
    if wanted != "auto":
        return Choice(wanted, f"--network.source={wanted}")
    # This runs in a thread, while the loop may add containers.
    running = [container for container in list(inventory.containers.values()) if container.is_running]
    if any(sees(container) for container in running):
        return Choice("procfs", _SEEN)
    if before is not None and before.reason == _SEEN:
        return before
    if running:
        return Choice(
            "engine",
            "the containers' processes are not seen in /proc: the engine is remote, or the exporter runs without "
            "the host's process namespace",
        )
    engine = inventory.engine
    if engine is not None and engine.kernel and engine.kernel != (kernel or os.uname().release):
        return Choice("engine", "the engine runs on another kernel than the exporter")
    return Choice("procfs", "no container runs yet, and the engine's kernel is the one here")


def is_engine_here(host: str, inventory: Inventory, sees: Callable[[Container], bool]) -> bool:
    """Whether the files and processes of the engine's host are the ones here.

    They are if it listens on a socket here, or if its containers' processes are seen. That it has the same kernel
    is not enough: hosts that are kept alike have the same paths, too.
    """
    if host.startswith("unix:"):
        return True
    return any(container.is_running and sees(container) for container in list(inventory.containers.values()))
