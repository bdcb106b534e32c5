"""The trend: false alarms as rare as promised, a planted decay found in time, and a page that opens
from a folder whatever the records hold."""

import cProfile
import itertools
import json
import math
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
from browsers import visited
from effort import examples
from html_checks import check
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import PAYLOADS, hostile
from runs import PAPERMILL, SMALL, Place

from cd4ml_nb.command.cli import main
from cd4ml_nb.core.files import file_hash, write_json, write_text
from cd4ml_nb.scenario.decay import (
    Point,
    decay_finding,
    evidence,
    improvement,
    limits_of,
    phases,
    rising,
    unusual,
)
from cd4ml_nb.show.trend import read_trend, write_trend

# ---- the rules


def points(values, holdouts=None):
    return [
        Point(
            f'r{k}',
            float(v),
            holdout=str(holdouts[k]) if holdouts is not None else 'h',
            when=f'2026-01-01T{k // 60:02}:{k % 60:02}:00',
        )
        for k, v in enumerate(values)
    ]


def test_the_test_of_order_is_exact():
    values = np.array(list(itertools.permutations(range(6))))
    p = np.array([rising(v, np.zeros(6, int))[1] for v in values])
    for bound in np.unique(p):
        assert math.isclose(
            (p <= bound + 1e-12).mean(), bound
        ), 'as many orders as the probability says'
    blocked = np.array([rising(v, np.array([0, 0, 0, 1, 1, 1]))[1] for v in values])
    for bound in np.unique(blocked):
        assert math.isclose((blocked <= bound + 1e-12).mean(), bound)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=12), st.integers(0, 2**31))
@settings(max_examples=examples(60), deadline=None)
def test_ties_never_make_the_test_bolder(values, seed):
    rng = np.random.default_rng(seed)
    shuffled = np.array([
        rising(rng.permutation(values).astype(float), np.zeros(len(values), int))[1]
        for _ in range(120)
    ])
    for bound in (0.01, 0.05, 0.2):
        assert (shuffled <= bound).mean() <= bound + 4 * math.sqrt(bound * (1 - bound) / 120)


rng = np.random.default_rng(11)
NOISE = {
    'normal': lambda n: rng.normal(size=n),
    'heavy tails': lambda n: rng.standard_t(3, n),
    'skewed': lambda n: np.exp(rng.normal(size=n)),
    'rounded': lambda n: np.round(rng.normal(size=n) * 2) / 2,
}
HOLDOUTS = {
    'one': lambda n: np.zeros(n, int),
    'always new': np.arange,
    'every second': lambda n: np.arange(n) // 2,
    'every eighth': lambda n: np.arange(n) // 8,
    'at random': lambda n: np.cumsum(rng.uniform(size=n) < 0.3),
}


@pytest.mark.parametrize('spread', [0.01, 0.08])
def test_a_stable_series_is_called_red_at_most_as_often_as_promised(spread):
    promised = 0.005
    looks = 0
    red = 0
    series = 12
    for noise, holdouts in itertools.product(NOISE.values(), HOLDOUTS.values()):
        for _ in range(series):
            held = holdouts(36)
            # the level moves with the holdout, as it may
            levels = 1 + 0.1 * rng.normal(size=held.max() + 1) * (0 if holdouts is np.arange else 1)
            all_points = points(1000 * levels[held] * np.maximum(0.1, 1 + spread * noise(36)), held)
            for n in range(6, 37, 2):
                looks = looks + 1
                red = red + bool(
                    (found := decay_finding(all_points[:n], 'mae', level=promised)) and found['red']
                )
    assert looks == 2 * 1920 and red / looks <= promised, f'{red} of {looks}'


