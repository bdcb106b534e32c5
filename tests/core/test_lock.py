"""Locks among processes: one at a time, nobody refused for what a killed run has left, and shares
without locks."""

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import sys
import types

import pytest

from cd4ml_nb.core.errors import InfrastructureError
from cd4ml_nb.core.lock import held, locked, shared_project, taken, whole_project
from cd4ml_nb.core.processes import began


def hold(folder, barrier, held, overlaps):
    barrier.wait()
    try:
        with locked(folder):
            with held.get_lock():
                held.value += 1
                overlaps.value += held.value > 1
            barrier_pause()
            with held.get_lock():
                held.value -= 1
    except InfrastructureError:
        pass


def barrier_pause():
    import time
    time.sleep(0.02)


@pytest.mark.parametrize('left', [
    '',
    '{"pid": 1, "torn',
    'process 1 on elsewhere since 2020-01-01 00:00:00',
])
def test_I14_I15_four_runs_that_start_together_hold_the_lock_one_at_a_time(tmp_path, left):
    context = multiprocessing.get_context('fork')
    for round_ in range(10):
        folder = tmp_path / str(round_)
        folder.mkdir()
        (folder / 'lock.json').write_text(left)    # what a killed run may leave is no lock
        barrier = context.Barrier(4)
        held = context.Value('i', 0)
        overlaps = context.Value('i', 0)
        processes = [
            context.Process(target=hold, args=(folder, barrier, held, overlaps)) for _ in range(4)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert overlaps.value == 0


def without_locks(monkeypatch) -> None:
    """Have the system know no locks, as some network shares."""
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', no_locks)


def owner(**changes) -> str:
    return json.dumps(
        {
            'process': os.getpid(),
            'host': socket.gethostname(),
            'started': began(os.getpid()),
            'since': 'now',
            'command': 'cd4ml run',
        }
        | changes
    )


@pytest.mark.parametrize('left,free', [
    (owner(), False),
    (owner(process=2 ** 22 + 1), True),
    (owner(started='then'), True),
    (owner(process=2 ** 22 + 1, host='elsewhere'), False),
    ('', False),
], ids=['alive', 'dead', 'number given to another process', 'another host', 'nothing known'])
def test_I15_where_the_system_has_no_locks_the_owner_is_asked_for(
    tmp_path, monkeypatch, left, free
):
    without_locks(monkeypatch)
    with locked(tmp_path):
        with (
            pytest.raises(InfrastructureError, match='another run holds the lock'),
            locked(tmp_path),
        ):
            pass
    assert not (tmp_path / 'lock.owner').exists()
    (tmp_path / 'lock.owner').write_text(left)
    try:
        with locked(tmp_path):
            taken = True
    except InfrastructureError:
        taken = False
    assert taken == free


def test_I14_runs_of_two_scenarios_share_a_project_and_whoever_needs_all_of_it_is_refused(tmp_path):
    with locked(tmp_path / 'a'), shared_project(tmp_path):
        with locked(tmp_path / 'b'), shared_project(tmp_path):
            with (
                pytest.raises(InfrastructureError, match=f'process {os.getpid()} .*') as refused,
                whole_project(tmp_path),
            ):
                pass
    assert refused.value.code == 'I14' and refused.value.where.endswith('a/lock.json')
    with whole_project(tmp_path):
        for hold_it in (locked(tmp_path / 'a'), shared_project(tmp_path)):
            with pytest.raises(InfrastructureError, match='another run holds the lock'), hold_it:
                pass
    assert [(tmp_path / name / 'lock.json').read_text() for name in 'ab'] == ['', '']


def test_I14_a_scenario_that_is_new_while_all_are_held_is_refused_too(tmp_path):
    with (
        whole_project(tmp_path),
        locked(tmp_path / 'new'),
        pytest.raises(InfrastructureError, match='another run holds the lock'),
        shared_project(tmp_path),
    ):
        pass


@pytest.mark.parametrize('left,free', [
    (owner(), False),
    (owner(process=2 ** 22 + 1), True),
], ids=['alive', 'dead'])
def test_I15_without_locks_a_project_that_a_process_has_alone_is_respected_while_it_lives(
    tmp_path, monkeypatch, left, free
):
    without_locks(monkeypatch)
    (tmp_path / 'lock.owner').write_text(left)
    try:
        with shared_project(tmp_path), shared_project(tmp_path):
            shared = True
    except InfrastructureError:
        shared = False
    assert shared == free


def test_without_locks_one_of_two_holds_a_lock_and_the_next_gets_it(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    for _ in range(2):
        with held(tmp_path / 'sending', 0) as first, held(tmp_path / 'sending', 0) as second:
            assert (first, second) == (True, False)
    assert not (tmp_path / 'sending.owner').exists()


def test_on_windows_the_byte_that_is_locked_is_not_one_of_the_text(tmp_path, monkeypatch):
    calls = []
    places = set()

    def locking(descriptor, mode, n):
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        calls.append((mode, at, n))
        if mode == 'unlock':
            places.discard(at)
        elif at in places:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            places.add(at)

    windows = types.SimpleNamespace(locking=locking, LK_NBLCK='lock', LK_UNLCK='unlock')
    monkeypatch.setitem(sys.modules, 'msvcrt', windows)
    monkeypatch.setattr('cd4ml_nb.core.lock.sys', types.SimpleNamespace(platform='win32', argv=[]))
    with open(tmp_path / 'lock.json', 'a+b', buffering=0) as file:
        file.write(b'who')
        assert taken(file, shared=True) and not places      # looked for, and not kept
        assert taken(file) and not taken(file) and not taken(file, shared=True)
        file.write(b' has it')
        file.seek(0)
        assert file.read() == b'who has it'
    assert {at for _, at, _ in calls} == {2**30}
