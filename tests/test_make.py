"""What people and CI type: the targets of the Makefile, the workflows, the hooks of a commit, and
what runs when."""

import hashlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
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
    assert {*typed('ci'), *typed('nightly'), *typed('dependencies')} <= set(RECIPES)
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


# ---- what a stranger's pull request may do

WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
TRIGGERS = {'push', 'pull_request', 'schedule', 'workflow_dispatch'}


def unsafe(text: str) -> list[str]:
    """What in a workflow would give the code of a pull request a secret or a right to write."""
    flow = yaml.safe_load(text)
    found = [f'trigger {name}' for name in flow[True] if name not in TRIGGERS]   # True: the word on
    for part in (flow, *flow['jobs'].values()):
        rights = part.get('permissions', {} if part is not flow else None)
        if not isinstance(rights, dict) or set(rights.values()) - {'read', 'none'}:
            found.append(f'permissions {rights}')
        if re.search(r'secrets|github\.token', json.dumps(part.get('env', {}))):
            found.append('a secret of the job')
    for step in [step for job in flow['jobs'].values() for step in job['steps']]:
        found += unsafe_step(step)
    return found + (['secrets'] if re.search(r'\$\{\{[^}]*secrets', text) else [])


def unsafe_step(step: dict[str, Any]) -> list[str]:
    """The same of one step; what a person wrote is passed to a shell by a variable only."""
    run = step.get('run', '')
    found = []
    if re.search(r'\$\{\{\s*(github\.(event|head_ref)|inputs)', run):
        found.append('text of the event in a shell')
    if re.search(r'make |\.ci/|python', run) and 'github.token' in json.dumps(step):
        found.append('a token for the code of the pull request')
    checkout = step.get('uses', '').startswith('actions/checkout')
    if checkout and step.get('with', {}).get('persist-credentials') is not False:
        found.append('the token stays in the checkout')
    return found


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_X18_no_workflow_gives_a_pull_request_a_secret_or_a_right_to_write(path):
    assert unsafe(path.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(('old', 'new'), [
    ('  pull_request:', '  pull_request_target:'),
    ('contents: read', 'contents: write'),
    ('permissions:\n  contents: read\n  actions: read', 'x-permissions: {}\nx:\n  actions: read'),
    ('      CD4ML_ENV: ci', '      CD4ML_ENV: ${{ secrets.KEY }}'),
    ('persist-credentials: false', 'persist-credentials: true'),
    ('run: make setup', 'run: make setup ${{ github.event.pull_request.title }}'),
    ('run: make setup', 'run: GH_TOKEN=${{ github.token }} make setup'),
])
def test_X18_a_workflow_that_would_is_caught(old, new):
    text = (ROOT / '.github/workflows/models.yml').read_text(encoding='utf-8')
    assert old in text and unsafe(text.replace(old, new))


def test_the_models_workflow_compares_with_what_a_push_to_main_kept_and_shows_its_page_when_red():
    flow = yaml.safe_load((ROOT / '.github/workflows/models.yml').read_text(encoding='utf-8'))
    assert flow[True]['push']['paths'] == flow[True]['pull_request']['paths']
    kept, review = (flow['jobs'][name]['steps'] for name in ('keep', 'pull-request'))
    by_name = {step.get('name'): step for step in review}
    assert [step['run'] for step in kept if 'run' in step][-1] == '.ci/models --keep'
    fetch = by_name['Fetch it; without it, the reference is built anew']['with']
    assert fetch['name'] == kept[-1]['with']['name'] and kept[-1]['with']['path'] == '.models/'
    find = by_name['Find what the main branch has kept']['run']
    assert '--event push' in find and '--status success' in find
    assert [step['if'] for step in review[-2:]] == ['${{ always() }}'] * 2


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


@pytest.mark.parametrize('audit', [0, 1])
def test_make_audit_lists_what_is_locked_and_is_red_where_a_package_cannot_be_looked_up(
    tmp_path, audit
):
    pretend = pretended(tmp_path / 'bin', cyclonedx_py=0, pip_audit=audit)
    code, (listed, audited) = output_of('dependencies', pretend)
    assert code == audit and shlex.split(listed)[-1] == 'requirements.lock'
    assert {'--strict', '--require-hashes', 'requirements.lock'} <= set(shlex.split(audited))


@pytest.mark.slow
def test_X15_the_list_holds_every_locked_package_with_its_hashes(tmp_path):
    pretend = pretended(tmp_path / 'bin', pip_audit=0)
    (tmp_path / 'bin/cyclonedx-py').symlink_to(Path(sys.executable).with_name('cyclonedx-py'))
    sbom = tmp_path / 'sbom.json'
    subprocess.run([ROOT / '.ci/dependencies', sbom], env=pretend, check=True, timeout=300)
    found = json.loads(sbom.read_text(encoding='utf-8'))
    assert found['bomFormat'] == 'CycloneDX'
    lock = (ROOT / 'requirements.lock').read_text(encoding='utf-8')
    locked = re.findall(r'^([\w.-]+)==([\w.+!-]+)', lock, re.MULTILINE)
    parts = {(part['name'], part['version']): json.dumps(part) for part in found['components']}
    assert set(parts) == set(locked) and all('SHA-256' in text for text in parts.values())
    assert all(digest in ''.join(parts.values()) for digest in re.findall(r'sha256:(\w+)', lock))


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


def test_X15_all_that_set_up_installs_by_name_is_installed_by_its_hash():
    done = made('-n', 'READY=ready', 'BIN=bin', 'setup')
    lines = done.stdout.replace('\\\n', '').replace('||', '\n').splitlines()
    installs = [line for line in lines if re.search(r'pip (install|sync) ', line)]
    assert len(installs) == 4
    own = [line for line in installs if '--editable .' in line]
    assert len(own) == 1 and '--no-deps' in own[0] and '--no-build-isolation' in own[0]
    assert all(' --require-hashes ' in line for line in installs if line not in own)


def a_wheel(folder: Path) -> Path:
    """A package `tiny` that holds nothing but a module."""
    about = 'tiny-1.0.dist-info'
    path = folder / 'tiny-1.0-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as wheel:
        wheel.writestr('tiny.py', '')
        wheel.writestr(f'{about}/METADATA', 'Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n')
        kind = 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        wheel.writestr(f'{about}/WHEEL', kind)
        wheel.writestr(f'{about}/RECORD', '')
    return path


@pytest.mark.slow
@pytest.mark.parametrize('with_uv', [True, False])
@pytest.mark.parametrize('tampered', [True, False])
def test_X15_a_package_whose_hash_is_not_the_locked_one_is_not_installed(
    tmp_path, monkeypatch, with_uv, tampered
):
    wheel = a_wheel(tmp_path)
    digest = '0' * 64 if tampered else hashlib.sha256(wheel.read_bytes()).hexdigest()
    project = copy_parts(tmp_path / 'project', 'Makefile', 'pyproject.toml')
    (project / 'requirements.lock').write_text(f'tiny==1.0 \\\n    --hash=sha256:{digest}\n')
    for tool in ('PIP', 'UV'):
        monkeypatch.setenv(f'{tool}_NO_INDEX', '1')
        monkeypatch.setenv(f'{tool}_FIND_LINKS', str(tmp_path))
    if with_uv:
        (project / '.venv/bin').mkdir(parents=True)
        (project / '.venv/bin/uv').symlink_to(Path(sys.executable).with_name('uv'))
    done = made('setup', f'PYTHON={sys.executable}', folder=project)
    assert done.returncode and not (project / '.venv/.ready').exists()
    installed = list((project / '.venv').rglob('tiny.py'))
    assert bool(installed) != tampered, done.stderr
    refused = re.search('hash mismatch|do not match the hashes', done.stderr, re.IGNORECASE)
    assert bool(refused) == tampered, done.stderr


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
