"""`cd4ml predict IN OUT`: the rows of a file with what a model says of each."""

import sys

import numpy as np
import pandas as pd
import pytest
from projects import copied_project
from runs import Place

SCENARIO = '''name: cars
title: Cars
task: binary
data: {source: cars.csv, separator: ";", decimal: ","}
target: {column: dear, positive: "yes"}
columns:
  km: {type: number, sentinels: ["?"]}
  built: {type: date, format: "%d.%m.%Y"}
  make: {type: category}
search: {rounds: 30}
decision: {threshold: 0.4}
'''


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('predict')
    place = Place(folder)
    project = copied_project(folder / 'project', 'scenarios/cars.yaml')
    (project / 'scenarios/cars.yaml').write_text(SCENARIO)
    rng = np.random.default_rng(0)
    km = rng.uniform(0, 100, 400)
    make = rng.choice(['a', 'b'], 400)
    rows = pd.DataFrame({
        'km': [f'{value:.1f}'.replace('.', ',') for value in km],
        'built': [f'{1 + k % 28:02}.03.{2010 + k % 12}' for k in range(400)],
        'make': make,
        'dear': np.where(km + 40 * (make == 'a') + rng.normal(0, 10, 400) < 70, 'yes', 'no'),
    })
    rows.loc[5, 'km'] = '?'
    rows.to_csv(folder / 'cars.csv', sep=';', index=False)
    given = ('run', '-s', 'cars', '-p', 'trials=2')
    done = place.run(*given, cwd=project, CD4ML_DATA_ROOT=str(folder))
    assert done.returncode == 0, done.stderr
    return place, project, rows


def test_a_file_is_predicted_as_the_model_predicts_its_rows(trained):
    place, project, rows = trained
    rows.drop(columns='dear').head(20).assign(note='x').to_csv(
        project / 'new.csv', sep=';', index=False
    )
    for out in ('out.csv', 'out.parquet'):
        done = place.run('predict', 'new.csv', out, '-s', 'cars', cwd=project)
        assert done.returncode == 0, done.stderr
        assert '20 cases predicted by cars, run 20' in done.stdout
    table = pd.read_parquet(project / 'out.parquet')
    assert list(table.columns) == [
        'km', 'built', 'make', 'note', 'predicted', 'taken_for', 'unfamiliar'
    ]
    assert set(table['taken_for']) <= {'yes', 'no'} and set(table['unfamiliar']) == {''}
    assert 'taken_for   “yes” where that is 0.4 or more' in done.stdout
    assert ((table['predicted'] >= 0.4) == (table['taken_for'] == 'yes')).all()
    code = (
        'import sys, pandas as pd; from cd4ml_nb import load_model\n'
        'rows = pd.read_csv("new.csv", sep=";", decimal=",", na_values="?")\n'
        'rows["built"] = pd.to_datetime(rows["built"], format="%d.%m.%Y")\n'
        'print(*load_model("cars@candidate").predict(rows).tolist())'
    )
    asked = place.run('-c', code, cwd=project, command=sys.executable, PYTHONPATH=str(project))
    assert [float(v) for v in asked.stdout.split()] == table['predicted'].tolist(), asked.stderr


def test_what_the_model_has_not_met_is_said_of_each_row(trained):
    place, project, rows = trained
    new = rows.drop(columns='dear').head(4)
    new['make'] = ['a', 'tesla', 'b', '']
    new['km'] = ['40,5', '70', '9000', '?']
    new['built'] = ['01.03.2015'] * 3 + ['01.03.1950']
    new.to_csv(project / 'strange.csv', sep=';', index=False)
    done = place.run('predict', 'strange.csv', 'told.csv', '-s', 'cars', cwd=project)
    assert done.returncode == 0 and 'what 3 cases have that the model has not met' in done.stdout
    told = pd.read_csv(project / 'told.csv', keep_default_na=False)['unfamiliar'].tolist()
    assert told[:2] == ['', 'make: new']
    assert told[2].startswith('km: beyond 99.') and told[3] == 'built: below 2010-03-01'


def test_one_case_alone_is_predicted_as_among_others(trained):
    place, project, rows = trained
    answers = []
    for name, n in (('one', 1), ('three', 3)):
        rows.drop(columns='dear').head(n).to_csv(project / f'{name}.csv', sep=';', index=False)
        done = place.run('predict', f'{name}.csv', f'{name}_out.csv', '-s', 'cars', cwd=project)
        assert done.returncode == 0, done.stderr
        answers.append(pd.read_csv(project / f'{name}_out.csv')['predicted'][0])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(('old', 'new', 'words'), [
    ('km;', 'miles;', "input 'km' is missing"),
    ('12.03.2021', 'soon', "'soon' — write each as a date, such as %d.%m.%Y, as cars"),
])
def test_a_file_that_does_not_fit_ends_in_one_line_and_writes_nothing(trained, old, new, words):
    place, project, rows = trained
    text = rows.drop(columns='dear').to_csv(sep=';', index=False)
    assert old in text
    (project / 'bad.csv').write_text(text.replace(old, new, 1))
    done = place.run('predict', 'bad.csv', 'never.csv', '-s', 'cars', cwd=project)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (project / 'never.csv').exists()
