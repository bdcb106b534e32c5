"""A run that has nothing to do answers from its files: at once, and never when anything that
matters is otherwise."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from four_stages import current, four_stages
from projects import edited
from runs import Place

from cd4ml_nb.command.answers import known_answer

ASKED = ['run', '-s', 'tiny']
# the installed package, as the command has it, and not the project's copy
INSTALLED = {'PYTHONSAFEPATH': '1'}


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """A project in which everything is done, and what its run said."""
    folder = four_stages(tmp_path_factory.mktemp('answers') / 'project')
    place = Place(folder)
    first = place.run(*ASKED, cwd=folder)
    assert first.returncode == 0, first.stderr
    return folder, place


@pytest.fixture
def project(done, monkeypatch):
    """The project, as the command finds it; every file is put back afterwards."""
    folder, place = done
    monkeypatch.chdir(folder)
    for name, value in place.environment.items():
        if name.startswith('CD4ML_'):
            monkeypatch.setenv(name, value)
    before = {
        p: p.read_bytes() for p in folder.rglob('*') if p.is_file() and '__pycache__' not in p.parts
    }
    yield folder
    for path in [
        p
        for p in folder.rglob('*')
        if p.is_file() and p not in before and '__pycache__' not in p.parts
    ]:
        path.unlink()
    shutil.rmtree(folder / 'products/tiny/learn/draft', ignore_errors=True)
    for path, data in before.items():
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def printed_by(code: str, folder: Path, place: Place) -> str:
    """What some code prints in a process of its own that has the command's words."""
    done = subprocess.run(
        [sys.executable, '-c', code, *ASKED],
        cwd=folder,
        env=place.environment | INSTALLED,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def appended(name: str):
    def change(folder: Path) -> None:
        with open(folder / name, 'a', encoding='utf-8') as file:
            file.write('\n')
    return change


def new(name: str, text: str = ''):
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return change


CHANGES = {
    'a byte of the data': appended('data.csv'),
    'the scenario': appended('scenarios/tiny.yaml'),
    'a scenario with the other ending': new('scenarios/tiny.yml'),
    'the settings': appended('settings.ini'),
    'the pipeline': appended('pipeline.yaml'),
    'a stage': appended('notebooks/tiny_clean.ipynb'),
    'another page': appended('notebooks/core/errors.ipynb'),
    'a module': appended('cd4ml_nb/helpers.py'),
    'a new module': new('cd4ml_nb/more.py'),
    'a module in a folder': new('cd4ml_nb/sub/more.py'),
    'a template': appended('cd4ml_nb/show/templates/page.html'),
    'a style sheet': appended('cd4ml_nb/show/assets/type.css'),
    'a new template': new('cd4ml_nb/show/templates/more.html'),
    'a template that is gone': lambda f: (f / 'cd4ml_nb/show/assets/sort.js').unlink(),
    'a new page': new('notebooks/40_more.ipynb'),
    'a page that is gone': lambda f: (f / 'notebooks/30_helpers.ipynb').unlink(),
    'a lock': new('requirements.lock', 'numpy==1.0\n'),
    'a product': lambda f: edited(current(f, 'learn') / 'value.json', '4', '5'),
    'a product that is gone': lambda f: (current(f, 'load') / 'value.json').unlink(),
    'an executed page': lambda f: edited(
        current(f, 'judge') / 'page.ipynb', 'import json', 'import json '
    ),
    'a manifest': lambda f: edited(current(f, 'clean') / 'manifest.json', 'clean', 'clear'),
    'a pointer': lambda f: (f / 'products/tiny/learn/current').write_text('0' * 16),
    'a draft': new('products/tiny/learn/draft/value.json'),
    'the record of another run': new('products/tiny/runs/20990101-000000-1.json', '{}'),
    'the note itself': (
        lambda f: next((f / 'products/.answers').glob('*.json')).write_text('{"around": ')
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_no_answer_when_something_that_matters_has_changed(project, change):
    assert known_answer(ASKED)
    CHANGES[change](project)
    assert known_answer(ASKED) is None


@pytest.mark.parametrize('name,value', [
    ('CD4ML_TRIALS', '7'),
    ('CD4ML_ENV', 'ci'),
    ('CD4ML_FAULT', 'list:x'),
    ('CUDA_VISIBLE_DEVICES', '0'),
    ('CD4ML_PRODUCTS', 'elsewhere'),
])
def test_no_answer_in_another_environment(project, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert known_answer(ASKED) is None


def test_no_answer_to_another_question(project):
    assert known_answer([*ASKED, '--quiet']) is None and known_answer(['run']) is None


def test_time_stamps_are_no_change(project):
    for path in [
        *project.glob('notebooks/*'),
        *project.glob('cd4ml_nb/*.py'),
        project / 'data.csv',
        *project.glob('products/tiny/*/*/*'),
    ]:
        os.utime(path, (time.time() + 10 ** 8,) * 2)
    assert known_answer(ASKED)


def test_data_that_becomes_too_old_is_no_answer(done, tmp_path):
    source, _ = done
    folder = tmp_path / 'project'
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns('products'))
    edited(
        folder / 'scenarios/tiny.yaml',
        'source: data.csv',
        f'source: data.csv, published: {time.strftime("%Y-%m-%d")}, max_age_days: 30',
    )
    place = Place(folder)
    assert place.run(*ASKED, cwd=folder).returncode == 0
    note = next((folder / 'products/.answers').glob('*.json'))
    assert json.loads(note.read_text())['until'] > time.strftime('%Y-%m-%d')
    code = (
        "import sys, time; from cd4ml_nb.command import answers\n"
        "print(answers.known_answer(sys.argv[1:]) is not None)\ntime.strftime = lambda *_:"
        " '2099-01-01'\nprint(answers.known_answer(sys.argv[1:]) is not None)"
    )
    assert printed_by(code, folder, place).split() == ['True', 'False']


def test_a_stage_outside_the_folder_of_notebooks_runs_again_when_it_is_edited(done, tmp_path):
    source, _ = done
    folder = tmp_path / 'project'
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns('products'))
    (folder / 'own').mkdir()
    (folder / 'notebooks/tiny_judge.ipynb').rename(folder / 'own/tiny_judge.ipynb')
    edited(folder / 'pipeline.yaml', 'notebooks/tiny_judge', 'own/tiny_judge')
    place = Place(folder)
    assert '4 stages run, 0 unchanged' in place.run(*ASKED, cwd=folder).stdout
    assert '0 stages run, 4 unchanged' in place.run(*ASKED, cwd=folder).stdout
    edited(folder / 'own/tiny_judge.ipynb', 'value > 0', 'value > 1')
    assert '1 stage run, 3 unchanged' in place.run(*ASKED, cwd=folder).stdout


def test_a_change_during_the_run_leaves_no_note(done, tmp_path):
    source, _ = done
    folder = tmp_path / 'project'
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns('products'))
    edited(
        folder / 'notebooks/tiny_judge.ipynb',
        'value = json',
        "Path('settings.ini').open('a').write('# later'); value = json",
    )
    assert Place(folder).run(*ASKED, cwd=folder).returncode == 0
    assert not list((folder / 'products').glob('.answers/*.json'))


def test_each_run_says_which_one_it_is_and_going_back_is_a_run_too(done, tmp_path):
    source, _ = done
    folder = tmp_path / 'project'
    shutil.copytree(source, folder)
    place = Place(folder)
    said = []
    for rate in ('1.0', '2.0', '1.0', '1.0'):
        ended = place.run(*ASKED, '-p', f'learn.rate={rate}', cwd=folder)
        assert ended.returncode == 0, ended.stderr
        said.append(ended.stdout.splitlines()[-1].removeprefix('run      '))
    runs = sorted(path.stem for path in (folder / 'products/tiny/runs').glob('*.json'))
    assert sorted(set(said)) == runs and said[2] == said[3] and len(runs) == 3
    again = place.run('run', '-s', 'tiny', '-p', 'learn.rate=1.0', '--until', 'clean', cwd=folder)
    # those are the products of that run, too
    assert again.stdout.splitlines()[-1] == f'run      {said[3]}'


def test_the_answer_is_what_the_run_says_and_imports_nothing(done):
    folder, place = done
    for path in (folder / 'products/.answers').glob('*'):
        path.unlink()
    whole = place.run(*ASKED, cwd=folder)
    quick = place.run(*ASKED, cwd=folder)
    assert [line for line in whole.stdout.splitlines() if 'time ' not in line] == [
        line for line in quick.stdout.splitlines() if 'time ' not in line
    ]
    assert (
        '0 stages run, 4 unchanged' in whole.stdout and '0 stages run, 4 unchanged' in quick.stdout
    )
    run, = (path.stem for path in (folder / 'products/tiny/runs').glob('*.json'))
    assert whole.stdout.splitlines()[-1] == quick.stdout.splitlines()[-1] == f'run      {run}'
    code = (
        "import sys; from cd4ml_nb.command.start import main; main(); print([m for m in ('typer',"
        " 'pydantic', 'yaml') if m in sys.modules])"
    )
    assert printed_by(code, folder, place).splitlines()[-1] == '[]'


def test_python_m_is_the_command_and_as_quick(done):
    folder, place = done
    for path in (folder / 'products/.answers').glob('*'):
        path.unlink()
    words = ('-X', 'importtime', '-m', 'cd4ml_nb', *ASKED)
    whole = place.run(*words, cwd=folder, command=sys.executable, **INSTALLED)
    quick = place.run(*words, cwd=folder, command=sys.executable, **INSTALLED)
    assert whole.returncode == quick.returncode == 0
    assert (
        '0 stages run, 4 unchanged' in whole.stdout and '0 stages run, 4 unchanged' in quick.stdout
    )
    assert ' typer' in whole.stderr and ' typer' not in quick.stderr
    wrong = place.run('-m', 'cd4ml_nb', 'rn', cwd=folder, command=sys.executable, **INSTALLED)
    assert wrong.returncode == 2 and wrong.stderr.startswith(
        "ERROR USAGE cd4ml: no such command 'rn'"
    )
