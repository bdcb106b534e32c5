"""Comparing models market by market: each column that the scenario names, the partition first."""

import numpy as np
import pandas as pd

from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.studies.alternatives import EvaluationSet, group_verdicts
from cd4ml_nb.studies.compare import Comparison, groups_of

SCENARIO = {
    'name': 'cars',
    'title': 'Cars',
    'task': 'regression',
    'data': {'source': 'cars.csv'},
    'target': {'column': 'y'},
    'compare': {'replicates': 100, 'metric': 'mae'},
}


def compared(**evaluate) -> Comparison:
    """A challenger that is better in the north, worse in the south and the same in the west."""
    chance = np.random.default_rng(0)
    market = np.repeat(['north', 'south', 'west'], [120, 100, 80])
    y = chance.normal(100, 10, len(market))
    error = chance.normal(0, 5, len(market))
    scale = pd.Series(market).map({'north': 0.5, 'south': 2.0, 'west': 1.0}).to_numpy()
    table = pd.DataFrame({'market': market, 'fuel': chance.choice(['petrol', 'other'], len(y))})
    return Comparison(
        alternatives=[],
        plan=Scenario.model_validate(SCENARIO | {'evaluate': evaluate}),
        evaluation_set=EvaluationSet(table, y, None, None),
        predicted=[y + error, y + scale * error],
        holdout={},
        looks={},
    )


def test_models_are_compared_for_each_market_and_each_group():
    comparison = compared(partition='market', groups=['fuel'], min_rows=90)
    groups = groups_of(comparison)
    assert list(groups) == ['market', 'fuel']
    assert groups['market']['too_small'] == [{'group': 'west', 'n': 80}]
    found = group_verdicts('mae', groups, 1, comparison.plan.compare)
    verdicts = {row['group']: (row['n'], row['verdict']) for row in found['market']}
    assert verdicts == {'north': (120, 'better'), 'south': (100, 'worse')}


def test_a_column_that_is_market_and_group_is_compared_once():
    comparison = compared(partition='market', groups=['market'])
    assert list(groups_of(comparison)) == ['market']
    assert list(groups_of(compared(groups=['fuel']))) == ['fuel']
