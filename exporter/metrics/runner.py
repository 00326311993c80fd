"""Runs rounds of collectors: times them, and turns what fails into a metric and a log line."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from exporter.logs import get_logger
from exporter.metrics.catalogue import (
    EXPORTER_COLLECTOR_DURATION,
    EXPORTER_COLLECTOR_LAST_SUCCESS,
    EXPORTER_COLLECTOR_SUCCESS,
)
from exporter.metrics.samples import FamilySamples, LabelSet, label_set


class CollectorError(Exception):
    """A collector could not do its round for a reason that an operator can act on; the message says which."""


@dataclass(slots=True)
class _Health:
    labels: LabelSet
    success: bool | None = None
    duration_seconds: float = 0.0
    last_success: float | None = None


class Runner:
    """The health of each collector. It is the only place where any exception is caught."""

    name = "runner"

    def __init__(self) -> None:
        self._health: dict[str, _Health] = {}

    @contextmanager
    def watch(self, name: str, *, failures_only: bool = False) -> Iterator[None]:
        """Watch over one round of a collector: it may fail, and the others go on.

        A failure is logged when it begins, and its end is logged, not each round between. `failures_only`
        is for a part of a collector's work whose success does not yet mean that the whole round succeeded.
        """
        health = self._health.setdefault(name, _Health(label_set(("collector",), (name,))))
        started = time.monotonic()
        try:
            yield
        except CollectorError as error:
            self._failed(name, health, started, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the one place: a collector's bug must not end the others
            self._failed(name, health, started, reason=f"{type(error).__name__}: {error}", exc_info=True)
        else:
            if failures_only:
                return
            if health.success is False:
                get_logger().info("collector works again", collector=name)
            health.success, health.last_success = True, time.time()
            health.duration_seconds = time.monotonic() - started

    def succeeded(self, name: str) -> bool:
        """Whether a collector's last round succeeded; False if there was none yet."""
        health = self._health.get(name)
        return bool(health and health.success)

    def samples(self) -> Iterator[FamilySamples]:
        """Success, duration and last success of each collector that has done a round."""
        done = [health for health in self._health.values() if health.success is not None]
        yield EXPORTER_COLLECTOR_SUCCESS, [(health.labels, int(bool(health.success))) for health in done]
        yield EXPORTER_COLLECTOR_DURATION, [(health.labels, health.duration_seconds) for health in done]
        yield (
            EXPORTER_COLLECTOR_LAST_SUCCESS,
            [(health.labels, health.last_success) for health in done if health.last_success is not None],
        )

    def _failed(self, name: str, health: _Health, started: float, **why: object) -> None:
        if health.success is not False:
            get_logger().warning("collector failed", collector=name, **why)
        health.success = False
        health.duration_seconds = time.monotonic() - started
