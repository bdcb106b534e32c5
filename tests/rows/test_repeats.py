"""Rows that repeat: what chance explains is told from what was copied, on tables of every kind."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.rows.identity import telling_columns, told_apart
from cd4ml_nb.rows.repeats import repeats_in

CENSUS = Path(__file__).resolve().parent.parent / 'cases/34-repeated-rows/census.csv'


def few_values(seed, n):
    """Five columns of few values, of which two depend on others."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        'sex': rng.integers(0, 2, n), 'age': rng.integers(0, 7, n), 'home': rng.integers(0, 5, n),
    })
    table['school'] = np.clip(table['age'] // 2 + rng.integers(0, 4, n), 0, 5)
    table['job'] = table['school'] + rng.integers(0, 3, n) > 4
    return table


def offers(seed, n):
    """Columns of many values among others: hardly a row repeats."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        'km': rng.integers(0, 150_000, n), 'make': rng.choice(list('abcdef'), n),
        'year': rng.integers(1990, 2024, n), 'price': rng.lognormal(9, 1, n).round(),
    })


def with_copies(table, share, seed):
    return pd.concat([table, table.sample(frac=share, random_state=seed)], ignore_index=True)


@settings(max_examples=examples(30), deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1), n=st.integers(800, 3000), share=st.sampled_from([0, 0.01, 0.1])
)
def test_chance_explains_repeats_of_few_values(seed, n, share):
    table = with_copies(few_values(seed, n), share, seed % 1000)
    found = repeats_in(table, list(table))
    assert found.kind == 'chance' and abs(found.expected / found.pairs - 1) < 0.3


@settings(max_examples=examples(30), deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1), n=st.integers(400, 3000), share=st.floats(0.01, 0.5)
)
def test_copies_are_told_from_chance(seed, n, share):
    table = with_copies(offers(seed, n), share, seed % 1000)
    found = repeats_in(table, list(table))
    assert found.copied and found.n >= int(share * n) - 1


def test_34_a_census_repeats_by_chance():
    table = pd.read_csv(CENSUS)
    found = repeats_in(table, list(table))
    assert found.n == 6098 and found.kind == 'chance'
    assert abs(found.expected / found.pairs - 1) < 0.05


@pytest.mark.parametrize('file, n', [
    ('wine_quality.csv', 1177), ('cars_autoscout24_de_2021.csv', 2140),
])
def test_real_exports_have_copies(real_data, file, n):
    table = pd.read_csv(real_data(file))
    found = repeats_in(table, list(table))
    assert found.n == n and found.copied and found.expected < found.pairs / 10


@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(50, 800))
def test_few_columns_tell_rows_apart_as_all_do(seed, n):
    table = offers(seed, n).assign(copy=lambda t: t['km'], one=1)
    chosen = telling_columns(table, list(table))
    assert told_apart(table, chosen) >= 0.999 * told_apart(table, list(table))
    assert 'one' not in chosen and not {'km', 'copy'} <= set(chosen)
