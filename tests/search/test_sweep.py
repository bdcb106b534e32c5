"""Sweeps: the same trials whoever does the work and whoever is killed, exactly as many as were
asked for, and nothing that has ended is done twice."""

import json
import math
import os
import random
import resource
import signal
import sqlite3
import tempfile
import threading
import time
import warnings
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import xgboost as xgb
from effort import examples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stores import give_store
from sweeps import (
    PAGE,
    SPACE,
    alive,
    content,
    descendants,
    ends,
    entries,
    forked,
    journal_path,
    kill_workers,
    lives,
    product,
    repeatable,
    run_notebook,
    schema,
    shown_by_mlflow,
    sweep_project,
    table,
)
from tiny import Tiny

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.core.errors import Cd4mlError
from cd4ml_nb.core.lock import held
from cd4ml_nb.core.log import Log
from cd4ml_nb.core.settings import gpu_count
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.scenario.metrics import METRICS, score
from cd4ml_nb.scenario.search_space import Search
from cd4ml_nb.search.blending import blended
from cd4ml_nb.search.dealing import STATES, Record, holds, quick
from cd4ml_nb.search.halving import Judge
from cd4ml_nb.search.sampler import GaussianSampler, distributions
from cd4ml_nb.search.search import LOST, Course, best_of, search, study_of
from cd4ml_nb.search.study import make_workers
from cd4ml_nb.search.trial import (
    Problem,
    built_in_metric,
    make_problem,
    other_objective,
    recipe_parameters,
    rounds_on_all_rows,
    run_trial,
)
from cd4ml_nb.search.workers import (
    SAMPLE,
    Busy,
    Evaluate,
    ForkedWorkers,
    Heard,
    OneThread,
    Task,
    Workers,
)
from cd4ml_nb.tracking.optuna_study import frozen
from cd4ml_nb.training.members import fit_winner
from cd4ml_nb.training.training import base_parameters, device_used, observed

TRIALS = 10
N_TRAIN = 160
Members = list[tuple[str, int]]


@pytest.fixture(autouse=True)
def watchdog():
    """A sweep that waits for ever fails its test."""
    def bark(*_: Any) -> None:
        raise AssertionError('it hangs')

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ---- the search, with the workers of this process

def toy_search(**more: Any) -> Search:
    return Search.model_validate(
        {'space': SPACE, 'rounds': 120, 'early_stopping': 120, 'startup': 4} | more
    )


def toy_problem(
    task: str,
    metric: str,
    plan: Search,
    weight: str | None = 'w',
    device: str = 'cpu',
    **target: Any,
) -> Problem:
    rows = table(task)
    contract = make_contract(Schema.model_validate(schema(task, **target)), 'toy', 'Toy', '1.0.0')
    base = base_parameters(task, len(contract.output.classes or ()), device, 2, 3)
    return make_problem(task, metric, contract, base, plan, rows[:N_TRAIN], rows[N_TRAIN:], weight)


def swept(
    folder: Path,
    plan: Search,
    workers: Workers,
    wanted: int,
    metric: str = 'mae',
    mode: str = 'repeatable',
    name: str = 'toy',
    sample: int = 0,
    other: str = '',
) -> list[Record]:
    """The records of a sweep, which leaves no process and no open file behind."""
    before = set(descendants(os.getpid()))
    begun = len(os.listdir('/proc/self/fd'))
    with Log(folder / f'{name}.jsonl') as journal, workers:
        if not journal.entries:
            journal.append(study={'id': name})
        records = search(Course(plan, metric, wanted, 5, journal, mode, sample, other), workers)
    assert [r['number'] for r in records] == list(range(wanted))
    assert (
        not alive(set(descendants(os.getpid())) - before, 0)
        and len(os.listdir('/proc/self/fd')) <= begun
    )
    return records


def bare(records: list[Record]) -> list[Record]:
    return repeatable(records)


KINDS = {
    'regression of a logarithm, weighted, max_bin searched': (
        'regression',
        'mae',
        'w',
        {'max_bin': {'choice': [16, 64, 256]}},
    ),
    'two classes, a metric of XGBoost, weighted': ('binary', 'auc', 'w', {}),
    'several classes, a metric of our own': ('multiclass', 'macro_f1', None, {}),
}
SPACE_OF_FOREST = {
    'max_depth': {'low': 2, 'high': 9, 'integer': True},
    'subsample': {'low': 0.1, 'high': 1.0},
}
MEMBERS: list[Members] = [[('cpu', 2)], [('cpu', 1)] * 2, [('cpu', 1)] * 5]


@pytest.mark.parametrize('kind', [
    *list(KINDS)[:2], pytest.param(list(KINDS)[2], marks=pytest.mark.slow),
])
def test_records_are_the_same_for_any_number_of_workers_and_threads_and_the_winner_keeps_its_word(
    tmp_path, kind
):
    task, metric, weight, more = KINDS[kind]
    plan = toy_search(space=SPACE | more)
    problem = toy_problem(task, metric, plan, weight)
    assert bool(built_in_metric(problem)) == ('of XGBoost' in kind)
    one, *others = (
        bare(swept(tmp_path, plan, make_workers(problem, members), 14, metric, name=str(k)))
        for k, members in enumerate(MEMBERS)
    )
    assert others == [one, one]
    assert {r['state'] for r in one} == {'complete', 'pruned'}

    best = best_of(one, METRICS[metric].better)
    train = table(task)[:N_TRAIN]
    validation = table(task)[N_TRAIN:]
    technical = {'device', 'nthread', 'seed'}
    params = {k: v for k, v in (problem.base | best['params']).items() if k not in technical}
    booster = fit_winner(
        problem.contract,
        train,
        params,
        best['rounds'],
        weight,
        device='cpu',
        nthread=2,
        seed=3,
    )
    y = observed(problem.contract.output, validation['y'])
    there = score(
        task,
        y,
        predict(booster, problem.contract, validation),
        validation[weight].to_numpy() if weight else None,
    )[metric]
    # XGBoost's own metrics add up in float32
    assert there == pytest.approx(best['value'], rel=1e-5)


