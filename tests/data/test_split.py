"""The split: every row once, nothing that belongs together torn apart, time in order, for any
table."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.data.split import PARTS, blocks, check_parts, overlap, split_rows
from cd4ml_nb.data.table import row_hashes
from cd4ml_nb.scenario.definition import Split


def table_of(rng, n, distinct):
    return pd.DataFrame({
        'x': rng.integers(0, distinct, n),
        'who': rng.integers(0, max(2, n // 5), n),
        'when': rng.integers(0, n, n),
        'id': np.arange(n),
        'y': rng.choice(['a', 'b'], n),
    })


@settings(max_examples=examples(80), deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(40, 300),
    by=st.sampled_from(['random', 'stratified', 'time', 'group']),
    distinct=st.sampled_from([5, 50, 10_000]),
)
def test_whatever_belongs_together_stays_together(seed, n, by, distinct):
    table = table_of(np.random.default_rng(seed), n, distinct)
    columns = [c for c in table if c != 'id']
    column = {'time': 'when', 'group': 'who'}.get(by)
    part = split_rows(table, Split(by=by), 'y', 'binary', ['id'], column, seed)
    parts = [table[part == k] for k in range(3)]
    assert part.shape == (n,) and set(np.unique(part)) <= {-1, 0, 1, 2}
    assert overlap([row_hashes(p, columns) for p in parts]) == 0
    if by == 'group':
        assert overlap([p['who'].to_numpy() for p in parts]) == 0
    if by != 'time':
        assert (part >= 0).all()
    else:
        ends = [(p['when'].min(), p['when'].max()) for p in parts if len(p)]
        assert all(earlier[1] < later[0] for earlier, later in zip(ends, ends[1:], strict=False))
    assert np.array_equal(
        part, split_rows(table, Split(by=by), 'y', 'binary', ['id'], column, seed)
    )


@settings(max_examples=examples(50), deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(200, 2000),
    holdout=st.floats(0.1, 0.4),
    validation=st.floats(0.1, 0.4),
)
def test_parts_have_their_shares(seed, n, holdout, validation):
    table = pd.DataFrame(
        {'x': np.arange(n), 'y': np.random.default_rng(seed).choice(['a', 'b'], n, p=[0.9, 0.1])}
    )
    for by in ('random', 'stratified', 'time'):
        part = split_rows(
            table,
            Split(by=by, holdout=holdout, validation=validation),
            'y',
            'binary',
            [],
            None,
            seed,
        )
        assert (
            abs((part == 2).mean() - holdout) <= 2.01 / n
            and abs((part == 1).mean() - validation) <= 2.01 / n
        )


@settings(max_examples=examples(30), deadline=None)
@given(seed=st.integers(0, 2**31))
def test_stratified_keeps_each_class_in_proportion(seed):
    y = np.random.default_rng(seed).choice(['a', 'b', 'c'], 600, p=[0.8, 0.15, 0.05])
    table = pd.DataFrame({'x': np.arange(600), 'y': y})
    part = split_rows(table, Split(by='stratified'), 'y', 'multiclass', [], None, seed)
    for one in 'abc':
        assert abs((part[y == one] == 2).mean() - 0.2) <= 1 / (y == one).sum()


@settings(max_examples=examples(60), deadline=None)
@given(
    labels=st.lists(
        st.tuples(st.sampled_from('abcdef'), st.integers(0, 5)), min_size=1, max_size=40
    ),
)
def test_blocks_are_the_connected_components(labels):
    content = np.array([c for c, _ in labels], dtype=object)
    group = np.array([g for _, g in labels])
    block = blocks(content, group)
    expected = list(range(len(labels)))
    for _ in labels:
        # the slow, obvious way: take over the smallest neighbour's number until nothing changes
        expected = [
            min(
                expected[j]
                for j in range(len(labels))
                if content[i] == content[j] or group[i] == group[j]
            )
            for i in range(len(labels))
        ]
    assert [list(block).index(b) for b in block] == expected


def test_D40_rows_out_of_order_are_cut_by_their_time():
    table = pd.DataFrame({'when': np.random.default_rng(0).permutation(100), 'y': range(100)})
    part = split_rows(table, Split(by='time'), 'y', 'regression', [], 'when', 0)
    assert (
        table['when'][part == 0].max() < table['when'][part == 1].min()
        and table['when'][part == 1].max() < table['when'][part == 2].min()
    )


def test_D40_a_missing_time_is_refused():
    table = pd.DataFrame({'when': [1.0, np.nan, 3.0], 'y': [1, 2, 3]})
    with pytest.raises(UserError, match='1 rows have no time'):
        split_rows(table, Split(by='time'), 'y', 'regression', [], 'when', 0)


def test_D42_duplicates_never_straddle_even_when_half_of_the_rows_are():
    x = np.random.default_rng(2).permutation(np.repeat(np.arange(200), 2))
    table = pd.DataFrame({'x': x, 'y': x % 2})
    part = split_rows(table, Split(), 'y', 'binary', [], None, 0)
    assert pd.Series(part).groupby(x).nunique().max() == 1


def test_D50_a_part_without_rows_is_refused():
    empty = pd.DataFrame({'y': []})
    with pytest.raises(UserError, match='0 rows in part holdout'):
        check_parts(
            {
                'train': pd.DataFrame({'y': [1.0, 2]}),
                'validation': pd.DataFrame({'y': [1.0, 2]}),
                'holdout': empty,
            },
            'y',
            'regression',
        )


def test_D06_a_class_that_only_later_parts_have_is_refused():
    parts = {name: pd.DataFrame({'y': ['a', 'b', 'b']}) for name in PARTS}
    parts['holdout'] = pd.DataFrame({'y': ['a', 'b', 'c']})
    with pytest.raises(UserError, match="class 'c' occurs in part holdout and not in train"):
        check_parts(parts, 'y', 'multiclass')


def test_one_group_that_holds_most_rows_leaves_the_parts_valid_or_is_refused():
    table = pd.DataFrame({'who': ['big'] * 95 + list('abcde'), 'y': np.arange(100.0)})
    part = split_rows(table, Split(by='group'), 'y', 'regression', [], 'who', 0)
    with pytest.raises(UserError, match='rows in part'):
        check_parts({name: table[part == k] for k, name in enumerate(PARTS)}, 'y', 'regression')
