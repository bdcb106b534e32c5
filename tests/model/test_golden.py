"""Golden cases are drawn from what a contract allows; no row of the training data is among them."""

import datetime
import json

import numpy as np
import pandas as pd
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.model.contract import Contract, Input, Output
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.golden import as_columns, golden_inputs

names = st.text(min_size=1, max_size=8)
numbers = st.floats(-1e9, 1e9)
kinds = st.sampled_from(['number', 'category', 'boolean', 'date'])


@st.composite
def inputs(draw):
    """An input of any type, with or without a range."""
    kind = draw(kinds)
    ends = (None, None)
    categories = None
    if kind == 'number':
        ends = sorted(draw(st.tuples(numbers, numbers)))
        ends = [draw(st.sampled_from([end, None])) for end in ends]
    elif kind == 'date':
        days = sorted(draw(st.tuples(st.datetimes(), st.datetimes())))
        ends = [draw(st.sampled_from([day.isoformat(), None])) for day in days[:1]] + [None]
        ends = ends if ends[0] is None else [days[0].isoformat(), days[1].isoformat()]
    elif kind == 'category':
        categories = tuple(draw(st.lists(names, unique=True, max_size=5)))
    return draw(names), kind, ends, categories, draw(st.booleans())


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(inputs(), min_size=1, max_size=6, unique_by=lambda i: i[0]), st.integers(0, 9))
def test_every_drawn_value_is_one_that_the_contract_allows(drawn, seed):
    specs = tuple(
        Input(name, f'f{k:04d}', kind, min=low, max=high, missing=missing, categories=categories)
        for k, (name, kind, (low, high), categories, missing) in enumerate(drawn, start=1)
    )
    contract = Contract(name='any', task='regression', inputs=specs, output=Output('y'))
    cases = golden_inputs(contract, n=20, seed=seed)
    encode(contract, as_columns(json.loads(json.dumps(cases))))
    for spec in specs:
        for value in (case[spec.name] for case in cases[:20]):
            assert_allowed(spec, value)


def assert_allowed(spec: Input, value) -> None:
    if value is None:
        assert spec.missing or spec.categories == ()
    elif spec.type == 'number':
        assert spec.min is None or spec.min <= value
        assert spec.max is None or value <= spec.max
    elif spec.type == 'category':
        assert value in spec.categories
    elif spec.type == 'boolean':
        assert isinstance(value, bool)
    elif spec.min is not None:
        day = datetime.datetime.fromisoformat(value)
        low, high = (datetime.datetime.fromisoformat(end) for end in (spec.min, spec.max))
        assert low <= day <= high


def distinctive(n: int = 2000) -> pd.DataFrame:
    """Rows of persons: every value of every column stands for one of them."""
    rng = np.random.default_rng(5)
    return pd.DataFrame({
        'income': np.round(rng.permutation(n) * 37.5 + 12_000, 2),
        'height': rng.permutation(n) / 10 + 100,
        'born': pd.Timestamp('1950-01-01') + pd.to_timedelta(rng.permutation(n), unit='D'),
        'street': [f'street {k}' for k in rng.permutation(n)],
    })


def contract_of(table: pd.DataFrame) -> Contract:
    """The contract of a model that learns from a table."""
    types = {'born': 'date', 'street': 'category'}
    columns = [
        {
            'name': name,
            'role': 'feature',
            'type': types.get(name, 'number'),
            'min': None if name == 'street' else json_value(table[name].min()),
            'max': None if name == 'street' else json_value(table[name].max()),
            'categories': sorted(table[name]) if name == 'street' else None,
        }
        for name in table
    ]
    target = {'name': 'y', 'task': 'regression', 'scale': 'linear'}
    schema = Schema.model_validate({'target': target, 'columns': columns})
    return make_contract(schema, 'persons')


def json_value(value):
    return value.isoformat() if isinstance(value, pd.Timestamp) else float(value)


def test_no_golden_case_is_a_row_of_the_training_data():
    table = distinctive()
    contract = contract_of(table)
    persons, _ = encode(contract, table)
    cases, _ = encode(contract, as_columns(golden_inputs(contract, n=500)))
    shared = (cases[:500, None, :] == persons[None, :, :]).sum(axis=2)
    assert len(persons) == 2000 and len(np.unique(persons[:, 0])) == 2000
    assert shared.max() < 3          # never three of a person's four values, let alone all


def test_a_seed_gives_the_same_cases_and_another_seed_others():
    contract = contract_of(distinctive())
    assert golden_inputs(contract, seed=3) == golden_inputs(contract, seed=3)
    assert golden_inputs(contract, seed=3)[:32] != golden_inputs(contract, seed=4)[:32]


def test_the_odd_cases_are_there():
    specs = (
        Input('make', 'f0001', 'category', categories=('a', 'b'), sentinels=('?', 7)),
        Input('km', 'f0002', 'number', min=1, max=9, sentinels=(999, '?'), missing=False),
    )
    contract = Contract(name='odd', task='regression', inputs=specs, output=Output('y'))
    cases = golden_inputs(contract, n=2)
    first = cases[0]
    assert cases[2:] == [
        {'make': None, 'km': None},
        first | {'make': 'a category never seen'},
        first | {'km': 1},
        first | {'km': 9},
        first | {'make': '?'},
        first | {'km': 999},
    ]
