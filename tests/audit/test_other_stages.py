"""A pipeline whose stages have other names is recorded, verified, repeated and shown like ours."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from engine_notebooks import PARAMETERS, Tiny

from cd4ml_nb.artefacts.run_record import read_sealed_record
from cd4ml_nb.runs.find import find_record, read_records, record_paths
from cd4ml_nb.show.trend import read_trend

ENDS = {'value': 950.0, 'low': 900.0, 'high': 1000.0}
METRICS = {
    'task': 'regression',
    'metric': 'mae',
    'unit': 'EUR',
    'n_rows': 120,
    'confidence': 0.95,
    'holdout': {'mae': ENDS},
    'baseline': {'mae': {**ENDS, 'value': 2000.0}},
    'gain': {'mae': ENDS},
}
REGISTRATION = {
    'accepted': True,
    'verdict': 'accepted: 1 of 1',
    'gates': [],
    'model_name': 'tiny',
    'version': None,
    'alias': None,
    'spooled': False,
    'run_id': 'a0b1',
    'manifest_sha256': 'f' * 64,
}
CONTRACT = {
    'schema': 1,
    'name': 'tiny',
    'title': 'Watched',
    'task': 'regression',
    'inputs': [],
    'output': {'name': 'price', 'words': 'price'},
}
TRAINING = {'run_id': 'c0ffee', 'tracking': 'sqlite:///x.db'}
# stage -> the stages above it, and its products with what they hold
STAGES = {
    'capture': ((), {'slices': {'by': 'random', 'hash': {'holdout': 'e' * 64}}}),
    'watch': (('capture',), {'metrics': METRICS, 'training': TRAINING, 'contract': CONTRACT}),
    'decide': (('watch',), {'registration': REGISTRATION}),
    'tell': (('decide',), {'report': '<!doctype html><title>x</title>'}),
}


def source(product: str, value) -> str:
    """A cell that writes a product."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f'from pathlib import Path\nPath(product[{product!r}]).write_text({text!r})'


@pytest.fixture(scope='module')
def monitor(tmp_path_factory):
    """A project under git, after one run."""
    project = Tiny(tmp_path_factory.mktemp('monitor') / 'project')
    for stage, (above, products) in STAGES.items():
        project.add(
            stage,
            *[source('split' if name == 'slices' else name, v) for name, v in products.items()],
            upstream=above,
            parameters=f'{PARAMETERS}\nscale = 1',
            params={'scale': 1},
        )
        files = {
            'split' if name == 'slices' else name: f'products/x/{stage}/told/{name}.html'
            if isinstance(value, str)
            else f'products/x/{stage}/told/{name}.json'
            for name, value in products.items()
        }
        project.stages[stage]['product'] = {'nb': f'products/x/{stage}/leaf.ipynb'} | files
    tasks = {'tasks': list(project.stages.values())}
    (project.folder / 'pipeline.yaml').write_text(yaml.safe_dump(tasks, sort_keys=False))
    (project.folder / '.gitignore').write_text('products/\nmlflow.db\n')
    for words in (('init', '-q'), ('add', '.'), ('commit', '-qm', 'first')):
        who = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        subprocess.run(['git', '-C', str(project.folder), *who, *words], check=True)
    project.run().check(0)
    yield project
    project.end_all()


def command(project: Tiny, *words: str) -> str:
    done = project.end(project.begin(*words, options=()))
    assert done.code == 0, done.err
    return done.out


def test_its_record_holds_what_it_measured_and_decided(monitor):
    (path,) = record_paths('tiny', monitor.folder / 'products')
    record = read_sealed_record(path)
    assert record.order == [*record.ordered] == [*STAGES]
    assert (record.metric.name, record.metric.value, record.n_rows) == ('mae', 950.0, 120)
    assert (record.accepted, record.verdict) == (True, 'accepted: 1 of 1')
    assert record.holdout == 'e' * 64
    assert record.report == f'tell/{record.stages["tell"].key}/told/report.html'
    assert record.file('watch', 'metrics') == 'told/metrics.json'


def test_it_is_verified_and_repeated(monitor):
    assert command(monitor, 'verify').splitlines()[-1].endswith('is as it was')
    said = command(monitor, 'reproduce', '--env', 'here')
    for stage in STAGES:
        assert f'{stage} ' in said
    assert said.splitlines()[-1].endswith('was reproduced, to the byte')


def test_it_is_found_by_its_tracked_run_and_shown_by_status_index_and_trend(monitor):
    products = monitor.folder / 'products'
    home = products / 'tiny'
    latest = record_paths('tiny', products)[0]
    assert find_record('c0ffee', root=products) in record_paths('tiny', products)
    assert 'mae 950 EUR (900 to 1,000)' in command(monitor, 'status')
    index = (products / 'index.html').read_text(encoding='utf-8')
    assert 'Accepted as a candidate: no gate demanded anything.' in index and 'Watched' in index
    assert f'tiny/tell/{read_sealed_record(latest).stages["tell"].key}/told/report.html' in index
    releases = read_trend(products, 'tiny').releases
    assert releases and all(release.report for release in releases)
    assert read_records(home)[1] == []


def test_a_damaged_record_is_named_and_nothing_else_fails(monitor):
    runs = monitor.home / 'runs'
    (runs / '20000101-000000-1.json').write_text('{"run": "x", "stages": {"watch": {"key": 3}}}')
    try:
        found, damaged = read_records(monitor.home)
        assert found and damaged == ['20000101-000000-1']
        done = monitor.end(monitor.begin('reproduce', '20000101-000000-1', options=()))
        assert done.code == 2 and len(done.err.strip().splitlines()) == 1
        assert done.err.startswith('ERROR V2 ')
        assert 'was changed after it was written' in done.err
    finally:
        Path(runs / '20000101-000000-1.json').unlink()


def test_a_repetition_that_differs_names_the_stage_and_the_cell(monitor):
    path = monitor.folder / 'pages/watch.ipynb'
    text = path.read_text()
    now = "__import__('time').time_ns() % 1000 + 1"
    path.write_text(text.replace('950.0', f"' + str(print({now}) or {now}) + '"))
    monitor.run('--force', 'watch').check(0)
    done = monitor.end(monitor.begin('reproduce', '--env', 'here', options=()))
    assert done.code != 0 and 'watch' in done.err and 'cell 3' in done.out + done.err
