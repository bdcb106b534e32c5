"""The statistics of a comparison: how often it errs, what it finds, and whether it says so."""


import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from cd4ml_nb.scenario.comparison import (
    Difference,
    detectable,
    difference,
    holm,
    judged,
    judged_together,
    margin_of,
    paired_draws,
    power,
    shared_confidence,
    trained_again,
    verdict_of,
)
from cd4ml_nb.scenario.metrics import METRICS, metrics_of

SIMULATIONS = 200


def two_models(n, seed, ratio=1.0, shared=0.8):
    """Prices and two predictions of them: errors grow with the price, and most of an error is
    common to both; the second's are `ratio` times as large."""
    rng = np.random.default_rng([17, seed])
    y = rng.lognormal(9, 0.6, n)
    common = rng.normal(size=n)
    errors = [shared * common + np.sqrt(1 - shared**2) * rng.normal(size=n) for _ in 'ab']
    return y, y * (1 + 0.15 * errors[0]), y * (1 + 0.15 * ratio * errors[1])


def compared(task, y, first, second, metric, seed, replicates=200, clusters=None, weight=None):
    units = len(y) if clusters is None else len(np.unique(clusters))
    draws = paired_draws(task, y, [first, second], [metric], weight, replicates, seed, clusters)
    return difference(metric, draws[metric], units)


# ---- models as they are

@pytest.mark.parametrize('n', [60, 700])
def test_two_models_that_are_equally_good_are_called_undecided(n):
    verdicts = []
    for seed in range(SIMULATIONS):
        found = compared('regression', *two_models(n, seed), 'mae', seed)
        verdicts.append(judged(found, margin_of(found.metric, found.reference, 0.01))['verdict'])
    assert verdicts.count('undecided') >= 0.95 * SIMULATIONS


@pytest.mark.parametrize('n', [400, 2500])
def test_a_gain_of_3_percent_is_found_as_often_as_the_page_says(n):
    said = []
    found = []
    for seed in range(SIMULATIONS):
        one = compared('regression', *two_models(n, seed, 0.97, shared=0.95), 'mae', seed)
        margin = margin_of(one.metric, one.reference, 0.01)
        said.append(power(0.03 * one.reference, margin, one))
        found.append(judged(one, margin)['verdict'] == 'better')
    stated = np.mean(said)
    assert 0.1 < stated < 0.95  # a chance that says something
    # 99 % of a binomial, and the error of a stated chance
    assert abs(np.mean(found) - stated) < 2.6 * np.sqrt(stated * (1 - stated) / SIMULATIONS) + 0.02


def test_the_gain_that_would_be_found_is_the_one_with_that_chance():
    for error, freedom in ((0.4, 20), (1.3, 5000)):
        one = Difference('mae', 100.0, 100.0, error, freedom)
        again = Difference('mae', 100.0, 100.0, 1.2 * error, 9, luck=2 * error)
        for recipes in (None, again):
            least = detectable(0.8, 1.0, one, recipes)
            assert power(least, 1.0, one, recipes) == pytest.approx(0.8, abs=1e-3)
    # at the margin itself: half the error of 5 %
    at_the_margin = Difference('mae', 100.0, 99.0, 0.5, 1000)
    assert power(1.0, 1.0, at_the_margin) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize('metric', ['mae', 'accuracy'])
def test_the_interval_of_30_cases_holds_the_truth_where_percentiles_would_be_too_short(metric):
    ours = []
    percentiles = []
    for seed in range(300):
        rng = np.random.default_rng([5, seed])
        if metric == 'mae':
            task, (y, first, second), truth = 'regression', two_models(30, seed), 0.0
        else:
            y = rng.integers(0, 2, 30)
            first, second = (np.where(rng.random(30) < 0.9, y, 1 - y).astype(float) for _ in 'ab')
            task = 'binary'
            truth = 0.0
        draws = paired_draws(task, y, [first, second], [metric], replicates=300, seed=seed)[metric]
        low, high = difference(metric, draws, 30).interval()
        ours.append(low <= truth <= high)
        least, most = np.quantile(draws[0, 1:] - draws[1, 1:], [0.025, 0.975])
        percentiles.append(least <= truth <= most)
    assert np.mean(ours) >= 0.925 and np.mean(ours) > np.mean(percentiles)


