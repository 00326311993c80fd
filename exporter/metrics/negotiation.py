"""Which format and which encoding a scraper gets, by its `Accept` and `Accept-Encoding` (RFC 9110, 12.5).

Own code, since prometheus_client's chooser ignores weights and order, and echoes any version that is asked for.
OpenMetrics is offered up to 1.0.0, text as 0.0.4, which is also what browsers and `*/*` get.
"""

from exporter.metrics.page import Format

_OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain"
_OPENMETRICS_VERSIONS = frozenset({"1.0.0", "0.0.1", ""})
_TEXT_VERSIONS = frozenset({"0.0.4", ""})


def choose_format(accept: str) -> Format:
    """The format that the header prefers; text if it prefers nothing that is offered, so nobody is refused."""
    best, best_weight = Format.TEXT, 0.0
    for item in accept.split(","):
        kind, parameters = _media_range(item)
        offered = _offered(kind, parameters.get("version", ""))
        weight = _weight(parameters.get("q", "1"))
        if offered is not None and weight > best_weight:
            best, best_weight = offered, weight
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the answer may be compressed with gzip."""
    weights = {}
    for item in accept_encoding.split(","):
        coding, parameters = _media_range(item)
        weights[coding] = _weight(parameters.get("q", "1"))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _offered(kind: str, version: str) -> Format | None:
    if kind == _OPENMETRICS and version in _OPENMETRICS_VERSIONS:
        return Format.OPENMETRICS
    if (kind == _TEXT and version in _TEXT_VERSIONS) or kind in ("*/*", "text/*"):
        return Format.TEXT
    return None


def _media_range(item: str) -> tuple[str, dict[str, str]]:
    kind, *parameters = (part.strip() for part in item.split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return kind.lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _weight(text: str) -> float:
    """A quality value; Prometheus 2.49.0 sends `q=2`, which counts as 1, and what is no number as 0."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
