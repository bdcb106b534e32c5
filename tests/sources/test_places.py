"""Data where it is: folders, stores, databases and joins are read whole, read-only and in a fixed
order, are known by their content, and a query reaches nothing else."""

import bz2
import datetime
import gzip
import lzma
import os
import sqlite3
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from places import into_sqlite, run_sql, s3_store
from postgres import postgres

from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.core.errors import Cd4mlError, InfrastructureError, UserError
from cd4ml_nb.core.settings import Settings, load_settings
from cd4ml_nb.formats.file_findings import file_findings
from cd4ml_nb.scenario.definition import Data, Target, read_scenario
from cd4ml_nb.sources import databases
from cd4ml_nb.sources.databases import batches_of, column_of, query_table
from cd4ml_nb.sources.folders import read_folder
from cd4ml_nb.sources.joins import selected_from
from cd4ml_nb.sources.queries import Query
from cd4ml_nb.sources.source_identity import data_identities, part_identity, rows_hash
from cd4ml_nb.sources.sources import read_data

ALL = Query('select * from offers', 'queries/offers.sql')
OFFERS = pd.DataFrame({'id': [3, 1, 2], 'make': ['vw', 'bmw', None], 'price': [9.5, 20.0, 3.25]})


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / 'pipeline.yaml').write_text('')
    (tmp_path / 'queries').mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(code, *words, by=UserError):
    return pytest.raises(by, match=f'{code} .*' + '.*'.join(words))


def hashed(project, **data) -> dict[str, str]:
    return data_identities(Data(**data), Settings(data_root=str(project)))


# ---- folders

