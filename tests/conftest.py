"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest
from browsers import chromium
from projects import ROOT

REAL = Path(os.environ.get('CD4ML_TEST_DATA', ROOT.parent / 'shared' / 'data'))


@pytest.fixture
def real_data():
    """The path of a real data set by its name; skips where the sets are absent (set
    CD4ML_TEST_DATA)."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(
                f'real data set {name} is not here; set CD4ML_TEST_DATA to a folder that has it'
            )
        return REAL / name

    return find


@pytest.fixture(scope='session')
def browser():
    """One headless browser for all tests of pages; skips where none is installed."""
    with chromium() as driver:
        yield driver


def without_settings() -> None:
    """Take the settings out of the environment."""
    for name in list(os.environ):
        if name.startswith('CD4ML_') and not name.startswith('CD4ML_TEST_'):
            del os.environ[name]


without_settings()          # the machine's own; before any fixture
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started with & by a script: what we start would ignore Ctrl-C, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Tests run in the project's root, and leave no settings behind: a command that was called in
    this process hands them to its children so."""
    monkeypatch.chdir(ROOT)
    yield
    without_settings()
