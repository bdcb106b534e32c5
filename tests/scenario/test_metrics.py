"""Metrics agree with scikit-learn on any data, weights included; intervals cover as often as they
say."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from cd4ml_nb.scenario.metrics import METRICS, bootstrap, bootstrap_weights, metrics_of, score

cases = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(max_examples=examples(60), deadline=None)
@given(rng=cases, n=st.integers(3, 80), weighted=st.booleans())
def test_regression_metrics_are_those_of_scikit_learn(rng, n, weighted):
    y = rng.normal(50, 20, n)
    p = rng.normal(50, 20, n)
    w = rng.random(n) + 0.1 if weighted else None
    ours = score('regression', y, p, w)
    assert ours['mae'] == pytest.approx(reference.mean_absolute_error(y, p, sample_weight=w))
    assert ours['rmse'] == pytest.approx(reference.root_mean_squared_error(y, p, sample_weight=w))
    assert ours['r2'] == pytest.approx(
        reference.r2_score(y, p, sample_weight=w), rel=1e-6, abs=1e-9
    )
    assert ours['mape'] == pytest.approx(
        reference.mean_absolute_percentage_error(y, p, sample_weight=w)
    )
    assert ours['bias'] == pytest.approx(np.average(p - y, weights=w))


@settings(max_examples=examples(60), deadline=None)
@given(rng=cases, n=st.integers(4, 80), weighted=st.booleans(), ties=st.booleans())
def test_binary_metrics_are_those_of_scikit_learn_with_ties(rng, n, weighted, ties):
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    p = rng.integers(0, 5, n) / 4 if ties else rng.random(n)
    w = rng.random(n) + 0.1 if weighted else None
    ours = score('binary', y, p, w)
    assert ours['auc'] == pytest.approx(reference.roc_auc_score(y, p, sample_weight=w))
    assert ours['brier'] == pytest.approx(reference.brier_score_loss(y, p, sample_weight=w))
    assert ours['accuracy'] == pytest.approx(reference.accuracy_score(y, p >= 0.5, sample_weight=w))
    assert ours['recall'] == pytest.approx(reference.recall_score(y, p >= 0.5, sample_weight=w))
    if (p >= 0.5).any():
        assert ours['precision'] == pytest.approx(
            reference.precision_score(y, p >= 0.5, sample_weight=w)
        )


@settings(max_examples=examples(40), deadline=None)
@given(rng=cases, n=st.integers(12, 80), k=st.integers(3, 5))
def test_class_metrics_are_those_of_scikit_learn(rng, n, k):
    y = np.r_[np.arange(k), rng.integers(0, k, n - k)]
    p = rng.dirichlet(np.ones(k), n)
    ours = score('multiclass', y, p)
    assert ours['accuracy'] == pytest.approx(reference.accuracy_score(y, p.argmax(1)))
    assert ours['macro_f1'] == pytest.approx(
        reference.f1_score(y, p.argmax(1), average='macro', labels=range(k))
    )
    assert ours['balanced_accuracy'] == pytest.approx(
        reference.balanced_accuracy_score(y, p.argmax(1))
    )
    assert ours['log_loss'] == pytest.approx(
        reference.log_loss(y, np.clip(p, 1e-7, 1), labels=range(k)), rel=1e-5
    )


def test_each_metric_of_a_task_is_measured():
    rng = np.random.default_rng(0)
    assert set(score('regression', rng.random(9), rng.random(9))) == set(metrics_of('regression'))
    assert set(score('binary', np.arange(9) % 2, rng.random(9))) == set(metrics_of('binary'))
    assert set(score('multiclass', np.arange(9) % 3, rng.dirichlet(np.ones(3), 9))) == set(
        metrics_of('multiclass')
    )


def test_whole_weights_count_as_repeated_rows():
    rng = np.random.default_rng(1)
    y = rng.normal(size=50)
    p = rng.normal(size=50)
    w = rng.integers(1, 4, 50)
    once = score('regression', y, p, w)
    repeated = score('regression', np.repeat(y, w), np.repeat(p, w))
    assert {k: once[k] for k in once} == pytest.approx(repeated)


@pytest.mark.parametrize('y', [np.zeros(20, int), np.ones(20, int)])
def test_D06_one_class_leaves_the_auc_undefined_and_never_a_number(y):
    assert bootstrap('binary', y, np.linspace(0, 1, 20), replicates=50)['auc'] == {
        'value': None,
        'low': None,
        'high': None,
    }


def test_the_same_seed_gives_the_same_interval_whatever_the_block():
    one = np.concatenate(list(bootstrap_weights(100, 40, seed=3)))
    many = np.concatenate(list(bootstrap_weights(100, 40, seed=3, block=700)))
    assert np.array_equal(one, many) and (one.sum(axis=1) == 100).all()


def test_an_interval_of_95_percent_covers_in_about_95_percent():
    rng = np.random.default_rng(5)
    truth = np.sqrt(2 / np.pi)
    hits = 0
    n = 300   # E|e| of a standard normal error
    for seed in range(n):
        y = rng.normal(size=150)
        interval = bootstrap('regression', y, np.zeros(150), replicates=200, seed=seed)['mae']
        hits += interval['low'] <= truth <= interval['high']
    # percentile intervals are a little short at n = 150; 2.5 standard errors are 3 %
    assert 0.90 <= hits / n <= 0.98


def test_directions_are_what_the_names_say():
    assert {name for name, m in METRICS.items() if m.better == 'high'} == {
        'r2', 'within_10', 'auc', 'accuracy', 'precision', 'recall', 'f1', 'macro_f1',
        'balanced_accuracy', 'coverage',
    }


@pytest.mark.parametrize('level', [19999.99, 1e12, 0.1])
def test_D05_a_constant_target_leaves_r2_undefined(level):
    y = np.full(50, level)
    assert np.isnan(score('regression', y, y + 1)['r2'])


def test_r2_of_large_values_does_not_cancel():
    rng = np.random.default_rng(0)
    y = 1e12 + rng.normal(0, 1000, 500)
    p = y + rng.normal(0, 300, 500)
    assert score('regression', y, p)['r2'] == pytest.approx(
        reference.r2_score(y - 1e12, p - 1e12), abs=1e-6
    )


def test_intervals_of_rows_in_groups_draw_whole_groups():
    rng = np.random.default_rng(3)
    hits = 0
    n = 200
    for seed in range(n):
        group = np.repeat(np.arange(30), 20)
        error = rng.normal(size=30)[group] + 0.2 * rng.normal(size=600)  # rows of a group err alike
        interval = bootstrap(
            'regression', np.zeros(600), error, replicates=200, seed=seed, clusters=group
        )['bias']
        hits += interval['low'] <= 0 <= interval['high']
    assert hits / n >= 0.88   # row by row it would be a third
