"""Texts get types or a clear refusal; a table is known by its content; the holdout stays sealed."""

import datetime
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cd4ml_nb.columns.table import read_table, row_hashes, seal, table_hash, unseal, write_table
from cd4ml_nb.columns.texts import Raw
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.formats.file_findings import file_findings
from cd4ml_nb.formats.proposals import propose_columns
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.scenario.definition import Column, Data, Target

TARGET = Target(column='y')


def raw_of(**columns):
    return Raw(pa.table(columns), {'source': 'a.csv', 'first_line': 2})


def typed(texts, data=None, target=None, **column):
    """One column `x` of texts, typed; the series and its description."""
    raw = raw_of(x=texts, y=[str(k) for k in range(len(texts))])
    declared = {'x': Column(**column)} if column else {}
    df, infos = typed_table(
        raw, declared, 'infer', target or Target(column='y'), data or Data(source='a.csv')
    )
    return df['x'], infos[0]


def typed_with(raw, target=TARGET, **columns):
    """A typed table, and the descriptions of its columns."""
    return typed_table(raw, columns, 'infer', target, Data(source=raw.facts['source']))


def refused(code, texts, *said, data=None, **column):
    with pytest.raises(UserError) as caught:
        typed(texts, data, **column)
    assert caught.value.code == code, caught.value.line
    for words in said:
        assert words in caught.value.line
    return caught.value.line


NUMBERS = [str(k) for k in range(199)]


def with_bad(text, at=7):
    return [*NUMBERS[:at], text, *NUMBERS[at:]]


def test_D01_D02_a_missing_target_is_named_with_its_neighbours():
    for name in ('Price', 'price ', 'prise'):
        with pytest.raises(
            UserError,
            match=(
                f"a.csv: target '{name}' not found; columns are make, price — did you mean 'price'"
            ),
        ) as caught:
            typed_with(raw_of(make=['a'], price=['1']), Target(column=name))
        assert caught.value.code == 'D01'


def test_a_declared_column_that_is_not_there_is_named():
    with pytest.raises(UserError, match="column 'mkae' not found — did you mean 'make'"):
        typed_with(raw_of(make=['a'], price=['1']), Target(column='price'), mkae=Column())


def test_all_declared_columns_that_are_not_there_are_named_at_once():
    said = "a.csv: columns 'mkae', 'km' and 'hp' not found — known: make, price"
    with pytest.raises(UserError, match=said):
        typed_with(
            raw_of(make=['a'], price=['1']),
            Target(column='price'), mkae=Column(), km=Column(), hp=Column(),
        )


@pytest.mark.parametrize('column', [{}, {'type': 'number'}])
def test_D14_one_text_among_numbers(column):
    line = refused(
        'D14',
        with_bad('unknown'),
        "a.csv:x: 1 of 200 not numeric, first at line 9: 'unknown'",
        'columns.x: sentinels: ["unknown"]',
        **column,
    )
    assert 'type: category' in line


def test_D14_is_not_raised_when_the_scenario_says_what_the_text_means():
    assert typed(with_bad('unknown'), sentinels=['unknown'])[0].isna().sum() == 1
    assert typed(with_bad('unknown'), type='category')[0][7] == 'unknown'
    assert (
        typed(with_bad('unknown'), data=Data(source='a.csv', missing=['', 'unknown']))[0]
        .isna()
        .sum()
        == 1
    )


def test_D14_names_the_other_columns_too():
    raw = raw_of(a=with_bad('?'), b=with_bad('??'), c=with_bad('3'), y=with_bad('1'))
    with pytest.raises(UserError, match='a.csv:a: 1 of 200.*also: b$'):
        typed_with(raw)


def test_D14_the_error_says_how_to_declare_a_sentinel_of_the_target():
    with pytest.raises(UserError, match='target: sentinels'):
        typed_with(raw_of(y=with_bad('n/a')))
    df, _ = typed_with(raw_of(y=with_bad('-1')), Target(column='y', sentinels=[-1]))
    assert df['y'].isna().sum() == 1


def test_D14_control_characters_do_not_reach_the_terminal():
    assert '\x1b' not in refused('D14', with_bad('\x1b[31mred'))


