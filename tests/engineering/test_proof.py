"""What could give something else when a model serves is refused by name; good features pass."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import project_root
from cd4ml_nb.engineering.fitting import fit_features
from cd4ml_nb.engineering.leaking import refuse_leaks
from cd4ml_nb.engineering.proof import prove
from cd4ml_nb.engineering.wheel import feature_package, write_wheel
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.model.derived import derived_values
from cd4ml_nb.model.feature_code import feature_module, offer_wheel, wheel_name
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.training.training import matrix

HEAD = '''
import numpy as np
{}
from ..model.features import feature
'''
SCHEMA = Schema.model_validate({
    'target': {'name': 'y', 'task': 'regression', 'scale': 'linear', 'classes': None},
    'columns': [
        {'name': 'km', 'type': 'number', 'role': 'feature'},
        {'name': 'make', 'type': 'category', 'role': 'feature', 'categories': ['a', 'b']},
        {'name': 'day', 'type': 'date', 'role': 'feature'},
        {'name': 'note', 'type': 'text', 'role': 'ignore'},
        {'name': 'contact', 'type': 'text', 'role': 'ignore', 'personal': True},
    ],
})


def rows(n=300):
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        'km': rng.random(n) * 1e5,
        'make': rng.choice(['a', 'b'], n),
        'day': pd.Timestamp('2020-01-01') + pd.to_timedelta(rng.integers(0, 900, n), unit='D'),
        'note': rng.choice(['one owner', 'two owners', 'new tyres'], n),
        'contact': [f'Person {k}' for k in range(n)],
        'y': rng.random(n),
    })


class Packages:
    """Packages of features made from source, as a project's module would be."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.package = folder / 'cd4ml_nb'
        (self.package / 'features').mkdir(parents=True)
        for name in ('__init__.py', 'core', 'model'):
            (self.package / name).symlink_to(project_root() / 'cd4ml_nb' / name)

    def made(self, body: str, imports: str = '', use=('f',)):
        (self.package / 'features' / 'mine.py').write_text(HEAD.format(imports) + body)
        code, modules = feature_package(self.package, 'features.mine', list(use))
        path = self.folder / wheel_name(code.package)
        write_wheel(path, code.package, modules)
        offer_wheel(path)
        return code, modules, path

    def prove(self, body: str, imports: str = ''):
        code, modules, path = self.made(body, imports)
        table = rows()
        return prove(code, modules, ['f'], SCHEMA, table, table['y'].to_numpy(), path, 0)

    def contract(self, body: str, imports: str = '', use=('f',)) -> Contract:
        code, *_ = self.made(body, imports, use)
        table = rows()
        found = fit_features(code, list(use), SCHEMA, table, table['y'].to_numpy())
        return make_contract(SCHEMA, 'mine', features=found)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.setenv('FEATURE_WHEELS', '')
    return Packages(tmp_path)


def one(column: str, value: str, more: str = '', **words: str) -> str:
    """The source of a feature of one column, x."""
    said = ''.join(f', {key}={text}' for key, text in words.items())
    state = ', state' if 'fit' in words else ''
    return f"{more}\n\n@feature('{column}'{said})\ndef f(x{state}):\n    return {value}\n"


def each(value: str, kind: str = 'float') -> str:
    """An array of a value for each text t."""
    return f'np.array([{value} for t in x], dtype={kind})'


