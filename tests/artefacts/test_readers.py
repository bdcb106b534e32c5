"""The typed files have one reader each: no other module, and no stage, opens them otherwise."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import ROOT

from cd4ml_nb.artefacts.run_record import FORMER

# a product's name, and its file's without the ending
TYPED = {
    'catalogue', 'findings', 'schema', 'split', 'trials', 'best', 'training', 'metrics',
    'explanation', 'registration',
}
# what opens a file, or makes something of its text
OPENING = {
    'open', 'read_text', 'read_bytes', 'load', 'loads', 'read_json', 'json_or_none',
    'read_or_none', 'read_object', 'read_typed',
}
# what gives the path of a run's record
RECORDS = {'record_path', 'record_paths', 'find_record'}
RECORD = re.compile(r'(.*/)?runs(/.*\.json)?')
Scope = ast.Module | ast.FunctionDef


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    return getattr(function, 'attr', getattr(function, 'id', ''))


def scopes(tree: ast.Module) -> Iterator[Scope]:
    """A module and its functions."""
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def own_nodes(scope: Scope) -> Iterator[ast.AST]:
    """The nodes of a module or function, without those of functions in it."""
    waiting: list[ast.AST] = list(scope.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef):
            waiting += ast.iter_child_nodes(node)


def values_of_names(nodes: list[ast.AST]) -> dict[str, list[ast.expr]]:
    """What is assigned to each name, also by a loop, a block or in an expression."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        pairs: list[tuple[ast.expr, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.For | ast.comprehension):
            pairs = [(node.target, node.iter)]
        elif isinstance(node, ast.withitem) and node.optional_vars:
            pairs = [(node.optional_vars, node.context_expr)]
        for target, value in pairs:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and value is not None:
                    found.setdefault(part.id, []).append(value)
    return found


def reaches_typed(value: ast.AST, names: dict[str, list[ast.expr]], seen: set[str]) -> bool:
    """Whether an expression names a typed file, itself or by the names in it."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            last = node.value.rpartition('/')[2].removesuffix('.json')
            if last in TYPED or RECORD.fullmatch(node.value):
                return True
        elif isinstance(node, ast.Call) and name_of(node.func) in RECORDS:
            return True
        elif isinstance(node, ast.Name) and node.id not in seen:
            values = names.get(node.id, [])
            if any(reaches_typed(each, names, seen | {node.id}) for each in values):
                return True
    return False


def openers(tree: ast.Module) -> set[str]:
    """What opens a file, and the functions of a module that open the one they are given."""
    found = set(OPENING)
    for scope in scopes(tree):
        if isinstance(scope, ast.FunctionDef):
            given = {argument.arg for argument in scope.args.args}
            for node in own_nodes(scope):
                if isinstance(node, ast.Call) and name_of(node.func) in OPENING:
                    named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                    found |= {scope.name} if named & given else set()
    return found


def typed_files_opened(code: str) -> list[str]:
    """The calls that open a typed file."""
    tree = ast.parse(code)
    opening = openers(tree)
    everywhere = values_of_names(list(own_nodes(tree)))
    found = []
    for scope in scopes(tree):
        nodes = list(own_nodes(scope))
        names = everywhere | values_of_names(nodes)
        for node in nodes:
            if isinstance(node, ast.Call) and name_of(node.func) in opening:
                if reaches_typed(node, names, set()):
                    found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize('code', [
    "read_json(folder / 'schema.json')",
    "json.loads((home / 'sweep/draft/best.json').read_text())",
    "path = home / 'metrics.json'\nwith open(path) as file:\n    found = json.load(file)",
    "def f(upstream):\n    kept = upstream['split']\n    return read_json(kept['split'])",
    "def f(folder):\n    return read_or_none(path) if (path := file_of(folder, 'best')) else None",
    "NAME = 'split.json'\n\ndef f(folder):\n    return read_json(folder / NAME)",
    "def f(path):\n    return read_json(path)\n\ndef g(home):\n    return f(home / 'best.json')",
    "for path in home.glob('runs/*.json'):\n    read_json(path)",
    "[json_or_none(path) for path in sorted((home / 'runs').glob('*.json'))]",
    "read_json(record_path(home, run))",
    "found = [path.read_text() for path in record_paths('cars')]",
])
def test_a_module_that_opens_a_typed_file_is_found(code):
    assert typed_files_opened(code)


@pytest.mark.parametrize('code', [
    "read_schema(upstream['split']['schema'])",
    "read_json(folder / 'manifest.json')['metrics']",
    "path = home / 'schema.json'\nother = home / 'looks.jsonl'\nother.read_text()",
    "def f(path):\n    return read_json(path)\n\ndef g(home):\n    path = home / 'best.json'",
])
def test_a_module_that_opens_another_file_is_not(code):
    assert typed_files_opened(code) == []


def modules() -> list[Path]:
    """The modules that are not those with the readers."""
    package = ROOT / 'cd4ml_nb'
    found = package.rglob('*.py')
    return sorted(path for path in found if path.parent != package / 'artefacts')


def test_no_other_module_opens_a_typed_file():
    opened = {}
    for path in modules():
        if calls := typed_files_opened(path.read_text(encoding='utf-8')):
            opened[path.name] = calls
    assert len(modules()) > 100 and opened == {}


def test_no_stage_opens_a_typed_file():
    opened = {}
    stages = sorted((ROOT / 'notebooks/stages').glob('*.ipynb'))
    for path in stages:
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        texts = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
        code = '\n'.join(text for text in texts if text.startswith('#| pipeline'))
        assert 'stage_paths(' in code
        if calls := typed_files_opened(code):
            opened[path.name] = calls
    assert len(stages) == 10 and opened == {}


def test_every_typed_file_that_a_record_names_is_looked_for():
    others = {'contract', 'report', 'data_report'}        # typed elsewhere, and two pages
    assert set(FORMER) - others <= TYPED
