"""What float32 keeps apart: an offset and a factor where they are needed, and nothing elsewhere."""

import numpy as np
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.float32 import (
    Shift,
    as_float32,
    distinct_values,
    input_shift,
    loss,
    shifted,
    target_shift,
)

# steps from a start: far away and close together, or tiny
grids = st.tuples(
    st.sampled_from([0.0, 1.0, -20_000.5, 1.7e9, -3e12, 2.0**52]),
    st.sampled_from([2.0**-180, 2.0**-150, 1e-30, 2.0**-20, 1.0, 86_400.0, 1e20]),
    st.lists(st.integers(-5000, 5000), min_size=2, max_size=60, unique=True),
)


def column(start: float, step: float, steps: list[int]) -> np.ndarray:
    """Values at whole steps from a start; as many as float64 tells apart."""
    if start and abs(start) * 2.0**-49 > step:
        step = abs(start) * 2.0**-49
    return start + step * np.array(steps)


def seen(values: np.ndarray, shift: Shift) -> np.ndarray:
    return as_float32(shifted(values, shift.offset, shift.factor))


@settings(max_examples=examples(300), deadline=None)
@given(grids)
def test_values_on_a_grid_anywhere_stay_apart_and_in_order(grid):
    values = column(*grid)
    shift = input_shift(values)
    order = np.argsort(values, kind='stable')
    assert (np.diff(seen(values, shift)[order]) > 0).all()
    assert np.log2(shift.factor) % 1 == 0
    if shift != Shift():
        assert loss(distinct_values(values)).lost > 0


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=60))
def test_order_is_kept_and_nothing_gets_worse_for_any_numbers(values):
    values = np.array(values)
    shift = input_shift(values)
    assert (np.diff(seen(np.sort(values), shift)) >= 0).all()
    distinct = distinct_values(values)
    assert loss(distinct, shift).lost <= loss(distinct).lost


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(0, 2**32 - 1).map(np.random.default_rng),
    st.sampled_from([0.0, 1.0, 1e3, 1e5]),
    st.sampled_from([1e-3, 1.0, 50.0, 1e7]),
    st.booleans(),
)
def test_ordinary_columns_and_targets_get_nothing(rng, middle, size, whole):
    values = middle + rng.normal(0, max(size, middle / 50), 3000)
    values = np.round(values) if whole else values
    assert input_shift(values) == Shift()
    if values.std() > 0.01:
        assert target_shift(values) == Shift()


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(0, 2**32 - 1).map(np.random.default_rng),
    st.sampled_from([0.0, 1.0, 1.7e9]),
    st.sampled_from([2.0**-300, 1e-47, 1e-30, 1e-6, 35.0, 1e17, 1e30]),
)
def test_a_target_of_any_size_is_learned_with_a_spread_near_one_or_its_own(rng, middle, size):
    values = middle * size + size * rng.normal(0, 1, 500)
    shift = target_shift(values)
    learned = seen(values, shift)
    assert len(np.unique(learned)) == len(np.unique(values))
    assert 2.0**-8 <= learned.std() <= 2.0**50