FIT = 'def fit_it(x):\n    return {}\n'
DAY = "np.timedelta64(1, 'D')"
GOOD = {
    'arithmetic': one('km', 'x / 1000'),
    'a date': one('day', f"(x - np.datetime64('2020-01-01')) / {DAY}"),
    'a text': one('note', each('np.nan if t is None else len(t)')),
    'a category': one('make', each('t and t.upper()', 'object'), kind="'category'"),
    'fitted': one('km', 'x - state[0]', FIT.format('[float(np.nanmean(x))]'), fit='fit_it'),
    'a cache of a pure function': one(
        'note', each('measure(t)'), 'import functools\n\n\n@functools.lru_cache(9)\n'
        'def measure(t):\n    return len(t or "")'
    ),
    'an object of numpy': one(
        'note', 'measure(x)', 'measure = np.vectorize(lambda t: len(t or ""))'
    ),
    'a warning of numpy': one(
        'km', 'measure(x)', 'measure = np.vectorize(lambda v: float(np.log(v)), otypes=[float])'
    ),
    'what a property computes once': one(
        'km', 'x * SHAPE.factor', 'import functools\n\n\nclass Shape:\n'
        '    @functools.cached_property\n    def factor(self):\n        return 2.0\n\n\n'
        'SHAPE = Shape()'
    ),
    'a total inside': one(
        'note', each('total(t)'), 'def total(t):\n    n = 0\n    def add():\n        nonlocal n\n'
        '        n += 1\n    add()\n    return n + len(t or "")'
    ),
    'a table over a set': one(
        'note', 'table(x)', 'def table(x):\n    known = {t: len(t or "") for t in set(x)}\n'
        '    return np.array([known[t] for t in x], dtype=float)'
    ),
    'a sorted set': one('note', each("len(''.join(sorted(set(t or ''))))")),
    'seeded chance': one(
        'km', 'TABLE[np.nan_to_num(x).astype(int) % 7]',
        'TABLE = np.random.default_rng(3).random(7)',
    ),
}
WITHOUT_ORDER = "{t or ' ', 'b', 'aa', 'ccc'}"
BAD = {    # body, what is said, imports
    'the mean of its batch': (one('km', 'x - np.nanmean(x)'), 'its batch', ''),
    'its rank': (one('km', 'np.argsort(np.argsort(x)).astype(float)'), 'its batch', ''),
    'the size of its batch': (one('km', 'x * (len(x) > 50)'), 'its batch', ''),
    'the row before': (one('km', 'np.r_[0.0, x[:-1]]'), 'its batch', ''),
    'a count of calls': (
        one('km', 'x + (SEEN.append(1) or len(SEEN))', 'SEEN = []'), 'its batch', ''
    ),
    'the clock': (one('km', 'x + time.time()'), 'imports time', 'import time'),
    'today': (one('day', f"(np.datetime64('today') - x) / {DAY}"), "'today'", ''),
    'the clock by another name': (
        one('km', "x + getattr(datetime.datetime, 'no' + 'w')().year"), 'clock', 'import datetime'
    ),
    'chance': (one('km', 'x + np.random.default_rng().random(len(x))'), 'chance', ''),
    'old chance': (one('km', 'x + np.random.rand()'), 'chance', ''),
    'a file': (one('km', "x + len(open('/etc/hostname').read())"), 'uses open', ''),
    'a file by another way': (
        one('km', "x + len(getattr(np, 'from' + 'file')('/etc/hostname', 'u1'))"),
        'opens a file', '',
    ),
    'the environment': (one('km', 'x + len(os.environ)'), 'imports os', 'import os'),
    'the hash of a text': (one('note', each('hash(t) % 7')), 'uses hash', ''),
    'the order of a set': (
        one('note', each(f"ord(min({WITHOUT_ORDER}, key=lambda s: 0)[0])")), 'order of a set', ''
    ),
    'the order of a set by another way': (
        one('note', each("ord(' '.join(SOME(t))[0])"), 'SOME = lambda t: {t or " ", "b", "aa"}'),
        'another process', '',
    ),
    'chance whose error it catches': (
        "\n\n@feature('km')\ndef f(x):\n    try:\n        return x + np.random.permutation(9)[0]\n"
        '    except Exception:\n        return x + 0.0', 'chance', '',
    ),
    'a code by first sight': (
        one('make', each('SEEN.setdefault(t, len(SEEN))'), 'SEEN = {}'), 'remembers something', ''
    ),
    'a default that changes': (
        one('make', each('code(t)'), 'def code(t, seen={}):\n'
            '    return seen.setdefault(t, len(seen))'), 'remembers something', '',
    ),
    'the first batch': (
        one('km', 'x - (LAST or LAST.append(float(np.nan_to_num(x)[-1])) or LAST)[0]',
            'LAST = []'), 'remembers something', '',
    ),
    'a generator of the module': (
        one('km', 'np.where(np.isnan(x), R.random(), x)', 'R = np.random.default_rng(1)'),
        'its batch', '',
    ),
    'a state that it changes': (
        one('km', 'x / (state.append(1.0) or sum(state))', FIT.format('[1.0]'), fit='fit_it'),
        'its batch', '',
    ),
    'a state kept elsewhere': (
        one('km', 'x - KEPT[0]', 'KEPT = [0.0]\ndef fit_it(x):\n'
            '    KEPT[0] = float(np.nanmean(x))\n    return True', fit='fit_it'),
        'outside its state', '',
    ),
    'a fit by chance': (
        one('km', 'x - state', 'R = np.random.default_rng(1)\n'
            + FIT.format('float(R.choice(np.nan_to_num(x)))'), fit='fit_it'), 'fitted', '',
    ),
    'the median of rows without a make': (
        "\n\n@feature('km', 'make')\ndef f(x, make):\n"
        "    known = np.array([t in ('a', 'b') for t in make])\n"
        '    rest = np.median(x[~known]) if (~known).any() else 0.0\n'
        '    return np.where(known, x, rest)', 'its batch', '',
    ),
    'a module that looks at the machine': (
        one('km', 'x + resource.getpagesize()'), 'imports resource', 'import resource'
    ),
    'what a module keeps for itself': (
        one('km', 'x + len(re._cache)'), 'uses re._cache', 'import re'
    ),
    'several columns without names': (
        one('km', 'np.outer(x, [1.0, 2.0])'), 'not one value for each row', ''
    ),
    'how its column lies in memory': (one('km', 'x + x.flags.owndata'), 'uses .flags', ''),
    'another program': (
        one('km', 'x + NOW.returncode', 'NOW = subprocess.run(["date"])'),
        'imports subprocess', 'import subprocess',
    ),
    'no missing value': (one('note', each('len(t)')), 'fails on a row', ''),
    'one value for all': (one('km', 'np.array(3.0)'), 'one value for each row', ''),
    'texts for numbers': (one('make', 'x'), 'declared as a number', ''),
    'writing to its column': (one('km', 'x.__iadd__(1)'), 'read-only', ''),
    'a state that JSON changes': (
        one('km', 'x', FIT.format('{1: 2.0}'), fit='fit_it'), 'JSON changes', ''
    ),
    'evaluated code': (one('km', "eval('x')"), 'uses eval', ''),
    'an absent column': (one('kms', 'x'), "did you mean 'km'", ''),
}