FOUR = ['trees', 'forest', 'dart', 'linear']


def test_four_algorithms_share_a_sweep_alike_for_any_number_of_workers_and_a_blend_is_fitted_anew(
    tmp_path,
):
    plan = toy_search(algorithms=FOUR, rounds=25, blend=3)
    found = []
    for members in MEMBERS[:2]:
        place = tmp_path / str(len(members))
        problem = replace(toy_problem('binary', 'auc', plan), margins=place)
        workers = make_workers(problem, members)
        records = swept(tmp_path, plan, workers, 12, 'auc', name=place.name)
        found.append((bare(records), blended(records, problem, plan.blend)))
    assert found[0] == found[1]
    records, (chosen, value) = found[0]
    tried = [r['params']['algorithm'] for r in records]
    assert set(tried[:8]) == set(FOUR) and min(map(tried.count, FOUR)) >= 2
    # a forest, dart and a linear model run to their end
    pruned = {r['params']['algorithm'] for r in records if r['state'] == 'pruned'}
    assert pruned <= {'trees'} and all(r['state'] != 'failed' for r in records)

    best = best_of(records, 'high')
    technical = {'device': 'cpu', 'nthread': 2, 'seed': 3}
    for r in [best, *(r for r in records[:4] if r['state'] == 'complete')]:
        params = recipe_parameters(problem.base, plan, r['params'])
        model = fit_winner(
            problem.contract, table('binary')[:N_TRAIN], params, r['rounds'], 'w', **technical
        )
        said = predict(model, problem.contract, table('binary')[N_TRAIN:])
        fold = problem.folds[0]
        there = score('binary', fold.y, said, fold.row_weight)['auc']
        assert there == pytest.approx(r['value'], rel=1e-5)
    if chosen:
        assert abs(sum(member.weight for member in chosen) - 1) < 1e-9 and len(chosen) <= 3
        assert value is not None and set(m.number for m in chosen) <= set(range(12))


ABSOLUTE = 'reg:absoluteerror'


def test_members_of_a_blend_learn_two_objectives_where_the_metric_is_the_absolute_error(tmp_path):
    plan = toy_search(blend=5, rounds=60)
    problem = replace(toy_problem('regression', 'mae', plan), margins=tmp_path / 'margins')
    other = other_objective(problem)
    workers = make_workers(problem, MEMBERS[0])
    records = swept(tmp_path, plan, workers, 20, other=other)
    # one of four is a repeat from trial 10 on: with the other objective, slower, and so on
    objectives = {r['number']: r['params'].get('objective') for r in records}
    assert [n for n, objective in objectives.items() if objective] == [10, 18]
    assert objectives[10] == objectives[18] == ABSOLUTE
    repeated = records[10]['params'].copy()
    del repeated['objective']
    assert repeated in [r['params'] for r in records[:10]]
    assert all(records[n]['state'] == 'complete' for n in (10, 14, 18))
    # the sampler learns nothing from them, a blend and the store take them as any other
    assert ABSOLUTE not in str([trial.params for trial in study_of(records, plan, 'mae').trials])
    assert {frozen(r, plan).params.get('objective') for r in records} == {None, ABSOLUTE}
    chosen, _ = blended(records, problem, plan.blend)
    by_number = {member.number: member.params['objective'] for member in chosen}
    assert all(by_number[n] == (objectives[n] or 'reg:squarederror') for n in by_number)


@pytest.mark.parametrize(
    'task, params, plan, rounds',
    [
        ('regression', {}, {'rounds': 500}, 150),      # 160 of 240 rows taught the trial
        ('regression', {}, {'rounds': 120}, 120),      # the scenario's own limit
        ('regression', {'booster': 'dart'}, {}, 100),
        ('regression', {'booster': 'gblinear'}, {}, 100),
        ('regression', {'num_parallel_tree': 100}, {}, 100),
        ('regression', {'quantile_alpha': 0.9}, {}, 100),
        ('regression', {}, {'against': 'size', 'rounds': 500}, 100),
        ('binary', {}, {'rounds': 500}, 100),
    ],
)
def test_a_model_of_numbers_has_rounds_in_proportion_to_the_rows_that_it_learns_from(
    task, params, plan, rounds
):
    metric = {'regression': 'mae', 'binary': 'auc'}[task]
    problem = toy_problem(task, metric, toy_search(**plan))
    assert rounds_on_all_rows(problem, params, 100) == rounds


@pytest.mark.parametrize(
    'changed, metric, more',
    [
        ({'blend': 0}, 'mae', {}),
        ({}, 'rmse', {}),
        ({'fixed': {'objective': 'reg:squarederror'}}, 'mae', {}),
        ({'space': SPACE | {'objective': {'choice': ['reg:gamma']}}}, 'mae', {}),
        ({}, 'mae', {'quantile': 0.9}),
        ({}, 'mae', {'monotone': 'increasing'}),
    ],
)
def test_members_of_a_blend_share_an_objective_that_is_named_or_that_another_would_break(
    changed, metric, more
):
    problem = toy_problem('regression', metric, toy_search(**{'blend': 5} | changed))
    if 'quantile' in more:
        base = base_parameters('regression', 0, 'cpu', 2, 3, more['quantile'])
        problem = replace(problem, base=base)
    if 'monotone' in more:
        first, *others = problem.contract.inputs
        directed = (replace(first, monotone=more['monotone']), *others)
        problem = replace(problem, contract=replace(problem.contract, inputs=directed))
    assert other_objective(problem) == ''


def test_I05_a_sweep_of_several_algorithms_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path):
    plan = toy_search(algorithms=['trees', 'forest'], spaces={'forest': SPACE_OF_FOREST})
    whole = bare(swept(tmp_path, plan, OneThread(napping), 20, name='whole'))
    chance = random.Random(0)

    class Cut(Exception): ...

    for _ in range(4):
        left = [chance.randint(1, 6)]

        def ended(text, left=left):
            left[0] -= 1
            if not left[0]:
                raise Cut

        with suppress(Cut), Log(tmp_path / 'cut.jsonl') as journal, OneThread(napping) as workers:
            if not journal.entries:
                journal.append(study={'id': 'cut'})
            search(Course(plan, 'mae', 20, 5, journal), workers, ended)
    assert bare(swept(tmp_path, plan, ForkedWorkers([napping] * 3), 20, name='cut')) == whole