MIRRORED = {'better': 'worse', 'worse': 'better', 'undecided': 'undecided'}


def test_exchanged_models_turn_the_verdict_round():
    for seed in range(20):
        y, first, second = two_models(300, seed, ratio=0.9)
        there = judged(compared('regression', y, first, second, 'mae', seed), 20.0)
        back = judged(compared('regression', y, second, first, 'mae', seed), 20.0)
        assert (there['low'], there['high']) == pytest.approx((-back['high'], -back['low']))
        assert back['verdict'] == MIRRORED[there['verdict']]


@pytest.mark.parametrize('task', ['regression', 'binary', 'multiclass'])
def test_every_metric_is_the_one_that_evaluate_reports_and_a_gain_is_better(task):
    rng = np.random.default_rng(0)
    if task == 'regression':
        y, good, poor = (v for v in two_models(400, 0, ratio=2.0, shared=0.0))
    else:
        classes = 2 if task == 'binary' else 3
        y = rng.integers(0, classes, 400)
        sure = []
        for strength in (0.6, 0.1):
            noise = rng.dirichlet(np.ones(classes), 400)
            sure.append(np.eye(classes)[y] * strength + noise * (1 - strength))
        good, poor = (p[:, 1] for p in sure) if task == 'binary' else sure
    alone = {
        name: paired_draws(task, y, [poor, good], [name], replicates=100)[name]
        for name in metrics_of(task)
    }
    together = paired_draws(task, y, [poor, good], replicates=100)
    for name in metrics_of(task):
        # one by one, or all at once
        assert np.allclose(alone[name], together[name], equal_nan=True), name
        if name not in ('bias', 'calibration_error'):
            assert difference(name, together[name], 400).gain > 0, name


def test_rows_of_one_cluster_count_once():
    y, first, second = two_models(200, 3)
    fourfold = [np.repeat(v, 4) for v in (y, first, second)]
    once = compared('regression', y, first, second, 'mae', 0, 2000)
    clusters = np.repeat(np.arange(200), 4)
    honest = compared('regression', *fourfold, 'mae', 0, 2000, clusters=clusters)
    naive = compared('regression', *fourfold, 'mae', 0, 2000)
    assert honest.freedom == once.freedom == 199
    assert honest.error == pytest.approx(once.error, rel=0.05)
    assert naive.error == pytest.approx(once.error / 2, rel=0.1)


def test_a_row_of_weight_two_counts_like_two_rows():
    y, first, second = two_models(100, 4)
    weighted = compared('regression', y, first, second, 'mae', 0, weight=np.full(100, 2.0))
    doubled = compared('regression', *(np.repeat(v, 2) for v in (y, first, second)), 'mae', 0)
    assert weighted.gain == pytest.approx(doubled.gain)


def test_identical_models_and_undefined_metrics_decide_nothing():
    y, first, _ = two_models(50, 0)
    same = judged(compared('regression', y, first, first, 'mae', 0), 1.0)
    assert same.items() >= {
        'value': 0.0, 'verdict': 'undecided', 'equal': True, 'not_worse': True, 'p': 1.0,
    }.items()
    ones = np.ones(50, int)
    only_one_class = compared('binary', ones, np.full(50, 0.4), np.linspace(0, 1, 50), 'auc', 0)
    undefined = judged(only_one_class, 0.0)
    assert undefined.items() >= {
        'verdict': 'undecided', 'value': None, 'low': None, 'p': None, 'not_worse': False,
        'equal': False,
    }.items()
    assert detectable(0.8, 0.0, only_one_class) is None


# ---- many at once

def test_holm_keeps_false_alarms_over_sixty_groups_at_the_stated_rate():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        groups = [Difference('mae', 100.0, 100.0 - gain, 1.0, 400) for gain in rng.normal(0, 1, 60)]
        together = judged_together(groups, [0.0] * 60)
        alarms += any(group['verdict'] != 'undecided' for group in together)
    assert alarms / 400 < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 400)
    mixed = [Difference('mae', 100.0, 100.0 - gain, 1.0, 400) for gain in (6.0, 0.1, -7.0, 0.2)]
    verdicts = [group['verdict'] for group in judged_together(mixed, [1.0] * 4)]
    assert verdicts == ['better', 'undecided', 'worse', 'undecided']