@pytest.mark.parametrize(('texts', 'remedy'), [
    (['1,234', '12', '1,234,567.5'], 'thousands: ","'),
    (["1'234", '12'], 'thousands: "\'"'),
    (['1 234', '12'], 'thousands: " "'),
    (['1.234.567', '2.000.000'], 'thousands: "."'),
    (['1.234,5', '12'], 'thousands: ".", decimal: ","'),
])
def test_D15_thousands_separators(texts, remedy):
    refused('D15', texts, remedy, type='number')
    refused('D15', texts, remedy)


def test_D15_declared_thousands_are_followed():
    series, _ = typed(
        ['1.234,5', '12', '-1.000'], data=Data(source='a.csv', thousands='.', decimal=',')
    )
    assert series.tolist() == [1234.5, 12, -1000]
    refused(
        'D14',
        ['12.34,5', '1'],
        data=Data(source='a.csv', thousands='.', decimal=','),
        type='number',
    )


def test_D16_a_decimal_comma():
    refused('D16', ['1,5', '2'], 'decimal: ","')
    assert typed(['1,5', '2'], data=Data(source='a.csv', decimal=','))[0].tolist() == [1.5, 2]


@pytest.mark.parametrize('texts', [['1', '9223372036854775808'], ['-99999999999999999999', '1']])
def test_D27_whole_numbers_beyond_64_bits(texts):
    refused('D27', texts, 'id-like, not a number', 'role: id')
    assert typed(texts, role='id')[0].tolist() == texts
    assert typed(texts, type='category')[0].tolist() == texts


def test_D27_in_parquet():
    raw = Raw(
        pa.table({'x': pa.array([1, 2**64 - 1], pa.uint64()), 'y': [1, 2]}), {'source': 'a.parquet'}
    )
    with pytest.raises(UserError, match='id-like'):
        typed_with(raw)
    df, _ = typed_with(raw, x=Column(type='category'))
    assert df['x'].tolist() == ['1', '18446744073709551615']


def test_whole_numbers_stay_exact():
    texts = ['9007199254740993', '9223372036854775807', '-9223372036854775808']
    assert [str(value) for value in typed(texts)[0]] == texts


def test_D29_codes_with_leading_zeros_stay_texts():
    series, info = typed(['01067', '80331', '00001'])
    assert (
        series.tolist() == ['01067', '80331', '00001']
        and info.type == 'category'
        and 'leading zeros' in info.note
    )
    assert typed(['0', '0.5', '10'])[1].type == 'number'


def test_D30_words_for_nothing_stay_texts_in_a_category():
    texts = ['NA', 'None', 'null', 'NaN', 'DE', '']
    series, info = typed(texts)
    assert series.tolist()[:5] == texts[:5] and info.n_missing == 1


def test_D30_words_for_nothing_in_numbers_ask_for_a_declaration():
    refused('D14', ['NA' if k % 3 else str(k) for k in range(200)], 'sentinels: ["NA"]')


@pytest.mark.parametrize(('texts', 'formats'), [
    (['03/04/2021', '05/06/2021'], ["'%d/%m/%Y'", "'%m/%d/%Y'"]),
    (['25/12/2021', '01/02/2021'], ["'%d/%m/%Y'"]),
    (['12/25/2021 10:30', '01/02/2021 11:00'], ["'%m/%d/%Y %H:%M'"]),
    (['31.12.2020'], ["'%d.%m.%Y'"]),
    (['03.2021', '12.2020'], ["'%m.%Y'"]),
    (['2021-1-5', '2021-01-06'], ["'%Y-%m-%d'"]),
    (['1/2/21'], ["'%d/%m/%y'", "'%m/%d/%y'"]),
])
def test_D37_dates_by_day_and_month_need_a_format(texts, formats):
    for column in ({}, {'type': 'date'}):
        refused('D37', texts, *formats, **column)


def test_D37_a_declared_format_is_followed():
    assert typed(['03/04/2021', ''], type='date', format='%d/%m/%Y')[0].tolist()[0] == pd.Timestamp(
        '2021-04-03'
    )
    refused(
        'D14',
        ['13/13/2021', '01/02/2021'],
        'not a date of the form %d/%m/%Y',
        type='date',
        format='%d/%m/%Y',
    )