def napping(task: Task, judge: Judge, busy: Busy) -> dict[str, Any]:
    """A trial without a model, which takes 20 ms or so."""
    params = task.params
    floor = abs(math.log(params.get('learning_rate', 0.3))) + params['max_depth'] / 9
    curve = []
    for rung in range(4):
        time.sleep(0.003 + 0.004 * params['subsample'])
        curve.append([rung, floor + 0.5 ** rung])
        if not judge(rung, floor + 0.5 ** (rung + 1)):
            return {'state': 'pruned', 'value': curve[-1][1], 'rounds': rung, 'curve': curve}
    return {'state': 'complete', 'value': floor, 'rounds': 4, 'curve': curve}


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory) -> list[Record]:
    return bare(swept(tmp_path_factory.mktemp('alone'), toy_search(), OneThread(napping), 40))


@pytest.mark.parametrize('seed', range(2))
def test_I05_workers_that_are_killed_at_random_moments_change_nothing(tmp_path, undisturbed, seed):
    project = Tiny(tmp_path)
    chance = random.Random(seed)
    over = threading.Event()
    kills = []

    def counted(task, judge, busy):
        with open(tmp_path / 'begun', 'ab') as file:
            file.write(b'x')
        return napping(task, judge, busy)

    def strike() -> None:
        kills.append(
            kill_workers(
                project, lambda: descendants(os.getpid()), lambda: not over.is_set(), chance, 25
            )
        )

    striking = threading.Thread(target=strike)
    striking.start()
    try:
        records = swept(project.home / '.studies', toy_search(), ForkedWorkers([counted] * 3), 40)
    finally:
        over.set()
        striking.join()
    assert bare(records) == undisturbed and kills[0] >= 5
    assert (tmp_path / 'begun').stat().st_size <= 40 + kills[0]  # each kill costs one trial at most


def test_I05_workers_end_with_their_coordinator_whatever_they_do(tmp_path):
    def endless(task, judge, busy):
        (tmp_path / f'{os.getpid()}.busy').touch()
        time.sleep(30)

    def kill_when_both_are_busy(pid: int) -> None:
        while len(list(tmp_path.glob('*.busy'))) < 2:
            time.sleep(0.005)
        time.sleep(0.05)                 # the one who looks has seen them
        os.kill(pid, signal.SIGKILL)

    ended = forked(
        lambda: swept(tmp_path, toy_search(), ForkedWorkers([endless] * 2), 4),
        kill_when_both_are_busy,
    )
    assert (ended.code, ended.left) == (-9, 0)


def test_I05_the_death_of_a_worker_that_has_nothing_to_do_is_no_trials_fault():
    with ForkedWorkers([napping]) as workers:
        for number in range(3):
            workers.start(Task(number, {'learning_rate': 0.1, 'max_depth': 1, 'subsample': 0.1}))
            while (heard := workers.heard()[0])[1] == 'rung':
                workers.answer(number, True)
            assert heard[:2] == (number, 'done')
            (worker,) = descendants(os.getpid())
            worker.kill()
            while lives(worker):
                time.sleep(0.002)


def test_a_lock_is_given_back_though_a_worker_was_forked_while_it_was_held(tmp_path):
    with ForkedWorkers([napping]) as workers:
        with held(tmp_path / 'lock', 0) as mine:
            # as the sender does, when a worker has died and is replaced
            assert mine
            workers.start(Task(0, {'learning_rate': 0.1, 'max_depth': 1, 'subsample': 0.1}))
        with held(tmp_path / 'lock', 0) as mine:
            assert mine


def test_I05_a_trial_over_which_three_workers_have_died_is_failed_and_the_sweep_goes_on(tmp_path):
    deaths = tmp_path / 'deaths'

    def deadly(task, judge, busy):
        if task.params['max_depth'] == 2:
            with open(deaths, 'a') as file:
                file.write(f'{json.dumps(task.params)}\n')
            os.write(2, b'page fault in the driver\n')
            os.kill(os.getpid(), signal.SIGKILL)
        return napping(task, judge, busy)

    one, two = (
        swept(tmp_path, toy_search(), ForkedWorkers([deadly] * n), 20, name=str(n)) for n in (1, 3)
    )
    assert bare(one) == bare(two)
    failed = [r for r in one if r['state'] == 'failed']
    assert (
        [r['params']['max_depth'] for r in failed] == [2] * len(failed)
        and failed
        and {r['state'] for r in one} >= {'complete', 'failed'}
    )
    assert {r['reason'] for r in failed} == {
        f'its worker was ended by signal 9 (SIGKILL): page fault in the driver, {LOST} times: too'
        ' little memory?'
    }
    assert len(deaths.read_text().splitlines()) == 2 * LOST * len(failed)


def test_I19_a_trial_that_does_not_fit_into_memory_is_failed_and_the_sweep_goes_on(tmp_path):
    def hungry(task, judge, busy):
        rows = np.zeros((4_000_000, 8), np.float32)        # no memory yet, only addresses
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, resource.RLIM_INFINITY))
        try:
            if task.params['max_depth'] == 2:
                np.ones_like(rows)
            elif task.params['max_depth'] == 3:
                xgb.DMatrix(rows, nthread=1)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return napping(task, judge, busy)

    records = swept(tmp_path, toy_search(), ForkedWorkers([hungry] * 2), 20)
    for record in records:
        small = record['params']['max_depth'] not in (2, 3)
        assert (record['state'] != 'failed') == small and (
            record['reason'] == '' if small else record['reason'].startswith('out of memory')
        )
    assert {r['reason'] for r in records} == {'', 'out of memory', 'out of memory: std::bad_alloc'}


FULL = '''[12:13:14] /workspace/src/common/device_helpers.cu: 431: CUDA error
Memory allocation error on worker 0: Caching allocator: out of memory: cudaErrorMemoryAllocation
- Free memory: 1.2GB
Stack trace: ...'''