def parquet(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_a_folder_is_one_table_with_its_names_as_columns(project):
    parquet(project / 'offers/year=2023/b.parquet', x=[1], y=[2.5])
    parquet(project / 'offers/year=2024/a.parquet', y=[3], x=[4])       # another order, whole
    parquet(project / 'offers/year=2024/_temporary/c.parquet', x=[9], y=[9.0])
    (project / 'offers/_SUCCESS').touch()
    for source in ('offers', 'offers/', 'offers/*/*.parquet', 'offers/**/*.parquet', 'off*/year=*'):
        raw = read_data(Data(source=source), 0, project, 1)
        assert raw.table.select(['x', 'y', 'year']).to_pydict() == {
            'x': [1, 4], 'y': [2.5, 3.0], 'year': [2023, 2024],
        }, source
        assert raw.facts['format'] == 'parquet' and raw.facts['source'] == source


def test_a_folder_of_packed_files_is_read(project):
    (project / 'a').mkdir()
    for name, pack in (('1.csv.bz2', bz2), ('2.csv.xz', lzma), ('3.csv.gz', gzip)):
        (project / 'a' / name).write_bytes(pack.compress(b'x,y\na,1\n'))
    assert read_data(Data(source='a/'), 0, project, 1).table['x'].to_pylist() == ['a'] * 3


def test_D14_a_fault_in_a_folder_is_named_with_its_file_and_line(project):
    (project / 'a').mkdir()
    for name, cell in (('1', '5'), ('2', 'unknown')):
        rows = [f'{k},{k}' for k in range(60)]
        (project / f'a/{name}.csv').write_text('\n'.join(['x,y', *rows, f'{cell},1']) + '\n')
    data = Data(source='a/')
    with refused('D14', 'a/:x: 1 of 122 not numeric, first at line 62 of 2.csv'):
        typed_table(read_data(data, 0, project, 1), {}, 'infer', Target(column='y'), data)


@pytest.mark.parametrize(('name', 'content', 'code', 'words'), [
    ('b.csv', 'x,z\n1,2\n', 'D01', "b.csv: lacks column 'y', unlike a.csv"),
    ('b.csv', 'x,y\n1,2\n3\n', 'D24', 'b.csv:3: 1 field in line 3'),
    ('b.csv', '', 'D21', 'b.csv: the file is empty'),
    ('b.parquet', '', 'C10', 'holds b.parquet and a.csv'),
    ('year=3/b.csv', 'x,y\n1,2\n', 'D01', "has column 'year', unlike"),
])
def test_a_folder_whose_files_are_not_alike_is_refused(project, name, content, code, words):
    for path, text in (('a/a.csv', 'x,y\n1,2\n3,4\n'), (f'a/{name}', content)):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    with refused(code, words):
        read_folder('a', Data(source='a'), project, 1)


def test_D44_D48_a_folder_with_a_damaged_file_or_too_large_is_refused(project):
    parquet(project / 'a/1.parquet', x=[1, 2])
    whole = parquet(project / 'a/2.parquet', x=list(range(2000))).read_bytes()
    (project / 'a/2.parquet').write_bytes(whole[:-200])
    with refused('D44', 'a/2.parquet: damaged'):
        read_folder('a', Data(source='a'), project, 1)
    with refused('D48', 'the limit is'):
        read_folder('a', Data(source='a'), project, 1e-6)
    parquet(project / 'a/2.parquet', x=['one'])
    with refused('D14', '2.parquet:x: holds string, in 1.parquet int64'):
        read_folder('a', Data(source='a'), project, 1)


def test_the_identity_of_a_folder_is_its_content(project):
    parquet(project / 'a/1.parquet', x=[1, 2])
    parquet(project / 'a/2.parquet', x=[3])
    first = hashed(project, source='a')
    os.utime(project / 'a/1.parquet', (1, 1))
    (project / 'a/notes.md').write_text('more')
    assert hashed(project, source='a') == first
    parquet(project / 'a/2.parquet', x=[4])
    changed = hashed(project, source='a')
    assert changed != first
    (project / 'a/2.parquet').rename(project / 'a/3.parquet')
    assert hashed(project, source='a') != changed


# ---- databases

@pytest.fixture(scope='module')
def server():
    with postgres() as server:
        yield server


def of_postgresql(server, *statements: str) -> str:
    """Run statements; the server's address without a password."""
    import psycopg2
    connection = psycopg2.connect(server.uri)
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()
    return server.uri.replace(':geheim@', '@')


CREATED = (
    'drop table if exists offers',
    'create table offers (id integer, make text, price real)',
    "insert into offers values (3, 'vw', 9.5), (1, 'bmw', 20), (2, null, 3.25)",
)


@pytest.fixture(params=['sqlite', 'duckdb', 'postgresql'])
def database(request, project):
    """The address of a database with the offers, and a way to change it."""
    if request.param == 'postgresql':
        server = request.getfixturevalue('server')
        address = of_postgresql(server, *CREATED)
        return address, lambda statement: of_postgresql(server, statement)
    path = project / f'shop.{request.param}'
    if request.param == 'sqlite':
        run_sql(path, *CREATED)
        return 'sqlite:///shop.sqlite', lambda statement: run_sql(path, statement)

    def change(*statements):
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)
    change(*CREATED)
    return 'duckdb:///shop.duckdb', change


def test_a_query_is_read_in_an_order_of_its_own(project, database):
    address, change = database
    (project / 'queries/offers.sql').write_text('select * from offers;  -- all\n')
    data = Data(source=address, query='queries/offers.sql')
    raw = read_data(data, 0, project, 1)
    assert raw.table.to_pydict() == OFFERS.sort_values('id').replace({np.nan: None}).to_dict('list')
    assert [finding.level for finding in raw.facts['findings']] == ['info']
    whole = read_data(Data(source=f'{address}#offers'), 0, project, 1)
    assert whole.table.equals(raw.table)
    (project / 'queries/offers.sql').write_text('select id from offers order by price')
    assert read_data(data, 0, project, 1).table['id'].to_pylist() == [2, 3, 1]


