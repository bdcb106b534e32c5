"""The fork server ends what runs below it, however the run above it ends."""

import os
import random
import signal
import socket
import subprocess
import time
from contextlib import suppress

import psutil
from effort import times
from projects import lives
from waiting import wait_for

from cd4ml_nb.engine import forkserver
from cd4ml_nb.engine.forkserver import Channel, serve


class Busy(forkserver.Server):
    """A server that has one task, in a session of its own."""

    def __init__(self, channel: Channel, body):
        super().__init__(channel, body)
        task = subprocess.Popen(['sleep', '60'], start_new_session=True)
        self.children[task.pid] = 'task'
        body(task.pid, [])


def left_alive(delay: float, monkeypatch) -> bool:
    """Whether a task outlives its server, whose channel closes so many seconds before the signal
    that the run above it is gone."""
    monkeypatch.setattr(forkserver, 'Server', Busy)
    above, below = socket.socketpair()
    reading, writing = os.pipe()
    server = os.fork()
    if server == 0:
        above.close()
        with suppress(BaseException):
            serve(Channel(below), lambda task, _: os.write(writing, str(task).encode()))
        os._exit(0)
    below.close()
    task = psutil.Process(int(os.read(reading, 20)))
    time.sleep(0.02)                    # it waits for messages now
    above.close()
    until = time.perf_counter() + delay
    while time.perf_counter() < until:
        pass
    os.kill(server, signal.SIGTERM)
    os.waitpid(server, 0)
    for descriptor in (reading, writing):
        os.close(descriptor)
    with suppress(TimeoutError):
        wait_for(lambda: not lives(task), 5)
    lived = lives(task)
    with suppress(psutil.Error):
        task.kill()
    return lived


def test_a_server_whose_channel_closes_just_before_its_signal_ends_its_tasks(monkeypatch):
    chance = random.Random(1)
    delays = [chance.uniform(0, 0.0006) for _ in range(times(600, 150))]
    assert [delay for delay in delays if left_alive(delay, monkeypatch)] == []
