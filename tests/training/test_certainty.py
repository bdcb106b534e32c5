"""Ranges, calibrated probabilities and thresholds: from rows that were not learned from, and the
same wherever the model is asked."""

import json
from dataclasses import replace
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from cars import CONTRACT, cars, fitted_cars, write_model
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb import load_model as load_public
from cd4ml_nb.artefacts.split_record import SplitRecord
from cd4ml_nb.core.errors import Cd4mlError, UserError
from cd4ml_nb.core.files import write_json, write_text
from cd4ml_nb.model.calibration import FITS, calibrated, fit_calibration, pooled
from cd4ml_nb.model.contract import Contract, Input, Output, Range, read_contract
from cd4ml_nb.model.decision import best_threshold
from cd4ml_nb.model.golden import verify_golden
from cd4ml_nb.model.intervals import conformal_quantile, quantile_range, residual_range
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.manifest import MANIFEST, Manifest, hashes_of
from cd4ml_nb.scenario.certainty import Decision, PredictionInterval, ProbabilityCalibration
from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.scenario.metrics import score
from cd4ml_nb.training.certainty import ends_parameters, save_ends, with_certainty
from cd4ml_nb.training.folds import cross_fitted, make_folds
from cd4ml_nb.training.members import fit_winner
from cd4ml_nb.training.training import base_parameters, matrix

SCENARIO = {
    'name': 'cars',
    'title': 'Cars',
    'task': 'regression',
    'data': {'source': 'cars.csv'},
    'target': {'column': 'y'},
}
SPLITS = {
    'random': SplitRecord(by='random', hash={}),
    'group': SplitRecord(by='group', column='shop', hash={}),
    'entity': SplitRecord(by='group', entity=['shop', 'day'], hash={}),
    'time': SplitRecord(by='time', column='day', hash={}),
    'copies': SplitRecord(by='random', repeats='copies', identity=['x'], hash={}),
}


def plan(**asked) -> SimpleNamespace:
    """The part of a scenario that asks for ranges, calibration or a decision."""
    return SimpleNamespace(**{'interval': None, 'calibration': None, 'decision': None} | asked)


# ---- the quantile

@settings(max_examples=examples(60))
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_E8_the_quantile_is_the_score_that_the_formula_names(scores, miss):
    ranked = np.sort(scores)
    place = int(np.ceil((len(scores) + 1) * (1 - miss) - 1e-9))
    wanted = ranked[place - 1] if place <= len(scores) else np.inf
    assert conformal_quantile(np.array(scores), miss) == wanted
    assert conformal_quantile(np.array(scores), miss, np.full(len(scores), 3.0)) == wanted


def test_E8_rows_of_weight_two_are_two_rows():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=2000)
    weight = rng.integers(1, 4, 2000)
    once = conformal_quantile(scores, 0.1, weight.astype(float))
    assert once == pytest.approx(conformal_quantile(np.repeat(scores, weight), 0.1), abs=0.02)


