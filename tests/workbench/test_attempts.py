"""A scientist's day: try, sweep, compare, adopt, on training and validation rows only; what has
ended outlives the kernel."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from projects import copied_project
from runs import Place
from waiting import wait_for

from cd4ml_nb.scenario.comparison import judged, shared_confidence
from cd4ml_nb.workbench.measuring import Measured
from cd4ml_nb.workbench.verdict import gain_between

SCENARIO = '''# what a car is worth
name: cars
title: Cars
task: regression
data: {source: cars.csv}
target: {column: y}
columns:
  km: {type: number}          # as driven
  kw: {type: number}
  make: {type: category}
  owner: {type: category, personal: true}
search:
  fixed: {max_depth: 4}       # deep enough
  rounds: 80
evaluate: {groups: [make], replicates: 100}
compare: {replicates: 200}
gates:
  - {metric: r2, min: 0.1}
'''
FEATURE = '''
import numpy as np
from cd4ml_nb.model.features import feature

LEAST = 1

@feature('km', 'kw', words='km for each kW')
def km_per_kw(km, kw):
    return km / np.maximum(kw, LEAST)
'''
BENCH = 'from cd4ml_nb import Workbench\nbench = Workbench("cars", say=lambda line: None)\n'


class Study:
    """A project with a small scenario, in which code runs as in a kernel of its own."""

    def __init__(self, folder: Path):
        self.place = Place(folder)
        self.project = copied_project(folder / 'project', 'scenarios/cars.yaml')
        self.scenario = self.project / 'scenarios/cars.yaml'
        self.scenario.write_text(SCENARIO)
        rng = np.random.default_rng(0)
        km, kw = rng.uniform(1, 200, 900), rng.uniform(40, 200, 900)
        y = 100 - km / kw * 20 + rng.normal(0, 3, 900)
        rows = {'km': km, 'kw': kw, 'make': rng.choice(['a', 'b'], 900), 'y': y}
        rows['owner'] = rng.choice(['Ann Ash', 'Bo Birch'], 900)
        pd.DataFrame(rows).to_csv(folder / 'cars.csv', index=False)
        self.environment = {'CD4ML_DATA_ROOT': str(folder)}

    def cd4ml(self, *words: str) -> subprocess.CompletedProcess:
        return self.place.run(*words, cwd=self.project, **self.environment)

    def code(self, text: str) -> str:
        """What a piece of code prints."""
        (self.project / 'cell.py').write_text(text)
        done = self.place.run(
            'cell.py', cwd=self.project, command=sys.executable, PYTHONPATH=str(self.project),
            **self.environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def started(self, text: str) -> subprocess.Popen:
        """Code that goes on."""
        environment = self.place.environment | self.environment
        environment |= {'PYTHONPATH': str(self.project)}
        return subprocess.Popen(
            [sys.executable, '-c', text], cwd=self.project, env=environment,
            stdout=subprocess.PIPE, text=True,
        )

    @property
    def home(self) -> Path:
        return self.place.folder / 'products/cars'

    def attempts(self) -> list[dict]:
        paths = sorted((self.home / 'attempts').glob('*/attempt.json'))
        return [json.loads(path.read_text()) for path in paths]

    def journal(self) -> Path | None:
        return next((self.home / 'attempts/sweeps').glob('*.jsonl'), None)

    def n_ended(self) -> int:
        path = self.journal()
        return path.read_text(errors='replace').count('"end"') if path else 0


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Study:
    made = Study(tmp_path_factory.mktemp('study'))
    for words in ([], ['-p', 'max_depth=2'], ['--without', 'kw']):
        done = made.cd4ml('try', '-s', 'cars', *words)
        assert done.returncode == 0, done.stderr
    return made


def test_E10_attempts_are_measured_compared_and_kept_without_a_look_at_the_holdout(study):
    names = {attempt['name'] for attempt in study.attempts()}
    assert {'as it is', 'max_depth 2', 'without kw'} <= names
    listed = study.cd4ml('try', '-s', 'cars', '--list').stdout
    assert 'worse' in next(line for line in listed.splitlines() if 'without kw' in line)
    said = study.cd4ml('compare', '-s', 'cars', '--on', 'validation', 'without kw', 'as it is')
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith('as it is is better than without kw')
    assert not (study.home / 'looks.jsonl').exists()
    assert not (study.home / 'evaluate').exists()


def test_E10_the_holdout_and_what_would_divide_the_rows_anew_are_refused(study):
    said = study.code(BENCH + '''
for ask in (lambda: bench.holdout, lambda: bench.fit(max_dept=3),
            lambda: bench.fit(changes={'split.by': 'time'}),
            lambda: bench.compare('no', 'as it is')):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__, error)
''')
    lines = said.splitlines()
    assert all(line.startswith('UserError') for line in lines) and len(lines) == 4
    assert 'sealed' in lines[0] and "did you mean 'max_depth'" in lines[1]
    assert 'cannot be tried' in lines[2] and 'no attempt' in lines[3]


def test_E9_the_profile_ranks_columns_and_shows_nothing_personal(study):
    said = study.code(BENCH + '''
profile = bench.profile()
print(profile)
print(profile._repr_html_())
''')
    assert said.index('km') < said.index('make')
    assert 'Ann' not in said and 'Birch' not in said
    worst = study.code(BENCH + 'print(bench.worst("as it is", 5).to_string())')
    assert 'predicted' in worst and 'Ann' not in worst
    refused = study.code(BENCH + '''
try:
    bench.slices('as it is', by=['owner'])
except Exception as error:
    print(error)
''')
    assert 'is personal' in refused and 'Ann' not in refused
    slices = study.code(BENCH + 'print(bench.slices("as it is").to_string())')
    assert ' a ' in slices and ' b ' in slices


def test_E10_a_feature_is_tried_ablated_and_adopted_and_the_scenario_keeps_its_comments(tmp_path):
    study = Study(tmp_path)
    said = study.code(BENCH + FEATURE + '''
bench.fit()
print(bench.fit('with ratio', features=[km_per_kw], max_depth=3))
print(bench.ablate('with ratio').to_string())
adoption = bench.adopt('with ratio')
print(adoption)
print(adoption.write())
''')
    assert 'with ratio is better than as it is' in said
    ablated = next(line for line in said.splitlines() if 'km_per_kw' in line and 'better' in line)
    assert ablated
    text = study.scenario.read_text()
    assert 'fixed: {max_depth: 3}       # deep enough' in text and '# as driven' in text
    assert yaml.safe_load(text)['features'] == {'from': 'cars', 'use': ['km_per_kw']}
    notebook = (study.project / 'notebooks/features/cars.ipynb').read_text()
    assert '@feature(' in notebook and 'import numpy as np' in notebook
    done = study.cd4ml('run', '-s', 'cars', '-p', 'sweep.trials=2')
    assert done.returncode == 0, done.stderr
    contract = study.place.json('cars', 'train', 'contract.json')
    assert 'km_per_kw' in json.dumps(contract)
    again = study.code(BENCH + FEATURE.replace('LEAST = 1', 'LEAST = 2') + '''
print('again:', bench.adopt('with ratio'))
print(bench.table().to_string())
print(bench.fit('deep', max_depth=6))
try:
    bench.compare('as it is', 'deep')
except Exception as error:
    print(error)
bench.fit()
bench.fit('other least', features=[km_per_kw])
bench.adopt('other least').write()
''')
    assert 'again: nothing changes' in again and 'as it was' in again
    assert 'Nothing to compare with yet' in again
    assert 'was changed since it was tried as it is' in again
    module = (study.project / 'cd4ml_nb/features/cars.py').read_text()
    assert 'LEAST = 2' in module and 'LEAST = 1' not in module
    assert module.count('def km_per_kw') == 1


@pytest.fixture
def sweeping(tmp_path):
    study = Study(tmp_path)
    study.code(BENCH)
    process = study.started(BENCH + 'bench.sweep("wide", trials=200)')
    wait_for(lambda: study.n_ended() >= 4)
    yield study, process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_E10_a_kernel_that_is_killed_in_a_sweep_loses_no_trial_that_has_ended(sweeping):
    study, process = sweeping
    process.kill()
    process.wait()
    before = study.n_ended()
    assert 'wide' not in {attempt['name'] for attempt in study.attempts()}
    listed = study.code(BENCH + f'''
print(len(bench.trials('wide')))
print(bench.sweep('wide', trials={before + 2}))
''')
    assert listed.splitlines()[0] == str(before)
    (attempt,) = study.attempts()
    assert (attempt['trials'], attempt['kind']) == (before + 2, 'sweep')
    begun = study.journal().read_text(errors='replace').count('"study"')
    assert begun == 1      # the journal went on


def test_E11_an_interrupt_keeps_the_best_so_far(sweeping):
    study, process = sweeping
    os.kill(process.pid, signal.SIGINT)
    process.wait(timeout=120)
    (attempt,) = study.attempts()
    assert 4 <= attempt['trials'] < attempt['wanted'] == 200
    assert 'interrupted' in study.code(BENCH + 'print(bench.show(bench.attempts[0]))')


def test_among_fifty_equal_attempts_none_is_better_in_nineteen_of_twenty_simulations():
    rng = np.random.default_rng(5)
    n, simulations, erred = 400, 40, 0
    fold = np.arange(n) % 5
    confidence = shared_confidence(0.95, 49)
    for _ in range(simulations):
        y = rng.normal(0, 1, n)
        shared = rng.normal(0, 1, n)
        luck = rng.normal(0, 0.1, (50, 5))     # of the models of each fold
        own = rng.normal(0, 0.5, (50, n)) + luck[:, fold]
        tried = [Measured(y, y + shared + e, fold, None, None, np.arange(n), 0.5) for e in own]
        for other in tried[1:]:
            found = gain_between('regression', 'mae', tried[0], other, replicates=60)
            if judged(found, 0.0, confidence)['verdict'] == 'better':
                erred += 1
                break
    assert erred <= 5      # of forty: more has a chance of 1 in 70 where one in twenty err
