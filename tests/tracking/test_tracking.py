"""Tracking, at the seam a stage meets: no metric is lost and none stands twice, whether the store
refuses, hangs, fails, is locked, or a process is killed."""

import contextlib
import io
import json
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from postgres import postgres
from runs import SMALL, Place
from waiting import seconds

from cd4ml_nb.artefacts.registration import Registration
from cd4ml_nb.core.errors import InfrastructureError
from cd4ml_nb.core.files import in_project
from cd4ml_nb.core.log import Log
from cd4ml_nb.core.settings import Settings
from cd4ml_nb.model.pyfunc import HISTORY
from cd4ml_nb.runs.identities import outbox, registered_version, resolved
from cd4ml_nb.tracking.queue import (
    address,
    messages_in,
    missing,
    read_message,
    store_name,
    waiting_line,
    write_message,
)
from cd4ml_nb.tracking.sender import SweepRun, known_run, open_run, open_sweep, register_model, sync
from cd4ml_nb.tracking.store import experiment, register_candidate
from cd4ml_nb.tracking.views import opened

N_TRIALS = 3
CURVE = [(0, 3.0), (25, 2.0), (50, 1.5)]
DIGEST = 'f00d' * 16    # sha256 of a table


# ---- everything that speaks with a store does so in a process of its own, forked from this one,
# which has the libraries

@dataclass
class Ended:
    """How a process ended."""

    code: int
    value: Any
    out: str
    seconds: float


def in_process(work: Callable[..., Any], *words: Any, **environment: str) -> Ended:
    """Call a function in a child; its value and what it printed, unless it was killed."""
    (here, there), begun = os.pipe(), time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 70
        out = io.StringIO()
        try:
            os.environ.update(environment)
            with contextlib.redirect_stdout(out):
                value = work(*words)
            with open(there, 'wb') as pipe:
                pickle.dump((value, out.getvalue()), pipe)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(there)
    with open(here, 'rb') as pipe:
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    value, text = pickle.loads(answer) if answer else (None, '')
    return Ended(code, value, text, time.monotonic() - begun)


def until(there: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    limit = time.monotonic() + 120
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.02)


def done(work: Callable[..., Any], *words: Any, **environment: str) -> Any:
    """The value of a function that was called in a child, which must end well."""
    ended = in_process(work, *words, **environment)
    assert ended.code == 0, ended
    return ended.value


def sent_in_the_end(here: Settings) -> int:
    """How many messages `sync` sends; a busy machine may need more than one of its ten seconds."""
    sent = 0
    for _ in range(6):
        synced = done(sync, here)
        sent += synced.sent
        if not synced.reason:
            break
    assert (synced.left, synced.reason) == (0, '')
    return sent


def synced_by_command(here: Settings, *words: str) -> tuple[int, str, str]:
    """`cd4ml sync` in a child: its exit code, and what it printed."""
    def work() -> tuple[int, str]:
        from cd4ml_nb.command.cli import main
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            code = main(['sync', *words])
        return code, errors.getvalue()

    places = ('products', 'tracking_uri', 'artifact_root')
    environment = {f'CD4ML_{name.upper()}': getattr(here, name) for name in places}
    ended = in_process(work, **environment)
    assert ended.code == 0, ended
    code, errors = ended.value
    return code, ended.out, errors


@pytest.fixture(scope='session')
def empty_store(tmp_path_factory) -> Path:
    """A SQLite store with MLflow's tables and one experiment."""
    path = tmp_path_factory.mktemp('store') / 'mlflow.db'
    here = Settings(tracking_uri=f'sqlite:///{path}', artifact_root='files')
    done(lambda: experiment(MlflowClient(here.tracking_uri), 'other', here))
    return path


@pytest.fixture
def here(tmp_path, empty_store) -> Settings:
    return place(tmp_path, empty_store)


def place(folder: Path, empty_store: Path) -> Settings:
    """Settings with a store of their own, and a model to upload."""
    shutil.copy(empty_store, folder / 'mlflow.db')
    (folder / 'model.json').write_text('{}')
    return Settings(
        products=str(folder / 'products'),
        tracking_uri=f'sqlite:///{folder}/mlflow.db',
        artifact_root=str(folder / 'files'),
    )


def model_of(here: Settings) -> Path:
    return Path(here.products).parent / 'model.json'


# ---- what stages and sweeps do

def folder(here: Settings, stage: str = 'train') -> Path:
    """The product directory of a stage that is done once more."""
    return Path(here.products) / 'toy' / stage / uuid.uuid4().hex


def a_run(here: Settings, passed: Callable[[str], None] = lambda step: None) -> str:
    """A run as the stages make it; each step is noted when it was accepted."""
    with open_run(
        here, 'toy', 'first', {'depth': 3}, {'cd4ml.stage': 'train'}, folder(here)
    ) as run:
        passed('opened')
        run.add({'mae': 1.5, 'undefined': None}, {'verdict': 'good'})
        run.add_data('toy train', DIGEST, 'training', 100, Path(here.products) / 'toy.parquet')
    passed('added')
    with known_run(here, run.run_id, folder(here, 'package')) as run:
        run.add_files([model_of(here)], 'model')
    passed('filed')
    with known_run(here, run.run_id, folder(here, 'register')) as run:
        register_model(run, 'toy', 'abc', {'verdict': 'good'})
    passed('registered')
    return run.run_id


def end_trial(sweep: SweepRun, number: int) -> None:
    """A trial has ended: the journal has it, and then MLflow is to show it."""
    record = {
        'number': number,
        'params': {'depth': number},
        'value': 1.25 + number,
        'curve': CURVE,
        'rounds': 50,
        'state': ('complete', 'pruned', 'failed')[number % 3],
        'reason': '' if number % 3 == 0 else 'why',
        'seconds': 1.5,
        'at': 101.5,
        'device': 'cuda:1',
    }
    if number not in sweep.sweep.records:
        sweep.journal.append(end=record)
    sweep.add(record)


