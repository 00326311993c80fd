import re

from exporter.metrics.catalogue import CATALOGUE, Kind

RESERVED = {"location", "cluster", "namespace", "job", "instance", "project_id"}


def test_names_are_unique_and_follow_the_conventions() -> None:
    assert len({family.name for family in CATALOGUE}) == len(CATALOGUE)
    for family in CATALOGUE:
        assert re.fullmatch(r"(docker|netvol_exporter)_[a-z_]+", family.name), family.name
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert family.help.endswith("."), family.name


def test_labels_avoid_those_that_hosted_prometheus_refuses() -> None:
    for family in CATALOGUE:
        assert not RESERVED & set(family.labels), family.name


def test_a_unit_is_the_end_of_its_name() -> None:
    for family in CATALOGUE:
        assert family.name.removesuffix("_total").endswith(family.unit), family.name
