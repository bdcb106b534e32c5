"""Rows that are the same thing again: found where chance does not explain them, kept together."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import said, validated

from cd4ml_nb.checks.entities import distinctive_columns, find_entities, learned_before
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.rows.split import PARTS, split_rows
from cd4ml_nb.scenario.definition import Column, Split, read_scenario

KINDS = {'make': 'category', 'km': 'number', 'kw': 'number', 'year': 'number'}
COLUMNS = {name: Column(type=kind) for name, kind in KINDS.items()}
COLUMNS['seen'] = Column(type='date', role='time')


def market(seed: int, n: int = 1500) -> pd.DataFrame:
    """Cars, each offered once."""
    rng = np.random.default_rng(seed)
    year = rng.integers(2005, 2024, n)
    return pd.DataFrame({
        'make': rng.choice(['Audi', 'BMW', 'Opel', 'Kia'], n, p=[0.5, 0.3, 0.15, 0.05]),
        'km': ((2024 - year) * rng.integers(5_000, 20_000, n)).round(-1),
        'kw': rng.choice([55, 77, 100, 140], n),
        'year': year,
        'seen': pd.Timestamp('2024-01-01') + pd.to_timedelta(rng.integers(0, 300, n), 'D'),
        'price': rng.integers(2000, 40_000, n),
    })


def relisted(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """The table with its first rows once more, later and cheaper."""
    again = table[:n].assign(seen=pd.Timestamp('2024-12-01'), price=table.price[:n] - 100)
    return pd.concat([table, again], ignore_index=True)


@given(st.integers(0, 10_000), st.integers(40, 400))
@settings(max_examples=examples(12), deadline=None)
def test_offers_that_were_listed_again_are_found_each_of_them(seed, n):
    table = relisted(market(seed), n)
    found = find_entities(table, COLUMNS, 'price')
    assert found is not None and found.differ == ['seen', 'price']
    assert found.twins[:n].all() and found.twins[1500:].all()
    assert found.twins.sum() <= 2 * n + 30


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 9), st.booleans())
@settings(max_examples=examples(25), deadline=None)
def test_rows_that_agree_by_chance_are_no_entities(seed, n_columns, n_values, dependent):
    rng = np.random.default_rng(seed)
    n = 4000
    table = pd.DataFrame({f'x{k}': rng.integers(0, n_values, n) for k in range(n_columns)})
    table['x1'] = (table.x0 + rng.integers(0, 2, n)) if dependent else table.x1
    table['wide'] = rng.integers(0, 60, n)
    table['pay'] = rng.normal(size=n)
    columns = {name: Column(type='number') for name in table if name != 'pay'}
    assert find_entities(table, columns, 'pay') is None


def test_D41_a_finding_counts_them_names_first_lines_and_a_split(tmp_path):
    table = relisted(market(0), 100).assign(seen=lambda t: t.seen.astype(str))
    columns = {'seen': {'role': 'time'}}
    (line,) = said(validated(tmp_path, table, 'price', columns=columns), 'D41')
    assert 'differ in seen and price (rows 1, 2, 3 and' in line and 'entity: [km' in line
    in_time = {'by': 'time'}
    (line,) = said(validated(tmp_path, table, 'price', columns=columns, split=in_time), 'D41')
    assert 'entity' not in line and 'with and without them' in line
    kept = {'by': 'group', 'entity': ['km', 'kw', 'make', 'year']}
    (line,) = said(validated(tmp_path, table, 'price', columns=columns, split=kept), 'D41')
    assert line.startswith('INFO') and line.endswith('by split.entity: km, kw, make and year')
    parted = {'by': 'group', 'entity': ['km', 'seen']}
    (line,) = said(validated(tmp_path, table, 'price', columns=columns, split=parted), 'D41')
    assert line.startswith('WARN') and 'entity: [km' in line


@given(st.integers(0, 10_000))
@settings(max_examples=examples(10), deadline=None)
def test_a_split_by_entity_keeps_each_in_one_part(seed):
    table = relisted(market(seed), 300)
    names = distinctive_columns(table, list(KINDS))
    split = Split(by='group', entity=names)
    part = split_rows(table, split, 'price', 'regression', [], None, seed)
    parts = [table[part == k] for k in range(len(PARTS))]
    assert not learned_before(parts[2], pd.concat(parts[:2]), names).any()
    assert abs(len(parts[2]) / len(table) - split.holdout) < 0.03


def test_an_entity_beside_another_way_to_split_is_refused(tmp_path):
    words = 'name: a\ntitle: a\ntask: regression\ndata: {source: a.csv}\ntarget: {column: y}\n'
    path = tmp_path / 'a.yaml'
    for split in ('{by: time, entity: [x]}', '{by: group, column: g, entity: [x]}'):
        path.write_text(f'{words}split: {split}\n')
        with pytest.raises(UserError, match='entity needs by: group'):
            read_scenario(path)


def test_D01_an_entity_column_that_is_not_there_is_named(tmp_path):
    split = {'by': 'group', 'entity': ['makes', 'km']}
    (line,) = said(validated(tmp_path, market(0), 'price', split=split), 'D01')
    assert "split.entity 'makes' not found" in line and "did you mean 'make'?" in line