def journal_path(here: Settings, key: str = 'k') -> Path:
    return Path(here.products) / 'toy' / '.studies' / f'{key}.jsonl'


@contextlib.contextmanager
def opened_sweep(here: Settings, key: str = 'k', name: str = 'sweep') -> Iterator[SweepRun]:
    with Log(journal_path(here, key)) as journal:
        yield open_sweep(here, 'toy', name, {'sampler': 'TPE'}, {'note': 'x'}, 'mae', journal)


def a_sweep(here: Settings, n: int = N_TRIALS, key: str = 'k') -> str:
    """A sweep as its coordinator runs it."""
    with opened_sweep(here, key) as sweep:
        for number in range(n):
            end_trial(sweep, number)
        sweep.close('FINISHED', {'mae': 1.25})
        return sweep.run_id


def stored(here: Settings) -> dict[str, Any]:
    """What a store has: runs with all that is in them, and versions of the model."""
    client = MlflowClient(address(here), address(here))
    found = []
    for run in client.search_runs(
        [e.experiment_id for e in client.search_experiments()], order_by=['attributes.start_time']
    ):
        rows = [
            (m.key, m.value, m.step)
            for key in run.data.metrics
            for m in client.get_metric_history(run.info.run_id, key)
        ]
        found.append({
            'id': run.info.run_id,
            'name': run.info.run_name,
            'status': run.info.status,
            'params': run.data.params,
            'rows': sorted(rows),
            'tags': run.data.tags,
            'inputs': [
                (d.dataset.digest, d.tags[0].value) for d in run.inputs.dataset_inputs
            ],
            'files': sorted(f.path for f in client.list_artifacts(run.info.run_id, 'model')),
        })
    versions = [
        (int(v.version), v.run_id, v.tags.get('manifest_sha256'))
        for v in client.search_model_versions("name='toy'")
    ]
    alias = client.get_registered_model('toy').aliases if versions else {}
    return {
        'runs': found,
        'versions': versions,
        'alias': {name: int(version) for name, version in alias.items()},
    }


