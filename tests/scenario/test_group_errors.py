"""Who is predicted too high or too low: a planted bias is named, and chance is not."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.scenario.definition import Evaluate
from cd4ml_nb.scenario.group_errors import errors_by_group
from cd4ml_nb.sources.market import market_options, market_table

NOISE = 0.1
CLEAN = {
    'rows': 4000, 'noise': NOISE, 'bias': 0.0, 'duplicates': 0.0, 'sentinels': 0.0,
    'outliers': 0.0, 'missing': 0.0, 'unit_break': 'none',
}


@pytest.fixture(scope='module')
def market():
    """Cars of the built-in market, with their fair price."""
    return market_table(market_options(CLEAN), 3, truth=True)


def errors_of(market, price, seed=0, replicates=200, weight=None, predicted=None):
    """Bias and errors of a model that knows the fair price, for each make, seller and region."""
    columns = {name: market[name].map(str) for name in ('make', 'seller', 'region')}
    if predicted is None:
        predicted = market['fair_price'].to_numpy()
    judging = Evaluate(replicates=replicates)
    return errors_by_group('regression', columns, price, predicted, weight, judging, seed)


def drawn_prices(market, seed, noise=NOISE):
    """Asking prices whose average is the fair price."""
    luck = np.random.default_rng(seed).normal(0, noise, len(market))
    return market['fair_price'].to_numpy() * np.exp(luck - noise**2 / 2)


def named(errors):
    """What is said of any group or band."""
    groups = [row for rows in errors.columns.values() for row in rows]
    found = {(row.value, row.side) for row in groups if row.side}
    found |= {(row.value, 'larger') for row in groups if row.larger}
    return found | {(str(row.value), row.side) for row in errors.bands if row.side}


def small_make(market):
    """A make of about a hundred offers."""
    counts = market['make'].map(str).value_counts()
    return counts[counts <= 110].index[0]


@pytest.mark.parametrize('of_labels', [True, False])
def test_a_bias_of_8_percent_against_a_small_make_is_named_with_its_size(market, of_labels):
    make = small_make(market)
    factor = np.where(market['make'].map(str) == make, 0.92, 1.0)
    price = drawn_prices(market, 1)
    assert named(errors_of(market, price)) == set()
    predicted = market['fair_price'].to_numpy()
    if of_labels:
        errors = errors_of(market, price * factor)
    else:
        errors = errors_of(market, price, predicted=predicted * factor)
    side = 'over' if of_labels else 'under'
    assert named(errors) == {(make, side)}
    (row,) = [row for row in errors.columns['make'] if row.side]
    size = abs(row.bias.value)
    assert 0.05 < size < 0.12 and row.bias.low < row.bias.value < row.bias.high
    assert abs(row.others) < 0.01


def test_a_dear_make_with_the_same_share_of_error_is_not_worse(market):
    errors = errors_of(market, drawn_prices(market, 2))
    makes = errors.columns['make']
    in_unit = [row.error.value * row.n for row in makes]
    assert max(in_unit) > 3 * min(in_unit) and not any(row.larger for row in makes)


def test_a_group_with_twice_the_error_is_named(market):
    noise = np.where(market['seller'].map(str) == 'private', 0.2, NOISE)
    luck = np.random.default_rng(0).normal(0, noise)
    price = market['fair_price'].to_numpy() * np.exp(luck - noise**2 / 2)
    assert ('private', 'larger') in named(errors_of(market, price))


def test_a_rule_that_is_too_low_for_all_names_no_group(market):
    low = 0.9 * market['fair_price'].to_numpy()
    errors = errors_of(market, drawn_prices(market, 1), predicted=low)
    assert named(errors) == set() and errors.whole[0].bias.high < -0.08


@pytest.mark.slow
@pytest.mark.parametrize('weighted', [False, True])
def test_chance_names_a_group_in_at_most_5_percent_of_200_markets(market, weighted):
    false_alarms = 0
    for seed in range(200):
        weight = None
        if weighted:
            weight = np.random.default_rng(seed).lognormal(0, 0.5, len(market))
        price = drawn_prices(market, 100 + seed, 0.2)
        false_alarms += bool(named(errors_of(market, price, seed, 100, weight)))
    assert false_alarms <= 10


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(2, 5), (0.5, 20)])      # common, and rare outcomes
def test_chance_names_no_group_of_probabilities_that_come_true(market, shape):
    columns = {name: market[name].map(str) for name in ('make', 'seller', 'region')}
    false_alarms = 0
    for seed in range(200):
        chance = np.random.default_rng(seed)
        p = chance.beta(*shape, len(market))
        y = (chance.random(len(market)) < p).astype(int)
        judging = Evaluate(replicates=100)
        false_alarms += bool(named(errors_by_group('binary', columns, y, p, None, judging, seed)))
    assert false_alarms <= 10


@settings(max_examples=examples(25), deadline=None)
@given(
    n=st.integers(1, 120),
    seed=st.integers(0, 10**6),
    task=st.sampled_from(['regression', 'binary', 'multiclass']),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e9]),
    weighted=st.booleans(),
)
def test_any_rows_give_finite_numbers_or_none(n, seed, task, scale, weighted):
    chance = np.random.default_rng(seed)
    columns = {'group': pd.Series(chance.choice(list('abc'), n))}
    weight = chance.lognormal(0, 1, n) if weighted else None
    if task == 'regression':
        y, predicted = scale * chance.normal(0, 1, n), scale * chance.normal(0, 1, n)
    else:
        y = chance.integers(0, 2 if task == 'binary' else 3, n)
        predicted = chance.random(n) if task == 'binary' else chance.dirichlet(np.ones(3), n)
    errors = errors_by_group(
        task, columns, y, predicted, weight, Evaluate(replicates=50), 0, None, ['x', 'y', 'z']
    )
    rows = [*errors.whole, *errors.bands, *errors.columns['group']]
    for row in rows:
        for at in (row.bias, row.error):
            assert all(end is None or np.isfinite(end) for end in (at.value, at.low, at.high))
    assert errors.model_dump_json()
