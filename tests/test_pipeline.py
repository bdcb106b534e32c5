"""Whole runs on the built-in sets, at the seam a user meets: the command, its exit code, its files, the tracking store."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from runs import ROOT, Place, copied_project

from cd4ml_nb.data import read_table
from cd4ml_nb.model import load_model, predict

STAGES = ['ingest', 'validate', 'split', 'sweep', 'train', 'evaluate', 'package', 'register', 'report']
SMALL = ('run', '--scenario', 'scenarios/breast_cancer.yaml', '-p', 'trials=3')


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """A place where the small scenario has run once, and how that run ended."""
    place = Place(tmp_path_factory.mktemp('first'))
    return place, place.run(*SMALL)


def test_a_run_ends_with_a_verdict_and_a_report(first):
    place, done = first
    assert done.returncode == 0, done.stdout + done.stderr
    record = place.record('breast_cancer')
    assert {stage: s['status'] for stage, s in record['stages'].items()} == dict.fromkeys(STAGES, 'done')
    assert record['accepted'] and record['metric']['value'] > 0
    report = (place.folder / 'products/breast_cancer' / record['report']).read_text(encoding='utf-8')
    assert 'Content-Security-Policy' in report and str(ROOT) not in report
    assert (place.folder / 'products/index.html').exists()


def test_the_model_is_one_tracked_run_registered_as_candidate(first):
    place, _ = first
    registration, training = place.json('breast_cancer', 'register', 'registration.json'), place.json('breast_cancer', 'train', 'training.json')
    client = MlflowClient(f'sqlite:///{place.folder}/mlflow.db')
    run, version = client.get_run(training['run_id']), client.get_model_version_by_alias('breast_cancer', 'candidate')
    assert version.run_id == run.info.run_id == registration['run_id'] and run.info.status == 'FINISHED'
    assert run.data.tags['cd4ml.model'] == training['model_sha256'] and run.data.tags['cd4ml.commit'] == training['commit']
    metrics = place.json('breast_cancer', 'evaluate', 'metrics.json')['holdout']
    assert run.data.metrics['holdout.auc'] == pytest.approx(metrics['auc']['value'])
    kept = {file.path for file in client.list_artifacts(run.info.run_id, 'model')}
    assert kept == {f'model/{name}' for name in ('model.json', 'contract.json', 'golden.jsonl', 'manifest.json')}


def test_a_second_run_does_nothing(first):
    place, _ = first
    again = place.run(*SMALL)
    assert again.returncode == 0
    assert {s['status'] for s in place.record('breast_cancer')['stages'].values()} == {'kept'}


def test_the_packaged_model_answers_its_golden_cases_to_the_bit(first):
    place, _ = first
    folder = place.product('breast_cancer', 'package', 'model')
    booster, contract = load_model(folder)
    cases = [json.loads(line) for line in (folder / 'golden.jsonl').read_text(encoding='utf-8').splitlines()]
    columns = {name: [case['input'][name] for case in cases] for name in cases[0]['input']}
    assert np.array_equal(np.float32(predict(booster, contract, columns)), np.float32([case['output'] for case in cases]))


def test_the_holdout_is_sealed_and_each_look_is_counted(first):
    place, _ = first
    with pytest.raises(Exception, match='(?i)parquet|magic|sealed'):
        pd.read_parquet(place.product('breast_cancer', 'split', 'holdout.sealed'))
    looks = [json.loads(line) for line in (place.folder / 'products/breast_cancer/looks.jsonl').read_text().splitlines()]
    assert [look['stage'] for look in looks] == ['evaluate']


def test_no_row_is_in_two_parts(first):
    place, _ = first
    split = place.json('breast_cancer', 'split', 'split.json')
    assert split['overlap'] == {'rows': 0, 'groups': 0} and sum(split['n'].values()) == 569


def test_a_parameter_changes_only_what_depends_on_it(first):
    place, _ = first
    status = place.run('status', '--scenario', 'scenarios/breast_cancer.yaml', CD4ML_TRIALS='3')
    assert not re.search('stale|never', status.stdout), status.stdout
    changed = place.run('status', '--scenario', 'scenarios/breast_cancer.yaml', CD4ML_TRIALS='4')
    rows = {line.split()[0]: line for line in changed.stdout.splitlines() if line.split() and line.split()[0] in STAGES}
    assert [stage for stage in STAGES if 'stale' in rows[stage]] == ['sweep', 'train', 'evaluate', 'package', 'register', 'report']
    assert 'trials: 3 → 4' in rows['sweep']


def test_a_tampered_product_is_noticed_and_made_again(first):
    place, _ = first
    path = place.product('breast_cancer', 'split', 'train.parquet')
    before = path.read_bytes()
    path.write_bytes(before[:-100])
    again = place.run(*SMALL, '--until', 'split')
    assert again.returncode == 0, again.stderr
    assert {stage: s['status'] for stage, s in place.record('breast_cancer')['stages'].items()} == {'ingest': 'kept', 'validate': 'kept', 'split': 'done'}
    assert path.read_bytes() == before


def test_two_fresh_folders_give_the_same_model_also_with_kernels(first, tmp_path):
    place, _ = first
    other = Place(tmp_path)
    done = other.run(*SMALL, '--until', 'train', '--engine', 'kernel')
    assert done.returncode == 0, done.stderr
    for stage, file in (('ingest', 'table.parquet'), ('split', 'train.parquet'), ('sweep', 'best.json'), ('train', 'model.json'), ('train', 'contract.json')):
        assert other.product('breast_cancer', stage, file).read_bytes() == place.product('breast_cancer', stage, file).read_bytes(), (stage, file)


def scenario_with(folder, shipped, **changes):
    """A copy of a shipped scenario with some keys replaced."""
    value = yaml.safe_load((ROOT / 'scenarios' / f'{shipped}.yaml').read_text(encoding='utf-8')) | changes
    path = folder / f'{value["name"]}.yaml'
    path.write_text(yaml.safe_dump(value), encoding='utf-8')
    return path


def test_a_refused_model_gets_its_report_and_exit_code_3(first, tmp_path):
    place, _ = first
    path = scenario_with(tmp_path, 'breast_cancer', gates=[{'metric': 'auc', 'min': 0.9999}], name='too_strict')
    done = place.run('run', '--scenario', str(path), '-p', 'trials=2')
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith('ERROR GATE') and 'auc' in done.stderr
    registration = place.json('too_strict', 'register', 'registration.json')
    assert not registration['accepted'] and registration['version'] is None
    assert 'Not released' in place.product('too_strict', 'report', 'report.html').read_text(encoding='utf-8')
    versions = MlflowClient(f'sqlite:///{place.folder}/mlflow.db').search_model_versions("name='too_strict'")
    assert list(versions) == []


def test_bad_data_ends_in_one_line_before_any_training(tmp_path):
    (tmp_path / 'bad.csv').write_text('age,target\n' + ''.join(f'{n},{n % 2}\n' for n in range(60)) + 'unknown,1\n', encoding='utf-8')
    path = scenario_with(tmp_path, 'breast_cancer', name='bad', data={'source': str(tmp_path / 'bad.csv')}, columns={'age': {'type': 'number'}},
                         target={'column': 'target'})
    place = Place(tmp_path)
    done = place.run('run', '--scenario', str(path))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith('ERROR D14') and "line 62: 'unknown'" in last and 'Traceback' not in done.stderr
    assert list(place.record('bad')['stages']) == ['ingest']


def test_a_cell_that_fails_is_named_with_its_page(tmp_path):
    project = copied_project(tmp_path / 'project', 'scenarios/breast_cancer.yaml')
    page = project / 'notebooks/12_split.ipynb'
    page.write_text(page.read_text(encoding='utf-8').replace('assert not any(shared.values())', 'assert any(shared.values())'), encoding='utf-8')
    done = Place(tmp_path).run(*SMALL, '--until', 'split', cwd=project)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith('ERROR N07') and 'notebooks/12_split.ipynb:cell' in last
    kept = tmp_path / 'products/breast_cancer/split/failed'
    assert 'AssertionError' in (kept / 'traceback.txt').read_text() and (kept / 'page.ipynb').exists()


@pytest.mark.parametrize('name,metric,least', [('wine_cultivars', 'accuracy', 0.9), ('used_cars_in_time', 'r2', 0.85)])
def test_other_tasks_and_splits_run_from_end_to_end(tmp_path, name, metric, least):
    place = Place(tmp_path)
    done = place.run('run', '--scenario', f'scenarios/{name}.yaml', '-p', 'trials=2', '-p', 'rows=4000')
    assert done.returncode in (0, 3), done.stderr          # a small sample may miss a gate; the run itself is whole
    assert place.json(name, 'evaluate', 'metrics.json')['holdout'][metric]['value'] > least
    if name == 'used_cars_in_time':
        span = place.json(name, 'split', 'split.json')['span']
        assert span['train'][1] < span['validation'][0] and span['validation'][1] < span['holdout'][0]


def test_ploomber_builds_the_same_products_from_the_same_pipeline(tmp_path):
    pytest.importorskip('ploomber')
    project, place = copied_project(tmp_path / 'project', 'scenarios/breast_cancer.yaml'), Place(tmp_path)
    ploomber = shutil.which('ploomber', path=str(ROOT / '.venv/bin')) or shutil.which('ploomber')
    built = place.run('build', command=ploomber, cwd=project, CD4ML_TRIALS='3', PLOOMBER_STATS_ENABLED='false')
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    done = place.run(*SMALL, cwd=project)
    assert done.returncode == 0, done.stderr
    theirs = project / 'products/ploomber'
    for stage, file in (('ingest', 'table.parquet'), ('validate', 'table.parquet'), ('validate', 'schema.json'), ('split', 'train.parquet'),
                        ('sweep', 'best.json'), ('train', 'model.json'), ('train', 'contract.json'), ('package', 'model/golden.jsonl'),
                        ('evaluate', 'metrics.json'), ('evaluate', 'explanation.json')):
        assert (theirs / stage / file).read_bytes() == place.product('breast_cancer', stage, file).read_bytes(), (stage, file)
    assert read_table(theirs / 'evaluate/predictions.parquet').equals(read_table(place.product('breast_cancer', 'evaluate', 'predictions.parquet')))
    assert (theirs / 'report/report.html').exists()


def test_pages_run_one_by_one_with_papermill(first, tmp_path):
    first_place, _ = first
    place, papermill = Place(tmp_path), ROOT / '.venv/bin/papermill'
    command = papermill if papermill.exists() else shutil.which('papermill')
    for page in sorted((ROOT / 'notebooks').glob('1*.ipynb')):
        trials = ('-p', 'trials', '3') if page.stem == '13_sweep' else ('-p', 'rows', '0') if page.stem == '10_ingest' else ()
        done = place.run(str(page.relative_to(ROOT)), str(tmp_path / page.name), '--engine', 'cd4ml', '--no-progress-bar',
                         '-p', 'scenario', 'scenarios/breast_cancer.yaml', *trials, command=command)
        assert done.returncode == 0, (page.name, done.stderr[-3000:])
    draft = tmp_path / 'products/breast_cancer'
    seed = yaml.safe_load((ROOT / 'scenarios/breast_cancer.yaml').read_text())['seed']
    assert (draft / 'report/draft/report.html').exists()
    if seed == 0:   # the pages' own default
        assert (draft / 'train/draft/model.json').read_bytes() == first_place.product('breast_cancer', 'train', 'model.json').read_bytes()
