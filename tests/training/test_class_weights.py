"""What a row of a class counts in training, from the scenario to the matrix."""

import numpy as np
import pytest
from sweeps import schema, table

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.checks.validation import class_weights
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.rows.split import seen_schema
from cd4ml_nb.scenario.definition import Target
from cd4ml_nb.training.members import LearningRows
from cd4ml_nb.training.training import matrix


def test_balanced_classes_weigh_the_same_in_sum_by_the_rows_that_are_seen():
    rows = table('binary')
    plan = Schema.model_validate(schema('binary', class_weights='balanced'))
    plan = plan.model_copy(update={'columns': []})
    weights = seen_schema(plan, rows).target.class_weights
    counts = rows['y'].value_counts()
    assert isinstance(weights, dict)
    assert {round(weights[name] * counts[name], 9) for name in weights} == {len(rows) / 2}


@pytest.mark.parametrize('weight', [None, 'w'])
def test_weights_of_classes_count_in_training_and_not_where_rows_measure(weight):
    rows = table('multiclass')
    names = schema('multiclass')['target']['classes']
    given = dict(zip(names, [1.0, 4.0, 2.5], strict=True))
    plan = Schema.model_validate(schema('multiclass', class_weights=given))
    contract = make_contract(plan, 'toy', 'Toy', '1.0.0')
    assert contract.to_json()['output']['class_weights'] == [1.0, 4.0, 2.5]
    own = np.ones(len(rows)) if weight is None else rows['w'].to_numpy()
    expected = own * rows['y'].map(given).to_numpy()
    first = matrix(contract, rows, weight)
    assert np.allclose(first.get_weight(), expected)
    _, linear = LearningRows(contract, rows, weight, 1).linear()
    assert np.allclose(linear.get_weight(), expected)
    there = matrix(contract, rows, weight, ref=first).get_weight()
    assert len(there) == 0 if weight is None else np.allclose(there, own)
    without = make_contract(Schema.model_validate(schema('multiclass')), 'toy', 'Toy', '1.0.0')
    assert 'class_weights' not in without.to_json()['output']


def test_a_weight_of_a_class_that_is_not_there_is_refused_by_name():
    weights = {'yess': 2.0}
    with pytest.raises(UserError, match="C02 target.class_weights: 'yess' is not a class — did"):
        class_weights(Target(column='y', class_weights=weights), ['no', 'yes'])
    found = class_weights(Target(column='y', class_weights={True: 2.0}), ['no', 'yes'])
    assert found == {'no': 1.0, 'yes': 2.0}