def test_E8_ranges_are_those_of_mapie():
    linear = pytest.importorskip('sklearn.linear_model')
    regression = pytest.importorskip('mapie.regression', reason='MAPIE is not installed')
    scoring = pytest.importorskip('mapie.conformity_scores')
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1))
    y = x[:, 0] + rng.exponential(size=300) * (1 + np.abs(x[:, 0]))
    own, others, new = x[:100], x[100:], rng.normal(size=(20, 1))
    folds = make_folds(pd.DataFrame({'y': y}), SPLITS['random'])
    same = pytest.importorskip('sklearn.model_selection').PredefinedSplit(folds.number)
    theirs = regression.CrossConformalRegressor(
        linear.LinearRegression(),
        confidence_level=0.9,
        conformity_score=scoring.AbsoluteConformityScore(sym=False),
        method='base',
        cv=same,
    ).fit_conformalize(x, y).predict_interval(new)[1][:, :, 0]
    places, predicted = cross_fitted(
        pd.DataFrame({'x': x[:, 0], 'y': y}),
        folds,
        lambda rows: linear.LinearRegression().fit(rows[['x']].to_numpy(), rows['y']),
        lambda model, rows: model.predict(rows[['x']].to_numpy()),
    )
    found = residual_range(Output('y'), y[places], predicted, 0.9)
    middle = linear.LinearRegression().fit(x, y).predict(new)
    assert np.abs(theirs - middle[:, None] - [found.low, found.high]).max() < 1e-9
    models = [linear.QuantileRegressor(quantile=q, alpha=0).fit(own, y[:100])
              for q in (0.05, 0.95, 0.5)]
    quantile = regression.ConformalizedQuantileRegressor(models, confidence_level=0.9, prefit=True)
    theirs = quantile.conformalize(others, y[100:]).predict_interval(
        new, symmetric_correction=False
    )[1][:, :, 0]
    ends = np.column_stack([models[0].predict(others), models[1].predict(others)])
    moved = quantile_range(Output('y'), y[100:], ends, 0.9)
    ours = np.column_stack([models[0].predict(new), models[1].predict(new)])
    assert np.abs(theirs - ours - [moved.low, moved.high]).max() < 1e-9


# ---- from rows that were not learned from

def rows_of(n: int = 600) -> pd.DataFrame:
    """Rows whose target nothing explains."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({
        'x': np.round(rng.random(n), 2),
        'shop': rng.integers(0, 40, n),
        'day': rng.integers(0, 90, n),
        'id': np.arange(n),
    })
    return table.assign(y=rng.normal(size=n), kind=rng.choice(['no', 'yes'], n))


@pytest.mark.parametrize('name', list(SPLITS))
def test_E8_no_row_is_predicted_by_a_model_that_has_learned_from_it_or_its_like(name):
    table = rows_of()
    split = SPLITS[name]
    alike = split.together or (['x'] if name == 'copies' else ['id'])

    def fit(rows: pd.DataFrame) -> tuple[set, int]:
        return set(map(tuple, rows[alike].to_numpy())), int(rows['day'].max())

    def answer(model: tuple[set, int], rows: pd.DataFrame) -> np.ndarray:
        known, latest = model
        assert not known & set(map(tuple, rows[alike].to_numpy()))
        assert name != 'time' or latest < rows['day'].min()
        return np.zeros(len(rows))

    places, _ = cross_fitted(table, make_folds(table, split, 'kind'), fit, answer)
    assert len(np.unique(places)) == len(places) >= (len(table) if name != 'time' else 250)


def test_E8_a_model_that_knows_its_rows_by_heart_gets_no_narrow_range():
    table = rows_of(200)
    contract = Contract('noise', 'regression', (Input('id', 'f0001', 'number'),), Output('y'))
    params = base_parameters('regression', 0, 'cpu', 1, 0) | {'max_depth': 12, 'eta': 1.0}
    params |= {'min_child_weight': 0, 'reg_lambda': 0}

    def fit(contract: Contract, rows: pd.DataFrame):
        return fit_winner(contract, rows, params, 5, device='cpu', nthread=1, seed=0)

    asked = plan(interval=PredictionInterval())
    certain, ends = with_certainty(
        contract, table, asked, SPLITS['random'], None, fit, fit, seed=0
    )
    found = certain.output.interval
    assert ends is None and found.n == 200 and found.high - found.low > 3.0
    seen = fit(contract, table).predict(matrix(contract, table))
    assert np.abs(seen - table['y']).max() < 0.2      # its errors on rows that it knows


# ---- calibration and thresholds

@settings(max_examples=examples(60))
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_E8_pooled_values_rise_and_keep_their_average(values, chance):
    weight = np.array([chance.choice([0.5, 1.0, 2.0]) for _ in values])
    found = pooled(np.array(values), weight)
    assert (np.diff(found) >= 0).all()
    assert np.average(found, weights=weight) == pytest.approx(
        np.average(values, weights=weight), abs=1e-9
    )


@pytest.mark.parametrize('method', list(FITS))
def test_E8_calibrated_probabilities_rise_and_are_probabilities(method):
    rng = np.random.default_rng(0)
    p = rng.random(500)
    for hit in (rng.random(500) < p**3, np.ones(500), p > 0.5, rng.random(500) < 1 - p):
        found = calibrated(fit_calibration(method, p, hit.astype(int)), np.linspace(0, 1, 99))
        assert (np.diff(found) >= -1e-12).all() and 0 < found.min() and found.max() < 1


def test_E8_no_threshold_has_a_better_metric_or_smaller_costs():
    rng = np.random.default_rng(0)
    p = np.round(rng.random(300), 2)
    hit = (rng.random(300) < p**2).astype(int)
    f1 = [score('binary', hit, p, cut=t)['f1'] for t in np.arange(0.005, 1, 0.01)]
    best = best_threshold(p, hit, metric='f1')
    assert score('binary', hit, p, cut=best)['f1'] == pytest.approx(np.nanmax(f1))
    costs = [((p >= t) & (hit == 0)).sum() + 4 * ((p < t) & (hit == 1)).sum()
             for t in np.arange(0.005, 1, 0.01)]
    best = best_threshold(p, hit, costs=(1.0, 4.0))
    assert ((p >= best) & (hit == 0)).sum() + 4 * ((p < best) & (hit == 1)).sum() == min(costs)


# ---- the packaged model

def packaged(folder, certain: Contract, ends=None, table=None) -> None:
    """A model's directory with golden cases for all that it answers."""
    certain = save_ends(certain, ends, folder)
    write_model(folder, fitted_cars(certain, table), certain)


