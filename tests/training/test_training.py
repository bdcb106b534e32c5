"""Training: the same bits for any number of threads, and an error where XGBoost only warns."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xgboost as xgb
from cars import CONTRACT, cars, fitted_cars

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.prediction import contributions, predict
from cd4ml_nb.training.training import base_parameters, fit, matrix


@pytest.fixture(scope='module')
def fitted():
    return fitted_cars(), cars()


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
