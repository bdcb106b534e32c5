"""Two scenarios of a project at the same time: each has a lock of its own, and what they share
keeps what both wrote."""

import fcntl
import json
import os
import signal
import time

import pytest
import yaml
from engine_notebooks import SCENARIO, WRITE, Tiny, wait_for

from cd4ml_nb.runs.find import runs_there

# says that it runs, and goes on when the test says so
WAIT = '''import time
from pathlib import Path
name = Path(product['out']).resolve().parents[2].name
Path(f'here-{name}').write_text('')
until = time.monotonic() + 120
while not Path('go').exists():
    assert time.monotonic() < until
    time.sleep(0.02)'''
OTHER = ('run', '-s', 'other')
NAMES = ('tiny', 'other')


@pytest.fixture
def pair(tmp_path):
    """A project with two scenarios, `tiny` and `other`, whose notebook waits for a file `go`."""
    project = Tiny(tmp_path / 'project')
    scenario = SCENARIO | {'name': 'other', 'title': 'Another problem'}
    (project.folder / 'scenarios/other.yaml').write_text(yaml.safe_dump(scenario))
    project.add('one', WAIT, WRITE)
    yield project
    project.end_all()


def both_running(pair):
    """Both scenarios started, each with its notebook at work."""
    runs = [pair.begin(), pair.begin(options=OTHER)]
    for name in NAMES:
        pair.when(f'here-{name}')
    return runs


def records(pair, scenario: str) -> list[dict]:
    paths = sorted((pair.folder / 'products' / scenario / 'runs').glob('*.json'))
    return [json.loads(path.read_text()) for path in paths]


def both_in_index(pair) -> None:
    """The index shows one run of each scenario, and says that it does."""
    products = pair.folder / 'products'
    index = (products / 'index.html').read_text().replace('\N{NO-BREAK SPACE}', ' ')
    assert index.count('1 run</summary>') == 2
    assert 'A tiny problem' in index and 'Another problem' in index
    assert (products / '.index').read_text() == runs_there(products)


def nothing_left(pair) -> None:
    """No lock has text, and nothing half written lies about."""
    products = pair.folder / 'products'
    assert [path.read_text() for path in products.glob('*/lock.json')] == ['', '']
    left = [p for kind in ('running', 'deleting', 'writing') for p in products.rglob(f'.{kind}-*')]
    assert left == []


def test_I14_two_scenarios_run_at_once_and_both_are_done_and_in_the_index(pair):
    runs = both_running(pair)
    assert [run.poll() for run in runs] == [None, None]
    (pair.folder / 'go').write_text('')
    ended = [pair.end(run) for run in runs]
    for one in ended:
        assert 'one        done' in one.check(0).out
    assert [record['exit_code'] for name in NAMES for record in records(pair, name)] == [0, 0]
    both_in_index(pair)
    nothing_left(pair)


def test_I14_the_same_scenario_twice_and_gc_are_refused_while_a_run_goes_on(pair):
    run = pair.begin()
    pair.when('here-tiny')
    again = pair.run()
    assert again.code == 4 and again.last.startswith('ERROR I14 products/tiny/lock.json: ')
    assert f'process {run.pid} ' in again.last and 'Traceback' not in again.err
    collected = pair.end(pair.begin(options=('gc',)))
    assert collected.code == 4 and collected.last.startswith('ERROR I14 products/tiny/lock.json: ')
    with open(pair.folder / 'products/lock.json', 'a') as file:     # as an earlier version locks
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (pair.folder / 'go').write_text('')
    pair.end(run).check(0)


def test_I15_a_killed_run_is_resumed_beside_another_scenario_whose_work_stays(pair):
    killed, other = both_running(pair)
    work = next((pair.folder / 'products/other/one').glob('.running-*'))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    wait_for(lambda: not pair.locked(), 60, 'the lock of the run that was killed')
    (pair.folder / 'here-tiny').unlink()
    resumed = pair.begin()
    pair.when('here-tiny')
    assert work.is_dir() and other.poll() is None
    (pair.folder / 'go').write_text('')
    ended = [pair.end(run) for run in (resumed, other)]
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    assert f'is resumed: process {killed.pid} ' in ended[0].out
    both_in_index(pair)
    nothing_left(pair)
    pair.assert_quiet()


def test_I14_a_run_of_a_version_that_locked_the_whole_project_is_respected(pair):
    (pair.folder / 'go').write_text('')
    path = pair.folder / 'products/lock.json'
    path.parent.mkdir()
    owner = {'process': os.getpid(), 'host': 'here', 'since': 'noon', 'command': 'cd4ml run'}
    with open(path, 'a+') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(json.dumps(owner))
        file.flush()
        refused = pair.run()
        assert refused.code == 4 and refused.last.startswith('ERROR I14 products/lock.json: ')
        assert f'process {os.getpid()} on here since noon (cd4ml run)' in refused.last
        waiting = pair.begin('--wait')
        time.sleep(1)
        assert waiting.poll() is None
    pair.end(waiting).check(0)
