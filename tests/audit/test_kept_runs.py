"""Runs that are over: every hash computed again, the run done again, and room freed without
touching what is needed."""

import json
import random
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from four_stages import four_stages, notebook_edit
from mlflow.tracking import MlflowClient
from projects import copied_project, edited, edited_notebook, export_features, write_features
from runs import Place

from cd4ml_nb.artefacts.run_record import read_run_record
from cd4ml_nb.audit.verify import verify_code
from cd4ml_nb.core.files import file_hash, read_json, write_json
from cd4ml_nb.core.provenance import sealed
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.runs.find import find_record
from cd4ml_nb.studies.compare import compare_runs

SCENARIO = """name: mine
title: Mine
task: binary
data: {source: data.csv}
target: {column: bought}
features: {from: mine, use: [usual, decades]}
search: {rounds: 60}
gates: [{metric: auc, min: 0.5, at: value}]
"""
FEATURES = (
    'import numpy as np\n\nfrom cd4ml_nb.model.features import feature\n'
    'from cd4ml_nb.model.ready_made import target_mean',
    "usual = target_mean('kind')",
    "@feature('age', unit='decades')\ndef decades(age):\n    return np.floor(age / 10)",
)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ['git', '-C', str(folder), '-c', 'user.name=a', '-c', 'user.email=a@b', *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def with_data(folder: Path) -> None:
    chance = random.Random(0)
    rows = [(chance.gauss(40, 12), chance.choice('abc'), chance.gauss(0, 1)) for _ in range(400)]
    text = [
        f'{age:.1f},{kind},{score:.3f},{int(score + (kind == "a") + chance.gauss(0, .5) > .3)}'
        for age, kind, score in rows
    ]
    (folder / 'data.csv').write_text('\n'.join(['age,kind,score,bought', *text]) + '\n')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A project under git, with changes that are not committed, after one run of its scenario."""
    project = copied_project(tmp_path_factory.mktemp('kept') / 'project', 'scenarios/mine.yaml')
    (project / '.gitignore').write_text('products/\n/files/\nmlflow.db\n__pycache__/\n')
    (project / 'scenarios/mine.yaml').write_text(SCENARIO)
    write_features(project, 'mine', *FEATURES)
    with_data(project)
    (project / 'requirements.lock').write_text(f'numpy=={version("numpy")}\n')
    git(project, 'init', '-q')
    git(project, 'add', '.')
    git(project, 'commit', '-qm', 'first')
    edited(project / 'scenarios/mine.yaml', 'title: Mine', 'title: Mine, changed')
    (project / 'notebooks/note.ipynb').write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    place = Place(project)
    done = place.run('run', '-s', 'mine', '-p', 'trials=2', cwd=project)
    assert done.returncode == 0, done.stderr
    return project, place


@pytest.fixture
def kept(made, tmp_path):
    """A copy of everything, to be tampered with."""
    project, _ = made
    shutil.copytree(project, tmp_path / 'project', symlinks=True)
    return tmp_path / 'project', Place(tmp_path / 'project')


@pytest.fixture
def lent(made, tmp_path):
    """The project itself, at the address that its stages know; it is put back afterwards."""
    project, place = made
    shutil.copytree(project, tmp_path / 'saved', symlinks=True)
    yield project, place
    for path in project.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != 'mlflow.db':      # open in this process: written over, not replaced
            path.unlink()
    shutil.copytree(tmp_path / 'saved', project, symlinks=True, dirs_exist_ok=True)


def product(project: Path, stage: str, file: str) -> Path:
    home = project / 'products/mine' / stage
    return home / (home / 'current').read_text() / file


def record_path(project: Path) -> Path:
    return sorted((project / 'products/mine/runs').glob('*.json'))[-1]


def flipped(path: Path, position: int = -3) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def test_a_run_verifies_and_says_what_it_looked_at(made):
    project, place = made
    done = place.run('verify', cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [line[7:24].strip() for line in done.stdout.splitlines()[:-1]]
    assert names == [
        'record',
        *(
            f'stage {s}'
            for s in [
                'ingest', 'validate', 'split', 'features', 'sweep', 'train', 'evaluate', 'package',
                'register', 'report',
            ]
        ),
        'data',
        'code',
        'versions',
        'model',
    ]
    sources = json.loads(record_path(project).read_text())['code']['sources']
    assert {'cd4ml_nb/show/templates/page.html', 'cd4ml_nb/show/assets/type.css'} <= set(sources)
    assert sources['requirements.lock'] == file_hash(project / 'requirements.lock')
    run_id = json.loads(product(project, 'register', 'registration.json').read_text())['run_id']
    version = 'mine@1'
    for name in (run_id, version, record_path(project).stem):
        assert record_path(project).stem in place.run('verify', name, cwd=project).stdout
    wrong = place.run('verify', 'nosuchrun', cwd=project)
    assert wrong.returncode == 2 and 'no such run' in wrong.stderr


def test_a_run_is_named_alike_everywhere_and_mlflow_shows_its_name(made):
    project, place = made
    run = record_path(project).stem
    registration = json.loads(product(project, 'register', 'registration.json').read_text())
    client = MlflowClient(tracking_uri=place.environment['CD4ML_TRACKING_URI'])
    there = client.get_run(registration['run_id']).data.tags
    assert there['cd4ml.run'] == run and run in there['mlflow.note.content']
    assert client.get_model_version('mine', '1').tags['cd4ml.run'] == run
    names = ('latest', 'latest~0', run[:12], run, 'mine@1', registration['run_id'])
    assert {find_record(name, 'mine', project / 'products').stem for name in names} == {run}
    same = place.run('compare', 'latest', 'mine@1', '-s', 'mine', cwd=project)
    assert (
        same.returncode == 2 and f'RUN {run}: a run cannot be compared with itself' in same.stderr
    )
    assert (
        place.run('verify', 'latest', '-s', 'mine', cwd=project).stdout.splitlines()[-1]
        == f'{run} is as it was'
    )
    for words, said in (
        (('verify', 'latest~1'), 'there is 1 run only'),
        (('verify', 'latest', '-s', 'used_cars'), 'nothing has run yet'),
        (('compare', 'latest~5', 'latest'), 'there is 1 run only'),
        (('reproduce', 'nosuchrun'), 'no such run'),
    ):
        wrong = place.run(*words, cwd=project)
        assert wrong.returncode == 2 and re.match(f'ERROR RUN .*{said}', wrong.stderr), wrong.stderr


def test_D01_a_group_that_is_not_there_is_refused_before_anything_is_learned(kept):
    project, place = kept
    edited(project / 'scenarios/mine.yaml', 'search:', 'evaluate: {groups: [knd]}\nsearch:')
    done = place.run('run', '-s', 'mine', '-p', 'trials=2', '-p', 'sweep.seed=9', cwd=project)
    assert (
        done.returncode == 2
        and "evaluate.groups 'knd' not found" in done.stderr
        and "did you mean 'kind'" in done.stderr
    ), (done.stdout + done.stderr)
    assert 'started' not in done.stdout


def test_a_title_and_a_group_re_run_what_shows_and_judges_and_the_pages_say_it(lent):
    project, place = lent
    model = product(project, 'train', 'model.json')
    edited(project / 'scenarios/mine.yaml', 'title: Mine, changed', 'title: Said better')
    edited(
        project / 'scenarios/mine.yaml',
        'target: {column: bought}',
        'target: {column: bought, words: purchase}',
    )
    edited(
        project / 'scenarios/mine.yaml',
        'search:',
        'columns: {age: {words: years of age, unit: a}}\nevaluate: {groups: [kind], partition:'
        ' kind}\nsearch:',
    )
    done = place.run('run', '-s', 'mine', '-p', 'trials=2', cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.findall(r'^(\w+) +done in', done.stdout, re.MULTILINE) == [
        'evaluate',
        'package',
        'register',
        'report',
    ]
    assert product(project, 'train', 'model.json') == model
    report, data = (
        product(project, 'report', name).read_text() for name in ('report.html', 'data_report.html')
    )
    contract = json.loads(product(project, 'package', 'model/contract.json').read_text())
    assert (
        'Said better' in report
        and 'Said better' in data
        and contract['title'] == 'Said better'
        and contract['version'] == '1.0.0'
    )
    assert (
        'years of age' in report
        and 'years of age' in data
        and 'purchase' in report
        and contract['output']['words'] == 'purchase'
    )
    assert (
        next(i for i in contract['inputs'] if i['name'] == 'age')['unit'] == 'a'
        and contract['partition']['column'] == 'kind'
    )


TAMPERED = {
    'a product': (
        lambda p: flipped(product(p, 'split', 'train.parquet')),
        'stage split',
        'was changed',
    ),
    'the model': (
        lambda p: flipped(product(p, 'train', 'model.json')),
        'stage train',
        'was changed',
    ),
    'the executed page': (
        lambda p: flipped(product(p, 'train', 'page.ipynb')),
        'stage train',
        'was changed',
    ),
    'a manifest': (
        lambda p: edited(
            product(p, 'sweep', 'manifest.json'), '"stage": "sweep"', '"stage": "sweeq"'
        ),
        'stage sweep',
        'not the one that the run left',
    ),
    'the record': (
        lambda p: edited(record_path(p), '"accepted": true', '"accepted": null'),
        'record',
        'changed after it was written',
    ),
    'the patch': (lambda p: flipped(record_path(p).with_suffix('.patch')), 'code', 'patch'),
    'the copy of the data': (
        lambda p: flipped(next((p / 'products/.inputs').glob('*.csv'))),
        'data',
        'was changed',
    ),
}


SAMPLE = ('the model', 'the record', 'the patch')


@pytest.mark.parametrize('what', [
    what if what in SAMPLE else pytest.param(what, marks=pytest.mark.slow) for what in TAMPERED
])
def test_one_byte_that_was_changed_is_found(kept, what):
    project, place = kept
    tamper, name, words = TAMPERED[what]
    tamper(project)
    done = place.run('verify', cwd=project)
    wrong = [line for line in done.stdout.splitlines() if line.startswith('wrong')]
    assert (
        done.returncode == 2 and len(wrong) == 1 and name in wrong[0] and words in wrong[0]
    ), done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith('ERROR V2 ')


def another_record(project: Path, name: str, **changes) -> Path:
    """The record of the run, sealed again under another name and with other content."""
    path = record_path(project)
    write_json(path.with_name(f'{name}.json'), sealed(read_json(path) | {'run': name} | changes))
    shutil.copy(path.with_suffix('.patch'), path.with_name(f'{name}.patch'))
    return path.with_name(f'{name}.json')


def test_a_lock_that_is_not_the_one_of_the_run_is_found(kept, monkeypatch):
    project, _ = kept
    monkeypatch.chdir(project)
    path = record_path(project)
    assert verify_code(read_run_record(path), path).wrong == ''
    code = read_json(path)['code']
    code['sources']['requirements.lock'] = '0' * 64
    other = another_record(project, '20000101-lock', code=code)
    assert verify_code(read_run_record(other), other).wrong == (
        '1 files differ from those that were run, first requirements.lock'
    )


def test_two_runs_are_compared_for_each_market(kept, tmp_path, monkeypatch):
    project, place = kept
    for name, value in place.environment.items():
        if name.startswith('CD4ML_'):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    edited(
        project / 'scenarios/mine.yaml',
        'search:',
        'evaluate: {partition: kind, min_rows: 10}\ncompare: {replicates: 100}\nsearch:',
    )
    earlier = another_record(project, '20000101-earlier')
    runs = [earlier, record_path(project)]
    summary = compare_runs(runs, tmp_path / 'compared', trainings=0)
    (comparison,) = summary['comparisons']
    assert list(comparison['groups']) == ['kind']
    judged = comparison['groups']['kind']
    assert {market['group'] for market in judged} == {'a', 'b', 'c'}
    assert sum(market['n'] for market in judged) == summary['holdout']['judged']


def test_a_model_that_was_changed_in_the_registry_is_found(made):
    project, place = made
    files = list((project / 'files').rglob('golden.jsonl'))
    before = files[0].read_bytes()
    flipped(files[0])
    try:
        done = place.run('verify', cwd=project)
    finally:
        files[0].write_bytes(before)
    assert done.returncode == 2 and re.search(
        r'wrong  model +golden.jsonl of version 1 differ', done.stdout
    ), done.stdout


def test_a_run_is_reproduced_from_commit_patch_and_stored_data(kept):
    project, place = kept
    (project / 'data.csv').write_text('age,kind,score,bought\n1,a,0,1\n')  # overwritten since
    edited(project / 'scenarios/mine.yaml', 'rounds: 60', 'rounds: 10')   # and the scenario changed
    git(project, 'add', '.')
    git(project, 'commit', '-qm', 'second')
    before = git(project, 'worktree', 'list')
    done = place.run('reproduce', 'latest', '-q', cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'was reproduced, to the byte' in done.stdout and re.search(
        r'auc +0\.\d+ +0\.\d+ +0 *\n', done.stdout
    )
    assert len(re.findall(r'the same', done.stdout)) == 10
    assert git(project, 'worktree', 'list') == before


def test_an_edited_feature_is_named_and_the_model_before_answers_as_before(kept):
    """In one program with the new one, from the wheel beside it."""
    project, place = kept
    run = ('run', '-s', 'mine', '-p', 'trials=2')
    before = shutil.copytree(product(project, 'package', 'model').parent, project.parent / 'before')
    model, contract = load_model(before / 'model')
    assert [spec.name for spec in contract.columns][-2:] == ['usual', 'decades']
    rows = pd.read_csv(project / 'data.csv')
    expected = predict(model, contract, rows)

    edited_notebook(project / 'notebooks/features/mine.ipynb', 'age / 10', '(age + 5) / 10')
    export_features(project, 'notebooks/features/mine.ipynb')
    why = place.run('why', 'features', *run[1:], cwd=project)
    assert 'features/mine.ipynb' in why.stdout and 'decades' in why.stdout, why.stdout
    done = place.run(*run, cwd=project)
    assert done.returncode == 0, done.stderr
    assert {name: bool(re.search(rf'{name} +done in', done.stdout)) for name in (
        'ingest', 'validate', 'split', 'features', 'sweep', 'train', 'package'
    )} == {'ingest': False, 'validate': False, 'split': False, 'features': True, 'sweep': True,
           'train': True, 'package': True}
    verified = place.run('verify', cwd=project)
    assert verified.returncode == 0, verified.stdout

    new_model, new_contract = load_model(product(project, 'package', 'model'))
    assert new_contract.code.package != contract.code.package
    assert predict(new_model, new_contract, rows).shape == expected.shape
    new, old = (encode(one, rows)[0][:, -1] for one in (new_contract, contract))
    assert np.array_equal(new, np.floor((rows['age'] + 5) / 10).astype(np.float32))
    assert np.array_equal(old, np.floor(rows['age'] / 10).astype(np.float32))
    assert np.array_equal(predict(model, contract, rows), expected)
    again = load_model(before / 'model')
    assert np.array_equal(predict(*again, rows), expected)
    alone = [predict(*again, rows[k:k + 1])[0] for k in range(40)]
    assert np.array_equal(alone, expected[:40])
    runs = sorted((project / 'products/mine/runs').glob('*.json'))
    compared = place.run('compare', '-s', 'mine', *(path.stem for path in runs[-2:]), cwd=project)
    assert compared.returncode == 0 and 'verdict' in compared.stdout, compared.stderr


def test_without_the_data_a_run_is_not_reproduced_and_says_what_is_missing(kept):
    project, place = kept
    (project / 'data.csv').unlink()
    shutil.rmtree(project / 'products/.inputs')
    done = place.run('reproduce', cwd=project)
    run = record_path(project).stem
    assert (
        done.returncode == 2
        and done.stderr.splitlines()[-1].startswith(f'ERROR REPEAT {run}: the data data.csv ')
        and 'no copy of it was kept' in done.stderr
        and re.search('SHA-256 is [0-9a-f]{64}', done.stderr)
    )


@pytest.mark.slow
def test_the_first_stage_that_differs_is_named_with_its_cell(tmp_path):
    project = four_stages(tmp_path / 'project')
    by_chance = '* rate + __import__("random").random()\nprint(value)'
    notebook_edit('learn', '* rate', by_chance)(project)
    git(project, 'init', '-q')
    (project / '.gitignore').write_text('products/\n')
    git(project, 'add', '.')
    git(project, 'commit', '-qm', 'first')
    place = Place(project)
    assert place.run('run', '-s', 'tiny', cwd=project).returncode == 0
    done = place.run('reproduce', '-q', '--keep', str(tmp_path / 'again'), cwd=project)
    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(r'clean +the same *\nlearn +differ: value', done.stdout)
    assert (
        done.stderr.strip().splitlines()[-1].startswith('ERROR REPRODUCE')
        and 'first stage that differs is learn, cell 7' in done.stderr
    )
    assert list((tmp_path / 'again/products/tiny/learn').glob('*/page.ipynb'))
    forced = place.run('run', '-s', 'tiny', '--force', 'learn', cwd=project)
    # N11
    assert (
        'the same ingredients gave another value than before: the notebook is not deterministic'
        in forced.stdout
    )


def test_a_run_outside_git_says_that_its_code_was_not_kept(tmp_path):
    project = four_stages(tmp_path / 'project')
    place = Place(project)
    place.environment['GIT_CEILING_DIRECTORIES'] = str(tmp_path)
    assert (
        place.run(
            'run', '-s', 'tiny', cwd=project, GIT_CEILING_DIRECTORIES=str(tmp_path)
        ).returncode
        == 0
    )
    done = place.run('reproduce', cwd=project, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert done.returncode == 2 and 'outside a git repository' in done.stderr
    assert done.stderr.splitlines()[-1].startswith('ERROR REPEAT ')


# ---- room

def stages_of(project: Path) -> dict[str, list[str]]:
    return {
        home.name: sorted(
            p.name for p in home.iterdir() if re.fullmatch('[0-9a-f]{16}(~.*)?', p.name)
        )
        for home in (project / 'products/mine').iterdir()
        if home.is_dir() and home.name != 'runs'
    }


@pytest.mark.slow
def test_gc_never_removes_what_a_registered_model_needs(made):
    project, place = made
    first = record_path(project)
    # version 2, over the same keys
    assert (
        place.run('run', '-s', 'mine', '-p', 'trials=2', '--force', 'train', cwd=project).returncode
        == 0
    )
    # something that nobody will need
    assert (
        place.run('run', '-s', 'mine', '-p', 'trials=3', '--until', 'sweep', cwd=project).returncode
        == 0
    )
    assert place.run('run', '-s', 'mine', '-p', 'trials=2', cwd=project).returncode == 0
    full = stages_of(project)
    assert len(full['train']) == 2 and len(full['sweep']) == 2

    kept = place.run('gc', cwd=project)  # 30 days: all of it is recent
    assert kept.returncode == 0 and stages_of(project) == full, kept.stdout
    shown = place.run('gc', '--older-than', '0', '--dry-run', cwd=project)
    assert 'would be freed' in shown.stdout and stages_of(project) == full

    freed = place.run('gc', '--older-than', '0', cwd=project)
    assert freed.returncode == 0, freed.stderr
    left = stages_of(project)
    # version 1 and version 2 stand
    assert len(left['sweep']) == 1 and len(left['train']) == 2 and len(left['package']) == 2
    assert len(left['report']) == 1  # the report of version 1 does not
    verified = place.run('verify', first.stem, cwd=project)
    assert [line for line in verified.stdout.splitlines() if line.startswith('wrong')] == [
        'wrong  stage report     its manifest is not the one that the run left'], verified.stdout

    MlflowClient(f'sqlite:///{project}/mlflow.db').delete_model_version('mine', '1')
    assert place.run('gc', '--older-than', '0', cwd=project).returncode == 0
    assert len(stages_of(project)['train']) == 1
    assert (
        place.run('run', '-s', 'mine', '-p', 'trials=2', cwd=project).stdout.count('unchanged')
        == 11
    )


def test_gc_removes_nothing_when_the_registry_does_not_answer(kept):
    project, place = kept
    (project / 'mlflow.db').write_bytes(
        b'not a database, and long enough to be taken for one' * 100
    )
    before = stages_of(project)
    done = place.run('gc', '--older-than', '0', cwd=project)
    assert done.returncode == 4 and stages_of(project) == before
