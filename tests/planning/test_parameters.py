"""What is handed to a notebook arrives as it was given, types included, or is refused in one line;
names never become code."""

import ast
import json
import math
import os
import string

import nbformat
import numpy as np
import papermill
import pytest
from effort import examples
from engine_notebooks import WRITE, Tiny, notebook
from hypothesis import example, given, settings
from hypothesis import strategies as st
from papermill.parameterize import parameterize_notebook

from cd4ml_nb.core.code import Notebook
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.engine.warm import ExactTranslator
from cd4ml_nb.planning.parameters import (
    Declared,
    checked_value,
    declared_parameters,
    json_value,
    parse_parameters,
    same_json,
)

ANYTHING = Declared(None)
PAGE = notebook(('value = None\nupstream = None\nproduct = None', {'tags': ['parameters']}), '1')
TEXTS = st.one_of(
    st.text(),
    st.text(st.characters(categories=None, codec=None, exclude_categories=())),
    st.text(alphabet='{}"\'\\\n\r\t%$#\x00\x1b\u2028 ab', max_size=20),
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**4100), max_value=10**4100),
    st.floats(),
    st.sampled_from([-0.0, 1e400, 5e-324, 2**53 + 1, 10**4000, 1e16, -1]),
)
NUMPY = st.one_of(
    st.booleans().map(np.bool_),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.integers(0, 255).map(np.uint8),
    TEXTS.map(np.str_),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, NUMPY)
