"""`cd4ml doctor`: each thing that can be wrong is found, and says what to do and whose turn it is.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from projects import ROOT, copy_parts
from waiting import seconds

from cd4ml_nb.command import doctor
from cd4ml_nb.command.cli import main
from cd4ml_nb.command.doctor import (
    Check,
    check_configuration,
    check_export,
    check_git,
    check_imports,
    check_jupyter,
    check_kernel,
    check_products,
    check_tracking,
    check_versions,
    exit_code,
    locked_versions,
)
from cd4ml_nb.planning.exports import stale_modules


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    copy_parts(
        tmp_path, 'notebooks', 'cd4ml_nb', 'scenarios', 'pipeline.yaml', 'settings.ini',
        'requirements.lock',
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- the command

def test_a_healthy_environment_is_told_line_by_line_and_ends_with_0(project, capsys, monkeypatch):
    # tried below, and slow
    monkeypatch.setattr(
        doctor, 'check_imports', lambda packages: Check('imports', 'ok', f'{len(packages)}')
    )
    assert main(['doctor']) == 0
    out = capsys.readouterr().out
    lines = dict(reversed(line.split()[:2]) for line in out.splitlines())
    assert set(lines) >= {
        'python', 'packages', 'jupyter', 'kernel', 'git', 'export', 'settings', 'pipeline',
        'scenarios', 'products', 'device', 'tracking', 'imports',
    }
    # the copy is no repository
    assert 'problem' not in lines.values() and lines['git'] == 'warning'


@pytest.mark.parametrize(('level', 'code', 'ends'), [
    ('warning', 2, 0),
    ('problem', 2, 2),
    ('problem', 4, 4),
])
def test_V7_the_exit_code_says_whose_turn_it_is(project, capsys, monkeypatch, level, code, ends):
    checks = [Check('python', 'ok', 'fine'), Check('disk', level, 'full', 'free some', code)]
    monkeypatch.setattr(doctor, 'diagnose', lambda: iter(checks))
    assert main(['doctor']) == ends
    captured = capsys.readouterr()
    assert f'{level:<8} disk       full — free some' in captured.out
    error = 'ERROR DOCTOR disk: 1 problem, first: full — free some\n'
    assert captured.err == (error if ends else '')


def test_broken_settings_do_not_hide_the_rest(project, capsys, monkeypatch):
    monkeypatch.setattr(doctor, 'check_imports', lambda packages: Check('imports', 'ok', ''))
    (project / 'settings.ini').write_text('[DEFAULT]\ntrails = 3\n')
    (project / 'scenarios' / 'bad.yaml').write_text('name: [')
    assert main(['doctor']) == 2
    out = capsys.readouterr().out
    assert "did you mean 'trials'?" in out and 'bad.yaml' in out and 'imports' in out


def test_both_kinds_of_problem_end_with_2():
    assert exit_code([Check('a', 'problem', '', '', 4), Check('b', 'problem', '', '', 2)]) == 2


# ---- packages

def test_C13_a_version_that_differs_from_the_lock():
    locked = {'xgboost': '3.2.0', 'attrs': '25.1'}
    assert check_versions(locked, locked, ['xgboost']).level == 'ok'
    wrong = check_versions(locked, locked | {'xgboost': '2.1.0'}, ['xgboost'])
    assert (wrong.level, wrong.todo) == ('problem', 'make setup')
    assert wrong.text == 'xgboost is 2.1.0, locked is 3.2.0'
    assert check_versions(locked, {'xgboost': '3.2.0'}, ['xgboost']).level == 'warning'
    assert check_versions({}, {}, ['xgboost']).level == 'problem'


def test_the_real_lock_is_read_with_its_markers():
    locked = locked_versions((ROOT / 'requirements.lock').read_text())
    assert {'pandas', 'xgboost', 'mlflow', 'ploomber', 'jupytext'} <= set(locked)
    assert len(locked) > 150
    assert all(version and version[0].isdigit() for version in locked.values())
    assert 'pywinpty' not in locked or sys.platform == 'win32'


def test_a_package_that_is_installed_but_broken_is_found(tmp_path, monkeypatch):
    (tmp_path / 'broken_package.py').write_text('raise RuntimeError("no such symbol")')
    monkeypatch.syspath_prepend(tmp_path)
    found = check_imports(['typer', 'broken-package'])
    assert (found.level, found.text) == ('problem', 'broken-package: RuntimeError: no such symbol')


# ---- Jupyter

@pytest.mark.parametrize(('installed', 'level'), [
    ({}, 'warning'),
    ({'jupyterlab': '4.6.6'}, 'ok'),
    ({'jupyterlab': '4.6.6', 'ploomber': '0.23.3', 'jupytext': '1.16.7'}, 'ok'),
    ({'jupyterlab': '4.6.6', 'ploomber': '0.23.3', 'jupytext': '1.17.0'}, 'problem'),
    ({'jupyterlab': '4.6.6', 'jupytext': '1.17.0'}, 'ok'),
])
def test_T1_jupytext_that_breaks_the_contents_api(installed, level):
    assert check_jupyter(installed).level == level


def test_I23_a_kernel_that_is_missing_or_another_python(tmp_path, monkeypatch):
    for name in ('JUPYTER_PATH', 'JUPYTER_DATA_DIR', 'HOME'):
        monkeypatch.setenv(name, str(tmp_path))
    assert check_kernel().level == 'ok'
    folder = tmp_path / 'kernels' / 'python3'
    folder.mkdir(parents=True)
    kernel = {
        'argv': ['/elsewhere/python', '-m', 'ipykernel'],
        'display_name': 'x',
        'language': 'python',
    }
    (folder / 'kernel.json').write_text(json.dumps(kernel))
    found = check_kernel()
    assert found.level == 'warning'
    assert '/elsewhere/python' in found.text and 'ipykernel install' in found.todo
    (folder / 'kernel.json').write_text('{')
    assert check_kernel().level in ('problem', 'ok')     # Jupyter may fall back on the next one


# ---- tracking

def test_T25_a_server_that_is_down_hangs_or_refuses_is_noticed_in_seconds():
    with socket.create_server(('127.0.0.1', 0)) as silent:  # accepts, and never answers
        begun = time.monotonic()
        port = silent.getsockname()[1]
        found = check_tracking(f'http://ann:secret@127.0.0.1:{port}', seconds=0.3)
    assert time.monotonic() - begun < seconds(5)
    assert (found.level, found.exit_code) == ('problem', 4) and 'secret' not in found.text
    assert check_tracking(f'http://127.0.0.1:{port}').level == 'problem'
    assert check_tracking('http://no-such-host.invalid:5000').level == 'problem'
    assert check_tracking(f'postgresql+psycopg2://u:pw@127.0.0.1:{port}/mlflow').level == 'problem'


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/health' else 403)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_answers_is_well_and_one_that_forbids_is_told():
    server = HTTPServer(('127.0.0.1', 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    assert check_tracking(address).level == 'ok'
    assert check_tracking(f'{address}/prefix').level == 'warning'
    server.shutdown()
    server.server_close()


def test_a_sqlite_store_that_is_new_good_or_damaged(project):
    path = project / 'mlflow.db'
    assert check_tracking(f'sqlite:///{path}').level == 'ok' and not path.exists()
    sqlite3.connect(path).execute('create table t (x)').connection.close()
    assert check_tracking(f'sqlite:///{path}').level == 'ok'
    path.write_bytes(b'not a database' * 100)
    damaged = check_tracking(f'sqlite:///{path}')
    assert (damaged.level, damaged.exit_code) == ('problem', 4)
    sagemaker = 'arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/x'
    assert check_tracking(sagemaker).level == 'warning'


# ---- disk and git

def test_I10_products_that_cannot_be_written_or_have_no_room(project):
    assert check_products(project / 'products').level == 'ok'
    assert check_products(project / 'products', least=1e12).level == 'warning'
    (project / 'file').write_text('x')
    found = check_products(project / 'file' / 'products')
    assert (found.level, found.exit_code) == ('problem', 4)


def test_git_absent_empty_and_in_order(project, monkeypatch):
    assert check_git(project).level == 'warning'
    ann = ['-c', 'user.name=a', '-c', 'user.email=a@b']
    for args in (['init', '-q'], [*ann, 'commit', '-q', '--allow-empty', '-m', 'x']):
        subprocess.run(['git', *args], cwd=project, check=True)
    assert check_git(project).level == 'ok'
    monkeypatch.setenv('PATH', os.devnull)
    assert check_git(project).text == 'git is not installed'


# ---- the export

def test_N01_the_quick_comparison_agrees_with_the_exporter(project):
    assert stale_modules(project) == []


@pytest.mark.parametrize('edit', [
    ('exit_code = 2', 'exit_code = 5'),
    ('class UserError', 'class UsersError'),
    ('    exit_code = 4\n', '    exit_code = 4\n\n    x = 1\n'),
])
def test_N02_any_edit_of_a_module_by_hand_is_seen(project, edit):
    path = project / 'cd4ml_nb/core/errors.py'
    path.write_text(path.read_text().replace(*edit, 1))
    assert stale_modules(project) == ['core/errors.py']


def test_N01_pages_and_modules_that_came_or_went(project):
    (project / 'notebooks' / 'scenario/metrics.ipynb').unlink()
    (project / 'cd4ml_nb/core/files.py').unlink()
    assert stale_modules(project) == ['core/files.py', 'scenario/metrics.py (no notebook)']
    found = check_export(project)
    assert (found.level, found.todo, found.exit_code) == ('problem', 'make export', 2)
    assert 'run export: 2 files differ' in found.text


def test_prose_examples_and_docstrings_of_the_run_are_no_difference(project):
    path = project / 'notebooks' / 'core/errors.ipynb'
    page = json.loads(path.read_text())
    for cell in page['cells']:
        if cell['cell_type'] == 'markdown' or not ''.join(cell['source']).startswith('#|'):
            cell['source'] = 'something_else'
    path.write_text(json.dumps(page))
    assert stale_modules(project) == []


def test_configuration_names_every_broken_scenario(project):
    (project / 'scenarios' / 'a.yaml').write_text('name: a')
    (project / 'scenarios' / 'b.yaml').write_text('b: 1\nb: 2')
    (project / 'pipeline.yaml').write_text('tasks: [{nmae: x}]')
    checks = check_configuration(project)
    problems = {check.name: check for check in checks if check.level == 'problem'}
    assert set(problems) == {'pipeline', 'scenario'}
    assert "did you mean 'name'?" in problems['pipeline'].todo
    assert sum(check.name == 'scenario' for check in check_configuration(project)) == 2
