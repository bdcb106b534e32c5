"""What people and CI type: the targets of the Makefile, the workflows, and what runs when."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import ROOT, copy_parts

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
    assert {hook['id'] for hook in hooks[0]['hooks']} == {'nbdev-clean', 'nbdev-export', 'ruff'}
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
    return os.environ | {'BIN': str(folder), 'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}'}


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
