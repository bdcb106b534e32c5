"""Runs on the same rows are compared on their merits, whatever columns were added, ignored or
dropped, and a model of last month on the whole holdout of this month."""

import json

import numpy as np
import pandas as pd
import pytest
from runs import Place

from cd4ml_nb.studies.alternatives import run_paths
from cd4ml_nb.studies.compare import compare_runs

WORDS = {
    'name': 'mine',
    'title': 'Who buys',
    'task': 'binary',
    'data': {'source': 'data.csv'},
    'target': {'column': 'bought'},
    'identity': ['age', 'score', 'seen'],
    'columns': {'age': {'type': 'number'}, 'income': {'type': 'number'}},
    'search': {
        'rounds': 20,
        'metric': 'log_loss',
        'space': {'max_depth': {'low': 2, 'high': 4, 'integer': True}},
    },
    'compare': {'replicates': 100, 'trainings': 0},
}


def people(n=1600):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        'age': rng.normal(40, 12, n).round(6),
        'income': rng.lognormal(8, 1, n).round(2),
        'score': rng.normal(0, 1, n).round(9),
        'kind': rng.choice(list('abc'), n),
    })
    days = pd.Timestamp('2021-01-20') + pd.to_timedelta(np.arange(n) % 600, 'D')
    table['seen'] = days.strftime('%Y-%m-%d')
    luck = rng.normal(0, 0.5, n)
    table['bought'] = (table['score'] + table['age'] / 30 + luck > 1.4).astype(int)
    return table


class Runs:
    """Runs of one scenario, each made when it is first asked for."""

    def __init__(self, place: Place):
        self.place = place
        self.ids: dict[str, str] = {}
        table = people()
        old = table[:1500]
        more = {'noise': np.random.default_rng(1).random(len(table)), 'region': 'north'}
        unread = {'income': {'type': 'number', 'role': 'ignore'}, 'seen': {'role': 'ignore'}}
        ignored = {'columns': WORDS['columns'] | unread}
        dropped = {'columns': {'age': {'type': 'number'}}}
        # name -> table and what the scenario changes; the last two have 100 rows more
        self.kinds = {
            'plain': (old, {}),
            'added': (table.assign(**more)[:1500], {}),
            'ignored': (old, ignored),
            'undeclared': (old, {'columns': WORDS['columns'] | {'kind': {'role': 'ignore'}}}),
            'dropped': (old.drop(columns='income'), dropped),
            'appended': (table, {}),
            'later': (table.drop(columns='income'), dropped),
        }

    def __getitem__(self, name: str) -> str:
        if name not in self.ids:
            rows, changed = self.kinds[name]
            folder = self.place.folder
            rows.to_csv(folder / 'data.csv', index=False)
            (folder / 'mine.yaml').write_text(json.dumps(WORDS | changed))
            done = self.place.run(
                'run', '-s', str(folder / 'mine.yaml'),
                '-p', 'trials=2', '--until', 'train', '-q',
                CD4ML_DATA_ROOT=str(folder),
            )
            assert done.returncode == 0, done.stderr
            self.ids[name] = self.place.record('mine')['run']
        return self.ids[name]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return Runs(Place(tmp_path_factory.mktemp('shared')))


def compared(runs, monkeypatch, tmp_path, first, other):
    names = [runs[first], runs[other]]
    monkeypatch.setenv('CD4ML_PRODUCTS', str(runs.place.folder / 'products'))
    return compare_runs(run_paths('mine', names), tmp_path)


rarely = pytest.mark.slow


@pytest.mark.parametrize(
    'other', ['added', 'ignored', pytest.param('undeclared', marks=rarely), 'dropped']
)
def test_the_same_rows_are_compared_whatever_columns_differ(runs, monkeypatch, tmp_path, other):
    summary = compared(runs, monkeypatch, tmp_path, 'plain', other)
    assert summary['holdout']['same'] and set(summary['holdout']['seen'].values()) == {0}
    assert summary['same_training_rows'] and summary['holdout']['judged'] > 200
    back = compared(runs, monkeypatch, tmp_path, other, 'plain')
    assert back['difference'] == pytest.approx(-summary['difference'])


def test_an_old_model_is_judged_on_the_whole_holdout_of_more_data(runs, monkeypatch, tmp_path):
    summary = compared(runs, monkeypatch, tmp_path, 'plain', 'appended')
    holdout = summary['holdout']
    assert set(holdout['seen'].values()) == {0} and not holdout['same']
    assert holdout['judged'] == holdout['rows'] > 250


@rarely
def test_where_later_rows_lack_an_input_the_rows_that_both_can_read_decide(
    runs, monkeypatch, tmp_path
):
    summary = compared(runs, monkeypatch, tmp_path, 'plain', 'later')
    page = ' '.join((tmp_path / 'comparison.html').read_text().split())
    whole = compared(runs, monkeypatch, tmp_path, 'plain', 'dropped')
    holdout = summary['holdout']
    assert holdout['judged'] == whole['holdout']['judged'] < holdout['rows']
    assert holdout['lacking'] == {runs['plain']: ['income']}
    assert summary['comparisons'][0]['models']['reference'] == pytest.approx(
        whole['comparisons'][0]['models']['reference']
    )
    later = holdout['rows'] - holdout['judged']
    assert f'needs income, which the data of run {runs["later"]} no longer has' in page
    assert f'{later} later cases could not be judged on' in page


@rarely
def test_looks_are_counted_by_rows_and_not_by_columns(runs, monkeypatch, tmp_path):
    (runs.place.folder / 'products/mine/looks.jsonl').unlink(missing_ok=True)    # of other tests
    for n, other in enumerate(('ignored', 'added', 'appended', 'dropped'), start=1):
        looks = compared(runs, monkeypatch, tmp_path, 'plain', other)['looks']
        assert looks['n'] == n
