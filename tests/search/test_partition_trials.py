"""Which parts of the rows get a model of their own: planted differences are found, luck is not, and
rows go to the finest model that there is."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.artefacts.split_record import SplitRecord
from cd4ml_nb.artefacts.training_record import PartitionRecord
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.ensemble import Condition, Ensemble, routed
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.scenario.partition_models import PartitionModels
from cd4ml_nb.search.folds import fold_sides
from cd4ml_nb.search.partitions import (
    conditions_of,
    first_folds,
    measured_rows,
    measuring_sides,
    try_partitions,
)
from cd4ml_nb.training.members import fit_winner

SPLIT = SplitRecord.model_validate({'by': 'random', 'n': {}, 'hash': {}})
HERE = {'device': 'cpu', 'nthread': 1, 'seed': 0}
TREES = {'tree_method': 'hist', 'max_depth': 3, 'learning_rate': 0.2}
OBJECTIVES = {'regression': 'reg:squarederror', 'binary': 'binary:logistic'}
MODELS = {'Golf': 'VW', 'Polo': 'VW', 'Kuga': 'Ford', 'Focus': 'Ford', 'Niva': 'Lada'}


def cars(n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Cars of five models; the price of a Ford rises with mileage, a Polo's more than a Golf's."""
    rng = np.random.default_rng(seed)
    model = rng.choice(list(MODELS), n)
    km = rng.random(n)
    make = np.array([MODELS[name] for name in model])
    slope = np.where(make == 'Ford', 1.0, np.where(model == 'Polo', -3.0, -1.0))
    price = slope * km + rng.normal(0, 0.1, n)
    rows = pd.DataFrame({'make': make, 'model': model, 'km': km, 'price': price,
                         'w': rng.uniform(0.5, 2, n)})
    usual = rows.groupby('model')['price'].transform('median')
    return rows.assign(dear=np.where(rows['price'] > usual, 'yes', 'no'))


def schema_of(task: str = 'regression', weight: bool = False) -> Schema:
    target = {'name': 'price', 'task': 'regression'}
    if task == 'binary':
        target = {'name': 'dear', 'task': task, 'classes': ['no', 'yes'], 'positive': 'yes'}
    columns = [
        {'name': 'make', 'type': 'category', 'role': 'feature',
         'categories': sorted(set(MODELS.values()))},
        {'name': 'model', 'type': 'category', 'role': 'feature', 'categories': sorted(MODELS)},
        {'name': 'km', 'type': 'number', 'role': 'feature'},
    ]
    if weight:
        columns.append({'name': 'w', 'type': 'number', 'role': 'weight'})
    return Schema.model_validate({'target': target, 'columns': columns})


def tried(
    plan: PartitionModels,
    rows: pd.DataFrame,
    schema: Schema | None = None,
    metric: str = 'mae',
    folds: int = 0,
    split: SplitRecord = SPLIT,
    **params: object,
) -> PartitionRecord:
    """What comes of trying partitions on the first three quarters and the rest of some rows."""
    schema = schema or schema_of()
    contract = make_contract(schema, 'cars')
    params = {'objective': OBJECTIVES[schema.target.task], 'booster': 'gblinear'} | params

    def fit(contract, rows):
        return fit_winner(contract, rows, params, 30, schema.weight, **HERE)

    cut = len(rows) * 3 // 4
    parts = [part.reset_index(drop=True) for part in (rows[:cut], rows[cut:])]
    chosen = first_folds(*parts, split, schema, folds, 0)
    sides = measuring_sides(*parts, lambda teach: contract, chosen)
    measured = measured_rows(sides, schema, split, metric, fit)
    return try_partitions(plan, measured, schema, fit)


def kept(record: PartitionRecord) -> list[str]:
    return [trial.value for trial in record.kept]


@pytest.mark.parametrize(('task', 'metric'), [('regression', 'mae'), ('binary', 'auc')])
def test_what_a_model_for_all_cannot_say_is_found_and_what_it_can_say_is_not(task, metric):
    rows = cars()
    lines = tried(PartitionModels(by='make'), rows, schema_of(task), metric)
    assert 'Ford' in kept(lines)
    trees = tried(PartitionModels(by='make'), rows, schema_of(task), metric, **TREES,
                  booster='gbtree')
    assert kept(trees) == []
    ford = next(trial for trial in lines.trials if trial.value == 'Ford')
    better = ford.without > ford.own if metric == 'mae' else ford.without < ford.own
    assert better and 0 < ford.low < ford.gain < ford.high and ford.verdict == 'better'
    assert ford.n_rows == (rows['make'] == 'Ford').sum()
    assert ford.n_measured == (rows['make'][3000:] == 'Ford').sum()


def test_finer_values_are_held_against_the_coarser_model_that_stands():
    record = tried(PartitionModels(by='model', fallback=['make']), cars())
    levels = [trial.column for trial in record.trials]
    assert levels == sorted(levels)                      # makes before models
    # a Golf and a Polo differ; a Kuga is a Ford as a Focus is, and their make has a model
    assert {'Golf', 'Polo', 'Ford'} <= set(kept(record)) and not {'Kuga', 'Focus'} & {*kept(record)}
    assert [trial.column for trial in record.kept] == sorted(
        (trial.column for trial in record.kept), reverse=True
    )


