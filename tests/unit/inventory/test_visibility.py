import re

from exporter.inventory.visibility import EVERYTHING, NameFilter, label_name


def test_without_filters_everything_is_shown() -> None:
    assert EVERYTHING.networks.shows("app")
    assert EVERYTHING.containers.shows("")


def test_an_expression_is_for_the_whole_name() -> None:
    only_app = NameFilter(include=re.compile("app"))
    assert only_app.shows("app")
    assert not only_app.shows("app2")


def test_what_is_excluded_is_not_shown_even_if_it_is_included() -> None:
    names = NameFilter(include=re.compile("a.*"), exclude=re.compile(".*b"))
    assert names.shows("ac")
    assert not names.shows("ab")
    assert not names.shows("c")


def test_a_label_s_name_is_made_fit_for_prometheus() -> None:
    assert label_name("com.example/team-name") == "label_com_example_team_name"
