"""Trainings of a comparison: side by side, the same numbers whoever does the work, and an end in
one line."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweeps import alive, descendants, schema, table

from cd4ml_nb.artefacts.run_record import RunRecord
from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.artefacts.sweep import BlendMember
from cd4ml_nb.columns.table import write_table
from cd4ml_nb.core.errors import InfrastructureError, UserError
from cd4ml_nb.core.files import write_json
from cd4ml_nb.model.ensemble import Condition
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.runs.products import publish
from cd4ml_nb.scenario.metrics import score
from cd4ml_nb.scenario.search_space import of_algorithm
from cd4ml_nb.search.workers import Task
from cd4ml_nb.studies.alternatives import Alternative, EvaluationSet
from cd4ml_nb.studies.trainings import (
    Recipe,
    Trainings,
    recipe_of,
    resampled,
    train_again,
    training_tasks,
)
from cd4ml_nb.training.members import fit_winner
from cd4ml_nb.training.training import base_parameters, observed

LINES: list[str] = []
SPLIT = {'by': 'random', 'column': None, 'n': {}, 'hash': {}}
BEST = {'rounds': 15, 'value': 1.0, 'metric': 'mae', 'number': 0, 'n_trials': 1}


def made_alternative(
    folder: Path, name: str, task: str, depth: int, weight: str | None
) -> Alternative:
    """A run that has learned from 160 rows."""
    rows = table(task)
    content = schema(task)
    if weight is None:
        content['columns'] = content['columns'][:-1]
    contract = make_contract(Schema.model_validate(content), 'toy', 'Toy', '1.0.0')
    places = {product: folder / name / product for product in ('split', 'best', 'training')}
    write_table(rows[:120], places['split'] / 'train.parquet')
    write_table(rows[120:160], places['split'] / 'validation.parquet')
    write_json(places['split'] / 'schema.json', content)
    write_json(places['split'] / 'split.json', SPLIT)
    base = base_parameters(task, len(contract.output.classes or ()), 'cpu', 1, 0)
    params = {k: v for k, v in base.items() if k not in ('device', 'nthread', 'seed')} | {
        'max_depth': depth,
        'subsample': 0.7,
    }
    write_json(places['best'] / 'best.json', BEST | {'params': params})
    write_json(places['training'] / 'training.json', {'run_id': name})
    found = {product: published(place) for product, place in places.items()}
    return Alternative(RunRecord(run=name), found, None, contract)         # type: ignore[arg-type]


def published(work: Path) -> Path:
    """Files as products of a stage."""
    folder = work.with_name(f'{work.name}-made')
    content = {'stage': work.name, 'key': 'k', 'parts': {}, 'made_from': {}, 'seconds': 0.0}
    publish(work, folder, content, {path.stem: path.name for path in work.iterdir()})
    return folder


@pytest.fixture
def made(tmp_path):
    """Makes two runs and the rows that judge them."""
    def make(task: str, weight: str | None) -> tuple[list[Alternative], EvaluationSet]:
        rows = table(task)[160:].reset_index(drop=True)
        alternatives = [
            made_alternative(tmp_path, name, task, depth, weight)
            for name, depth in (('first', 2), ('second', 4))
        ]
        y = observed(alternatives[0].contract.output, rows['y'])
        weights = rows[weight].to_numpy() if weight else None
        return alternatives, EvaluationSet(rows, y, weights, None)
    return make


def again(
    alternatives: list[Alternative],
    evaluation_set: EvaluationSet,
    metric: str,
    same_rows: bool,
    times: int = 3,
) -> list[list[float]]:
    """What the trainings give, and the lines of progress in LINES; no process is left."""
    before = set(descendants(os.getpid()))
    LINES.clear()
    try:
        return train_again(alternatives, times, metric, evaluation_set, same_rows, 5, LINES.append)
    finally:
        assert not alive(set(descendants(os.getpid())) - before, 0)


def one_by_one(
    alternatives: list[Alternative],
    evaluation_set: EvaluationSet,
    metric: str,
    same_rows: bool,
    times: int = 3,
) -> list[list[float]]:
    """The same in this process, by the function that the stage `train` uses."""
    found = []
    for alternative in alternatives:
        best = alternative.best
        weight = None if evaluation_set.weight is None else 'w'
        values = []
        for task in training_tasks(alternative, times, 5, 0):
            if same_rows:
                rows = alternative.seen()
            else:
                rows = resampled(alternative.seen(), None, np.random.default_rng(task.seed))
            booster = fit_winner(
                alternative.contract,
                rows,
                best.params,
                best.rounds,
                weight,
                device='cpu',
                nthread=1,
                seed=task.seed,
            )
            said = predict(booster, alternative.contract, evaluation_set.table)
            scores = score(
                alternative.contract.task, evaluation_set.y, said, evaluation_set.weight
            )
            values.append(scores[metric])
        found.append(values)
    return found


@pytest.mark.parametrize('same_rows', [True, False])
@pytest.mark.parametrize('task, metric, weight', [
    ('regression', 'mae', 'w'),
    ('binary', 'auc', None),
    ('multiclass', 'log_loss', None),
])
def test_trainings_give_the_same_numbers_in_the_same_order_for_any_number_of_workers(
    made, monkeypatch, tmp_path, task, metric, weight, same_rows
):
    alternatives, evaluation_set = made(task, weight)
    expected = one_by_one(alternatives, evaluation_set, metric, same_rows)
    assert len({value for values in expected for value in values}) > 3
    for threads, workers, processes in ((1, 0, 1), (4, 1, 1), (4, 0, 4), (5, 2, 2)):
        monkeypatch.setenv('CD4ML_THREADS', str(threads))
        monkeypatch.setenv('CD4ML_WORKERS', str(workers))
        used = watched(monkeypatch, tmp_path / f'{threads}{workers}')
        assert again(alternatives, evaluation_set, metric, same_rows) == expected
        content = [line.split() for line in used.read_text().splitlines()]
        assert len({pid for pid, _ in content}) <= processes and {int(n) for _, n in content} == {
            threads // processes
        }
        assert LINES == [
            f'{name}: training again {k} of 3' for name in ('first', 'second') for k in (1, 2, 3)
        ]


def watched(monkeypatch, path: Path) -> Path:
    """A file to which each training writes its process and its threads."""
    import cd4ml_nb.studies.trainings
    fit = cd4ml_nb.training.training.fit

    def noted(params: dict[str, Any], *rest: Any) -> Any:
        with open(path, 'a') as file:
            file.write(f'{os.getpid()} {params["nthread"]}\n')
        return fit(params, *rest)

    monkeypatch.setattr('cd4ml_nb.training.members.fit', noted)
    return path


def test_trainings_use_more_than_one_process_at_a_time(made, monkeypatch, tmp_path):
    alternatives, evaluation_set = made('regression', None)
    monkeypatch.setenv('CD4ML_THREADS', '3')
    path = tmp_path / 'under_way'
    path.mkdir()

    def waits(*_: Any) -> Any:
        (path / str(os.getpid())).touch()
        until = time.monotonic() + 60
        while len(list(path.iterdir())) < 3:
            assert time.monotonic() < until, 'the others never begin'
            time.sleep(0.002)
        raise ValueError('three at once')

    monkeypatch.setattr('cd4ml_nb.training.members.fit', waits)
    with pytest.raises(UserError, match='training again 1 of 3 failed: three at once'):
        again(alternatives, evaluation_set, 'mae', True)


@pytest.mark.parametrize('workers', ['1', '3'])
def test_I05_a_training_whose_worker_is_killed_is_done_again(made, monkeypatch, tmp_path, workers):
    import cd4ml_nb.studies.trainings
    alternatives, evaluation_set = made('regression', 'w')
    expected = one_by_one(alternatives, evaluation_set, 'mae', False)
    fit = cd4ml_nb.training.training.fit
    monkeypatch.setenv('CD4ML_THREADS', '3')
    monkeypatch.setenv('CD4ML_WORKERS', workers)

    def deadly(params: dict[str, Any], *rest: Any) -> Any:
        marks = [tmp_path / f'{params["seed"]}.{k}' for k in range(2)]
        fresh = [mark for mark in marks if not mark.exists()]
        if fresh and params['seed'] % 2:
            fresh[0].touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(params, *rest)

    monkeypatch.setattr('cd4ml_nb.training.members.fit', deadly)
    assert again(alternatives, evaluation_set, 'mae', False) == expected
    assert list(tmp_path.glob('*.1')) and len(LINES) == 6


@pytest.mark.parametrize('workers', ['1', '3'])
def test_I19_a_training_over_which_three_workers_die_ends_the_comparison_in_one_line(
    made, monkeypatch, workers
):
    alternatives, evaluation_set = made('regression', None)
    monkeypatch.setenv('CD4ML_THREADS', '3')
    monkeypatch.setenv('CD4ML_WORKERS', workers)

    def deadly(params: dict[str, Any], *_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr('cd4ml_nb.training.members.fit', deadly)
    with pytest.raises(InfrastructureError) as caught:
        again(alternatives, evaluation_set, 'mae', True)
    reason = 'its worker was ended by signal 9 (SIGKILL), 3 times: too little memory?'
    todo = 'free memory, or set fewer workers: CD4ML_WORKERS=1'
    number = '1' if workers == '1' else '[123]'      # side by side, any of them may end first
    line = rf'ERROR I19 first: training again {number} of 3 failed: '
    assert re.fullmatch(line + re.escape(f'{reason} — {todo}'), caught.value.line)


def test_a_training_that_xgboost_refuses_ends_the_comparison_in_one_line(made):
    alternatives, evaluation_set = made('regression', None)
    path = alternatives[1].folders['best'] / 'best.json'
    best = json.loads(path.read_text())
    write_json(path, best | {'params': best['params'] | {'max_depth': -3}})
    with pytest.raises(UserError) as caught:
        again(alternatives, evaluation_set, 'mae', True)
    assert (
        caught.value.line.startswith('ERROR RUN second: training again 1 of 3 failed: ')
        and '--trainings 0' in caught.value.line
    )


ELSEWHERE = '''import json, pickle, sys
from cd4ml_nb.search.workers import Task
evaluate = pickle.load(open(sys.argv[1], 'rb'))
for line in sys.stdin:
    print(json.dumps(evaluate(Task(**json.loads(line)), None, lambda: 1)), flush=True)
'''


@pytest.mark.parametrize('same_rows', [True, False])
def test_a_worker_that_shares_no_memory_trains_the_same_from_data_alone(made, tmp_path, same_rows):
    alternatives, evaluation_set = made('regression', 'w')
    recipes = {
        a.name: Recipe(a.contract, a.seen(), 'w', a.split, same_rows, evaluation_set)
        for a in alternatives
    }
    tasks = [task for alternative in alternatives for task in training_tasks(alternative, 2, 5, 0)]
    assert pickle.loads(pickle.dumps(tasks)) == tasks
    (tmp_path / 'worker').write_bytes(pickle.dumps(Trainings('mae', recipes, 'cpu', 1)))
    lines = ''.join(json.dumps(vars(task)) + '\n' for task in tasks)
    done = subprocess.run(
        [sys.executable, '-c', ELSEWHERE, str(tmp_path / 'worker')],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = [json.loads(line)['value'] for line in done.stdout.splitlines()]
    expected = again(alternatives, evaluation_set, 'mae', same_rows, times=2)
    assert [values[:2], values[2:]] == expected


def test_a_blend_is_trained_again_as_a_blend(made):
    alternatives, evaluation_set = made('regression', 'w')
    recipe = recipe_of(alternatives[0], evaluation_set, True)
    params = alternatives[0].best.params
    members = [
        BlendMember(number=0, weight=0.7, params=params, rounds=9),
        BlendMember(number=1, weight=0.3, params=of_algorithm('linear', params), rounds=9),
    ]
    trainings = Trainings('mae', {'first': replace(recipe, members=members)}, 'cpu', 1)
    found = trainings(Task(0, {}, 'first', 0, 5), lambda rung, value: True, lambda: 1)
    technical = {'device': 'cpu', 'nthread': 1, 'seed': 5}
    contract = alternatives[0].contract
    model = fit_winner(contract, recipe.seen, {}, 0, 'w', members, **technical)
    said = predict(model, contract, evaluation_set.table)
    there = score('regression', evaluation_set.y, said, evaluation_set.weight)['mae']
    assert found['value'] == pytest.approx(there, rel=1e-6)


def test_partitions_are_trained_again_with_models_of_their_own(made):
    alternatives, evaluation_set = made('regression', 'w')
    conditions = [Condition('kind', ('u',))]
    recipe = recipe_of(alternatives[0], evaluation_set, True)
    params, rounds = alternatives[0].best.params, alternatives[0].best.rounds
    trainings = Trainings('mae', {'first': replace(recipe, partitions=conditions)}, 'cpu', 1)
    found = trainings(Task(0, params, 'first', rounds, 5), lambda rung, value: True, lambda: 1)
    contract = alternatives[0].contract
    expected = []
    for partitions in (conditions, []):
        model = fit_winner(contract, recipe.seen, params, rounds, 'w', (), partitions,
                           device='cpu', nthread=1, seed=5)
        said = predict(model, contract, evaluation_set.table)
        expected.append(score('regression', evaluation_set.y, said, evaluation_set.weight)['mae'])
    assert found['value'] == pytest.approx(expected[0], rel=1e-6)
    assert found['value'] != pytest.approx(expected[1], rel=1e-6)


def test_a_task_is_frozen():
    with pytest.raises(AttributeError):
        Task(1).seed = 2      # type: ignore[misc]