def test_the_identity_of_a_query_is_its_rows(project, database):
    address, change = database
    (project / 'queries/q.sql').write_text('select id, price from offers where id < 3')
    words = {'source': address, 'query': 'queries/q.sql'}
    first = hashed(project, **words)
    change("update offers set make = 'audi' where id = 1")        # none of the query's cells
    change('insert into offers values (9, null, 1)')
    assert hashed(project, **words) == first
    change('delete from offers where id = 1')
    change("insert into offers values (1, 'bmw', 20)")            # the same row, in another place
    assert hashed(project, **words) == first
    change('update offers set price = 4 where id = 2')
    changed = hashed(project, **words)
    assert [name for name in first if first[name] != changed[name]] == [address]
    (project / 'queries/q.sql').write_text('select id, price from offers where id < 3 order by id')
    again = hashed(project, **words)
    assert [name for name in changed if again[name] != changed[name]] == ['queries/q.sql']


def test_nothing_can_be_written_and_a_query_ends_in_time(project, database):
    address, _ = database
    data = Data(source=f'{address}#offers')

    def read(text, **settings):
        return query_table(data, Query(text, 'q.sql'), project, Settings(**settings))

    for text in (
        'delete from offers', 'drop table offers', "insert into offers values (1, 'a', 1)",
        'create table more as select 1 as x', 'select 1; delete from offers',
        'select * from nobody',
    ):
        with refused('C16', by=Cd4mlError):
            read(text)
    assert len(read('select * from offers')) == 3
    slow = (
        'with recursive a(n) as (select 1 union all select n + 1 from a where n < 1e12)'
        ' select max(n) as n from a'
    )
    with refused('I22', 'more than 0.2 s', by=InfrastructureError):
        read(slow, query_timeout=0.2)
    with refused('D48', 'the limit is'):
        read('select * from offers', max_data_gb=1e-9)


def test_a_sqlite_query_reaches_no_other_file(project):
    into_sqlite(project / 'other.db', 'secrets', OFFERS)
    into_sqlite(project / 'shop.db', 'offers', OFFERS)
    data = Data(source='sqlite:///shop.db#offers')
    for text in (
        "attach 'other.db' as o", "select load_extension('x')", 'pragma database_list',
        "select * from pragma_database_list", "select readfile('/etc/passwd')", 'vacuum into "x"',
    ):
        with refused('C16'):
            query_table(data, Query(text, 'q.sql'), project, Settings())
    assert not (project / 'x').exists()


def test_databases_that_are_not_there_or_are_none(project):
    (project / 'text.db').write_text('make,price\n' * 100)
    for engine in ('sqlite', 'duckdb'):
        with refused('C16', 'is no (SQLite|DuckDB) database'):
            read_data(Data(source=f'{engine}:///text.db#offers'), 0, project, 1)
        with refused('C10', "did you mean 'text.db'"):
            read_data(Data(source=f'{engine}:///test.db#offers'), 0, project, 1)
    gone = f'postgresql:///shop?host={project}#offers'
    with refused('I16', 'cannot be reached', by=InfrastructureError):
        read_data(Data(source=gone), 0, project, 1)


def test_values_keep_their_kind(project):
    assert column_of([Decimal('1'), Decimal(10**17 + 1)]).to_pylist() == [1, 10**17 + 1]
    assert column_of([Decimal('NaN'), 1]).to_pylist()[1] == 1.0
    assert column_of([10**30, 1]).to_pylist() == [str(10**30), '1']
    day = datetime.date(2024, 2, 1)
    assert column_of([None, day]).type == pa.date32()
    assert column_of([datetime.timedelta(minutes=1)]).to_pylist() == [60.0]
    run_sql(
        project / 'a.db', 'create table t (x)',
        "insert into t values (1), (2.5), ('n/a'), (null)",
    )
    table = query_table(
        Data(source='sqlite:///a.db#t'), Query('select x from t', 'q'), project, Settings()
    )
    assert sorted(table['x'].drop_null().to_pylist()) == ['1', '2.5', 'n/a']


