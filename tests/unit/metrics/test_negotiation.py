import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.negotiation import accepts_gzip, choose_format
from exporter.metrics.page import Format

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_49 = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=2"
PROMETHEUS_2_50 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_0 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_4 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    + PROMETHEUS_2_50
)


@pytest.mark.parametrize(
    "accept", [PROMETHEUS_2_42, PROMETHEUS_2_50, PROMETHEUS_3_0, PROMETHEUS_3_4, PROTOBUF_FIRST]
)
def test_every_prometheus_gets_openmetrics(accept: str) -> None:
    assert choose_format(accept) is Format.OPENMETRICS


def test_the_malformed_weight_of_prometheus_2_49_gets_a_valid_answer() -> None:
    assert choose_format(PROMETHEUS_2_49) is Format.TEXT


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json", "text/plain;version=0.0.4"],
)
def test_browsers_curl_and_strangers_get_text(accept: str) -> None:
    assert choose_format(accept) is Format.TEXT


def test_the_greater_weight_wins_whatever_comes_first() -> None:
    assert choose_format("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.9") is Format.TEXT
    assert choose_format("text/plain;q=0.2,application/openmetrics-text;q=0.9") is Format.OPENMETRICS


def test_a_version_that_is_not_offered_is_not_echoed() -> None:
    assert choose_format("application/openmetrics-text;version=2.0.0") is Format.TEXT
    assert "1.0.0" in Format.OPENMETRICS


@pytest.mark.parametrize(
    ("header", "wanted"),
    [("gzip", True), ("gzip, deflate", True), ("gzip;q=0", False), ("", False), ("identity", False), ("*", True)],
)
def test_gzip_is_used_where_it_is_wanted(header: str, wanted: bool) -> None:  # noqa: FBT001 - a column of the table
    assert accepts_gzip(header) is wanted


@given(st.text())
def test_headers_of_any_form_raise_nothing(header: str) -> None:
    choose_format(header)
    accepts_gzip(header)
