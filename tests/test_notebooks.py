"""The form of the notebooks, the order of their folders, and that the package is their export.

Each guard is a function that yields what is wrong, and is shown a notebook that breaks it.
"""

import ast
import copy
import graphlib
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(
    path
    for path in (ROOT / 'notebooks').rglob('*.ipynb')
    if '.ipynb_checkpoints' not in path.parts
)
Notebook = dict[str, Any]

# A folder imports only from itself and from those before it.
FOLDERS = [
    'core', 'artefacts', 'scenario', 'columns', 'formats', 'sources', 'rows', 'checks', 'model',
    'training', 'engineering', 'runs', 'search', 'tracking', 'show', 'stages', 'planning',
    'engine', 'audit', 'studies', 'review', 'workbench', 'proposing', 'lab', 'command', 'features',
]

DIRECTIVES = {
    'default_exp', 'export', 'exporti', 'hide', 'pipeline', 'eval:', 'hide_input', 'hide_output',
    'echo:', 'output:', 'code-fold:',
}
MOST_CELLS = 60
MOST_COLUMNS = 100
EXPORT_NOTHING = {'index'}                 # besides the stages
OTHER_MODULE = {'command/main': '__main__'}      # whose name Python prescribes
RUN_ALONE = {'studies/compare', 'show/trend'}    # with parameters, besides the stages
STARTS_LIKE_A_KERNEL = {'engine/shell'}    # and so looks for modules where a kernel does


# ---- what a notebook consists of

def read(path: Path) -> Notebook:
    """A notebook as JSON, with its place under `name`, such as stages/12_split."""
    parts = path.with_suffix('').parts
    at = len(parts) - 1 - parts[::-1].index('notebooks')
    name = '/'.join(parts[at + 1 :])
    return json.loads(path.read_text(encoding='utf-8')) | {'name': name}


def source(cell: dict[str, Any]) -> str:
    return ''.join(cell['source'])


def code(notebook: Notebook) -> list[str]:
    return [source(c) for c in notebook['cells'] if c['cell_type'] == 'code']


def directives(text: str) -> list[str]:
    return re.findall(r'^#\|\s*(\S+)', text, re.MULTILINE)


def exported(notebook: Notebook) -> list[str]:
    return [text for text in code(notebook) if {'export', 'exporti'} & set(directives(text))]


def module_of(notebook: Notebook) -> str | None:
    names = [
        m[1]
        for text in code(notebook)
        for m in [re.search(r'^#\|\s*default_exp\s+(\S+)', text, re.MULTILINE)]
        if m
    ]
    return names[0] if names else None


def folder_of(notebook: Notebook) -> str:
    return notebook['name'].rpartition('/')[0]


def is_stage(notebook: Notebook) -> bool:
    return folder_of(notebook) == 'stages'


def has_parameters(notebook: Notebook) -> bool:
    return is_stage(notebook) or notebook['name'] in RUN_ALONE


def tree(text: str) -> ast.Module:
    """A cell's syntax tree, magics and shell lines left out."""
    return ast.parse(
        '\n'.join(line for line in text.split('\n') if not line.lstrip().startswith(('%', '!')))
    )


def imported(notebook: Notebook) -> Iterator[str]:
    """The modules of the package that a notebook imports anywhere, such as core.files."""
    for text in code(notebook):
        for node in ast.walk(tree(text)):
            if isinstance(node, ast.Import):
                yield from (a.name for a in node.names if a.name.startswith('cd4ml_nb.'))
            elif isinstance(node, ast.ImportFrom) and (node.module or '').startswith('cd4ml_nb.'):
                module = node.module or ''
                if module.count('.') == 1:                  # from cd4ml_nb.core import files
                    yield from (f'{module}.{alias.name}' for alias in node.names)
                else:
                    yield module


def inside(notebook: Notebook) -> Iterator[str]:
    """`imported`, without the name of the package."""
    return (module.removeprefix('cd4ml_nb.') for module in imported(notebook))


# ---- guards: each yields what is wrong

def has_title_and_summary(notebook: Notebook) -> Iterator[str]:
    lines = [line for line in source(notebook['cells'][0]).split('\n') if line.strip()]
    if (
        notebook['cells'][0]['cell_type'] != 'markdown'
        or len(lines) < 2
        or not lines[0].startswith('# ')
        or not lines[1].startswith('> ')
    ):
        yield 'the first cell is not a title and a > line'