def test_D37_a_format_that_is_none_is_named():
    with pytest.raises(UserError, match="columns.x.format: '%Q' is no format"):
        typed(['2021'], type='date', format='%Q')


def test_numbers_that_could_be_months_stay_numbers():
    assert typed(['12.2019', '13.5'])[1].type == typed(['0.5', '0.25'])[1].type == 'number'


def test_thousands_and_decimal_cannot_be_the_same():
    with pytest.raises(UserError, match="both '.'"):
        typed(['1'], data=Data(source='a.csv', thousands='.'))


def test_D38_offsets_become_utc():
    series, info = typed([
        '2021-06-01T12:00:00+02:00',
        '2021-06-01 12:00Z',
        '2021-06-01T07:00:00-05:00',
        '2021-06-01 12:00:00+00',
    ])
    assert series.tolist() == [
        pd.Timestamp('2021-06-01 10:00'),
        *3 * [pd.Timestamp('2021-06-01 12:00')],
    ]
    offsets = typed(
        ['01.06.2021 12:00 +0200', '01.06.2021 12:00 +0000'],
        type='date',
        format='%d.%m.%Y %H:%M %z',
    )[0]
    assert offsets.tolist() == [pd.Timestamp('2021-06-01 10:00'), pd.Timestamp('2021-06-01 12:00')]
    assert info.type == 'date' and str(series.dtype) == 'datetime64[us]'


def test_D38_aware_and_naive_times_are_not_mixed():
    refused('D38', ['2021-06-01T12:00:00+02:00', '2021-06-01T12:00:00'], '1 of 2', 'line 3')


def test_D38_a_declared_zone_makes_utc_and_its_gap_and_fold_are_refused():
    assert typed(['2021-06-01 12:00'], type='date', time_zone='Europe/Berlin')[0][
        0
    ] == pd.Timestamp('2021-06-01 10:00')
    for text in ('2021-03-28 02:30', '2021-10-31 02:30'):
        refused('D38', ['2021-06-01 12:00', text], 'line 3', type='date', time_zone='Europe/Berlin')
    with pytest.raises(UserError, match="did you mean 'Europe/Berlin'"):
        typed(['2021-06-01 12:00'], type='date', time_zone='Europe/Berlni')


def test_D38_times_in_parquet():
    aware = pa.array(
        [datetime.datetime(2021, 6, 1, 12), None], pa.timestamp('us', 'America/New_York')
    )
    naive = pa.array([datetime.datetime(2021, 6, 1, 12), None], pa.timestamp('ns'))
    raw = Raw(
        pa.table(
            {'a': aware, 'n': naive, 'd': pa.array([datetime.date(2021, 6, 1), None]), 'y': [1, 2]}
        ),
        {'source': 'a.parquet'},
    )
    df, _ = typed_with(raw, n=Column(time_zone='Europe/Berlin'))
    assert df.loc[0, ['a', 'n', 'd']].tolist() == [
        pd.Timestamp('2021-06-01 12:00'),
        pd.Timestamp('2021-06-01 10:00'),
        pd.Timestamp('2021-06-01'),
    ]
    assert df[['a', 'n', 'd']].isna().sum().tolist() == [1, 1, 1] and set(
        map(str, df.dtypes[:3])
    ) == {'datetime64[us]'}
    raw = Raw(
        pa.table({'n': pa.array([datetime.datetime(2021, 3, 28, 2, 30)] * 2), 'y': [1, 2]}),
        {'source': 'a.parquet'},
    )
    with pytest.raises(UserError, match='clock change'):
        typed_with(raw, n=Column(time_zone='Europe/Berlin'))


@pytest.mark.parametrize('column', [{}, {'type': 'number'}])
def test_sentinels_are_missing_whether_written_as_text_or_number(column):
    texts = ['1111111', '1111111.0', '5', '']
    assert typed(texts, sentinels=[1111111], **column)[0].isna().tolist() == [
        True,
        True,
        False,
        True,
    ]
    assert typed(texts, sentinels=['1111111'], **column)[0].isna().tolist() == [
        True,
        False,
        False,
        True,
    ]