def test_E8_ranges_are_the_same_in_golden_cases_mlflow_and_our_own_call(tmp_path):
    params = base_parameters('regression', 0, 'cpu', 1, 0) | ends_parameters({'max_depth': 3}, 0.9)

    def fit(contract: Contract, rows: pd.DataFrame):
        return fit_winner(contract, rows, params, 10, device='cpu', nthread=1, seed=0)

    asked = plan(interval=PredictionInterval(method='quantiles'))
    certain, ends = with_certainty(
        CONTRACT, cars(), asked, SPLITS['random'], None, fit, fit, seed=0
    )
    packaged(tmp_path, certain, ends)
    assert verify_golden(tmp_path) > 30
    table = cars(40)
    model = load_public(tmp_path)
    ours = model.interval(table)
    assert (ours[:, 0] <= model.predict(table)).all() and (ours[:, 1] > ours[:, 0]).all()
    theirs = mlflow.pyfunc.load_model(str(tmp_path))
    asked = theirs.predict(table.drop(columns='y'), params={'answer': 'interval'})
    assert np.array_equal(asked, ours)
    assert np.array_equal(theirs.predict(table.drop(columns='y')), model.predict(table))
    with pytest.raises(UserError, match='S15'):
        model.decide(table)


def changed(folder, **output) -> None:
    """Another output in the contract of a packaged model, its manifest made anew."""
    contract = read_contract(folder / 'contract.json')
    other = replace(contract, output=replace(contract.output, **output))
    write_json(folder / 'contract.json', other.to_json())
    names = [path for path in folder.iterdir() if path.name != MANIFEST]
    write_json(folder / MANIFEST, Manifest(hashes_of(sorted(names))).to_json())


