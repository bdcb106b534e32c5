"""Ready-made features give what the libraries give, to the bit or to rounding."""

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import KBinsDiscretizer, TargetEncoder

from cd4ml_nb.model.ready_made import (
    bin_of,
    fit_bins,
    fit_frequency,
    fit_means,
    fit_pooled,
    mean_of,
    part_of,
    pooled_value,
    share_of,
)
from cd4ml_nb.model.words import counts_of, fit_words

LETTERS = st.text('abAB É1 -.ß', max_size=12)


def texts(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.sampled_from('abcde'), min_size=20, max_size=80), st.integers(0, 2**31))
def test_the_mean_of_the_target_is_that_of_the_library(values, seed):
    y = np.random.default_rng(seed).normal(10, 3, len(values))
    state = fit_means(texts(values), y, smoothing=7.0)
    library = TargetEncoder(smooth=7.0, target_type='continuous')
    library.fit(np.array(values)[:, None], y)
    asked = ['a', 'b', 'e', 'never seen']
    theirs = library.transform(np.array(asked, dtype=object)[:, None])[:, 0]
    np.testing.assert_allclose(mean_of(texts(asked), state), theirs, rtol=1e-12)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(LETTERS, min_size=12, max_size=40), st.lists(LETTERS, min_size=1, max_size=9))
def test_words_are_counted_as_the_library_counts_them(learned, asked):
    state = fit_words(texts(learned), most=20, least=2)
    if not state['words']:
        return
    library = CountVectorizer(ngram_range=(1, 2), vocabulary=state['words'])
    theirs = library.transform(asked).toarray()
    assert np.array_equal(counts_of(texts(asked), state), theirs)


def test_bins_are_those_of_the_library():
    x = np.random.default_rng(0).lognormal(0, 1, 500)
    library = KBinsDiscretizer(10, encode='ordinal', strategy='quantile',
                               quantile_method='linear').fit(x[:, None])
    asked = np.random.default_rng(1).lognormal(0, 2, 300)
    ours = bin_of(asked, fit_bins(x, 10))
    assert np.array_equal(ours, library.transform(asked[:, None])[:, 0])


def test_frequencies_and_rare_values_are_those_of_pandas():
    often = [0.4, 0.3, 0.2, 0.05, 0.03, 0.01, 0.01]
    values = np.random.default_rng(0).choice(list('abcdefg'), 300, p=often)
    shares = pd.Series(values).value_counts(normalize=True)
    found = share_of(texts(values), fit_frequency(texts(values)))
    np.testing.assert_allclose(found, shares[values].to_numpy(), rtol=1e-12)
    kept = fit_pooled(texts(values), 20)
    common = set(shares[shares * 300 > 19.5].index)
    assert set(kept) == common
    assert set(pooled_value(texts(['a', 'g', None, 'new']), kept)) == {'a', 'other', None}


@pytest.mark.parametrize('part', ['year', 'month', 'day', 'weekday', 'hour', 'day_of_year'])
def test_parts_of_dates_are_those_of_pandas(part):
    stamps = pd.Series(pd.date_range('1969-11-30', '2031-01-01', periods=999))
    name = {'weekday': 'day_of_week'}.get(part, part)
    theirs = getattr(stamps.dt, name).to_numpy()
    assert np.array_equal(part_of(stamps.to_numpy('datetime64[us]'), part), theirs)


def test_classes_have_a_mean_each():
    target = np.eye(3)[[0, 1, 2, 2]]
    state = fit_means(texts(['a', 'a', 'b', 'b']), target, smoothing=0.0)
    assert mean_of(texts(['b', 'a']), state).tolist() == [[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]