def runs_of(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [run for run in content['runs'] if run['name'] == name]


def assert_whole_run(content: dict[str, Any]) -> None:
    """The run of `a_run` is there once, with everything once."""
    (run,) = runs_of(content, 'first')
    assert (run['status'], run['params'], run['rows'], run['files']) == (
        'FINISHED',
        {'depth': '3'},
        [('mae', 1.5, 0)],
        ['model/model.json'],
    )
    assert run['inputs'] == [(DIGEST[:32], 'training')]
    assert run['tags']['cd4ml.stage'] == 'train' and run['tags']['verdict'] == 'good'
    assert content['versions'] == [(1, run['id'], 'abc')] and content['alias'] == {'candidate': 1}


def assert_whole_sweep(content: dict[str, Any], n: int = N_TRIALS) -> None:
    """The sweep of `a_sweep` is there once, with each trial once."""
    (parent,) = runs_of(content, 'sweep')
    assert (parent['status'], parent['params'], [row[:2] for row in parent['rows']]) == (
        'FINISHED',
        {'sampler': 'TPE'},
        [('mae', 1.25)],
    )
    children = [
        run for run in content['runs'] if run['tags'].get('mlflow.parentRunId') == parent['id']
    ]
    assert sorted(run['tags']['cd4ml.trial'] for run in children) == sorted(map(str, range(n)))
    for run in children:
        number = int(run['tags']['cd4ml.trial'])
        assert run['status'] == ('FAILED' if number % 3 == 2 else 'FINISHED') and run['params'] == {
            'depth': str(number)
        }
        assert run['rows'] == sorted(
            [('mae', value, step) for step, value in CURVE]
            + [('mae', 1.25 + number, 51), ('rounds', 50.0, 0), ('seconds', 1.5, 0)]
        )
        assert (run['tags']['cd4ml.state'], 'cd4ml.reason' in run['tags']) == (
            ('complete', 'pruned', 'failed')[number % 3],
            number % 3 > 0,
        )
        assert run['tags']['cd4ml.device'] == 'cuda:1'


def assert_nothing_waits(here: Settings) -> None:
    assert [each.path for each in missing(outbox(here))] == [] and waiting_line(here) == ''


def test_with_the_store_up_all_is_there_at_once_and_nothing_waits(here):
    run_id, parent = done(lambda: (a_run(here), a_sweep(here)))
    content = done(stored, here)
    assert_whole_run(content)
    assert_whole_sweep(content)
    assert {run_id, parent} <= {run['id'] for run in content['runs']}
    assert_nothing_waits(here)


def test_a_trial_that_is_added_twice_is_one(here):
    def story() -> None:
        with opened_sweep(here) as sweep:
            for number in [*range(20), 3, 4]:
                end_trial(sweep, number)
            sweep.close('FINISHED', {'mae': 1.25})

    done(story)
    assert_whole_sweep(done(stored, here), 20)


def test_the_same_journal_later_continues_the_same_parent_and_another_or_a_new_one_does_not(here):
    def story() -> list[str]:
        ids = [a_sweep(here, 1), a_sweep(here, 2), a_sweep(here, 1, 'other')]
        journal_path(here).unlink()
        return [*ids, a_sweep(here, 1)]

    first, again, other, anew = done(story)
    assert first == again and len({first, other, anew}) == 3
    runs = done(stored, here)['runs']
    assert [
        sum(run['tags'].get('mlflow.parentRunId') == parent for run in runs)
        for parent in (first, other, anew)
    ] == [2, 1, 1]
    assert {run['status'] for run in runs if run['name'] == 'sweep'} == {'FINISHED'}


def test_I06_a_kill_while_the_store_is_made_leaves_none_or_a_whole_one(tmp_path):
    path = tmp_path / 'new' / 'mlflow.db'
    here = Settings(
        products=str(tmp_path / 'products'),
        tracking_uri=f'sqlite:///{path}',
        artifact_root=str(tmp_path / 'files'),
    )
    (tmp_path / 'model.json').write_text('{}')

    def dies_at(table: str) -> None:
        import sqlalchemy
        sqlalchemy.event.listen(
            sqlalchemy.Table,
            'after_create',
            lambda made, *_, **__: (
                os.kill(os.getpid(), signal.SIGKILL) if made.name == table else None
            ),
        )
        a_run(here)

    for table in ('experiments', 'model_versions', 'spans'):
        assert in_process(dies_at, table).code == -signal.SIGKILL
        assert path.parent.is_dir() and not path.exists()
    done(a_run, here)
    done(sync, here)
    assert {run['name'] for run in done(stored, here)['runs']} == {'first'} and waiting_line(
        here
    ) == ''


# ---- a store that does not answer

@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever said."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server.getsockname()[1]


def test_I16_a_server_that_refuses_costs_no_time_and_is_named_in_one_line(here):
    down = here.model_copy(update={'tracking_uri': 'http://ann:geheim@127.0.0.1:9'})
    ended = in_process(a_run, down)
    lines = ended.out.splitlines()
    assert ended.code == 0 and ended.seconds < seconds(6)
    assert lines == [f'tracking unavailable (connection refused), spooling to {here.products}']
    assert ended.value.startswith('local-') and resolved(ended.value, down) == ended.value
    assert in_process(a_run, down).seconds < 8                 # who comes next does not try
    assert not [
        path
        for path in Path(here.products).rglob('*')
        if path.is_file() and b'geheim' in path.read_bytes()
    ]
    assert (
        waiting_line(here)
        == '6 messages for the tracking store wait (connection refused): cd4ml sync'
    )


def test_I16_a_server_that_hangs_costs_ten_seconds_in_all(here):
    with silent() as port:
        down = here.model_copy(update={'tracking_uri': f'http://127.0.0.1:{port}'})
        first = in_process(a_run, down)
        second = in_process(a_run, down)
        sweep = in_process(a_sweep, down)
    assert [ended.code for ended in (first, second, sweep)] == [0, 0, 0]
    assert 9 < first.seconds < 13 and second.seconds < 2 and sweep.seconds < 2
    assert first.out.count('tracking unavailable (no answer') == 1


def test_a_trial_is_added_at_once_while_the_store_hangs(here):
    def story(here: Settings) -> tuple[str, bool, bool]:
        with opened_sweep(here) as sweep:
            for number in range(N_TRIALS):
                end_trial(sweep, number)
            # had a trial waited for the store, patience with it would be over now
            return sweep.sender.down, sweep.sender.thread is None, sweep.job.is_over

    with silent() as port:
        down = here.model_copy(update={'tracking_uri': f'http://127.0.0.1:{port}'})
        ended = in_process(story, down, CD4ML_TEST_TRACKING_SECONDS='20')
    assert (ended.code, ended.value, ended.out) == (0, ('', False, False), '')


def serve(folder: Path, port_file: Path) -> None:
    """MLflow's own server behind a gate that fails as the file `mode` says: PATH FAILURE."""
    os.environ.update({
        '_MLFLOW_SERVER_FILE_STORE': f'sqlite:///{folder}/mlflow.db',
        '_MLFLOW_SERVER_SERVE_ARTIFACTS': 'true',
        '_MLFLOW_SERVER_ARTIFACT_ROOT': 'mlflow-artifacts:/',
        '_MLFLOW_SERVER_ARTIFACT_DESTINATION': f'{folder}/files',
    })
    import logging

    from mlflow.server import app
    from werkzeug.serving import make_server
    logging.getLogger('werkzeug').setLevel(logging.ERROR)

    def gate(environ, start):
        wanted, _, failure = (folder / 'mode').read_text().partition(' ')
        if not failure or wanted not in environ['PATH_INFO']:
            return app(environ, start)
        if failure.startswith('deaf'):
            # it does what it is asked for, and does not say so
            b''.join(app(environ, lambda *_: lambda data: None))
        if failure.endswith('hangs'):
            time.sleep(60)
        code = failure.removeprefix('deaf ')
        start(f'{code} Failure', [('Content-Type', 'text/plain')])
        return [b'no']

    server = make_server('127.0.0.1', 0, gate, threaded=True)
    port_file.write_text(str(server.server_port))
    server.serve_forever()


@dataclass
class Server:
    """An MLflow server whose failures are under control."""

    folder: Path
    port: int

    def fail(self, mode: str = '') -> None:
        (self.folder / 'mode').write_text(mode)

    def settings(self, folder: Path) -> Settings:
        (folder / 'model.json').write_text('{}')
        return Settings(
            products=str(folder / 'products'),
            tracking_uri=f'http://127.0.0.1:{self.port}',
            artifact_root=str(folder / 'unused'),
        )


@contextlib.contextmanager
def served(folder: Path, empty_store: Path) -> Iterator[Server]:
    """The server in a process of its own."""
    shutil.copy(empty_store, folder / 'mlflow.db')
    (folder / 'mode').write_text('')
    pid = os.fork()
    if pid == 0:
        try:
            serve(folder, folder / 'port')
        finally:
            os._exit(1)
    try:
        until = time.monotonic() + 60
        while not (folder / 'port').exists() or not (folder / 'port').read_text():
            assert time.monotonic() < until and os.waitpid(pid, os.WNOHANG) == (0, 0)
            time.sleep(0.05)
        yield Server(folder, int((folder / 'port').read_text()))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture(scope='module')
def server(tmp_path_factory, empty_store) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp('server'), empty_store) as one:
        yield one


