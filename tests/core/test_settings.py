"""Where a run takes place: a variable goes before the section of settings.ini, and that before the
defaults."""

import pytest

from cd4ml_nb.core.settings import Settings, load_settings

TEXT = """[DEFAULT]
trials = 30
jobs = 2

[ci]
trials = 5
threads = 1
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / 'pipeline.yaml').write_text('tasks: []\n')
    (tmp_path / 'settings.ini').write_text(TEXT)
    return tmp_path


def test_a_variable_goes_before_the_section_and_the_section_before_the_defaults(
    project, monkeypatch
):
    without = load_settings('ci', project)
    assert (without.trials, without.threads, without.jobs) == (5, 1, 2)
    monkeypatch.setenv('CD4ML_TRIALS', '100')
    monkeypatch.setenv('CD4ML_JOBS', '7')
    given = load_settings('ci', project)
    assert (given.trials, given.threads, given.jobs) == (100, 1, 7)
    assert given.workers == Settings().workers
    assert load_settings('DEFAULT', project).trials == 100


def test_a_variable_goes_before_the_section_that_a_variable_names(project, monkeypatch):
    monkeypatch.setenv('CD4ML_ENV', 'ci')
    assert load_settings(root=project).trials == 5
    monkeypatch.setenv('CD4ML_TRIALS', '100')
    assert load_settings(root=project).trials == 100