STRANGE = st.sampled_from([
    (1, 2),
    {1, 2},
    b'bytes',
    object(),
    1j,
    np.arange(3),
    np.datetime64('2020-01-01'),
    {1: 2},
    {None: 1},
    {(1,): 2},
    type,
    range(3),
    frozenset(),
])
VALUES = st.recursive(
    st.one_of(LEAVES, LEAVES, LEAVES, STRANGE),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
NAMES = [
    "value;open('owned','w')#",
    "value\nopen('owned','w')",
    "value\ropen('owned','w')",
    "value\u2028open('owned','w')",
    "__import__('os').system('touch owned')",
    'value.__class__',
    'value[0]',
    'value, other',
    "(value := open('owned', 'w'))",
    'import os',
    '*value',
    'value: int',
    '\uff56alue',
    'v\u0430lue',
    'print',
    '__builtins__',
    'value ',
    ' value',
    'value\x00',
    'lambda: 0',
    "get_ipython().system('touch owned')",
    '!touch owned',
    '%system touch owned',
    "{{cycler.__init__.__globals__.os.popen('touch owned').read()}}",
    '{value.__class__}',
    "one.value;open('owned','w')",
    'class',
    'None',
    "_; open('owned', 'w'); value",
    '',
    '1value',
    'value.',
    '.value',
    'one..value',
    'VALUE',
]


class Evil:
    """An object whose representation is code."""

    def __repr__(self):
        return "open('owned', 'w')"


class EvilText(str):
    __slots__ = ()
    __repr__ = Evil.__repr__


class EvilNumber(int):
    __repr__ = Evil.__repr__


@pytest.fixture(autouse=True)
def exact(tmp_path, monkeypatch):
    """Papermill as a notebook's process sets it up, in a folder of its own."""
    before = papermill.translators.papermill_translators._translators['python']
    papermill.translators.papermill_translators.register('python', ExactTranslator)
    monkeypatch.chdir(tmp_path)
    yield
    papermill.translators.papermill_translators.register('python', before)
    assert not os.path.exists('owned')


def received(parameters):
    """What a notebook has after papermill has written the parameters into it, saved it and read it
    again."""
    notebook = parameterize_notebook(
        papermill.iorw.load_notebook_node(PAGE),
        parameters,
        kernel_name='python3',
        language='python',
    )
    cell = next(
        c
        for c in nbformat.reads(nbformat.writes(notebook), as_version=4).cells
        if 'injected-parameters' in c.metadata.get('tags', [])
    )
    names = {}
    exec(cell.source, names)  # noqa: S102
    return names


# ---- values

@settings(max_examples=examples(600), deadline=None)
@given(VALUES)
@example('\ud800')
@example({'a"b\n': ["'", '"', '\\', '\\\\"', '"""', "'''", '\\x00', '#', 'x\\']})
@example([-0.0, 0.0, 0, False, None, 1, 1.0, True])
@example('{' + '{x}}')
@example(2**4000)
def test_a_value_arrives_as_it_was_given_or_is_refused(value):
    try:
        checked = checked_value('value', value, ANYTHING, '-p value')
    except UserError as error:
        assert error.exit_code == 2 and error.code in ('C03', 'C08', 'N06') and error.todo
        assert not acceptable(value), error
        return
    assert acceptable(value) and same_json(checked, without_numpy(value))
    assert same_json(received({'value': checked, 'upstream': {}})['value'], checked)


def acceptable(value):
    """Whether JSON has the value, and a notebook may have it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return all(type(k) is str and acceptable(k) and acceptable(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(acceptable, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return '{' * 2 not in value and not any('\ud800' <= c <= '\udfff' for c in value)
    return value is None or isinstance(value, bool) or type(value) is int and abs(value) < 10**4000


def without_numpy(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {k: without_numpy(v) for k, v in value.items()}
    return [without_numpy(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=examples(300), deadline=None)
@given(VALUES.filter(acceptable).map(without_numpy), st.booleans())
def test_a_value_on_the_command_line_is_json_or_the_text_itself(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    given_ = parse_parameters([f'one.value={text}'], {'one': {'value'}, 'two': {'value'}})
    assert list(given_) == ['one'] and same_json(json_value(given_['one']['value'], ''), value)
    assert set(
        parse_parameters([f'value={text}'], {'one': {'value'}, 'two': {'value'}, 'three': {'x'}})
    ) == {'one', 'two'}


@settings(max_examples=examples(200), deadline=None)
@given(TEXTS)
def test_a_text_on_the_command_line_that_is_no_json_arrives_unchanged(text):
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        assert parse_parameters([f'value={text}'], {'one': {'value'}}) == {'one': {'value': text}}


@pytest.mark.parametrize('text', [
    'NaN',
    'Infinity',
    '-Infinity',
    '1e400',
    '-1e999',
    '[1, NaN]',
    '{"a": {"b": [1e400]}}',
    '9' * 4001,
    '"{{env}}"',
    '{{env}}',
    '["{{"]',
    '{"{{a": 1}',
    '"\\ud800"',
    '["\\udfff"]',
    '{"\\ud800": 1}',
    '{"a": 1, "a": 2}',
    '\udc80',
])
def test_values_that_json_does_not_have_are_refused_from_the_command_line(text):
    with pytest.raises(UserError) as refused:
        checked_value(
            'value',
            parse_parameters([f'value={text}'], {'one': {'value'}})['one']['value'],
            ANYTHING,
            '-p value',
        )
    assert (
        refused.value.exit_code == 2
        and '\n' not in refused.value.line
        and refused.value.line.isprintable()
    )


@pytest.mark.parametrize('text', [
    '[' * 100_000,
    '{"a":' * 100_000,
    '[' * 90 + ']' * 90,
    '[' * 250 + ']' * 250,
    '[' * 900 + ']' * 900,
    '9' * 5000,
    '-' + '9' * 4400,
    '1' * 4301,
])
def test_deep_and_long_values_end_in_a_refusal_or_arrive(text):
    try:
        checked = checked_value(
            'value',
            parse_parameters([f'value={text}'], {'one': {'value'}})['one']['value'],
            ANYTHING,
            '-p value',
        )
    except UserError as error:
        assert len(error.line) < 1000
        return
    assert received({'value': checked})['value'] == checked


@pytest.mark.parametrize('value', [
    Evil(),
    EvilText('x'),
    EvilNumber(3),
    [Evil()],
    {'a': Evil()},
    {EvilText('a'): 1},
    (1, '"'),
    ast.parse('1'),
    os.environ,
    open,
    type('D', (dict,), {})(a=1),
    type('L', (list,), {'__repr__': Evil.__repr__})([1]),
    np.array([1, 2]),
    np.float64('nan'),
    np.datetime64('2020'),
    b'x',
    1j,
])
def test_X02_objects_whose_representation_is_code_are_refused_or_handed_over_as_values(value):
    try:
        checked = checked_value('value', value, ANYTHING, '-p value')
    except UserError as error:
        assert error.code in ('N06', 'C03')
    else:
        assert same_json(json.loads(json.dumps(checked)), checked)      # a plain value
        assert same_json(received({'value': checked})['value'], checked)
    with pytest.raises((UserError, ValueError, SyntaxError)):
        # behind the check there is another one
        ExactTranslator.codify({'value': Evil()})


# ---- names

@pytest.mark.parametrize('name', NAMES)
def test_X02_a_name_that_no_notebook_declares_is_never_written_into_one(name):
    with pytest.raises(UserError) as refused:
        parse_parameters([f'{name}=1'], {'one': {'value', 'upstream', 'product'}})
    assert refused.value.code == 'N06' and refused.value.line.isprintable()
    if not name.isidentifier():
        with pytest.raises(UserError):
            received({name: 1})
    with pytest.raises(UserError, match='N06'):
        papermill.execute_notebook(
            PAGE, 'out.ipynb', {name: 1}, engine_name='cd4ml', progress_bar=False
        )


@settings(max_examples=examples(200), deadline=None)
@given(st.text(alphabet=string.printable, min_size=1))
def test_X02_no_name_but_a_declared_one_is_accepted(name):
    if name.partition('=')[0] not in ('value', 'one.value'):
        with pytest.raises(UserError):
            parse_parameters([f'{name}=1'], {'one': {'value'}})


# ---- types

def declared(source, tmp_path):
    path = tmp_path / 'pipeline.yaml'
    path.touch()
    nbformat.write(
        notebook((f'{source}\nupstream = None\nproduct = None', {'tags': ['parameters']}), '1'),
        tmp_path / 'page.ipynb',
    )
    return declared_parameters(Notebook(tmp_path / 'page.ipynb'))['x']


ACCEPTED = [
    ('x = 1', [1, -5, 0, None], [1.0, True, '1', [1], {}]),
    ('x = 1.0', [1.5, 2, -0.0, None], [True, '1.0', [1.0]]),
    ("x = 'a'", ['', 'ä"\'', None], [1, True, ['a']]),
    ('x = True', [True, False, None], [0, 1, 'true', 1.0]),
    ('x = None', [None, 1, 'a', [1, {'b': None}]], []),
    ('x = [1]', [[], ['a'], None], ['a', {}, 1]),
    ("x = {'a': 1}", [{}, {'b': [1]}, None], [[], 'a']),
    ('x = -1', [5], ['5']),
    ('x: int = 1', [1, 0], [None, 1.0, True, '1']),
    ('x: float = 1', [1, 1.5], [None, True, 'a']),
    ('x: int | None = None', [None, 3], [3.0, 'a', False, [3]]),
    ('x: None | str = None', [None, 'a'], [1, True]),
    ('x: Optional[float] = None', [None, 1.5, 2], ['a', True]),
    ('x: Union[int, str] = 1', [1, 'a'], [None, 1.5, True]),
    ("x: Literal['a', 'b', 1] = 'a'", ['a', 'b', 1], ['c', True, 1.0, None]),
    ('x: Literal[True] = True', [True], [1, 'True', None]),
    ("x: Literal['only'] = 'only'", ['only'], ['onl', None]),
    ('x: Literal[-1, None] = None', [-1, None], [1, 0]),
    ('x: list[int] = []', [[], [1, 2]], [[1, 'a'], [1.0], [True], [None], (1,), None]),
    ('x: list[int | None] = []', [[1, None]], [['a']]),
    ('x: list[list[float]] = []', [[[1, 1.5]], [[]]], [[1.5], [['a']]]),
    ('x: dict[str, float] = {}', [{'a': 1.5}, {}], [{'a': 'b'}, {'a': None}, []]),
    ('x: dict[str, list[int]] = {}', [{'a': [1]}], [{'a': 1}, {'a': [1.5]}]),
    ('x: list | None = None', [None, [1, 'a']], ['a', {}]),
    ('x: Any = 1', [None, 'a', [1]], []),
    ('x: typing.Literal["a"] = "a"', ['a'], ['b']),
]


@pytest.mark.parametrize(('source', 'good', 'bad'), ACCEPTED)
def test_N06_a_declared_type_takes_what_it_says(tmp_path, source, good, bad):
    one = declared(source, tmp_path)
    for value in good:
        assert same_json(checked_value('x', value, one, '-p x'), value)
    for value in bad:
        with pytest.raises(UserError) as refused:
            checked_value('x', value, one, '-p x')
        assert (
            refused.value.code == 'N06'
            and "'x'" in refused.value.what
            or 'cannot be passed to a notebook' in refused.value.what
        )


@pytest.mark.parametrize('source', [
    'x: int = "a"',
    'x: int = None',
    'x: int = 1.0',
    'x: list[int] = ["a"]',
    "x: Literal['a'] = 'b'",
    'x: nosuch = 1',
    'x: float = True',
    'x: int',
    'x = y',
    'x = 1 + 1',
    'x = f"a"',
    'x = y = 1',
    'x, z = 1, 2',
    'x += 1',
    'import os',
    'x = [k for k in ()]',
    'x = open("owned", "w")',
    'x: open("owned", "w") = 1',
    'x[0] = 1',
    'def x(): pass',
    'x = 1; print(x)',
    'if True: x = 1',
    'x = b"a"',
    'x = 1j',
    'x = {1, 2}',
    'x = ()',
    'x = ...',
])
def test_N05_a_parameters_cell_holds_literals_of_their_types_only(tmp_path, source):
    with pytest.raises(UserError) as refused:
        declared(source, tmp_path)
    assert refused.value.code == 'N05' and refused.value.where == 'page.ipynb'


TAG = {'tags': ['parameters']}


@pytest.mark.parametrize(('cells', 'words'), [
    (['upstream = None\nproduct = None', '1'], '0 cells are tagged'),
    ([('upstream = None\nproduct = None', TAG), ('x = 1', TAG), '1'], '2 cells are tagged'),
    (['1', ('upstream = None\nproduct = None', TAG)], 'last cell'),
    ([('product = None', TAG), '1'], "does not declare 'upstream'"),
    ([('upstream = None', TAG), '1'], "does not declare 'product'"),
    ([('', TAG), '1'], 'does not declare'),
    ([('upstream = None\nproduct = None\nx = 1\nx = 2', TAG), '1'], "'x'"),
])
def test_N05_what_is_wrong_with_the_tags_of_a_notebook_is_said_before_anything_runs(
    tmp_path, cells, words
):
    (tmp_path / 'pipeline.yaml').touch()
    nbformat.write(notebook(*cells), tmp_path / 'page.ipynb')
    with pytest.raises(UserError, match=words) as refused:
        declared_parameters(Notebook(tmp_path / 'page.ipynb'))
    assert refused.value.code == 'N05' and refused.value.where == 'page.ipynb'


# ---- the whole way

NASTY = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53 + 1,
    2**64,
    10**300,
    -0.0,
    0.0,
    1.0,
    1e16,
    5e-324,
    1.7976931348623157e308,
    '',
    ' ',
    "'",
    '"',
    '\\',
    '\\n',
    '\n',
    '\r\n',
    '\t',
    '\x00',
    '\x1b[31m',
    '"""',
    "'''",
    '\'"\\\n',
    '# comment',
    '{',
    '}',
    '{0}',
    '{a.b}',
    '%s',
    '%(a)s',
    '$HOME',
    '`id`',
    '$(touch owned)',
    '; touch owned',
    '!touch owned',
    '%pwd',
    'ä',
    '🐍',
    '\u2028',
    '\ufeff',
    '\u202e',
    'None',
    'True',
    '1',
    '1.0',
    'nan',
    '[1]',
    "__import__('os').system('touch owned')",
    'x' * 10_000,
    [],
    {},
    [[]],
    [{}],
    {'a': {'b': [None, {'c': ''}]}},
    {'': 1},
    {"'": '"'},
    {'a b\n': 1, 'B': 2, 'A': 3},
    [1, 1.0, True, '1', None],
]