MODES = [
    'log-batch 500', 'log-batch 503', 'log-batch hangs', 'runs/create deaf 500',
    'runs/create deaf hangs', 'log-batch deaf 503', 'artifacts 503',
    'model-versions/create deaf 500', 'set-experiment-tag 503',
]


@pytest.mark.parametrize('mode', MODES)
def test_I16_a_server_that_fails_in_the_middle_is_left_alone_and_has_all_of_it_once_later(
    server, tmp_path, mode
):
    here = server.settings(tmp_path)

    def names(content):
        return {
            kind: [
                one
                for one in content[kind]
                if kind != 'runs' or one['tags'].get('cd4ml.id', '')[:38] in ours
            ]
            for kind in ('runs', 'versions')
        }

    server.fail(mode)
    ended = in_process(a_run, here, CD4ML_TEST_TRACKING_SECONDS='1')
    server.fail()
    assert ended.code == 0 and ended.seconds < seconds(6), ended
    said = ended.out.count('tracking unavailable (')
    # what was done unheard is found at the second try, and a view that is saved is not saved again
    quiet = mode.endswith('deaf 500') or mode.startswith('set-experiment-tag')
    assert said == bool(waiting_line(here)) and (said or quiet), ended
    assert bool(sent_in_the_end(here)) == said
    assert_nothing_waits(here)
    ours = {path.stem for path in (outbox(here) / 'ids').iterdir()}
    content = names(done(stored, here))
    (run,) = content['runs']
    assert (run['status'], run['rows'], run['files']) == (
        'FINISHED',
        [('mae', 1.5, 0)],
        ['model/model.json'],
    )
    assert run['id'] == resolved(ended.value, here)
    assert [version[1:] for version in content['versions']].count((run['id'], 'abc')) == 1


def test_a_sweep_goes_on_by_itself_when_the_store_is_back(server, tmp_path):
    here = server.settings(tmp_path)

    def story() -> None:
        with opened_sweep(here) as sweep:
            server.fail('mlflow 503')
            end_trial(sweep, 0)
            while not sweep.sender.down:
                time.sleep(0.02)
            end_trial(sweep, 1)
            server.fail()
            path = outbox(here) / 'down.json'
            # a minute later
            path.write_text(path.read_text().replace('"pause": 60.0', '"pause": 0.0'))
            end_trial(sweep, 2)
            sweep.close('FINISHED', {'mae': 1.25})

    ended = in_process(story)
    assert ended.code == 0 and ended.out.splitlines() == [
        f'tracking unavailable (HTTP 503), spooling to {here.products}'
    ]
    assert_nothing_waits(here)
    content = done(stored, here)
    parent = next(path.stem for path in (outbox(here) / 'ids').iterdir())
    ours = [run for run in content['runs'] if run['tags'].get('cd4ml.id', '').startswith(parent)]
    assert_whole_sweep({'runs': ours})


def test_a_store_that_says_no_ends_the_stage_in_one_line(here):
    def story() -> str:
        try:
            with known_run(here, '0' * 32, folder(here)) as run:
                run.add({'mae': 1.0})
        except InfrastructureError as error:
            return error.line
        return ''

    assert (
        'ERROR I16 sqlite:' in (line := done(story))
        and 'cd4ml sync --all makes it anew, or cd4ml run --force train' in line
    )
    assert_nothing_waits(here)


# ---- SQLite