def test_I19_a_trial_that_does_not_fit_on_the_gpu_is_failed_and_its_worker_replaced(tmp_path):
    workers = tmp_path / 'workers'

    def full(task, judge, busy):
        with open(workers, 'a') as file:
            file.write(f'{os.getpid()} {task.params["max_depth"]}\n')
        if task.params['max_depth'] > 2:
            raise xgb.core.XGBoostError(FULL)
        return napping(task, judge, busy)

    records = swept(tmp_path, toy_search(), ForkedWorkers([full], once=True), 16)
    assert {r['reason'] for r in records if r['state'] == 'failed'} == {FULL.splitlines()[1]}
    calls = [line.split() for line in workers.read_text().splitlines()]
    for (pid, depth), (later, _) in zip(calls, calls[1:], strict=False):
        assert (pid != later) == (int(depth) > 2)          # only a worker that failed is replaced


@pytest.mark.parametrize('metric,more,words', [
    (
        'rmse',
        {'objective': {'choice': ['reg:squarederror', 'reg:gamma']}},
        'label must be positive',
    ),
    ('mape', {}, 'mape is inf on the validation rows'),
])
def test_a_trial_that_xgboost_refuses_or_whose_metric_is_not_finite_is_recorded_with_its_reason(
    tmp_path, metric, more, words
):
    plan = toy_search(space=SPACE | more)
    rows = table('regression')
    rows['y'] = np.round(np.log(rows['y']))
    linear = Schema.model_validate(schema('regression', scale='linear'))
    contract = make_contract(linear, 'toy', 'Toy', '1.0.0')
    problem = make_problem(
        'regression',
        metric,
        contract,
        base_parameters('regression', 0, 'cpu', 1, 0),
        plan,
        rows[:N_TRAIN],
        rows[N_TRAIN:],
    )
    one, two = (
        swept(tmp_path, plan, make_workers(problem, [('cpu', 1)] * n), 8, metric, name=str(n))
        for n in (1, 2)
    )
    failed = [r for r in one if r['state'] == 'failed']
    assert failed and all(
        words in r['reason'] and len(r['reason']) <= 300 and r['value'] is None for r in failed
    )
    assert all(
        (r['state'] == 'failed') == (r['params'].get('objective') != 'reg:squarederror')
        for r in one
    )
    # when XGBoost said it is not repeatable
    assert bare(one) == bare(two) and not any(r['reason'].startswith('[') for r in one)
    if not more:
        with pytest.raises(
            Cd4mlError, match=f'C15 search: none of 8 trials succeeded; the first says: {words}'
        ):
            best_of(one, METRICS[metric].better)


@pytest.mark.parametrize('against', ['size', pytest.param('latency', marks=pytest.mark.slow)])
def test_quality_can_be_weighed_against_the_size_or_the_speed_of_the_model(tmp_path, against):
    plan = toy_search(
        against=against,
        tolerance=0.03,
        space=SPACE | {'num_parallel_tree': {'low': 1, 'high': 12, 'integer': True}},
    )
    records = swept(
        tmp_path, plan, make_workers(toy_problem('regression', 'mae', plan), [('cpu', 1)] * 2), 14
    )
    assert {r['state'] for r in records} == {'complete'} and all(r[against] > 0 for r in records)
    best = min(r['value'] for r in records)
    near = [r for r in records if r['value'] <= 1.03 * best]
    chosen = best_of(records, 'low', against, plan.tolerance)
    assert (
        chosen in near
        and chosen[against] == min(r[against] for r in near)
        and 1 < len(near) < len(records)
    )
    points = {r['number']: (r['value'], r[against]) for r in records}
    front = {
        k
        for k, (value, cost) in points.items()
        if not any(v <= value and c <= cost and (v, c) != (value, cost) for v, c in points.values())
    }
    assert {trial.number for trial in study_of(records, plan, 'mae').best_trials} == front


def test_an_asynchronous_sweep_has_exactly_as_many_trials_and_goes_on_after_a_kill(tmp_path):
    for fault in ('journal.after:kill:9', 'journal.before:kill:20', ''):
        def work(fault: str = fault) -> None:
            os.environ['CD4ML_FAULT'] = fault
            swept(tmp_path, toy_search(), ForkedWorkers([napping] * 3), 24, mode='asynchronous')

        before = ends(at(tmp_path))
        ended = forked(work)
        assert (ended.code, ended.left) == (-9 if fault else 0, 0), ended
        assert before.items() <= ends(at(tmp_path)).items()
    assert sorted(ends(at(tmp_path))) == list(range(24)) and {
        r['state'] for r in ends(at(tmp_path)).values()
    } <= set(STATES)


def at(folder: Path) -> Tiny:
    """A project whose only sweep lies in a folder."""
    project = Tiny(folder / 'project')
    if not (project.home / '.studies').exists():
        project.home.mkdir(parents=True)
        (project.home / '.studies').symlink_to(folder)
    return project


@pytest.mark.parametrize('size', [300, 2500, 6000])
def test_I10_a_journal_that_cannot_grow_ends_the_sweep_in_one_line_and_loses_nothing(
    tmp_path, undisturbed, size
):
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        swept(tmp_path, toy_search(), ForkedWorkers([napping] * 2), 40)

    ended = forked(work)
    assert (
        (ended.code, ended.left) == (4, 0)
        and ended.error.startswith('InfrastructureError I10 ')
        and 'toy.jsonl' in ended.error
    )
    known = ends(at(tmp_path))
    records = swept(tmp_path, toy_search(), ForkedWorkers([napping] * 2), 40)
    assert (
        bare(records) == undisturbed and known.items() <= {r['number']: r for r in records}.items()
    )


def instantly(task: Task, judge: Judge, busy: Busy) -> dict[str, Any]:
    """A trial without a model, the better the quicker it learns and the shallower its trees."""
    value = abs(math.log(task.params['learning_rate'])) + task.params['max_depth']
    return {'state': 'complete', 'value': value, 'rounds': 1, 'curve': []}


