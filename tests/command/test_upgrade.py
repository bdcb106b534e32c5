"""`cd4ml upgrade` puts a newer tool underneath a team's work, and nothing of the team's is lost."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cd4ml_nb.command.cli import main
from cd4ml_nb.command.merging import is_teams, team_patterns
from cd4ml_nb.core.settings import Settings
from cd4ml_nb.planning.exports import notebook_cells, stale_modules

ROOT = Path(__file__).resolve().parents[2]
CD4ML = Path(sys.executable).with_name('cd4ml')
EARLIER = '4826407'        # before the notebooks moved into folders
SCENARIO = """name: churn
title: Who leaves?
task: binary
data: {source: 'builtin:breast_cancer'}
target: {column: target, positive: malignant, classes: [benign, malignant]}
"""


def git(folder: Path, *words: str) -> str:
    who = ['-c', 'user.name=Team', '-c', 'user.email=team@example.org']
    return subprocess.run(
        ['git', *who, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding='utf-8')
    git(folder, 'add', '--all')
    git(folder, 'commit', '--quiet', '--no-verify', '-m', 'Work')
    return git(folder, 'rev-parse', 'HEAD')


WHO = {
    f'GIT_{role}_{what}': 'team@example.org'
    for role in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')
}


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def upgrade(monkeypatch, capsys) -> Callable[..., Ended]:
    """`cd4ml upgrade` in this process, in a project's root."""
    for name, value in WHO.items():
        monkeypatch.setenv(name, value)

    def run(folder: Path, *words: str) -> Ended:
        monkeypatch.chdir(folder)
        code = main(['upgrade', *words])
        return Ended(code, *capsys.readouterr())

    return run