@pytest.mark.parametrize('engine', ['warm', 'kernel'])
def test_nasty_values_arrive_on_both_ways_a_notebook_is_run(tmp_path, engine):
    project = Tiny(tmp_path / 'project')
    write = (
        'import json\nopen(product["out"], "w", encoding="utf-8").write(json.dumps([one, two,'
        ' three]))'
    )
    project.add(
        'one',
        write,
        parameters='one = None\ntwo = None\nthree: dict = {}\nupstream = None\nproduct = None',
        params={'one': None, 'two': None, 'three': {}},
        out='got.json',
    )
    words = [
        w
        for name, value in (
            ('one', NASTY[:30]),
            ('two', NASTY[30:]),
            ('three', {str(k): v for k, v in enumerate(NASTY)}),
        )
        for w in ('-p', f'{name}={json.dumps(value)}')
    ]
    project.run(*words, '--engine', engine).check(0)
    one, two, three = json.loads(
        (project.published('one') / 'got.json').read_text(encoding='utf-8')
    )
    assert same_json(one + two, NASTY) and same_json(list(three.values()), NASTY)
    assert not list(project.folder.rglob('owned'))


def test_X02_the_command_refuses_what_would_be_code_before_anything_runs(tmp_path):
    project = Tiny(tmp_path / 'project')
    project.add(
        'one',
        'open("here", "w").close()',
        WRITE,
        parameters='value = 1\nupstream = None\nproduct = None',
        params={'value': 1},
    )
    done = project.run(
        *(word for name in NAMES if '\x00' not in name for word in ('-p', f'{name}=1'))
    ).check(2, 'ERROR N06 -p: ')
    assert len(done.last) < 2000
    project.run('-p', 'value="{{env}}"').check(2, 'templates')
    assert not list(project.folder.rglob('owned')) and not (project.folder / 'here').exists()