@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[int]:
    """Another process that has locked a database."""
    code = (
        f'import sqlite3; d = sqlite3.connect({str(path)!r}, isolation_level=None);'
        ' d.execute("begin exclusive"); print(1, flush=True); input()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        try:
            yield other.pid
        finally:
            other.kill()


def test_I11_a_locked_database_is_waited_for_with_its_holder_named(here):
    path = Path(here.tracking_uri.removeprefix('sqlite:///'))
    with exclusively(path) as pid:
        ended = in_process(a_run, here, CD4ML_TEST_TRACKING_SECONDS='1.6')
    assert ended.code == 0 and ended.seconds < seconds(8)
    assert [f'mlflow.db is locked by PID {pid}' in line for line in ended.out.splitlines()] == [
        True,
        True,
    ], ended.out
    assert 'waiting up to' in ended.out.splitlines()[0] and ended.out.splitlines()[1].startswith(
        'tracking unavailable ('
    )
    sent_in_the_end(here)
    assert_whole_run(done(stored, here))


def test_I11_a_database_that_is_locked_for_a_while_only_delays(here):
    def patient(holder: int) -> str:
        said = sys.stdout          # of this child: what it prints is kept

        def end_the_holder() -> None:
            until(lambda: 'is locked by PID' in said.getvalue())
            os.kill(holder, signal.SIGKILL)

        threading.Thread(target=end_the_holder, daemon=True).start()
        return a_run(here)

    with exclusively(Path(here.tracking_uri.removeprefix('sqlite:///'))) as pid:
        ended = in_process(patient, pid)
    assert (
        ended.code == 0
        and f'is locked by PID {pid}: waiting up to' in ended.out
        and 'unavailable' not in ended.out
    )
    assert_whole_run(done(stored, here))
    assert_nothing_waits(here)


@pytest.mark.parametrize('damage', ['bytes', 'half made'])
def test_I12_a_damaged_database_loses_nothing_and_says_what_to_do(here, damage):
    path = Path(here.tracking_uri.removeprefix('sqlite:///'))
    good = path.read_bytes()
    if damage == 'bytes':
        path.write_bytes(b'not a database, and long enough to be taken for one' * 100)
    else:
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute('create table spans (n integer)')
    ended = in_process(a_run, here)
    assert ended.code == 0 and 'tracking unavailable (the database is damaged)' in ended.out
    path.write_bytes(good)
    sent_in_the_end(here)
    assert_whole_run(done(stored, here))


def test_I12_sync_names_a_damaged_store_and_what_to_do(here):
    path = Path(here.tracking_uri.removeprefix('sqlite:///'))
    good = path.read_bytes()
    path.write_bytes(b'not a database, and long enough to be taken for one' * 100)
    done(a_run, here)
    code, _, errors = synced_by_command(here)
    (line,) = errors.splitlines()
    assert code == 4
    assert line.startswith(f'ERROR I12 sqlite:///{path}: tracking unavailable ')
    assert '(the database is damaged), 3 messages waiting — bring back a copy of it, or' in line
    assert line.endswith('move it away: a new one is made; then cd4ml sync')
    path.write_bytes(good)
    assert synced_by_command(here)[::2] == (0, '')
    assert_whole_run(done(stored, here))


# ---- kills

def noted_into(path: Path) -> Callable[[str], None]:
    def passed(step: str) -> None:
        with open(path, 'a') as file:
            file.write(f'{step}\n')
    return passed


def whole_story(here: Settings) -> None:
    a_run(here, noted_into(Path(here.products).parent / 'passed'))
    a_sweep(here, 2)


def points_of(folder: Path, empty_store: Path) -> list[str]:
    """The steps of tracking that a whole story passes, in order."""
    here = place(folder, empty_store)
    done(whole_story, here, CD4ML_FAULT=f'list:{folder}/points')
    return [name for name in (folder / 'points').read_text().split() if name.startswith('outbox.')]


def assert_survives(here: Settings, kills: list[str]) -> None:
    """Whatever is killed on the way, in the end everything that was accepted is there, once."""
    first, *later = kills
    code = in_process(whole_story, here, CD4ML_FAULT=first).code
    # messages that wait together are sent at once, so a later time may not come
    assert code == -signal.SIGKILL or code == 0 and not first.endswith(':1'), first
    for fault in later:
        in_process(sync, here, CD4ML_FAULT=fault)
        in_process(a_sweep, here, 2, CD4ML_FAULT=fault)
    done(a_sweep, here, 2)
    sent_in_the_end(here)
    content = done(stored, here)
    assert_whole_sweep(content, 2)
    if (Path(here.products).parent / 'passed').exists():
        accepted = (Path(here.products).parent / 'passed').read_text().split()
    else:
        accepted = []
    runs = runs_of(content, 'first')
    assert len(runs) <= 1 and len(runs) >= ('opened' in accepted) and len(content['versions']) <= 1
    for run in runs:
        assert run['status'] in ('FINISHED', 'KILLED') and run['params'] == {'depth': '3'}
        assert run['rows'] in ([], [('mae', 1.5, 0)]) and (run['rows'] or 'added' not in accepted)
        assert run['files'] or 'filed' not in accepted
    assert content['versions'] or 'registered' not in accepted
    assert_nothing_waits(here)


def test_I05_a_kill_between_any_two_steps_neither_loses_nor_doubles(tmp_path, empty_store):
    points = points_of(tmp_path, empty_store)
    names = sorted(set(points))
    assert len(names) == 8, names
    cases = {f'{name}:kill:{n}' for name in names for n in {1, points.count(name)}}
    for fault in sorted(cases):
        (tmp_path / fault).mkdir()
        assert_survives(place(tmp_path / fault, empty_store), [fault])


KILLS = ['before_send', 'before_write', 'created', 'sent', 'filled', 'written']


@hypothesis_settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kills=st.lists(st.tuples(st.sampled_from(KILLS), st.integers(1, 2)), min_size=2, max_size=3))
def test_I05_one_kill_after_the_other(tmp_path, empty_store, kills):
    folder = tmp_path / f'{len(list(tmp_path.iterdir()))}'
    folder.mkdir()
    assert_survives(place(folder, empty_store), [f'outbox.{name}:kill:{n}' for name, n in kills])


def test_a_damaged_message_is_named_and_the_others_are_sent(here):
    done(a_run, here.model_copy(update={'tracking_uri': 'http://127.0.0.1:9'}))
    done(as_stored_for, here)
    path = next(p for p in messages_in(Path(here.products)) if p.parent.parent.name == 'package')
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'model.json', b'other.json'))
    ended = in_process(sync, here)
    assert f'{path} is damaged' in ended.out and (ended.value.sent, ended.value.left) == (2, 0)
    assert f'1 refused or damaged: {path} is damaged' == waiting_line(here)
    assert in_process(a_run, here).out == ''                       # said once
    path.write_bytes(whole)
    assert sent_in_the_end(here) == 1
    assert_nothing_waits(here)
    assert {tuple(run['files']) for run in done(stored, here)['runs']} == {('model/model.json',)}


def test_what_an_earlier_version_has_left_is_named(here):
    (outbox(here) / 'waiting/local-1').mkdir(parents=True)
    assert '1 run that an earlier version of cd4ml could not send' in waiting_line(here)


