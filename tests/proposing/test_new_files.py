"""`cd4ml new` on files as people have them: what it writes reads the table that is meant, and what
is left out is said."""

import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import ROOT

from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.command.cli import main
from cd4ml_nb.proposing.new import new_scenario
from cd4ml_nb.scenario.definition import Scenario, load_scenario
from cd4ml_nb.sources.sources import read_data

CASES = ROOT / 'tests' / 'cases'


def written(source: Path | str, target: str) -> tuple[Scenario, list[str]]:
    """The scenario that is written for a file, and the findings."""
    path, _, findings = new_scenario('mine', str(source), target, force=True)
    return load_scenario(path), [finding.line for finding in findings]


def table_of(scenario: Scenario) -> pd.DataFrame:
    """The typed table of a scenario."""
    raw = read_data(scenario.data, 0, Path('.'), 1.0)
    columns = scenario.columns
    return typed_table(raw, columns, scenario.undeclared, scenario.target, scenario.data)[0]


def features(scenario: Scenario) -> list[str]:
    """The columns that are learned from."""
    return [name for name, column in scenario.columns.items() if column.role == 'feature']


CUSTOMER = ['age', 'spend', 'plan', 'tenure']
NAMED = [        # case, target, rows, features, what the findings say
    ('02-saved-index/soft.csv', 'left', 848, CUSTOMER, 'D63 unnamed 1: the saved index'),
    ('02-saved-index/index.parquet', 'left', 578, CUSTOMER, 'D63 __index_level_0__: the saved'),
    ('05-sep-line/sep.csv', 'left', 300, CUSTOMER, ''),
    ('05-sep-line/comment.csv', 'left', 300, CUSTOMER, 'line 1 of comment, left out'),
    ('18-tar-gz/data.csv.tar.gz', 'left', 300, CUSTOMER, ''),
    ('18-tar-gz/gz.csv', 'left', 400, CUSTOMER, ''),
    ('20-names/newline.csv', 'left', 300, ['age\n(years)', *CUSTOMER[1:]], ''),
    ('21-space-quote/comma_inside.csv', 'left', 400, CUSTOMER, 'a blank after a separator'),
    ('21-space-quote/blank.csv', 'left', 400, CUSTOMER, 'a blank after a separator'),
    ('25-glued/total.csv', 'price', 600, CUSTOMER, 'line 602 below the table, left out'),
    ('33-int96/int96.parquet', 'left', 400, ['age', 'valid_until', 'matures'], ''),
]


@pytest.mark.parametrize(('case', 'target', 'n', 'learned', 'said'), NAMED)
def test_a_file_of_each_kind_is_read_as_meant(project, case, target, n, learned, said):
    scenario, findings = written(CASES / case, target)
    table = table_of(scenario)
    assert said in ' '.join(findings), findings
    assert len(table) == n and sorted(features(scenario)) == sorted(learned), scenario.columns
    assert set(scenario.identity) <= {*learned, target}      # never a saved index
    assert not [line for line in findings if line.startswith('ERROR')]


def test_a_total_at_the_end_chooses_no_scale(project):
    scenario, _ = written(CASES / '25-glued/total.csv', 'price')
    assert scenario.data.skip_end == 1 and scenario.target.scale == 'linear'
    assert table_of(scenario)['price'].max() < 200


def test_a_total_that_is_declared_to_stay_is_a_finding_with_its_line(project, capsys):
    text = (CASES / '25-glued/total.csv').read_text()
    (project / 'a.csv').write_text(text.replace('\n', '\n\n', 1) + '1,2.5,pro,3,50.5\n')
    assert main(['new', 'mine', '--data', 'a.csv', '--target', 'price']) == 0
    assert 'D62 the total of other rows, and no case: line 603' in capsys.readouterr().out


def test_titles_of_several_cells_are_no_names(project):
    text = (CASES / '05-sep-line/comment.csv').read_text().split('\n', 1)[1]
    (project / 'a.csv').write_text('Report,,,,\nCreated,2024,,,\n' + text)
    scenario, _ = written('a.csv', 'left')
    assert scenario.data.skip == 3 and sorted(features(scenario)) == sorted(CUSTOMER)
    assert len(table_of(scenario)) == 300


def test_an_encoding_that_could_be_another_is_said(project):
    text = (CASES / '05-sep-line/comment.csv').read_text().split('\n', 1)[1]
    (project / 'a.csv').write_bytes(text.replace('basic', 'İstanbul ğş').encode('cp1254'))
    _, findings = written('a.csv', 'left')
    assert "WARN  D17 not UTF-8; reads as 'Ýstanbul', cp1254 'İstanbul'" in ' '.join(findings)


def test_a_file_without_a_header_says_its_columns(project, capsys):
    text = (CASES / '05-sep-line/comment.csv').read_text().split('\n', 2)[2]
    (project / 'a.csv').write_text(text)
    assert main(['new', 'mine', '--data', 'a.csv', '--target', 'left']) == 2
    assert 'columns are column_1, column_2' in capsys.readouterr().err
    scenario, _ = written('a.csv', 'column_5')
    assert scenario.data.names == [f'column_{k}' for k in range(1, 6)]
    assert len(table_of(scenario)) == 300
    assert 'looks like data' in (project / 'scenarios/mine.yaml').read_text()


