"""Every error code is listed once, with a meaning and a remedy, and every one that is listed is
used."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cd4ml_nb.core.error_codes import CODES

NOTEBOOKS = Path(__file__).resolve().parents[2] / 'notebooks'
LISTED_IN = NOTEBOOKS / 'core/error_codes.ipynb'
ID = re.compile('[CDGINSVX][0-9]{1,2}')
ERRORS = {'Cd4mlError', 'UserError', 'GateRefused', 'InfrastructureError'}


def texts(value: ast.expr) -> Iterator[str]:
    """The texts that an expression can be, where it says so itself."""
    if isinstance(value, ast.IfExp):
        yield from texts(value.body)
        yield from texts(value.orelse)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value


def codes_in(code: str) -> Iterator[str]:
    """The error codes that a cell uses: given by name, assigned, a default, or handed over as a
    fault's id."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.keyword) and node.arg == 'code':
            yield from texts(node.value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'code':
            yield from (text for text in texts(node.value) if text.isalnum())
        elif isinstance(node, ast.arguments):
            named = [argument.arg for argument in node.args]
            for name, value in zip(reversed(named), reversed(node.defaults), strict=False):
                yield from texts(value) if name == 'code' else ()
        elif isinstance(node, ast.Call):
            for argument in node.args:
                yield from (text for text in texts(argument) if ID.fullmatch(text))
            if getattr(node.func, 'id', '') in ERRORS and len(node.args) > 3:
                yield from texts(node.args[3])


def cells() -> Iterator[tuple[Path, str]]:
    """The cells of all notebooks that the package or the pipeline runs."""
    for path in NOTEBOOKS.rglob('*.ipynb'):
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            source = ''.join(cell['source'])
            if cell['cell_type'] == 'code' and source.startswith(('#| export', '#| pipeline')):
                if path != LISTED_IN:
                    yield path, source


@pytest.mark.parametrize(('code', 'found'), [
    ("raise UserError('a', code='C01' if a else 'C02')", ['C01', 'C02']),
    ("raise UserError('a', 'b', 'c', 'GIT')", ['GIT']),
    ("code = 'I04' if a else 'N07'", ['I04', 'N07']),
    ("found('D09', 'error', name, 'D1 of them')", ['D09']),
    ("def __init__(self, what: str, code: str = 'E'): pass", ['E']),
    ("cars = [('V60', 1.2)]; code = 'import sys'", []),
])  # fmt: skip
def test_the_codes_that_a_cell_uses_are_found(code, found):
    assert list(codes_in(code)) == found


def test_every_code_that_is_used_is_listed_and_every_one_that_is_listed_is_used():
    used: dict[str, set[str]] = {}
    for path, source in cells():
        for code in codes_in(source):
            used.setdefault(code, set()).add(path.name)
    assert {code: names for code, names in used.items() if code not in CODES} == {}
    assert sorted(set(CODES) - set(used)) == []


def test_no_code_is_listed_twice_and_no_two_have_the_same_meaning():
    meanings = [code.meaning for code in CODES.values()]
    assert len(set(meanings)) == len(meanings)
    assert all(code.meaning and code.remedy for code in CODES.values())
    lines = re.findall(r'^([A-Za-z]+[0-9]*)\|', '\n'.join(
        ''.join(cell['source']) for cell in json.loads(LISTED_IN.read_text())['cells']
    ), flags=re.M)
    assert sorted(lines) == sorted(CODES)
