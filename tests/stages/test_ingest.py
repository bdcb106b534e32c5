"""Any source becomes a table that is known by its content, and a catalogue entry; the page runs as
papermill runs it."""

import datetime
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import papermill
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from projects import ROOT, copy_parts, write_scenario

from cd4ml_nb.artefacts.catalogue import CatalogueColumn
from cd4ml_nb.checks.description import FILE_FACTS, catalogue_entry, first_rows
from cd4ml_nb.columns.table import read_table, table_hash
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.command.cli import main
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.scenario.definition import Data, Target
from cd4ml_nb.scenario.freshness import age_in_days
from cd4ml_nb.sources.sources import BUNDLED, bundled_table, read_data, sampled

CSV = 'age,make,price,seen\n' + ''.join(
    f'{k % 30},{"BMW" if k % 2 else "Fiat"},{1000 + 7 * k},2021-01-{1 + k % 28:02}\n'
    for k in range(300)
)
SCENARIO = """
name: mine
title: Mine
task: regression
seed: 3
data: {source: %s}
target: {column: price, unit: EUR}
columns:
  age: {type: number, unit: years}
"""


@pytest.fixture
def ingest(tmp_path):
    """Run the page on a scenario; the table and the catalogue entry."""

    def run(scenario, folder='out', **parameters):
        (tmp_path / 'mine.yaml').write_text(scenario)
        product = {
            name: str(tmp_path / folder / 'ingest' / name) for name in ('nb', 'table', 'catalogue')
        }
        papermill.execute_notebook(
            'notebooks/stages/10_ingest.ipynb',
            str(tmp_path / 'page.ipynb'),
            progress_bar=False,
            log_output=False,
            parameters={'scenario': str(tmp_path / 'mine.yaml'), 'upstream': {}, 'product': product}
            | parameters,
        )
        return read_table(product['table']), json.loads(
            (tmp_path / folder / 'ingest' / 'catalogue').read_text()
        )

    return run


def test_the_page_reads_a_file_and_describes_it(ingest, tmp_path):
    (tmp_path / 'a.csv').write_text(CSV)
    df, entry = ingest(SCENARIO % (tmp_path / 'a.csv'), rows=0)
    assert df.shape == (300, 4) and entry['data_hash'] == table_hash(df)
    assert (
        entry['n_rows'],
        entry['n_rows_in_file'],
        entry['sampled'],
        entry['encoding'],
        entry['separator'],
        entry['first_line'],
    ) == (300, 300, False, 'utf-8', ',', 2)
    assert [(c['name'], c['type'], c['role'], c['declared']) for c in entry['columns']] == [
        ('age', 'number', 'feature', True),
        ('make', 'category', 'feature', False),
        ('price', 'number', 'target', True),
        ('seen', 'date', 'feature', False),
    ]
    assert (
        entry['inferred'] == ['make', 'seen']
        and entry['columns'][0]['max'] == 29
        and len(entry['sample']) == 5
    )
    sample, _ = ingest(SCENARIO % (tmp_path / 'a.csv'), 'second', rows=50, seed=None)
    assert len(sample) == 50 and sample['price'].is_monotonic_increasing


def test_D19_D47_the_identity_is_the_content_not_the_bytes(tmp_path):
    hashes = set()
    files = set()
    for end in ('\n', '\r\n', '\r'):
        (tmp_path / 'a.csv').write_bytes(CSV.replace('\n', end).encode())
        raw = read_data(Data(source='a.csv'), 0, tmp_path, 1)
        df, _ = typed_table(raw, {}, 'infer', Target(column='price'), Data(source='a.csv'))
        hashes.add(table_hash(df))
        files.add(raw.facts['file_sha256'])
    assert len(hashes) == 1 and len(files) == 3


def test_messages_name_the_source_as_the_scenario_does(tmp_path):
    (tmp_path / 'a.csv').write_text(CSV.replace('\n7,', '\nseven,', 1))
    raw = read_data(Data(source='a.csv'), 0, tmp_path, 1)
    with pytest.raises(
        UserError, match=r"^D14 a.csv:age: 1 of 300 not numeric, first at line 9: 'seven'"
    ):
        typed_table(raw, {}, 'infer', Target(column='price'), Data(source='a.csv'))


def test_the_market_is_a_source_and_its_seed_counts():
    def identity(seed, rows=500):
        data = Data(source='builtin:used_cars', options={'rows': rows})
        raw = read_data(data, seed, '.', 1)
        return table_hash(typed_table(raw, {}, 'infer', Target(column='price_eur'), data)[0])

    assert identity(0) == identity(0) != identity(1)
    assert identity(0) != identity(0, rows=501)


@pytest.mark.parametrize('name', BUNDLED)
def test_bundled_sets_are_sources(name):
    data = Data(source=f'builtin:{name}')
    df, infos = typed_table(read_data(data, 0, '.', 1), {}, 'infer', Target(column='target'), data)
    assert infos[-1].role == 'target' and infos[-1].type == (
        'number' if name in ('diabetes', 'digits') else 'category'
    )
    assert len(df) == len(bundled_table(name)) and not df['target'].isna().any()


def test_unknown_sets_and_options_are_refused():
    for source, options, said in [
        ('builtin:usd_cars', {}, "did you mean 'used_cars'"),
        ('builtin:wine', {'rows': 5}, "no option 'rows'"),
        ('builtin:used_cars', {'row': 5}, "did you mean 'rows'"),
        ('a.csv', {'rows': 5}, 'for built-in'),
    ]:
        with pytest.raises(UserError, match=said):
            read_data(Data(source=source, options=options), 0, '.', 1)


