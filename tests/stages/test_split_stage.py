"""The stage split: what a second run, more data and a repetition make of groups."""

import json

import numpy as np
import pandas as pd
import pytest
from runs import Place

from cd4ml_nb.columns.table import read_table
from cd4ml_nb.runs.earlier_split import HANDED_OVER, hand_over
from cd4ml_nb.runs.products import current_of

WORDS = {
    'name': 'mine',
    'title': 'Groups',
    'task': 'regression',
    'data': {'source': 'data.csv'},
    'target': {'column': 'y'},
    'columns': {'who': {'type': 'category', 'role': 'group'}},
    'split': {'by': 'group'},
}


def customers(n_groups):
    rng = np.random.default_rng(0)
    who = np.repeat([f'c{k}' for k in range(n_groups)], 1 + np.arange(n_groups) % 9)
    return pd.DataFrame({'who': who, 'x': rng.random(len(who)), 'y': rng.random(len(who))})


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    (tmp_path / 'mine.yaml').write_text(json.dumps(WORDS))
    return place


def split(place, table):
    """Run until split; the part of each group, the record of the split, and what was said."""
    table.to_csv(place.folder / 'data.csv', index=False)
    done = place.run(
        'run', '-s', str(place.folder / 'mine.yaml'), '--until', 'split',
        CD4ML_DATA_ROOT=str(place.folder),
    )
    assert done.returncode == 0, done.stderr
    rows = read_table(place.product('mine', 'split', 'rows.parquet'))
    parts = rows.assign(who=table['who'].to_numpy()).groupby('who')['part'].first()
    return parts, place.json('mine', 'split', 'split.json'), done.stdout


def test_a_group_keeps_its_part_and_a_second_run_does_nothing(place, tmp_path):
    first, record, _ = split(place, customers(60))
    assert record['groups'] == {'kept': 0, 'new': 60} and record['before'] == ''
    again, _, said = split(place, customers(60))
    assert again.equals(first) and '0 stages run' in said
    more, record, _ = split(place, customers(80))
    assert record['groups'] == {'kept': 60, 'new': 20} and more[first.index].equals(first)
    shares = pd.Series(record['n']) / sum(record['n'].values())
    assert (shares - pd.Series(record['wished'])).abs().max() < 0.02
    again, same_record, said = split(place, customers(80))
    assert again.equals(more) and same_record == record and '0 stages run' in said
    # what a repetition gets is the earlier split of the run that is done again
    home = place.folder / 'products/mine/split'
    hand_over(current_of(home), tmp_path / 'again/split')
    rows = read_table(tmp_path / 'again/split' / HANDED_OVER / 'rows.parquet')
    assert rows['group'].nunique() == 60 and current_of(tmp_path / 'again/split')
