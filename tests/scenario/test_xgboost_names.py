"""What a scenario says about XGBoost's parameters is what the installed XGBoost says of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from pydantic import ValidationError

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.scenario.search_space import Search
from cd4ml_nb.scenario.xgboost_names import CHOICES, INSTEAD, OTHER_OBJECTIVES, PARAMETERS, REASONS
from cd4ml_nb.search.sampler import distributions, first_trial
from cd4ml_nb.training.training import fit

SUPPORTED = {*PARAMETERS, *CHOICES}
# of Python's functions, not of the library
ARGUMENTS = {'num_boost_round', 'n_estimators', 'early_stopping_rounds', 'feature_weights'}
NOT_NAMES = {'name', 'version', 'specified_updater'}  # of a saved configuration
SHAPES = [  # of a booster; each has parameters that the others lack
    {},
    {'booster': 'dart'},
    {'booster': 'gblinear'},
    {'booster': 'gblinear', 'updater': 'coord_descent', 'feature_selector': 'greedy'},
    {'tree_method': 'exact'},
    {'tree_method': 'approx'},
    {'objective': 'multi:softprob', 'num_class': 2},
    {'objective': 'reg:quantileerror', 'quantile_alpha': 0.5},
    {'objective': 'rank:ndcg'},
    {'objective': 'reg:tweedie'},
    {'objective': 'reg:pseudohubererror'},
    {'objective': 'survival:aft'},
    {'objective': 'count:poisson'},
]
VALUES = {
    'interaction_constraints': '[[0, 1]]',
    'monotone_constraints': '(1,0)',
    'booster': 'dart',
    'tree_method': 'hist',
    'device': 'cpu',
    'multi_strategy': 'one_output_per_tree',
    'grow_policy': 'lossguide',
    'objective': 'reg:squarederror',
    'eval_metric': 'mae',
    'sample_type': 'uniform',
    'normalize_type': 'tree',
    'feature_selector': 'cyclic',
    'process_type': 'default',
    'sampling_method': 'uniform',
    'default_direction': 'learn',
    'updater': 'grow_quantile_histmaker',
    'updater_seq': 'grow_colmaker',
    'aft_loss_distribution': 'normal',
    'lambdarank_pair_method': 'topk',
    'num_class': 0,
    'scale_pos_weight': 1,
    'base_score': 0.5,
    'num_target': 1,
    'num_feature': 2,
    'num_trees': 0,
    'max_bin': 16,
}


def data(shape: dict[str, Any]) -> xgb.DMatrix:
    """Sixty rows that any objective learns from."""
    rng = np.random.default_rng(0)
    matrix = xgb.DMatrix(rng.random((60, 2)), label=np.arange(60) % 2)
    if shape.get('objective') == 'rank:ndcg':
        matrix.set_group([30, 30])
    if shape.get('objective') == 'survival:aft':
        matrix.set_float_info('label_lower_bound', np.ones(60))
        matrix.set_float_info('label_upper_bound', np.full(60, 2.0))
    return matrix


def trained(shape: dict[str, Any], **more: Any) -> xgb.Booster:
    return fit({'device': 'cpu', 'nthread': 1} | shape | more, data(shape), 1)


def uses(name: str) -> bool:
    """Whether XGBoost uses a parameter with a booster of any shape."""
    for shape in SHAPES:
        try:
            trained(shape, **{name: VALUES.get(name, 1)})
            return True
        except UserError as error:
            assert 'are not used' in str(error)
        except xgb.core.XGBoostError:
            continue
    return False


@pytest.mark.parametrize('name', sorted((SUPPORTED | {*INSTEAD, *REASONS}) - ARGUMENTS))
def test_every_name_that_is_called_a_parameter_of_xgboost_is_used_by_it(name):
    assert uses(name)


def test_a_name_that_xgboost_does_not_know_is_used_by_no_booster():
    assert not uses('max_dept')


def leaves(value: Any) -> Iterator[str]:
    """The names of all single values in a nested configuration."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict | list):
                yield from leaves(item)
            else:
                yield name


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_no_name_in_a_configuration_of_xgboost_is_called_unknown(shape):
    found = set(leaves(json.loads(trained(shape).save_config()))) - NOT_NAMES
    assert len(found) > 10
    assert found <= SUPPORTED | {*INSTEAD, *REASONS}


def test_every_objective_of_xgboost_is_offered_or_said_not_to_be_supported():
    with pytest.raises(xgb.core.XGBoostError) as error:
        trained({'objective': 'reg:none'})
    named = set(re.findall(r'Objective candidate: (\S+)', str(error.value)))
    assert len(named) > 10
    assert named == {*CHOICES['objective'], *OTHER_OBJECTIVES}


def test_a_parameter_has_one_answer():
    assert not SUPPORTED & {*INSTEAD, *REASONS} and not {*INSTEAD} & {*REASONS}
    for name in SUPPORTED | {*INSTEAD, *REASONS}:
        with pytest.raises(ValidationError) as error:
            Search(fixed={name: []})
        assert 'has no parameter' not in str(error.value)


def test_a_whole_number_written_as_a_float_is_that_whole_number():
    search = Search.model_validate({
        'space': {
            'max_depth': {'choice': [3.0, 6.0]},
            'max_bin': {'low': 64.0, 'high': 256.0, 'integer': True},
            'reg_lambda': {'choice': [1.0, 2.5]},
        },
        'fixed': {'max_leaves': 31.0, 'subsample': 1.0},
    })
    space = distributions(search.space)
    asked = [first_trial(search.space), {'max_depth': space['max_depth'].choices[0]}]
    for value in (asked[0]['max_depth'], asked[0]['max_bin'], asked[1]['max_depth']):
        assert type(value) is int
    assert search.fixed == {'max_leaves': 31, 'subsample': 1.0}
    assert type(search.fixed['max_leaves']) is int and type(search.fixed['subsample']) is float
    assert space['reg_lambda'].choices == (1.0, 2.5)


@pytest.mark.parametrize(
    ('space', 'words'),
    [
        ({'max_depth': {'choice': [3.0, 6.5]}}, 'max_depth is 6.5, not a whole number'),
        (
            {'max_depth': {'low': 0.5, 'high': 20, 'log': True, 'integer': True}},
            'integer: true needs whole numbers as low and high, not 0.5',
        ),
        (
            {'min_child_weight': {'low': 0.5, 'high': 20, 'log': True, 'integer': True}},
            'integer: true needs whole numbers as low and high, not 0.5',
        ),
        (
            {'max_depth': {'low': 3, 'high': 9.5, 'integer': True}},
            'integer: true needs whole numbers as low and high, not 9.5',
        ),
    ],
)
def test_what_is_not_whole_is_refused_before_anything_runs(space, words):
    with pytest.raises(ValidationError, match=words):
        Search.model_validate({'space': space})
