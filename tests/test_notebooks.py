"""The form of the pages, and that the package is what the pages say: each guard is a function, and
is shown a page that breaks it."""

import ast
import copy
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
Page = dict[str, Any]

DIRECTIVES = {
    'default_exp', 'export', 'exporti', 'hide', 'pipeline', 'eval:', 'hide_input', 'hide_output',
    'echo:', 'output:', 'code-fold:',
}
MOST_CELLS = 60
MOST_LINES = 45
OUTSIDE = {'index'}    # pages that export nothing
STARTS_LIKE_A_KERNEL = {'91_shell'}    # and so looks for modules where a kernel does


# ---- what a page consists of

def read(path: Path) -> Page:
    """A notebook as JSON, with its name under `name`."""
    return json.loads(path.read_text(encoding='utf-8')) | {'name': path.stem}


def source(cell: dict[str, Any]) -> str:
    return ''.join(cell['source'])


def code(page: Page) -> list[str]:
    return [source(c) for c in page['cells'] if c['cell_type'] == 'code']


def directives(text: str) -> list[str]:
    return re.findall(r'^#\|\s*(\S+)', text, re.MULTILINE)


def exported(page: Page) -> list[str]:
    return [
        text for text in code(page) if 'export' in directives(text) or 'exporti' in directives(text)
    ]


def module_of(page: Page) -> str | None:
    names = [
        m[1]
        for text in code(page)
        for m in [re.search(r'^#\|\s*default_exp\s+(\S+)', text, re.MULTILINE)]
        if m
    ]
    return names[0] if names else None


def is_stage(page: Page) -> bool:
    return page['name'][0] in '12'


def tree(text: str) -> ast.Module:
    """A cell's syntax tree, magics and shell lines left out."""
    return ast.parse(
        '\n'.join(line for line in text.split('\n') if not line.lstrip().startswith(('%', '!')))
    )


def band(module: str, pages: list[Page]) -> str:
    """The first digit of the page that a module comes from."""
    return next((page['name'][0] for page in pages if module_of(page) == module), '?')


# ---- guards: each yields what is wrong

def has_title_and_summary(page: Page) -> Iterator[str]:
    lines = [line for line in source(page['cells'][0]).split('\n') if line.strip()]
    if (
        page['cells'][0]['cell_type'] != 'markdown'
        or len(lines) < 2
        or not lines[0].startswith('# ')
        or not lines[1].startswith('> ')
    ):
        yield 'the first cell is not a title and a > line'


def exports_to_one_module(page: Page) -> Iterator[str]:
    names = [
        name
        for text in code(page)
        for name in re.findall(r'^#\|\s*default_exp\s+(\S+)', text, re.MULTILINE)
    ]
    if len(names) != (0 if page['name'] in OUTSIDE else 1):
        yield f'{len(names)} default_exp directives'
    elif names and names[0] != re.sub(r'^\d+[a-z]?_', '', page['name']):
        yield f"exports to '{names[0]}', but is called {page['name']}"


def is_clean(page: Page) -> Iterator[str]:
    for k, cell in enumerate(page['cells']):
        if cell.get('outputs') or cell.get('execution_count') is not None:
            yield f'cell {k + 1} has outputs or an execution count: run nbdev-clean'
        if set(cell['metadata']) - {'tags'}:
            yield f'cell {k + 1} has metadata {sorted(cell["metadata"])}'


def has_sound_ids(page: Page) -> Iterator[str]:
    ids = Counter(cell.get('id') for cell in page['cells'])
    yield from (f'{n} cells with id {name}' for name, n in ids.items() if n > 1 or not name)
    if page['nbformat'] != 4 or page.get('nbformat_minor', 0) < 5:
        yield 'not nbformat 4.5'
    if page['metadata'].get('kernelspec', {}).get('name') != 'python3':
        yield 'kernelspec is not python3'


def has_no_conflict_markers(page: Page) -> Iterator[str]:
    for k, cell in enumerate(page['cells']):
        if re.search(r'^(<<<<<<<|=======|>>>>>>>)( |$)', source(cell), re.MULTILINE):
            yield f'cell {k + 1} has a merge conflict marker: run nbdev-fix'