@pytest.mark.parametrize('body', GOOD.values(), ids=GOOD)
def test_a_feature_of_its_row_alone_passes(packages, body):
    assert 'equal bits' in packages.prove(body)[0]


@pytest.mark.parametrize('body,said,imports', BAD.values(), ids=BAD)
def test_what_could_differ_when_the_model_serves_is_refused_by_name(
    packages, body, said, imports
):
    with pytest.raises(UserError) as refused:
        packages.prove(body, imports)
    assert said in str(refused.value) and refused.value.code in ('S13', 'D01')


def test_two_versions_of_a_feature_live_in_one_program(packages):
    old = packages.contract("@feature('km')\ndef f(km):\n    return km / 1000")
    before = derived_values(old, rows())['f']
    new = packages.contract("@feature('km')\ndef f(km):\n    return km / 500")
    assert old.code.package != new.code.package
    assert np.array_equal(derived_values(new, rows())['f'], 2 * before)
    assert np.array_equal(derived_values(old, rows())['f'], before)


def test_prose_and_what_a_feature_does_not_reach_make_no_other_package(packages):
    body = "@feature('km')\ndef f(km):\n    return km / 1000"
    prose = body.replace('return', '"Thousands."\n    # of km\n    return')
    prose += '\n\n\ndef other(x):\n    return 3'
    first, second = packages.made(body)[0], packages.made(prose)[0]
    assert first == second
    assert first != packages.made(body.replace('1000', '1001'))[0]


def test_a_program_without_the_code_is_told_which_wheel_brings_it(packages, monkeypatch):
    contract = packages.contract("@feature('km')\ndef f(km):\n    return km / 123")
    for name in [name for name in sys.modules if name.startswith(contract.code.package)]:
        monkeypatch.delitem(sys.modules, name)
    feature_module.cache_clear()
    monkeypatch.setenv('FEATURE_WHEELS', '')
    with pytest.raises(UserError, match=wheel_name(contract.code.package)) as refused:
        derived_values(contract, rows())
    assert refused.value.code == 'S11'


