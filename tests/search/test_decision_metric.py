"""A metric that depends on the threshold is measured where the scenario's decision cuts, and only
then does the decision belong to what a sweep is made of."""

import numpy as np
import pytest
from sweeps import schema, table

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.scenario.certainty import Costs, Decision
from cd4ml_nb.scenario.definition import parts_read, read_scenario
from cd4ml_nb.scenario.search_space import Search
from cd4ml_nb.search.trial import make_problem, run_trial
from cd4ml_nb.training.training import base_parameters

GRID = np.linspace(0.01, 0.99, 99).tolist()


def f1_of_a_trial(decision: Decision | None) -> float:
    """The F1 of one trial of one round, so that nothing but the threshold tells two apart."""
    rows = table('binary', n=400)
    contract = make_contract(Schema.model_validate(schema('binary')), 'toy', 'Toy', '1.0.0')
    problem = make_problem(
        'binary', 'f1', contract, base_parameters('binary', 0, 'cpu', 1, 0),
        Search(rounds=1, prune='none'), rows[:250], rows[250:], decision=decision,
    )
    return run_trial({'learning_rate': 0.1, 'max_depth': 3}, problem)['value']


def test_a_trial_is_judged_at_the_threshold_that_its_model_would_get():
    at_half = f1_of_a_trial(None)
    each = [f1_of_a_trial(Decision(threshold=threshold)) for threshold in GRID]
    assert each[GRID.index(0.5)] == at_half
    chosen = f1_of_a_trial(Decision(metric='f1'))
    assert chosen == pytest.approx(max(each), abs=1e-9) and chosen > at_half
    dear = f1_of_a_trial(Decision(costs=Costs(false_positive=20, false_negative=1)))
    assert dear < chosen


@pytest.mark.parametrize(('metric', 'belongs'), [('f1', True), ('recall', True), ('auc', False)])
def test_a_decision_belongs_to_a_sweep_whose_metric_depends_on_it(tmp_path, metric, belongs):
    path = tmp_path / 'sold.yaml'
    path.write_text(
        'name: sold\ntitle: Sold\ntask: binary\ndata: {source: sold.csv}\n'
        'target: {column: sold, classes: ["no", "yes"], positive: "yes"}\n'
        f'decision: {{threshold: 0.3}}\nsearch: {{metric: {metric}}}\n'
    )
    seen = parts_read(read_scenario(path), ['search'])
    assert ('decision' in seen) == belongs
