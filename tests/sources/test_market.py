"""The built-in market: properties over many seeds and options, memory, and what options refuse."""

import datetime
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.scenario.definition import load_scenario
from cd4ml_nb.sources.makes import THIN
from cd4ml_nb.sources.market import (
    CHUNK,
    REGIONS,
    TRUTH,
    generate,
    market_options,
    market_table,
    write_market,
)

COLUMNS = [
    'offer_id', 'listing_date', 'make', 'model', 'first_registration', 'mileage_km', 'power_kw',
    'fuel', 'gearbox', 'seller', 'region', 'price_eur',
]
CLEAN = {'duplicates': 0, 'sentinels': 0, 'outliers': 0, 'missing': 0, 'unit_break': 'none'}
seeds = st.integers(0, 2**31 - 1)
shares = st.sampled_from([0, 0.01, 0.3])
any_options = st.fixed_dictionaries(
    {},
    optional={
        'rows': st.integers(1, 3000),
        'months': st.integers(1, 120),
        'start': st.dates(datetime.date(2021, 1, 1), datetime.date(2035, 12, 31)),
        'noise': st.floats(0, 0.5),
        'inflation': st.floats(-0.05, 0.05),
        'thin_makes': st.integers(0, 5),
        'thin_share': st.floats(1e-6, 0.01),
        'bias': st.floats(-0.5, 0.5),
        'bias_seller': st.sampled_from(['dealer', 'private']),
        'bias_region': st.sampled_from(list(REGIONS)),
        'duplicates': shares,
        'sentinels': shares,
        'outliers': shares,
        'missing': shares,
        'unit_break': st.sampled_from(['none', 'power', 'mileage']),
    },
)
few = settings(max_examples=examples(25), deadline=None)


def market(seed=0, truth=True, **options) -> pd.DataFrame:
    return market_table(market_options(options), seed, truth)


@few
@given(any_options, seeds)
def test_every_market_is_a_possible_one(options, seed):
    options = {'rows': 500} | options
    table = market(seed, **options)
    assert (
        list(table) == COLUMNS + TRUTH
        and len(table) == options['rows']
        and table['offer_id'].is_unique
    )
    assert (
        (table['price_eur'] > 0).all()
        and (table['fair_price'] > 0).all()
        and not (table['mileage_km'] < 0).any()
    )
    assert (table['first_registration'] <= table['listing_date']).all() and (
        table['first_registration'] >= '1998-12-31'
    ).all()
    months = options.get('months', 12)
    start = pd.Timestamp(options.get('start', '2024-01-01'))
    assert (
        table['listing_date']
        .between(start, start + pd.Timedelta(days=round(months * 30.4375)))
        .all()
    )
    assert table[['make', 'model', 'seller', 'region']].notna().all(axis=None)
    assert (table.loc[table['fuel'] == 'electric', 'first_registration'] >= '2011-12-31').all()
    assert (table[['listing_date', 'first_registration']].dtypes == 'datetime64[us]').all()
    assert all(
        pd.api.types.is_numeric_dtype(table[name])
        for name in ('offer_id', 'mileage_km', 'power_kw', 'price_eur')
    )


@few
@given(any_options, seeds)
def test_same_seed_same_table_and_truth_does_not_disturb_it(options, seed):
    options = {'rows': 300} | options
    table = market(seed, truth=False, **options)
    assert list(table) == COLUMNS
    pd.testing.assert_frame_equal(table, market(seed, truth=False, **options))
    pd.testing.assert_frame_equal(table, market(seed, **options)[COLUMNS])


def test_another_seed_is_another_market():
    assert not market(0).equals(market(1))


@few
@given(seeds)
def test_what_is_off_is_not_there(seed):
    table = market(seed, rows=2000, noise=0, inflation=0, bias=0, thin_makes=0, **CLEAN)
    assert not table[[name for name in TRUTH if name.startswith('is_')]].any(axis=None)
    assert table.notna().all(axis=None) and (table['price_level'] == 1).all()
    assert not table['mileage_km'].isin([0, 999_999]).any() and table['mileage_km'].max() <= 600_000
    assert not table['make'].isin([model.make for model in THIN]).any()
    assert table['price_eur'].sub(table['fair_price']).abs().max() <= 5


