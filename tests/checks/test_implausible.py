"""Values that cannot be, and columns that are one another in other units."""

import numpy as np
import pandas as pd
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tables import offers, said, validated

from cd4ml_nb.checks.conversions import conversion
from cd4ml_nb.checks.implausible import check_pile, limit_words, odd_values


def tail(kind, rng, n):
    """Amounts with a tail of some kind, right ones all."""
    return {
        'pareto': lambda: rng.pareto(1.0, n) + 1,
        'lognormal': lambda: rng.lognormal(9, 1.5, n),
        'gamma': lambda: rng.gamma(0.5, 1000, n),
        'normal': lambda: rng.normal(3, 1, n),
        'uniform': lambda: rng.uniform(0, 1, n),
        'counts': lambda: rng.poisson(40, n).astype(float),
        'cauchy': lambda: rng.standard_cauchy(n),
        'years': lambda: rng.integers(1950, 2025, n).astype(float),
    }[kind]()


def test_right_values_raise_nothing_however_long_their_tail():
    raised = []
    for kind in ('pareto', 'lognormal', 'gamma', 'normal', 'uniform', 'counts', 'cauchy', 'years'):
        for seed in range(20):
            values = tail(kind, np.random.default_rng(seed), [300, 3000][seed % 2])
            raised += [(kind, seed)] * bool(odd_values(pd.Series(values)))
    assert len(raised) <= 2, raised       # of 160


@given(st.sampled_from(['gamma', 'lognormal', 'counts']), st.integers(0, 999),
       st.sampled_from([1e9, -50_000.0]))
@settings(max_examples=examples(30), deadline=None)
def test_what_is_far_away_is_found_and_its_limit_leaves_all_others_in(kind, seed, odd):
    values = tail(kind, np.random.default_rng(seed), 2000).round(2) + 1
    values[7] = values.max() * 1e6 if odd > 0 and kind != 'gamma' else odd * (odd < 0) or 1e12
    others = np.delete(values, 7)
    found = odd_values(pd.Series(values))
    assert [each.mask.nonzero()[0].tolist() for each in found] == [[7]]
    words = limit_words(found[0])
    assert others.min() >= words.get('min', -np.inf) and others.max() <= words.get('max', np.inf)
    assert not words.get('min', -np.inf) <= values[7] <= words.get('max', np.inf)


def test_D43_each_kind_of_value_that_cannot_be_is_named_with_row_and_remedy(tmp_path):
    n = 400
    table = offers(n)
    rng = np.random.default_rng(1)
    table['co2'] = rng.normal(140, 20, n).round()
    table['year'] = rng.integers(1995, 2024, n)
    table['width'] = rng.normal(180, 5, n).round(1)
    table.loc[3, 'co2'] = 142138
    table.loc[4, 'year'] = 20203
    table.loc[5, 'km'] = -120_000
    table.loc[6, 'width'] = 0
    table.loc[8, 'price'] = 1_234_567
    lines = said(validated(tmp_path, table, 'price'), 'D43', 'warn')
    assert len(lines) == 5, lines
    text = '\n'.join(lines)
    for part in (
        'co2: 142,138, and no other is above', 'year: no year, as the others', 'rows (row 5)',
        'km: negative, and no other is', 'width: zero, and no other is below', 'rows (row 7)',
        'price: 1,234,567, ', 'and outside: drop', 'set max: 2100 and outside: missing',
    ):
        assert part in text, (part, text)


def test_D43_values_beyond_a_declared_limit_are_shown_unless_personal(tmp_path):
    table = offers(400)
    table.loc[7, 'km'] = 7_654_321
    words = {'max': 1_000_000, 'outside': 'missing'}
    (line,) = said(validated(tmp_path, table, 'price', columns={'km': words}), 'D43')
    assert 'km: value above 1,000,000 (7,654,321) in 1 of 400 rows (row 8)' in line
    hidden = {'km': words | {'personal': True}}
    (line,) = said(validated(tmp_path, table, 'price', columns=hidden), 'D43')
    assert 'value above 1,000,000 in 1 of 400 rows' in line and '7,654' not in line


