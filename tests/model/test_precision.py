"""Inputs and targets that float32 cannot hold as they are: learned, predicted, explained and
shipped in their own unit, to the same bits everywhere."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from cars import write_model
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.checks.precision import with_shifts
from cd4ml_nb.core.float32 import as_float32, shifted
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.golden import read_golden, verify_golden
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.prediction import contributions, in_target_unit, predict
from cd4ml_nb.scenario.search_space import Search
from cd4ml_nb.search.trial import built_in_metric, make_problem, run_trial
from cd4ml_nb.training.training import base_parameters, fit, label, matrix, observed

START = pd.Timestamp('2024-03-01 08:00')


def table(n: int = 600) -> pd.DataFrame:
    """Rows whose target follows times within an hour and numbers near 1e-47."""
    rng = np.random.default_rng(0)
    second = rng.permutation(3600)[:n]
    small = rng.integers(1, 500, n)
    return pd.DataFrame({
        'at': START + pd.to_timedelta(second, unit='s'),
        'small': small * 1e-47,
        'km': rng.integers(0, 1000, n).astype(float),
        'y': np.round(second / 100 + small / 20 + rng.normal(0, 1, n), 3),
    })


def contract_of(rows: pd.DataFrame, scale: str = 'linear', **objectives) -> Contract:
    """The contract of a model that learns from these rows."""
    schema = Schema.model_validate({
        'target': {'name': 'y', 'task': 'regression', 'scale': scale},
        'columns': [
            {'name': name, 'type': kind, 'role': 'feature', 'min': low, 'max': high}
            for name, kind, low, high in (
                ('at', 'date', rows['at'].min().isoformat(), rows['at'].max().isoformat()),
                ('small', 'number', rows['small'].min(), rows['small'].max()),
                ('km', 'number', 0.0, 1000.0),
            )
        ],
    })
    return make_contract(with_shifts(schema, rows), 'far', **objectives)


def fitted(rows: pd.DataFrame, contract: Contract, **params):
    base = base_parameters('regression', 0, 'cpu', 1, 0) | {'max_depth': 5} | params
    return fit(base, matrix(contract, rows), 60)


def explained(y: np.ndarray, predicted: np.ndarray) -> float:
    """R², of numbers of any size."""
    size = np.abs(y - y.mean()).max()
    return 1 - np.mean(((y - predicted) / size) ** 2) / np.var((y - y.mean()) / size)


TARGETS = {
    'as it is': lambda y: y,
    'far away': lambda y: y + 1.7e9,
    'tiny': lambda y: y * 1e-30,
    'beyond float32': lambda y: y * 1e-47,
    'huge': lambda y: y * 1e25,
}


@pytest.mark.parametrize('kind', TARGETS)
@pytest.mark.parametrize('scale', ['linear', 'log'])
def test_a_target_is_learned_as_well_wherever_it_lies(kind, scale, tmp_path):
    rows = table()
    rows['y'] = TARGETS[kind](rows['y'] - rows['y'].min() + 1)
    contract = contract_of(rows, scale)
    booster = fitted(rows, contract)
    predicted = predict(booster, contract, rows)
    assert explained(rows['y'].to_numpy(), predicted) > 0.97
    assert contract.inputs[0].offset > 0 and contract.inputs[1].factor < 1
    assert contract.inputs[2].offset == 0 and contract.inputs[2].factor == 1

    added = contributions(booster, contract, rows).astype(float).sum(axis=1)
    again = np.exp(added) if scale == 'log' else added
    spread = rows['y'].std()
    np.testing.assert_allclose((again - predicted) / spread, 0, atol=1e-3)

    folder = tmp_path / 'model'
    folder.mkdir()
    write_model(folder, booster, contract)
    assert verify_golden(folder) == len(read_golden(folder / 'golden.jsonl'))
    loaded, read = load_model(folder)
    assert read == contract
    assert predict(loaded, read, rows).tobytes() == predicted.tobytes()
    by_mlflow = mlflow.pyfunc.load_model(str(folder)).predict(rows.drop(columns='y'))
    assert np.asarray(by_mlflow).tobytes() == predicted.tobytes()
    lists = json.loads(rows.drop(columns='y').to_json(date_format='iso', double_precision=15))
    lists = {name: list(values.values()) for name, values in lists.items()}
    lists['small'] = rows['small'].tolist()
    assert predict(loaded, read, lists).tobytes() == predicted.tobytes()
    one_by_one = [predict(loaded, read, rows.iloc[[k]])[0] for k in range(9)]
    assert one_by_one == predicted[:9].tolist()


@pytest.mark.parametrize(
    ('objective', 'searched', 'shift'),
    [
        ('reg:squarederror', [], 'both'),
        ('reg:absoluteerror', [], 'both'),
        ('reg:gamma', [], 'factor'),
        ('reg:tweedie', [], 'factor'),
        ('count:poisson', [], 'none'),
        ('reg:squarederror', ['reg:squarederror', 'reg:gamma'], 'factor'),
        ('reg:gamma', ['reg:gamma', 'count:poisson'], 'none'),
    ],
)
def test_an_objective_gets_the_offset_and_factor_that_leave_its_meaning(
    objective, searched, shift
):
    rows = table()
    rows['y'] = (rows['y'] - rows['y'].min() + 1) * 1e-30
    contract = contract_of(rows, objective=objective, objectives=searched)
    output = contract.output
    assert (output.offset != 0) == (shift == 'both') and (output.factor != 1) == (shift != 'none')
    if shift == 'none':
        return
    booster = fitted(rows, contract, objective=objective)
    predicted = predict(booster, contract, rows)
    assert explained(rows['y'].to_numpy(), predicted) > 0.9
    added = contributions(booster, contract, rows).astype(float).sum(axis=1)
    again = np.exp(added) if output.link == 'log' else added
    np.testing.assert_allclose(again * 1e30, predicted * 1e30, rtol=1e-3, atol=1e-3)
    back = in_target_unit(output, label(output, rows['y']))
    np.testing.assert_allclose(back * 1e30, rows['y'] * 1e30)
    assert observed(output, rows['y']).tolist() == rows['y'].tolist()


def test_trials_are_measured_in_the_targets_own_unit():
    values = {}
    for kind in ('as it is', 'far away', 'tiny'):
        rows = table()
        rows['y'] = TARGETS[kind](rows['y'])
        contract = contract_of(rows)
        base = base_parameters('regression', 0, 'cpu', 1, 0)
        problem = make_problem(
            'regression', 'mae', contract, base, Search(rounds=80), rows[:400], rows[400:]
        )
        assert bool(built_in_metric(problem)) == (kind == 'as it is')
        values[kind] = run_trial({'learning_rate': 0.2}, problem)['value']
    assert values['far away'] == pytest.approx(values['as it is'], rel=0.1)
    assert values['tiny'] == pytest.approx(values['as it is'] * 1e-30, rel=0.1)


def test_a_contract_that_needs_no_shift_says_nothing_of_one():
    rows = table().assign(at=lambda t: t['at'].dt.floor('D') + pd.to_timedelta(t['km'], unit='D'))
    rows['small'] = rows['small'] * 1e47
    text = json.dumps(contract_of(rows).to_json())
    assert 'offset' not in text and 'factor' not in text
    assert Contract.from_json(json.loads(text)) == contract_of(rows)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.integers(-4000, 4000), min_size=2, max_size=50, unique=True),
    st.sampled_from([0.0, 1.7e9, -20_000.5]),
    st.sampled_from([2.0**-170, 2.0**-20, 1.0]),
)
def test_encoding_keeps_apart_orders_and_treats_one_row_like_many(steps, start, step):
    if start and step < 2.0**-20:
        start = 0.0
    rows = pd.DataFrame({'x': start + step * np.array(steps), 'y': np.arange(len(steps)) / 1.0})
    schema = Schema.model_validate({
        'target': {'name': 'y', 'task': 'regression', 'scale': 'linear'},
        'columns': [{'name': 'x', 'type': 'number', 'role': 'feature'}],
    })
    made = make_contract(with_shifts(schema, rows), 'far')
    contract = Contract.from_json(json.loads(json.dumps(made.to_json())))
    assert contract == made
    numbers, _ = encode(contract, rows)
    assert (np.diff(numbers[np.argsort(rows['x'].to_numpy()), 0]) > 0).all()
    assert encode(contract, json.loads(json.dumps({'x': rows['x'].tolist()})))[0].tobytes() == (
        numbers.tobytes()
    )
    alone = np.vstack([encode(contract, {'x': [value]})[0] for value in rows['x']])
    assert alone.tobytes() == numbers.tobytes()
    spec = contract.inputs[0]
    inside = as_float32(shifted(rows['x'].to_numpy(), spec.offset, spec.factor))
    assert np.array_equal(inside, numbers[:, 0])


def test_a_sentinel_and_a_limit_are_seen_before_the_offset():
    spec = replace(
        contract_of(table()).inputs[2], sentinels=(999.0,), limits=(0.0, None), offset=500.0
    )
    contract = replace(contract_of(table()), inputs=(spec,))
    numbers, _ = encode(contract, {'km': [999.0, -1.0, 500.0]})
    np.testing.assert_array_equal(numbers[:, 0], np.float32([np.nan, np.nan, 0.0]))
