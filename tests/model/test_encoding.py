"""The contract's encoder, for any values: what a table brings and what JSON brings are the same."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cars import CONTRACT, MAKE
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.written_numbers import Written
from cd4ml_nb.model.contract import Contract, Input, Output, feature_names
from cd4ml_nb.model.encoding import encode

rows = st.lists(
    st.fixed_dictionaries({
        MAKE: st.none() | st.sampled_from(['BMW', 'Audi', '', 'NA', 'Trabant', 'nan', 'None']),
        'km': st.none() | st.floats(-1e30, 1e30) | st.integers(-(10**6), 10**6),
        'new': st.none() | st.booleans(),
        'day': st.none() | st.dates().map(str),
    }),
    min_size=1,
    max_size=30,
)


@settings(max_examples=examples(100), deadline=None)
@given(rows=rows)
def test_a_table_and_json_are_encoded_to_the_same_bits(rows):
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    table = pd.DataFrame({
        MAKE: pd.Series(lists[MAKE], dtype=object),
        'km': pd.array(lists['km'], dtype='float64'),
        'new': pd.array(lists['new'], dtype='boolean'),
        'day': np.array([np.datetime64(d or 'NaT', 'us') for d in lists['day']]),
    })
    one, unseen = encode(CONTRACT, table)
    two, again = encode(CONTRACT, json.loads(json.dumps(lists)))
    assert one.dtype == np.float32 and one.tobytes() == two.tobytes() and unseen == again
    assert sum(unseen.values()) == sum(m in ('Trabant', 'nan', 'None') for m in lists[MAKE])


@settings(max_examples=examples(50), deadline=None)
@given(rows=rows, more=rows)
def test_D35_one_row_never_changes_another(rows, more):
    both = rows + more
    alone, _ = encode(CONTRACT, {n: [r[n] for r in rows] for n in rows[0]})
    together, _ = encode(CONTRACT, {n: [r[n] for r in both] for n in rows[0]})
    assert alone.tobytes() == together[:len(rows)].tobytes()


def test_D30_the_text_NA_is_a_category_when_the_contract_says_so():
    assert (
        encode(
            CONTRACT, {MAKE: ['NA', None], 'km': [1, 1], 'new': [None, None], 'day': [None, None]}
        )[0][:, 0].tolist()[0]
        == 3.0
    )


def test_D31_odd_names_are_kept_outside_and_safe_inside():
    assert (
        feature_names(CONTRACT) == ['f0001', 'f0002', 'f0003', 'f0004']
        and CONTRACT.inputs[0].name == MAKE
    )


def test_text_columns_never_reach_the_model():
    assert 'note' not in [i.name for i in CONTRACT.inputs]


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('km', '3'), ('km', True), ('km', float('inf')), ('km', 1e300), (MAKE, 3), (MAKE, True),
        ('new', 1), ('new', 0), ('new', 'yes'), ('day', 'tomorrow'), ('day', 5), ('km', [1]),
        (MAKE, ['BMW']), ('km', 10**400),
    ],
)
def test_a_value_of_the_wrong_type_is_named_by_its_input(name, value):
    good = {MAKE: ['BMW'], 'km': [1.5], 'new': [True], 'day': ['2026-01-31']}
    with pytest.raises(UserError, match='S05|D26') as caught:
        encode(CONTRACT, good | {name: [value]})
    assert caught.value.where == name


def test_a_category_of_numbers_may_be_sent_as_a_number():
    regions = Input('region', 'region', 'category', categories=('3', '7', '-1'))
    contract = replace(CONTRACT, inputs=(regions,))
    texts, unseen = encode(contract, {'region': ['7', '3', None, '-1', '8']})
    for sent in ([7, 3, None, -1, 8], np.array([7.0, 3.0, np.nan, -1.0, 8.0])):
        numbers, again = encode(contract, {'region': sent})
        np.testing.assert_array_equal(numbers, texts)
        assert again == unseen == {'region': 1}
    for wrong in (True, 7.5):
        with pytest.raises(UserError) as caught:
            encode(contract, {'region': [wrong]})
        assert caught.value.code == 'S05'


def test_a_text_as_written_and_its_number_are_the_same_bits():
    spec = Input('km', 'f0001', 'number', sentinels=('?',),
                 written=Written(thousands=',', after='km'))
    day = Input('day', 'f0002', 'date', format='%m/%d/%Y %I:%M %p')
    contract = Contract('cars', 'regression', (spec, day), Output('price'))
    texts = {'km': ['136,769 km', '7', '?', ''], 'day': ['01/25/2023 8:22 PM', None, None, None]}
    values = {'km': [136769, 7, None, None], 'day': ['2023-01-25T20:22', None, None, None]}
    assert encode(contract, texts)[0].tobytes() == encode(contract, values)[0].tobytes()
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract
    with pytest.raises(UserError, match='S05') as caught:
        encode(contract, texts | {'km': ['7 miles'] * 4})
    assert caught.value.where == 'km' and 'miles' not in caught.value.line


def test_a_contract_that_says_nothing_of_texts_keeps_its_content():
    parts = Contract('cars', 'regression', (Input('km', 'f0001', 'number'),), Output('price'))
    assert not {'written', 'format'} & parts.to_json()['inputs'][0].keys()


def test_rows_of_which_none_has_a_category_are_encoded():
    nothing = pd.Series([None, None], dtype='str')
    table = pd.DataFrame({'km': [1.0, 2.0], 'new': pd.array([True, None], dtype='boolean')})
    table['day'] = np.array(['2020-01-01', 'NaT'], dtype='datetime64[us]')
    numbers, unseen = encode(CONTRACT, table.assign(**{MAKE: nothing}))
    assert np.isnan(numbers[:, 0]).all() and not unseen