def test_holm_agrees_with_its_definition():
    rng = np.random.default_rng(2)
    for _ in range(50):
        p = rng.random(8) ** 3
        order = np.argsort(p)
        expected = np.empty(8)
        expected[order] = np.minimum(1, np.maximum.accumulate((8 - np.arange(8)) * p[order]))
        assert np.allclose(holm(list(p)), expected)
    assert shared_confidence(0.95, 1) == 0.95 and shared_confidence(0.95, 0) == 0.95


# ---- the luck of training

def learned(rows, seed, width):
    """A model of random features, as quick as a model gets: what it predicts depends on the seed.
    """
    x, y = rows
    rng = np.random.default_rng(seed)
    slopes = rng.normal(0, 0.6, (x.shape[1], width))
    offsets = rng.uniform(0, 2 * np.pi, width)
    features = np.cos(x @ slopes + offsets)
    weights = np.linalg.solve(features.T @ features + np.eye(width), features.T @ y)
    return lambda z: np.cos(z @ slopes + offsets) @ weights


def world(n, seed):
    """Rows from one world, ever new."""
    rng = np.random.default_rng([3, seed])
    nature = np.random.default_rng(99)
    x = rng.normal(size=(n, 6))
    slopes = nature.normal(size=(6, 25))
    heights = nature.normal(size=25)
    return x, np.sin(x @ slopes) @ heights / 2 + rng.normal(0, 0.8, n)


def again_by_error(found, y, first, second, same_rows):
    """`found` with the luck of training: the models of both recipes after the first, by their mean
    errors."""
    errors = [[float(np.abs(p - y).mean()) for p in models[1:]] for models in (first, second)]
    return trained_again(found, *errors, same_rows)


class Pool:
    """Many trainings of one recipe, and what each says of the same rows."""

    def __init__(self, width, n=48, resampled=False, first=0):
        x, y = world(400, 1)
        self.x, self.y = world(5000, 2)
        self.says = []
        for seed in range(first, first + n):
            rows = np.arange(400)
            if resampled:
                rows = np.random.default_rng([11, seed]).integers(0, 400, 400)
            self.says.append(learned((x[rows], y[rows]), seed, width)(self.x))
        self.error = float(np.mean([np.abs(p - self.y).mean() for p in self.says]))

    def drawn(self, rng, n=6):
        return [self.says[k] for k in rng.choice(len(self.says), n, replace=False)]


def verdicts_of(ours, theirs, same_rows, rows=800, gain=None):
    """Compared and trained again, over and over: verdicts on the models, final verdicts, and stated
    chances."""
    found = []
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng([23, seed])
        judges = rng.choice(len(ours.y), rows, replace=False)
        first, second = ([p[judges] for p in pool.drawn(rng)] for pool in (ours, theirs))
        y = ours.y[judges]
        models = compared('regression', y, first[0], second[0], 'mae', seed, 150)
        recipes = again_by_error(models, y, first, second, same_rows)
        margin = margin_of(models.metric, models.reference, 0.01)
        by_rows = judged(models, margin)
        final = verdict_of(by_rows, judged(recipes, margin))
        stated = power(gain, margin, models, recipes) if gain else None
        found.append((by_rows['verdict'], final, stated))
    return list(zip(*found, strict=True))


def test_two_trainings_of_one_recipe_are_called_undecided_and_by_the_rows_alone_they_would_not():
    pool = Pool(40)
    by_rows, final, _ = verdicts_of(pool, pool, same_rows=True)
    assert final.count('undecided') >= 0.95 * SIMULATIONS
    assert by_rows.count('undecided') < 0.9 * SIMULATIONS        # why it has to be looked at