def exports_to_one_module(notebook: Notebook) -> Iterator[str]:
    names = [
        name
        for text in code(notebook)
        for name in re.findall(r'^#\|\s*default_exp\s+(\S+)', text, re.MULTILINE)
    ]
    name = notebook['name']
    nothing = name in EXPORT_NOTHING or is_stage(notebook)
    if len(names) != (0 if nothing else 1):
        yield f'{len(names)} default_exp directives'
    elif names and names[0] != OTHER_MODULE.get(name, name.replace('/', '.')):
        yield f"exports to '{names[0]}', but is called {name}"


def is_numbered_as_a_stage(notebook: Notebook) -> Iterator[str]:
    """Numbers only where order is the point."""
    numbered = bool(re.match(r'\d', notebook['name'].rpartition('/')[2]))
    if numbered != is_stage(notebook):
        yield 'stages have a number, and nothing else has'


def lies_in_a_known_folder(notebook: Notebook) -> Iterator[str]:
    if notebook['name'] not in EXPORT_NOTHING and folder_of(notebook) not in FOLDERS:
        yield f'the folder {folder_of(notebook)!r} is not in FOLDERS'


def is_clean(notebook: Notebook) -> Iterator[str]:
    for k, cell in enumerate(notebook['cells']):
        if cell.get('outputs') or cell.get('execution_count') is not None:
            yield f'cell {k + 1} has outputs or an execution count: run make clear'
        if set(cell['metadata']) - {'tags'}:
            yield f'cell {k + 1} has metadata {sorted(cell["metadata"])}'


def has_sound_ids(notebook: Notebook) -> Iterator[str]:
    ids = Counter(cell.get('id') for cell in notebook['cells'])
    yield from (f'{n} cells with id {name}' for name, n in ids.items() if n > 1 or not name)
    if notebook['nbformat'] != 4 or notebook.get('nbformat_minor', 0) < 5:
        yield 'not nbformat 4.5'
    if notebook['metadata'].get('kernelspec', {}).get('name') != 'python3':
        yield 'kernelspec is not python3'


def has_no_conflict_markers(notebook: Notebook) -> Iterator[str]:
    for k, cell in enumerate(notebook['cells']):
        if re.search(r'^(<<<<<<<|=======|>>>>>>>)( |$)', source(cell), re.MULTILINE):
            yield f'cell {k + 1} has a merge conflict marker: run nbdev-fix'


def has_parameters_of_literals(notebook: Notebook) -> Iterator[str]:
    tagged = [
        k
        for k, cell in enumerate(notebook['cells'])
        if 'parameters' in cell['metadata'].get('tags', [])
    ]
    if len(tagged) != int(has_parameters(notebook)):
        yield f'{len(tagged)} cells tagged parameters'
    for k in tagged if has_parameters(notebook) else []:
        if k > 3:
            yield f'the parameters are cell {k + 1}, not among the first'
        for statement in tree(source(notebook['cells'][k])).body:
            try:
                ast.literal_eval(statement.value)                  # type: ignore[attr-defined]
                assert isinstance(statement, ast.Assign)
            except (ValueError, AttributeError, AssertionError):
                yield f'the parameters hold more than literals: {ast.unparse(statement)}'


def has_known_directives(notebook: Notebook) -> Iterator[str]:
    for text in code(notebook):
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


def exports_nothing_itself(notebook: Notebook) -> Iterator[str]:
    if any('nbdev_export' in text for text in code(notebook)):
        yield 'nbdev_export() would be run by papermill: use the command'


def names_no_absolute_path(notebook: Notebook) -> Iterator[str]:
    """No path of somebody's machine; /home/me is nobody's, for examples."""
    for k, cell in enumerate(notebook['cells']):
        for found in re.findall(
            r'(?<![\w./:<-])/(?:home|root|Users|work|tmp|mnt|var|opt)/[\w.-]+|\b[A-Z]:\\\\?\w+',
            source(cell),
        ):
            if found != '/home/me':
                yield f'cell {k + 1} names the absolute path {found}'


def imports_names(notebook: Notebook) -> Iterator[str]:
    for text in code(notebook):
        for node in ast.walk(tree(text)):
            if isinstance(node, ast.ImportFrom) and any(alias.name == '*' for alias in node.names):
                yield f'from {node.module} import *'
            if (
                isinstance(node, ast.Attribute)
                and ast.unparse(node) == 'sys.path'
                and notebook['name'] not in STARTS_LIKE_A_KERNEL
            ):
                yield 'sys.path is touched'


