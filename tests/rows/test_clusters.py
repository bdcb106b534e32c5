"""What the bootstrap draws together: whole instants in time, for any times; and what that changes
for a model whose errors remember each other."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.split_record import SplitRecord
from cd4ml_nb.rows.clusters import FEWEST_BLOCKS, bootstrap_clusters, time_blocks
from cd4ml_nb.scenario.metrics import bootstrap

IN_TIME = SplitRecord(by='time', column='when', hash={})


@settings(max_examples=examples(100), deadline=None)
@given(
    when=st.lists(st.integers(0, 400), min_size=1, max_size=500),
    seed=st.integers(0, 1000),
)
def test_blocks_are_spans_of_time_whatever_order_the_rows_have(when, seed):
    times = np.array(when)
    block = time_blocks(times)
    wanted = round(len(times) ** 0.5)
    assert len(np.unique(block)) <= max(wanted, 1)
    assert len(np.unique(block)) >= min(FEWEST_BLOCKS, wanted)
    order = np.argsort(times, kind='stable')
    assert (np.diff(block[order]) >= 0).all()
    assert sorted(np.unique(block)) == list(range(block.max() + 1))
    mixed = np.random.default_rng(seed).permutation(len(times))
    whole = pd.Series(block).groupby(times).nunique().max() == 1
    if whole:
        assert (time_blocks(times[mixed]) == block[mixed]).all()


@pytest.mark.parametrize(('instants', 'whole'), [(200, True), (40, True), (3, False)])
def test_an_instant_stays_whole_where_enough_blocks_are_left(instants, whole):
    when = np.repeat(np.arange(instants), 1200 // instants)
    torn = pd.Series(time_blocks(when)).groupby(when).nunique().max() > 1
    assert torn != whole


def test_a_time_split_has_the_interval_that_errors_with_a_memory_need():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=3000)
    errors = np.zeros(3000)
    for k in range(1, 3000):
        errors[k] = 0.9 * errors[k - 1] + noise[k]
    table = pd.DataFrame({'when': pd.date_range('2026-01-01', periods=3000, freq='h')})

    def width(by: SplitRecord) -> float:
        clusters = bootstrap_clusters(table, by)
        at = bootstrap('regression', np.zeros(3000), errors, clusters=clusters)['bias']
        return at['high'] - at['low']
    single = width(SplitRecord(by='random', hash={}))
    # the variance of an average of such errors is (1 + .9) / (1 - .9) = 19 times that of others
    assert 0.7 * 19**0.5 < width(IN_TIME) / single < 1.2 * 19**0.5