def test_two_trainings_of_one_recipe_on_resampled_rows_are_called_undecided():
    pool = Pool(40, resampled=True)
    by_rows, final, _ = verdicts_of(pool, pool, same_rows=False)
    assert final.count('undecided') >= 0.95 * SIMULATIONS
    assert by_rows.count('undecided') < 0.9 * SIMULATIONS


def test_a_better_recipe_is_found_about_as_often_as_the_page_says():
    poor = Pool(16)
    good = Pool(40, first=1000)
    gain = poor.error - good.error
    _, final, stated = verdicts_of(poor, good, same_rows=True, gain=gain)
    assert 0.2 < np.mean(stated) < 0.95
    # the luck is known from six trainings only
    assert abs(final.count('better') / SIMULATIONS - np.mean(stated)) < 0.12


def test_the_luck_of_a_recipe_that_no_seed_changes_is_none():
    one = Difference('mae', 100.0, 97.0, 0.5, 800)
    again = trained_again(one, [100.0] * 4, [97.0] * 4, same_rows=True)
    assert (again.gain, again.error, again.luck) == (3.0, 0.5, 0.0)
    assert again.freedom == pytest.approx(800)
    assert power(3.0, 1.0, one, again) == power(3.0, 1.0, one)


@pytest.mark.parametrize('metric', [m for m in METRICS if METRICS[m].better != 'zero'])
def test_a_gain_has_one_sign_whatever_the_metric(metric):
    high = METRICS[metric].better == 'high'
    assert Difference(metric, 0.5, 0.6, 0.01, 9).gain == pytest.approx(0.1 if high else -0.1)


@pytest.mark.slow
def test_real_boosters_of_one_recipe_are_called_undecided(real_data):
    cars = pd.read_csv(real_data('cars_autoscout24_de_2021.csv')).drop_duplicates()
    cars = cars.query('500 <= price <= 150_000').reset_index(drop=True)
    x = cars.drop(columns='price')
    price = cars['price'].to_numpy(dtype=float)
    texts = [name for name in x.columns if not pd.api.types.is_numeric_dtype(x[name])]
    x = x.astype(dict.fromkeys(texts, 'category'))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    past = order[:20_000]
    sealed = order[20_000:]
    judges = xgb.DMatrix(x.iloc[sealed], enable_categorical=True)

    def says(rows, seed):
        data = xgb.DMatrix(x.iloc[rows], label=np.log(price[rows]), enable_categorical=True)
        params = {
            'learning_rate': 0.1, 'max_depth': 7, 'subsample': 0.8, 'colsample_bytree': 0.8,
            'seed': seed, 'nthread': 2,
        }
        return np.exp(xgb.train(params, data, 150).predict(judges).astype(float))

    def run(drawn, same_rows, n):
        by_rows = []
        final = []
        for seed in range(SIMULATIONS):
            draw = np.random.default_rng([31, seed])
            rows = draw.integers(0, len(sealed), n)                     # a resampled holdout
            first, second = ([p[rows] for p in those] for those in drawn(draw))
            y = price[sealed][rows]
            found = compared('regression', y, first[0], second[0], 'mae', seed, 100)
            again = again_by_error(found, y, first, second, same_rows)
            margin = margin_of(found.metric, found.reference, 0.01)
            models = judged(found, margin)
            by_rows.append(models['verdict'])
            final.append(verdict_of(models, judged(again, margin)))
        return [verdicts.count('undecided') / SIMULATIONS for verdicts in (by_rows, final)]

    seeds = np.array([says(past, seed) for seed in range(24)])

    def two_lots(draw):
        return np.split(seeds[draw.permutation(24)[:12]], 2)

    def two_families(draw):
        return [families[k] for k in draw.choice(10, 2, replace=False)]

    by_rows, undecided = run(two_lots, True, 3000)
    assert undecided >= 0.95 > by_rows
    families = []  # a model of resampled rows, and five trainings on rows resampled from those
    for k in range(10):
        own = rng.choice(past, len(past))
        families.append([says(own, 100 + k)])
        for seed in range(1000 + 10 * k, 1005 + 10 * k):
            families[-1].append(says(rng.choice(own, len(own)), seed))
    by_rows, undecided = run(two_families, False, 3000)
    assert undecided >= 0.95
