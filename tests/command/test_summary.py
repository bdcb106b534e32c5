"""A pull request's answer: better, worse or broken, against the run that it would replace."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from projects import copied_project, edited, edited_notebook
from runs import Place

SCENARIO = '''name: cars
title: Cars <b>|</b>
task: regression
data: {source: cars.csv}
target: {column: y}
columns: {km: {type: number}, kw: {type: number}, make: {type: category}}
search: {rounds: 6}
evaluate: {groups: [make], replicates: 100}
compare: {trainings: 0, replicates: 300}
gates:
  - {metric: r2, min: -5}
'''


class Pull:
    """A project with a run on its main branch."""

    def __init__(self, folder):
        self.place = Place(folder)
        self.project = copied_project(folder / 'project', 'scenarios/cars.yaml')
        self.scenario = self.project / 'scenarios/cars.yaml'
        self.scenario.write_text(SCENARIO)
        rng = np.random.default_rng(0)
        km, kw = rng.uniform(0, 100, 900), rng.uniform(40, 200, 900)
        rows = {'km': km, 'kw': kw, 'make': rng.choice(['a|x', '<i>b'], 900)}
        rows['y'] = 300 - km + kw / 2 + rng.normal(0, 3, 900)
        pd.DataFrame(rows).to_csv(folder / 'cars.csv', index=False)

    def cd4ml(self, *words):
        return self.place.run(
            *words, cwd=self.project, CD4ML_DATA_ROOT=str(self.place.folder)
        )

    def run(self) -> int:
        return self.cd4ml('run', '-s', 'cars', '-p', 'sweep.trials=1').returncode

    def summary(self, *words) -> str:
        of = [] if '--since' in words else ['-s', 'cars']
        done = self.cd4ml('summary', *of, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope='module')
def pull(tmp_path_factory):
    made = Pull(tmp_path_factory.mktemp('pull'))
    assert made.run() == 0
    made.first = made.summary()
    return made


def test_S9_without_a_reference_nothing_is_called_better(pull):
    assert 'Nothing was compared' in pull.first
    assert 'better or worse' not in pull.first and '▲' not in pull.first


def test_S9_better_worse_and_broken_are_said_with_what_changed_and_for_whom(pull):
    edited(pull.scenario, 'rounds: 6', 'rounds: 60')
    assert pull.run() == 0
    page = pull.project / 'page.md'
    assert pull.summary('--markdown', str(page)) == ''
    better = page.read_text()
    assert 'better' in better.split('\n')[2] and '▲ better' in better
    assert 'search.rounds' in better and '| 6 | 60 |' in better
    assert 'make: a\\|x' in better and 'make: &lt;i&gt;b' in better
    assert '<b>' not in better and '<i>' not in better
    edited(pull.scenario, 'rounds: 60', 'rounds: 2')
    assert pull.run() == 0
    worse = pull.summary()
    assert 'worse' in worse.split('\n')[2] and worse.index('▼ worse') > 0
    stage = pull.project / 'notebooks/stages/16_evaluate.ipynb'
    edited_notebook(stage, 'naive = baseline(', 'raise ValueError("boom")\nnaive = baseline(')
    assert pull.run() == 1
    broken = pull.summary()
    assert '**The run failed** (exit code 1)' in broken and 'boom' in broken
    assert 'It stopped in `notebooks/stages/16_evaluate.ipynb`, cell ' in broken
    assert 'raise ValueError("boom")    # ← ValueError: boom' in broken
    assert 'Nothing was compared' in broken and '▲' not in broken


def test_a_change_that_touches_no_scenario_runs_nothing(pull):
    for words in (['init', '-q'], ['config', 'user.email', 'a@b.c'], ['config', 'user.name', 'A'],
                  ['add', '-A'], ['commit', '-qm', 'base']):
        subprocess.run(['git', '-C', str(pull.project), *words], check=True, capture_output=True)
    (pull.project / 'notes.md').write_text('Not a word about models.')
    said = pull.summary('--since', 'HEAD')
    assert said.startswith('# Models: nothing to run') and 'Also changed: `notes.md`.' in said
