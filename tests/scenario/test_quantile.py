"""A scenario may predict a quantile instead of the middle: metric, baseline, report and comparison
are those of that quantile."""

import numpy as np
import pandas as pd
import pytest
import yaml
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import edited
from runs import Place, copied_project

from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.scenario.evaluation import baseline
from cd4ml_nb.scenario.metrics import metrics_of, score

SCENARIO = {
    'name': 'cars',
    'title': 'Cars',
    'task': 'regression',
    'data': {'source': 'cars.csv'},
    'target': {'column': 'y', 'quantile': 0.8},
}


@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(2, 60),
    level=st.sampled_from([0.01, 0.1, 0.3, 0.75, 0.9, 0.99]),
    seed=st.integers(0, 10_000),
)
def test_no_constant_has_a_smaller_pinball_loss_than_the_quantile_and_weights_repeat_rows(
    n, level, seed
):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    weight = rng.integers(1, 4, n).astype(float)
    columns = pd.DataFrame(index=range(n))
    guess = baseline(columns, y, columns, 'regression', [], weight=weight, cut=level)
    least = score('regression', y, guess, weight, level)['pinball']
    for other in y:
        loss = score('regression', y, np.full(n, other), weight, level)['pinball']
        assert least <= loss + 1e-12
    again = np.repeat(np.arange(n), weight.astype(int))
    repeated = score('regression', y[again], guess[again], cut=level)
    weighed = score('regression', y, guess, weight, level)
    for metric in metrics_of('regression', level):
        assert repeated[metric] == pytest.approx(weighed[metric], nan_ok=True)


def test_the_pinball_loss_is_what_its_definition_says():
    y = np.array([10.0, 10.0])
    found = score('regression', y, np.array([8.0, 13.0]), cut=0.9)
    assert found['pinball'] == pytest.approx((0.9 * 2 + 0.1 * 3) / 2)
    assert found['level_gap'] == pytest.approx(0.5 - 0.9)
    assert 'pinball' not in score('regression', y, y)


@pytest.mark.parametrize(('change', 'words'), [
    ({'target': {'column': 'y', 'quantile': 0.5}}, 'one half is the middle'),
    ({'target': {'column': 'y', 'quantile': 1.2}}, 'quantile'),
    ({'task': 'binary'}, 'is for regression'),
    ({'search': {'metric': 'mae'}}, 'best for the middle'),
    ({'search': {'fixed': {'objective': 'reg:absoluteerror'}}}, 'chooses the objective'),
    ({'interval': {'coverage': 0.9}}, 'an end itself'),
    ({'columns': {'a': {'type': 'number', 'monotone': 'increasing'}}}, 'keeps no monotone'),
    ({'target': {'column': 'y'}, 'gates': [{'metric': 'pinball', 'max': 3}]}, 'needs a quantile'),
    ({'target': {'column': 'y'}, 'search': {'metric': 'pinball'}}, 'needs a quantile'),
    ({'target': {'column': 'y'}, 'search': {'metric': 'pinbal'}}, "search.metric 'pinbal'"),
    (
        {'target': {'column': 'y'}, 'search': {'fixed': {'objective': 'reg:quantileerror'}}},
        "written as 'target.quantile'",
    ),
])
def test_what_contradicts_a_quantile_is_refused(change, words):
    assert Scenario.model_validate(SCENARIO).metric == 'pinball'
    with pytest.raises(ValueError, match=words):
        Scenario.model_validate(SCENARIO | change)


def test_a_quantile_is_learned_judged_reported_and_compared(tmp_path):
    place = Place(tmp_path)
    project = copied_project(tmp_path / 'project', 'scenarios/cars.yaml')
    rng = np.random.default_rng(1)
    km = rng.uniform(0, 100, 1200)
    spread = rng.exponential(1 + km / 20)
    make = rng.choice(['Opel', 'Fiat'], len(km))
    rows = pd.DataFrame({'km': km, 'make': make, 'y': 200 - km + spread})
    rows.to_csv(tmp_path / 'cars.csv', index=False)
    scenario = SCENARIO | {
        'columns': {'km': {'type': 'number'}, 'make': {'type': 'category'}},
        'validation': {'folds': 3},
        'search': {'algorithms': ['trees', 'linear'], 'blend': 2, 'rounds': 60},
        'evaluate': {'groups': ['make'], 'replicates': 200},
        'compare': {'trainings': 2},
        'gates': [{'metric': 'pinball', 'beats': 'naive', 'by': 0.1},
                  {'metric': 'level_gap', 'min': -0.12, 'max': 0.12}],
    }
    path = project / 'scenarios/cars.yaml'
    path.write_text(yaml.safe_dump(scenario))
    given = ('run', '-s', 'cars', '-p', 'sweep.trials=4')
    surroundings = {'CD4ML_DATA_ROOT': str(tmp_path)}
    done = place.run(*given, cwd=project, **surroundings)
    assert done.returncode == 0, done.stderr
    assert place.json('cars', 'train', 'contract.json')['output']['quantile'] == 0.8
    metrics = place.json('cars', 'evaluate', 'metrics.json')
    assert abs(metrics['holdout']['level_gap']['value']) < 0.08
    assert metrics['errors'] is None      # to one side on purpose: no bias against anybody
    report = place.product('cars', 'report', 'report.html').read_text()
    assert 'lie below the predicted' in report
    assert 'the y that 80.0' in report
    edited(path, 'rounds: 60', 'rounds: 2')
    worse = place.run(*given, cwd=project, **surroundings)
    assert worse.returncode in (0, 3), worse.stderr
    found = place.run('compare', 'latest~1', 'latest', '-s', 'cars', cwd=project, **surroundings)
    assert found.returncode == 0, found.stderr
    written = next((tmp_path / 'products/cars/comparisons').glob('*/comparison.json'))
    assert '"pinball"' in written.read_text()
    assert 'worse' in found.stdout