def test_stale_data_is_refused():
    data = Data(source='a.csv', published=datetime.date(2024, 1, 1), max_age_days=30)
    assert age_in_days(data, datetime.date(2024, 1, 31)) == 30
    for today, said in (
        (datetime.date(2024, 2, 1), '31 days old; 30 are allowed'),
        (datetime.date(2023, 12, 31), 'in the future'),
    ):
        with pytest.raises(UserError, match=said):
            age_in_days(data, today)
    with pytest.raises(UserError, match='without published'):
        age_in_days(Data(source='a.csv', max_age_days=3), datetime.date(2024, 1, 1))


def test_a_sample_keeps_types_and_order_and_follows_the_seed():
    df = pd.DataFrame(
        {'k': range(1000), 'c': ['a', None] * 500, 'b': pd.array([True, None] * 500, 'boolean')}
    )
    sample = sampled(df, 100, seed=1)
    assert (
        sample['k'].is_monotonic_increasing
        and sample['k'].is_unique
        and (sample.dtypes == df.dtypes).all()
        and sample.index.tolist() == list(range(100))
    )
    assert sample.equals(sampled(df, 100, seed=1)) and not sample.equals(sampled(df, 100, seed=2))
    assert sampled(df, 5000, seed=1) is df


def test_a_catalogue_entry_is_json_whatever_the_values():
    df = pd.DataFrame({
        'x': [np.inf, np.nan],
        'n': [2**62, 1],
        'b': pd.array([True, None], 'boolean'),
        'd': pd.to_datetime(['2021-01-01', None]),
        'c': ['<script>', None],
    })
    infos = [CatalogueColumn(name=name, type='number', role='feature') for name in df]
    facts = dict.fromkeys(FILE_FACTS) | {'source': 'a.csv', 'format': 'csv'}
    facts |= {'notes': [], 'n_rows': 2}
    entry = catalogue_entry(df, infos, facts, Data(source='a.csv'), None)
    json.dumps(entry.model_dump(), allow_nan=False)
    assert first_rows(df) == [
        {'x': 'inf', 'n': 2**62, 'b': True, 'd': '2021-01-01', 'c': '<script>'},
        {'x': None, 'n': 1, 'b': None, 'd': None, 'c': None},
    ]


# ---- a store

class Imitation(MemoryFileSystem):
    """What stands for a store of s3:// addresses."""
    protocol = 's3'
    store: dict[str, Any] = {}
    pseudo_dirs = ['']

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace('s3://', 'memory://', 1))


def in_a_store(text: str) -> None:
    """Have the addresses of this process lead to a store with one file; only in a child."""
    fsspec.register_implementation('s3', Imitation, clobber=True)
    fsspec.filesystem('s3').pipe('/bucket/cars.csv', text.encode())


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose data lies in a store."""
    for name in ('notebooks', 'cd4ml_nb'):
        (tmp_path / name).symlink_to(ROOT / name)
    copy_parts(tmp_path, 'pipeline.yaml', 'settings.ini')
    write_scenario(tmp_path, 'mine', SCENARIO % "'s3://bucket/cars.csv'")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_data_at_an_address_of_a_store_is_read_as_a_file_is(project):
    (project / 'cars.csv').write_text(CSV)

    def both() -> None:
        in_a_store(CSV)
        for source in ('s3://bucket/cars.csv', 'cars.csv'):
            raw = read_data(Data(source=source), 0, project, 1)
            data = Data(source=source)
            df, _ = typed_table(raw, {}, 'infer', Target(column='price'), data)
            (project / f'{"there" if "://" in source else "here"}.txt').write_text(table_hash(df))
        (project / 'plan.txt').write_text(str(main(['why', '-s', 'mine'])))

    reader = multiprocessing.get_context('fork').Process(target=both)
    reader.start()
    reader.join()
    assert (project / 'there.txt').read_text() == (project / 'here.txt').read_text()
    assert (project / 'plan.txt').read_text() == '0'


@pytest.mark.parametrize('words', [
    ('new', 'cars', '--data', 's3://bucket/cars.csv', '--target', 'price'),
    ('run', '-s', 'mine'),
], ids=['new', 'run'])
def test_C13_an_address_without_its_package_ends_in_one_line_with_what_to_install(
    project, monkeypatch, capsys, words
):
    monkeypatch.setitem(sys.modules, 's3fs', None)         # whatever is installed …
    monkeypatch.delitem(_registry, 's3', raising=False)    # … and was used before
    assert main([*words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('ERROR C13 s3://bucket/cars.csv: needs a package: Install s3fs')
    assert line.endswith("— pip install 'cd4ml_nb[cloud]'")


def test_what_was_left_out_of_a_file_is_in_the_catalogue(ingest, tmp_path):
    lines = [f'{k},{line}' for k, line in enumerate(CSV.splitlines()[1:])]
    total = f',{sum(k % 30 for k in range(300))},Total,{sum(1000 + 7 * k for k in range(300))},'
    text = '\n'.join(['Sales', ',age,make,price,seen', *lines, total.replace(',', '300,', 1)])
    (tmp_path / 'a.csv').write_text(text + '\n')
    words = SCENARIO.replace('{source: %s}', f'{{source: {tmp_path / "a.csv"}, skip: 1}}')
    table, entry = ingest(words, rows=50)
    said = [(finding['code'], finding['column']) for finding in entry['findings']]
    assert said == [('D61', ''), ('D63', 'unnamed 1'), ('D62', '')]
    assert 'line 303' in entry['findings'][-1]['what']
    roles = {column['name']: column['role'] for column in entry['columns']}
    assert roles['unnamed 1'] == 'ignore' and len(table) == 50
