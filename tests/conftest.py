"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest
from browsers import chromium
from effort import load_profile
from projects import ROOT, copy_parts

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


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with the notebooks of this one and no scenario, as the working folder."""
    for name in ('notebooks', 'cd4ml_nb'):
        (tmp_path / name).mkdir()
        for path in (ROOT / name).iterdir():
            if path.name != 'features':      # its own, which `new` writes
                (tmp_path / name / path.name).symlink_to(path)
    copy_parts(tmp_path, 'pipeline.yaml', 'settings.ini')
    (tmp_path / 'scenarios').mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope='session')
def browser():
    """One headless browser for all tests of pages; skips where none is installed."""
    with chromium() as driver:
        yield driver


# The files that take longest, the longest first: who gets one of them last keeps all waiting
LONGEST = (
    'search/test_sweep.py', 'engine/test_faults.py', 'tracking/test_tracking.py',
    'audit/test_kept_runs.py', 'engine/test_ends.py', 'runs/test_drafts.py',
    'engine/test_other_ways.py', 'engine/test_pipeline.py', 'engine/test_engine.py',
    'studies/test_shared_rows.py', 'tracking/test_candidate.py', 'command/test_cli.py',
    'command/test_use.py', 'engine/test_personal.py', 'engine/test_data_in_place.py',
    'planning/test_staleness.py', 'studies/test_compare.py', 'scenario/test_comparison.py',
    'runs/test_order.py', 'command/test_answers.py', 'studies/test_trainings.py',
    'audit/test_trust.py', 'show/test_report.py', 'audit/test_other_stages.py',
    'command/test_upgrade.py', 'scenario/test_weights.py', 'test_notebooks.py',
)
TESTS = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by their files, the longest first; skip those for a GPU where there is none.
    """
    place = {TESTS / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    for_a_gpu = [item for item in items if item.get_closest_marker('gpu')]
    if for_a_gpu:
        from cd4ml_nb.core.settings import gpu_count
        if not gpu_count():
            for item in for_a_gpu:
                item.add_marker(pytest.mark.skip(reason='there is no CUDA GPU here'))


def without_settings() -> None:
    """Take the settings out of the environment."""
    for name in list(os.environ):
        if name.startswith('CD4ML_') and not name.startswith('CD4ML_TEST_'):
            del os.environ[name]


load_profile()
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
