"""What is measured on the holdout: of each market, on its own rows."""

import numpy as np
import pandas as pd
import pytest
from cars import CONTRACT

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.scenario.worst_rows import naming_columns
from cd4ml_nb.training.holdout import Holdout, holdout_metrics

SCENARIO = {
    'name': 'cars',
    'title': 'Cars',
    'task': 'regression',
    'data': {'source': 'cars.csv'},
    'target': {'column': 'y'},
}
ERRORS = {'north': 1.0, 'south': 5.0, 'west': 30.0}      # of each prediction, by market
ROWS = {'north': 60, 'south': 40, 'west': 9}


def measured(**evaluate):
    """The metrics of a model whose error is another one in each market."""
    market = np.repeat(list(ROWS), list(ROWS.values()))
    chance = np.random.default_rng(0)
    chance.shuffle(market)
    table = pd.DataFrame({'market': market, 'gearbox': chance.choice(['manual', 'own'], 109)})
    y = chance.normal(100, 10, len(table))
    predicted = y + table['market'].map(ERRORS).to_numpy()
    rows = Holdout(table, y, predicted, np.full(len(y), y.mean()), None, None)
    plan = Scenario.model_validate(SCENARIO | {'evaluate': {'replicates': 50, **evaluate}})
    return holdout_metrics(rows, plan, CONTRACT, 0)


def test_each_market_has_the_metrics_of_its_own_rows_and_the_small_one_none():
    found = measured(partition='market', groups=['gearbox'])
    assert found.partitions is not None and found.partitions.column == 'market'
    markets = {market.value: market for market in found.partitions.rows}
    assert list(markets) == ['north', 'south']            # the largest first
    for name, market in markets.items():
        assert market.n == ROWS[name]
        assert market.share == pytest.approx(ROWS[name] / 109)
        for metric in ('mae', 'rmse', 'bias'):
            assert market.metrics[metric].value == pytest.approx(ERRORS[name])
    assert [(small.value, small.n) for small in found.partitions.too_small] == [('west', 9)]
    assert list(found.groups) == ['gearbox'] and list(found.judged) == ['gearbox', 'market']
    overall = sum(ERRORS[name] * ROWS[name] for name in ROWS) / 109
    assert found.holdout['mae'].value == pytest.approx(overall)


def test_without_a_partition_no_market_is_measured():
    found = measured(groups=['market'])
    assert found.partitions is None and list(found.judged) == ['market']


def test_no_personal_column_names_a_row_and_ids_go_before_other_names():
    columns = [
        {'name': 'passport', 'type': 'text', 'role': 'id', 'personal': True},
        {'name': 'offer', 'type': 'number', 'role': 'id'},
        {'name': 'make', 'type': 'category', 'role': 'feature'},
        {'name': 'street', 'type': 'text', 'role': 'ignore', 'personal': True},
    ]
    target = {'name': 'y', 'task': 'regression'}
    schema = Schema.model_validate({'target': target, 'columns': columns})
    assert naming_columns(schema, ['make', 'street']) == ['offer']
    without = Schema.model_validate({'target': target, 'columns': [columns[0], *columns[2:]]})
    assert naming_columns(without, ['make', 'street', 'y']) == ['make']
    assert naming_columns(without, []) == []