def test_a_store_that_was_replaced_is_filled_again_from_what_lies_on_disk(here, empty_store):
    first, sweep = done(lambda: (a_run(here), a_sweep(here)))
    shutil.copy(empty_store, here.tracking_uri.removeprefix('sqlite:///'))
    assert synced_by_command(here)[:2] == (0, '0 messages sent, 0 interrupted runs closed\n')
    assert done(stored, here)['versions'] == []
    said = synced_by_command(here, '--all')
    assert said == (0, '4 messages sent, 0 interrupted runs closed\n', '')
    content = done(stored, here)
    assert_whole_run(content)
    assert_whole_sweep(content)
    assert resolved(first, here) != first and resolved(sweep, here) != sweep
    assert {resolved(first, here), resolved(sweep, here)} <= {run['id'] for run in content['runs']}
    assert done(lambda: sync(here, everything=True)).left == 0
    assert done(stored, here) == content


def deleted(here: Settings, for_good: bool = False) -> None:
    """Delete the experiment, as MLflow's pages do, or as `mlflow gc` does after them."""
    client = MlflowClient(address(here), address(here))
    found = client.get_experiment_by_name('toy')
    client.delete_experiment(found.experiment_id)
    if for_good:
        store = client._tracking_client.store
        for run in client.search_runs([found.experiment_id], run_view_type=ViewType.ALL):
            store._hard_delete_run(run.info.run_id)
        store._hard_delete_experiment(found.experiment_id)


def add_mse(here: Settings, run_id: str) -> None:
    with known_run(here, run_id, folder(here, 'evaluate')) as run:
        run.add({'mse': 2.5})


def refused(here: Settings, run_id: str) -> str:
    """How a stage ends whose run is gone."""
    with pytest.raises(InfrastructureError) as caught:
        add_mse(here, run_id)
    return str(caught.value)


def test_an_experiment_that_was_deleted_in_mlflow_comes_back_with_all_that_it_had(here):
    run_id, _ = done(lambda: (a_run(here), a_sweep(here)))
    done(deleted, here)
    ended = in_process(add_mse, here, run_id)
    assert ended.code == 0
    said = 'experiment toy was deleted in MLflow: restored with its runs, to go on with them'
    assert ended.out.splitlines() == [said]
    done(deleted, here)
    ended = in_process(a_sweep, here, N_TRIALS + 1)
    assert ended.code == 0 and ended.out.splitlines() == [said]
    content = done(stored, here)
    (run,) = runs_of(content, 'first')
    assert run['rows'] == [('mae', 1.5, 0), ('mse', 2.5, 0)] and run['id'] == run_id
    assert_whole_sweep(content, N_TRIALS + 1)
    assert_nothing_waits(here)
    assert in_process(add_mse, here, run_id).out == ''


def test_an_experiment_that_is_gone_for_good_is_made_anew_by_sync(here):
    run_id, _ = done(lambda: (a_run(here), a_sweep(here)))
    done(deleted, here, True)
    assert 'cd4ml sync --all makes it anew' in done(refused, here, run_id)
    assert done(lambda: sync(here, True).left) == 0
    content = done(stored, here)
    assert len(runs_of(content, 'first')) == 1
    assert_whole_sweep(content)
    done(add_mse, here, run_id)
    (run,) = runs_of(done(stored, here), 'first')
    assert ('mse', 2.5, 0) in run['rows'] and run['id'] != run_id
    assert_nothing_waits(here)


def contents(place: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob('*'))
        if path.is_file()
    }


def model_places(here: Settings) -> list[str]:
    """Where the versions of the model lie."""
    client = MlflowClient(address(here), address(here))
    return [version.source for version in client.search_model_versions("name='toy'")]


def test_a_copied_project_keeps_its_files_and_a_moved_one_goes_on(tmp_path, empty_store):
    own = Settings(
        products='products', tracking_uri='sqlite:///mlflow.db', artifact_root='mlartifacts'
    )

    def inside(place: Path, work: Callable[..., Any], *words: Any) -> Ended:
        def there() -> Any:
            os.chdir(place)
            return work(own, *words)
        return in_process(there)

    def in_folder(here: Settings) -> str:
        with open_run(here, 'toy', 'first', {}, {}, in_project('products/toy/train/1')) as run:
            run.add_files([in_project('model.json')], 'model')
            register_model(run, 'toy', uuid.uuid4().hex, {})
        return run.run_id

    first, copy, moved = (tmp_path / name for name in ('the first', 'copy', 'moved'))
    first.mkdir()
    (first / 'pipeline.yaml').write_text('tasks: []')
    (first / 'model.json').write_text('{}')
    shutil.copy(empty_store, first / 'mlflow.db')
    begun = inside(first, in_folder)
    assert begun.code == 0 and begun.out == ''
    shutil.copytree(first, copy)
    before = contents(first)

    ended = inside(copy, in_folder)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f'this project comes from {first}; from now on MLflow keeps its files here'
    ]
    assert inside(copy, add_mse, begun.value).out == ''
    assert contents(first) == before
    assert all(at.startswith(copy.as_uri()) for at in inside(copy, model_places).value)
    assert (copy / f'mlartifacts/{ended.value}/artifacts/model/model.json').is_file()

    shutil.rmtree(first)
    copy.rename(moved)
    again = inside(moved, in_folder)
    assert again.code == 0 and f'this project comes from {copy};' in again.out
    assert not first.exists() and not copy.exists()
    assert (moved / f'mlartifacts/{again.value}/artifacts/model/model.json').is_file()
    assert len(inside(moved, model_places).value) == 3