@pytest.mark.parametrize(('option', 'value', 'columns'), [
    ('noise', 0.2, {'price_eur'}),
    ('inflation', 0.01, {'price_eur', 'fair_price', 'price_level'}),
    ('bias', 0.2, {'price_eur', 'is_biased'}),
    ('sentinels', 0.1, {'mileage_km', 'is_sentinel'}),
    ('outliers', 0.1, {'price_eur', 'is_outlier'}),
    ('missing', 0.1, {'mileage_km', 'power_kw', 'fuel', 'gearbox', 'is_missing'}),
    ('unit_break', 'power', {'power_kw', 'is_broken'}),
    ('unit_break', 'mileage', {'mileage_km', 'is_broken'}),
])
def test_a_switch_changes_its_own_columns_only(option, value, columns):
    base = CLEAN | {'rows': 2000, 'noise': 0.07, 'inflation': 0, 'bias': 0}
    one = market(5, **base)
    other = market(5, **base | {option: value})
    changed = {name for name in one if not one[name].equals(other[name])}
    assert changed == columns


def test_a_duplicate_repeats_a_row_under_a_new_offer_id():
    table = market(1, rows=5000, duplicates=0.1)
    same_car = [name for name in COLUMNS if name != 'offer_id']
    copies = table['is_duplicate']
    assert copies.mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 5000))
    assert table.duplicated(same_car, keep=False)[copies].all()
    assert len(table.drop_duplicates(same_car)) == (~copies).sum()


@pytest.mark.parametrize('flag', ['sentinels', 'outliers'])
@pytest.mark.parametrize('share', [0.001, 0.05])
def test_dirt_has_the_share_asked_for(flag, share):
    found = market(2, rows=50_000, duplicates=0, **{flag: share})[f'is_{flag[:-1]}'].mean()
    assert found == pytest.approx(share, abs=4 * np.sqrt(share / 50_000))


@pytest.mark.parametrize(('unit_break', 'column', 'factor'), [
    ('power', 'power_kw', 1.35962),
    ('mileage', 'mileage_km', 0.621371),
])
def test_the_unit_breaks_in_its_region_from_its_month_on(unit_break, column, factor):
    options = CLEAN | {'rows': 5000, 'unit_break_region': 'south', 'unit_break_month': 4}
    right = market(3, **options)
    wrong = market(3, **options | {'unit_break': unit_break})
    broken = wrong['is_broken']
    assert (wrong['region'][broken] == 'south').all() and wrong['listing_date'][
        broken
    ].min() == pd.Timestamp('2024-05-02')
    assert (
        broken.sum()
        == ((wrong['region'] == 'south') & (wrong['listing_date'] >= '2024-05-02')).sum()
    )
    assert (right[column] * factor - wrong[column])[broken].abs().max() <= 0.5
    assert right[column][~broken].equals(wrong[column][~broken])


def test_inflation_bias_and_noise_are_what_was_asked_for():
    table = market(
        4,
        rows=50_000,
        noise=0.1,
        inflation=-0.02,
        bias=0.3,
        bias_seller='dealer',
        bias_region='capital',
        **CLEAN,
    )
    error = np.log(table['price_eur'] / table['fair_price'])
    group = (table['seller'] == 'dealer') & (table['region'] == 'capital')
    assert group.equals(table['is_biased'])
    assert error[~group].std() == pytest.approx(0.1, rel=0.03) and error[
        ~group
    ].mean() == pytest.approx(0, abs=0.003)
    assert error[group].mean() == pytest.approx(np.log(1.3), abs=4 * 0.1 / np.sqrt(group.sum()))
    months = (table['listing_date'] - table['listing_date'].min()).dt.days / 30.4375
    assert np.polyfit(months, np.log(table['price_level']), 1)[0] == pytest.approx(
        np.log(0.98), rel=1e-6
    )


def test_features_hang_together():
    table = market(6, rows=20_000, **CLEAN)
    age = (table['listing_date'] - table['first_registration']).dt.days / 365.25
    assert age.corr(table['mileage_km']) > 0.5
    assert (table.loc[table['fuel'] == 'electric', 'gearbox'] == 'automatic').all()
    assert (
        table.groupby('make')['fair_price'].median()['Porsche'] > 2 * table['fair_price'].median()
    )
    assert age[table['seller'] == 'private'].median() > age[table['seller'] == 'dealer'].median()
    assert table.groupby('fuel')['mileage_km'].median().idxmax() == 'diesel'