def test_types_of_postgresql(server, project):
    address = of_postgresql(
        server,
        'create table if not exists kinds as select true as b, 2::smallint as i,'
        ' 1.50::numeric as n,'
        " '2024-02-01'::date as d, '2024-02-01 12:00+02'::timestamptz as t, 'ä'::text as s,"
        " '5e0a7c1e-0000-4000-8000-000000000000'::uuid as u, 9007199254740993::numeric as k",
    )
    table = query_table(
        Data(source=f'{address}#kinds'), Query('select * from kinds', 'q'), project, Settings()
    )
    row = table.to_pylist()[0]
    assert (row['b'], row['i'], row['n'], row['s']) == (True, 2, 1.5, 'ä')
    assert row['k'] == 2**53 + 1 and row['u'].startswith('5e0a')
    assert row['t'] == datetime.datetime(2024, 2, 1, 10, tzinfo=datetime.UTC)


@given(st.lists(st.tuples(st.integers(-5, 5), st.text('ab', max_size=2)), min_size=1, max_size=9),
       st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=examples(10), deadline=None)
def test_rows_in_another_order_are_the_same_and_any_other_cell_is_not(rows, random):
    changed = list(rows)
    random.shuffle(changed)
    others = [(rows[0][0] + 1, rows[0][1]), *rows[1:]]
    hashes = []
    for k, some in enumerate((rows, changed, others)):
        path = Path(os.environ.get('TMPDIR', '/tmp')) / f'cd4ml-test-{os.getpid()}-{k}.db'
        try:
            into_sqlite(path, 'offers', pd.DataFrame(some, columns=['x', 'y']))
            data = Data(source=f'sqlite:///{path}#offers')
            hashes.append(rows_hash(data, ALL, Path('/'), Settings()))
        finally:
            path.unlink(missing_ok=True)
    assert hashes[0] == hashes[1] and hashes[0] != hashes[2]


def test_a_database_is_read_in_batches(project, monkeypatch):
    monkeypatch.setattr(databases, 'BATCH', 50)
    run_sql(
        project / 'a.db',
        'create table offers as with recursive a(n) as (select 1 union all select n + 1 from a'
        ' where n < 120) select n from a',
    )
    data = Data(source='sqlite:///a.db#offers')
    sizes = [len(batch) for batch in batches_of(data, ALL, project, Settings())]
    assert sizes == [50, 50, 20]


# ---- joins

ATTEMPTS = [
    "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'",
    "select * from read_text('/etc/passwd')", "select * from read_blob('/etc/passwd')",
    "select * from read_json('/etc/passwd')", "select * from glob('/etc/*')",
    "select * from read_parquet('http://127.0.0.1:9/a.parquet')",
    "select * from sqlite_scan('a.db', 't')", "select * from 'https://example.org/a.csv'",
    "copy offers to 'out.csv'", "copy (select 1) to 'out.parquet'", "export database 'out'",
    "attach 'out.db'", "attach 'http://127.0.0.1:9/x.db'", 'install httpfs', 'load httpfs',
    "pragma database_list", 'set enable_external_access = true', 'reset lock_configuration',
    'create table t as select 1', 'select 1; select 2', "call pragma_version()",
    "select * from query('copy offers to ''out.csv''')", "select getenv('HOME')",
    'with x as (select 1) delete from offers', 'explain select 1', '', 'select * from project',
]


@pytest.mark.parametrize('text', ATTEMPTS)
def test_X09_a_query_reaches_nothing_but_its_sources(project, text):
    tables = {'offers': pa.table({'make': ['vw']})}
    before = sorted(path.name for path in project.iterdir())
    with refused('C16'):
        selected_from(tables, Query(text, 'q.sql'), Settings())
    assert sorted(path.name for path in project.iterdir()) == before


