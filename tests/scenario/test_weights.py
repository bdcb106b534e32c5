"""Row weights: a row of weight 2 counts as two, for the naive baseline and the sizes of groups as
for the metrics."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import Place

from cd4ml_nb.artefacts.metrics import Metrics
from cd4ml_nb.model.contract import Contract, Input, Output
from cd4ml_nb.model.explanation import drivers, telling_cases
from cd4ml_nb.scenario.comparison import paired_gain
from cd4ml_nb.scenario.definition import Compare, Evaluate, Gate
from cd4ml_nb.scenario.evaluation import (
    baseline,
    by_group,
    calibration,
    group_labels,
    thin_partitions,
)
from cd4ml_nb.scenario.metrics import PRIMARY, calibration_bins, score, weighted_quantile
from cd4ml_nb.scenario.thresholds import judge_all
from cd4ml_nb.show.trust import trust_html
from cd4ml_nb.studies.alternatives import (
    EvaluationSet,
    gains,
    group_draws,
    group_verdicts,
    overall_draws,
)
from cd4ml_nb.training.holdout import Holdout, holdout_metrics

CASES = Path(__file__).resolve().parents[1] / 'cases'
SCENARIO = '''name: mine
title: A target that the inputs do not explain
task: regression
data: {source: useless.csv}
target: {column: y, unit: EUR}
columns: {sample_weight: {role: weight}}
search: {rounds: 60, metric: mae}
evaluate: {groups: [x2], replicates: 200, min_rows: 10}
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
    assert plain == calibration_bins(y, p) and plain['n'] == [40] * 10
    order = np.argsort(p)
    first = order[: weighted['n'][0]]
    assert weighted['actual'][0] == pytest.approx(np.average(y[first], weights=w[first]))
    assert weighted['predicted'][0] == pytest.approx(np.average(p[first], weights=w[first]))
    assert w[first].sum() == pytest.approx(w.sum() / 10, abs=w.max())
    assert all(thrice[name] == pytest.approx(plain[name]) for name in plain)
    wider = np.array(weighted['high']) - weighted['low'] > np.array(plain['high']) - plain['low']
    assert wider.mean() > 0.6


# ---- everything that is reported of a holdout

TASKS = ('regression', 'binary', 'multiclass')
GATES = {
    'regression': [Gate(metric='mae', max=9.0), Gate(metric='medae', max=4.0, each='market')],
    'binary': [Gate(metric='auc', min=0.5), Gate(metric='recall', min=0.4, each='market')],
    'multiclass': [Gate(metric='accuracy', min=0.3), Gate(metric='accuracy', beats='naive')],
}


@dataclass(frozen=True)
class Plan:
    """What is read of a scenario here."""

    task: str
    evaluate: Evaluate

    @property
    def metric(self) -> str:
        return PRIMARY[self.task]


def judged_rows(rng: np.random.Generator, task: str, n: int = 400) -> Holdout:
    """Rows that each weigh one, with what two models say of them."""
    _, y, ours = drawn(rng, task, n)
    _, _, theirs = drawn(rng, task, n)
    table = pd.DataFrame({
        'market': rng.choice(['u', 'v', 'w'], n),
        'size': rng.lognormal(0, 1, n).round(2),
    })
    return Holdout(table, y, ours, theirs, np.ones(n), None)


def repeated(rows: Holdout, k: np.ndarray) -> Holdout:
    """Each row k times; its copies belong together, as chance has drawn them together."""
    table = rows.table.loc[rows.table.index.repeat(k)].reset_index(drop=True)
    parts = [np.repeat(part, k, axis=0) for part in (rows.y, rows.predicted, rows.naive)]
    return Holdout(table, *parts, np.ones(k.sum()), np.repeat(np.arange(len(k)), k))


def contract_of(task: str) -> Contract:
    classes = {'regression': None, 'binary': ('a', 'b'), 'multiclass': ('a', 'b', 'c')}[task]
    return Contract('any', task, (Input('x', 'f1', 'number'),), Output('y', classes=classes))


def measured(rows: Holdout, task: str, **evaluate) -> Metrics:
    groups = ['market', 'size']
    judging = Evaluate(groups=groups, min_rows=2, replicates=50, **evaluate)
    return holdout_metrics(rows, Plan(task, judging), contract_of(task), 0)


def assert_alike(one, two, where: str = '') -> None:
    """Equal, but for the last digits of sums, and for what counts rows."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for name in one:
            counts_rows = name in ('n', 'n_rows') or 'calibration' in where and name in (
                'low', 'high',
            )
            if not counts_rows:
                assert_alike(one[name], two[name], f'{where}.{name}')
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for k, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_alike(a, b, f'{where}.{k}')
    elif isinstance(one, float):
        assert one == pytest.approx(two, rel=1e-6, abs=1e-9), where
    else:
        assert one == two, where


