"""The exporter's measurements of itself, kept by prometheus_client and shown on our page."""

import platform
from collections import Counter
from collections.abc import Iterator

import prometheus_client

from exporter import __version__
from exporter.metrics.catalogue import (
    ENGINE_REQUEST_DURATION,
    EXPORTER_BUILD_INFO,
    EXPORTER_PAGE_BYTES,
    EXPORTER_SCRAPES,
    EXPORTER_SERIES,
    Family,
    Group,
    Kind,
)
from exporter.metrics.samples import NO_LABELS, FamilySamples, Sample, label_set

_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Instruments:
    """What the exporter counts of its own work; a collector like the others."""

    name = "exporter"

    def __init__(self, revision: str = "") -> None:
        self._build_labels = label_set(
            EXPORTER_BUILD_INFO.labels, (__version__, revision, platform.python_version())
        )
        self._requests = prometheus_client.Histogram(
            ENGINE_REQUEST_DURATION.name,
            ENGINE_REQUEST_DURATION.help,
            ENGINE_REQUEST_DURATION.labels,
            buckets=_REQUEST_BUCKETS,
            registry=None,
        )
        self._process = prometheus_client.ProcessCollector(registry=None)
        self._process_families: dict[str, Family] = {}
        self._process_samples: list[FamilySamples] = []
        self.scrapes: Counter[str] = Counter()
        """Answered requests for the page, by HTTP status."""
        self.page_bytes = 0
        self.page_series = 0

    def observe_request(self, endpoint: str, seconds: float) -> None:
        """Take note of a call to the engine that ended."""
        self._requests.labels(endpoint).observe(seconds)

    def read_process(self) -> None:
        """Read what the kernel says of this process; it reads files, so not on the event loop."""
        samples: list[FamilySamples] = []
        for metric in self._process.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            family = self._process_families.setdefault(
                name, Family(name, Kind(metric.type), Group.EXPORTER, metric.documentation)
            )
            samples.append((family, [(NO_LABELS, s.value) for s in metric.samples if s.name == name]))
        self._process_samples = samples

    def samples(self) -> Iterator[FamilySamples]:
        """Build, scrapes, page, calls to the engine, and the process."""
        yield EXPORTER_BUILD_INFO, [(self._build_labels, 1)]
        yield (
            EXPORTER_SCRAPES,
            [(label_set(("code",), (code,)), count) for code, count in self.scrapes.items()],
        )
        if self.page_bytes:
            yield EXPORTER_SERIES, [(NO_LABELS, self.page_series)]
            yield EXPORTER_PAGE_BYTES, [(NO_LABELS, self.page_bytes)]
        yield ENGINE_REQUEST_DURATION, _of_library(self._requests, ENGINE_REQUEST_DURATION)
        yield from self._process_samples


def _of_library(metric: prometheus_client.Histogram, family: Family) -> Iterator[Sample]:
    for collected in metric.collect():
        for sample in collected.samples:
            suffix = sample.name.removeprefix(family.name)
            if suffix != "_created":
                labels = label_set(tuple(sample.labels), tuple(sample.labels.values()), suffix=suffix)
                yield labels, sample.value
