import pytest

from exporter.metrics.samples import NO_LABELS, LabelSets, label_set


def test_a_label_set_is_rendered_with_its_trailing_space() -> None:
    assert label_set(("network", "container"), ("app", "web")) == '{network="app",container="web"} '
    assert label_set((), ()) == NO_LABELS


def test_quotes_backslashes_and_line_feeds_are_escaped() -> None:
    assert label_set(("a",), ('x"y\\z\n',)) == '{a="x\\"y\\\\z\\n"} '


def test_a_histogram_s_series_carry_their_suffix() -> None:
    assert label_set(("le",), ("+Inf",), suffix="_bucket") == '_bucket{le="+Inf"} '
    assert label_set((), (), suffix="_count") == "_count "


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        label_set(("a", "b"), ("x",))


def test_a_label_set_is_rendered_once_for_as_long_as_each_round_asks_for_it() -> None:
    label_sets = LabelSets()
    first, other = label_sets(("a",), ("x" * 9,)), label_sets(("b",), ("x" * 9,))
    assert (first, other) == (label_set(("a",), ("x" * 9,)), label_set(("b",), ("x" * 9,)))
    label_sets.next_round()
    assert label_sets(("a",), ("x" * 9,)) is first
    label_sets.next_round()
    assert label_sets(("a",), ("x" * 9,)) is first
    assert label_sets(("b",), ("x" * 9,)) is not other  # no round asked for it


def test_nothing_is_kept_of_what_came_and_went() -> None:
    label_sets = LabelSets()
    for number in range(1000):
        label_sets.next_round()
        label_sets(("container",), (f"short{number}",))
    assert len(label_sets._kept) + len(label_sets._before) == 2