def exports_screenfuls(notebook: Notebook) -> Iterator[str]:
    """One definition a cell; how long cells are is measured over all of them, below."""
    if len(notebook['cells']) > MOST_CELLS:
        yield f'{len(notebook["cells"])} cells'
    for text in exported(notebook):
        found = [s for s in tree(text).body if isinstance(s, DEFINITIONS)]
        if len(found) > 1:
            yield f'{len(found)} definitions in one cell: {found[1].name}'


DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def imports_on_one_line(notebook: Notebook) -> Iterator[str]:
    """The exporter makes only imports of one line relative."""
    for text in exported(notebook):
        for node in tree(text).body:
            ours = isinstance(node, ast.ImportFrom) and (node.module or '').startswith('cd4ml_nb')
            if ours and node.lineno != node.end_lineno:
                yield f'an import of several lines from {node.module}'


def keeps_imports_apart(notebook: Notebook) -> Iterator[str]:
    for text in exported(notebook):
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


def runs_below_the_line(notebook: Notebook) -> Iterator[str]:
    if not has_parameters(notebook):
        return
    at = [
        k
        for k, cell in enumerate(notebook['cells'])
        if cell['cell_type'] == 'markdown' and re.search(r'^## Run\s*$', source(cell), re.MULTILINE)
    ]
    if len(at) != 1:
        yield f'{len(at)} headings ## Run'
        return
    for cell in notebook['cells'][at[0]:]:
        if cell['cell_type'] == 'code' and not source(cell).startswith('#| pipeline'):
            yield f'a cell below ## Run without #| pipeline: {source(cell)[:60]}'
        elif cell['cell_type'] == 'code' and any(
            isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for n in ast.walk(tree(source(cell)))
        ):
            yield f'something is defined below ## Run: {source(cell)[:60]}'
    for cell in notebook['cells'][:at[0]]:
        if cell['cell_type'] == 'code' and 'pipeline' in directives(source(cell)):
            yield 'a #| pipeline cell above ## Run'


def asserts_what_it_expects(notebook: Notebook) -> Iterator[str]:
    """`expect_fail` tests nothing unless it is entered: `with expect_fail(…):`."""
    for cell in notebook['cells']:
        if cell['cell_type'] != 'code' or 'expect_fail' not in source(cell):
            continue
        for node in ast.walk(tree(source(cell))):
            if isinstance(node, ast.Expr) and ast.unparse(node).startswith('expect_fail('):
                yield f'{ast.unparse(node)[:60]} without with'


def imports_upwards(notebook: Notebook, notebooks: list[Notebook]) -> Iterator[str]:
    """A notebook knows its own folder and those above it, and no stage."""
    modules = {module_of(p) for p in notebooks}
    mine = folder_of(notebook)
    for module in inside(notebook):
        if module == module_of(notebook):
            continue
        there = module.partition('.')[0]
        if module not in modules:
            yield f'imports {module}, which no notebook exports'
        elif mine and FOLDERS.index(there) > FOLDERS.index(mine):
            yield f'imports {module}, but {there} comes after {mine}'


def circle(notebooks: list[Notebook]) -> list[str]:
    """Modules that import each other in a circle, also from inside functions."""
    graph = {module_of(p) or p['name']: {m for m in inside(p)} - {module_of(p)} for p in notebooks}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


GUARDS: list[Callable[[Notebook], Iterator[str]]] = [
    has_title_and_summary, exports_to_one_module, is_clean, has_sound_ids, has_no_conflict_markers,
    has_parameters_of_literals, has_known_directives, exports_nothing_itself,
    names_no_absolute_path, imports_names, exports_screenfuls, keeps_imports_apart,
    runs_below_the_line, is_numbered_as_a_stage, lies_in_a_known_folder, imports_on_one_line,
    asserts_what_it_expects,
]


# ---- the notebooks keep them

PARSED = [read(path) for path in NOTEBOOKS]


@pytest.mark.parametrize('notebook', PARSED, ids=lambda notebook: notebook['name'])
def test_every_notebook_keeps_the_form(notebook):
    wrong = [f'{guard.__name__}: {what}' for guard in GUARDS for what in guard(notebook)]
    assert not wrong


