"""What people and CI type: the targets of the Makefile, the workflows, the hooks of a commit, and
what runs when."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import fault_harness
import pytest
import yaml
from fault_harness import Case, Result
from projects import ROOT, clean_environment, copy_parts, edited_notebook

MAKEFILE = (ROOT / 'Makefile').read_text(encoding='utf-8')
RECIPES = dict(re.findall(r'^([a-z-]+):.*\n((?:\t.*\n)*)', MAKEFILE, re.MULTILINE))


def job(workflow: str) -> dict[str, Any]:
    """The only job of a workflow."""
    text = (ROOT / '.github/workflows' / f'{workflow}.yml').read_text(encoding='utf-8')
    (found,) = yaml.safe_load(text)['jobs'].values()
    return found


def typed(workflow: str) -> list[str]:
    """The targets that a workflow makes, in order."""
    return [step['run'].removeprefix('make ') for step in job(workflow)['steps'] if 'run' in step]


def test_hooks_and_workflows_run_the_commands_of_the_makefile():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    assert [repo['repo'] for repo in hooks] == ['local']
    assert {hook['id'] for hook in hooks[0]['hooks']} == {'clear', 'nbdev-export', 'ruff'}
    assert {*typed('ci'), *typed('nightly')} <= set(RECIPES)
    ci = job('ci')
    assert ci['strategy']['matrix']['python'] == ['3.11', '3.12']
    assert ci['steps'][-1]['if'] == '${{ always() }}'


def test_a_push_lints_once_and_every_night_runs_what_a_push_leaves_out():
    assert typed('ci') == ['setup', 'test', 'run'] and typed('nightly') == ['setup', 'nightly']
    assert re.search('^test: lint ', MAKEFILE, re.MULTILINE)
    assert '-m "not slow"' in RECIPES['test']
    nightly = (ROOT / '.ci/nightly').read_text(encoding='utf-8')
    assert ' -m ' not in nightly and 'CD4ML_TEST_EFFORT=nightly' in nightly
    assert 'make faults' in nightly and 'nbdev-test' in nightly


def pretended(folder: Path, **codes: int) -> dict[str, str]:
    """An environment whose commands only say what they were given, and end with these codes."""
    folder.mkdir()
    for name, code in codes.items():
        path = folder / name.replace('_', '-')
        path.write_text(f'#!/bin/sh\necho {name} $CD4ML_TEST_EFFORT "$@"\nexit {code}\n')
        path.chmod(0o755)
    path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    return clean_environment(BIN=str(folder), PATH=path, CD4ML_TEST_EFFORT='')


def output_of(script: str, environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code of a script, and the lines that it prints."""
    done = subprocess.run(
        [ROOT / '.ci' / script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.strip().splitlines()


@pytest.mark.parametrize('tests', [0, 1])
def test_a_nightly_run_ends_with_one_line_for_each_part_and_goes_on_after_one_that_fails(
    tmp_path, tests
):
    pretend = pretended(tmp_path / 'bin', nbdev_test=0, pytest=tests, make=0)
    code, lines = output_of('nightly', pretend)
    assert code == tests and lines[-4] == '== nightly'
    verdicts = [re.match(r'(\w+)(?: \(1\))? +\d+ s  ', line)[1] for line in lines[-3:]]
    assert verdicts == ['passed', 'FAILED' if tests else 'passed', 'passed']
    assert {'nbdev_test nightly', 'make nightly faults'} <= set(lines)


def export(folder: Path, *variables: str) -> subprocess.CompletedProcess:
    """`make export` in a project whose environment is this one."""
    tools = Path(sys.executable).parent
    return subprocess.run(
        ['make', '-o', 'ready', 'export', 'READY=ready', f'BIN={tools}', *variables],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_make_export_loses_no_edit_of_a_module_unless_it_is_forced(tmp_path):
    parts = ['Makefile', 'cd4ml_nb', 'notebooks/core', 'pyproject.toml', 'pipeline.yaml']
    copy_parts(tmp_path, *parts)
    module = tmp_path / 'cd4ml_nb/core/package_files.py'
    before = module.read_text(encoding='utf-8')
    module.write_text(f'{before}\nX = 1\n', encoding='utf-8')
    for path in (tmp_path / 'notebooks').rglob('*.ipynb'):      # older than the module
        os.utime(path, (0, 0))
    stopped = export(tmp_path)
    assert stopped.returncode == 2 and module.read_text(encoding='utf-8') != before
    assert '+++ cd4ml_nb/core/package_files.py' in stopped.stderr and '+X = 1' in stopped.stderr
    assert 'put the lines with + into notebooks/core/package_files.ipynb, cell ' in stopped.stderr
    assert export(tmp_path, 'FORCE=1').returncode == 0
    assert module.read_text(encoding='utf-8') == before


def test_make_gpu_says_where_there_is_no_gpu_and_hands_on_a_test_that_failed(tmp_path):
    code, lines = output_of('gpu', pretended(tmp_path / 'none', pytest=0, python=1))
    assert code == 0 and shlex.split(lines[0]) == ['pytest', '-m', 'gpu', '-rs']
    assert lines[-1].startswith('no CUDA GPU here')
    code, lines = output_of('gpu', pretended(tmp_path / 'there', pytest=0, python=0))
    assert code == 0 and 'benchmarks/sweep.py --device cuda' in lines[-1]
    assert output_of('gpu', pretended(tmp_path / 'bad', pytest=1, python=0))[0] == 1


def slow_commands(folder: Path, limit: int = 470, **seconds: float) -> Path:
    """`.ci/gpu` in a folder of its own, with another limit and commands that take so long; its
    `timeout` says what it was given."""
    copy_parts(folder / '.ci')
    script = folder / '.ci/gpu'
    text = (ROOT / '.ci/gpu').read_text(encoding='utf-8')
    assert text.count('470') == 1
    script.write_text(text.replace('470', str(limit)), encoding='utf-8')
    script.chmod(0o755)
    bounded = subprocess.run(['which', 'timeout'], capture_output=True, text=True, check=True)
    commands = {
        name: f'echo {name} "$@"\nsleep {seconds.get(name, 0)}' for name in ('pytest', 'python')
    }
    commands['timeout'] = f'echo timeout "$3"\nexec {bounded.stdout.strip()} "$@"'
    (folder / 'bin').mkdir()
    for name, lines in commands.items():
        path = folder / 'bin' / name
        path.write_text(f'#!/bin/sh\n{lines}\n')
        path.chmod(0o755)
    return script


def of_the_gpu(script: Path) -> tuple[int, list[str], list[int]]:
    """The exit code of such a script, the lines that it prints, and the limits of its commands."""
    tools = script.parent.parent / 'bin'
    environment = {'BIN': str(tools), 'PATH': f'{tools}{os.pathsep}{os.environ["PATH"]}'}
    code, lines = output_of(str(script), os.environ | environment)
    return code, lines, [int(line.split()[1]) for line in lines if line.startswith('timeout ')]


def test_make_gpu_gives_each_part_what_the_parts_before_have_left_of_eight_minutes(tmp_path):
    code, _, limits = of_the_gpu(slow_commands(tmp_path, pytest=1.1))
    assert code == 0 and len(limits) == 3
    assert 8 * 60 > limits[0] > limits[1] >= limits[2] > 0


def test_make_gpu_ends_a_part_that_is_slower_than_its_limit_and_begins_no_other(tmp_path):
    code, lines, _ = of_the_gpu(slow_commands(tmp_path, limit=1, pytest=50))
    assert code == 124 and lines == ['timeout 1', 'pytest -m gpu -rs']


def test_make_gpu_begins_no_benchmark_where_no_time_is_left(tmp_path):
    _, _, limits = of_the_gpu(slow_commands(tmp_path, limit=1, python=1.1))
    assert min(limits) > 0


# ---- what the targets run

def made(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Run make as a person does, not as a part of another make."""
    outer = ('MAKEFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES', 'MFLAGS')
    return subprocess.run(
        ['make', *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def planned(*words: str) -> list[str]:
    """The command lines of targets where the environment is ready."""
    done = made('-n', '-o', 'ready', 'READY=ready', 'BIN=bin', *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace('\\\n', '').strip().splitlines()


@pytest.mark.parametrize(('words', 'lines'), [
    (['run'], ['bin/cd4ml run']),
    (['lint'], ['bin/ruff check .', 'bin/mypy']),
    (['lab'], ['bin/cd4ml lab']),
    (['test-slow'], ['bin/pytest -m slow']),
    (['bench'], ['bin/python benchmarks/pipeline.py']),
    (['bench-parts'], ['bin/python benchmarks/parts.py']),
    (['bench-workbench'], ['bin/python benchmarks/workbench.py']),
    (['bench-sweep', 'ARGS=--data FOLDER'], ['bin/python benchmarks/sweep.py --data FOLDER']),
    (
        ['faults'],
        [
            'bin/python tests/fault_harness.py --kills 200 --worker-kills 50'
            ' --coordinator-kills 10'
        ],
    ),
])
def test_a_target_runs_the_command_that_the_readme_says(words, lines):
    assert [line.strip() for line in planned(*words)] == lines
    for script in re.findall(r'(?:benchmarks|tests)/\w+\.py', ' '.join(lines)):
        assert (ROOT / script).is_file()


# ---- the environment

def pretended_python(folder: Path, version: tuple[int, ...]) -> Path:
    """A Python that believes to be of a version, and makes no environment."""
    code = f'import sys; sys.version_info = {version}; exec(sys.argv[1])'
    path = folder / 'python'
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || {{ echo "asked for $2"; exit 9; }}\n'
        f'exec "{sys.executable}" -c \'{code}\' "$2"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(('version', 'refused'), [
    ((3, 10, 14), True),
    ((3, 11, 0), False),
    ((3, 14, 0), False),
])
def test_set_up_with_an_older_python_ends_in_a_line_that_says_which_is_needed(
    tmp_path, version, refused
):
    copy_parts(tmp_path, 'Makefile', 'requirements.lock', 'pyproject.toml')
    done = made('setup', f'PYTHON={pretended_python(tmp_path, version)}', folder=tmp_path)
    assert done.returncode == 2 and not (tmp_path / '.venv').exists()
    said = 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'
    assert (said in done.stderr.splitlines()) == refused
    assert ('asked for venv' in done.stdout) != refused


def test_the_environment_of_conda_has_python_make_git_and_the_lock():
    words = yaml.safe_load((ROOT / 'environment.yml').read_text(encoding='utf-8'))['dependencies']
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    python = project['requires-python'].removeprefix('>=')
    assert {f'python={python}', 'make', 'git', 'pip'} <= {w for w in words if isinstance(w, str)}
    assert [w for w in words if isinstance(w, dict)] == [{'pip': ['-r requirements.lock']}]


def test_the_lock_has_hashes_of_every_package_and_names_no_registry():
    text = (ROOT / 'requirements.lock').read_text(encoding='utf-8')
    lines = [line for line in text.splitlines() if not line.lstrip().startswith('#')]
    packages = re.split(r'\n(?=\S)', '\n'.join(lines))
    assert len(packages) > 100
    for package in packages:
        first, *others = package.replace(' \\', '').split('\n')
        assert re.fullmatch(r'[\w.-]+==[\w.+!-]+( ; .+)?', first), first
        assert others, f'{first} has no hash'
        for line in others:
            assert re.fullmatch(r'    --hash=sha256:[0-9a-f]{64}', line), line
    (lock,) = planned('lock')
    assert '--generate-hashes' in lock and '--no-emit-index-url' in lock


def test_set_up_asks_for_compiled_libraries_and_for_their_hashes():
    done = made('-n', 'READY=ready', 'BIN=bin', 'setup')
    (sync,) = re.findall(r'uv pip sync .*', done.stdout)
    assert ' --compile-bytecode ' in sync and ' --require-hashes ' in sync


BY_MAKE = (Path(sys.prefix) / '.ready').is_file()


@pytest.mark.skipif(not BY_MAKE, reason='this environment was not made by make')
def test_set_up_has_compiled_the_libraries():
    for name in ('pandas', 'mlflow'):
        spec = importlib.util.find_spec(name)
        modules = list(Path(spec.origin).parent.rglob('*.py'))
        compiled = [Path(importlib.util.cache_from_source(str(path))) for path in modules]
        # those that no test imports, too
        assert modules and [path for path in compiled if not path.is_file()] == []


# ---- the kill harness as a command

class Pretended(fault_harness.Harness):
    """A harness that kills nothing, and answers every case alike."""

    wrong: list[str] = []
    reached = True

    def prepare(self) -> None:
        self.points['fresh'] = Counter()

    def cases(self, kills: int) -> list[Case]:
        return [Case(number, 'random') for number in range(kills)]

    def run(self, case: Case) -> Result:
        return Result(case, self.wrong, int(self.reached), self.reached)


@pytest.fixture
def harness(monkeypatch):
    """The command of the kill harness on pretended cases: its exit code."""

    def run(wrong: list[str], reached: bool, sweeps: bool) -> int:
        monkeypatch.setattr(Pretended, 'wrong', wrong)
        monkeypatch.setattr(Pretended, 'reached', reached)
        monkeypatch.setattr(fault_harness, 'Harness', Pretended)
        monkeypatch.setattr(fault_harness, 'can_mount', lambda: True)
        monkeypatch.setattr(fault_harness, 'kill_sweeps', lambda *_: sweeps)
        monkeypatch.setattr(sys, 'argv', ['fault_harness.py', '--kills', '3'])
        return fault_harness.main()

    return run


@pytest.mark.parametrize(('wrong', 'sweeps', 'code'), [
    ([], True, 0),
    (['lost whole products'], True, 1),
    ([], False, 1),
])
def test_the_kill_harness_fails_where_a_kill_did_harm(harness, capsys, wrong, sweeps, code):
    assert harness(wrong, True, sweeps) == code
    assert f'{0 if wrong else 3} of 3 cases good, 3 kills, seed 1' in capsys.readouterr().out


def test_the_kill_harness_fails_where_it_killed_less_often_than_it_was_asked_to(harness):
    assert harness([], False, True) == 1


# ---- the hooks of a commit

@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A repository of a part of this project, with its hooks installed."""
    monkeypatch.setenv('PRE_COMMIT_HOME', str(tmp_path / 'hooks'))
    folder = tmp_path / 'project'
    parts = ['Makefile', 'cd4ml_nb', 'notebooks/core', 'pyproject.toml', 'pipeline.yaml']
    copy_parts(folder, *parts, '.pre-commit-config.yaml')
    (folder / '.gitignore').write_text('.venv\n__pycache__/\n')
    (folder / '.venv').symlink_to(sys.prefix)
    git(folder, 'init', '-q')
    for name in ('name', 'email'):
        git(folder, 'config', f'user.{name}', 'ann@example.org')
    git(folder, 'add', '.')
    git(folder, 'commit', '-qm', 'first')
    subprocess.run(
        [Path(sys.prefix) / 'bin/pre-commit', 'install'],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def git(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run git, which leaves no pager or editor open."""
    return subprocess.run(
        ['git', *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def executed(path: Path) -> None:
    """Give a notebook's first cell of code an output, as if it had been run and folded."""
    content = json.loads(path.read_text(encoding='utf-8'))
    cell = next(cell for cell in content['cells'] if cell['cell_type'] == 'code')
    cell['outputs'] = [{'output_type': 'stream', 'name': 'stdout', 'text': ['shown']}]
    cell['execution_count'] = 7
    cell['metadata'] = {'collapsed': True}
    path.write_text(json.dumps(content), encoding='utf-8')


def test_a_commit_clears_what_running_left_and_stops_before_an_edit_of_a_module_is_lost(committed):
    module = committed / 'cd4ml_nb/core/package_files.py'
    module.write_text(module.read_text(encoding='utf-8') + '\nX = 1\n', encoding='utf-8')
    notebook = committed / 'notebooks/core/errors.ipynb'
    executed(notebook)
    for path in (committed / 'notebooks').rglob('*.ipynb'):      # older than the module
        os.utime(path, (0, 0))
    git(committed, 'add', '.')
    done = git(committed, 'commit', '-qm', 'second')
    said = done.stdout + done.stderr
    assert done.returncode == 1 and git(committed, 'log', '--format=%s').stdout == 'first\n'
    cleared = notebook.read_text(encoding='utf-8')
    assert '"execution_count": 7' not in cleared and '"collapsed"' not in cleared
    assert module.read_text(encoding='utf-8').endswith('\nX = 1\n')
    assert 'put the lines with + into notebooks/core/package_files.ipynb, cell ' in said


def test_the_hook_that_clears_notebooks_clears_outputs(committed):
    notebook = committed / 'notebooks/core/errors.ipynb'
    executed(notebook)
    (repository,) = yaml.safe_load((committed / '.pre-commit-config.yaml').read_text())['repos']
    entry = next(h['entry'] for h in repository['hooks'] if h['id'] == 'clear')
    subprocess.run(shlex.split(entry), cwd=committed, check=True, capture_output=True)
    assert '"shown"' not in notebook.read_text(encoding='utf-8')


@pytest.mark.slow
def test_a_commit_exports_what_was_edited_in_a_notebook(committed):
    notebook = committed / 'notebooks/core/errors.ipynb'
    edited_notebook(notebook, "The user's data or", 'Added; the data or')
    git(committed, 'add', '.')
    done = git(committed, 'commit', '-qm', 'second')
    module = committed / 'cd4ml_nb/core/errors.py'
    assert done.returncode == 1, done.stdout
    assert 'Added; ' in module.read_text(encoding='utf-8')
    git(committed, 'add', '.')
    done = git(committed, 'commit', '-qm', 'second')
    assert done.returncode == 0, done.stdout
    assert 'Added; ' in git(committed, 'show', 'HEAD:cd4ml_nb/core/errors.py').stdout
