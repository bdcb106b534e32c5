"""A model from three places: a folder in a store, a table of a server and a file, joined by SQL.
From `cd4ml new` to the report; then nothing to do, and one changed row runs all of it again."""

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from places import Store, into_sqlite, run_sql, s3_store
from postgres import Postgres, postgres
from projects import copy_parts
from runs import Place

from cd4ml_nb.artefacts.run_record import read_run_record
from cd4ml_nb.audit.reproduce import data_for
from cd4ml_nb.command.cli import main
from cd4ml_nb.core.errors import UserError

PASSWORD = 'PasswordCanary4711'
QUERY = """\
-- the offers of all years, with the country of their make and the rate of the year
select make, km, hp, year, country, price * rate as price
from offers join makes using (make) join rates using (year)
"""


@dataclass
class World:
    """A project, its store and its server."""

    project: Path
    place: Place
    store: Store
    server: Postgres
    said: str = ''

    @property
    def secrets(self) -> dict[str, str]:
        return {'RATES_PASSWORD': PASSWORD, **self.store.environment}

    def run(self, *words: str, name: str = 'cars') -> subprocess.CompletedProcess:
        """Run a scenario by the command."""
        command = ('run', '-s', name, '-p', 'trials=2', *words)
        done = self.place.run(*command, cwd=self.project, **self.secrets)
        self.said += done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This process in the project, with its settings."""
        environment = mock.patch.dict(os.environ, self.place.environment | self.secrets)
        with environment, contextlib.chdir(self.project):
            yield

    def cd4ml(self, *words: str) -> tuple[int, str]:
        """Call another command in this process; its exit code, and what it printed."""
        out = io.StringIO()
        with self.inside():
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main([*words])
        self.said += out.getvalue()
        return code, out.getvalue()

    def sql(self, *statements: str) -> None:
        import psycopg2
        connection = psycopg2.connect(self.server.uri)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()


def offers(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        'make': rng.choice(['vw', 'bmw', 'fiat'], n), 'km': rng.integers(0, 200_000, n),
    })
    worth = table['make'].map({'vw': 0, 'bmw': 9000, 'fiat': -3000})
    hp = rng.integers(50, 250, n)      # a third thing that no person's rule of two columns knows
    price = 30_000 - table['km'] * 0.05 + worth + 40 * hp + rng.normal(0, 500, n)
    return table.assign(price=price, hp=hp)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    parts = ('notebooks', 'cd4ml_nb', 'pipeline.yaml', 'settings.ini')
    project = copy_parts(folder / 'project', *parts)
    for name in ('scenarios', 'queries'):
        (project / name).mkdir()
    (project / 'queries/offers.sql').write_text(QUERY)
    (project / 'makes.csv').write_text('make;country\nvw;de\nbmw;de\nfiat;it\n')
    with s3_store() as store, postgres() as server:
        for k, year in enumerate((2023, 2024)):
            store.put(f'offers/year={year}/a.parquet', offers()[150 * k:150 * (k + 1)])
        world = World(project, Place(folder), store, server)
        world.sql(
            'create table rates (year integer, rate numeric(4, 2))',
            'insert into rates values (2023, 1.00), (2024, 1.10)',
        )
        yield world


@pytest.fixture(scope='module')
def first(world):
    """The scenario that `cd4ml new` wrote, and how its first run ended."""
    rates = world.server.uri.replace(':geheim@', '@') + '#rates'
    code, said = world.cd4ml(
        'new', 'cars', '--data', 'offers=s3://cars/offers/', '--data', 'makes=makes.csv',
        '--data', f'rates={rates}', '--query', 'queries/offers.sql', '--target', 'price',
        '--secret', 'RATES_PASSWORD',
    )
    assert code == 0, said
    done = world.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return world


def test_a_join_of_three_sources_runs_to_the_report_and_a_second_run_does_nothing(first):
    record = first.place.record('cars')
    assert record['accepted'] and (first.place.folder / 'products/cars' / record['report']).exists()
    assert set(record['data']['parts']) == {'offers', 'makes', 'rates', 'queries/offers.sql'}
    catalogue = first.place.json('cars', 'ingest', 'catalogue.json')
    assert catalogue['n_rows'] == 300 and catalogue['format'] == 'join'
    assert [finding['code'] for finding in catalogue['findings']] == ['D51']
    again = first.run()
    assert again.returncode == 0 and '0 stages run, 10 unchanged' in again.stdout


def test_the_catalogue_knows_the_sources_of_a_join(first):
    assert 'offers, makes, rates by queries/offers.sql' in first.cd4ml('data', 'ls')[1]
    assert 'make, country' in first.cd4ml('data', 'describe', 'cars')[1]
    page = first.place.product('cars', 'report', 'data_report.html').read_text()
    parts = first.place.json('cars', 'ingest', 'catalogue.json')['parts']
    identities = first.place.record('cars')['data']['parts']
    assert 'Where the data comes from' in page
    for name, facts in parts.items():
        assert facts['identity'] == identities[name] and facts['n_rows'] > 1
        assert f'<th scope="row">{name}</th>' in page and facts['at'][:10] in page
    assert 's3://cars/offers/' in page and 'geheim' not in page
    _, lineage = first.cd4ml('data', 'lineage', 'cars')
    assert 's3://cars/offers/' in lineage and 'cars@1' in lineage
    assert first.cd4ml('data', 'sample', 'cars', '-n', '4')[1].count('\n') == 5
    _, found = first.cd4ml('data', 'search', 'country', 'rates')
    assert 'query' in found and 'offers' in found


def test_one_changed_row_runs_again_and_is_named(first):
    first.sql('update rates set rate = 1.2 where year = 2024')
    assert first.cd4ml('why', 'ingest', '-s', 'cars') == (0, 'data rates changed\n')
    table = offers()[150:]
    table.iloc[0, 1] += 1
    first.store.put('offers/year=2024/a.parquet', table)
    assert 'data offers changed\n' in first.cd4ml('why', 'ingest', '-s', 'cars')[1]
    path = next((first.place.folder / 'products/cars/runs').glob('*.json'))
    with first.inside(), pytest.raises(UserError, match='offers, rates changed since.*compare'):
        data_for(read_run_record(path))
    again = first.run('--until', 'ingest')
    assert again.returncode == 0 and '1 stage run' in again.stdout
    assert first.cd4ml('why', 'ingest', '-s', 'cars')[1].startswith('ingest is done')


def in_postgresql(world: World) -> tuple[list[str], Callable[[], None]]:
    rows = ', '.join(str(tuple(row)) for row in offers().to_numpy().tolist())
    world.sql(
        'create table offers (make text, km integer, price real, hp integer)',
        f'insert into offers values {rows}',
    )
    address = world.server.uri.replace(':geheim@', '@') + '#offers'
    changed = "update offers set km = km + 1 where km = (select min(km) from offers)"
    return ['--data', address, '--secret', 'RATES_PASSWORD'], lambda: world.sql(changed)


def in_sqlite(world: World) -> tuple[list[str], Callable[[], None]]:
    path = world.project / 'shop.db'
    into_sqlite(path, 'offers', offers())
    (world.project / 'queries/shop.sql').write_text('select * from offers where km >= 0')
    changed = 'update offers set km = km + 1 where rowid = 7'
    words = ['--data', 'sqlite:///shop.db', '--query', 'queries/shop.sql']
    return words, lambda: run_sql(path, changed)


def in_store(world: World) -> tuple[list[str], Callable[[], None]]:
    for k, year in enumerate((2023, 2024)):
        world.store.put(f'alone/year={year}/a.csv', offers()[150 * k:150 * (k + 1)])

    def change() -> None:
        world.store.put('alone/year=2024/a.csv', offers()[150:].assign(km=lambda t: t['km'] + 1))
    return ['--data', 's3://cars/alone/'], change


def in_three_places(world: World) -> tuple[list[str], Callable[[], None]]:
    path = world.project / 'rates.db'
    into_sqlite(path, 'rates', pd.DataFrame({'year': [2023, 2024], 'rate': [1.0, 1.1]}))
    words = ['--data', 'offers=s3://cars/offers/', '--data', 'makes=makes.csv']
    words += ['--data', 'rates=sqlite:///rates.db#rates', '--query', 'queries/offers.sql']
    return words, lambda: run_sql(path, 'update rates set rate = 1.3 where year = 2024')


@pytest.mark.slow
@pytest.mark.parametrize('given', [in_postgresql, in_sqlite, in_store, in_three_places])
def test_each_place_leads_to_a_report_once_and_again_for_one_changed_row(world, given):
    words, change = given(world)
    name = given.__name__
    code, said = world.cd4ml('new', name, *words, '--target', 'price')
    assert code == 0, said
    done = world.run(name=name)
    assert done.returncode == 0, done.stdout + done.stderr
    record = world.place.record(name)
    assert (world.place.folder / 'products' / name / record['report']).is_file()
    again = world.run(name=name)
    assert again.returncode == 0 and '0 stages run, 10 unchanged' in again.stdout
    for word in ('describe', 'sample', 'lineage'):
        assert world.cd4ml('data', word, name)[0] == 0
    assert f'scenario {name}' in world.cd4ml('data', 'search', name, 'km')[1]
    change()
    assert world.cd4ml('why', 'ingest', '-s', name)[1].endswith('changed\n')
    again = world.run('--until', 'ingest', name=name)
    assert again.returncode == 0 and '1 stage run' in again.stdout


def test_X11_no_secret_lies_anywhere(first):
    secrets = (PASSWORD, first.store.environment['AWS_SECRET_ACCESS_KEY'])
    assert not [secret for secret in secrets if secret in first.said]
    for path in first.place.folder.rglob('*'):
        if path.is_file():
            content = path.read_bytes()
            assert not [s for s in secrets if s.encode() in content], path


def test_what_cannot_be_reached_is_said_and_taken_as_it_was(first):
    first.server.stop()
    code, said = first.cd4ml('status', '-s', 'cars')
    assert code == 0
    assert said.startswith('note: ') and 'taken as it was at the last run' in said
    code, said = first.cd4ml('run', '-s', 'cars')
    assert code == 4 and 'ERROR I16 postgresql://' in said