def test_a_row_goes_to_the_finest_model_that_there_is_and_all_others_to_the_model_for_all():
    rows = cars(1000)
    contract = make_contract(schema_of(), 'cars')
    conditions = [Condition('model', ('Polo',)), Condition('make', ('VW',))]
    params = TREES | {'objective': 'reg:squarederror'}
    model = fit_winner(contract, rows, params, 20, partitions=conditions, **HERE)
    assert isinstance(model, Ensemble)
    place = routed(model, contract, encode(contract, rows)[0])
    expected = np.where(rows['model'] == 'Polo', 0, np.where(rows['make'] == 'VW', 1, 2))
    assert np.array_equal(place, expected)
    unseen = rows.head(3).assign(make=['VW', None, 'Tesla'], model=['Passat', None, 'Polo'])
    assert routed(model, contract, encode(contract, unseen)[0]).tolist() == [1, 2, 0]
    for k, inside in enumerate([rows['model'] == 'Polo', rows['make'] == 'VW']):
        alone = fit_winner(contract, rows[inside], params, 20, **HERE)
        there = rows[expected == k]
        same = predict(model, contract, there), predict(alone, contract, there)
        np.testing.assert_allclose(*same, rtol=1e-6)


@settings(max_examples=examples(5), deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.integers(8, 25))
def test_where_nothing_differs_no_value_keeps_a_model_by_luck(seed, spread):
    """At a confidence of .999 not one of some thousand sets should."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({'make': rng.choice([f'm{k}' for k in range(spread)], 3000),
                         'km': rng.random(3000)})
    rows['price'] = rows['km'] + rng.normal(0, 0.3, 3000)
    schema = Schema.model_validate({
        'target': {'name': 'price', 'task': 'regression'},
        'columns': [
            {'name': 'make', 'type': 'category', 'role': 'feature',
             'categories': sorted(set(rows['make']))},
            {'name': 'km', 'type': 'number', 'role': 'feature'},
        ],
    })
    plan = PartitionModels(by='make', min_rows=50, confidence=0.999)
    assert kept(tried(plan, rows, schema, booster='gbtree', **TREES)) == []


def test_values_with_too_few_rows_or_without_a_class_are_named_and_use_the_model_for_all():
    rows = cars()
    rows = rows[(rows['make'] != 'Lada') | (rows.index < 300)].reset_index(drop=True)
    rows.loc[rows['make'] == 'Ford', 'dear'] = 'yes'
    record = tried(PartitionModels(by='make', models='each', min_rows=100), rows,
                   schema_of('binary'), 'log_loss')
    assert record.small == {'make': 1} and kept(record) == ['VW']
    ford = next(trial for trial in record.trials if trial.value == 'Ford')
    assert 'not every class' in ford.why and not ford.verdict and not ford.kept
    assert [c.values for c in conditions_of(record)] == [('VW',)]
    few = tried(PartitionModels(by='make', min_rows=50, models='each'), pd.concat(
        [rows[rows['make'] == 'Lada'], rows[rows['make'] != 'Lada']], ignore_index=True
    ))
    lada = next(trial for trial in few.trials if trial.value == 'Lada')
    assert lada.n_measured == 0 and 'rows measure' in lada.why and not lada.kept


def test_cross_validation_measures_each_row_once():
    rows = cars(1500)
    record = tried(PartitionModels(by='make'), rows, folds=3)
    assert {trial.value: trial.n_measured for trial in record.trials} == {
        trial.value: trial.n_rows for trial in record.trials
    }
    assert {'Ford', 'VW'} <= set(kept(record))
    in_time = tried(PartitionModels(by='make'), rows, folds=3,
                    split=SPLIT.model_copy(update={'by': 'time'}))
    sides = fold_sides(np.zeros(1500), 3, 1, 0, when=np.arange(1500))
    n = sum(len(measure) for _, measure in sides)
    assert sum(trial.n_measured for trial in in_time.trials) == n < 1500


def test_weights_count_in_the_gain():
    rows = cars()
    schema = schema_of(weight=True)
    one = tried(PartitionModels(by='make', models='each'), rows.assign(w=1.0), schema)
    other = tried(PartitionModels(by='make', models='each'), rows, schema)
    plain = tried(PartitionModels(by='make', models='each'), rows)
    ford = [next(t for t in r.trials if t.value == 'Ford').gain for r in (one, other, plain)]
    assert ford[0] == pytest.approx(ford[2], rel=1e-6) and ford[1] != pytest.approx(ford[2])


@pytest.mark.parametrize(('by', 'code', 'words'), [
    ('km', 'C10', "'km', which is no category that the model learns from"),
    ('maker', 'C10', "'maker', which the table lacks — did you mean 'make'"),
    ('make', 'D52', 'which is personal'),
])
def test_what_cannot_divide_the_rows_is_refused_by_name(by, code, words):
    schema = schema_of()
    columns = [c.model_copy(update={'personal': c.name == 'make'}) for c in schema.columns]
    with pytest.raises(UserError, match=words) as caught:
        tried(PartitionModels(by=by), cars(400), schema.model_copy(update={'columns': columns}))
    assert caught.value.code == code and caught.value.where == 'partitions'