@pytest.mark.parametrize('notebook', PARSED, ids=lambda notebook: notebook['name'])
def test_a_folder_imports_only_from_those_above_it(notebook):
    assert not list(imports_upwards(notebook, PARSED))


def test_no_modules_import_each_other():
    assert not circle(PARSED)


def test_N14_two_notebooks_never_export_to_one_module():
    assert not doubled(PARSED)


def doubled(notebooks: list[Notebook]) -> list[str]:
    """Modules that more than one notebook exports to."""
    return [name for name, n in Counter(filter(None, map(module_of, notebooks))).items() if n > 1]


def test_every_stage_of_pipeline_yaml_is_a_notebook_of_its_name():
    from cd4ml_nb.runs.paths import read_pipeline
    stages = read_pipeline(ROOT)
    for stage, task in stages.items():
        assert re.fullmatch(rf'notebooks/stages/1\d_{stage}\.ipynb', task['source'])
    assert len(stages) == sum(map(is_stage, PARSED))


def test_the_tour_leads_to_every_notebook():
    tour = next(notebook for notebook in PARSED if notebook['name'] == 'index')
    text = '\n'.join(source(cell) for cell in tour['cells'])
    linked = set(re.findall(r'\]\(([\w/]+)\.ipynb\)', text))
    assert linked == {notebook['name'] for notebook in PARSED} - {'index'}


@pytest.mark.parametrize('notebook', PARSED, ids=lambda notebook: notebook['name'])
def test_a_link_to_a_notebook_leads_to_one(notebook):
    text = '\n'.join(source(cell) for cell in notebook['cells'] if cell['cell_type'] == 'markdown')
    folder = (ROOT / 'notebooks' / notebook['name']).parent
    linked = re.findall(r'\]\(([\w./]+\.ipynb)[)#]', text)
    assert [link for link in linked if not (folder / link).is_file()] == []


# tests of the whole project
WHOLE = {'test_make.py', 'test_notebooks.py', 'test_promises.py'}


def test_tests_lie_in_folders_named_like_those_of_the_package_and_what_they_share_beside_them():
    tests = ROOT / 'tests'
    package = {path.parent.name for path in (ROOT / 'cd4ml_nb').glob('*/__init__.py')}
    assert package == {folder for folder in FOLDERS if folder != 'stages'}
    for path in tests.rglob('*.py'):
        place = path.relative_to(tests)
        if len(place.parts) == 1:
            assert place.name in WHOLE or not place.name.startswith('test_'), place
        else:
            folder, *below = place.parts
            assert folder in FOLDERS and len(below) == 1, place
            assert below[0].startswith('test_'), f'{place} is shared, or no test'


# ---- how it reads, measured over the whole package

def measured() -> dict[str, float]:
    """Tokens a line, tokens a function and lines a cell, as Python's tokenizer counts them."""
    skipped = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines, functions, wide = [], [], 0
    texts = [text for notebook in PARSED for text in exported(notebook)]
    for text in texts:
        tokens = Counter(
            token.start[0]
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type not in skipped
        )
        lines += tokens.values()
        wide += sum(len(line) > MOST_COLUMNS for line in text.split('\n'))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append(sum(tokens[k] for k in range(node.lineno, node.end_lineno + 1)))
    cells = [sum(bool(line.strip()) for line in text.split('\n')[1:]) for text in texts]
    return {
        'tokens a line': sum(lines) / len(lines),
        'tokens a function, p90': tenth(functions),
        'lines a cell, p90': tenth(cells),
        'lines over 100 columns, %': 100 * wide / len(lines),
    }


def tenth(values: list[int]) -> int:
    """The value that a tenth lies above."""
    return sorted(values)[int(0.9 * (len(values) - 1))]


@pytest.mark.parametrize(('what', 'most'), READS := [
    ('tokens a line', 9.5), ('tokens a function, p90', 215), ('lines a cell, p90', 30),
    ('lines over 100 columns, %', 1),
])
def test_the_package_reads_well(what, most):
    assert measured()[what] <= most


# ---- the package is what the notebooks export

