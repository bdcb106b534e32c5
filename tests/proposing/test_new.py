"""`cd4ml new`: what it proposes, what it refuses, and that what it writes can be read and would
run."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cd4ml_nb.command.cli import main
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.planning.plan import make_plan
from cd4ml_nb.proposing.data_section import source_words
from cd4ml_nb.proposing.new import choose_task, new_scenario
from cd4ml_nb.proposing.scenario_file import flow, line, scenario_text
from cd4ml_nb.scenario.definition import load_scenario


def offers(n: int = 400) -> pd.DataFrame:
    """A table with one column of each kind, and nothing wrong with it."""
    rng = np.random.default_rng(3)
    km = rng.integers(0, 200_000, n)
    return pd.DataFrame({
        'offer': [f'o-{k:05}' for k in rng.permutation(n)],
        'make': rng.choice(['VW', 'Opel', 'Ford'], n),
        'km': km,
        'zip': [f'{k:05}' for k in rng.integers(1000, 1100, n)],
        'listed': pd.date_range('2024-01-01', periods=n, freq='h').strftime('%Y-%m-%d'),
        'text': [
            ' '.join(rng.choice(['very', 'nice', 'car', 'no', 'rust', 'one', 'owner'], 9))
            for _ in range(n)
        ],
        'price': np.round(np.exp(9.5 - km / 150_000 + rng.normal(0, 0.6, n))),
    })


def written(project: Path, table: pd.DataFrame, target: str = 'price', **options):
    """The scenario for a table, and the findings that it starts with."""
    separator = options.pop('sep', ',')
    table.to_csv(
        project / 'data.csv',
        index=False,
        sep=separator,
        decimal=options.pop('decimal', '.'),
        encoding=options.pop('encoding', 'utf-8'),
    )
    path, _, findings = new_scenario('mine', 'data.csv', target, force=True, **options)
    return load_scenario(path), path.read_text(), findings


@pytest.mark.parametrize(
    'price, scale',
    [
        (np.random.default_rng(0).lognormal(10, 0.3, 3000), 'log'),       # skewness .95, of log 0
        (np.random.default_rng(0).normal(100, 10, 3000), 'linear'),       # hardly skewed
        (np.random.default_rng(0).random(3000) ** 2 + 1e-6, 'linear'),    # .65, its logarithm −2
        (np.random.default_rng(0).exponential(9, 3000) - 1, 'linear'),    # some below zero
    ],
)
def test_a_log_scale_is_proposed_where_it_makes_a_positive_target_less_skewed(
    project, price, scale
):
    assert written(project, offers(3000).assign(price=price))[0].target.scale == scale


def test_a_plain_table_gets_types_roles_and_a_log_scale(project):
    scenario, text, findings = written(project, offers())
    assert scenario.task == 'regression' and scenario.target.scale == 'log'
    assert {name: (c.type, c.role) for name, c in scenario.columns.items()} == {
        'offer': ('category', 'id'),
        'make': ('category', 'feature'),
        'km': ('number', 'feature'),
        'zip': ('category', 'feature'),
        'listed': ('date', 'time'),
        'text': ('text', 'ignore'),
    }
    assert (
        scenario.data.source == 'data.csv'
        and scenario.split.by == 'random'
        and scenario.gates[0].model_dump(exclude_defaults=True)
        == {'metric': 'mae', 'beats': 'naive'}
    )
    assert 'by: time, column: listed judges on the latest rows' in text
    assert not [f for f in findings if f.level == 'error']


def test_nothing_is_invented(project):
    scenario, _, _ = written(project, offers())
    assert all(
        c.min is None and c.max is None and not c.unit and not c.words and c.values is None
        for c in scenario.columns.values()
    )
    assert scenario.target.unit == '' and scenario.data.owner == '' and scenario.data.licence == ''


def test_the_text_is_commented_and_makes_a_plan(project):
    _, text, _ = written(project, offers())
    sections = [line for line in text.split('\n') if line and not line.startswith((' ', '#'))]
    assert {s.split(':')[0] for s in sections} >= {
        'name', 'task', 'data', 'target', 'columns', 'split', 'search', 'evaluate', 'gates',
        'duplicates',
    }
    assert text.count('#') > 20 and all(len(row) < 240 for row in text.split('\n'))
    assert list(make_plan('scenarios/mine.yaml').steps)[0] == 'ingest'


def test_separator_decimal_and_encoding_are_found_and_stated(project):
    table = offers().assign(
        make=lambda t: t.make.replace('Opel', 'Citroën'), litres=lambda t: t.km / 16
    )
    scenario, text, _ = written(project, table, sep=';', decimal=',', encoding='cp1252')
    assert (scenario.data.separator, scenario.data.decimal) == (
        ';',
        ',',
    ) and scenario.data.encoding in ('cp1252', 'latin-1')
    assert scenario.columns['litres'].type == 'number' and 'encoding: ' in text
    scenario, text, _ = written(project, offers())
    assert "separator: ','" in text and 'decimal: .' in text and 'encoding: utf-8' in text


def test_parquet_says_nothing_about_text(project):
    offers().assign(listed=lambda t: pd.to_datetime(t.listed)).to_parquet(project / 'data.parquet')
    path, _, _ = new_scenario('mine', 'data.parquet', 'price')
    assert (
        'separator' not in path.read_text() and load_scenario(path).columns['listed'].type == 'date'
    )


def test_stray_texts_among_numbers_are_sentinels_of_that_column(project):
    table = offers()
    table['km'] = table['km'].astype(str)
    table.loc[[1, 5], 'km'] = ['?', 'NA']
    table.loc[2, 'make'] = 'NA'
    scenario, _, _ = written(project, table)
    assert (
        set(scenario.columns['km'].sentinels) == {'?', 'NA'}
        and scenario.columns['make'].sentinels == []
    )


@pytest.mark.parametrize(('values', 'task'), [
    ([0, 1], 'binary'),
    (['yes', 'no'], 'binary'),
    ([True, False], 'binary'),
    (['a', 'b', 'c'], 'multiclass'),
    ([3, 4, 5, 6], 'multiclass'),
    (list(range(50)), 'regression'),
    ([0.5, 1.5, 2.5], 'regression'),
])
def test_the_task_follows_from_the_target(project, values, task):
    table = offers().assign(goal=[values[k % len(values)] for k in range(400)])
    scenario, text, _ = written(project, table, 'goal')
    assert scenario.task == task
    assert scenario.split.by == ('random' if task == 'regression' else 'stratified')
    assert (scenario.target.positive is not None) == (task == 'binary')


def test_few_whole_numbers_say_how_to_choose_otherwise(project):
    table = offers().assign(grade=np.arange(400) % 5)
    assert 'if they measure an amount, say regression' in written(project, table, 'grade')[1]
    assert written(project, table, 'grade', task='regression')[0].task == 'regression'


@pytest.mark.parametrize(('task', 'values', 'code'), [
    ('binary', ['a', 'b', 'c'] * 9, 'D08'),
    ('regression', ['a', 'b'] * 9, 'D14'),
    (None, ['a'] * 9, 'D05'),
    (None, [None] * 9, 'D05'),
    (None, [f'text {k}' for k in range(400)], 'D06'),
    (None, [pd.Timestamp('2024-01-01') + pd.Timedelta(days=k) for k in range(9)], 'D14'),
])
def test_tasks_that_do_not_fit(task, values, code):
    with pytest.raises(UserError) as error:
        choose_task(pd.Series(values), task)
    assert error.value.code == code


def test_D36_columns_that_know_the_target_are_left_out_and_say_why(project):
    rng = np.random.default_rng(1)
    table = offers().assign(casual=rng.integers(0, 50, 400), registered=rng.integers(0, 90, 400))
    table['count'] = table.casual + table.registered
    table['copy'] = table['count'] * 2
    scenario, text, findings = written(project, table, 'count')
    assert {
        n for n in ('casual', 'registered', 'copy', 'km') if scenario.columns[n].role == 'ignore'
    } == {'casual', 'registered', 'copy'}
    assert (
        'their exact sum is the target' in text
        and 'leak_ok' in text
        and not [f for f in findings if f.code == 'D36']
    )
    (line,) = [f.line for f in findings if f.column == 'copy' and f.code == 'D53']
    assert 'not learned from (ignored)' in line and 'leak_ok' in line.split(' — ')[1]


def test_D42_repeated_rows_are_dropped_unless_an_id_tells_them_apart(project):
    table = pd.concat([offers().drop(columns='offer'), offers().drop(columns='offer').head(9)])
    scenario, text, findings = written(project, table)
    assert scenario.duplicates == 'drop' and '9 rows repeat an earlier one' in text
    assert ['they were dropped'] == [f.todo for f in findings if f.code == 'D42']
    named = table.assign(offer=[f'{k}-x' for k in range(len(table))])
    scenario, text, findings = written(project, named)
    assert scenario.duplicates == 'keep' and '9 rows differ in offer only' in text
    (line,) = [f.line for f in findings if f.code == 'D42']
    assert 'earlier row but for offer, in 9' in line and 'if offer may name the same' in line
    scenario, _, _ = written(project, table.assign(rownames=range(len(table))))
    assert scenario.duplicates == 'drop' and scenario.columns['rownames'].role == 'id'


def test_D04_rows_without_a_target_are_dropped_and_counted(project):
    table = offers()
    table.loc[:6, 'price'] = None
    scenario, text, findings = written(project, table)
    assert (
        scenario.target.missing == 'drop'
        and '7 rows have none' in text
        and not [f for f in findings if f.level == 'error']
    )


def test_D06_thin_classes_are_told_at_once(project, capsys):
    table = offers().assign(kind=['rare' if k < 5 else 'ab'[k % 2] for k in range(400)])
    scenario, text, findings = written(project, table, 'kind')
    assert scenario.split.by == 'stratified' and "class 'rare' has 5 rows" in text
    assert [f.level for f in findings if f.code == 'D06'] == ['warn']
    assert main(['new', 'again', '--data', 'data.csv', '--target', 'kind']) == 0
    assert "class 'rare' has 5 rows" in capsys.readouterr().out


def test_special_columns_by_name_and_content(project):
    table = offers().assign(
        fnlwgt=np.linspace(1, 9, 400),
        split=['train', 'test'] * 200,
        constant=1,
        sex=['m', 'f'] * 200,
        booking=[f'ticket {k // 2}' if k < 200 else f'ticket {k}' for k in range(400)],
    )
    scenario, text, _ = written(project, table)
    roles = {name: c.role for name, c in scenario.columns.items()}
    assert (roles['fnlwgt'], roles['split'], roles['constant'], roles['sex']) == (
        'weight',
        'ignore',
        'ignore',
        'feature',
    )
    assert scenario.evaluate.groups == ['sex'] and 'a split that somebody made' in text


def test_splits_by_time_and_group(project):
    scenario, _, _ = written(project, offers(), roles={'listed': 'time'})
    assert (scenario.split.by, scenario.split.column, scenario.columns['listed'].role) == (
        'time',
        'listed',
        'time',
    )
    scenario, text, _ = written(project, offers().drop(columns='listed'), split='time')
    assert (scenario.split.by, scenario.split.column) == (
        'time',
        None,
    ) and "in the rows' order" in text
    scenario, _, _ = written(project, offers(), roles={'zip': 'group'})
    assert (scenario.split.by, scenario.split.column, scenario.columns['zip'].role) == (
        'group',
        'zip',
        'group',
    )


# ---- refusals

def said(capsys, *args: str) -> tuple[int, str]:
    code = main(['new', *args])
    return code, capsys.readouterr().err.rstrip('\n').split('\n')[-1]


def test_an_existing_scenario_is_not_overwritten(project, capsys):
    offers().to_csv(project / 'data.csv', index=False)
    args = ['mine', '--data', 'data.csv', '--target', 'price']
    assert main(['new', *args]) == 0
    (project / 'scenarios' / 'mine.yaml').write_text('mine, by hand')
    code, line = said(capsys, *args)
    assert code == 2 and 'exists already' in line and '--force' in line
    assert (project / 'scenarios' / 'mine.yaml').read_text() == 'mine, by hand'
    assert main(['new', *args, '--force']) == 0
    assert load_scenario('scenarios/mine.yaml').name == 'mine'


@pytest.mark.parametrize('name', ['../escape', 'a b', '.hidden', '-x', 'ü', 'a' * 65, 'a/b', ''])
def test_X01_names_that_are_no_names(project, capsys, name):
    offers().to_csv(project / 'data.csv', index=False)
    code, line = said(capsys, '--data', 'data.csv', '--target', 'price', '--', name)
    assert code == 2 and line.startswith('ERROR C02 NAME')
    assert not list(project.rglob('*escape*')) and not list((project / 'scenarios').iterdir())


@pytest.mark.parametrize(('args', 'code', 'words'), [
    (['--data', 'data.csv', '--target', 'prise'], 'D01', "did you mean 'price'?"),
    (['--data', 'date.csv', '--target', 'price'], 'C10', 'data.csv'),
    (
        ['--data', 'data.csv', '--target', 'price', '--time', 'listd'],
        'D01',
        "did you mean 'listed'?",
    ),
    (
        ['--data', 'data.csv', '--target', 'price', '--task', 'regresion'],
        'C02',
        "did you mean 'regression'?",
    ),
    (['--data', 'data.csv', '--target', 'price', '--split', 'tyme'], 'C02', "did you mean 'time'?"),
    (['--data', 'page.csv', '--target', 'price'], 'D46', 'HTML'),
    (
        ['--data', 'data.csv', '--target', 'price', '--query', 'q.sql'],
        'C02',
        'write --data NAME=data.csv, where NAME is what the query calls it',
    ),
    (['--data', 'empty.csv', '--target', 'price'], 'D21', '0 rows'),
])
def test_what_cannot_be_written_leaves_nothing_behind(project, capsys, args, code, words):
    offers().to_csv(project / 'data.csv', index=False)
    (project / 'page.csv').write_text('<!DOCTYPE html><html><body>404</body></html>\n')
    (project / 'empty.csv').write_text('')
    (project / 'q.sql').write_text('select * from data\n')
    done, line = said(capsys, 'mine', *args)
    assert done == 2 and line.startswith(f'ERROR {code} ') and words in line, line
    assert not list((project / 'scenarios').iterdir())


# ---- properties

@settings(max_examples=examples(150), deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(exclude_categories=['Cs', 'Cc']), max_size=60),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_survives_the_text(value):
    text = line('key', {'value': value}, 'a comment')
    assert yaml.safe_load(text) == {'key': {'value': value}} and '\n' not in text


names = st.text(
    st.characters(exclude_categories=['Cs', 'Cc', 'Zl', 'Zp']), min_size=1, max_size=30
).filter(lambda s: s.strip() == s and '"' not in s and '{{' not in s and '${' not in s)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(names, min_size=2, max_size=4, unique=True), st.integers(0, 9))
def test_any_column_names_can_be_written_and_read(project, columns, seed):
    import unicodedata
    if len({unicodedata.normalize('NFC', name) for name in columns}) < len(columns):
        return
    rng = random.Random(seed)
    table = pd.DataFrame(
        {name: [rng.randint(0, 40) / 4 + k / 7 for k in range(60)] for name in columns}
    )
    table.to_csv(project / 'data.csv', index=False)
    try:
        path, draft, _ = new_scenario(
            'mine', 'data.csv', unicodedata.normalize('NFC', columns[0]), force=True
        )
    except UserError as error:
        assert error.code in ('D22', 'D16')  # a name such as 7 makes the first line look like data
        return
    assert set(load_scenario(path).columns) == {
        unicodedata.normalize('NFC', name) for name in columns[1:]
    }
    assert path.read_text() == scenario_text(draft)


def test_sources_are_seen_from_the_data_root(project):
    (project / 'sub').mkdir()
    (project / 'sub' / 'a.csv').write_text('x')
    assert source_words('sub/a.csv', project) == 'sub/a.csv'
    assert source_words('sub/a.csv', project / 'sub') == 'a.csv'
    assert source_words('a.csv', project / 'sub') == 'a.csv'
    assert source_words(str(project / 'sub' / 'a.csv'), project) == 'sub/a.csv'
    assert source_words('s3://bucket/a.csv', project) == 's3://bucket/a.csv'
    assert flow('a, b') == "'a, b'"


# ---- real files: each gets a scenario that the first checks find no error in

REAL = [
    ('ames_housing.csv', 'SalePrice', {}, 'regression', {'Order': 'id', 'PID': 'id'}),
    (
        'adult.csv',
        'income',
        {},
        'binary',
        {'split': 'ignore', 'fnlwgt': 'weight', 'age': 'feature'},
    ),
    ('telco_churn.csv', 'Churn', {}, 'binary', {'customerID': 'id', 'TotalCharges': 'feature'}),
    ('diamonds.csv', 'price', {}, 'regression', {'rownames': 'id'}),
    ('wine_quality.csv', 'quality', {'task': 'multiclass'}, 'multiclass', {'color': 'feature'}),
    ('electricity_elec2.csv', 'class', {'split': 'time'}, 'binary', {'period': 'feature'}),
    ('penguins.csv', 'species', {}, 'multiclass', {'rownames': 'id'}),
    ('titanic.csv', 'Survived', {}, 'binary', {'PassengerId': 'id', 'Name': 'ignore'}),
    ('german_credit.csv', 'class-label', {}, 'binary', {'age': 'feature'}),
    ('bank_customer_churn.csv', 'Exited', {}, 'binary', {'RowNumber': 'id', 'CustomerId': 'id'}),
    (
        'bike_sharing_hour.csv',
        'cnt',
        {'roles': {'dteday': 'time'}},
        'regression',
        {'casual': 'ignore', 'registered': 'ignore', 'instant': 'id', 'dteday': 'time'},
    ),
    (
        'california_housing.csv',
        'median_house_value',
        {},
        'regression',
        {'ocean_proximity': 'feature'},
    ),
]


@pytest.mark.parametrize(
    ('file', 'target', 'options', 'task', 'roles'),
    REAL,
    ids=[case[0] for case in REAL],
)
def test_real_files_get_a_scenario_that_runs(
    project, real_data, file, target, options, task, roles
):
    path, _, findings = new_scenario('mine', str(real_data(file)), target, **options)
    scenario = load_scenario(path)
    assert scenario.task == task and not [f for f in findings if f.level == 'error']
    assert {name: scenario.columns[name].role for name in roles} == roles
    make_plan(path)


def test_the_naive_guess_is_a_persons_rule_and_the_gate_demands_to_beat_it(project):
    chance = np.random.default_rng(0)
    table = pd.DataFrame({
        'hour': np.tile(np.arange(24), 50),
        'weather': chance.choice(['dry', 'wet'], 1200),
        'person': [f'p{k % 300}' for k in range(1200)],
        'humidity': chance.normal(50, 9, 1200).round(2),
    })
    rush = 100.0 + 80 * table['hour'].isin([8, 17])
    table['rented'] = (rush * np.where(table['weather'] == 'wet', 0.5, 1.0)).round()
    table['rented'] += chance.integers(0, 9, 1200)
    scenario, text, _ = written(project, table, target='rented')
    assert set(scenario.evaluate.baseline_by) == {'hour', 'weather'}
    assert 'what is usual for the same weather and hour' in text
    table['rented'] = chance.permutation(table['rented'].to_numpy())
    assert written(project, table, target='rented')[0].evaluate.baseline_by == []