def test_sentinels_in_parquet():
    days = [datetime.date(1900, 1, 1), datetime.date(2021, 1, 1), None]
    raw = Raw(
        pa.table({
            'x': [1.0, -1.0, None],
            'n': [1, 999, 2],
            'c': ['a', '-', None],
            'd': days,
            'y': [1, 2, 3],
        }),
        {'source': 'a.parquet'},
    )
    columns = {
        'x': Column(sentinels=[-1]),
        'n': Column(sentinels=['999']),
        'c': Column(sentinels=['-']),
        'd': Column(sentinels=['1900-01-01']),
    }
    df, infos = typed_with(raw, **columns)
    assert df['n'].tolist()[::2] == [1.0, 2.0] and [info.n_missing for info in infos] == [
        2, 1, 2, 2, 0,
    ]


def test_types_of_parquet_are_kept_and_follow_declarations():
    raw = Raw(
        pa.table({
            'whole': pa.array([1, 2], pa.int8()),
            'gaps': [1, None],
            'real': pa.array([1.5, 2.5], pa.float32()),
            'truth': [True, None],
            'kind': pa.array(['a', 'b']).dictionary_encode(),
            'code': [1, 2],
            'y': [1, 2],
        }),
        {'source': 'a.parquet'},
    )
    df, infos = typed_with(raw, code=Column(type='category'))
    assert [str(t) for t in df.dtypes] == [
        'int64', 'float64', 'float64', 'boolean', 'str', 'str', 'int64',
    ]
    assert df['code'].tolist() == ['1', '2'] and infos[4].type == 'category'


def test_nested_values_are_refused_unless_ignored():
    raw = Raw(pa.table({'x': [[1], [2]], 'y': [1, 2]}), {'source': 'a.parquet'})
    with pytest.raises(UserError, match='not a single value'):
        typed_with(raw)
    df, _ = typed_with(raw, x=Column(role='ignore'))
    assert df['x'].tolist() == ['[1]', '[2]']


def test_text_is_no_feature_and_ids_stay_as_written():
    free = [f'This is remark number {k} on the car' for k in range(60)]
    raw = raw_of(remark=free, id=[f'{k:05}' for k in range(60)], y=NUMBERS[:60])
    _, infos = typed_with(raw, id=Column(role='id'))
    assert [(i.type, i.role) for i in infos] == [
        ('text', 'ignore'),
        ('category', 'id'),
        ('number', 'target'),
    ]


def test_undeclared_columns_are_inferred_ignored_or_refused():
    raw = raw_of(a=['1', 'x'], y=['1', '2'], b=['1', '2'])
    _, infos = typed_table(raw, {}, 'ignore', Target(column='y'), Data(source='a.csv'))
    assert infos[0].role == 'ignore' and not infos[0].declared
    with pytest.raises(UserError, match="columns 'a' and 'b' are not in the scenario"):
        typed_table(raw, {}, 'refuse', Target(column='y'), Data(source='a.csv'))
    with pytest.raises(UserError, match="column 'b' is not in the scenario — describe it"):
        typed_table(raw, {'a': Column()}, 'refuse', Target(column='y'), Data(source='a.csv'))


def test_proposals_can_be_read_as_they_are():
    n = 200
    raw = raw_of(
        PassengerId=[str(k) for k in range(1, n + 1)],
        price=[str(k * 1.5) for k in range(n)],
        empty=[''] * n,
        when=['03/04/2021'] * n,
        seen=[f'2021-01-{1 + k % 28:02}' for k in range(n)],
        mixed=['1', 'a', '2', 'b'] * 50,
        few=['1', 'NA', '-', '2'] * 50,
        big=[str(10**20 + k) for k in range(n)],
        truth=['True', 'False'] * 100,
        y=with_bad('?'),
    )
    proposed = propose_columns(raw)
    assert proposed['PassengerId'] == {'type': 'number', 'role': 'id'} and proposed['big'] == {
        'type': 'category',
        'role': 'id',
    }
    assert (
        proposed['seen'] == {'type': 'date', 'role': 'time'}
        and proposed['when'] == {'type': 'date', 'format': 'ask', 'role': 'ignore'}
    )
    assert (
        proposed['empty']['role'] == 'ignore'
        and proposed['price'] == {'type': 'number'}
        and proposed['mixed'] == {'type': 'category'}
    )
    assert proposed['few'] == {'type': 'number', 'sentinels': ['NA', '-']} and proposed[
        'truth'
    ] == {'type': 'boolean'}
    target = Target(column='y', sentinels=proposed.pop('y')['sentinels'])
    df, _ = typed_table(
        raw,
        {name: Column(**words) for name, words in proposed.items()},
        'refuse',
        target,
        Data(source='a.csv'),
    )
    assert len(df) == n