def stale_modules(root: Path) -> list[str]:
    """Modules that differ from a fresh export of the notebooks, and modules that no notebook
    exports."""
    places = sorted((root / 'notebooks').rglob('*.ipynb'))
    notebooks = [read(path) for path in places]
    modules = [name for notebook in notebooks if (name := module_of(notebook))]
    wanted = {f'{name.replace(".", "/")}.py' for name in modules} | {'_modidx.py'}
    before = files_of(root)
    export = 'from nbdev.export import nb_export; import sys;'
    export += ' [nb_export(p, lib_path="cd4ml_nb") for p in sys.argv[1:]]'
    done = subprocess.run(
        [sys.executable, '-c', export, *map(str, places)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    after = files_of(root)
    changed = {name for name in after if after[name] != before.get(name)} - {'_modidx.py'}
    return sorted(changed | (set(before) - wanted))


def files_of(root: Path) -> dict[str, bytes]:
    """The modules of a package, without the empty ones that make its folders packages."""
    package = root / 'cd4ml_nb'
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in package.rglob('*.py')
        if path.name != '__init__.py'
    }


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the notebooks and of what they export."""
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


def test_N02_a_module_edited_by_hand_and_one_without_a_notebook_are_caught(project):
    with open(project / 'cd4ml_nb/core/errors.py', 'a', encoding='utf-8') as file:
        file.write('\nX = 1\n')
    gone = project / 'cd4ml_nb/core/gone.py'
    gone.write_text('"Its notebook was deleted."\n', encoding='utf-8')
    assert stale_modules(project) == ['core/errors.py', 'core/gone.py']


# ---- each guard catches what it is for

STAGE = [
    ('markdown', '# Shelf\n\n> Put things on a shelf.'),
    ('code', 'seed = 0   # of every choice\nproduct = None'),
    ('code', 'from cd4ml_nb.core.files import write_json'),
    ('markdown', 'Why a shelf.'),
    ('markdown', '## Run'),
    ('code', '#| pipeline\nwrite_json(product["a"], seed)'),
]
MODULE = [
    ('markdown', '# Shelf\n\n> Put things on a shelf.'),
    ('code', '#| default_exp rows.shelf'),
    ('code', '#| export\nfrom cd4ml_nb.core.files import write_json'),
    ('code', '#| export\ndef double(x: int) -> int:\n    "Twice."\n    return 2 * x'),
    ('code', 'assert double(2) == 4'),
]


def a_notebook(texts: list[tuple[str, str]], name: str) -> Notebook:
    """A notebook of some cells."""
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


def stage(name: str = 'stages/12_shelf') -> Notebook:
    """A small notebook of a stage that keeps every guard."""
    return a_notebook(STAGE, name)


def module(name: str = 'rows/shelf') -> Notebook:
    """A small notebook of a module that keeps every guard."""
    return a_notebook(MODULE, name)


def broken(notebook: Notebook, cell: int, **changes: Any) -> Notebook:
    notebook = copy.deepcopy(notebook)
    notebook['cells'][cell] |= changes
    return notebook


S = stage()
M = module()
TWO = '#| export\ndef f(): ...\n\n\ndef g(): ...'
LONG_IMPORT = '#| export\nfrom cd4ml_nb.core.files import (\n    read_json,\n)'
BROKEN = [
    (has_title_and_summary, broken(S, 0, source='# Shelf')),
    (has_title_and_summary, broken(S, 0, cell_type='code')),
    (exports_to_one_module, broken(M, 1, source='#| default_exp rows.shelves')),
    (exports_to_one_module, broken(M, 1, source='x = 1')),
    (exports_to_one_module, broken(S, 3, cell_type='code', source='#| default_exp stages.shelf')),
    (is_numbered_as_a_stage, stage('stages/shelf')),
    (is_numbered_as_a_stage, module('rows/12_shelf')),
    (lies_in_a_known_folder, module('attic/shelf')),
    (lies_in_a_known_folder, module('shelf')),
    (is_clean, broken(S, 5, outputs=[{'output_type': 'stream'}])),
    (is_clean, broken(S, 5, execution_count=3)),
    (is_clean, broken(S, 5, metadata={'collapsed': True})),
    (has_sound_ids, broken(S, 5, id='c4')),
    (has_sound_ids, broken(S, 5, id=None)),
    (has_sound_ids, S | {'nbformat': 3}),
    (has_sound_ids, S | {'metadata': {}}),
    (has_no_conflict_markers, broken(S, 5, source='x = 1\n<<<<<<< HEAD\ny = 2')),
    (has_parameters_of_literals, broken(S, 1, metadata={})),
    (has_parameters_of_literals, broken(S, 5, metadata={'tags': ['parameters']})),
    (has_parameters_of_literals, broken(M, 4, metadata={'tags': ['parameters']})),
    (has_parameters_of_literals, broken(S, 1, source='seed = int("0")')),
    (has_parameters_of_literals, broken(S, 1, source='import os')),
    (has_known_directives, broken(M, 3, source='#| exprot\ndef f(): ...')),
    (has_known_directives, broken(M, 3, source='# | export\ndef f(): ...')),
    (has_known_directives, broken(M, 3, source='x = 1\n#| export\ndef f(): ...')),
    (exports_nothing_itself, broken(M, 4, source='import nbdev; nbdev.nbdev_export()')),
    (names_no_absolute_path, broken(M, 4, source="open('/home/ann/data.csv')")),
    (names_no_absolute_path, broken(M, 4, source='path = r"C:\\data"')),
    (imports_names, broken(M, 2, source='#| export\nfrom math import *')),
    (imports_names, broken(M, 4, source='import sys\nsys.path.append("..")')),
    (imports_on_one_line, broken(M, 2, source=LONG_IMPORT)),
    (asserts_what_it_expects, broken(M, 4, source='expect_fail(lambda: double(None))')),
    (exports_screenfuls, broken(M, 3, source=TWO)),
    (exports_screenfuls, M | {'cells': M['cells'] * 13}),
    (keeps_imports_apart, broken(M, 2, source='#| export\nimport math\n\ndef f(): ...')),
    (runs_below_the_line, broken(S, 4, source='## Go')),
    (runs_below_the_line, broken(S, 5, source='x = 1')),
    (runs_below_the_line, broken(S, 5, source='#| pipeline\ndef f(): ...')),
    (runs_below_the_line, broken(S, 2, source='#| pipeline\nx = 1')),
]


@pytest.mark.parametrize('notebook', [S, M], ids=['stage', 'module'])
def test_a_good_notebook_passes_every_guard(notebook):
    assert not [what for guard in GUARDS for what in guard(notebook)]
    assert not list(imports_upwards(notebook, [notebook, files()]))


def files() -> Notebook:
    """The notebook that both import from."""
    notebook = broken(M, 1, source='#| default_exp core.files') | {'name': 'core/files'}
    return broken(notebook, 2, source='#| export\nimport json')


NAMES = [f'{guard.__name__}-{k}' for k, (guard, _) in enumerate(BROKEN)]


@pytest.mark.parametrize(('guard', 'notebook'), BROKEN, ids=NAMES)
def test_a_broken_notebook_is_caught(guard, notebook):
    assert list(guard(notebook))


def test_every_guard_has_a_notebook_that_breaks_it():
    assert {guard for guard, _ in BROKEN} == set(GUARDS)


UPWARDS = [
    'from cd4ml_nb.show.shelf import double',
    'from cd4ml_nb.show import shelf',
    'import cd4ml_nb.show.shelf',
    'def f():\n    from cd4ml_nb.show.shelf import double',
]


@pytest.mark.parametrize('text', UPWARDS)
def test_imports_that_run_upwards_are_caught(text):
    notebook = broken(M, 2, source=f'#| export\n{text}')
    other = broken(M, 1, source='#| default_exp show.shelf') | {'name': 'show/shelf'}
    assert list(imports_upwards(notebook, [notebook, other])) == [
        'imports show.shelf, but show comes after rows'
    ]


def test_imports_of_modules_without_a_notebook_are_caught():
    assert list(imports_upwards(M, [M])) == ['imports core.files, which no notebook exports']


def test_modules_that_import_each_other_are_caught():
    notebook = broken(M, 2, source='#| export\nfrom cd4ml_nb.rows.board import a')
    other = broken(notebook, 1, source='#| default_exp rows.board') | {'name': 'rows/board'}
    back = broken(other, 2, source='#| export\ndef f():\n    from cd4ml_nb.rows import shelf')
    assert set(circle([notebook, back])) == {'rows.shelf', 'rows.board'}
    assert not circle([notebook, broken(other, 2, source='x = 1')])


def test_N14_two_notebooks_that_export_to_one_module_are_caught():
    assert doubled([module('rows/shelf'), module('rows/board')]) == ['rows.shelf']
