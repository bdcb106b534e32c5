"""Cross-validation: each row measures as often as any other, and no row measures what its kin or
the future has taught."""

import numpy as np
import pandas as pd
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import schema, table

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.artefacts.split_record import SplitRecord
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.scenario.definition import Validation
from cd4ml_nb.scenario.search_space import Search
from cd4ml_nb.search.folds import fold_sides, make_folds, sides_of
from cd4ml_nb.search.trial import problem_of, run_trial
from cd4ml_nb.training.training import base_parameters


@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(20, 200),
    folds=st.integers(2, 7),
    repeats=st.integers(1, 3),
    lumps=st.integers(8, 60),
    seed=st.integers(0, 99),
)
def test_each_row_measures_once_in_each_repeat_and_lumps_and_time_are_respected(
    n, folds, repeats, lumps, seed
):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n).astype(float)
    lump = np.arange(n) % min(lumps, n)
    for together in (None, lump):
        sides = fold_sides(y, folds, repeats, seed, together)
        assert len(sides) == folds * repeats
        for repeat in range(repeats):
            measuring = np.concatenate([b for _, b in sides[repeat * folds :][:folds]])
            assert np.array_equal(np.sort(measuring), np.arange(n))
        for teach, measure in sides:
            assert len(teach) + len(measure) == n
            if together is not None:
                assert not set(lump[teach]) & set(lump[measure])
    day = rng.permutation(n) // 2
    later = fold_sides(y, folds, repeats, seed, None, day)
    assert all(day[teach].max() < day[measure].min() for teach, measure in later)


def test_a_trial_over_folds_is_the_mean_of_trials_and_each_fold_is_prepared_from_its_own_rows():
    rows = table('binary')
    plan = Schema.model_validate(schema('binary'))
    contract = make_contract(plan, 'toy', 'Toy', '1.0.0')
    split = SplitRecord.model_validate({'by': 'random', 'hash': {}})
    sides = sides_of(rows, split, plan, Validation(folds=3, repeats=2), 0)
    prepared: list[pd.DataFrame] = []

    def prepare(teaching):
        prepared.append(teaching)
        return contract

    folds = make_folds(rows, sides, prepare, 'w', 1)
    assert [len(teaching) for teaching in prepared] == [len(teach) for teach, _ in sides]
    base = base_parameters('binary', 0, 'cpu', 1, 0)
    search = Search(rounds=20, early_stopping=20, prune='none')
    chosen = {'learning_rate': 0.3, 'max_depth': 2}
    found = run_trial(chosen, problem_of('binary', 'auc', base, search, folds))
    alone = [
        dict(run_trial(chosen, problem_of('binary', 'auc', base, search, [fold]))['curve'])
        for fold in folds
    ]
    assert np.allclose(found['folds'], [curve[found['rounds']] for curve in alone], atol=1e-6)
    assert abs(np.mean(found['folds']) - found['value']) < 1e-12
    means = {at: np.mean([curve[at] for curve in alone]) for at in alone[0] if at <= 20}
    assert found['rounds'] == max(means, key=lambda at: (round(means[at], 9), -at))


def test_copies_and_entities_stay_in_one_fold():
    rows = pd.DataFrame({'id': range(60), 'x': np.arange(60) // 3, 'y': np.arange(60) // 3 * 1.0})
    plan = Schema.model_validate({
        'target': {'name': 'y', 'task': 'regression'},
        'columns': [
            {'name': 'id', 'type': 'number', 'role': 'id'},
            {'name': 'x', 'type': 'number', 'role': 'feature'},
        ],
    })
    for about in ({'repeats': 'copies'}, {'by': 'group', 'entity': ['x']}):
        split = SplitRecord.model_validate({'by': 'random', 'hash': {}} | about)
        for teach, measure in sides_of(rows, split, plan, Validation(folds=4), 1):
            assert not set(rows['x'][teach]) & set(rows['x'][measure])