def has_parameters_of_literals(page: Page) -> Iterator[str]:
    tagged = [
        k
        for k, cell in enumerate(page['cells'])
        if 'parameters' in cell['metadata'].get('tags', [])
    ]
    if len(tagged) != int(is_stage(page)):
        yield f'{len(tagged)} cells tagged parameters'
    for k in tagged if is_stage(page) else []:
        if k > 3:
            yield f'the parameters are cell {k + 1}, not among the first'
        for statement in tree(source(page['cells'][k])).body:
            try:
                ast.literal_eval(statement.value)                  # type: ignore[attr-defined]
                assert isinstance(statement, ast.Assign)
            except (ValueError, AttributeError, AssertionError):
                yield f'the parameters hold more than literals: {ast.unparse(statement)}'


def has_known_directives(page: Page) -> Iterator[str]:
    for text in code(page):
        yield from (
            f"unknown directive '#| {name}'" for name in directives(text) if name not in DIRECTIVES
        )
        yield from (
            f'a directive below code: {line}'
            for line in re.findall(r'^(?!#\|).*\n(#\|.*)', text, re.MULTILINE)
        )
        yield from (
            f'not a directive: {line}'
            for line in re.findall(r'^(#\s+\|.*|\s+#\|.*)$', text, re.MULTILINE)
        )


def exports_nothing_itself(page: Page) -> Iterator[str]:
    if any('nbdev_export' in text for text in code(page)):
        yield 'nbdev_export() would be run by papermill: use the command'


def names_no_absolute_path(page: Page) -> Iterator[str]:
    """No path of somebody's machine; /home/me is nobody's, for examples."""
    for k, cell in enumerate(page['cells']):
        for found in re.findall(
            r'(?<![\w./:<-])/(?:home|root|Users|work|tmp|mnt|var|opt)/[\w.-]+|\b[A-Z]:\\\\?\w+',
            source(cell),
        ):
            if found != '/home/me':
                yield f'cell {k + 1} names the absolute path {found}'


def imports_names(page: Page) -> Iterator[str]:
    for text in code(page):
        for node in ast.walk(tree(text)):
            if isinstance(node, ast.ImportFrom) and any(alias.name == '*' for alias in node.names):
                yield f'from {node.module} import *'
            if (
                isinstance(node, ast.Attribute)
                and ast.unparse(node) == 'sys.path'
                and page['name'] not in STARTS_LIKE_A_KERNEL
            ):
                yield 'sys.path is touched'


def exports_screenfuls(page: Page) -> Iterator[str]:
    if len(page['cells']) > MOST_CELLS:
        yield f'{len(page["cells"])} cells'
    for text in exported(page):
        if (
            n := sum(bool(line.strip()) and not line.startswith('#|') for line in text.split('\n'))
        ) > MOST_LINES and not _is_text_or_imports(text):
            yield f'an exported cell of {n} lines: {text.split(chr(10))[1][:60]}'


def _is_text_or_imports(text: str) -> bool:
    """A cell of constants (a style sheet, a table of words) or of imports."""
    return all(
        isinstance(s, ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.Expr)
        for s in tree(text).body
    )


def keeps_imports_apart(page: Page) -> Iterator[str]:
    for text in exported(page):
        kinds = {isinstance(s, ast.Import | ast.ImportFrom) for s in tree(text).body}
        if kinds == {True, False} and not all(_may_stand_with_imports(s) for s in tree(text).body):
            yield f'imports and code in one exported cell: {text.split(chr(10))[1][:60]}'


def _may_stand_with_imports(statement: ast.stmt) -> bool:
    """Imports, and calls that must come before them, such as setting a variable that a library
    reads."""
    return (
        isinstance(statement, ast.Import | ast.ImportFrom)
        or isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
    )


def runs_below_the_line(page: Page) -> Iterator[str]:
    if not is_stage(page):
        return
    at = [
        k
        for k, cell in enumerate(page['cells'])
        if cell['cell_type'] == 'markdown' and re.search(r'^## Run\s*$', source(cell), re.MULTILINE)
    ]
    if len(at) != 1:
        yield f'{len(at)} headings ## Run'
        return
    for cell in page['cells'][at[0]:]:
        if cell['cell_type'] == 'code' and not source(cell).startswith('#| pipeline'):
            yield f'a cell below ## Run without #| pipeline: {source(cell)[:60]}'
        elif cell['cell_type'] == 'code' and any(
            isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for n in ast.walk(tree(source(cell)))
        ):
            yield f'something is defined below ## Run: {source(cell)[:60]}'
    for cell in page['cells'][:at[0]]:
        if cell['cell_type'] == 'code' and 'pipeline' in directives(source(cell)):
            yield 'a #| pipeline cell above ## Run'