def test_sources_of_every_kind_are_joined_and_the_sums_are_always_the_same(project):
    rng = np.random.default_rng(0)
    parquet(project / 'offers/year=2023/a.parquet', make=['vw', 'bmw'] * 500, p=rng.random(1000))
    parquet(project / 'offers/year=2024/a.parquet', make=['vw', 'fiat'] * 500, p=rng.random(1000))
    (project / 'makes.csv').write_text('make;country\nvw;de\nbmw;de\nfiat;"it"\n')
    into_sqlite(project / 'x.db', 'rates', pd.DataFrame({'year': [2023, 2024], 'rate': [1.0, 1.1]}))
    (project / 'queries/q.sql').write_text(
        'select make, year, country, sum(p * rate) as total from offers join makes using (make)'
        ' join rates using (year) group by all'
    )
    data = Data(
        sources={
            'offers': 'offers/', 'makes': {'source': 'makes.csv', 'separator': ';'},
            'rates': 'sqlite:///x.db#rates',
        },
        query='queries/q.sql',
    )
    raws = [read_data(data, 0, project, 1) for _ in range(3)]
    table = raws[0].table
    assert table['make'].to_pylist() == ['bmw', 'fiat', 'vw', 'vw']
    assert table['country'].to_pylist() == ['de', 'it', 'de', 'de']
    assert all(raw.table.equals(table) for raw in raws)
    first = hashed(project, **data.model_dump(include={'sources', 'query'}))
    parts = raws[0].facts['parts']
    assert {name: part['n_rows'] for name, part in parts.items()} == {
        'offers': 2000, 'makes': 3, 'rates': 2,
    }
    assert parts['makes']['columns'] == ['make', 'country']
    assert all(part['identity'] == first[name] for name, part in parts.items())
    (project / 'makes.csv').write_text('make;country\nvw;de\nbmw;de\nfiat;fr\n')
    now = hashed(project, **data.model_dump(include={'sources', 'query'}))
    assert [name for name in first if first[name] != now[name]] == ['makes']


def test_what_was_found_in_a_file_or_source_is_said_with_its_name(project):
    for name, last in (('a', 'Total,78,156'), ('b', 'Total,78,156')):
        rows = [f'vw,{k},{2 * k}' for k in range(1, 13)]
        text = '\n'.join(['# an export', 'make,n,m', *rows, last]) + '\n'
        (project / 'offers').mkdir(exist_ok=True)
        (project / f'offers/{name}.csv').write_text(text)
    data = Data(source='offers/', comment='#')
    raw = read_data(data, 0, project, 1)
    table, infos = typed_table(raw, {}, 'infer', Target(column='m'), data)
    said = {finding.code: finding for finding in file_findings(raw, table, infos)}
    assert said['D61'].what.startswith('a.csv and 1 more: line 1 of comment')
    assert said['D62'].what.endswith('line 15 of a.csv, line 15 of b.csv')
    assert said['D62'].todo.startswith('data: {skip_end: 1}')

    pd.DataFrame({
        'n': ['1', '2'], 'code': [b'a', b'b'], 'region': pd.Categorical([7, 9]),
        'open': [datetime.time(0, 1), datetime.time(0, 1, 30)],
        'lasted': pd.to_timedelta([60, 90], 's'),
    }).to_parquet(project / 'kinds.parquet')
    text = 'select offers.m, open, code, region, lasted from offers join kinds using (n)'
    (project / 'queries/q.sql').write_text(text)
    joined = Data(
        sources={'offers': 'offers/', 'kinds': 'kinds.parquet'}, query='queries/q.sql', comment='#'
    )
    raw = read_data(joined, 0, project, 1)
    words = [f'{finding.column} {finding.what}' for finding in raw.facts['findings']]
    assert any(' source offers: a.csv and 1 more: line 1 of comment' in text for text in words)
    assert any('source offers: the total of other rows' in text for text in words)
    assert {'code bytes, read as text'} < set(words)
    assert any('source kinds: region: numbers that the file calls cat' in text for text in words)
    assert raw.facts['units'] == {'open': 's', 'lasted': 's'}
    assert raw.table['open'].to_pylist() == raw.table['lasted'].to_pylist() == [60, 60, 90, 90]
    table, infos = typed_table(raw, {}, 'infer', Target(column='m'), joined)
    assert {info.name: info.type for info in infos}['region'] == 'category'


