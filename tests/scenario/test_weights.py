"""Row weights: a row of weight 2 counts as two, for the naive baseline and the sizes of groups as
for the metrics."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import Place

from cd4ml_nb.command.new import gate_words
from cd4ml_nb.scenario.comparison import paired_gain
from cd4ml_nb.scenario.definition import Evaluate
from cd4ml_nb.scenario.evaluation import baseline, by_group, calibration
from cd4ml_nb.scenario.metrics import calibration_bins, score, weighted_quantile

CASES = Path(__file__).resolve().parents[1] / 'cases'
SCENARIO = '''name: mine
title: A target that the inputs do not explain
task: regression
data: {source: useless.csv}
target: {column: y, unit: EUR}
columns: {sample_weight: {role: weight}}
search: {rounds: 60, metric: mae}
evaluate: {groups: [x2], replicates: 200}
'''


def drawn(
    rng: np.random.Generator, task: str, n: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows with two columns of few values, some missing; what was observed; what a model says."""
    rows = pd.DataFrame(
        {'make': rng.choice(['a', 'b', None], n), 'year': rng.choice([1.0, 2.0, np.nan], n)}
    )
    if task == 'regression':
        return rows, np.round(rng.lognormal(2, 1, n), 1), rng.lognormal(2, 1, n)
    y = rng.permutation(np.arange(n) % (2 if task == 'binary' else 3))
    return rows, y, rng.random(n) if task == 'binary' else rng.dirichlet(np.ones(3), n)


def defined(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if np.isfinite(value)}


@settings(max_examples=examples(40), deadline=None)
@given(
    rng=st.integers(0, 2**32 - 1).map(np.random.default_rng),
    task=st.sampled_from(['regression', 'binary', 'multiclass']),
    n=st.integers(6, 40),
    by=st.sampled_from([[], ['make'], ['make', 'year']]),
    most=st.integers(1, 5),
)
def test_a_weight_of_k_is_k_equal_rows_for_the_baseline_the_metrics_the_gain_and_the_shares(
    rng, task, n, by, most
):
    rows, y, predicted = drawn(rng, task, n)
    k = rng.integers(1, most + 1, n)
    weight = k.astype(float)
    many = rows.loc[np.repeat(rows.index, k)].reset_index(drop=True)
    new = pd.DataFrame({'make': ['a', 'b', None, 'c'] * 2, 'year': [1.0] * 4 + [np.nan] * 4})

    once = baseline(rows, y, new, task, by, 3, weight)
    assert once == pytest.approx(baseline(many, np.repeat(y, k), new, task, by, 3))
    assert baseline(rows, y, new, task, by, 3, np.full(n, 0.3)) == pytest.approx(
        baseline(rows, y, new, task, by, 3)
    )

    scored = score(task, y, predicted, weight)
    assert defined(scored) == pytest.approx(
        defined(score(task, np.repeat(y, k), np.repeat(predicted, k, axis=0))), rel=1e-7, abs=1e-9
    )

    naive = baseline(rows, y, rows, task, by, 3, weight)
    gain = paired_gain(task, y, predicted, naive, weight, replicates=2)
    repeated = paired_gain(
        task, *(np.repeat(v, k, axis=0) for v in (y, predicted, naive)), replicates=2
    )
    for name, interval in gain.items():
        value = repeated[name]['value']
        assert interval['value'] == (
            None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)
        ), name

    plan = Evaluate(min_rows=10, replicates=50)
    labels = pd.Series(rng.choice(['u', 'v'], n))
    groups, others = (
        by_group(task, *parts, plan, 0)
        for parts in (
            (labels, y, predicted, weight),
            (
                labels.repeat(k).reset_index(drop=True),
                np.repeat(y, k),
                np.repeat(predicted, k, axis=0),
                None,
            ),
        )
    )
    shares, counted = (
        {g['value']: g['share'] for g in [*judged, *small]} for judged, small in (groups, others)
    )
    assert shares == pytest.approx(counted) and sum(shares.values()) == pytest.approx(1)
    assert [g['n'] for g in [*groups[0], *groups[1]]] == [
        int((labels == g['value']).sum()) for g in [*groups[0], *groups[1]]
    ]


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 6)), min_size=1, max_size=30),
    st.sampled_from([1.0, 0.1, 1 / 3, 1e9]),
)
def test_the_weighted_median_is_the_median_of_repeated_rows_whatever_the_unit_of_the_weights(
    rows, unit
):
    values = np.array([v for v, _ in rows])
    k = np.array([k for _, k in rows])
    assert weighted_quantile(values, k * unit) == pytest.approx(np.median(np.repeat(values, k)))


def test_the_points_of_a_calibration_curve_are_weighted_and_heavy_rows_do_not_make_them_surer():
    rng = np.random.default_rng(0)
    p = rng.random(400)
    w = rng.uniform(0.1, 9, 400)
    y = (rng.random(400) < p).astype(int)
    plain, weighted, thrice = (
        calibration('binary', y, p, weight) for weight in (None, w, np.full(400, 3.0))
    )
    assert plain == calibration_bins(y, p) and plain['n'] == weighted['n']
    first = np.argsort(p)[:40]
    assert weighted['actual'][0] == pytest.approx(np.average(y[first], weights=w[first]))
    assert weighted['predicted'][0] == pytest.approx(np.average(p[first], weights=w[first]))
    assert all(thrice[name] == pytest.approx(plain[name]) for name in plain)
    wider = np.array(weighted['high']) - weighted['low'] > np.array(plain['high']) - plain['low']
    assert wider.mean() > 0.6


def test_the_gate_that_new_proposes_for_classes_is_the_weighted_share_of_the_commonest():
    y = pd.Series(['a', 'a', 'a', 'b', 'c'])
    weight = pd.Series([1.0, 1.0, 1.0, 6.0, 1.0])
    assert gate_words(y, 'multiclass')[0]['min'] == 0.6
    assert gate_words(y, 'multiclass', weight)[0] == {'metric': 'accuracy', 'min': 0.6}
    assert gate_words(y[[0, 3]], 'multiclass', weight)[0]['min'] == 0.857


@pytest.mark.slow
def test_a_model_that_is_worse_than_the_weighted_guess_is_said_to_be_worse(tmp_path):
    place = Place(tmp_path)
    (tmp_path / 'mine.yaml').write_text(SCENARIO)
    done = place.run(
        'run',
        '-s',
        str(tmp_path / 'mine.yaml'),
        '-p',
        'trials=3',
        '-q',
        CD4ML_DATA_ROOT=str(CASES / '23-weights'),
    )
    assert done.returncode == 0, done.stderr
    metrics = place.json('mine', 'evaluate', 'metrics.json')
    rows = pd.read_csv(CASES / '23-weights/useless.csv')
    guess = weighted_quantile(rows['y'].to_numpy(), rows['sample_weight'].to_numpy())
    naive, model, gain = (metrics[part]['mae']['value'] for part in ('baseline', 'holdout', 'gain'))
    assert naive == pytest.approx(
        np.average(np.abs(rows['y'] - guess), weights=rows['sample_weight']), rel=0.3
    )
    assert naive < model and gain == pytest.approx(model - naive) and gain > 0
    assert sum(
        g['share'] for g in metrics['groups']['x2'] + metrics['groups_too_small']['x2']
    ) == pytest.approx(1)
    page = place.product('mine', 'report', 'report.html').read_text(encoding='utf-8')
    assert 'the model is better' not in page and 'The naive guess is the weighted median y' in page
    assert (
        'Share by weight' in page
        and 'A case counts as often as its weight says (sample_weight)' in page
    )
