"""Figures: equal inputs give equal files, small ones, that hold any name and both colour schemes.
"""

import re
import xml.dom.minidom

import numpy as np
import pytest
from matplotlib import pyplot
from report_examples import PAYLOADS

from cd4ml_nb.scenario.metrics import calibration_bins
from cd4ml_nb.show import figures as f
from cd4ml_nb.show import model_figures as m
from cd4ml_nb.show import sweep_figures as s

rng = np.random.default_rng(0)
TRIALS = [
    {
        'number': k,
        'state': ['complete', 'complete', 'pruned', 'failed'][k % 4],
        'value': None if k % 4 == 3 else 10 + rng.normal(),
        'params': {
            'eta': float(10 ** rng.uniform(-3, 0)),
            'depth': int(rng.integers(3, 9)),
            'kind': 'ab'[k % 2],
        },
    }
    for k in range(40)
]
ROWS = [
    {'value': f'group {k}', 'n': 100 - k, 'low': 1.0, 'middle': 2.0 + k, 'high': 3.0 + 2 * k}
    for k in range(40)
]


def drawn(kind, name='mileage'):
    """One figure of a kind, with a name in every place that takes one."""
    x = np.random.default_rng(0).gamma(2, 5000, 3000)
    y = x * np.exp(np.random.default_rng(1).normal(0, 0.2, 3000))
    p = np.linspace(0.01, 0.99, 500)
    other = name + '2'
    named = [
        t | {'params': {**t['params'], name: t['number'], other: name + str(t['number'] % 3)}}
        for t in TRIALS
    ]
    rows = [{**row, 'value': name + str(k)} for k, row in enumerate(ROWS)]
    bins = calibration_bins((p > 0.5).astype(int), p)
    return {
        'history': lambda: s.sweep_history(TRIALS, name, unit=name),
        'importance': lambda: s.parameter_importance({name: 0.7, other: 0.3}),
        'paths': lambda: s.parallel_coordinates(named),
        'confusion': lambda: m.confusion(np.array([[3, 1], [0, 4]]), [name, other]),
        'calibration': lambda: m.calibration_curve(bins, name),
        'residuals': lambda: m.residual_plot(x, y, name, name),
        'truth': lambda: m.predicted_vs_actual(x[:900], y[:900], name, name),
        'dots': lambda: m.interval_dots(rows, name, name, 5.0),
        'contributions': lambda: m.contribution_bars([name, name], [-3.0, 2.0], name),
        'categories': lambda: f.category_bars({name: 3, other: 5}, name),
        'histogram': lambda: f.histogram(*np.histogram(x, 30), name, name),
    }[kind]()


KINDS = [
    'history', 'importance', 'paths', 'confusion', 'calibration', 'residuals', 'truth', 'dots',
    'contributions', 'categories', 'histogram',
]


@pytest.mark.parametrize('kind', KINDS)
def test_each_figure_is_one_small_scheme_aware_element(kind):
    text = f.svg(drawn(kind), f'what {kind} shows')
    root = xml.dom.minidom.parseString(text).documentElement
    assert root.tagName == 'svg' and root.getAttribute('role') == 'img'
    assert root.getAttribute('aria-label') == f'what {kind} shows'
    assert root.getElementsByTagName('title')[0].firstChild.data == f'what {kind} shows'
    assert root.getElementsByTagName('text'), 'letters stay letters'
    assert len(text) < 150_000
    fixed = re.search(r'#[0-9a-f]{6}\b|rgb\(|font-family|http|metadata', text)
    assert not fixed, 'a colour or font that the page cannot change, or an address'
    assert 'var(--ink)' in text or 'var(--muted)' in text


@pytest.mark.parametrize('kind', ['paths', 'residuals', 'dots'])
def test_equal_figures_are_equal_texts(kind):
    assert f.svg(drawn(kind), kind) == f.svg(drawn(kind), kind)


def test_identifiers_of_two_figures_do_not_meet_and_all_references_resolve():
    texts = [f.svg(drawn(kind), kind) for kind in ('residuals', 'truth', 'dots', 'categories')]
    ids = [set(re.findall(r' id="([^"]+)"', t)) for t in texts]
    for text, own in zip(texts, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= own
    assert sum(map(len, ids)) == len(set().union(*ids))


@pytest.mark.parametrize('kind', KINDS)
def test_X05_a_hostile_name_is_only_text(kind):
    for payload in (PAYLOADS[1], PAYLOADS[17], PAYLOADS[21]):
        check_inert(f.svg(drawn(kind, payload), payload))


def test_X05_every_payload_is_only_text():
    bars = f.category_bars(dict.fromkeys(PAYLOADS, 1), 'all of them', most=len(PAYLOADS))
    check_inert(f.svg(bars, ' '.join(PAYLOADS)))


TAGS = {'svg', 'title', 'g', 'path', 'text', 'use', 'defs', 'clipPath', 'rect', 'tspan'}


def check_inert(text):
    for element in xml.dom.minidom.parseString(text).getElementsByTagName('*'):
        assert element.tagName in TAGS
        assert not [name for name in element.attributes.keys() if name.startswith('on')]


def test_a_name_in_any_script_or_with_formula_signs_is_drawn_as_it_is():
    counts = {'$x^2$': 1, 'Škoda': 2, '車': 3, '🚗': 4, '\x00\x1b[31mred': 5}
    text = f.svg(f.category_bars(counts, 'names'), 'names')
    for shown in ('$x^2$', 'Škoda', '車', '🚗', r'\x1b[31mred'):
        assert shown in text


@pytest.mark.parametrize('trials', [
    [],
    TRIALS[:1],
    [t for t in TRIALS if t['state'] == 'failed'],
    [{**TRIALS[0], 'params': {}}],
])
def test_a_sweep_with_hardly_a_trial_still_has_its_figures(trials):
    assert '<svg' in f.svg(s.sweep_history(trials, 'mae'), 'history')
    assert '<svg' in f.svg(s.parallel_coordinates(trials), 'paths')


def test_a_million_cases_are_as_small_as_a_thousand():
    x = np.random.default_rng(0).gamma(2, 5000, 1_000_000)
    predicted = x * 1.01 + np.random.default_rng(1).normal(0, 500, len(x))
    text = f.svg(m.residual_plot(x, predicted, 'price', 'EUR'), 'errors')
    assert len(text) < 150_000


def test_a_perfect_model_and_a_constant_one_can_be_drawn():
    y = np.arange(100.0)
    for predicted in (y, np.full(100, 5.0)):
        f.svg(m.residual_plot(y, predicted), 'errors')
        f.svg(m.predicted_vs_actual(y, predicted), 'truth')
    f.svg(m.calibration_curve(calibration_bins(np.ones(7), np.full(7, 0.5))), 'calibration')


def test_bins_hold_every_case_once_and_their_intervals_hold_the_frequency():
    p = np.random.default_rng(0).uniform(size=1003)
    bins = calibration_bins((p > 0.5).astype(int), p, 7)
    assert sum(bins['n']) == 1003 and max(bins['n']) - min(bins['n']) <= 1
    intervals = zip(bins['low'], bins['actual'], bins['high'], strict=True)
    assert all(low - 1e-9 <= actual <= high + 1e-9 for low, actual, high in intervals)


def test_figures_leave_nothing_open_and_show_themselves_as_png():
    before = pyplot.get_fignums()
    assert f.category_bars({'a': 1}, 'title')._repr_png_().startswith(b'\x89PNG')
    assert pyplot.get_fignums() == before
