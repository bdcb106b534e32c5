"""Where test data lies: a store that speaks like S3 (the real client, a server on loopback), a
PostgreSQL server, SQLite and DuckDB files."""

import contextlib
import io
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

KEYS = {
    'AWS_ACCESS_KEY_ID': 'testing',
    'AWS_SECRET_ACCESS_KEY': 'AwsCanary4711',
    'AWS_DEFAULT_REGION': 'us-east-1',
}


@dataclass
class Store:
    """A store with one bucket, `cars`."""

    endpoint: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> Any:
        import boto3
        return boto3.client(
            's3',
            endpoint_url=self.endpoint,
            aws_access_key_id='testing',
            aws_secret_access_key=KEYS['AWS_SECRET_ACCESS_KEY'],
            region_name='us-east-1',
        )

    def put(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet or CSV, by its name's ending."""
        content = io.BytesIO()
        if name.endswith('.csv'):
            table.to_csv(content, index=False)
        else:
            table.to_parquet(content, index=False)
        self.client.put_object(Bucket='cars', Key=name, Body=content.getvalue())


@contextlib.contextmanager
def s3_store() -> Iterator[Store]:
    """A store that is gone afterwards; skips where moto is not installed."""
    moto = pytest.importorskip('moto.server', reason='moto is not installed')
    server = moto.ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f'http://{host}:{port}'
        store = Store(endpoint, KEYS | {'AWS_ENDPOINT_URL': endpoint})
        store.client.create_bucket(Bucket='cars')
        yield store
    finally:
        server.stop()


def into_sqlite(path: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table into a SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        table.to_sql(name, connection, index=False, if_exists='replace')


def run_sql(path: Path, *statements: str) -> None:
    """Change a SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
