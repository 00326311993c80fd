import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("53687091200", 50 * 1024**3),
        ("50g", 50 * 1024**3),
        ("50G", 50 * 1024**3),
        ("50GiB", 50 * 1024**3),
        ("50GB", 50 * 1000**3),
        ("50 gb", 50 * 1000**3),
        ("1.5k", 1536),
        ("1.5kB", 1500),
        ("2t", 2 * 1024**4),
        ("1pb", 1000**5),
        ("100b", 100),
        (" 7m ", 7 * 1024**2),
    ],
)
def test_sizes_are_read_as_docker_writes_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "g", "50q", "-1", "0", "0.1", "50 gigs", "1e9", "50GBs", "\u0665g", "9" * 400]
)
def test_anything_else_is_refused_and_told_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="50GiB"):
        parse_size(text)


@given(st.text())
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 1
    except ValueError as error:
        assert "50GiB" in str(error)  # noqa: PT017 - either is right