def imports_downwards(page: Page, pages: list[Page]) -> Iterator[str]:
    """Foundations know foundations, stages know foundations, tools know both; nothing knows a page
    that comes later."""
    order = {module_of(p): p['name'] for p in pages}
    for text in code(page):
        for node in ast.walk(tree(text)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or '').startswith(
                'cd4ml_nb.'
            ):
                continue
            module = (node.module or '').removeprefix('cd4ml_nb.')
            there = band(module, pages)
            if module == module_of(page):
                continue
            if there == '?':
                yield f'imports {module}, which no page exports'
            elif page['name'][0] in '01' and there != '0':
                yield f'imports {module} of band {there}x'
            elif order[module] > page['name'] and page['name'][0] == there:
                yield f'imports {module}, a later page'


GUARDS: list[Callable[[Page], Iterator[str]]] = [
    has_title_and_summary, exports_to_one_module, is_clean, has_sound_ids, has_no_conflict_markers,
    has_parameters_of_literals, has_known_directives, exports_nothing_itself,
    names_no_absolute_path, imports_names, exports_screenfuls, keeps_imports_apart,
    runs_below_the_line,
]


# ---- the pages keep them

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_every_page_keeps_the_form(path):
    page = read(path)
    pages = [read(p) for p in NOTEBOOKS]
    wrong = [f'{guard.__name__}: {what}' for guard in GUARDS for what in guard(page)]
    assert not wrong + list(imports_downwards(page, pages))


def test_N14_two_pages_never_export_to_one_module():
    assert not doubled([read(p) for p in NOTEBOOKS])


def doubled(pages: list[Page]) -> list[str]:
    """Modules that more than one page exports to."""
    return [name for name, n in Counter(filter(None, map(module_of, pages))).items() if n > 1]


def test_every_stage_of_pipeline_yaml_is_a_page_of_its_name():
    from cd4ml_nb.runs.paths import read_pipeline
    for stage, task in read_pipeline(ROOT).items():
        assert re.fullmatch(rf'notebooks/1\d[a-z]?_{stage}\.ipynb', task['source'])


# ---- the package is what the pages export