def test_the_file_says_what_was_seen_beside_each_key(project):
    text = (CASES / '05-sep-line/comment.csv').read_text()
    (project / 'a.csv').write_text('Export of CRM\n\n' + text.split('\n', 1)[1] + 'Source: CRM\n')
    path, draft, _ = new_scenario('mine', 'a.csv', 'left')
    assert "above the table: 'Export of CRM'" in path.read_text()
    assert "such as 'Source: CRM'" in draft.data_why['skip_end']


@pytest.mark.parametrize('name', ['a\nb', 'a\tb', 'x' * 1024, 'x' * 1500, 'é\n' * 40, "q'\r\n\"z"])
def test_any_name_of_a_column_can_be_written_and_read(project, name):
    table = pd.DataFrame({name: range(60), 'b': ['x', 'y'] * 30, 'price': np.arange(60) / 7})
    table.to_parquet(project / 'a.parquet')
    scenario, _ = written('a.parquet', 'price')
    assert set(scenario.columns) == {name, 'b'}
    scenario, _ = written('a.parquet', name)
    assert scenario.target.column == name


# ---- types of Parquet

def test_bytes_times_and_durations_are_text_and_seconds_with_their_unit(project):
    scenario, findings = written(CASES / '22-parquet-types/types.parquet', 'left')
    assert scenario.columns['plan'].type == 'category'
    assert (scenario.columns['opened'].unit, scenario.columns['stay'].unit) == ('s', 's')
    table = table_of(scenario)
    assert table['opened'].iloc[0] == 9 * 3600 and table['stay'].iloc[0] == 86_400 + 10_800
    assert set(table['plan']) == {'basic', 'pro', 'plus'}
    assert 'times of day, read as seconds since midnight' in ' '.join(findings)
    assert written(CASES / '22-parquet-types/types.parquet', 'plan')[0].task == 'multiclass'


def test_integers_that_the_file_calls_categories_are_categories(project):
    scenario, findings = written(CASES / '01-int-categorical/data.parquet', 'price')
    assert scenario.columns['segment'].type == 'category'
    assert 'segment: numbers that the file calls categories' in ' '.join(findings)
    assert table_of(scenario)['segment'].iloc[0] == '102'
    undeclared = scenario.model_copy(update={'columns': {}, 'undeclared': 'infer'})
    assert table_of(undeclared)['segment'].iloc[0] == '102'


def test_int96_dates_are_those_that_were_written(project):
    int96 = table_of(written(CASES / '33-int96/int96.parquet', 'left')[0])
    plain = table_of(written(CASES / '33-int96/us.parquet', 'left')[0])
    pd.testing.assert_frame_equal(int96, plain)
    assert int96['matures'].min().year >= 2500


def test_other_types_of_parquet_are_read_or_left_out_with_a_finding(project):
    n = 60
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 9, n)
    table = pa.table({
        'amount': pa.array([f'{k}.25' for k in counts]).cast(pa.decimal128(9, 2)),
        'count': pa.array(counts[::-1], pa.uint64()),
        'kind': pa.array(['a', 'b'] * (n // 2)).dictionary_encode(),
        'tags': pa.array([[k, 1] for k in range(n)]),
        'place': pa.array([{'x': k} for k in range(n)]),
        'noise': pa.array([b'\xff\xfe' for _ in range(n)]),
        'open': pa.array([datetime.time(9, k, 0, 500_000) for k in range(n)], pa.time64('us')),
        'serial': pa.array([2**63 + int(k) for k in counts], pa.uint64()),
        'account': pa.array([decimal.Decimal(10**25 + int(k)) for k in counts]),
        'ratio': pa.array(np.r_[rng.normal(size=3), np.inf, rng.normal(size=n - 4)]),
        'price': pa.array(rng.normal(size=n)),
    })
    pq.write_table(table, project / 'a.parquet')
    scenario, findings = written('a.parquet', 'price')
    assert scenario.columns['ratio'].type == 'number'
    assert 'ERROR D26 ratio: infinite value in 1 of 60 rows, 1.7 % (row 4)' in ' '.join(findings)
    assert set(features(scenario)) >= {'amount', 'count', 'kind', 'open'}
    read = table_of(scenario)
    assert read['amount'].tolist() == [k + 0.25 for k in counts]
    assert read['open'].iloc[1] == 9 * 3600 + 60.5
    for name in ('serial', 'account'):
        assert scenario.columns[name].type == 'category'
        assert read[name].nunique() == len(set(counts))
    for name in ('tags', 'place', 'noise'):
        assert scenario.columns[name].role == 'ignore'
        assert f'D64 {name}: holds ' in ' '.join(findings)
    assert '60 left out' in ' '.join(findings)
