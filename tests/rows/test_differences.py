"""What the holdout is made of: silent for a split by chance, outspoken for any other."""

import numpy as np
import pandas as pd
import pytest
from tables import labelled, offers

from cd4ml_nb.artefacts.schema import Schema, SchemaColumn, SchemaTarget
from cd4ml_nb.rows.differences import MOST, column_differences, last_differences, part_differences


def schema_of(task='regression', target='price'):
    kinds = {'age': 'number', 'km': 'number', 'fuel': 'category', 'make': 'category'}
    columns = [SchemaColumn(name=n, type=k, role='feature', unit='') for n, k in kinds.items()]
    about = SchemaTarget(name=target, task=task, unit='EUR' if task == 'regression' else '')
    return Schema(target=about, columns=columns)


def market(n, seed):
    """Offers with a make each, every tenth row twice, and a heavy tail."""
    rng = np.random.default_rng(seed)
    table = offers(n, seed).assign(make=rng.choice([f'm{k}' for k in range(40)], n))
    table['km'] = table.km.mask(rng.random(n) < 0.1)
    table['price'] = (table.price * (1 + rng.pareto(1.5, n))).round()
    return pd.concat([table, table[: n // 10]], ignore_index=True)


def parted(table, order, task='regression', target='price'):
    cut = len(table) * 4 // 5
    rows = table.iloc[order]
    return part_differences(rows[:cut], rows[cut:], schema_of(task, target))


def test_hardly_any_split_by_chance_has_a_sentence():
    said = 0
    for seed in range(100):
        table = market([250, 900, 2500][seed % 3], seed)
        order = np.random.default_rng(seed).permutation(len(table))
        said += bool(parted(table, order))
    assert said <= 3      # one in a hundred is what the notebook states


def test_the_same_holds_for_classes():
    said = 0
    for seed in range(100):
        table = labelled(600, seed=seed).assign(make='m')
        order = np.random.default_rng(seed).permutation(600)
        said += bool(parted(table, order, 'binary', 'sold'))
    assert said <= 5


def test_a_holdout_of_other_makes_and_prices_is_described_target_first_and_briefly():
    table = market(2000, 0)
    table['make'] = np.where(table.price < table.price.median(), 'Opel', table.make)
    said = parted(table, np.argsort(-table.price.to_numpy(), kind='stable'))
    assert said[0].column == 'price' and len(said) <= MOST
    assert 'half lie below' in said[0].words and 'none lies above' in said[0].words
    assert 'and 100 % of the rows' in said[0].words.replace('\N{NO-BREAK SPACE}', ' ')
    (makes,) = [each.words for each in said if each.column == 'make']
    assert makes.startswith('make: all are Opel, and 3')


def test_a_category_that_is_gone_is_said_and_what_the_last_days_are_made_of():
    table = market(2500, 3)
    table['seen'] = pd.Timestamp('2024-01-01') + pd.to_timedelta(table.index // 10, 'D')
    holdout = table.index >= 2000
    late = table.index >= 2600
    table['seller'] = np.where(~holdout & (table.index % 14 == 0), 'private', 'dealer')
    table['make'] = np.where(late, 'BMW', table.make)
    schema = schema_of()
    seller = SchemaColumn(name='seller', type='category', role='feature')
    schema = schema.model_copy(update={'columns': [*schema.columns, seller]})
    said = part_differences(table[~holdout], table[holdout], schema)
    (words,) = [each.words for each in said if each.column == 'seller']
    assert words.startswith('seller: all are dealer, and 93')
    last = last_differences(table[holdout], 'seen', schema)
    assert [each.column for each in last] == ['make']
    assert last[0].words.startswith('From 17 September 2024 on, make: all are BMW, and')
    assert last[0].words.endswith('of the cases before that.')
    assert not last_differences(table[:2000], 'seen', schema)


def test_missing_values_and_new_heights_are_said():
    table = market(1500, 1)
    late = table.index >= len(table) * 4 // 5
    table['km'] = table.km.mask(late & (table.index % 2 == 0))
    table['age'] = table.age + np.where(late & (table.index % 3 == 0), 40, 0)
    words = {each.column: each.words for each in parted(table, np.arange(len(table)))}
    said = words['km'].replace('\N{NO-BREAK SPACE}', ' ')
    assert said.startswith('km: 56 % are missing, and 9 % of the rows learned from')
    assert 'where no row learned from lies' in words['age']


def test_personal_columns_are_not_described():
    table = market(900, 2)
    schema = schema_of()
    private = [column.model_copy(update={'personal': True}) for column in schema.columns]
    order = np.argsort(table.age.to_numpy(), kind='stable')
    cut = len(table) * 4 // 5
    rows = table.iloc[order]
    found = part_differences(
        rows[:cut], rows[cut:], schema.model_copy(update={'columns': private})
    )
    assert {each.column for each in found} == {'price'}


@pytest.mark.parametrize('year', [2500, 9999])
def test_dates_far_away_are_compared_like_others(year):
    days = pd.Series(pd.date_range('2020-01-01', periods=600).astype('datetime64[us]'))
    far = days.map(lambda day: day.replace(year=year, day=1)).astype('datetime64[us]')
    said = ' '.join(each.words for each in column_differences(days, far, 'date') if each)
    assert str(year) in said