def test_a_market_of_several_chunks_has_no_seam(tmp_path):
    options = market_options({'rows': CHUNK + 5})
    chunks = list(generate(options, 0))
    assert [len(chunk) for chunk in chunks] == [CHUNK, 5]
    assert not chunks[0].head(5)['model'].equals(chunks[1]['model'])
    write_market(tmp_path / 'market.parquet', options, 0)
    assert pq.ParquetFile(tmp_path / 'market.parquet').num_row_groups == 2
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / 'market.parquet'), pd.concat(chunks, ignore_index=True)
    )


def test_same_seed_same_file_and_nothing_is_left_beside_it(tmp_path):
    for name in ('a', 'b'):
        write_market(tmp_path / name, market_options({'rows': 1000}), 3)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    assert sorted(os.listdir(tmp_path)) == ['a', 'b']


def test_a_market_that_fails_leaves_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / 'market.parquet'
    write_market(path, market_options({'rows': 10}), 0)
    before = path.read_bytes()

    def broken(*_):
        yield from generate(market_options({'rows': 5}), 0)
        raise RuntimeError('killed')

    monkeypatch.setattr('cd4ml_nb.sources.market.generate', broken)
    with pytest.raises(RuntimeError):
        write_market(path, market_options({'rows': 10}), 1)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['market.parquet']


def test_memory_does_not_grow_with_the_rows(tmp_path):
    code = (
        'import re, sys; from pathlib import Path\n'
        'from cd4ml_nb.sources.market import market_options, write_market\n'
        "write_market(sys.argv[1], market_options({'rows': int(sys.argv[2])}), 0)\n"
        # rusage would count the parent's memory too
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    small, large = (
        int(
            subprocess.run(
                [sys.executable, '-c', code, str(tmp_path / rows), rows],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for rows in ('200000', '1500000')
    )  # KiB
    assert large < 1.25 * small and large < 600 * 1024


@pytest.mark.parametrize(('options', 'code', 'words'), [
    ({'row': 10}, 'C01', ["data.options.row: unknown option 'row'", "did you mean 'rows'?"]),
    ({'inflatoin': 0.1, 'rows': 'x'}, 'C01', ["did you mean 'inflation'?"]),
    ({'rows': '10'}, 'C02', ['data.options.rows', 'valid integer', "'10'"]),
    ({'rows': True}, 'C02', ['data.options.rows']),
    ({'rows': 0}, 'C02', ['data.options.rows', 'got 0']),
    ({'rows': 10_000_001}, 'C02', ['data.options.rows', '10000000']),
    ({'noise': float('nan')}, 'C02', ['data.options.noise']),
    ({'noise': float('inf')}, 'C02', ['data.options.noise']),
    ({'duplicates': 0.5}, 'C02', ['data.options.duplicates', 'got 0.5']),
    ({'start': '2024-01-01'}, 'C02', ['data.options.start', 'date']),
    ({'start': datetime.date(1999, 1, 1)}, 'C02', ['data.options.start', '2021']),
    ({'unit_break': 'furlongs'}, 'C02', ['data.options.unit_break', "'power'"]),
    ({'months': 3, 'unit_break_month': 3}, 'C02', ['unit_break_month 3', '0 to 2'])])
def test_C01_C02_options_are_checked(options, code, words):
    with pytest.raises(UserError) as caught:
        market_options(options)
    assert caught.value.code == code and all(word in caught.value.line for word in words)


@pytest.mark.parametrize('name', ['used_cars', 'used_cars_in_time'])
def test_the_scenarios_declare_the_market_as_it_is(name):
    scenario = load_scenario(f'scenarios/{name}.yaml')
    table = market_table(market_options(scenario.data.options), scenario.seed)
    assert {*scenario.columns, scenario.target.column} == set(table)
    for column, meaning in scenario.columns.items():
        assert meaning.missing or table[column].notna().all()
        assert not meaning.values or set(table[column].dropna()) == set(meaning.values)
    assert table['price_eur'].lt(scenario.target.max).mean() > 0.999
