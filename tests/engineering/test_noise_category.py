"""A category of 5,000 values that says nothing gains nothing through the mean of the target in a
whole run: by validation rows, by folds and on the holdout. The mean over all rows, as it is often
written, seems to gain on each of them."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from projects import write_features, write_scenario
from runs import Place, copied_project

pytestmark = pytest.mark.slow

N_ROWS = 10_000
SHOPS = 5_000


class Errors(NamedTuple):
    """Mean absolute error of the best trial, where trials are measured, and on the holdout."""

    measured: float
    holdout: float


def sales() -> pd.DataFrame:
    """Sales that follow from two numbers; which shop it was tells nothing."""
    rng = np.random.default_rng(7)
    visitors, rain = rng.random((2, N_ROWS))
    table = pd.DataFrame({
        'visitors': visitors.round(4),
        'rain': rain.round(4),
        'shop': [f'shop {k}' for k in rng.integers(0, SHOPS, N_ROWS)],
        'sales': (50 + 40 * visitors - 20 * rain**2 + rng.normal(0, 5, N_ROWS)).round(3),
    })
    return table.assign(usual=table.groupby('shop')['sales'].transform('mean').round(3))


def scenario(name: str, ignored: list[str], validation: dict, features: dict | None) -> dict:
    words = {
        'name': name,
        'title': 'Sales',
        'task': 'regression',
        'data': {'source': 'data/sales.csv'},
        'target': {'column': 'sales'},
        'columns': {column: {'role': 'ignore'} for column in ignored},
        'validation': validation,
        'search': {'rounds': 150},
        'gates': [{'metric': 'r2', 'min': 0.0}],
    }
    return words | ({'features': features} if features else {})


@pytest.mark.parametrize('validation', [{}, {'folds': 5}], ids=['validation rows', 'folds'])
def test_the_mean_of_a_noise_category_gains_nothing_in_a_run_where_its_naive_form_does(
    tmp_path, validation
):
    project = copied_project(tmp_path / 'project', 'scenarios/plain.yaml')
    (project / 'data').mkdir()
    sales().to_csv(project / 'data/sales.csv', index=False)
    write_features(
        project, 'shops', 'from cd4ml_nb.model.ready_made import target_mean',
        "usual_sales = target_mean('shop')",
    )
    use = {'from': 'shops', 'use': ['usual_sales']}
    place = Place(tmp_path)
    errors = {}
    for name, ignored, features in (
        ('plain', ['shop', 'usual'], None),
        ('cross_fitted', ['shop', 'usual'], use),
        ('naive', ['shop'], None),
    ):
        write_scenario(project, name, scenario(name, ignored, validation, features))
        done = place.run('run', '-q', '-s', name, '-p', 'sweep.trials=5', cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
        best = place.json(name, 'sweep', 'best.json')
        holdout = place.json(name, 'evaluate', 'metrics.json')['holdout']
        errors[name] = Errors(best['value'], holdout['mae']['value'])
    contract = place.json('cross_fitted', 'train', 'contract.json')
    assert 'usual_sales' in str(contract), 'the feature was not learned from'
    for plain, cross_fitted, naive in zip(*errors.values(), strict=True):
        assert cross_fitted > 0.99 * plain, errors
        assert naive < 0.95 * plain, errors
