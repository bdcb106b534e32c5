"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get('CD4ML_TEST_DATA', ROOT.parent / 'shared' / 'data'))


@pytest.fixture
def real_data():
    """The path of a real data set by its name; skips where the sets are absent (set CD4ML_TEST_DATA)."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f'real data set {name} is not here; set CD4ML_TEST_DATA to a folder that has it')
        return REAL / name

    return find


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Tests run in the project's root, with no settings of the machine's own."""
    monkeypatch.chdir(ROOT)
    for name in list(os.environ):
        if name.startswith('CD4ML_') and not name.startswith('CD4ML_TEST_'):
            monkeypatch.delenv(name)