def test_D52_a_value_that_cannot_be_converted_is_not_repeated(project, server):
    people = pa.table({'name': ["Zebulon O'Quellgrund", 'b']})
    query = Query('select cast(name as integer) as n from people', 'q.sql')
    address = of_postgresql(
        server, 'drop table if exists people', "create table people as select 'Zebulon' as name",
    )
    data = Data(source=f'{address}#people')
    for read in (
        lambda: selected_from({'people': people}, query, Settings()),
        lambda: query_table(data, query, project, Settings()),
    ):
        with pytest.raises(UserError, match='C16') as caught:
            read()
        assert 'Z' not in str(caught.value) and 'Quell' not in str(caught.value)


@pytest.mark.parametrize(('text', 'words'), [
    ('select * from ofers', 'the sources are offers, makes'),
    ('select avg(n) from makes', 'columns of CSV files are texts'),
    ('select * from offers, makes where offers.x = makes.n and', 'mend it'),
])
def test_a_query_that_fails_is_named_with_what_helps(text, words):
    tables = {'offers': pa.table({'x': [1]}), 'makes': pa.table({'n': ['1']})}
    with refused('C16', words):
        selected_from(tables, Query(text, 'q.sql'), Settings())


def test_D12_D51_what_a_query_must_not_do(project):
    into_sqlite(project / 'a.db', 'offers', OFFERS)
    data = Data(source='sqlite:///a.db', query='queries/q.sql')
    for text, code, words in (
        ('select id, id from offers', 'D12', "column name 'id' stands twice"),
        ('select random() as x, id from offers', 'D51', 'asks for random'),
        ('select * from offers where id > 2', 'D21', '1 row'),
        ('delete from offers', 'C16', 'write one SELECT'),
    ):
        (project / 'queries/q.sql').write_text(text)
        with refused(code, words):
            read_data(data, 0, project, 1)
    with refused('C10', "did you mean 'q.sql'"):
        read_data(data.model_copy(update={'query': 'queries/p.sql'}), 0, project, 1)
    with refused('C10', 'outside the project'):
        read_data(data.model_copy(update={'query': '../q.sql'}), 0, project, 1)


# ---- secrets

SECRETS = [
    '{source: "postgresql://ann:hunter2@db/shop", query: q.sql}',
    '{source: "postgresql://ann:hun/ter2@db/shop#t"}',
    '{source: "postgresql://db/shop?password=hunter2#t"}',
    '{source: "s3://AKIA:hunter2@bucket/a.csv"}',
    '{source: ["postgresql://ann:hunter2@db/shop"]}',
    '{sources: {a: "postgresql://ann:hunter2@db/shop#t"}, query: q.sql}',
    '{sources: {a: {source: "sqlite:///x.db#t", secret: hunter2}}, query: q.sql}',
    '{source: "postgresql://ann@db/shop#t", secret: "hunter2!"}',
]


@pytest.mark.parametrize('data', SECRETS)
def test_C17_a_secret_in_a_scenario_is_refused_and_not_repeated(tmp_path, data):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        f'name: mine\ntitle: Mine\ntask: regression\ntarget: {{column: y}}\ndata: {data}\n'
    )
    with pytest.raises(UserError) as caught:
        read_scenario(path)
    assert 'ter2' not in str(caught.value) + repr(caught.value)
    assert caught.value.code == 'C17' or 'valid string' in caught.value.what


