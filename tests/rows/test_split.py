"""The split: every row once, nothing that belongs together torn apart, time in order, for any
table."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.columns.table import row_hashes
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.rows.even_seed import even_seed, strata
from cd4ml_nb.rows.group_split import blocks, distance, wishes
from cd4ml_nb.rows.split import PARTS, check_parts, overlap, rows_of, split_rows
from cd4ml_nb.rows.time_split import cut_by_time
from cd4ml_nb.scenario.definition import Split

CASES = Path(__file__).resolve().parent.parent / 'cases'


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
    rows = rows_of(table, [], ['id'], [])
    assert overlap([rows.identity[part == k] for k in range(3)]) == 0
    if rows.copied:
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
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(200, 2000),
    holdout=st.floats(0.1, 0.4),
    validation=st.floats(0.1, 0.4),
)
def test_parts_have_their_shares(seed, n, holdout, validation):
    """By time to the row; by chance within five standard deviations, for each class as well."""
    y = np.random.default_rng(seed).choice(['a', 'b'], n, p=[0.8, 0.2])
    table = pd.DataFrame({'x': np.arange(n) + 0.25, 'y': y})
    for by in ('random', 'stratified', 'time'):
        split = Split(by=by, holdout=holdout, validation=validation)
        part = split_rows(table, split, 'y', 'binary', [], None, seed)
        for k, share in ((2, holdout), (1, validation)):
            if by == 'time':
                assert abs((part == k).mean() - share) <= 1.01 / n
                continue
            for inside in (y == 'a', y == 'b', y != ''):
                deviation = np.sqrt(share * (1 - share) / inside.sum())
                assert abs((part[inside] == k).mean() - share) <= 5 * deviation


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(200, 500),            # enough that no part lacks a class, which would be mended
    by=st.sampled_from(['random', 'stratified']),
    named=st.booleans(),
)
def test_a_row_keeps_its_part_whatever_other_rows_come_or_go(seed, n, by, named):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        'x': rng.random(n), 'kind': rng.integers(0, 3, n), 'y': rng.choice(['a', 'b'], n),
    })
    if named:
        table['offer'] = [f'o{k}' for k in rng.permutation(n)]

    def parts(rows):
        ids = ['offer'] if named else []
        return split_rows(rows, Split(by=by), 'y', 'binary', ids, None, seed % 100)

    whole = parts(table)
    fewer = table[rng.random(n) < 0.9]                # withdrawn, and what is left of before
    assert np.array_equal(parts(fewer), whole[fewer.index])
    order = rng.permutation(n)
    assert np.array_equal(parts(table.iloc[order]), whole[order])
    less = parts(table[: n - n // 20])                # before the last rows were appended
    assert np.array_equal(less, whole[: len(less)])
    wide = table.assign(x=table['x'].astype(str), more=1)     # other types, one more column
    named_rows = rows_of(table, ['x'], [], []), rows_of(wide, ['x'], [], [])
    assert np.array_equal(named_rows[0].identity, named_rows[1].identity)


def test_equal_rows_that_are_appended_leave_the_parts_of_the_old_ones():
    table = pd.read_csv(CASES / '34-repeated-rows/census.csv')
    rows = [rows_of(part, [], [], []) for part in (table[:7600], table)]
    assert [r.repeats for r in rows] == ['chance', 'chance']
    few, all_rows = (
        split_rows(part, Split(by='stratified'), 'high_occupation', 'binary', [], None, 4, named)
        for part, named in zip((table[:7600], table), rows, strict=True)
    )
    assert np.array_equal(few, all_rows[:7600])
    assert abs((all_rows == 2).mean() - 0.2) < 0.02
    content = row_hashes(table)
    assert overlap([content[all_rows == k] for k in range(3)]) > 500      # equal, and rows apart


def test_the_seed_decides_which_rows_are_sealed():
    table = pd.DataFrame({'x': np.random.default_rng(1).random(2000), 'y': 1.0})
    first, other = (
        split_rows(table, Split(), 'y', 'regression', [], None, seed) for seed in (0, 1)
    )
    assert 0.1 < ((first == 2) & (other == 2)).sum() / (first == 2).sum() < 0.3


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 2**31 - 1), rare=st.integers(3, 6), n=st.integers(60, 300))
def test_stratified_gives_each_part_a_row_of_every_class(seed, rare, n):
    y = np.array(['rare'] * rare + ['a', 'b'] * n)
    table = pd.DataFrame({'x': np.arange(len(y)) / 7, 'y': y})
    part = split_rows(table, Split(by='stratified'), 'y', 'multiclass', [], None, seed)
    check_parts({name: table[part == k] for k, name in enumerate(PARTS)}, 'y', 'multiclass')


def test_the_seed_of_a_small_table_divides_it_more_evenly_than_chance():
    table = pd.read_csv(CASES / '26-lumps/class3.csv')
    rows = rows_of(table, ['spend'], [], [])
    split = Split(by='stratified')
    seed = even_seed(rows, strata(table['size'], 'multiclass'), split)
    part = split_rows(table, split, 'size', 'multiclass', [], None, seed, rows)
    assert abs((part == 2).mean() - 0.2) < 0.02 and abs((part == 1).mean() - 0.16) < 0.02
    assert sorted(part[table['size'] == 'odd']) == [0, 1, 2]


def test_groups_come_as_near_to_the_shares_as_they_allow_for_every_seed():
    table = pd.read_csv(CASES / '16-group-sizes/groups.csv')
    sizes = table['customer'].value_counts()
    wished = wishes(len(table), 0.16, 0.2)
    best = min(
        float(distance(np.bincount(parts, sizes, minlength=3), wished))
        for parts in itertools.product(range(3), repeat=len(sizes))
    )
    rows = rows_of(table, ['x', 'w'], [], [])
    for seed in range(200):
        part = split_rows(
            table, Split(by='group'), 'y', 'regression', [], 'customer', seed, rows
        )
        assert distance(np.bincount(part, minlength=3), wished) == pytest.approx(best)


@settings(max_examples=examples(30), deadline=None)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(12, 60))
def test_many_groups_miss_their_shares_only_where_one_is_too_large(seed, n):
    rng = np.random.default_rng(seed)
    sizes = (rng.pareto(1.5, n) * 5 + 1).astype(int)
    table = pd.DataFrame({'who': np.repeat(np.arange(n), sizes), 'y': rng.random(sizes.sum())})
    part = split_rows(table, Split(by='group'), 'y', 'regression', [], 'who', seed)
    share = np.bincount(part, minlength=3) / len(table)
    largest = sizes.max() / len(table)
    off = abs(share - [0.64, 0.16, 0.2]).max()
    assert off < 0.03 or largest > 0.15


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    n=st.integers(20, 300),
    instants=st.integers(3, 40),
    classes=st.booleans(),
)
def test_later_rows_never_move_a_row_from_train_to_the_holdout(seed, n, instants, classes):
    rng = np.random.default_rng(seed)
    when = np.sort(rng.integers(0, instants, n))
    kind = rng.choice(['a', 'b'], n) if classes else None
    later = np.append(when, rng.integers(when.max(), when.max() + 9, n // 4 + 1))
    more = None if kind is None else np.append(kind, rng.choice(['a', 'b'], n // 4 + 1))
    before = cut_by_time(when, 0.16, 0.2, kind)
    after = cut_by_time(later, 0.16, 0.2, more)[:n]
    if len(set(when)) >= 3 and set(before) == {0, 1, 2}:
        assert (after <= before).all()


def test_26_years_are_cut_where_the_shares_are_nearest():
    table = pd.read_csv(CASES / '26-lumps/years5.csv')
    part = split_rows(table, Split(by='time'), 'price', 'regression', [], 'year', 0)
    assert np.bincount(part).tolist() == [240, 80, 80]
    two = table[table['year'] < 2021]
    with pytest.raises(UserError, match='only 2 different times: 2019 .50%.*2020 .50%'):
        split_rows(two, Split(by='time'), 'price', 'regression', [], 'year', 0)


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


def test_one_group_that_holds_most_rows_is_learned_from_and_the_others_are_shared():
    table = pd.DataFrame({'who': ['big'] * 95 + list('abcde'), 'y': np.arange(100.0)})
    for seed in range(20):
        part = split_rows(table, Split(by='group'), 'y', 'regression', [], 'who', seed)
        assert np.bincount(part).tolist() == [95, 2, 3] and (part[:95] == 0).all()
        check_parts({name: table[part == k] for k, name in enumerate(PARTS)}, 'y', 'regression')


def test_too_few_rows_in_the_other_groups_are_refused():
    table = pd.DataFrame({'who': ['big'] * 95 + list('abc'), 'y': np.arange(98.0)})
    part = split_rows(table, Split(by='group'), 'y', 'regression', [], 'who', 0)
    with pytest.raises(UserError, match='rows in part'):
        check_parts({name: table[part == k] for k, name in enumerate(PARTS)}, 'y', 'regression')
