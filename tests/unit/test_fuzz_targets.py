"""The contracts of tests/fuzz with made-up and damaged inputs; `make fuzz` goes on where this ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

SPLICE = st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12))


@st.composite
def inputs(draw: st.DrawFn, target: Target) -> bytes:
    """Any bytes, or a seed with some of its bytes taken out and others put in."""
    data = draw(st.just(b"") | st.sampled_from(target.seeds))
    if not data:
        return draw(st.binary(max_size=200))
    for where, taken, put in draw(st.lists(SPLICE, max_size=3)):
        at = int(where * len(data))
        data = data[:at] + put + data[at + taken :]
    return data


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@settings(max_examples=200)
@given(st.data())
def test_the_contract_holds_for_made_up_and_damaged_inputs(target: Target, data: st.DataObject) -> None:
    target.check(data.draw(inputs(target)))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_the_contract_holds_for_the_inputs_that_fuzzers_set_out_from(target: Target) -> None:
    for seed in (b"", *target.seeds):
        target.check(seed)