REAL = {
    'adult': 'income',
    'ames_housing': 'SalePrice',
    'bank_customer_churn': 'Exited',
    'bike_sharing_hour': 'cnt',
    'california_housing': 'median_house_value',
    'cars_autoscout24_de_2021': 'price',
    'cars_autoscout24_eu_2023_24': 'price_eur',
    'cars_nz_manheim_vehicles': 'final_bid_nzd',
    'diamonds': 'price',
    'electricity_elec2': 'class',
    'german_credit': 'class-label',
    'penguins': 'species',
    'telco_churn': 'Churn',
    'titanic': 'Survived',
    'wine_quality': 'quality',
}


@pytest.mark.parametrize('name', REAL)
def test_every_real_file_is_read_with_what_is_proposed_for_it(real_data, name):
    path = real_data(f'{name}.csv')
    raw = read_file(path.name, Data(source=path.name), path.parent, 8)
    proposed = propose_columns(raw)
    target = Target(column=REAL[name], sentinels=proposed.pop(REAL[name]).get('sentinels', []))
    df, infos = typed_table(
        raw,
        {n: Column(**words) for n, words in proposed.items()},
        'refuse',
        target,
        Data(source=path.name),
    )
    assert len(df) == raw.facts['n_rows'] and len(infos) == len(raw.table.column_names)
    assert {
        'Id', 'PassengerId', 'customerID', 'CustomerId', 'rownames', 'offer_id', 'vehicle_id',
        'instant',
    }.isdisjoint(info.name for info in infos if info.role == 'feature')


def test_the_blanks_of_telco_churn_are_found(real_data):
    path = real_data('telco_churn.csv')
    raw = read_file(path.name, Data(source=path.name), path.parent, 8)
    df, infos = typed_table(raw, {}, 'infer', Target(column='Churn'), Data(source=path.name))
    assert df['TotalCharges'].isna().sum() == 11 and df['TotalCharges'].max() == 8684.8
    (found,) = [f for f in file_findings(raw, df, infos) if f.column == 'TotalCharges']
    assert found.code == 'D65' and found.count == 11
    assert propose_columns(raw)['TotalCharges'] == {'type': 'number'}


def test_the_na_of_ames_housing_is_a_category(real_data):
    path = real_data('ames_housing.csv')
    raw = read_file(path.name, Data(source=path.name), path.parent, 8)
    df, _ = typed_table(raw, {}, 'infer', Target(column='SalePrice'), Data(source=path.name))
    assert (df['Alley'] == 'NA').mean() > 0.9 and df['MS SubClass'].iloc[0] == '020'


# Identity

CELLS = {
    'float': st.one_of(st.none(), st.floats(allow_nan=True)),
    'int': st.integers(-(2**63), 2**63 - 1),
    'text': st.one_of(st.none(), st.text(st.characters(exclude_categories=('Cs',)), max_size=5)),
    'bool': st.one_of(st.none(), st.booleans()),
    'date': st.one_of(
        st.none(), st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
    ),
}
TYPES = {
    'float': 'float64',
    'int': 'int64',
    'text': 'str',
    'bool': 'boolean',
    'date': 'datetime64[us]',
}


@st.composite
def frames(draw, min_rows=1):
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    n = draw(st.integers(min_rows, 6))
    return pd.DataFrame({
        f'{kind}{k}': pd.array(
            draw(st.lists(CELLS[kind], min_size=n, max_size=n)), dtype=TYPES[kind]
        )
        for k, kind in enumerate(kinds)
    })


