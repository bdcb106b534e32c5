"""The keys of a scenario for models of partitions: what is meant is filled in, what cannot be is
refused."""

import pytest
import yaml

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.scenario.definition import read_scenario

PLAN = {
    'name': 'mine',
    'title': 'Mine',
    'task': 'regression',
    'data': {'source': 'a.csv'},
    'target': {'column': 'y'},
    'columns': {
        'make': {'type': 'category'},
        'km': {'type': 'number'},
        'vin': {'role': 'id'},
    },
}


def read(folder, **more):
    path = folder / 'mine.yaml'
    path.write_text(yaml.safe_dump(PLAN | more))
    return read_scenario(path)


def test_by_is_the_market_that_the_model_is_judged_by_unless_another_is_named(tmp_path):
    judged = {'partition': 'make'}
    assert read(tmp_path).partitions is None
    assert read(tmp_path, partitions={}, evaluate=judged).partitions.by == 'make'
    both = {'by': 'model', 'fallback': ['make', 'body']}
    found = read(tmp_path, partitions=both, evaluate=judged).partitions
    assert (found.by, found.levels, found.models) == (
        'model', ['body', 'make', 'model'], 'where_better'
    )


@pytest.mark.parametrize(('partitions', 'words'), [
    ({}, 'partitions needs a category: add by, or evaluate.partition'),
    ({'by': 'y'}, "partitions by 'y', which is the target"),
    ({'by': 'km'}, "partitions by 'km', which is a number"),
    ({'by': 'vin'}, "partitions by 'vin', which has the role id"),
    ({'by': 'make', 'fallback': ['km']}, "partitions by 'km', which is a number"),
    ({'by': 'make', 'fallback': ['make']}, "partitions names 'make' twice"),
    ({'by': 'make', 'models': 'all'}, 'each'),
    ({'by': 'make', 'min_rows': 3}, 'min_rows'),
])
def test_partitions_that_cannot_be_are_refused_in_one_line(tmp_path, partitions, words):
    with pytest.raises(UserError) as caught:
        read(tmp_path, partitions=partitions)
    assert words in str(caught.value) and caught.value.code == 'C02'
    assert '\n' not in str(caught.value)