@pytest.mark.parametrize('before', [0, 12, 40])
def test_a_decay_of_seven_tenths_of_a_percent_is_found_within_nine_releases(before):
    needed = []
    for _ in range(60):
        values = (
            1600
            * 1.007 ** np.maximum(np.arange(before + 14) - before + 1, 0)
            * (1 + 0.004 * rng.normal(size=before + 14))
        )
        found = (
            n
            for n in range(before + 1, before + 15)
            if (f := decay_finding(points(values[:n]), 'mae')) and f['red']
        )
        needed.append(next(found, math.inf) - before)
    assert np.quantile(needed, 0.95) <= 9, sorted(needed)


def test_the_beginning_and_the_size_of_a_decay_are_named():
    off = []
    sizes = []
    for _ in range(60):
        values = (
            1600 * 1.007 ** np.maximum(np.arange(24) - 14, 0) * (1 + 0.002 * rng.normal(size=24))
        )
        found = decay_finding(points(values), 'mae')
        assert (
            found['kind'] == 'slow'
            and found['within_steps']
            and 'each of the last' in found['reason']
        )
        off.append(abs(int(found['run'][1:]) - 15))
        sizes.append(found['lost'])
    assert np.mean(off) < 1.2 and abs(np.mean(sizes) - (1.007**9 - 1)) < 0.004


@given(st.floats(-0.5, 0.5), st.integers(3, 20), st.integers(3, 20), st.integers(0, 2**31))
@settings(max_examples=examples(80), deadline=None)
def test_a_level_that_comes_with_a_new_holdout_is_never_decay(shift, before, after, seed):
    values = (
        1600
        * np.r_[np.ones(before), np.full(after, 1 + shift)]
        * (1 + 1e-4 * np.random.default_rng(seed).normal(size=before + after))
    )
    held = np.r_[np.zeros(before, int), np.ones(after, int)]
    assert (
        decay_finding(points(values, held), 'mae') is None
        and improvement(points(values, held), 'mae') is None
    )


def test_decay_before_and_after_a_new_holdout_is_added_up_and_the_step_between_left_out():
    values = np.r_[1600 * 1.004 ** np.arange(6), 2000 * 1.004 ** np.arange(6)]
    found = decay_finding(points(values, [0] * 6 + [1] * 6), 'mae')
    assert found['red'] and 0.035 < found['lost'] < 0.045 and 'left out (once)' in found['reason']
    assert found['now'] == pytest.approx(values[-1], rel=0.01), 'told on the present holdout'


def test_values_on_a_holdout_that_comes_back_are_compared_with_the_earlier_ones():
    held = np.tile([0, 0, 1], 7)
    turns = 1600 * (1 + 0.3 * held) * (1 + 0.002 * rng.normal(size=21))
    assert decay_finding(points(turns, held), 'mae') is None
    found = decay_finding(points(turns * 1.004 ** np.arange(21), held), 'mae')
    assert found['red'] and found['kind'] == 'slow' and 0.06 < found['lost'] < 0.1


@given(st.integers(0, 2**31), st.floats(1e-3, 1e6))
@settings(max_examples=examples(40), deadline=None)
def test_a_finding_does_not_depend_on_the_unit(seed, factor):
    values = (
        1600 * 1.006 ** np.arange(14) * (1 + 0.004 * np.random.default_rng(seed).normal(size=14))
    )
    one, other = (decay_finding(points(values * f), 'mae') for f in (1, factor))
    assert (one is None) == (other is None)
    if one:
        assert [one[k] for k in ('red', 'kind', 'run', 'within_steps')] == [
            other[k] for k in ('red', 'kind', 'run', 'within_steps')
        ]
        assert one['lost'] == pytest.approx(other['lost'])


def test_what_is_worse_depends_on_the_metric():
    up = points(0.9 * 1.006 ** np.arange(12))
    assert decay_finding(up, 'log_loss')['red'] and decay_finding(up, 'auc') is None
    assert improvement(up, 'auc')['red'] is False and improvement(up, 'log_loss') is None
    away = points(np.r_[np.zeros(8), -10.0 * np.arange(1, 9)])
    assert (
        decay_finding(away, 'bias', scale=1600)['start']
        > decay_finding(away, 'bias', scale=1600)['now']
        > -90
    )