def own_command(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The command of the package that lies in a folder."""
    program = 'import sys; from cd4ml_nb.command.start import main; sys.exit(main())'
    return subprocess.run(
        [sys.executable, '-c', program, *words],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )


# ---- from the version before the notebooks moved into folders

@pytest.fixture(scope='module')
def earlier(tmp_path_factory) -> Path:
    """A team's clone of the earlier version, with its work on top."""
    there = subprocess.run(
        ['git', 'cat-file', '-e', f'{EARLIER}^{{commit}}'], cwd=ROOT, capture_output=True
    )
    if there.returncode:
        pytest.skip(f'this clone has no history back to {EARLIER}: git fetch --unshallow')
    folder = tmp_path_factory.mktemp('team') / 'ours'
    git(ROOT, 'clone', '--quiet', '--no-checkout', str(ROOT), str(folder))
    git(folder, 'checkout', '--quiet', '-b', 'ours', EARLIER)
    settings = (folder / 'settings.ini').read_text(encoding='utf-8')
    settings = settings.replace('trials = 20', '# our machine is large\ntrials = 3')
    cars = (folder / 'scenarios/used_cars.yaml').read_text(encoding='utf-8')
    study = {
        'cells': [
            {'cell_type': 'code', 'id': 'a', 'metadata': {}, 'outputs': [],
             'execution_count': None, 'source': ['from cd4ml_nb.contract import encode\n']},
        ],
        'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5,
    }
    commit(folder, **{
        'scenarios/churn.yaml': SCENARIO,
        'scenarios/used_cars.yaml': cars.replace('title:', 'owner: us\ntitle:', 1),
        'settings.ini': f'{settings}\n[gpu]\ndevice = cuda\n',
        'results/sweep.json': json.dumps({'best': {'eta': 0.1}}),
        'notebooks/ours.ipynb': json.dumps(study),
    })
    (folder / '.venv').mkdir()
    (folder / '.venv/.ready').touch()
    os.utime(folder / '.venv/.ready', (2_000_000_000, 2_000_000_000))
    return folder


@pytest.fixture(scope='module')
def upgraded(earlier) -> tuple[Path, dict[str, str], subprocess.CompletedProcess]:
    before = {
        name: (earlier / name).read_text(encoding='utf-8')
        for name in ('scenarios/churn.yaml', 'scenarios/used_cars.yaml', 'results/sweep.json',
                     'notebooks/ours.ipynb')
    }
    os.utime(earlier / '.venv/.ready')
    return earlier, before, subprocess.run(
        [str(CD4ML), 'upgrade', str(ROOT)],
        cwd=earlier,
        env=os.environ | WHO,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_an_upgrade_from_the_version_before_the_folders_ends_well(upgraded):
    folder, _, done = upgraded
    assert done.returncode == 0, done.stderr
    assert not git(folder, 'status', '--porcelain')
    assert git(folder, 'rev-parse', 'HEAD^2') == git(ROOT, 'rev-parse', 'HEAD')


def test_the_teams_files_are_kept_to_the_byte(upgraded):
    folder, before, done = upgraded
    for name, text in before.items():
        assert (folder / name).read_text(encoding='utf-8') == text
        assert f'kept      {name}\n' in done.stdout


def test_settings_keep_the_teams_values_and_are_valid_in_the_new_version(upgraded):
    folder, _, done = upgraded
    text = (folder / 'settings.ini').read_text(encoding='utf-8')
    assert '# our machine is large\ntrials = 3\n' in text
    assert '[gpu]\ndevice = cuda\n' in text
    assert '[DEFAULT] trials = 3 (yours)' in done.stdout
    keys = {line.split('=')[0].strip() for line in text.splitlines() if '=' in line[:20]}
    assert {'trials', 'jobs', 'workers'} <= keys <= set(Settings.model_fields)


def test_the_tool_is_the_new_one_and_its_old_files_are_gone(upgraded):
    folder, _, _ = upgraded
    patterns = team_patterns((ROOT / 'OWNERSHIP.md').read_text(encoding='utf-8'))
    new = set(git(ROOT, 'ls-tree', '-r', 'HEAD').splitlines())
    there = set(git(folder, 'ls-tree', '-r', 'HEAD').splitlines())
    own = {'settings.ini', 'results/sweep.json', 'notebooks/ours.ipynb'}
    odd = {line.split('\t')[1] for line in new ^ there} - own
    assert all(is_teams(path, patterns) for path in odd)
    assert not (folder / 'notebooks/00_errors.ipynb').exists()
    assert not (folder / 'cd4ml_nb/errors.py').exists()


def test_exported_modules_are_what_the_notebooks_say(upgraded):
    assert not stale_modules(upgraded[0])


def test_an_import_of_a_module_that_moved_is_named_with_its_place(upgraded):
    place = 'cd4ml_nb.model.contract'
    said = f'notebooks/ours.ipynb: there is no cd4ml_nb.contract any more; is it {place} now?'
    assert f'look at   {said}\n' in upgraded[2].stdout


def test_the_new_version_plans_the_teams_scenario(upgraded):
    folder, _, done = upgraded
    assert 'look at   scenarios/churn.yaml' not in done.stdout
    planned = own_command(folder, 'why', '-s', 'churn')
    assert planned.returncode == 0, planned.stderr
    assert '0 of 10 stages are done' in planned.stdout


def test_the_environment_is_made_again_since_its_entry_point_moved(upgraded):
    folder, _, done = upgraded
    assert 'next      make setup' in done.stdout
    asked = subprocess.run(['make', '-q', 'setup'], cwd=folder, capture_output=True, text=True)
    assert asked.returncode == 1, asked.stderr        # 1: there is something to do


def test_the_last_line_goes_back(upgraded):
    folder, before, done = upgraded
    copy = folder.with_name('back')
    git(folder, 'clone', '--quiet', str(folder), str(copy))
    words = done.stdout.splitlines()[-1].split()
    assert words[:4] == ['back', 'git', 'reset', '--hard']
    git(copy, 'reset', '--hard', words[4])
    assert (copy / 'notebooks/00_errors.ipynb').is_file()
    assert 'trials = 3' in (copy / 'settings.ini').read_text(encoding='utf-8')


# ---- small tools

TOOL = {
    'pipeline.yaml': 'tasks: []\n',
    'pyproject.toml': '[project.scripts]\ncd4ml = "none:main"\n',
    'cd4ml_nb/__init__.py': '',
    'settings.ini': '[DEFAULT]\ntrials = 20\n',
    'scenarios/cars.yaml': 'title: Cars\n',
    'OWNERSHIP.md': "## The team's\n| `scenarios/` | |\n",
    'requirements.lock': 'a==1\n',
    'Makefile': 'a:\n\ttrue\n',
    'a.txt': 'one\ntwo\n',
    '.gitignore': '/products/\n',
}


def notebook(name: str, **sources: str) -> str:
    texts = {'title': f'# {name}', 'exp': f'#| default_exp {name}'} | sources
    cells = [
        {'cell_type': 'markdown' if key == 'title' else 'code', 'id': key, 'metadata': {}}
        | ({} if key == 'title' else {'outputs': [], 'execution_count': None})
        | {'source': text.splitlines(keepends=True)}
        for key, text in texts.items()
    ]
    notebook = {'cells': cells, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    return json.dumps(notebook, indent=1)


def module(name: str, **sources: str) -> str:
    parts = notebook_cells(json.loads(notebook(name, **sources))['cells'])
    return ''.join(f'# %% ../notebooks/{name}.ipynb #{cell}\n{code}\n\n' for cell, code in parts)


@pytest.fixture
def tool(tmp_path) -> Path:
    folder = tmp_path / 'tool'
    folder.mkdir()
    git(folder, 'init', '--quiet')
    commit(folder, **TOOL)
    return folder


@pytest.fixture
def team(tool) -> Path:
    folder = tool.with_name('team')
    git(tool, 'clone', '--quiet', str(tool), str(folder))
    commit(folder, **{'scenarios/ours.yaml': 'title: Ours\n'})
    return folder


def copy_of(tool: Path) -> Path:
    """The tool's files under a git of their own, with a scenario on top."""
    folder = tool.with_name('copy')
    shutil.copytree(tool, folder, ignore=shutil.ignore_patterns('.git'))
    git(folder, 'init', '--quiet')
    commit(folder, **{'scenarios/ours.yaml': 'title: Ours\n'})
    return folder


def test_what_is_not_committed_is_refused_and_left(upgrade, tool, team):
    commit(tool, **{'a.txt': 'one\ntwo\nthree\n'})
    (team / 'draft.txt').write_text('draft')
    before = git(team, 'rev-parse', 'HEAD')
    done = upgrade(team, str(tool))
    assert done.code == 2
    assert 'not committed: draft.txt' in done.err
    assert git(team, 'rev-parse', 'HEAD') == before
    assert (team / 'draft.txt').read_text() == 'draft'


def test_a_conflict_names_the_file_and_the_way_back(upgrade, tool, team):
    commit(tool, **{'a.txt': 'one\nTOOL\n', 'b.txt': 'new\n'})
    before = commit(team, **{'a.txt': 'one\nTEAM\n'})
    done = upgrade(team, str(tool))
    assert done.code == 2
    assert 'both changed a.txt' in done.err and 'git merge --abort' in done.err
    assert '<<<<<<<' in (team / 'a.txt').read_text()
    again = upgrade(team, str(tool))
    assert again.code == 2 and 'a merge is not finished' in again.err
    git(team, 'merge', '--abort')
    assert git(team, 'rev-parse', 'HEAD') == before
    assert (team / 'a.txt').read_text() == 'one\nTEAM\n' and not (team / 'b.txt').exists()
    assert not git(team, 'status', '--porcelain')


def test_a_conflict_that_somebody_has_mended_is_an_upgrade(upgrade, tool, team):
    commit(tool, **{'a.txt': 'one\nTOOL\n'})
    commit(team, **{'a.txt': 'one\nTEAM\n'})
    upgrade(team, str(tool))
    (team / 'a.txt').write_text('one\nboth\n')
    git(team, 'add', 'a.txt')
    git(team, 'commit', '--quiet', '--no-edit')
    assert git(team, 'rev-parse', 'HEAD^2') == git(tool, 'rev-parse', 'HEAD')
    assert 'there is nothing newer' in upgrade(team, str(tool)).out


def test_a_tag_that_is_not_the_newest_is_merged_and_the_changed_files_are_counted(
    upgrade, tool, team
):
    base = git(tool, 'rev-parse', 'HEAD')
    (tool / 'Makefile').unlink()
    tagged = commit(tool, **{
        'a.txt': 'one\ntwo\nthree\n',
        'pipeline.yaml': 'tasks: []    # of the second version\n',
        'b.txt': 'a file that the second version brings\n',
    })
    git(tool, 'tag', '-a', 'v2', '-m', 'The second version')
    commit(tool, **{'a.txt': 'of the third version\n', 'c.txt': 'of the third version, too\n'})
    done = upgrade(team, '--ref', 'v2', str(tool))
    assert done.code == 0, done.err
    assert git(team, 'rev-parse', 'HEAD^2') == tagged
    assert (team / 'a.txt').read_text() == 'one\ntwo\nthree\n'
    assert not (team / 'c.txt').exists() and not (team / 'Makefile').exists()
    line = done.out.splitlines()[0]
    assert line == f'tool      {base[:10]} -> {tagged[:10]}: 1 new, 2 changed, 1 removed'
    assert 'there is nothing newer' in upgrade(team, '--ref', 'v2', str(tool)).out


def test_a_scenario_follows_the_tool_until_the_team_changes_it(upgrade, tool, team):
    commit(tool, **{'scenarios/cars.yaml': 'title: Second\n'})
    assert upgrade(team, str(tool)).code == 0
    assert (team / 'scenarios/cars.yaml').read_text() == 'title: Second\n'
    commit(team, **{'scenarios/cars.yaml': 'title: Ours\n'})
    (tool / 'scenarios/cars.yaml').unlink()
    commit(tool, **{'a.txt': 'three\n'})
    done = upgrade(team, str(tool))
    assert done.code == 0, done.err
    assert (team / 'scenarios/cars.yaml').read_text() == 'title: Ours\n'
    assert (team / 'a.txt').read_text() == 'three\n'


def test_a_notebook_that_both_have_changed_merges_by_cell_and_is_exported(upgrade, tool, team):
    first = {'one': '#| export\na = 1', 'two': '#| export\nb = 2'}
    files = {'notebooks/x.ipynb': notebook, 'cd4ml_nb/x.py': module}
    commit(tool, **{name: make('x', **first) for name, make in files.items()})
    assert upgrade(team, str(tool)).code == 0
    ours = first | {'one': '#| export\na = 10'}
    theirs = first | {'two': '#| export\nb = 20'}
    commit(team, **{name: make('x', **ours) for name, make in files.items()})
    moved = {
        'notebooks/y/x.ipynb': notebook('y.x', **theirs),
        'cd4ml_nb/y/x.py': module('y.x', **theirs),
    }
    for name in files:
        (tool / name).unlink()
    nbdev = '[tool.nbdev]\nlib_path = "cd4ml_nb"\nnbs_path = "notebooks"\n'
    nbdev += 'put_version_in_init = false\n'
    project = '[project]\nname = "cd4ml_nb"\nversion = "1"\n'
    commit(tool, **moved, **{'pyproject.toml': project + TOOL['pyproject.toml'] + nbdev})
    done = upgrade(team, str(tool))
    assert done.code == 0, done.err
    cells = json.loads((team / 'notebooks/y/x.ipynb').read_text())['cells']
    assert [''.join(cell['source']) for cell in cells][2:] == [ours['one'], theirs['two']]
    assert not (team / 'notebooks/x.ipynb').exists() and not (team / 'cd4ml_nb/x.py').exists()
    text = (team / 'cd4ml_nb/y/x.py').read_text()
    assert 'a = 10' in text and 'b = 20' in text
    assert not stale_modules(team)


def test_one_cell_that_both_have_changed_is_a_conflict(upgrade, tool, team):
    commit(tool, **{'notebooks/x.ipynb': notebook('x', one='a = 1')})
    assert upgrade(team, str(tool)).code == 0
    commit(tool, **{'notebooks/x.ipynb': notebook('x', one='a = 2')})
    commit(team, **{'notebooks/x.ipynb': notebook('x', one='a = 3')})
    done = upgrade(team, str(tool))
    assert done.code == 2 and 'notebooks/x.ipynb' in done.err
    cells = json.loads((team / 'notebooks/x.ipynb').read_text())['cells']
    assert [''.join(c['source']) for c in cells][2:] == [
        '<<<<<<< yours', 'a = 3', '=======', 'a = 2', ">>>>>>> the tool's"
    ]


def test_the_lock_is_the_tools_and_that_is_said(upgrade, tool, team):
    commit(tool, **{'requirements.lock': 'a==2\n'})
    commit(team, **{'requirements.lock': 'a==1.5\n'})
    done = upgrade(team, str(tool))
    assert done.code == 0, done.err
    assert (team / 'requirements.lock').read_text() == 'a==2\n'
    assert "look at   requirements.lock is the tool's" in done.out


def test_a_setting_that_is_gone_is_named_with_the_teams_value(upgrade, tool, team):
    commit(team, **{'settings.ini': '[DEFAULT]\ntrials = 7\n'})
    commit(tool, **{'settings.ini': '[DEFAULT]\nrounds = 20\n'})
    done = upgrade(team, str(tool))
    assert 'settings  [DEFAULT] rounds = 20 (new)' in done.out
    assert 'look at   settings.ini: [DEFAULT] trials = 7 is no setting any more' in done.out
    assert (team / 'settings.ini').read_text() == '[DEFAULT]\nrounds = 20\n'


def test_a_copy_without_the_history_finds_the_version_that_it_came_from(upgrade, tool):
    commit(tool, **{'a.txt': 'one\ntwo\nthree\n'})
    folder = copy_of(tool)
    commit(tool, **{'a.txt': 'one\ntwo\nthree\nfour\n', 'scenarios/cars.yaml': 'title: New\n'})
    done = upgrade(folder, str(tool))
    assert done.code == 0, done.err
    assert (folder / 'a.txt').read_text() == 'one\ntwo\nthree\nfour\n'
    assert (folder / 'scenarios/ours.yaml').read_text() == 'title: Ours\n'
    assert (folder / 'scenarios/cars.yaml').read_text() == 'title: New\n'


def archive_of(tool: Path) -> Path:
    path = tool.with_name('tool.tar.gz')
    with tarfile.open(path, 'w:gz') as archive:
        for name in git(tool, 'ls-files').splitlines():
            archive.add(tool / name, f'cd4ml_nb-2/{name}')
    return path


def test_an_archive_is_merged_from_the_named_commit_then_from_the_last_upgrade(upgrade, tool):
    folder = copy_of(tool)
    commit(tool, **{'a.txt': 'one\ntwo\nthree\n'})
    first = git(folder, 'rev-parse', 'HEAD')
    refused = upgrade(folder, str(archive_of(tool)))
    assert refused.code == 2 and f'BASE={first[:10]}' in refused.err
    done = upgrade(folder, '--base', first[:10], str(archive_of(tool)))
    assert done.code == 0, done.err
    assert (folder / 'a.txt').read_text() == 'one\ntwo\nthree\n'
    assert (folder / 'scenarios/ours.yaml').is_file()
    commit(tool, **{'a.txt': 'zero\none\ntwo\nthree\n'})
    second = upgrade(folder, str(archive_of(tool)))
    assert second.code == 0, second.err
    assert (folder / 'a.txt').read_text() == 'zero\none\ntwo\nthree\n'
    assert (folder / 'scenarios/ours.yaml').is_file()


@pytest.mark.parametrize(('source', 'code', 'what'), [
    ('', 2, 'no version named'), ('nowhere', 2, 'cannot be fetched'),
    ('scenarios', 2, 'cannot be fetched'),
    ('https://localhost:1/x', 4, 'cannot be fetched')])
def test_what_is_no_newer_version_changes_nothing(upgrade, team, source, code, what):
    before = git(team, 'rev-parse', 'HEAD')
    done = upgrade(team, source)
    assert (done.code, what in done.err) == (code, True), done.err
    assert git(team, 'rev-parse', 'HEAD') == before and not git(team, 'status', '--porcelain')


def test_a_repository_of_something_else_is_refused(upgrade, team):
    other = team.with_name('other')
    other.mkdir()
    git(other, 'init', '--quiet')
    commit(other, **{'README.md': 'Something else\n'})
    done = upgrade(team, str(other))
    assert done.code == 2 and 'no version of cd4ml_nb' in done.err


# ---- the table

def test_ownership_names_what_a_team_writes_and_nothing_of_the_tools():
    patterns = team_patterns((ROOT / 'OWNERSHIP.md').read_text(encoding='utf-8'))
    files = git(ROOT, 'ls-files').splitlines()
    assert {'scenarios/', 'contracts/', 'data/', 'notebooks/features/'} <= set(patterns)
    assert is_teams('notebooks/studies/ours/a.ipynb', patterns)
    examples = [path for path in files if is_teams(path, patterns)]
    assert all(
        path.startswith(('scenarios/', 'notebooks/features/', 'cd4ml_nb/features/', 'explore/'))
        for path in examples
    )
