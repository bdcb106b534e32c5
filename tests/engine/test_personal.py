"""Personal data stays in the tables: planted names and numbers are looked for everywhere."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from runs import Place, copied_project

N = 240
FIRST = ('Zebulon', 'Xanthippe', 'Wolfhart', 'Undine', 'Theodora', 'Sieglinde')
LAST = ('Quellgrund', 'Rabenhorst', 'Silberling', 'Tannwald', 'Uhlenkamp', 'Vossloh', 'Wrangel')
CANARIES = (*FIRST, *LAST, 'canary.example', '+49 160 7770', '13.07.1961', '1961-07-13')
# the table itself: what a run learns from, and the copy of the file that it keeps
TABLES = ('table.parquet', 'train.parquet', 'validation.parquet', 'holdout.sealed')


def customers() -> pd.DataFrame:
    """Customers with all that tells who they are; what is read first, or is odd, is planted."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, N)
    names = [f'{FIRST[k % 6]} {LAST[k % 7]}-{LAST[k // 7 % 7]}' for k in range(N)]
    born = pd.Timestamp('1950-01-01') + pd.to_timedelta(rng.integers(0, 15_000, N), 'D')
    born = born.where(np.arange(N) != 0, pd.Timestamp('1961-07-13'))
    visits = rng.poisson(9, N)
    city = rng.choice(['Bonn', 'Kiel', 'Ulm'], N)
    spent = age * 30 + visits * 90 + rng.normal(0, 100, N)     # more than one thing decides
    return pd.DataFrame({
        'customer_id': np.arange(7_000_000, 7_000_000 + N),
        'contact': names,
        'E-Mail': [f'p{k}@canary.example' for k in range(N)],
        'Telefon': [f'+49 160 7770{k:03}' for k in range(N)],
        'Geburtsdatum': born.strftime('%d.%m.%Y'),
        'birth_date': born.astype(str).where(np.arange(N) != 7, 'ask Zebulon'),
        'visits': visits,
        'city': city,
        'spent': (spent + 600 * (city == 'Bonn')).round(2),
        'age': age,
    })


def holding(folder: Path, words: tuple[str, ...]) -> list[Path]:
    """The files below a folder that hold one of the words as plain bytes, but for the tables."""
    wanted = [word.encode() for word in words]
    return [
        path
        for path in folder.rglob('*')
        if path.is_file()
        and path.name not in TABLES
        and path.parent.name != '.inputs'
        and any(word in path.read_bytes() for word in wanted)
    ]


def test_V12_planted_names_and_numbers_are_nowhere_but_in_the_tables(tmp_path):
    place = Place(tmp_path)
    project = copied_project(tmp_path / 'project', 'scenarios/used_cars.yaml')
    (tmp_path / 'data').mkdir()
    source = tmp_path / 'data' / 'customers.csv'
    customers().to_csv(source, index=False)
    new = place.run(
        'new', 'people', '--data', str(source), '--target', 'spent', '--task', 'regression',
        cwd=project,
    )
    assert new.returncode == 0, new.stderr
    path = project / 'scenarios' / 'people.yaml'
    words = yaml.safe_load(path.read_text(encoding='utf-8'))
    personal = {name for name, column in words['columns'].items() if column.get('personal')}
    assert personal == {
        'customer_id', 'contact', 'E-Mail', 'Telefon', 'Geburtsdatum', 'birth_date',
    }
    assert words['columns']['Geburtsdatum']['format'] == '%d.%m.%Y'
    assert words['columns']['birth_date']['role'] == 'ignore'
    done = place.run('run', '-s', 'people', '-p', 'trials=2', cwd=project)
    assert done.returncode == 0, done.stderr
    told = new.stdout + new.stderr + done.stdout + done.stderr
    described = place.run('data', 'describe', 'people', cwd=project)
    sampled = place.run('data', 'sample', 'people', cwd=project)
    assert 'not shown' in described.stdout and 'not shown' in sampled.stdout
    told += described.stdout + described.stderr + sampled.stdout + sampled.stderr
    asked_for = place.run('data', 'sample', 'people', '--personal', cwd=project).stdout
    assert '@canary.example' in asked_for and 'not shown' not in asked_for
    for name, kind in (('contact', 'number'), ('Geburtsdatum', 'number'), ('E-Mail', 'date')):
        changed = words | {'columns': words['columns'] | {
            name: {'type': kind, 'personal': True}
        }}
        path.write_text(yaml.safe_dump(changed, sort_keys=False), encoding='utf-8')
        failed = place.run('run', '-s', 'people', '--until', 'validate', cwd=project)
        assert failed.returncode == 2 and 'D14' in failed.stderr and name in failed.stderr
        told += failed.stdout + failed.stderr
    assert not [word for word in CANARIES if word in told]
    source.unlink()
    assert holding(tmp_path, CANARIES) == []
    page = place.product('people', 'report', 'data_report.html').read_text(encoding='utf-8')
    assert 'identifier, personal' in page
    with sqlite3.connect(tmp_path / 'mlflow.db') as store:
        assert not [word for word in CANARIES if word in '\n'.join(store.iterdump())]


@pytest.mark.parametrize('key', ['groups', 'partition'])
def test_D52_metrics_by_the_values_of_a_personal_column_are_refused(tmp_path, key):
    from cd4ml_nb.checks.checks import check_judged
    from cd4ml_nb.scenario.definition import Column, Evaluate

    judging = Evaluate(**{key: ['name'] if key == 'groups' else 'name'})
    (found,) = check_judged(['name'], judging, {'name': Column(personal=True)})
    assert (found.code, found.level) == ('D52', 'error') and f'evaluate.{key}' in found.what