def test_a_sudden_loss_is_named_and_one_bad_release_is_no_decay():
    stays = points(np.r_[np.full(14, 1600.0), np.full(12, 1700.0)] + np.tile([1.0, -1.0], 13))
    found = decay_finding(stays, 'mae')
    assert (found['kind'], found['red'], found['run']) == (
        'sudden',
        True,
        'r14',
    ) and 'in one step (from 1,600 to 1,700' in found['reason']
    assert decay_finding(points([*np.tile([1599.0, 1601], 10), 2500]), 'mae') is None


def test_a_release_that_mends_the_loss_is_let_through_at_once():
    values = [*(1600 * 1.007 ** np.arange(20)), 1600]
    assert (
        decay_finding(points(values[:-1]), 'mae')['red']
        and decay_finding(points(values), 'mae') is None
    )


def test_half_of_the_margin_is_a_drift_that_is_not_red():
    found = decay_finding(points(1600 * 1.002 ** np.arange(11)), 'mae')
    assert (found['kind'], found['red']) == ('drift', False) and 'are tolerated' in found['reason']


@given(st.lists(st.floats(-1e9, 1e9), max_size=30), st.sampled_from(['mae', 'auc', 'bias', 'r2']))
@settings(max_examples=examples(150), deadline=None)
def test_any_numbers_give_a_finding_that_is_json_or_none(values, metric):
    for look in (decay_finding, improvement):
        found = look(points(values), metric, scale=1.0 if metric == 'bias' else None)
        assert found is None or json.dumps(found, allow_nan=False)
    assert (
        evidence(np.zeros(len(values)), np.zeros(len(values), int), 0.01) == [] if values else True
    )


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=40),
    st.floats(-1e6, 1e6),
    st.floats(0.01, 100),
)
@settings(max_examples=examples(80), deadline=None)
def test_limits_move_and_scale_with_the_values(values, shift, factor):
    one = limits_of(np.array(values))
    other = limits_of(factor * np.array(values) + shift)
    tolerance = 1e-6 * (1 + abs(shift) + factor * max(map(abs, values)))
    for end in ('low', 'centre', 'high'):
        assert abs(factor * getattr(one, end) + shift - getattr(other, end)) <= tolerance
    assert one.low <= one.centre <= one.high


