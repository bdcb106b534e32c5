"""The contract's encoder and the model around it, for any values: what a table brings and what JSON
brings are the same."""

import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.contract import feature_names, make_contract
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.loading import load_booster
from cd4ml_nb.model.manifest import verify_model
from cd4ml_nb.model.prediction import contributions, predict
from cd4ml_nb.model.training import base_parameters, fit, matrix, save_booster

SCHEMA = {
    'target': {'name': 'y', 'task': 'regression', 'scale': 'linear', 'classes': None},
    'columns': [
        {
            'name': '<b>make</b> [x]',
            'type': 'category',
            'role': 'feature',
            'categories': ['BMW', 'Audi', '', 'NA'],
        },
        {'name': 'km', 'type': 'number', 'role': 'feature'},
        {'name': 'new', 'type': 'boolean', 'role': 'feature'},
        {'name': 'day', 'type': 'date', 'role': 'feature'},
        {'name': 'note', 'type': 'text', 'role': 'feature'},
    ],
}
CONTRACT = make_contract(SCHEMA, 'cars', 'Cars', '1.0.0')
MAKE = '<b>make</b> [x]'
rows = st.lists(
    st.fixed_dictionaries({
        MAKE: st.none() | st.sampled_from(['BMW', 'Audi', '', 'NA', 'Trabant', 'nan', 'None']),
        'km': st.none() | st.floats(-1e30, 1e30) | st.integers(-(10**6), 10**6),
        'new': st.none() | st.booleans(),
        'day': st.none() | st.dates().map(str),
    }),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(rows=rows)
def test_a_table_and_json_are_encoded_to_the_same_bits(rows):
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    table = pd.DataFrame({
        MAKE: pd.Series(lists[MAKE], dtype=object),
        'km': pd.array(lists['km'], dtype='float64'),
        'new': pd.array(lists['new'], dtype='boolean'),
        'day': np.array([np.datetime64(d or 'NaT', 'us') for d in lists['day']]),
    })
    one, unseen = encode(CONTRACT, table)
    two, again = encode(CONTRACT, json.loads(json.dumps(lists)))
    assert one.dtype == np.float32 and one.tobytes() == two.tobytes() and unseen == again
    assert sum(unseen.values()) == sum(m in ('Trabant', 'nan', 'None') for m in lists[MAKE])


@settings(max_examples=50, deadline=None)
@given(rows=rows, more=rows)
def test_D35_one_row_never_changes_another(rows, more):
    both = rows + more
    alone, _ = encode(CONTRACT, {n: [r[n] for r in rows] for n in rows[0]})
    together, _ = encode(CONTRACT, {n: [r[n] for r in both] for n in rows[0]})
    assert alone.tobytes() == together[:len(rows)].tobytes()


def test_D30_the_text_NA_is_a_category_when_the_contract_says_so():
    assert (
        encode(
            CONTRACT, {MAKE: ['NA', None], 'km': [1, 1], 'new': [None, None], 'day': [None, None]}
        )[0][:, 0].tolist()[0]
        == 3.0
    )


def test_D31_odd_names_are_kept_outside_and_safe_inside():
    assert (
        feature_names(CONTRACT) == ['f0001', 'f0002', 'f0003', 'f0004']
        and CONTRACT.inputs[0].name == MAKE
    )


def test_text_columns_never_reach_the_model():
    assert 'note' not in [i.name for i in CONTRACT.inputs]


@pytest.mark.parametrize('name,value', [('km', '3'), ('km', True), ('km', float('inf')), ('km', 1e300), (MAKE, 3), (MAKE, True), ('new', 1), ('new', 0),
                                        ('new', 'yes'), ('day', 'tomorrow'), ('day', 5), ('km', [1]), (MAKE, ['BMW']), ('km', 10**400)])
def test_a_value_of_the_wrong_type_is_named_by_its_input(name, value):
    good = {MAKE: ['BMW'], 'km': [1.5], 'new': [True], 'day': ['2026-01-31']}
    with pytest.raises(UserError, match='S05|D26') as caught:
        encode(CONTRACT, good | {name: [value]})
    assert caught.value.where == name


@pytest.fixture(scope='module')
def fitted():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        MAKE: rng.choice(['BMW', 'Audi', ''], 500),
        'km': rng.random(500) * 1e5,
        'new': pd.array(rng.random(500) < 0.2, dtype='boolean'),
        'day': pd.Timestamp('2020-01-01') + pd.to_timedelta(rng.integers(0, 900, 500), unit='D'),
    })
    table['y'] = table['km'] / 1e4 + (table[MAKE] == 'BMW') * 5
    return (
        fit(
            base_parameters('regression', 0, 'cpu', 1, 0) | {'max_depth': 4},
            matrix(CONTRACT, table),
            30,
        ),
        table,
    )


def test_the_number_of_threads_does_not_change_the_model(fitted):
    booster, table = fitted
    two = fit(
        base_parameters('regression', 0, 'cpu', 2, 0) | {'max_depth': 4},
        matrix(CONTRACT, table, threads=2),
        30,
    )
    assert np.array_equal(predict(booster, CONTRACT, table), predict(two, CONTRACT, table))


