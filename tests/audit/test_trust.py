"""What must hold around a run: one at a time, nothing kept under a wrong key, no secret in a patch,
nothing good lost."""

import errno
import fcntl
import json
import os
import re
import subprocess
import sys

import psutil._pslinux
import pytest
import yaml
from four_stages import current, four_stages, notebook_edit
from mlflow.tracking import MlflowClient
from projects import ROOT, copied_project
from runs import SMALL, Place

from cd4ml_nb.core.errors import InfrastructureError, UserError
from cd4ml_nb.core.lock import locked
from cd4ml_nb.core.provenance import code_state
from cd4ml_nb.planning.parameters import parse_parameters
from cd4ml_nb.planning.plan import changes_since, make_plan
from cd4ml_nb.tracking.store import begin_run, close_interrupted


def test_I15_I06_whoever_lives_still_does_after_the_clock_was_set(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    client = MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
    experiment = client.create_experiment('one', artifact_location=str(tmp_path / 'files'))
    begin_run(client, experiment, 'mine', {}, {})
    with locked(tmp_path):
        # what the system says of its start moves with the clock
        monkeypatch.setattr(psutil._pslinux, 'boot_time', lambda: 1e9)
        assert close_interrupted(client, experiment) == 0
        with (
            pytest.raises(InfrastructureError, match='another run holds the lock'),
            locked(tmp_path),
        ):
            pass


def test_I06_runs_of_processes_that_were_killed_are_closed_and_no_others(tmp_path):
    client = MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
    experiment = client.create_experiment('one', artifact_location=str(tmp_path / 'files'))
    code = f"""
from mlflow.tracking import MlflowClient
from cd4ml_nb.tracking.store import begin_run
import os
client = MlflowClient('sqlite:///{tmp_path}/mlflow.db')
print(begin_run(client, '{experiment}', 'killed', {{}}, {{}}), flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    ).stdout.split()[-1]
    mine = begin_run(client, experiment, 'mine', {}, {})
    foreign = client.create_run(experiment).info.run_id
    assert close_interrupted(client, experiment) == 1 and close_interrupted(client, experiment) == 0
    assert {run: client.get_run(run).info.status for run in (killed, mine, foreign)} == {
        killed: 'KILLED',
        mine: 'RUNNING',
        foreign: 'RUNNING',
    }
    assert 'killed' in client.get_run(killed).data.tags['cd4ml.ended']


@pytest.mark.parametrize('name', [
    "quote' and {braces} $dollar in Größe",
    *(pytest.param(name, marks=pytest.mark.slow) for name in (
        'mit Leerzeichen', 'Größe', '{braces}', "quote' and $dollar", 'x' * 120,
    )),
])
def test_I25_odd_names_of_folders(tmp_path, name):
    folder = four_stages(tmp_path / name)
    place = Place(folder)
    done = place.run('run', '-s', 'tiny', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((current(folder, 'judge') / 'value.json').read_text()) == {'good': True}
    assert place.run('run', '-s', 'tiny', cwd=folder).stdout.count('unchanged') == 5


def test_N10_what_a_page_writes_outside_its_products_is_told(tmp_path):
    folder = four_stages(tmp_path / 'project')
    notebook_edit(
        'learn',
        '* rate',
        "* rate; Path('notes.txt').write_text('x'); Path('notebooks/more.txt').write_text('x')",
    )(folder)
    done = Place(folder).run('run', '-s', 'tiny', cwd=folder)
    assert done.returncode == 0 and re.search(
        'learn +wrote outside its products: notebooks/more.txt, notes.txt\n', done.stdout
    ), done.stdout
    assert done.stdout.count('outside its products') == 1
    assert Place(folder).record('tiny')['stages']['learn']['remarks'] == [
        'wrote outside its products: notebooks/more.txt, notes.txt'
    ]


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = copied_project(tmp_path / 'project', 'scenarios/breast_cancer.yaml')
    monkeypatch.chdir(folder)
    return folder


def test_D47_what_changes_during_a_run_is_noticed_for_the_stages_that_read_it(project):
    plan = make_plan('scenarios/breast_cancer.yaml')
    assert all(changes_since(plan, stage) == [] for stage in plan.steps)
    path = project / 'scenarios/breast_cancer.yaml'
    value = yaml.safe_load(path.read_text(encoding='utf-8'))
    path.write_text(
        yaml.safe_dump(value | {'gates': [{'metric': 'auc', 'min': 0.999}]}), encoding='utf-8'
    )
    assert {stage for stage in plan.steps if changes_since(plan, stage)} == {'package'}


def test_a_forced_stage_that_fails_keeps_the_good_product(project, tmp_path):
    place = Place(tmp_path)
    notebook = project / 'notebooks/stages/12_split.ipynb'
    assert place.run(*SMALL, '--until', 'split', cwd=project).returncode == 0
    good = place.product('breast_cancer', 'split', 'train.parquet')
    before = good.read_bytes()
    text = notebook.read_text(encoding='utf-8')
    notebook.write_text(
        text.replace('assert not any(shared.values())', 'assert any(shared.values())'),
        encoding='utf-8',
    )
    assert place.run(*SMALL, '--until', 'split', '--force', 'split', cwd=project).returncode == 1
    assert good.read_bytes() == before
    notebook.write_text(text, encoding='utf-8')
    assert place.run(*SMALL, '--until', 'split', cwd=project).returncode == 0
    assert {s['status'] for s in place.record('breast_cancer')['stages'].values()} == {'kept'}


def test_V12_a_patch_holds_code_and_neither_secrets_nor_data(tmp_path):
    def git(*words):
        subprocess.run(
            ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b', *words],
            check=True,
            capture_output=True,
        )
    git('init', '-q')
    (tmp_path / 'notebooks').mkdir()
    (tmp_path / 'kept.py').write_text('x = 1\n')
    git('add', '.')
    git('commit', '-qm', 'first')
    assert not code_state(tmp_path)['dirty']
    (tmp_path / 'kept.py').write_text('x = 2\n')
    (tmp_path / 'notebooks/new.ipynb').write_text('{"new": true}')
    (tmp_path / '.env').write_text('SECRET=canary')
    (tmp_path / 'customers.csv').write_text('name\ncanary\n')
    (tmp_path / 'kept.txt').write_bytes('Zürich'.encode('latin-1'))
    git('add', 'kept.txt')
    state = code_state(tmp_path)
    assert (
        state['dirty']
        and b'+x = 2' in state['patch']
        and b'"new": true' in state['patch']
        and b'canary' not in state['patch']
    )


def test_N06_the_scenario_is_no_parameter():
    with pytest.raises(UserError, match='name it with --scenario'):
        parse_parameters(['scenario=scenarios/wine_cultivars.yaml'], {'ingest': {'scenario'}})


def test_pages_that_tune_are_not_given_the_holdout_open():
    pipeline = yaml.safe_load((ROOT / 'pipeline.yaml').read_text(encoding='utf-8'))
    upstream = {task['name']: task.get('upstream', []) for task in pipeline['tasks']}
    assert not {'ingest', 'validate'} & {*upstream['sweep'], *upstream['train']}