@settings(max_examples=examples(12), deadline=None)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), task=st.sampled_from(TASKS))
def test_a_weight_of_k_is_k_rows_of_weight_one_in_all_that_is_reported(rng, task):
    rows = judged_rows(rng, task)
    k = rng.integers(1, 4, len(rows.y))
    weighted = replace(rows, weight=k.astype(float))
    many = repeated(rows, k)

    found, expected = measured(weighted, task), measured(many, task)
    assert_alike(found.model_dump(), expected.model_dump())
    outcomes = [judge_all(GATES[task], metrics) for metrics in (found, expected)]
    assert_alike(*([gate.model_dump() for gate in gates] for gates in outcomes))

    classes = 3 if task == 'multiclass' else 0
    shape = (len(k), classes, 5) if classes else (len(k), 5)
    shares = rng.normal(size=shape)
    four = replace(
        contract_of(task), inputs=tuple(Input(f'x{n}', f'f{n}', 'number') for n in range(4))
    )
    of_many = drivers(np.repeat(shares, k, axis=0), four)
    assert_alike(drivers(shares, four, weighted.weight), of_many)
    cases = telling_cases(task, rows.y, rows.predicted, weighted.weight)
    for title, row in telling_cases(task, many.y, many.predicted).items():
        origin = many.clusters[row]
        assert rows.y[cases[title]] == rows.y[origin]
        assert np.array_equal(rows.predicted[cases[title]], rows.predicted[origin])


@settings(max_examples=examples(12), deadline=None)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), task=st.sampled_from(TASKS))
def test_a_weight_of_k_is_k_rows_of_weight_one_when_models_are_compared(rng, task):
    rows = judged_rows(rng, task)
    k = rng.integers(1, 4, len(rows.y))
    plan = Compare(replicates=50)
    judging = Evaluate(min_rows=2)
    found = []
    for each in (replace(rows, weight=k.astype(float)), repeated(rows, k)):
        judged = EvaluationSet(each.table, each.y, each.weight, each.clusters)
        models = [each.naive, each.predicted]
        draws = overall_draws(task, judged, models, plan, 0)
        groups = group_draws(
            PRIMARY[task], task, judged, models, ['market', 'size'], plan, judging, 0
        )
        verdicts = group_verdicts(PRIMARY[task], groups, 1, plan)
        found.append({'all': gains(draws, 1, judged.units, 0.95), 'groups': verdicts})
    assert_alike(*found)
    assert sum(group['share'] for group in found[0]['groups']['market']) == pytest.approx(1)


@pytest.mark.parametrize('task', TASKS)
def test_equal_weights_are_no_weights_whatever_their_unit(task):
    rows = judged_rows(np.random.default_rng(5), task)
    plain = measured(replace(rows, weight=None), task).model_dump()
    for unit in (0.3, 1.0, 7e5):
        same = measured(replace(rows, weight=np.full(len(rows.y), unit)), task).model_dump()
        for part in ('holdout', 'baseline', 'gain', 'calibration'):
            assert_alike(same[part], plain[part])
        assert_alike(
            [group | {'weight': None} for group in same['groups']['market']],
            plain['groups']['market'],
        )
        assert same['weighing'] == pytest.approx(unit * len(rows.y))
        assert [b['n'] for b in same['residuals'] or []] == [
            b['n'] for b in plain['residuals'] or []
        ]


@settings(max_examples=examples(50), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=12, max_size=60),
    st.booleans(),
)
def test_quarters_of_a_number_or_a_time_are_quarters_of_the_weight(rows, dates):
    values = pd.Series([float(v) for v, _ in rows])
    if dates:
        values = pd.Timestamp('2024-01-01') + pd.to_timedelta(values, unit='D')
    k = np.array([k for _, k in rows])
    labels = group_labels(values, k.astype(float))
    many = group_labels(values.repeat(k).reset_index(drop=True), np.ones(k.sum()))
    assert labels.repeat(k).tolist() == many.tolist()


def test_a_group_whose_weight_lies_on_a_few_rows_is_too_small():
    labels = pd.Series(['even'] * 100 + ['uneven'] * 100)
    weight = np.ones(200)
    weight[100] = 1e4
    rng = np.random.default_rng(0)
    judged, small = by_group(
        'regression', labels, rng.random(200), rng.random(200), weight, Evaluate(replicates=50), 0
    )
    assert [g['value'] for g in judged] == ['even']
    assert [(g['value'], g['n'], g['weight']) for g in small] == [('uneven', 100, 1e4 + 99)]
    offer = thin_partitions(
        pd.DataFrame({'make': labels, 'w': weight}), Evaluate(partition='make'), 'w'
    )
    assert (offer.offered, [(o.value, o.n, o.weight) for o in offer.refused]) == (
        1,
        [('uneven', 100, 1e4 + 99)],
    )


def test_the_page_counts_mistakes_by_weight_and_says_so():
    predictions = pd.DataFrame({
        'p_a': [0.9, 0.1, 0.1, 0.9],
        'p_b': [0.1, 0.9, 0.9, 0.1],
        'actual': [0, 0, 1, 1],
        'weight': [1.0, 9.0, 4.0, 1.0],
    })
    output = Output('y', classes=('a', 'b'))
    page = trust_html('multiclass', predictions, output).replace('\N{NO-BREAK SPACE}', ' ')
    assert 'a is taken for b, 1 time in 2 cases, 90.0 % by weight' in page
    assert 'in percent, by weight' in page
    plain = trust_html('multiclass', predictions.drop(columns='weight'), output)
    assert 'by weight' not in plain


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
