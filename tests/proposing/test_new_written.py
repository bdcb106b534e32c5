"""`cd4ml new` on small files as people have them; tests/cases holds the files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from projects import ROOT, edited

from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.command.cli import main
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.proposing.new import new_scenario
from cd4ml_nb.scenario.definition import load_scenario
from cd4ml_nb.sources.sources import read_data

CASES = ROOT / 'tests' / 'cases'


def read(path: Path):
    """The table that a run of a scenario reads."""
    plan = load_scenario(path)
    raw = read_data(plan.data, 0, Path.cwd(), 1)
    return typed_table(raw, plan.columns, plan.undeclared, plan.target, plan.data)[0], plan


def drafted(case: str, target: str = 'y', **options):
    """The table of a case as its new scenario reads it, the scenario, and the findings."""
    path, _, findings = new_scenario('mine', str(CASES / case), target, force=True, **options)
    assert not [f.line for f in findings if f.level == 'error']
    return *read(path), findings


@pytest.mark.parametrize(('written', 'plain'), [
    ('w_german', 'w_plain'), ('german_int', 'german_int_plain'),
])
def test_06_a_file_with_marks_is_the_table_without(project, written, plain):
    marked, plan, _ = drafted(f'06-office-numbers/{written}.csv')
    usual, other, _ = drafted(f'06-office-numbers/{plain}.csv')
    pd.testing.assert_frame_equal(marked, usual)
    assert (plan.data.decimal, plan.data.thousands) == (',', '.')
    assert plan.columns == other.columns and plan.target == other.target


@pytest.mark.parametrize(('case', 'column', 'unit'), [
    ('dollar', 'revenue', '$'), ('percent', 'revenue', '%'), ('target_dollar', 'y', '$'),
])
def test_06_currencies_and_percentages_are_numbers_with_a_unit(project, case, column, unit):
    table, plan, findings = drafted(f'06-office-numbers/{case}.csv')
    part = plan.target if column == 'y' else plan.columns[column]
    assert part.unit == unit and plan.task == 'regression'
    assert pd.api.types.is_float_dtype(table[column]) and table[column].notna().all()
    [finding] = [f for f in findings if f.column == column]
    assert finding.code == 'D15' and '→' in finding.what


@pytest.mark.parametrize('case', ['zero_one_na', 'yes_no_na'])
def test_03_NA_in_a_class_target_is_missing(project, case):
    table, plan, _ = drafted(f'03-na-target/{case}.csv', 'left')
    assert plan.task == 'binary' and plan.target.sentinels == ['NA']
    assert plan.target.missing == 'drop' and table['left'].isna().sum() == 12


@pytest.mark.parametrize('case', ['utc', 'ampm'])
def test_04_times_of_every_common_form_are_those_of_iso(project, case):
    table, plan, _ = drafted(f'04-timestamps/{case}.csv', 'price')
    iso, _, _ = drafted('04-timestamps/iso.csv', 'price')
    pd.testing.assert_frame_equal(table, iso)
    assert plan.columns['sold_at'].format


@pytest.mark.parametrize(('case', 'word', 'line'), [
    ('excel_div', '#DIV/0!', 8), ('mysql', '\\N', 5),
])
def test_words_of_no_value_are_sentinels_with_their_first_line(project, case, word, line):
    table, plan, findings = drafted(f'28-null-words/{case}.csv', 'left')
    assert plan.columns['income'].sentinels == [word] and table['income'].isna().sum() == 90
    [finding] = [f for f in findings if f.column == 'income']
    assert finding.count == 90 and f"'{word}' (90 rows, first in line {line})" in finding.what


def test_19_long_codes_are_classes_and_groups(project):
    table, plan, _ = drafted('19-long-codes/target.csv', 'outcome')
    assert plan.task == 'binary' and table['outcome'].nunique() == 2
    source = str(CASES / '19-long-codes' / 'group.parquet')
    path, _, findings = new_scenario('mine', source, 'y', roles={'campaign': 'group'}, force=True)
    assert not [f for f in findings if f.level == 'error']
    assert 'no value, but missing: false in 1 of 600 rows' in ' '.join(f.line for f in findings)
    table, plan = read(path)
    assert plan.columns['campaign'].outside == 'drop' and not plan.columns['campaign'].missing
    assert table['campaign'].nunique() == 3 and table['campaign'].isna().sum() > 0


N = 150
DAYS = pd.Series(pd.date_range('2019-01-03', periods=N, freq='9D'))
CODES = [str(10**17 + k % 70 * 3) for k in range(N)]
SEEN = [      # column, its texts, what is written about it, what the findings say of it
    ('share', [f'€{k / 7:.2f}k' for k in range(N)], {'unit': 'k EUR'}, "'€0.00k' → 0.00, in k EUR"),
    ('revenue', [f'{k}.5M' if k % 2 else f'{k}0K' for k in range(N)], {'role': 'id'},
     'D53 revenue: not learned from (identifier): 150 different values, first in line 2; 150 of 150'
     " texts look like numbers, such as '00K'"),
    ('quoted', [f'="{k / 7:.3f}"' for k in range(N)], {'role': 'id'}, 'look like numbers'),
    ('asked', [f'{k}.25' if k % 6 else f'ask {k}' for k in range(N)], {'role': 'ignore'},
     'D53 asked: not learned from (free text): 150 different values, first in line 2; 125 of 150'
     ' texts look like numbers, and it is a text; the first other text is in line 2'),
    ('parts', [f'{k % 9} {k % 7 + 1}/8' for k in range(N)], {'type': 'category'},
     "WARN  D14 parts: 150 of 150 texts look like numbers, such as '0 1/8'"),
    ('clock', [f'{k % 24:02}:30' for k in range(N)], {'type': 'category'},
     "WARN  D14 clock: 150 of 150 texts look like dates or times, such as '00:30'"),
    ('quarter', [f'{d.year}-Q{d.quarter}' for d in DAYS], {'type': 'category'}, 'dates or times'),
    ('month', DAYS.dt.strftime('%Y-%m'), {'format': '%Y-%m'}, "'2019-01' → 2019-01-01"),
    ('stamp', DAYS.dt.strftime('%Y%m%d101500'), {'format': '%Y%m%d%H%M%S'}, '2019-01-03 10:15:00'),
    ('seen_at', [f'{d.value // 1000}' for d in DAYS.astype('datetime64[ns]')],
     {'format': 'epoch microseconds'}, '→ 2019-01-03'),
    ('sold', ['0000-00-00' if k % 8 == 0 else f'{d:%Y-%m-%d}' for k, d in enumerate(DAYS)],
     {'type': 'date', 'sentinels': ['0000-00-00']}, '19 values of the file count as missing'),
    ('short', DAYS.dt.strftime('%y/%m/%d'), {'format': 'ask'}, "'%d/%m/%y' or '%y/%m/%d'"),
    ('huge', [f'{k * 1e20:.3f}' for k in range(N)], {'type': 'number'}, ''),
    ('tiny', [repr(k % 97 * 1e-200) for k in range(N)], {'type': 'number'}, ''),
    ('ratio', ['inf' if k % 50 == 7 else f'{k * 37 % 151 / 7:.3f}' for k in range(N)],
     {'type': 'number', 'sentinels': ['inf']}, "'inf' (3 rows, first in line 9)"),
    ('code', ['', *CODES[1:]], {'type': 'category'}, 'D27 code: numbers of more digits than'),
    ('minutes', [999 if k % 10 == 3 else k % 48 for k in range(N)], {'sentinels': [999]}, ''),
    ('sample_weight', [k % 5 for k in range(N)], {'role': 'ignore'}, 'not learned from (ignored)'),
]


def test_nothing_that_looks_like_numbers_or_dates_is_lost_in_silence(project):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: list(texts) for name, texts, *_ in SEEN})
    table['y'] = rng.normal(size=N).round(3)
    table.to_csv('data.csv', index=False)
    path, draft, findings = new_scenario('mine', 'data.csv', 'y')
    columns = load_scenario(path).columns
    for name, _, words, said in SEEN:
        written = columns[name].model_dump(include=set(words))
        assert written == words, (name, columns[name])
        assert said in ' | '.join(f.line for f in findings if f.column == name), name
    assert '30 of its values are not above zero' in draft.columns[1]['sample_weight']
    assert [f.column for f in findings if f.level == 'error'] == ['short']


def test_what_can_be_read_in_two_ways_is_asked_about(project, capsys):
    rows = ''.join(f'{k % 9 + 1}.{k + 100};{k}\n' for k in range(60))
    (project / 'data.csv').write_text(f'x;y\n{rows}')
    assert main(['new', 'mine', '--data', 'data.csv', '--target', 'y']) == 0
    said = capsys.readouterr().out
    assert 'error    D15 x: ' in said and 'mend that first' in said
    path = project / 'scenarios' / 'mine.yaml'
    with pytest.raises(UserError, match='D15.*two ways') as caught:
        read(path)
    assert "'1.100' is 1100" in caught.value.todo
    edited(path, '{thousands: ask}', "{decimal: ',', thousands: .}")
    assert read(path)[0]['x'][0] == 1100


def test_a_target_of_dates_is_one_line(project, capsys):
    (project / 'data.csv').write_text('y,x\n' + ''.join(f'{d:%d.%m.%Y},{d.day}\n' for d in DAYS))
    assert main(['new', 'mine', '--data', 'data.csv', '--target', 'y']) == 2
    assert capsys.readouterr().err.startswith('ERROR D14 data.csv:y: target is a date — derive')


def test_a_question_about_a_personal_column_shows_none_of_its_values(project, capsys):
    rows = ''.join(f'{k % 9 + 1}.{k + 100};{k}\n' for k in range(60))
    (project / 'data.csv').write_text(f'Kundennummer;y\n{rows}')
    assert main(['new', 'mine', '--data', 'data.csv', '--target', 'y']) == 0
    said = capsys.readouterr().out
    assert 'D15 Kundennummer: ' in said and 'if it groups thousands' in said
    text = (project / 'scenarios' / 'mine.yaml').read_text()
    assert 'personal: true' in text and 'thousands: ask' in text
    assert '1.100' not in said + text and '1100' not in said + text


def test_a_target_that_can_be_read_in_two_ways_is_asked_about(project, capsys):
    rows = ''.join(f'{k % 9 + 1}.{k + 100};{k % 7}\n' for k in range(60))
    (project / 'data.csv').write_text(f'y;x\n{rows}')
    assert main(['new', 'mine', '--data', 'data.csv', '--target', 'y']) == 0
    said = capsys.readouterr().out
    assert 'error    D15 y: ' in said and 'target: written: ' in said and 'mend that first' in said
    path = project / 'scenarios' / 'mine.yaml'
    with pytest.raises(UserError, match='D15.*two ways'):
        read(path)
    edited(path, '{thousands: ask}', "{decimal: ',', thousands: .}")
    assert read(path)[0]['y'][0] == 1100


def test_a_target_of_many_texts_is_one_line(project, capsys):
    rows = ''.join(f'word {k % 300},{k}\n' for k in range(3000))
    (project / 'data.csv').write_text(f'y,x\n{rows}')
    assert main(['new', 'mine', '--data', 'data.csv', '--target', 'y']) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.startswith('ERROR D06 data.csv:y: ')
    assert captured.err.count('\n') == 1 and '--task multiclass' in captured.err