@pytest.mark.parametrize(('more', 'expected'), [
    ({}, GaussianSampler),
    ({'sampler': 'gp'}, GaussianSampler),
    ({'sampler': 'tpe'}, optuna.samplers.TPESampler),
], ids=['as it comes', 'gp', 'tpe'])
def test_a_gaussian_process_suggests_the_trials_and_optunas_sampler_where_it_is_asked_for(
    tmp_path, monkeypatch, more, expected
):
    kinds = (GaussianSampler, optuna.samplers.TPESampler)
    suggested: dict[Any, dict[int, Any]] = {kind: {} for kind in kinds}     # number -> parameters

    def noted(kind: Any) -> None:
        suggest = kind.sample_relative

        def sample_relative(sampler: Any, study: Any, trial: Any, space: Any) -> dict[str, Any]:
            found = suggest(sampler, study, trial, space)
            suggested[kind][trial.number] = found
            return found

        monkeypatch.setattr(kind, 'sample_relative', sample_relative)

    for kind in kinds:
        noted(kind)
    plan = toy_search(frugal=False, prune='none', **more)
    tried = [record['params'] for record in swept(tmp_path, plan, OneThread(instantly), 20)]
    later = range(3 * plan.startup, 20)        # enough trials have ended for either to learn from
    assert [suggested[expected].get(number) for number in later] == [tried[n] for n in later]
    assert [kind for kind in kinds if suggested[kind]] == [expected]
    depths = [params['max_depth'] for params in tried]
    assert np.mean(depths[later.start :]) < np.mean(depths[: plan.startup])      # it has learned


@pytest.mark.gpu
def test_on_a_gpu_a_sweep_finds_the_same_loss_and_its_data_stays_on_the_device(tmp_path):
    plan = toy_search()

    def quiet(device: str) -> Evaluate:
        problem = toy_problem('regression', 'mae', plan, device=device)

        def evaluate(task, judge, busy):
            with warnings.catch_warnings(record=True) as heard:
                # XGBoost warns of each prediction for which it moves data
                warnings.simplefilter('always')
                result = run_trial(task.params | {'device': device}, problem, judge)
            assert not heard, heard[0].message
            booster = xgb.train(problem.base | task.params, problem.folds[0].binned(256)[0], 1)
            return result | {'device': device_used(booster)}
        return evaluate

    def work() -> None:         # in a child, since a process that has begun CUDA cannot be forked
        for device in ('cpu', 'cuda'):
            records = swept(
                tmp_path,
                plan,
                ForkedWorkers([quiet(device)], once=device == 'cuda'),
                12,
                name=device,
            )
            assert {r.get('device', r['reason']) for r in records} == {device}
            (tmp_path / device).write_text(str(best_of(records, 'low')['value']))

    assert forked(work).code == 0
    cpu, cuda = (float((tmp_path / device).read_text()) for device in ('cpu', 'cuda'))
    assert cuda == pytest.approx(cpu, rel=0.05)


# ---- any sweep at all: a made-up landscape, workers whose speed, deaths and failures are drawn

def story(seed: int, params: dict[str, Any]) -> tuple[list[float], str]:
    """How a trial with these parameters goes: what it says at each rung, and how it ends."""
    chance = random.Random(f'{seed} {json.dumps(params)}')
    loss = chance.choice([0.0, 1.0, chance.uniform(0, 2)])            # ties are common
    return [
        loss + chance.choice([0, 0, 1]) * 0.5**k for k in range(chance.randint(0, 4))
    ], chance.choice(['complete'] * 6 + ['failed', 'deadly'])


class Drawn(Workers):
    """Workers in which time passes as chance has it."""

    def __init__(self, n: int, seed: int, chance: random.Random, deaths: float = 0.0):
        self.n = n
        self.seed = seed
        self.chance = chance
        self.deaths = deaths
        self.under_way: dict[int, dict[str, Any]] = {}
        self.lost: dict[int, int] = {}

    def free(self) -> int:
        return self.n - len(self.under_way)

    def start(self, task: Task) -> None:
        assert self.free() and task.number not in self.under_way
        values, end = story(self.seed, task.params)
        self.under_way[task.number] = {'values': values, 'end': end, 'at': 0, 'waits': False}

    def answer(self, number: int, go_on: bool) -> None:
        one = self.under_way[number]
        assert one['waits']
        one |= {
            'waits': False,
            'at': one['at'] + 1,
            'end': one['end'] if go_on else 'pruned',
            'values': one['values'][: None if go_on else one['at'] + 1],
        }

    def heard(self) -> list[Heard]:
        moving = [number for number, one in self.under_way.items() if not one['waits']]
        assert moving, f'all wait for each other: {self.under_way}'
        seen = self.chance.sample(moving, self.chance.randint(1, len(moving)))
        struck = [
            number
            for number, one in self.under_way.items()
            if one['end'] != 'deadly'
            and self.lost.get(number, 0) < LOST - 1
            and (one['waits'] or number in seen)
            and self.chance.random() < self.deaths
        ]
        return [
            self.lose(number) if number in struck else self.step(number)
            for number in sorted({*seen, *struck})
        ]

    def lose(self, number: int) -> Heard:
        self.lost[number] = self.lost.get(number, 0) + 1
        del self.under_way[number]
        return Heard(number, 'lost', 'its worker was ended')

    def step(self, number: int) -> Heard:
        one = self.under_way[number]
        over = one['at'] == len(one['values'])
        if over and one['end'] == 'deadly':
            return self.lose(number)
        if not over:
            one['waits'] = True
            return Heard(number, 'rung', [one['at'], one['values'][one['at']]])
        del self.under_way[number]
        if one['end'] == 'failed':
            return Heard(number, 'failed', 'as it was drawn')
        value = one.get('value', min(one['values'], default=1.0))
        return Heard(
            number, 'done', {'state': one['end'], 'value': value, 'rounds': one['at'], 'curve': []}
        )


