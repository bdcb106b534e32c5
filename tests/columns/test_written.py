"""Numbers, dates and words as people write them: what is proposed for them reads them back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from effort import times
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from written_tables import MARKS, Style, tables, write_written

from cd4ml_nb.columns.date_layouts import parsed
from cd4ml_nb.columns.reading_findings import reading_findings
from cd4ml_nb.columns.texts import Raw, distinct, numbers, written_numbers
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.written_dates import written_time
from cd4ml_nb.core.written_numbers import Written
from cd4ml_nb.formats.proposals import propose_columns, propose_data, propose_marks
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.proposing.data_section import with_marks
from cd4ml_nb.proposing.second_look import is_open
from cd4ml_nb.scenario.definition import Column, Data, Target


def as_proposed(path: Path):
    """A file, read as is proposed for it; what is proposed, and what was found."""
    words = {'source': path.name, 'decimal': '.'} | propose_data(path.name, path.parent)
    raw = read_file(path.name, Data(**words), path.parent, 1)
    data = Data(**with_marks(words, propose_marks(raw, Data(**words))))
    proposed = propose_columns(raw, data)
    goal = {key: proposed['y'][key] for key in ('sentinels', 'written') if key in proposed['y']}
    declared = {
        name: Column(role='ignore') if is_open(words) else Column(**words)
        for name, words in proposed.items()
        if name != 'y'
    }
    table, infos = typed_table(raw, declared, 'refuse', Target(column='y', **goal), data)
    return table, proposed, reading_findings(infos)


def same_values(read: pd.Series, meant: list) -> bool:
    """Whether a column holds what was meant."""
    if isinstance(meant[0], str):
        return read.tolist() == meant
    if any(isinstance(value, float) for value in meant):
        if not pd.api.types.is_numeric_dtype(read):
            return False
        wanted = np.array([np.nan if v is None else v for v in meant])
        return bool(np.array_equal(read.to_numpy('float64'), wanted, equal_nan=True))
    return pd.api.types.is_datetime64_any_dtype(read) and bool(
        read.fillna(pd.Timestamp(0)).eq(pd.Series(meant, dtype='datetime64[us]').fillna(
            pd.Timestamp(0)
        )).all()
    )


seen = {'read': 0, 'told': 0}


@settings(
    max_examples=times(10_000, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tables)
def test_E13_what_is_written_is_read_back_or_said(tmp_path, table):
    path = tmp_path / 'data.csv'
    meant = write_written(path, table)
    try:
        read, proposed, findings = as_proposed(path)
    except UserError as error:                 # one line with a code: not in silence
        assert error.code and error.what and error.todo, error.line
        event(f'refused {error.code}')
        seen['told'] += len(table['columns'])
        return
    for name, values in meant.items():
        if values.count(None) == len(values) or same_values(read[name], values):
            seen['read'] += 1
            continue
        told = [f for f in findings if f.column == name and (f.level == 'warn' or f.code == 'D53')]
        assert told or is_open(proposed[name]), (name, proposed[name], read[name].tolist()[:5])
        event('said')
        seen['told'] += 1


def test_E13_most_of_it_is_read_back():
    assert not seen['read'] or seen['read'] > 9 * seen['told'], seen


@settings(max_examples=times(2_000, 200), deadline=None)
@given(
    st.sampled_from([marks for marks in MARKS if marks[1] not in ('’', '\u00a0', '\u202f')]),
    st.floats(-1e9, 1e9, allow_nan=False),
    st.integers(0, 6),
)
def test_the_two_ways_to_read_numbers_give_the_same_bits(marks, value, digits):
    text = Style(*marks).text(value, digits)
    [fast] = numbers(pa.array([text]), *marks)
    [slow] = written_numbers(pa.array([text]), Written(*marks, accounting=True))
    assert fast == slow == Written(*marks).number(text) == float(f'{value:.{digits}f}')


@settings(max_examples=times(2_000, 200), deadline=None)
@given(
    st.datetimes(pd.Timestamp('1970-01-02').to_pydatetime(),
                 pd.Timestamp('2068-12-31').to_pydatetime()),
    st.sampled_from([
        '%d.%m.%Y', '%m/%d/%Y %I:%M:%S %p', '%Y-%m-%d %H:%M:%S UTC', '%d %b %Y', '%b %d, %Y %H:%M',
        '%Y%m%d', '%d.%m.%y', '%d. %B %Y', '%a, %d %b %Y %H:%M:%S +0000', '%Y-%m-%d %H:%M:%S.%f',
    ]),
)
def test_the_two_ways_to_read_dates_give_the_same_time(moment, layout):
    text = moment.strftime(layout)
    layout = layout.replace('+0000', '%z')
    fast = parsed(pd.Series([text], dtype=object), layout)
    fast = fast.dt.tz_localize(None) if fast.dt.tz else fast
    assert fast[0].to_pydatetime(warn=False) == written_time(text, layout)


def proposal(texts: list[str], separator: str = ',') -> dict:
    """What is proposed for a column of texts."""
    table = pa.table({'x': texts})
    raw = Raw(table, {'source': 'a.csv', 'first_line': 2, 'separator': separator})
    return propose_columns(raw, Data(source='a.csv', separator=separator))['x']


@pytest.mark.parametrize(('texts', 'separator', 'words'), [
    (['€ 39,100.-', '€ 7.-', '€ 1,250.-'], ',',
     {'written': {'thousands': ',', 'before': '€'}, 'unit': 'EUR'}),
    (['136,769 km', '7 km', '12,000 km'], ',',
     {'written': {'thousands': ',', 'after': 'km'}, 'unit': 'km'}),
    (['100 kW (136 hp)', '85 kW (116 hp)'], ',',
     {'written': {'after': 'kW', 'also': 'hp'}, 'unit': 'kW'}),
    (['12,34,567', '1,00,000', '999'], ',', {'written': {'thousands': ','}}),
    (['(5.50)', '7.25', '3.00-'], ',', {'written': {'accounting': True}}),
    (['\u22125', '6'], ',', {'written': {'accounting': True}}),
    (['12.345', '987', '1.200'], ';', {'written': {'decimal': ',', 'thousands': '.'}}),
    (['1.234', '5.678'], ';', {'written': {'thousands': 'ask'}}),
    (['1.234', '5.678'], ',', {'written': {'thousands': 'ask'}}),
    (['0.234', '5.678'], ';', {}),
    (['5 l/100 km', '7.5 l/100 km'], ',', {'written': {'after': 'l/100 km'}, 'unit': 'l/100 km'}),
])
def test_E13_numbers_are_recognised_by_their_whole_column(texts, separator, words):
    found = proposal(texts, separator)
    assert {k: v for k, v in found.items() if k not in ('type', 'role')} == words, found
    assert found['type'] == 'number' and found.get('role', 'feature') == 'feature'


@pytest.mark.parametrize('texts', [
    ['$5', '€5', '$7', '€9'] * 20, ['5 km', '5000 m', '7 km', '7000 m'] * 20,
    ['A1', 'A2', 'A3', 'A1'] * 20, ['5 Series', '3 Series'] * 20, ['12%', '0.12', '15%', '0.2'] * 9,
    ['192.168.0.1', '10.0.0.2'] * 20, ['5-10', '10-20'] * 20, ['+49 170 1234567', '030 123456'] * 9,
    ['01067', '80331'] * 20, ['1.2.3', '1.10.12'] * 20, ['10:30', '11:45'] * 20,
])
def test_names_codes_and_mixed_units_are_no_numbers(texts):
    assert proposal(texts)['type'] == 'category'


@pytest.mark.parametrize(('texts', 'layout'), [
    (['20230105', '20231231'], '%Y%m%d'), (['5 Jan 2023', '12 Dec 2022'], '%d %b %Y'),
    (['5. März 2023', '12. Mai 2022'], '%d. %b %Y'), (['3 janv. 2023', '4 août 2023'], '%d %b %Y'),
    (['01/25/2023 8:22 PM', '02/01/2023 9:00 AM'], '%m/%d/%Y %I:%M %p'),
    (['2023-01-05 10:00:00 GMT', '2023-02-05 10:00:00 GMT'], '%Y-%m-%d %H:%M:%S GMT'),
    (['03/04/2021', '05/06/2021'], 'ask'), (['25/04/2021', '05/06/2021'], '%d/%m/%Y'),
])
def test_D37_dates_of_one_form_are_dates_and_those_of_two_are_asked_about(texts, layout):
    found = proposal(texts)
    assert found['type'] == 'date' and found['format'] == layout


def test_epoch_times_are_dates_where_the_name_says_so():
    seconds = [str(1_672_531_200 + 3600 * k) for k in range(30)]
    raw = Raw(pa.table({'created_at': seconds, 'views': seconds}), {'source': 'a.csv'})
    proposed = propose_columns(raw)
    assert proposed['created_at']['format'] == 'epoch seconds'
    assert proposed['views']['type'] == 'number'


def test_19_long_codes_with_a_gap_stay_apart():
    codes = [1234567890123456785 + k % 3 for k in range(30)] + [None]
    texts = ['' if code is None else str(code) for code in codes]
    for column in (pa.array(codes), pa.array(texts)):
        raw = Raw(pa.table({'x': column, 'y': [str(k) for k in range(31)]}), {'source': 'a'})
        for role in ('feature', 'group', 'id'):
            declared = {'x': Column(type='number' if role == 'group' else None, role=role)}
            df, infos = typed_table(raw, declared, 'infer', Target(column='y'), Data(source='a'))
            assert df['x'].nunique() == 3 and df['x'].isna().sum() == 1, role
            assert df['x'][0] == '1234567890123456785' and infos[0].type == 'category'


def test_a_category_of_numbers_is_a_finding():
    texts = [f'{k} GB' if k % 2 else f'{k} TB' for k in range(60)]
    raw = Raw(pa.table({'x': ['5 x', '6 x', '7 x', '8 x', 'many'] * 12, 'z': texts,
                        'y': ['1', '2'] * 30}), {'source': 'a.csv', 'first_line': 2})
    declared = {name: Column(type='category') for name in ('x', 'z')}
    _, infos = typed_table(raw, declared, 'infer', Target(column='y'), Data(source='a.csv'))
    [finding] = [f for f in reading_findings(infos) if f.column == 'x']
    assert finding.level == 'warn' and '48 of 60 texts look like numbers' in finding.what
    assert 'first other text is in line 6' in finding.what


def test_no_text_of_no_value_is_learned_from():
    texts = distinct(pa.chunked_array([['5', '\\N', '7']]))
    assert len(texts.values) == 3
    found = proposal(['5', '\\N', '7', '#DIV/0!', '(null)', '9'])
    assert found == {'type': 'number', 'sentinels': ['\\N', '#DIV/0!', '(null)']}
