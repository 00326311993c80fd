import pytest

from exporter.metrics.samples import NO_LABELS, label_set


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
