"""The validate page: what it hands on, the page about the data, and its Run cells."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import papermill
import pytest
from tables import TODAY, labelled, offers, scenario_for, validated

import cd4ml_nb.engine.warm  # noqa: F401 registers papermill's engine `cd4ml`
from cd4ml_nb.artefacts.artefact import write_artefact
from cd4ml_nb.artefacts.catalogue import Catalogue, CatalogueColumn
from cd4ml_nb.checks.validation import findings_record, table_schema, validate_table
from cd4ml_nb.columns.table import read_table, write_table
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.scenario.definition import Scenario
from cd4ml_nb.show.data_page import data_report, histogram


def plan_of(target, task='regression', **sections):
    return Scenario(
        name='toy',
        title='A toy problem',
        task=task,
        data={'source': 'toy.csv'},
        target=target,
        **sections,
    )


def infos_of(table, target, **changed):
    """Columns as the catalogue has them: numbers and categories, but for what is said."""
    kinds = {
        name: (
            'number'
            if table[name].dtype.kind in 'fiu'
            else 'date' if table[name].dtype.kind == 'M' else 'category'
        )
        for name in table
    }
    kinds |= {name: kind for name, (kind, _) in changed.items()}
    roles = {name: role for name, (_, role) in changed.items()} | {target: 'target'}
    return [
        CatalogueColumn(name=name, type=kind, role=roles.get(name, 'feature'))
        for name, kind in kinds.items()
    ]


def schema_of(table, target, task='regression', changed=None, **sections):
    plan = plan_of({'column': target} if isinstance(target, str) else target, task, **sections)
    result = validate_table(
        table, plan, infos_of(table, plan.target.column, **(changed or {})), TODAY
    )
    return table_schema(result, plan), result, plan


# what is handed on


def test_a_regression_target_is_float_and_classes_are_texts():
    assert (
        schema_of(offers().assign(price=lambda t: t.price.astype(int)), 'price')[1]
        .table['price']
        .dtype
        == 'float64'
    )
    schema, result, _ = schema_of(labelled(classes=(2, 1)), 'sold', 'binary')
    assert set(result.table['sold']) == {'1', '2'}
    assert sorted(schema.target.classes) == ['1', '2']


@pytest.mark.parametrize('classes, positive, expected', [
    (('no', 'yes'), None, ['no', 'yes']),
    (('no', 'yes'), 'no', ['yes', 'no']),
    (('no', 'yes'), False, ['yes', 'no']),
    ((0, 1), None, ['0', '1']),
    ((0, 1), 0, ['1', '0']),
    (('good', 'bad'), 'bad', ['good', 'bad']),
])
def test_classes_of_a_binary_target_are_negative_then_positive(classes, positive, expected):
    schema, _, _ = schema_of(
        labelled(classes=classes), {'column': 'sold', 'positive': positive}, 'binary'
    )
    assert schema.target.classes == expected and schema.target.positive == expected[1]


def test_D07_without_a_word_the_rarer_class_is_positive():
    table = labelled(classes=('good', 'good', 'good', 'bad'))
    assert schema_of(table, 'sold', 'binary')[0].target.positive == 'bad'


def test_classes_of_three_stand_in_their_natural_order():
    schema, _, _ = schema_of(labelled(classes=(10, 9, 2)), 'sold', 'multiclass')
    assert schema.target.classes == ['2', '9', '10']


def test_categories_stand_by_frequency_then_name_and_declared_ones_are_kept():
    table = offers()
    table['fuel'] = ['b'] * 100 + ['a'] * 100 + ['c'] * 100
    table.loc[299, 'fuel'] = 'a'
    schema, _, _ = schema_of(table, 'price', columns={'fuel': {'values': ['a', 'b', 'c', 'z']}})
    fuel = next(column for column in schema.columns if column.name == 'fuel')
    assert fuel.categories == ['a', 'b', 'c', 'z'] and fuel.values_declared


def test_ranges_are_those_of_the_cleaned_rows():
    table = offers()
    table.loc[0, 'km'] = 1e9
    schema, _, _ = schema_of(table, 'price', columns={'km': {'max': 1e6, 'outside': 'drop'}})
    assert schema.columns[1].max == table['km'][1:].max()


def test_values_of_ids_and_ignored_columns_are_not_in_the_schema():
    table = offers().assign(id=range(300), note=[f'secret {k}' for k in range(300)])
    schema, result, plan = schema_of(
        table, 'price', changed={'id': ('number', 'id'), 'note': ('text', 'ignore')}
    )
    assert all(
        column.min is column.max is column.categories is None
        for column in schema.columns
        if column.name in ('id', 'note')
    )
    written = schema.model_dump_json() + findings_record(result).model_dump_json()
    assert 'secret' not in written + data_report(result, plan, 'a.csv')


def test_D10_feature_without_values_is_left_out_by_a_rule_that_can_be_read():
    schema, result, _ = schema_of(offers().assign(colour=np.nan), 'price')
    colour = next(column for column in schema.columns if column.name == 'colour')
    assert (colour.role, colour.why_ignored) == ('ignore', 'no value in any row')
    assert 'colour' in result.table


def test_the_contract_is_built_from_the_schema():
    table = offers().assign(
        day=pd.Timestamp('2024-01-01') + pd.to_timedelta(np.arange(300) % 90, 'D'),
        colour=np.nan,
        id=range(300),
    )
    schema, _, _ = schema_of(
        table,
        {'column': 'price', 'unit': 'EUR'},
        changed={'id': ('number', 'id')},
        columns={'km': {'unit': 'km'}},
    )
    contract = make_contract(schema, 'toy', 'A toy problem', '1.0.0')
    assert [i.name for i in contract.inputs] == ['age', 'km', 'fuel', 'day']
    assert contract.output.unit == 'EUR' and contract.inputs[1].unit == 'km'


def test_rows_are_numbered_anew_and_counted(tmp_path):
    table = offers()
    table.loc[[0, 3], 'price'] = np.nan
    result = validated(tmp_path, table, {'column': 'price', 'missing': 'drop'})
    record = findings_record(result)
    assert result.table.index.tolist() == list(range(298))
    assert record.n_rows_in == record.n_rows_out + sum(record.dropped.values())


# the page about the data


class Reader(HTMLParser):
    """Notes elements, attributes and whether every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.open = []
        self.seen = []
        self.addresses = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.addresses += [
            value for name, value in attrs if name in ('src', 'href', 'srcset', 'action', 'data')
        ]
        if tag not in ('meta', 'link', 'br', 'hr', 'img', 'rect', 'path'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ('rect', 'path'):
            assert self.open.pop() == tag


def report_of(table, target='price', task='regression', **more):
    _, result, plan = schema_of(table, target, task, **more)
    return data_report(result, plan, 'toy.csv')


def test_the_report_needs_no_network_and_no_script():
    page = report_of(offers())
    reader = Reader(page)
    assert reader.open == [] and reader.addresses == []
    assert not [tag for tag, _ in reader.seen if tag in ('script', 'link', 'iframe', 'img')]
    policy = next(
        a['content'] for tag, a in reader.seen if a.get('http-equiv') == 'Content-Security-Policy'
    )
    assert policy.startswith("default-src 'none'") and 'prefers-color-scheme: dark' in page
    assert not re.search(r'@import|url\(', page)


@pytest.mark.parametrize('payload', [
    '<img src=x onerror=alert(1)>',
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '{{ 7 * 7 }}',
    '\u202egnp.exe',
])
def test_X_names_and_categories_are_shown_never_obeyed(payload):
    table = offers().rename(columns={'age': payload})
    table['fuel'] = np.where(table['fuel'] == 'Diesel', payload, table['fuel'])
    table['empty ' + payload] = np.nan
    reader = Reader(report_of(table))
    assert not [tag for tag, _ in reader.seen if tag in ('script', 'img')]
    assert not [
        name for _, attributes in reader.seen for name in attributes if name.startswith('on')
    ]
    assert '7 * 7' in payload or '{{' not in payload


def test_the_report_says_how_many_rows_and_why():
    page = report_of(
        pd.concat([offers(), offers()[:7]]).reset_index(drop=True), duplicates='drop'
    )
    page = ' '.join(page.split())        # no-break spaces and line breaks alike
    assert (
        '300 rows may be learned from' in page
        and '307 rows came in, 7 rows were left out' in page
        and 'duplicates' in page
    )


def test_the_report_shows_every_kind_of_column():
    table = offers().assign(
        day=pd.Timestamp('2024-01-01') + pd.to_timedelta(np.arange(300) % 90, 'D'),
        colour=np.nan,
        land='DE',
        id=range(300),
        new=pd.array([True, False, None] * 100, dtype='boolean'),
        late=pd.Series([pd.NaT] * 299 + [pd.Timestamp('2024-05-01')]),
    )
    page = report_of(
        table,
        changed={
            'new': ('boolean', 'feature'),
            'id': ('number', 'id'),
            'colour': ('number', 'feature'),
            'late': ('date', 'feature'),
        },
    )
    reader = Reader(page)
    assert reader.open == []
    assert (
        sum(attributes.get('class') == 'card' for _, attributes in reader.seen)
        == len(table.columns) - 1
    )
    assert '2024-01-01 to 2024-03-30' in page and 'nan' not in re.sub(
        r'<style>.*?</style>', '', page, flags=re.S
    ).lower().replace('financ', '')


def test_a_histogram_is_not_flattened_by_one_outlier():
    values = np.r_[np.random.default_rng(0).normal(size=10_000), 1e12]
    assert max(histogram(values)) < 2000 and sum(histogram(values)) == 10_001


def test_a_histogram_of_mostly_one_value_still_counts_all():
    assert sum(histogram(np.r_[np.zeros(1000), 5.0])) == 1001 and histogram(np.zeros(9)) == []


# the page's Run cells


@pytest.fixture
def ingested(tmp_path):
    """The products of ingest for a table, and a function that runs the page on them."""

    def run(table, target='price', **sections):
        table.to_csv(tmp_path / 'toy.csv', index=False)
        plan = scenario_for(tmp_path, tmp_path / 'toy.csv', target, **sections)
        raw = read_file(str(tmp_path / 'toy.csv'), plan.data, tmp_path, 1.0)
        typed, infos = typed_table(raw, plan.columns, plan.undeclared, plan.target, plan.data)
        write_table(typed, tmp_path / 'ingest' / 'table.parquet')
        entry = Catalogue(source='toy.csv', data_hash='', n_rows=len(typed), columns=infos)
        write_artefact(tmp_path / 'ingest' / 'catalogue.json', entry)
        upstream = {
            'ingest': {
                name: str(
                    tmp_path
                    / 'ingest'
                    / name.replace('table', 'table.parquet').replace('catalogue', 'catalogue.json')
                )
                for name in ('table', 'catalogue')
            }
        }
        product = {
            name: str(tmp_path / 'validate' / file)
            for name, file in [
                ('table', 'table.parquet'),
                ('findings', 'findings.json'),
                ('schema', 'schema.json'),
            ]
        }
        papermill.execute_notebook(
            'notebooks/stages/11_validate.ipynb',
            str(tmp_path / 'page.ipynb'),
            engine_name='cd4ml',
            progress_bar=False,
            parameters={
                'scenario': str(tmp_path / 'toy.yaml'),
                'upstream': upstream,
                'product': product,
            },
        )

    return run


def test_the_page_writes_table_findings_and_schema(tmp_path, ingested):
    ingested(pd.concat([offers(), offers()[:7]]), duplicates='drop')
    files = {path.name for path in (tmp_path / 'validate').iterdir()}
    assert files == {'table.parquet', 'findings.json', 'schema.json'}
    assert len(read_table(tmp_path / 'validate' / 'table.parquet')) == 300
    assert json.loads((tmp_path / 'validate' / 'findings.json').read_text())['dropped'] == {
        'duplicates': 7
    }


def test_the_page_tells_every_finding_and_writes_nothing_when_there_is_an_error(tmp_path, ingested):
    with pytest.raises(papermill.PapermillExecutionError, match='D43') as raised:
        ingested(
            offers().assign(
                total=lambda t: t.price, owner=[f'o{k % 9}' for k in range(300)], land='DE'
            ),
            columns={'owner': {'missing': False, 'values': ['o1'], 'outside': 'refuse'}},
        )
    assert 'and 1 more, listed above' in str(raised.value)
    page = (tmp_path / 'page.ipynb').read_text()
    assert 'ERROR D43 owner' in page and 'ERROR D36 total' in page and 'WARN  D11 land' in page
    assert not any((tmp_path / 'validate').iterdir())
