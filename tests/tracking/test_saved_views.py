"""MLflow's saved comparisons and the errors of groups: what people see of them in a browser, and
that all of it comes back from what lies on disk."""

import contextlib
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from benches import Study
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name
from runs import CD4ML
from stores import empty_store
from waiting import wait_for

from cd4ml_nb.lab.servers import end_family, free_port
from cd4ml_nb.tracking.group_metrics import metric_part
from cd4ml_nb.tracking.views import TAG


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=90), min_size=1, max_size=20, unique=True))
def test_each_value_of_a_column_has_a_legal_metric_name_of_its_own(values):
    names = [metric_part(value) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        _validate_metric_name(f'holdout.{name}/{name}.balanced_accuracy')
        assert len(name) <= 67
    assert names == [metric_part(value) for value in values]


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Study:
    """A project with attempts, a sweep of the workbench, and two models."""
    made = Study(tmp_path_factory.mktemp('study'))
    for words in (
        ['try', '-s', 'cars'],
        ['try', '-s', 'cars', '-n', 'shallow', '-p', 'max_depth=2'],
        ['try', '-s', 'cars', '-n', 'wide', '--trials', '4'],
        ['run', '-s', 'cars', '-p', 'sweep.trials=3'],
        ['run', '-s', 'cars', '-p', 'sweep.trials=5'],
    ):
        done = made.cd4ml(*words)
        assert done.returncode == 0, done.stderr
    return made


@contextlib.contextmanager
def pages(study: Study) -> Iterator[dict[str, str]]:      # word of a comparison -> its address
    """`cd4ml ui` in a process of its own, and the comparisons that it names."""
    port = free_port()
    command = [str(CD4ML), 'ui', '-s', 'cars', '--port', str(port)]
    environment = study.place.environment | study.environment
    process = subprocess.Popen(
        command, cwd=study.project, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )
    found: dict[str, str] = {}
    try:
        while len(found) < 3:
            line = process.stdout.readline()
            assert line, 'cd4ml ui has ended'
            name, _, address = line.strip().partition(': ')
            if name.startswith('cars, '):
                words = {'cars, Models': 'models', 'cars, What was tried': 'attempts'}
                found[words.get(name, 'sweep')] = address
        yield found
    finally:
        end_family(process.pid)


@pytest.mark.slow
def test_E14_a_browser_shows_attempts_sweeps_models_and_groups_as_saved_comparisons(study, browser):
    browser.set_window_size(3200, 1400)      # the page renders no column that lies outside

    def shows(address: str, *words: str) -> str:
        for patience in (40, 40, 120):       # MLflow's page may begin with columns of its own
            browser.get('about:blank')
            browser.get(address)
            try:
                for word in words:
                    wait_for(lambda word=word: word in text(), patience, words=word)
                break
            except TimeoutError:
                if patience > 40:
                    raise
        assert 'workflowType=machine_learning' in browser.current_url
        return text()

    def text() -> str:
        return browser.find_element('tag name', 'body').text

    with pages(study) as found:
        shows(
            found['attempts'], 'What was tried', 'max_depth 2', 'best of 4 trials',
            '3 matching runs', 'the others are compared with it', 'cd4ml.verdict', 'cars train',
        )
        shown = shows(
            found['sweep'], 'Parallel Coordinates', 'mae by parameter', '5 matching runs', 'Curves'
        )
        assert shown.count('trial ') >= 5
        shows(found['models'], 'holdout.mae', '2 matching runs', 'accepted', 'v1', 'cars train')
        charts = found['models'] + '&compareRunsMode=CHART'
        shows(charts, 'What differs', 'Show differences only', 'holdout.make/a.mae')
        tables = found['models'] + '&compareRunsMode=ARTIFACT'
        shows(tables, 'groups.json', 'make: a', 'make: b')
        base = found['models'].partition('/#/')[0]
        run_id = study.place.json('cars', 'train', 'training.json')['run_id']
        there = study.client.get_experiment_by_name('cars').experiment_id
        place = f'{base}/#/experiments/{there}/runs/{run_id}'
        model = f'{place}/artifacts/model?workflowType=machine_learning'
        shows(model, 'Model schema', 'km (optional)', 'Make Predictions')
        said = study.cd4ml('ui', '-s', 'cars', '--compare', 'attempts')      # which runs already
        assert said.stdout == f'cars, What was tried: {found["attempts"]}\n'
    health = urllib.request.Request(f'{base}/health')
    with pytest.raises(OSError):
        urllib.request.urlopen(health, timeout=2)


@pytest.mark.slow
def test_views_verdicts_and_errors_of_groups_come_back_in_a_store_that_was_replaced(study):
    def kept() -> tuple:
        client = study.client
        experiment = client.get_experiment_by_name('cars')
        runs = {}
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            tags = run.data.tags
            groups = {n: v for n, v in run.data.metrics.items() if '/' in n or 'worst' in n}
            runs[tags['cd4ml.id']] = (groups, tags.get('cd4ml.verdict'), tags.get('cd4ml.changes'))
        views = {key: view for key, view in experiment.tags.items() if key.startswith(TAG)}
        return views, runs

    before = kept()
    # the attempts, the models, the sweep of the workbench, and that of the scenario, which went on
    assert len(before[0]) == 4 and any(groups for groups, _, _ in before[1].values())
    store = study.place.folder / 'mlflow.db'
    store.unlink()
    store.write_bytes(empty_store().read_bytes())
    done = study.cd4ml('sync', '--all')
    assert done.returncode == 0, done.stderr
    assert kept() == before