def test_C09_a_secret_is_taken_from_the_environment(project, monkeypatch):
    data = Data(source='postgresql://ann@127.0.0.1:1/shop#t', secret='SHOP_PASSWORD')
    monkeypatch.delenv('SHOP_PASSWORD', raising=False)
    with refused('C09', 'SHOP_PASSWORD is not set'):
        read_data(data, 0, project, 1)
    monkeypatch.setenv('SHOP_PASSWORD', 'hunter2')
    with pytest.raises(InfrastructureError) as caught:
        read_data(data, 0, project, 1)
    assert 'hunter2' not in str(caught.value) and caught.value.code == 'I16'


# ---- a store

@pytest.fixture(scope='module')
def store():
    with s3_store() as store:
        yield store


def test_a_folder_of_a_store_is_read_and_known_by_the_versions_it_names(
    project, store, monkeypatch
):
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.put('offers/year=2023/a.parquet', OFFERS)
    store.put('offers/year=2024/a.parquet', OFFERS.assign(price=1.0))
    for source in ('s3://cars/offers/', 's3://cars/offers/*/*.parquet', 's3://cars/offers'):
        raw = read_data(Data(source=source), 0, project, 1)
        assert raw.table['year'].to_pylist() == [2023] * 3 + [2024] * 3
    first = hashed(project, source='s3://cars/offers/')
    store.put('offers/year=2024/a.parquet', OFFERS.assign(price=1.0))      # the same again
    assert hashed(project, source='s3://cars/offers/') == first
    store.put('offers/year=2024/a.parquet', OFFERS.assign(price=2.0))
    changed = hashed(project, source='s3://cars/offers/')
    assert changed != first
    store.client.put_bucket_versioning(
        Bucket='cars', VersioningConfiguration={'Status': 'Enabled'}
    )
    store.put('one.csv', OFFERS)
    one = hashed(project, source='s3://cars/one.csv')
    store.put('one.csv', OFFERS.assign(price=0))
    assert hashed(project, source='s3://cars/one.csv') != one
    with refused('C10', 'no CSV or Parquet file fits'):
        read_data(Data(source='s3://cars/nothing/*.csv'), 0, project, 1)


def test_the_endpoint_of_a_store_may_stand_in_the_settings(project, store, monkeypatch):
    store.put('two.csv', OFFERS)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv('AWS_ENDPOINT_URL')
    monkeypatch.setenv('CD4ML_S3_ENDPOINT', store.endpoint)
    assert len(read_data(Data(source='s3://cars/two.csv'), 0, project, 1).table) == 3


def test_a_store_that_moves_while_the_program_runs_is_found_where_it_is_now(project, monkeypatch):
    for price in (1.0, 2.0):
        with s3_store() as now:
            for name, value in now.environment.items():
                monkeypatch.setenv(name, value)
            now.put('moved/a.parquet', OFFERS.assign(price=price))
            raw = read_data(Data(source='s3://cars/moved/'), 0, project, 1)
        assert set(raw.table['price'].to_pylist()) == {price}


def test_a_locked_database_is_tried_again_later(project):
    with duckdb.connect(str(project / 'a.duckdb')) as connection:
        connection.execute('create table offers as select 1 as x')
    sqlite3.connect(project / 'b.db').close()
    with refused('C16', 'no such table'):
        read_data(Data(source='sqlite:///b.db#offers'), 0, project, 1)


def test_a_file_that_is_gone_among_several_sources_is_an_error_of_one_line(tmp_path):
    (tmp_path / 'rows.csv').write_text('a,b\n1,2\n')
    assert len(part_identity(Data(source='rows.csv'), 'rows', tmp_path, load_settings())) == 64
    with pytest.raises(UserError, match='file not found') as error:
        part_identity(Data(source='row.csv'), 'rows', tmp_path, load_settings())
    assert error.value.code == 'C10' and "did you mean 'rows.csv'?" in error.value.line