@settings(max_examples=examples(150), deadline=None)
@given(frames(), st.data())
def test_a_table_is_its_content_and_nothing_else(df, data):
    identity = table_hash(df)
    n = len(df)
    chunked = pd.concat([df.iloc[:n // 2], df.iloc[n // 2:]])
    padded = pd.concat([df, df, df])
    assert (
        identity
        == table_hash(df.copy())
        == table_hash(chunked)
        == table_hash(padded.iloc[n : 2 * n])
    )
    order = data.draw(st.permutations(range(n)))
    assert table_hash(df, ordered=False) == table_hash(df.iloc[order], ordered=False)
    if row_hashes(df).tolist() != row_hashes(df.iloc[order]).tolist():
        assert table_hash(df.iloc[order]) != identity


@settings(max_examples=examples(150), deadline=None)
@given(frames(), st.data())
def test_any_changed_cell_name_type_or_order_changes_the_identity(df, data):
    identity = table_hash(df)
    column = data.draw(st.sampled_from(list(df)))
    row = data.draw(st.integers(0, len(df) - 1))
    kind = column.rstrip('0123456789')
    old = df[column].iloc[row]
    new = data.draw(CELLS[kind])
    assume(
        not (pd.isna(old) and (new is None or pd.isna(new)))
        and (pd.isna(old) or new is None or pd.isna(new) or old != new)
    )
    values = list(df[column])
    values[row] = new
    changed = df.assign(**{
        column: pd.array(
            [None if v is None or v is pd.NA else v for v in values], dtype=TYPES[kind]
        )
    })
    assert table_hash(changed) != identity and table_hash(changed, ordered=False) != table_hash(
        df, ordered=False
    )
    assert table_hash(df.rename(columns={column: 'other'})) != identity
    if len(df.columns) > 1:
        assert table_hash(df[df.columns[::-1]]) != identity


@settings(max_examples=examples(100), deadline=None)
@given(frames())
def test_writing_reading_and_sealing_keep_the_content(tmp_path_factory, df):
    folder = tmp_path_factory.mktemp('t')
    write_table(df, folder / 'a.parquet')
    seal(df, folder / 'a.sealed')
    assert (
        table_hash(read_table(folder / 'a.parquet'))
        == table_hash(unseal(folder / 'a.sealed', 'evaluate', 'test'))
        == table_hash(df)
    )


def test_texts_do_not_run_into_each_other():
    assert table_hash(pd.DataFrame({'a': ['ab', 'c']})) != table_hash(
        pd.DataFrame({'a': ['a', 'bc']})
    )
    assert table_hash(pd.DataFrame({'a': ['', None]})) != table_hash(
        pd.DataFrame({'a': [None, '']})
    )
    assert table_hash(pd.DataFrame({'a': ['x'], 'b': ['']})) != table_hash(
        pd.DataFrame({'a': [''], 'b': ['x']})
    )


def test_a_difference_beyond_the_first_ten_thousand_rows_is_seen():
    df = pd.DataFrame({'a': np.zeros(20_000), 'when': pd.Timestamp('2021-01-01')})
    other = df.copy()
    other.loc[15_000, 'when'] = pd.Timestamp('2021-01-02')
    assert table_hash(df) != table_hash(other)


@settings(max_examples=examples(150), deadline=None)
@given(frames(min_rows=2))
def test_equal_rows_have_equal_hashes_and_others_have_others(df):
    hashes = row_hashes(df)
    assert hashes.dtype == np.uint64 and hashes.shape == (len(df),)
    rows = [tuple(None if pd.isna(v) else v for v in row) for row in df.itertuples(index=False)]
    for k in range(len(df)):
        for m in range(k):
            assert (hashes[k] == hashes[m]) == (rows[k] == rows[m])


def test_row_hashes_do_not_depend_on_type_zero_or_kind_of_missing():
    def one(values, dtype):
        return row_hashes(pd.DataFrame({'a': pd.array(values, dtype=dtype)}))[0]

    assert one([3], 'int64') == one([3.0], 'float64') == one([3], 'Int64') == one([3], 'int8')
    assert one([0.0], 'float64') == one([-0.0], 'float64')
    assert one([np.nan], 'float64') == one([None], 'Int64') == one([None], 'str')
    assert (
        one(['a'], 'str')
        == one(['a'], object)
        == row_hashes(pd.DataFrame({'a': pd.Categorical(['a'])}))[0]
    )
    assert one([2 ** 53], 'int64') != one([2 ** 53 + 1], 'int64')


def test_row_hashes_are_the_same_in_another_process():
    code = (
        "import pandas as pd; from cd4ml_nb.columns.table import row_hashes, table_hash; df ="
        " pd.DataFrame({'a': ['x', None], 'b': [1.5, 2]});print(row_hashes(df).tolist(),"
        " table_hash(df))"
    )
    df = pd.DataFrame({'a': ['x', None], 'b': [1.5, 2]})
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == f'{row_hashes(df).tolist()} {table_hash(df)}'


def test_the_order_of_columns_counts_and_columns_can_be_chosen():
    df = pd.DataFrame({'a': [1, 2], 'b': [2, 1], 'id': [7, 8]})
    assert (
        row_hashes(df, ['a', 'b'])[0]
        != row_hashes(df, ['b', 'a'])[0]
        == row_hashes(df, ['a', 'b'])[1]
    )


# The seal

def test_a_sealed_holdout_is_no_parquet_file_and_is_refused_by_read_table(tmp_path):
    df = pd.DataFrame({'a': range(5000), 'make': ['BMW'] * 5000})
    seal(df, tmp_path / 'h.sealed')
    for read in (pd.read_parquet, pq.read_table, pd.read_feather):
        with pytest.raises((pa.ArrowInvalid, OSError)):
            read(tmp_path / 'h.sealed')
    with pytest.raises(UserError, match='sealed holdout'):
        read_table(tmp_path / 'h.sealed')


@pytest.mark.parametrize('stage', ['sweep', 'train'])
def test_stages_that_learn_cannot_unseal(tmp_path, stage):
    seal(pd.DataFrame({'a': [1]}), tmp_path / 'h.sealed')
    with pytest.raises(UserError, match='must not see the holdout'):
        unseal(tmp_path / 'h.sealed', stage, 'curiosity', ledger=tmp_path / 'looks.jsonl')
    assert not (tmp_path / 'looks.jsonl').exists()


def test_every_look_is_noted(tmp_path):
    df = pd.DataFrame({'a': [1, 2]})
    seal(df, tmp_path / 'h.sealed')
    for purpose in ('metrics', 'golden\ncases'):
        unseal(
            tmp_path / 'h.sealed', 'evaluate', purpose, ledger=tmp_path / 'below' / 'looks.jsonl'
        )
    looks = [
        json.loads(line) for line in (tmp_path / 'below' / 'looks.jsonl').read_text().splitlines()
    ]
    assert [look['purpose'] for look in looks] == ['metrics', 'golden\ncases']
    assert (
        set(looks[0]) == {'stage', 'purpose', 'time', 'rows', 'hash'}
        and looks[0]['rows'] == 2
        and looks[0]['hash'] == table_hash(df)
    )


def test_a_changed_or_damaged_holdout_is_refused(tmp_path):
    df = pd.DataFrame({'a': np.random.default_rng(0).normal(size=500)})
    path = tmp_path / 'h.sealed'
    seal(df, path)
    content = path.read_bytes()
    header = content.index(b'{')
    forged = content.replace(table_hash(df).encode(), table_hash(df[::-1]).encode())
    for damaged in (
        content[:-20],
        content[: header + 5],
        forged,
        b'',
        content[:header],
        content[:-200] + bytes(200),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match='damaged'):
            unseal(path, 'evaluate', 'test')
    rng = np.random.default_rng(0)
    for _ in range(60):
        flipped = bytearray(content)
        flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            # a bit that carries nothing
            assert table_hash(unseal(path, 'evaluate', 'test')) == table_hash(df)
        except UserError as error:
            assert error.code == 'I13'


def test_files_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(UserError, match='file not found'):
        read_table(tmp_path / 'nothing.parquet')
    with pytest.raises(UserError, match='file not found'):
        unseal(tmp_path / 'nothing.sealed', 'evaluate', 'test')
    (tmp_path / 'a.parquet').write_bytes(b'PAR1 and no more')
    with pytest.raises(UserError, match='damaged'):
        read_table(tmp_path / 'a.parquet')