@given(
    st.lists(st.floats(0.1, 1e6), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
@settings(max_examples=examples(80), deadline=None)
def test_phases_are_apart_long_enough_and_within_one_way_of_working(values, new):
    held = np.cumsum(new[:len(values)])
    found = phases('mae', np.array(values), held - held[0])
    spans = [set(range(p.first, p.last + 1)) for p in found]
    assert (
        all(len(s) >= 8 for s in spans)
        and sum(map(len, spans)) == len(set().union(*spans))
        and all(max(s) < len(values) for s in spans)
    )
    assert len(unusual('mae', np.array(values), found)) == len(values)


def test_limits_seldom_call_a_calm_release_unusual_and_call_a_jump_so():
    calm = [
        unusual('mae', v, phases('mae', v, np.zeros(30, int)))
        for v in 100 + rng.normal(size=(150, 30))
    ]
    assert (
        np.mean([bool(words) and 'limits' in words for series in calm for words in series]) < 0.01
    )
    values = np.r_[100 + rng.normal(size=20), 108]
    assert (
        unusual('mae', values, phases('mae', values, np.zeros(21, int)))[-1]
        == 'worse than its limits'
    )
    assert (
        unusual('auc', values, phases('auc', values, np.zeros(21, int)))[-1]
        == 'better than its limits'
    )


# ---- the page

SCENARIO = (
    'name: cars\ngates:\n  - {metric: mae, max: 1_700}\n  - {metric: r2, min: 0.9}\n  - {metric:'
    ' bias, min: -400, max: 400}\n'
)


def series(home, values, refused=(), holdouts=None, text=SCENARIO, **fields):
    """Records of runs, one a day, each with a report of its own."""
    begin = datetime.fromisoformat('2026-01-05T09:30:00+00:00')
    for k, value in enumerate(values):
        metrics = {
            'mae': float(value),
            'r2': 1 - float(value) / 30_000,
            'bias': -40.0 + k % 7,
            'rmse': 1.8 * float(value),
        }
        report = f'report/{k:016x}/report.html'
        write_text(home / report, '<!doctype html><title>x</title>')
        write_json(
            home / 'runs' / f'run{k:04}.json',
            {
                'run': f'run{k:04}',
                'scenario': home.name,
                'title': 'What a used car is worth',
                'started': (begin + timedelta(days=k)).isoformat(),
                'exit_code': 3 if k in refused else 0,
                'accepted': k not in refused,
                'metrics': metrics,
                'holdout': str(holdouts[k]) if holdouts is not None else 'h',
                'metric': {
                    'name': 'mae',
                    'unit': 'EUR',
                    'value': float(value),
                    'low': 0.97 * value,
                    'high': 1.03 * value,
                },
                'report': report,
                'stages': {'evaluate': {'stable': {'metrics': f'{k:064x}'}}},
                'parameters': {'sweep': {'trials': 20 + k // 5, 'tracking': f'sqlite:///{k}'}},
                'code': {
                    'commit': f'{k // 4:040x}',
                    'dirty': False,
                    'sources': {'notebooks/stages/15_train.ipynb': str(k // 4)},
                },
                'scenario_text': text,
                **fields,
            },
        )
    return home


def checked(path):
    """The page, every link of which leads to a file below it."""
    def leads_somewhere(href):
        return (path.parent / unquote(href)).is_file() and (
            path.parent / unquote(href)
        ).resolve().is_relative_to(path.parent.resolve())
    text = path.read_text(encoding='utf-8')
    json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
    assert len(text) < 1_000_000
    return check(text, leads_somewhere)


def quiet(n, spread=0.003):
    return 1600 * (1 + spread * np.random.default_rng(n).normal(size=n))


@pytest.mark.parametrize('n', [0, 1, 2, 8, 300])
def test_any_number_of_releases_has_a_page(tmp_path, n):
    (tmp_path / 'cars' / 'runs').mkdir(parents=True)
    series(tmp_path / 'cars', quiet(n), refused=range(3, n, 25))
    page = checked(write_trend(tmp_path, 'cars'))
    assert ('Stable.' if n > 5 else 'Too early to tell.' if n else 'No release yet.') in page.text
    assert (
        sum(tag == 'svg' for tag, _ in page.tags) == (4 if n else 0)
        and len([h for h in page.attributes('href')]) == n
    )
    assert ('Too few releases for limits: 8 are needed' in page.text) == (
        0 < n < 8 or n == 8
    ), 'one of eight was refused'


def test_wording_filled_in_afterwards_is_no_release_and_names_the_unit(tmp_path):
    home = series(tmp_path / 'cars', [1600.0, 1600.0, 1500.0])
    for k in (0, 1, 2):
        path = home / f'runs/run000{k}.json'
        content = json.loads(path.read_text())
        content['metric']['unit'] = 'EUR' if k == 1 else ''
        content['metrics']['bias'] = 1.0
        content['title'] = 'Said better' if k == 1 else 'Said'
        content['stages']['evaluate']['stable'] = {
            'metrics': f'{k}',
            'predictions': 'one' if k < 2 else 'another',
        }
        write_json(path, content)
    trend = read_trend(tmp_path, 'cars')
    assert [(r.record.run, r.repeats, r.record.title) for r in trend.releases] == [
        ('run0000', 1, 'Said better'),
        ('run0002', 0, 'Said'),
    ]
    assert trend.demands.unit == 'EUR'


def test_a_trend_is_judged_since_a_run_by_any_of_its_names(tmp_path):
    for name in ('run0002', 'latest~1'):
        home = series(tmp_path / 'cars', quiet(4), text=SCENARIO + f'trend: {{since: {name}}}\n')
        assert read_trend(home.parent, 'cars').demands.since == 'run0002'


def calls_of(do, *args) -> int:
    """The number of Python functions that a call calls: its work, without a clock."""
    profile = cProfile.Profile()
    profile.runcall(do, *args)
    return sum(entry.callcount for entry in profile.getstats())


def test_ten_times_as_many_releases_take_at_most_ten_times_the_work(tmp_path):
    calls = {}
    for n in (30, 300):
        series(tmp_path / f'of_{n}', quiet(n))
        write_trend(tmp_path, f'of_{n}')
        calls[n] = calls_of(write_trend, tmp_path, f'of_{n}')
    assert calls[300] < 11 * calls[30]


def test_more_releases_than_a_page_holds_are_counted(tmp_path):
    series(tmp_path / 'cars', np.r_[quiet(320), 1600 * 1.007 ** np.arange(1, 10)])
    page = checked(write_trend(tmp_path, 'cars'))
    assert (
        '29 earlier releases stand in trend.json.' in page.text
        and 'Slowly getting worse.' in page.text
    )
    assert len(json.loads((tmp_path / 'cars' / 'trend.json').read_text())['releases']) == 329


def test_a_slow_decay_is_the_first_thing_said(tmp_path):
    home = series(tmp_path / 'cars', np.r_[quiet(12), 1600 * 1.007 ** np.arange(1, 8)], refused=[4])
    page = checked(write_trend(tmp_path, 'cars'))
    for said in (
        'Slowly getting worse.',
        'each of the last 7 releases was within 2.5 % of the one before, together they lost',
        '19 releases, 1 of them refused',
        '5 January 2026 to 23 January 2026',
        'sweep.trials 22 → 23',
        'code: 15_train (0000000)',
        'at most 1,700 EUR',
    ):
        assert said in page.text, said
    content = json.loads((home / 'trend.json').read_text())
    assert (
        content['red']
        and [m['metric'] for m in content['metrics'] if m['finding'] and m['finding']['red']][0]
        == 'mae'
    )


def test_what_the_scenario_tolerates_and_forgives_counts(tmp_path):
    values = np.r_[quiet(12), 1600 * 1.007 ** np.arange(1, 8)]
    series(tmp_path / 'wide', values, text=SCENARIO + 'trend: {margin: 0.2}\n')
    series(tmp_path / 'since', values, text=SCENARIO + 'trend: {since: run0016}\n')
    assert (
        not read_trend(tmp_path, 'wide').verdict.red
        and not read_trend(tmp_path, 'since').verdict.red
    )
    assert 'judged from run0016 on' in checked(write_trend(tmp_path, 'since')).text


def test_a_new_holdout_is_marked_and_its_step_is_not_counted(tmp_path):
    series(tmp_path / 'cars', np.r_[quiet(10), quiet(10) * 1.08], holdouts=['a'] * 10 + ['b'] * 10)
    page = checked(write_trend(tmp_path, 'cars'))
    assert (
        'Stable.' in page.text
        and 'With the new holdout of 15 January 2026 the level went from' in page.text
    )
    assert (
        page.words.count('new holdout') == 4 and 'other holdout' in page.text
    ), 'in each chart, and in the table'
    assert ['other holdout' in r.changes for r in read_trend(tmp_path, 'cars').releases] == [
        k == 10 for k in range(20)
    ]


def test_a_holdout_that_comes_back_is_called_an_earlier_one_and_its_limits_begin_anew(tmp_path):
    series(
        tmp_path / 'cars',
        np.r_[quiet(9), np.full(6, 1900.0), quiet(9)],
        holdouts=list('a' * 9 + 'b' * 6 + 'a' * 9),
    )
    page = checked(write_trend(tmp_path, 'cars'))
    assert (
        page.words.count('new holdout') == 4
        and page.words.count('earlier holdout') == 4
        and 'Stable.' in page.text
    )
    assert [(b.first, b.last) for b in read_trend(tmp_path, 'cars').metrics[0].limits] == [
        (0, 8),
        (15, 23),
    ]


def test_the_last_run_is_judged_although_it_was_refused_and_earlier_refused_ones_are_not(tmp_path):
    slides = np.r_[quiet(12), 1600 * 1.007 ** np.arange(1, 7)]
    enough = next(
        n
        for n in range(13, 19)
        if (f := decay_finding(points(slides[:n]), 'mae', level=0.005 / 3)) and f['red']
    )
    series(tmp_path / 'last', slides[:enough], refused=[enough - 1])
    assert read_trend(tmp_path, 'last').verdict.red and 'The last run was refused' in ' '.join(
        read_trend(tmp_path, 'last').verdict.sentences
    )
    series(tmp_path / 'before', slides[:enough - 1])
    assert not read_trend(tmp_path, 'before').verdict.red
    series(
        tmp_path / 'tried', np.r_[quiet(12), 1600 * 1.01 ** np.arange(1, 10)], refused=range(12, 21)
    )
    assert not read_trend(tmp_path, 'tried').verdict.red, 'none of these was released'


def test_a_run_that_measured_the_same_model_is_counted_and_not_drawn(tmp_path):
    home = series(tmp_path / 'cars', quiet(4))
    record = json.loads((home / 'runs' / 'run0003.json').read_text())
    for k in (4, 5):
        write_json(
            home / 'runs' / f'run{k:04}.json',
            record | {'run': f'run{k:04}', 'started': f'2026-02-0{k}T00:00:00+00:00'},
        )
    assert [r.repeats for r in read_trend(tmp_path, 'cars').releases] == [0, 0, 0, 2]
    assert '(run 2 more times, with the same result)' in checked(write_trend(tmp_path, 'cars')).text


def test_intervals_of_older_records_come_from_the_products_that_they_name(tmp_path):
    home = series(tmp_path / 'cars', quiet(3))
    for k, set_aside in enumerate((False, True, False)):
        folder = home / 'evaluate' / f'{k:016x}'
        path = home / 'runs' / f'run{k:04}.json'
        write_json(
            folder / 'metrics.json',
            {
                'task': 'regression',
                'metric': 'r2',
                'n_rows': 900 + k,
                'holdout': {'r2': {'value': 0.9, 'low': 0.1 * k, 'high': 0.99}},
            },
        )
        write_json(folder / 'manifest.json', {'k': k})
        digest = file_hash(folder / 'manifest.json')
        record = json.loads(path.read_text())
        if set_aside:
            shutil.move(folder, folder.with_name(f'{folder.name}~{digest[:12]}'))
        record['stages']['evaluate'] |= {
            'key': folder.name,
            'manifest': digest if k < 2 else 'f' * 64,
        }
        write_json(path, record)
    found = read_trend(tmp_path, 'cars').releases
    assert [(r.n_rows, r.values['r2'].low) for r in found] == [
        (900, 0.0),
        (901, 0.1),
        (None, None),
    ]
    assert all(r.values['mae'].low for r in found)


@pytest.mark.parametrize('damage', [
    b'',
    b'{"run":',
    b'\xff\xfe',
    b'[]',
    b'null',
    b'{"run": 3}',
    b'{"run": "a", "stages": []}',
])
def test_a_damaged_record_is_named_and_never_a_failure(tmp_path, damage):
    home = series(tmp_path / 'cars', quiet(5))
    (home / 'runs' / 'run0002.json').write_bytes(damage)
    page = checked(write_trend(tmp_path, 'cars'))
    assert 'damaged and left out: run0002' in page.text and '4 releases' in page.text


FIELDS = [
    'started', 'metric', 'metrics', 'report', 'title', 'stages', 'code', 'parameters',
    'scenario_text', 'versions', 'holdout', 'intervals', 'n_rows',
]


@pytest.mark.parametrize('field', FIELDS)
def test_a_record_with_any_value_in_any_field_is_shown_or_named(tmp_path, field):
    home = series(tmp_path / 'cars', quiet(4))
    good = json.loads((home / 'runs' / 'run0003.json').read_text())
    odd = (
        None,
        [],
        {},
        -1,
        'x',
        {'name': 'mae', 'value': 'x'},
        {'mae': 1e300},
        {'mae': float('nan')},
        {'a': {'b': [{}]}},
        True,
        float('nan'),
        1e300,
        '<script>',
    )
    for k, value in enumerate(odd):
        (home / 'runs' / f'odd{k:02}.json').write_text(
            json.dumps(good | {'run': f'odd{k:02}', field: value}), encoding='utf-8'
        )
    page = checked(write_trend(tmp_path, 'cars'))
    content = json.loads((home / 'trend.json').read_text())
    seen = {r['run'] for r in content['releases']} | set(content['damaged'])
    assert (
        'run0000' in seen
        and len(seen) + sum(r['repeats'] for r in content['releases']) + content['unjudged'] == 17
        and page.text
    )


def test_X05_hostile_records_are_inert(tmp_path):
    for k, payload in enumerate(PAYLOADS):
        home = series(tmp_path / f's{k}', quiet(3))
        for path in (home / 'runs').glob('*.json'):
            record = json.loads(path.read_text())
            texts = {
                name: hostile(record[name], payload)
                for name in (
                    'run', 'title', 'report', 'code', 'parameters', 'stages', 'holdout',
                    'scenario_text',
                )
            }
            write_json(
                path,
                record | texts | {
                    'metric': record['metric'] | {'unit': payload},
                    'versions': {payload: payload},
                },
            )
        (home / 'runs' / 'broken&<b>.json').write_text('{')
        checked(write_trend(tmp_path, home.name))


@pytest.mark.parametrize('place', [
    '../../secret.html',
    '/etc/hostname',
    'javascript:alert(1)',
    'https://example.org/x.html',
    'report',
    'runs/run0000.json',
    'link/x.html',
])
def test_only_a_report_of_the_scenario_is_linked(tmp_path, place):
    home = series(tmp_path / 'products' / 'cars', quiet(1), report=place)
    write_text(tmp_path / 'secret.html', 'secret')
    write_text(tmp_path / 'outside' / 'x.html', 'secret')
    (home / 'link').symlink_to(tmp_path / 'outside')
    assert checked(write_trend(tmp_path / 'products', 'cars')).attributes('href') == []


def test_the_page_is_the_same_when_nothing_changed_and_moves_with_its_folder(tmp_path):
    series(tmp_path / 'a' / 'cars', quiet(12), refused=[3])
    before = write_trend(tmp_path / 'a', 'cars').read_bytes()
    shutil.move(tmp_path / 'a', tmp_path / 'b c')
    checked(tmp_path / 'b c' / 'cars' / 'trend.html')
    assert (
        write_trend(tmp_path / 'b c', 'cars').read_bytes() == before
        and str(tmp_path).encode() not in before
    )


def test_a_page_written_elsewhere_still_leads_to_the_reports(tmp_path):
    series(tmp_path / 'products' / 'cars', quiet(2))
    path = write_trend(tmp_path / 'products', 'cars', tmp_path / 'elsewhere' / 'cars.html')
    check(path.read_text(encoding='utf-8'), lambda href: (path.parent / unquote(href)).is_file())


def test_a_browser_asks_for_nothing_and_the_page_fits_any_screen(browser, tmp_path):
    series(
        tmp_path / 'cars',
        np.r_[quiet(12), 1600 * 1.007 ** np.arange(1, 8)],
        refused=[4],
        holdouts=[k // 10 for k in range(19)],
    )
    path = write_trend(tmp_path, 'cars')
    assert visited(browser, path) == ([], [])
    for width in (1200, 420):
        browser.set_window_size(width, 900)
        assert not browser.execute_script(
            'return document.documentElement.scrollWidth > document.documentElement.clientWidth'
        )
    outside = '''return [...document.querySelectorAll("svg.trend")].flatMap(s => {
        const all = s.getBoundingClientRect();
        return [...s.querySelectorAll("text")].filter(t => {
            const b = t.getBoundingClientRect();
            return b.width && (b.left < all.left - 1 || b.right > all.right + 1
                               || b.top < all.top - 1 || b.bottom > all.bottom + 1)
        }).map(t => t.textContent) })'''
    browser.set_window_size(1200, 900)
    browser.execute_script('document.querySelectorAll("details").forEach(d => d.open = true)')
    assert browser.execute_script(outside) == [], 'a label is cut off'


# ---- the command

@pytest.fixture
def answered(tmp_path, monkeypatch, capsys):
    """`cd4ml trend` on made releases of a scenario: its exit code, and what it prints."""
    monkeypatch.setenv('CD4ML_PRODUCTS', str(tmp_path))

    def answer(values, *words: str) -> tuple[int, str, str]:
        series(tmp_path / 'used_cars', values)
        code = main(['trend', '-s', 'used_cars', *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return answer


DECAYED = np.r_[quiet(12), 1600 * 1.007 ** np.arange(1, 8)]


def test_a_gate_on_the_trend_refuses_a_decay_and_without_the_gate_it_is_only_said(
    answered, tmp_path
):
    code, out, err = answered(DECAYED, '--gate')
    assert code == 3 and 'Slowly getting worse.' in out
    last = err.splitlines()[-1]
    assert last.startswith('ERROR DECAY used_cars: ') and 'together they lost' in last
    assert str(tmp_path / 'used_cars/trend.html') in last
    assert (tmp_path / 'used_cars/trend.html').is_file()
    code, out, err = answered(DECAYED)
    assert code == 0 and 'Slowly getting worse.' in out and 'DECAY' not in err


def test_a_gate_on_the_trend_lets_stable_releases_through(answered):
    code, out, err = answered(quiet(19), '--gate')
    assert code == 0 and 'Stable.' in out and err == ''


# ---- real runs

@pytest.mark.slow
def test_real_runs_have_a_trend_and_its_page_runs_by_papermill(tmp_path):
    place = Place(tmp_path)
    for words in ((), ('-p', 'seed=11')):
        assert place.run(*SMALL, *words, '--until', 'register').returncode == 0
    words = (
        'notebooks/show/trend.ipynb',
        str(tmp_path / 'page.ipynb'),
        '-p',
        'scenario',
        'scenarios/breast_cancer.yaml',
        '--cwd',
        '.',
    )
    done = place.run(*words, command=PAPERMILL)
    assert done.returncode == 0, done.stderr
    page = checked(tmp_path / 'products' / 'breast_cancer' / 'trend.html')
    for said in (
        'Too early to tell.', '2 releases', 'Surprise at the actual outcome', 'new holdout',
        'seed 7 → 11', 'at least .930',
    ):
        assert said in page.text, said
    content = json.loads((tmp_path / 'products' / 'breast_cancer' / 'trend.json').read_text())
    assert all(r['metrics']['auc']['low'] for r in content['releases'])
    evaluated = (tmp_path / 'products/breast_cancer/evaluate').glob('*/predictions.parquet')
    n_rows = {pq.read_metadata(path).num_rows for path in evaluated}
    assert {release['n_rows'] for release in content['releases']} == n_rows
    assert 'image/svg+xml' in Path(tmp_path / 'page.ipynb').read_text(encoding='utf-8')
