"""A log of entries: what earlier versions wrote is read, and one process writes at a time."""

import errno
import fcntl
import multiprocessing
import os

import pytest

from cd4ml_nb.core.errors import InfrastructureError
from cd4ml_nb.core.log import Log, read_entries

# as the version wrote it that called this a journal
EARLIER = b'f6e742c3 {"study":{"id":"one","metric":"mae"}}\nb33e0eb8 {"over":5}\n'


def test_a_journal_of_an_earlier_version_is_read_and_goes_on(tmp_path):
    path = tmp_path / 'journal.jsonl'
    path.write_bytes(EARLIER)
    with Log(path) as log:
        assert log.entries == [{'study': {'id': 'one', 'metric': 'mae'}}, {'over': 5}]
        log.append(over=6)
    assert path.read_bytes().startswith(EARLIER)
    assert read_entries(path)[0][-1] == {'over': 6}


@pytest.mark.parametrize('locks', [True, False], ids=['locks', 'a share without locks'])
def test_a_log_has_one_writer_and_the_next_when_that_one_is_gone(tmp_path, monkeypatch, locks):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if not locks:
        monkeypatch.setattr(fcntl, 'flock', no_locks)
    path = tmp_path / 'one.jsonl'

    def write_and_die() -> None:
        Log(path).append(number=1)
        os._exit(9)

    with Log(path), pytest.raises(InfrastructureError, match='another process') as refused:
        Log(path)
    assert refused.value.code == 'I14'
    writer = multiprocessing.get_context('fork').Process(target=write_and_die)
    writer.start()
    writer.join()
    with Log(path) as log:
        assert log.entries == [{'number': 1}]