class OnRows(Drawn):
    """The same where trials begin with a sample of the rows: nothing is judged on the way."""

    def start(self, task: Task) -> None:
        super().start(task)
        sampled = task.rows == SAMPLE
        loss = min(self.under_way[task.number]['values'], default=1.0)
        _, end = story(self.seed, task.params | {'sampled': sampled})
        self.under_way[task.number] |= {'values': [], 'end': end, 'value': loss + 0.5 * sampled}


def mortal(
    draw: st.DrawFn, kind: type[Drawn], seed: int, chance: int      # of the order of events
) -> Drawn:
    """Some workers, of which in half of the cases three in ten die over a trial."""
    n = draw(st.sampled_from([1, 2, 3, 9]))
    return kind(n, seed, random.Random(chance), draw(st.sampled_from([0.0, 0.3])))


class Cut(Exception):
    """The coordinator is ended."""


def cut_after(journal: Log, n: int) -> Log:
    """A journal whose process ends after so many lines, before the last is written or after it."""
    append = journal.append
    left = [n]

    def appended(**entry: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Cut
        append(**entry)

    journal.append = appended      # type: ignore[method-assign]
    return journal


def quota_kept(records: list[Record], plan: Search) -> None:
    """At each rung a trial has gone on exactly if few enough of those before it stood better, by
    their share of all trials so far; the slow trials of a blend have all gone on."""
    # else: the best again, with a slower learning rate
    suggested = [holds(distributions(quick(plan.space)), r['params']) for r in records]
    for record, own in zip(records, suggested, strict=True):
        rivals = [
            r
            for r, quickly in zip(records[: record['number']], suggested, strict=False)
            if quickly or not own
        ]
        for rung, value in enumerate(record['expected']):
            standing = [
                r['expected'][rung] if rung < len(r['expected']) else r['value']
                for r in rivals
                if rung < len(r['expected']) or r['state'] == 'complete'
            ]
            allowed = max(1, math.ceil((len(rivals) + 1) * plan.keep ** (rung + 1) - 1e-9))
            stopped = record['state'] == 'pruned' and rung == len(record['expected']) - 1
            outdone = sum(other < value for other in standing) >= allowed
            assert stopped == (outdone and not (plan.blend and not own)), (record, rung)


@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@given(st.data())
def test_any_sweep_ends_with_exactly_its_trials_and_each_is_what_it_would_be_alone(data):
    draw = data.draw
    seed = data.draw(st.integers(0, 10_000))
    wanted = draw(st.integers(1, 24))
    keep = draw(st.sampled_from([0.1, 1 / 3, 0.5, 0.9]))
    window = draw(st.integers(1, 9))
    plan = toy_search(
        keep=keep,
        window=window,
        startup=draw(st.sampled_from([3, 30])),
        sampler=draw(st.sampled_from(['gp', 'tpe'])),
        blend=draw(st.sampled_from([0, 5])),
    )
    other = draw(st.sampled_from(['', ABSOLUTE])) if plan.blend else ''
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = Drawn(1, seed, random.Random(0))
        alone = bare(swept(folder, plan, first, wanted, name='alone', other=other))
        for cut in draw(st.lists(st.integers(0, 40), max_size=3)):
            workers = mortal(draw, Drawn, seed, cut)
            so_far = draw(st.integers(1, wanted + 5))
            with Log(folder / 'toy.jsonl') as journal, suppress(Cut):
                cut_off = cut_after(journal, cut)
                search(Course(plan, 'mae', so_far, 5, cut_off, other=other), workers)
        workers = mortal(draw, Drawn, seed, seed)
        assert bare(swept(folder, plan, workers, wanted, other=other)) == alone
        quota_kept(alone, plan)
        swept(
            folder,
            plan,
            Drawn(draw(st.integers(1, 9)), seed, random.Random(seed), 0.2),
            wanted,
            mode='asynchronous',
            name='hasty',
            other=other,
        )


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@given(st.data())
def test_where_trials_begin_with_a_sample_the_best_there_learn_from_all_rows_whoever_is_killed(
    data,
):
    draw = data.draw
    seed = data.draw(st.integers(0, 10_000))
    wanted = draw(st.integers(1, 24))
    keep = draw(st.sampled_from([0.1, 0.2, 0.5]))
    plan = toy_search(keep=keep, window=draw(st.integers(1, 9)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = bare(
            swept(folder, plan, OnRows(1, seed, random.Random(0)), wanted, name='alone', sample=90)
        )
        for cut in draw(st.lists(st.integers(0, 60), max_size=3)):
            workers = mortal(draw, OnRows, seed, cut)
            with Log(folder / 'toy.jsonl') as journal, suppress(Cut):
                search(Course(plan, 'mae', wanted, 5, cut_after(journal, cut), sample=90), workers)
        workers = mortal(draw, OnRows, seed, seed)
        assert bare(swept(folder, plan, workers, wanted, sample=90)) == alone
        ranked = sorted(
            (r for r in alone if 'sample' in r), key=lambda r: (r['sample'], r['number'])
        )
        places = max(1, math.floor(wanted * keep + 1e-9))
        assert all(r['state'] in ('complete', 'failed') for r in ranked[:places]) and all(
            r['state'] == 'pruned' for r in ranked[places:]
        )
        assert all(
            r['sample'] == r['value'] + 0.5 * (r['state'] == 'complete')
            for r in ranked
            if r['state'] != 'failed'
        )
        hasty = swept(
            folder,
            plan,
            OnRows(draw(st.integers(1, 9)), seed, random.Random(seed), 0.2),
            wanted,
            mode='asynchronous',
            name='hasty',
            sample=90,
        )
        assert sum(r['state'] == 'complete' for r in hasty) <= places


def test_a_sample_of_the_rows_costs_a_part_and_the_winner_has_learned_from_all(tmp_path):
    plan = toy_search(sample=0.25, keep=0.3)
    problem = toy_problem('multiclass', 'log_loss', plan)
    assert (
        problem.sample is not None
        and problem.sample.folds[0].binned(256)[0].num_row() <= 0.25 * N_TRAIN + 3
        and problem.folds[0].binned(256)[0].num_row() == N_TRAIN
    )
    assert problem.sample.search.rounds == 76 and len(set(problem.sample.folds[0].y)) == 3
    one, other = (
        bare(
            swept(
                tmp_path,
                plan,
                make_workers(problem, members),
                10,
                'log_loss',
                name=str(len(members)),
                sample=90,
            )
        )
        for members in MEMBERS[:2]
    )
    assert one == other
    complete = [r for r in one if r['state'] == 'complete']
    assert len(complete) == 3 and max(r['sample'] for r in complete) <= min(
        r['value'] for r in one if r['state'] == 'pruned'
    )
    whole = toy_problem(
        'multiclass', 'log_loss', plan.model_copy(update={'sample': 1.0, 'prune': 'none'})
    )
    assert complete[0]['value'] == run_trial(complete[0]['params'], whole)['value']
    assert (
        toy_problem('multiclass', 'log_loss', toy_search(sample=0.25, prune='none')).sample is None
    )


def test_a_trial_has_taken_what_it_took_on_the_sample_and_on_all_rows(tmp_path):
    def evaluate(task, judge, busy):
        time.sleep(0.2 if task.rows == SAMPLE else 0.1)
        return {
            'state': 'complete',
            'value': task.params['learning_rate'],
            'rounds': 1,
            'curve': [],
        }

    records = swept(
        tmp_path, toy_search(sample=0.25, keep=0.3), ForkedWorkers([evaluate] * 2), 4, sample=90
    )
    assert sorted(r['state'] for r in records) == ['complete', 'pruned', 'pruned', 'pruned']
    assert all(r['seconds'] >= (0.3 if r['state'] == 'complete' else 0.2) for r in records)


# ---- the notebook

def when_ended(project: Tiny, n: int) -> None:
    """Wait until so many trials have ended."""
    until = time.monotonic() + 300
    while len(ends(project)) < n and time.monotonic() < until:
        time.sleep(0.002)


@pytest.fixture
def made(tmp_path):
    """Makes projects that share nothing but the code."""
    def make(name: str = 'project', **options: Any) -> Tiny:
        project = sweep_project(tmp_path / name, **options)
        give_store(project.folder)
        return project
    return make


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Tiny:
    """A project whose notebook ran without any trouble."""
    project = sweep_project(tmp_path_factory.mktemp('whole') / 'project')
    give_store(project.folder)
    assert run_notebook(project, TRIALS).code == 0
    return project


@pytest.fixture
def again(made) -> Tiny:
    """Another such project, which may be damaged; a copy would not do, since MLflow's store is
    known by its path."""
    project = made()
    assert run_notebook(project, TRIALS).code == 0
    return project


def whole_in_mlflow(project: Tiny, *trials: int) -> None:
    """Each sweep is one run that is over, with exactly its trials below it."""
    assert shown_by_mlflow(project) == {
        'sweeps': len(trials),
        'trials': [list(range(n)) for n in trials],
        'running': 0,
    }


def test_what_a_sweep_has_found_and_on_which_device_stands_in_its_products(whole):
    best = product(whole, 'best')
    trials = product(whole, 'trials')['trials']
    assert (best['n_trials'], len(trials), best['device']) == (
        TRIALS,
        TRIALS,
        'cuda' if gpu_count() else 'cpu',
    )
    assert (
        best['value']
        == trials[best['number']]['value']
        == min(r['value'] for r in trials if r['state'] == 'complete')
    )
    whole_in_mlflow(whole, TRIALS)


def test_mlflow_shows_of_each_trial_which_device_it_ran_on(whole):
    with closing(sqlite3.connect(whole.folder / 'mlflow.db')) as database:
        shown = database.execute(
            'select number.value, device.value from tags number'
            ' left join tags device on device.run_uuid = number.run_uuid'
            " and device.key = 'cd4ml.device' where number.key = 'cd4ml.trial'"
        ).fetchall()
    trials = product(whole, 'trials')['trials']
    assert len(trials) == TRIALS
    assert dict(shown) == {str(trial['number']): trial['device'] for trial in trials}
    assert {trial['device'] for trial in trials} == {product(whole, 'best')['device']}


def test_I05_a_coordinator_that_is_killed_anywhere_loses_no_trial_that_has_ended(made, whole):
    project = made()
    chance = random.Random(1)
    # of a journal: the sweep, how it is shown, and of each trial its begin and its end
    lines = 2 * TRIALS + 2
    faults = [
        'before:kill:1', 'after:kill:1', 'before:kill:2', 'after:kill:4', 'random', 'random',
        'last',
    ]
    for fault in faults:
        left = lines - len(entries(project))
        before = ends(project)

        def struck(pid: int) -> None:
            "Nothing more than the fault itself."

        if fault == 'random':
            def struck(
                pid: int,
                n: int = min(len(before) + 1, TRIALS),
                pause: float = chance.uniform(0, 0.01),
            ) -> None:
                when_ended(project, n)
                time.sleep(pause)
                os.kill(pid, signal.SIGKILL)

        ended = run_notebook(
            project,
            TRIALS,
            struck,
            environment={
                'CD4ML_FAULT': f'journal.{f"after:kill:{left}" if fault == "last" else fault}'
            },
        )
        assert (ended.code, ended.left) == (-9, 0), (fault, ended)
        assert before.items() <= ends(project).items(), fault
    before = ends(project)
    assert sorted(before) == list(range(TRIALS))  # all have ended, and nothing is published yet
    assert run_notebook(project, TRIALS).code == 0
    assert ends(project) == before and content(project) == content(whole)
    whole_in_mlflow(project, TRIALS)


def test_more_trials_begin_with_those_that_are_known_and_the_same_ones_again_are_done_again(again):
    known = product(again, 'trials')['trials']
    assert run_notebook(again, TRIALS + 3).code == 0
    more = product(again, 'trials')['trials']
    assert len(more) == TRIALS + 3 and more[:TRIALS] == known        # when they ended included
    whole_in_mlflow(again, TRIALS + 3)
    before = content(again)
    assert run_notebook(again, TRIALS + 3).code == 0
    assert content(again) == before and not {r['at'] for r in more} & {
        r['at'] for r in product(again, 'trials')['trials']
    }
    whole_in_mlflow(again, TRIALS + 3, TRIALS + 3)


@pytest.mark.parametrize('damage', ['middle', 'end'])
def test_I12_a_damaged_journal_is_used_up_to_the_damage_and_what_follows_is_done_again(
    again, whole, damage
):
    path = journal_path(again)
    known = ends(again)
    content_before = path.read_bytes()
    lines = content_before.splitlines(keepends=True)
    kept = 8
    good = b''.join(lines[:kept])
    path.write_bytes(
        good
        + (
            lines[kept].replace(b'"', b"'", 1) + b''.join(lines[kept + 1 :])
            if damage == 'middle'
            else lines[kept][:20] + b'\0' * 500
        )
    )
    damaged = path.read_bytes()
    ended = run_notebook(again, TRIALS)
    assert ended.code == 0 and content(again) == content(whole)
    backups = list(path.parent.glob('*.damaged-*'))
    assert [b.read_bytes() for b in backups] == ([damaged] if damage == 'middle' else [])
    assert (
        (f'is damaged after line {kept}' in ended.printed and backups[0].name in ended.printed)
        if backups
        else 'damaged' not in ended.printed
    )
    old = {
        n: r
        for n, r in known.items()
        if json.dumps({'end': r}, separators=(',', ':')).encode() in good
    }
    assert old and old.items() <= ends(again).items() and not set(known) - set(ends(again))
    whole_in_mlflow(again, TRIALS)


def test_I12_a_journal_that_cannot_be_opened_or_that_another_process_has_ends_with_4_and_one_line(
    again,
):
    path = journal_path(again)
    with Log(path):
        ended = run_notebook(again, TRIALS + 1)
    assert (
        (ended.code, ended.left) == (4, 0)
        and ended.error.startswith('InfrastructureError I14 ')
        and path.name in ended.error
        and '\n' not in ended.error
    )
    path.unlink()
    path.mkdir()
    ended = run_notebook(again, TRIALS + 1)
    assert (
        (ended.code, ended.left) == (4, 0)
        and ended.error.startswith('InfrastructureError I10 ')
        and path.name in ended.error
        and '\n' not in ended.error
    )


def test_I09_a_disk_full_in_the_middle_of_the_journal_ends_with_4_and_the_sweep_goes_on_later(
    made, whole
):
    project = made()
    ended = run_notebook(project, TRIALS, environment={'CD4ML_FAULT': 'journal.before:enospc:6'})
    assert (
        (ended.code, ended.left) == (4, 0)
        and ended.error.startswith('InfrastructureError I09 ')
        and '.jsonl' in ended.error
    ), ended
    before = ends(project)
    assert (
        run_notebook(project, TRIALS).code == 0
        and before.items() <= ends(project).items()
        and content(project) == content(whole)
    )
    whole_in_mlflow(project, TRIALS)


def test_a_sweep_in_which_every_trial_fails_ends_with_2_and_leaves_nothing_running(made):
    project = made(fixed={'objective': 'reg:gamma'})  # of logarithms, some of them negative
    for _ in range(2):
        ended = run_notebook(project, 3)
        assert (ended.code, ended.left) == (2, 0) and '\n' not in ended.error
        assert (
            ended.error.startswith(
                'UserError C15 search: none of 3 trials succeeded; the first says: '
            )
            and 'label must be positive' in ended.error
        )
    scenario = project.folder / 'scenarios/used_cars.yaml'
    scenario.write_text(scenario.read_text().replace('reg:gamma', 'reg:squarederror'))
    assert run_notebook(project, 3).code == 0
    known = shown_by_mlflow(project)
    assert known['running'] == 0 and known['trials'][-1] == [0, 1, 2]


# ---- the command

TRAIN = """import numpy as np
import xgboost

matrix = xgboost.DMatrix(np.random.rand(5000, 4), label=np.random.rand(5000))
xgboost.train({'nthread': 2}, matrix, 5).num_boosted_rounds()"""


def uses_openmp(project: Tiny) -> None:
    """Have the notebook train a model, with two threads, before it forks."""
    path = project.folder / PAGE
    notebook = json.loads(path.read_text())
    place = next(
        k
        for k, cell in enumerate(notebook['cells'])
        if 'make_workers(problem, members) as workers' in ''.join(cell['source'])
    )
    notebook['cells'].insert(
        place,
        {
            'cell_type': 'code',
            'id': 'before',
            'metadata': {},
            'source': TRAIN,
            'outputs': [],
            'execution_count': None,
        },
    )
    path.write_text(json.dumps(notebook))


def test_I20_a_gpu_that_is_asked_for_and_not_there_ends_with_2_before_anything_runs(made):
    if gpu_count():
        pytest.skip('there is a GPU here')
    project = made()
    done = project.run('run', environment={'CD4ML_DEVICE': 'cuda'})
    assert (
        done.code == 2
        and done.last.startswith('ERROR I20 ')
        and len(done.err.strip().splitlines()) == 1
        and not list(project.home.glob('*/*'))
    )


@pytest.mark.slow
def test_I05_a_sweep_killed_then_stopped_by_ctrl_c_goes_on_in_a_kernel_and_is_whole(made):
    """Also where the kernel has used OpenMP before."""
    slow = {'rounds': 150, 'early_stopping': 150, 'prune': 'none'}
    n = 20
    project = made(**slow)
    plain = made('plain', **slow)
    uses_openmp(project)
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        before = ends(project)
        started = project.start('run', '-p', f'trials={n}', environment={'CD4ML_THREADS': '2'})
        when_ended(project, len(before) + 3)
        os.killpg(started.process.pid, number)
        done = started.end()
        assert done.code == code and project.still_alive() == [], done
        assert before.items() <= ends(project).items() and len(before) + 3 <= len(ends(project)) < n
    before = ends(project)
    done = project.run(
        'run', '-p', f'trials={n}', '--engine', 'kernel', environment={'CD4ML_THREADS': '2'}
    )
    assert done.code == 0 and before.items() <= ends(project).items(), done
    assert run_notebook(plain, n).code == 0 and content(project) == content(plain)
    whole_in_mlflow(project, n)