def test_a_changed_wheel_is_refused(packages, monkeypatch):
    code, modules, path = packages.made("@feature('km')\ndef f(km):\n    return km / 77")
    other = dict(modules) | {'features/mine.py': modules['features/mine.py'].replace('77', '78')}
    write_wheel(path, code.package, other)
    table = rows()
    with pytest.raises(UserError) as refused:
        fit_features(code, ['f'], SCHEMA, table, table['y'].to_numpy())
    assert refused.value.code == 'G06'


def test_texts_of_a_personal_column_never_reach_a_state(packages):
    fit = FIT.format('sorted({t for t in x if t})')
    body = one('contact', each('t in state'), fit, fit='fit_it')
    with pytest.raises(UserError, match='personal'):
        packages.contract(body)


def test_a_feature_that_gives_the_same_texts_of_a_personal_column_is_refused(packages):
    body = "@feature('contact', kind='category')\ndef f(contact):\n    return contact"
    with pytest.raises(UserError, match='personal'):
        packages.contract(body)


@pytest.mark.parametrize(('body', 'use', 'words'), [
    ("@feature('a', 'b')\ndef f(a, b):\n    return a + b", ['f'], 'equals the target'),
    (
        "@feature('a')\ndef f(a):\n    return 3 * a\n\n\n"
        "@feature('b')\ndef g(b):\n    return b - 7", ['f', 'g'], 'an exact sum of f and g',
    ),
])
def test_D36_a_feature_that_brings_the_outcome_back_from_ignored_columns_is_refused(
    packages, body, use, words
):
    columns = [{'name': name, 'type': 'number', 'role': 'ignore'} for name in ('a', 'b')]
    known = SCHEMA.model_dump()
    schema = Schema.model_validate(known | {'columns': [*known['columns'], *columns]})
    rng = np.random.default_rng(0)
    table = rows(400).assign(a=rng.integers(0, 99, 400), b=rng.integers(0, 99, 400))
    for y, refused in ((table['a'] + table['b'], True), (table['y'], False)):
        table = table.assign(y=y.astype(float))
        code, *_ = packages.made(body, use=tuple(use))
        fitted = fit_features(code, use, schema, table, table['y'].to_numpy())
        if not refused:
            refuse_leaks(fitted, schema, table)
            continue
        with pytest.raises(UserError, match=words) as error:
            refuse_leaks(fitted, schema, table)
        assert error.value.code == 'D36'


def test_what_serving_needs_is_listed_and_what_fitting_needs_is_not(packages):
    body = (
        "def fit_it(km):\n    import sklearn\n    return {'n': len(km)}\n\n\n"
        "@feature('km', fit=fit_it)\ndef f(km, state):\n    import scipy\n    return km"
    )
    assert packages.made(body)[0].requires == ('scipy',)


def noise(n=4000, values=2000):
    rng = np.random.default_rng(1)
    table = rows(n).assign(make=rng.integers(0, values, n).astype(str))
    return table.assign(y=rng.normal(0, 1, n))


def test_the_mean_of_a_noise_category_gains_nothing_where_its_naive_form_does(packages):
    body = 'f = target_mean("make", smoothing=1.0)'
    imports = 'from ..model.ready_made import target_mean'
    table = noise()
    learned, new = table[:3000], table[3000:]
    code, *_ = packages.made(body, imports)
    fitted = fit_features(code, ['f'], SCHEMA, learned, learned['y'].to_numpy())
    contract = make_contract(SCHEMA, 'mine', features=fitted)
    naive = Contract(**{**vars(contract), 'fitted': type(fitted.fitted)(fitted.fitted.states)})
    errors = {}
    for name, one in (('cross-fitted', contract), ('naive', naive)):
        data = matrix(one, learned)
        booster = xgb.train({'max_depth': 4, 'learning_rate': 0.3, 'nthread': 2}, data, 40)
        told = booster.predict(matrix(one, new, ref=data))
        errors[name] = float(np.mean((told - new['y']) ** 2) / np.var(new['y']))
    assert errors['naive'] > errors['cross-fitted'] + 0.1
