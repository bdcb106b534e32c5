"""What a scenario says of algorithms, blends, folds, directions and weights of classes."""

from typing import Any

import pytest
from pydantic import ValidationError

from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.scenario.search_space import OWN, Search, of_algorithm

FORM = {'name': 's', 'title': 'S', 'data': {'source': 'a.csv'}, 'target': {'column': 'y'}}


def scenario(task: str = 'binary', **more: Any) -> Scenario:
    return Scenario.model_validate(FORM | {'task': task} | more)


@pytest.mark.parametrize(
    ('search', 'words'),
    [
        ({'algorithms': []}, 'at least 1 item'),
        ({'algorithms': ['trees', 'trees']}, 'names one twice'),
        ({'algorithms': ['tree']}, "'trees', 'forest', 'dart' or 'linear'"),
        ({'spaces': {'dart': {}}}, "search.spaces has 'dart', which is no algorithm here"),
        ({'against': 'size', 'blend': 3}, 'weighs single boosted trees only'),
        ({'against': 'size', 'algorithms': ['dart']}, 'weighs single boosted trees only'),
        ({'space': {'rate_drop': {'low': 0.1, 'high': 0.2}}}, "'rate_drop' belongs to dart"),
        ({'fixed': {'skip_drop': 0.1}}, "'skip_drop' belongs to dart"),
        ({'fixed': {'booster': 'dart'}}, 'search.algorithms chooses the booster'),
        (
            {
                'algorithms': ['linear'],
                'spaces': {'linear': {'max_depth': {'low': 2, 'high': 3, 'integer': True}}},
            },
            "a linear model has no 'max_depth'",
        ),
        (
            {'algorithms': ['linear'], 'fixed': {'reg_lambda': 1.0, 'reg_alpha': 0.0}, 'space': {}},
            'nothing is left to search',
        ),
        (
            {
                'algorithms': ['forest'],
                'spaces': {'forest': {'learning_rate': {'low': 0.1, 'high': 0.2}}},
            },
            "'learning_rate' is fixed for forest",
        ),
    ],
)
def test_a_search_that_contradicts_itself_is_refused(search, words):
    with pytest.raises(ValidationError, match=words):
        scenario(search=search)


DIRECTED = {'columns': {'age': {'monotone': 'increasing'}}}


@pytest.mark.parametrize(
    ('task', 'more', 'words'),
    [
        ('multiclass', DIRECTED, 'of several classes none is higher'),
        ('binary', DIRECTED | {'search': {'algorithms': ['trees', 'linear']}}, 'linear keeps no'),
        (
            'regression',
            DIRECTED | {'search': {'fixed': {'objective': 'reg:absoluteerror'}}},
            'keeps no monotone',
        ),
        (
            'binary',
            {'columns': {'age': {'monotone': 'increasing', 'type': 'category'}}},
            'a category has none',
        ),
        (
            'regression',
            {'target': {'column': 'y', 'class_weights': 'balanced'}},
            'class_weights is for classes',
        ),
        ('binary', {'target': {'column': 'y', 'class_weights': {'a': 0}}}, 'greater than 0'),
        ('binary', {'validation': {'folds': 1}}, 'one fold leaves nothing'),
        ('binary', {'validation': {'repeats': 2}}, 'repeats needs folds'),
    ],
)
def test_knowledge_that_a_model_could_not_keep_is_refused(task, more, words):
    with pytest.raises(ValidationError, match=words):
        scenario(task, **more)


def test_each_algorithm_has_a_space_of_its_own_without_what_is_fixed():
    found = scenario(
        search={'algorithms': list(OWN), 'fixed': {'max_depth': 4, 'learning_rate': 0.1}}
    )
    for name in OWN:
        space = found.search.space_of(name)
        assert space and not {'max_depth', 'learning_rate'} & set(space)
    fixed = of_algorithm('forest', {**found.search.fixed})
    assert (fixed['max_depth'], fixed['learning_rate']) == (4, 1.0)
    assert not {'max_depth', 'learning_rate'} & set(of_algorithm('linear', found.search.fixed))
    assert of_algorithm('trees', found.search.fixed) == found.search.fixed


def test_a_scenario_that_names_no_algorithm_searches_as_before():
    plan = Search()
    assert (plan.algorithms, plan.blend, plan.chooses) == (['trees'], 0, False)
    assert plan.space_of('trees') == plan.space
    assert scenario().validation.folds == 0