def stale_modules(root: Path) -> list[str]:
    """Modules that differ from a fresh export of the pages, and modules that no page exports."""
    pages = [read(p) for p in sorted((root / 'notebooks').glob('*.ipynb'))]
    wanted = {f'{module_of(p)}.py' for p in pages if module_of(p)} | {'__init__.py', '_modidx.py'}
    before = {p.name: p.read_bytes() for p in (root / 'cd4ml_nb').glob('*.py')}
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            (
                'from nbdev.export import nb_export; import sys; [nb_export(p, lib_path="cd4ml_nb")'
                ' for p in sys.argv[1:]]'
            ),
            *(f'notebooks/{p["name"]}.ipynb' for p in pages),
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    after = {p.name: p.read_bytes() for p in (root / 'cd4ml_nb').glob('*.py')}
    return sorted(
        {name for name in after if after[name] != before.get(name) and name != '_modidx.py'}
        | (set(before) - wanted)
    )


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the pages and of what they export."""
    for name in ('notebooks', 'cd4ml_nb'):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'),
        )
    for name in ('pyproject.toml', 'pipeline.yaml', 'settings.ini'):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_N01_modules_equal_a_fresh_export(project):
    assert not stale_modules(project), 'run nbdev-export'


def test_N02_a_module_edited_by_hand_and_one_without_a_page_are_caught(project):
    with open(project / 'cd4ml_nb' / 'errors.py', 'a', encoding='utf-8') as file:
        file.write('\nX = 1\n')
    (project / 'cd4ml_nb' / 'gone.py').write_text('"A page that was deleted."\n', encoding='utf-8')
    assert stale_modules(project) == ['errors.py', 'gone.py']


# ---- each guard catches what it is for

def a_page(name: str = '12_shelf') -> Page:
    """A small page of a stage that keeps every guard."""
    texts = [
        ('markdown', '# Shelf\n\n> Put things on a shelf.'),
        ('code', '#| default_exp shelf'),
        ('code', 'seed = 0   # of every choice\nproduct = None'),
        ('code', '#| export\nfrom cd4ml_nb.core.files import write_json'),
        ('code', '#| export\ndef double(x: int) -> int:\n    "Twice."\n    return 2 * x'),
        ('code', 'assert double(2) == 4'),
        ('markdown', '## Run'),
        ('code', '#| pipeline\nwrite_json(product["a"], double(seed))'),
    ]
    cells = [
        {
            'cell_type': kind,
            'id': f'c{k}',
            'metadata': {'tags': ['parameters']} if text.startswith('seed') else {},
            'source': text,
        }
        | ({'outputs': [], 'execution_count': None} if kind == 'code' else {})
        for k, (kind, text) in enumerate(texts)
    ]
    return {
        'cells': cells,
        'metadata': {'kernelspec': {'name': 'python3'}},
        'nbformat': 4,
        'nbformat_minor': 5,
        'name': name,
    }


def broken(cell: int, **changes: Any) -> Page:
    page = copy.deepcopy(a_page())
    page['cells'][cell] |= changes
    return page


BROKEN = [
    (has_title_and_summary, broken(0, source='# Shelf')),
    (has_title_and_summary, broken(0, cell_type='code')),
    (exports_to_one_module, broken(1, source='#| default_exp shelves')),
    (exports_to_one_module, broken(1, source='x = 1')),
    (is_clean, broken(5, outputs=[{'output_type': 'stream'}])),
    (is_clean, broken(5, execution_count=3)),
    (is_clean, broken(5, metadata={'collapsed': True})),
    (has_sound_ids, broken(5, id='c4')),
    (has_sound_ids, broken(5, id=None)),
    (has_sound_ids, a_page() | {'nbformat': 3}),
    (has_sound_ids, a_page() | {'metadata': {}}),
    (has_no_conflict_markers, broken(5, source='x = 1\n<<<<<<< HEAD\ny = 2')),
    (has_parameters_of_literals, broken(2, metadata={})),
    (has_parameters_of_literals, broken(5, metadata={'tags': ['parameters']})),
    (has_parameters_of_literals, broken(2, source='seed = int("0")')),
    (has_parameters_of_literals, broken(2, source='import os')),
    (has_known_directives, broken(4, source='#| exprot\ndef f(): ...')),
    (has_known_directives, broken(4, source='# | export\ndef f(): ...')),
    (has_known_directives, broken(4, source='x = 1\n#| export\ndef f(): ...')),
    (exports_nothing_itself, broken(5, source='import nbdev; nbdev.nbdev_export()')),
    (names_no_absolute_path, broken(5, source="open('/home/ann/data.csv')")),
    (names_no_absolute_path, broken(5, source='path = r"C:\\data"')),
    (imports_names, broken(3, source='#| export\nfrom math import *')),
    (imports_names, broken(5, source='import sys\nsys.path.append("..")')),
    (exports_screenfuls, broken(4, source='#| export\ndef f():\n' + '    x = 1\n' * 50)),
    (exports_screenfuls, a_page() | {'cells': a_page()['cells'] * 8}),
    (keeps_imports_apart, broken(3, source='#| export\nimport math\n\ndef f(): ...')),
    (runs_below_the_line, broken(6, source='## Go')),
    (runs_below_the_line, broken(7, source='x = 1')),
    (runs_below_the_line, broken(7, source='#| pipeline\ndef f(): ...')),
    (runs_below_the_line, broken(5, source='#| pipeline\nx = 1')),
]


def test_a_good_page_passes_every_guard():
    page = a_page()
    assert not [what for guard in GUARDS for what in guard(page)]
    assert not list(
        imports_downwards(
            page,
            [
                page,
                a_page('01_files') | {
                    'cells': [broken(1, source='#| default_exp files')['cells'][1]]
                },
            ],
        )
    )


@pytest.mark.parametrize(('guard', 'page'), BROKEN, ids=[f'{guard.__name__}-{k}' for k, (guard, _) in enumerate(BROKEN)])
def test_a_broken_page_is_caught(guard, page):
    assert list(guard(page))


def test_every_guard_has_a_page_that_breaks_it():
    assert {guard for guard, _ in BROKEN} == set(GUARDS)


@pytest.mark.parametrize(('importer', 'imported'), [
    ('02_low', '13_shelf'), ('12_one', '13_shelf'), ('12_one', '91_shelf'), ('03_low', '04_shelf'), ('91_a', '92_shelf')])
def test_imports_that_run_upwards_are_caught(importer, imported):
    page = a_page(importer)
    other = a_page(imported)
    page['cells'][1] |= {'source': '#| default_exp mine'}
    page['cells'][3] |= {'source': '#| export\nfrom cd4ml_nb.shelf import double'}
    assert list(imports_downwards(page, [page, other]))


def test_imports_of_modules_without_a_page_are_caught():
    assert 'imports files, which no page exports' in list(imports_downwards(a_page(), [a_page()]))


def test_N14_two_pages_that_export_to_one_module_are_caught():
    assert doubled([a_page('12_shelf'), a_page('13_shelf')]) == ['shelf']