def test_E8_a_changed_range_or_a_range_of_another_model_is_found(tmp_path):
    certain = replace(
        CONTRACT, output=replace(CONTRACT.output, interval=Range(0.9, 'residuals', -1.0, 2.0, 99))
    )
    packaged(tmp_path, certain)
    line = json.loads((tmp_path / 'golden.jsonl').read_text().splitlines()[0])
    assert line['interval'] == pytest.approx([line['output'] - 1, line['output'] + 2], abs=1e-4)
    changed(tmp_path, interval=Range(0.9, 'residuals', -1.0, 2.1, 99))
    with pytest.raises(Cd4mlError, match='answers differently'):
        verify_golden(tmp_path)
    changed(tmp_path, interval=Range(0.9, 'quantiles', 0.0, 0.0, 99, booster='0' * 64))
    write_text(tmp_path / 'interval.json', '{}')
    changed(tmp_path)
    with pytest.raises(UserError, match='S10'):
        load_public(tmp_path)


def test_E8_a_decision_is_the_same_everywhere(tmp_path):
    output = replace(CONTRACT.output, classes=('no', 'yes'), positive='yes')
    contract = replace(CONTRACT, task='binary', output=output)
    table = cars(600)
    table['y'] = np.where(table['km'] + 30_000 * (table.index % 3) > 60_000, 'yes', 'no')
    params = base_parameters('binary', 2, 'cpu', 1, 0) | {'max_depth': 3}

    def fit(contract: Contract, rows: pd.DataFrame):
        return fit_winner(contract, rows, params, 10, device='cpu', nthread=1, seed=0)

    asked = plan(calibration=ProbabilityCalibration(), decision=Decision(metric='f1'))
    certain, _ = with_certainty(contract, table, asked, SPLITS['random'], None, fit, fit)
    packaged(tmp_path, certain, table=table)
    assert verify_golden(tmp_path) > 30
    model = load_public(tmp_path)
    probability = model.predict(table)
    at = certain.output.decision.threshold
    assert np.array_equal(model.decide(table), np.where(probability >= at, 'yes', 'no'))
    theirs = mlflow.pyfunc.load_model(str(tmp_path))
    asked = theirs.predict(table.drop(columns='y'), params={'answer': 'decision'})
    assert np.array_equal(asked, model.decide(table))
    with pytest.raises(UserError, match='S15'):
        model.interval(table)


def test_E8_a_contract_that_asks_for_nothing_is_as_before_and_costs_no_training():
    def fit(contract: Contract, rows: pd.DataFrame):
        raise AssertionError('nothing is to be fitted')

    for asked in (plan(), plan(calibration=ProbabilityCalibration(method='none'))):
        certain, ends = with_certainty(CONTRACT, cars(), asked, SPLITS['random'], None, fit, fit)
        assert (certain, ends) == (CONTRACT, None)
    assert not {'interval', 'calibration', 'decision'} & set(CONTRACT.to_json()['output'])
    declared = plan(decision=Decision(threshold=0.3))
    certain, _ = with_certainty(CONTRACT, cars(), declared, SPLITS['random'], None, fit, fit)
    assert certain.output.decision.threshold == 0.3


def test_E8_a_written_contract_is_read_again(tmp_path):
    packaged(tmp_path, replace(
        CONTRACT, output=replace(CONTRACT.output, interval=Range(0.9, 'residuals', -1, 2, 99))
    ))
    assert load_model(tmp_path)[1].output.interval == Range(0.9, 'residuals', -1, 2, 99)


# ---- the scenario

@pytest.mark.parametrize(('words', 'error'), [
    ({'interval': {'coverage': 1.5}}, 'less than or equal'),
    ({'interval': {'coverage': 0.9, 'method': 'magic'}}, 'residuals'),
    ({'calibration': {'method': 'platt'}}, 'calibration is for classes'),
    ({'decision': {'threshold': 0.3}}, 'decision is for two outcomes'),
    ({'decision': {}}, 'one of threshold'),
    ({'gates': [{'metric': 'coverage', 'min': 0.85}]}, 'needs a range'),
    ({'search': {'metric': 'width'}}, 'width'),
])
def test_E8_what_does_not_fit_the_task_is_refused(words, error):
    with pytest.raises(ValueError, match=error):
        Scenario.model_validate(SCENARIO | words)