def test_columns_in_any_order_give_the_same_prediction(fitted):
    booster, table = fitted
    assert np.array_equal(
        predict(booster, CONTRACT, table), predict(booster, CONTRACT, table[table.columns[::-1]])
    )


def test_contributions_add_up_to_the_prediction(fitted):
    booster, table = fitted
    np.testing.assert_allclose(
        contributions(booster, CONTRACT, table).sum(axis=1),
        predict(booster, CONTRACT, table),
        rtol=1e-4,
        atol=1e-4,
    )


def test_G05_any_flipped_byte_of_a_model_directory_is_refused(fitted, tmp_path):
    booster, _ = fitted
    save_booster(booster, tmp_path / 'model.json')
    (tmp_path / 'contract.json').write_text(json.dumps(CONTRACT.to_json()))
    from cd4ml_nb.core.files import file_hash
    (tmp_path / 'manifest.json').write_text(
        json.dumps({'files': {n: file_hash(tmp_path / n) for n in ('model.json', 'contract.json')}})
    )
    verify_model(tmp_path)
    rng = np.random.default_rng(0)
    for name in ('model.json', 'contract.json'):
        good = (tmp_path / name).read_bytes()
        for position in rng.integers(0, len(good), 25):
            (tmp_path / name).write_bytes(
                good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
            )
            with pytest.raises(UserError, match='differs from the manifest'):
                verify_model(tmp_path)
        (tmp_path / name).write_bytes(good)
    (tmp_path / 'extra.py').write_text('')
    with pytest.raises(UserError, match='files differ from the manifest: extra.py'):
        verify_model(tmp_path)


def test_only_json_models_are_loaded(fitted, tmp_path):
    booster, _ = fitted
    booster.save_model(tmp_path / 'model.ubj')
    with pytest.raises(UserError, match='JSON only'):
        load_booster(tmp_path / 'model.ubj')
    (tmp_path / 'model.json').write_text('{"learner": {}}')
    with pytest.raises(UserError, match='not a model of XGBoost'):
        load_booster(tmp_path / 'model.json')


def test_I20_a_gpu_that_is_not_there_is_an_error_and_not_a_slow_cpu(fitted):
    from cd4ml_nb.core.errors import Cd4mlError
    from cd4ml_nb.core.settings import gpu_count
    if gpu_count():
        pytest.skip('this machine has a GPU')
    with pytest.raises(Cd4mlError, match='I20'), warnings.catch_warnings():
        warnings.simplefilter('ignore')   # XGBoost's own words; ours is the error
        fit(base_parameters('regression', 0, 'cuda', 1, 0), matrix(CONTRACT, fitted[1]), 2)


def in_a_thread(work):
    """What `work` returns in a thread that did not import XGBoost, or the error that it ends in."""
    results = []

    def kept():
        try:
            results.append(work())
        except Exception as error:
            results.append(error)
    thread = threading.Thread(target=kept)
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize('verbosity', [0, 1])
def test_C04_a_parameter_that_xgboost_does_not_use_is_an_error_in_every_thread(
    fitted, capfd, verbosity
):
    mistyped = base_parameters('regression', 0, 'cpu', 1, 0) | {'max_dept': 3}

    def train():
        with xgb.config_context(verbosity=verbosity):
            return fit(mistyped, matrix(CONTRACT, fitted[1]), 2)
    error = in_a_thread(train)
    assert isinstance(error, UserError) and error.code == 'C04' and 'max_dept' in str(error)
    with pytest.raises(UserError, match='max_dept'):
        train()
    assert 'not used' not in ''.join(capfd.readouterr())


def test_I20_a_gpu_that_is_not_there_is_an_error_in_every_thread(fitted, capfd):
    from cd4ml_nb.core.errors import Cd4mlError
    from cd4ml_nb.core.settings import gpu_count
    if gpu_count():
        pytest.skip('this machine has a GPU')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        error = in_a_thread(
            lambda: fit(
                base_parameters('regression', 0, 'cuda', 1, 0), matrix(CONTRACT, fitted[1]), 2
            )
        )
    assert isinstance(error, Cd4mlError) and error.code == 'I20'
    # the library's words arrive as Python's warnings
    assert caught and 'WARNING' not in ''.join(capfd.readouterr())


def test_two_threads_that_train_at_once_hear_their_own_messages_only(fitted):
    sound = base_parameters('regression', 0, 'cpu', 1, 0)
    data = matrix(CONTRACT, fitted[1])
    both = threading.Barrier(2)

    def result_of(parameters):
        try:
            return fit(parameters, data, 2)
        except UserError as error:
            return error

    def train(parameters):
        both.wait()
        return [result_of(parameters) for _ in range(20)]
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(train, sound)
        bad = pool.submit(train, sound | {'max_dept': 3})
    assert all(isinstance(result, xgb.Booster) for result in good.result())
    assert all(isinstance(result, UserError) for result in bad.result())
