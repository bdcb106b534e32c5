"""The list of promises names tests that are there."""

import ast
import re
from pathlib import Path

import pytest
from projects import ROOT

TEXT = (ROOT / 'tests/PROMISES.md').read_text(encoding='utf-8')


def places(text: str) -> list[str]:
    """What the promises are held by: files, and tests in them."""
    held = text.partition('## Without a test')[0]
    return re.findall(r'^- .+ → (\S+)$', held, re.MULTILINE)


def is_there(place: str, root: Path = ROOT) -> bool:
    """Whether a file is there, and the test in it that is named."""
    path, _, name = place.partition('::')
    if not (root / path).is_file():
        return False
    if not name:
        return True
    tree = ast.parse((root / path).read_text(encoding='utf-8'))
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)


def test_every_line_of_a_promise_names_where_it_is_held():
    promises = re.findall(r'^- .*$', TEXT.partition('## Without a test')[0], re.MULTILINE)
    assert len(promises) == len(places(TEXT)) > 300


def test_every_test_that_holds_a_promise_is_there():
    assert [place for place in places(TEXT) if not is_there(place)] == []


@pytest.mark.parametrize('place', [
    'tests/test_promises.py::test_that_is_gone', 'tests/nowhere.py', 'notebooks/nowhere.ipynb',
])
def test_a_place_that_is_gone_is_noticed(place):
    assert not is_there(place)