def test_a_sweep_that_was_killed_is_shown_though_nobody_goes_on_with_it(here):
    def dies() -> None:
        with opened_sweep(here) as sweep:
            sweep.sender.down = 'not yet'
            end_trial(sweep, 0)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(dies).code == -signal.SIGKILL
    done(sync, here)
    content = done(stored, here)
    assert [run['status'] for run in runs_of(content, 'trial 0')] == ['FINISHED']
    assert [run['status'] for run in runs_of(content, 'sweep')] == ['KILLED']
    assert_nothing_waits(here)
    done(a_sweep, here)
    assert_whole_sweep(done(stored, here))


# ---- runs that nobody has any more

def test_I06_runs_of_the_dead_are_closed_at_the_next_start_and_no_others(here):
    def dies(kind: str) -> None:
        if kind == 'sweep':
            with opened_sweep(here, 'dead', 'dead sweep') as sweep:
                assert not sweep.run_id.startswith('local-')
                os.kill(os.getpid(), signal.SIGKILL)
        with open_run(here, 'toy', 'dead', {}, {}, folder(here)):
            os.kill(os.getpid(), signal.SIGKILL)

    alive = Path(here.products) / 'alive'
    ended = Path(here.products) / 'ended'

    def lives() -> tuple[str, str]:
        with open_run(here, 'toy', 'alive', {}, {}, folder(here)) as run:
            client = MlflowClient(here.tracking_uri)
            foreign = client.create_run(
                client.get_run(run.run_id).info.experiment_id,
                run_name='foreign',
                tags={'cd4ml.owner': 'elsewhere:1:0'},
            )
            alive.touch()
            until(ended.is_file)
            return (
                client.get_run(run.run_id).info.status,
                client.get_run(foreign.info.run_id).info.status,
            )

    def starts_another() -> None:
        until(alive.is_file)
        with open_run(here, 'toy', 'next', {}, {}, folder(here)):
            pass
        ended.touch()

    assert [in_process(dies, kind).code for kind in ('run', 'sweep')] == [-signal.SIGKILL] * 2
    with ThreadPoolExecutor(2) as both:  # forked from here, where no thread speaks with a store
        another = both.submit(in_process, starts_another)
        living = both.submit(in_process, lives)
    assert (living.result().value, living.result().out) == (
        ('RUNNING', 'RUNNING'),
        '2 interrupted runs marked KILLED\n',
    )
    assert (another.result().code, another.result().out) == (0, '')
    content = done(stored, here)
    assert {run['name']: run['status'] for run in content['runs']} == {
        'dead': 'KILLED',
        'dead sweep': 'KILLED',
        'alive': 'FINISHED',
        'next': 'FINISHED',
        'foreign': 'RUNNING',
    }
    assert all(
        'killed before' in run['tags']['cd4ml.ended']
        for run in content['runs']
        if run['status'] == 'KILLED'
    )
    # it is taken up again
    def goes_on() -> None:
        with opened_sweep(here, 'dead', 'dead sweep') as sweep:
            sweep.close('FINISHED', {})

    done(goes_on)
    (sweep,) = runs_of(done(stored, here), 'dead sweep')
    assert sweep['status'] == 'FINISHED' and 'cd4ml.ended' not in sweep['tags']


def test_a_registration_that_has_waited_does_not_displace_a_later_model(here):
    down = here.model_copy(update={'tracking_uri': 'http://127.0.0.1:9'})
    done(a_run, down)
    done(as_stored_for, here)

    def another() -> int:
        client = MlflowClient(here.tracking_uri)
        there = client.create_experiment('elsewhere')
        return register_candidate(client, 'toy', client.create_run(there).info.run_id, 'later', {})

    assert done(another) == 1
    sent_in_the_end(here)
    content = done(stored, here)
    assert len(content['versions']) == 2 and content['alias'] == {'candidate': 1}
    assert (
        registered_version(Registration(accepted=True, manifest_sha256='abc'), here) == 2
    )


def as_stored_for(here: Settings) -> None:
    """What waits, as if it had been for this store, which was down at first."""
    for path in messages_in(Path(here.products)):
        message = replace(read_message(path), store=store_name(here))
        write_message(message, path.parent)


def test_what_waits_for_another_store_is_left_for_it(here):
    done(a_run, here.model_copy(update={'tracking_uri': 'http://ann:geheim@127.0.0.1:9'}))
    synced = done(sync, here)
    assert (synced.sent, synced.left, synced.elsewhere) == (0, 0, {'http://ann:***@127.0.0.1:9': 3})


# ---- PostgreSQL

def test_a_real_postgresql_is_stopped_in_the_middle_and_has_all_of_it_once_later(tmp_path):
    folder = tmp_path / 'here'
    folder.mkdir()
    (folder / 'model.json').write_text('{}')
    with postgres() as server:
        here = Settings(
            products=str(folder / 'products'),
            tracking_uri=server.uri,
            artifact_root=str(folder / 'files'),
        )

        def interrupted() -> None:
            with opened_sweep(here) as sweep:
                end_trial(sweep, 0)
                assert not sweep.run_id.startswith('local-')
                server.stop()
                end_trial(sweep, 1)
                os.kill(os.getpid(), signal.SIGKILL)

        def dies() -> None:
            with open_run(here, 'toy', 'dead', {}, {}, folder / 'products/toy/train/dead'):
                os.kill(os.getpid(), signal.SIGKILL)

        assert [in_process(one).code for one in (dies, interrupted)] == [-signal.SIGKILL] * 2
        ended = in_process(a_run, here, CD4ML_TEST_TRACKING_SECONDS='3')
        assert ended.code == 0 and ended.seconds < seconds(8)
        (line,) = ended.out.splitlines()
        assert (
            line.startswith('tracking unavailable (')
            and 'geheim' not in line
            and line.endswith(f'spooling to {here.products}')
        ), line
        server.start()
        done(a_sweep, here)
        content = done(lambda: (sync(here), stored(here))[1])
        assert_whole_run(content)
        assert_whole_sweep(content)
        assert [run['status'] for run in runs_of(content, 'dead')] == ['KILLED']
        assert_nothing_waits(here)


