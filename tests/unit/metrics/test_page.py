import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.catalogue import (
    CONTAINER_TRAFFIC,
    ENGINE_REQUEST_DURATION,
    ENGINE_UP,
    NETWORK_INFO,
    NETWORK_TRAFFIC,
    VOLUME_INFO,
    VOLUME_USED_BYTES,
)
from exporter.metrics.page import Format, make_page
from exporter.metrics.samples import NO_LABELS, FamilySamples, LabelSet, label_set

RECEIVED = NETWORK_TRAFFIC[0]


def test_the_text_format_is_as_described() -> None:
    page = make_page([(RECEIVED, [(label_set(("network",), ("app",)), 12)]), (ENGINE_UP, [(NO_LABELS, 1)])])
    lines = page.in_format(Format.TEXT).decode().splitlines()
    assert lines[0].startswith("# HELP docker_network_receive_bytes_total ")
    assert lines[1:3] == [
        "# TYPE docker_network_receive_bytes_total counter",
        'docker_network_receive_bytes_total{network="app"} 12',
    ]
    assert lines[-1] == "docker_engine_up 1"


def test_openmetrics_names_the_counter_without_total_and_ends_with_eof() -> None:
    text = (
        make_page([(RECEIVED, [(label_set(("network",), ("app",)), 12)])]).in_format(Format.OPENMETRICS).decode()
    )
    assert "# TYPE docker_network_receive_bytes counter\n# UNIT docker_network_receive_bytes bytes\n" in text
    assert text.endswith('docker_network_receive_bytes_total{network="app"} 12\n# EOF\n')


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (2**63, "9223372036854775808"),
        (0.1, "0.1"),
        (1e21, "1e+21"),
        (float("inf"), "+Inf"),
        (True, "1.0"),
    ],
)
def test_numbers_lose_nothing(value: float, shown: str) -> None:
    assert f"docker_engine_up {shown}\n".encode() in make_page([(ENGINE_UP, [(NO_LABELS, value)])]).in_format(
        Format.TEXT
    )


def test_a_family_without_samples_is_left_out() -> None:
    assert make_page([(ENGINE_UP, [])]).in_format(Format.TEXT) == b""


def test_a_family_from_two_collectors_is_an_error() -> None:
    with pytest.raises(ValueError, match="docker_engine_up comes from two"):
        make_page([(ENGINE_UP, [(NO_LABELS, 1)]), (ENGINE_UP, [(NO_LABELS, 1)])])


def test_the_compressed_page_is_the_page() -> None:
    page = make_page([(ENGINE_UP, [(NO_LABELS, 1)])])
    assert gzip.decompress(page.compressed(Format.TEXT)) == page.in_format(Format.TEXT)
    assert page.compressed(Format.TEXT) is page.compressed(Format.TEXT)


def test_series_are_counted() -> None:
    assert make_page([(VOLUME_USED_BYTES, [(label_set(("volume",), (name,)), 1) for name in "abc"])]).series == 3


def histogram_samples() -> list[tuple[LabelSet, float]]:
    names = ("endpoint", "le")
    return [
        (label_set(names, ("x", "1.0"), suffix="_bucket"), 1.0),
        (label_set(names, ("x", "+Inf"), suffix="_bucket"), 2.0),
        (label_set(("endpoint",), ("x",), suffix="_count"), 2.0),
        (label_set(("endpoint",), ("x",), suffix="_sum"), 5.5),
    ]


def test_a_histogram_is_read_back_in_both_formats() -> None:
    page = make_page([(ENGINE_REQUEST_DURATION, histogram_samples())])
    for parse, form in ((parse_text, Format.TEXT), (parse_openmetrics, Format.OPENMETRICS)):
        [family] = parse(page.in_format(form).decode())
        assert family.type == "histogram"
        assert len(family.samples) == 4


# Lone surrogates cannot come out of JSON from the engine's valid UTF-8, but they must not end a scrape.
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5, unique=True))
def test_any_text_in_a_label_is_read_back_unchanged_in_both_formats(values: list[str]) -> None:
    samples = [(label_set(VOLUME_INFO.labels, (value, *[""] * 8)), 1) for value in values]
    page = make_page([(VOLUME_INFO, samples)])
    for parse, form in ((parse_text, Format.TEXT), (parse_openmetrics, Format.OPENMETRICS)):
        [family] = parse(page.in_format(form).decode())
        assert [sample.labels["volume"] for sample in family.samples] == values


def test_names_that_are_no_unicode_do_not_end_a_scrape_and_stay_apart() -> None:
    names = ["\ud800", "\ud801", "\udcff"]
    page = make_page([(NETWORK_INFO, [(label_set(("network",), (name,)), 1) for name in names])])
    for parse, form in ((parse_text, Format.TEXT), (parse_openmetrics, Format.OPENMETRICS)):
        [family] = parse(page.in_format(form).decode())
        assert [sample.labels["network"] for sample in family.samples] == [r"\ud800", r"\ud801", r"\udcff"]


def test_where_there_are_too_many_series_those_of_containers_go_first_and_the_page_says_so() -> None:
    containers = [(label_set(("container", "network"), (f"c{n}", "net")), n) for n in range(10)]
    networks = [(label_set(("network",), (f"n{n}",)), n) for n in range(10)]
    samples: list[FamilySamples] = [
        (CONTAINER_TRAFFIC[0], containers),
        (RECEIVED, networks),
        (CONTAINER_TRAFFIC[1], containers),
    ]
    whole = make_page(samples, 31)
    assert whole.series == 31
    assert b"netvol_exporter_series_dropped 0\n" in whole.in_format(Format.TEXT)
    page = make_page(samples, 30).in_format(Format.TEXT)
    assert b"netvol_exporter_series_dropped 10\n" in page
    assert f"{CONTAINER_TRAFFIC[0].name}{{".encode() in page
    assert f"{CONTAINER_TRAFFIC[1].name}{{".encode() not in page
    page = make_page(samples, 1).in_format(Format.TEXT)
    assert b"netvol_exporter_series_dropped 20\n" in page
    assert page.count(f"{RECEIVED.name}{{".encode()) == 10