def test_D54_amounts_that_were_cut_off_are_named_and_no_others(tmp_path):
    table = offers(400)
    table['km'] = np.random.default_rng(2).integers(0, 200_000, 400).clip(max=150_001)
    (line,) = said(validated(tmp_path, table, 'price'), 'D54')
    assert line.startswith('INFO') and 'km: the largest value, 150,001, far more' in line
    hidden = {'km': {'personal': True}}
    (line,) = said(validated(tmp_path, table, 'price', columns=hidden), 'D54')
    assert '150' not in line
    (line,) = said(validated(tmp_path, table, 'km'), 'D54')
    assert line.startswith('WARN') and line.endswith('the model cannot predict more')
    kinds = ('pareto', 'lognormal', 'gamma', 'normal', 'uniform', 'counts', 'cauchy', 'years')
    for kind in kinds:
        assert not check_pile(pd.Series(tail(kind, np.random.default_rng(3), 3000))), kind


def test_D43_values_of_a_personal_column_are_counted_and_not_shown(tmp_path):
    table = offers(400)
    table.loc[3, 'km'] = 77_777_777_777
    (line,) = said(validated(tmp_path, table, 'price', columns={'km': {'personal': True}}), 'D43')
    assert 'far above all others, in 1 of 400 rows (row 4)' in line and '777' not in line


@given(
    st.floats(0.01, 500), st.sampled_from([0.0, 32.0, -1900.0]),
    st.sampled_from([0, 1, 2]), st.integers(0, 99),
)
@example(f=0.01171875, c=32.0, digits=0, seed=2)
@settings(max_examples=examples(40), deadline=None)
def test_a_column_in_another_unit_is_found_whatever_factor_offset_and_rounding(f, c, digits, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1_000_000, 500).astype(float)      # so that rounding keeps ten thousands
    y = (f * x + c).round(digits)
    found = conversion(x, y)
    assert found is not None and abs(found.factor / f - 1) < 0.01
    assert conversion(x, y * rng.uniform(0.99, 1.01, 500)) is None


def test_D13_a_number_that_is_the_time_between_two_dates_asks_what_is_known_when(tmp_path):
    rng = np.random.default_rng(0)
    first = pd.Timestamp('2024-01-01') + pd.to_timedelta(rng.integers(0, 500, 400), 'D')
    days = rng.integers(0, 90, 400)
    table = pd.DataFrame({
        'first': first, 'last': first + pd.to_timedelta(days, 'D'), 'days': days + 1,
        'km': rng.uniform(0, 9e4, 400), 'price': rng.uniform(1e3, 9e3, 400),
    })
    for name in ('first', 'last'):
        table[name] = table[name].dt.strftime('%Y-%m-%d')
    (line,) = said(validated(tmp_path, table, 'price'), 'D13', 'warn')
    assert "days: the days from 'first' to 'last'" in line and 'known when you predict?' in line


def test_D40_rows_that_a_time_orders_and_chance_divides_are_named(tmp_path):
    table = pd.DataFrame({
        'day': pd.date_range('2024-01-01', periods=400).strftime('%Y-%m-%d'),
        'km': np.arange(400.0) % 37, 'price': np.arange(400.0) % 91,
    })
    columns = {'day': {'type': 'date', 'role': 'time'}}
    (line,) = said(validated(tmp_path, table, 'price', columns=columns), 'D40', 'warn')
    assert 'split by random' in line and 'split: {by: time, column: day}' in line


def test_D13_kilowatts_and_horsepower_are_one_column(tmp_path):
    table = offers(400)
    table['kw'] = np.random.default_rng(0).integers(40, 300, 400)
    table['hp'] = (table.kw * 1.35962).round()
    (line,) = said(validated(tmp_path, table, 'price'), 'D13', 'warn')
    assert "hp: the same as 'kw' in another unit: hp = kw × 1.3" in line
    ignored = {'hp': {'type': 'number', 'role': 'ignore'}}
    (line,) = said(validated(tmp_path, table, 'price', columns=ignored), 'D13', 'info')
    assert 'hp is not learned from' in line