# ---- a whole pipeline

@pytest.mark.slow
def test_a_pipeline_whose_store_is_down_ends_well_and_sync_registers_its_whole_model(
    tmp_path, empty_store
):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
    away = Place(tmp_path)
    environment = {'CD4ML_TRACKING_URI': f'http://127.0.0.1:{port}'}
    first = away.run(*SMALL, '--until', 'register', **environment)
    assert first.returncode == 0, first.stderr
    registration = away.json('breast_cancer', 'register', 'registration.json')
    assert registration['accepted'] and registration['version'] is None and registration['spooled']
    notebook = away.product('breast_cancer', 'train', 'page.ipynb').read_text(encoding='utf-8')
    assert 'tracking unavailable (connection refused), spooling to' in notebook

    here = Settings(
        products=str(tmp_path / 'products'),
        tracking_uri=f'http://127.0.0.1:{port}',
        artifact_root=str(tmp_path / 'files'),
    )
    (tmp_path / 'server').mkdir()
    with served_at(port, tmp_path / 'server', empty_store):
        sent_in_the_end(here)
        assert registered_version(Registration.model_validate(registration), here) == 1
        second = away.run(*SMALL, '--until', 'register', '--force', 'train', **environment)
        assert second.returncode == 0, second.stderr
        content = done(stored, here)
    one, two = [run for run in content['runs'] if 'cd4ml.model' in run['tags']]
    assert [
        run['status'] for run in content['runs'] if run['tags'].get('cd4ml.kind') == 'sweep'
    ] == ['FINISHED']
    assert sum(run['tags'].get('cd4ml.kind') == 'trial' for run in content['runs']) == 3
    assert (
        one['id'] == resolved(registration['run_id'], here)
        and two['id'] == away.json('breast_cancer', 'register', 'registration.json')['run_id']
    )
    assert (
        one['rows'] == two['rows']
        and len(one['rows']) > 20
        and one['params'] == two['params']
        and one['files'] == two['files'] != []
    )
    own = {
        'cd4ml.id', 'cd4ml.owner', 'cd4ml.manifest', 'cd4ml.dirty', 'cd4ml.commit',
        'mlflow.source.git.commit', 'cd4ml.run', 'mlflow.note.content', HISTORY,
    }
    models = [json.loads(run['tags'][HISTORY]) for run in (one, two)]
    assert [[model['artifact_path'] for model in found] for found in models] == [['model']] * 2
    assert {k: v for k, v in one['tags'].items() if k not in own} == {
        k: v for k, v in two['tags'].items() if k not in own
    }
    assert one['status'] == two['status'] == 'FINISHED'


@contextlib.contextmanager
def served_at(port: int, folder: Path, empty_store: Path) -> Iterator[None]:
    """MLflow's server at a port that was refusing before, through a relay."""
    with served(folder, empty_store) as one, socket.create_server(('127.0.0.1', port)) as door:
        threading.Thread(target=relay, args=(door, one.port), daemon=True).start()
        yield


def relay(door: socket.socket, port: int) -> None:
    """Pass each connection on."""
    def pour(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with contextlib.suppress(OSError):
        while True:
            here, _ = door.accept()
            there = socket.create_connection(('127.0.0.1', port))
            for pair in ((here, there), (there, here)):
                threading.Thread(target=pour, args=pair, daemon=True).start()


# ---- the pages

def test_each_sweep_is_a_saved_view_of_mlflow_with_an_address_that_stays(server, tmp_path):
    from cd4ml_nb.lab.servers import comparisons_at
    from cd4ml_nb.tracking.links import comparisons_in
    here = server.settings(tmp_path)
    base = f'http://127.0.0.1:{server.port}'
    parent = done(a_sweep, here, 3, str(tmp_path))
    (link,) = comparisons_in(here, base, 'toy')
    assert link in comparisons_at(base, 'toy') and comparisons_at(base, 'other') == []
    assert link.name.startswith('sweep, ') and link.kind == 'sweep'
    shown = f'/runs?viewStateShareKey={link.key}&compareRunsMode=CHART&'
    assert shown in link.address and link.address.endswith('workflowType=machine_learning')
    client = MlflowClient(base)
    there = client.get_experiment_by_name('toy').experiment_id
    tags = client.get_experiment(there).tags
    state = opened(tags[f'mlflow.sharedViewState.{link.key}'])['state']
    trials = client.search_runs([there], state['searchFilter'], order_by=[
        f'{state["orderByKey"]} {"ASC" if state["orderByAsc"] else "DESC"}'
    ])
    assert [run.data.tags['mlflow.parentRunId'] for run in trials] == [parent] * 3
    assert [run.data.tags['cd4ml.trial'] for run in trials] == ['0', '1', '2']
    charts = state['compareRunCharts']
    assert charts[0]['selectedParams'] == ['depth'] and charts[1]['xaxis']['key'] == 'depth'
    done(sync, here, True)
    assert client.get_experiment(there).tags == tags
    assert comparisons_in(here, base, 'toy') == [link]


def test_a_store_that_is_down_keeps_no_view_and_nothing_says_so(here):
    from cd4ml_nb.tracking.links import comparisons_in
    away = here.model_copy(update={'tracking_uri': 'http://127.0.0.1:9'})
    ended = in_process(a_sweep, away)
    assert ended.code == 0 and 'tracking unavailable' in ended.out
    assert comparisons_in(away, 'http://127.0.0.1:5000') == []
    assert 'wait' in waiting_line(away)
