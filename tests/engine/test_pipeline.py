"""Whole runs on the built-in sets, at the seam a user meets: the command, its exit code, its files,
the tracking store."""

import json
import re
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from light import light_environment, served_light
from mlflow.tracking import MlflowClient
from runs import PAPERMILL, ROOT, SMALL, Place, copied_project

from cd4ml_nb.columns.table import read_table, table_hash, unseal
from cd4ml_nb.model.golden import as_columns, read_golden, verify_golden
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.prediction import predict

STAGES = [
    'ingest', 'validate', 'split', 'features', 'sweep', 'train', 'evaluate', 'package', 'register',
    'report',
]


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """A place where the small scenario has run once, and how that run ended."""
    place = Place(tmp_path_factory.mktemp('first'))
    return place, place.run(*SMALL)


def test_a_run_ends_with_a_verdict_and_a_report(first):
    place, done = first
    assert done.returncode == 0, done.stdout + done.stderr
    record = place.record('breast_cancer')
    assert {stage: s['status'] for stage, s in record['stages'].items()} == dict.fromkeys(
        STAGES, 'done'
    )
    assert record['accepted'] and record['metric']['value'] > 0
    report = (place.folder / 'products/breast_cancer' / record['report']).read_text(
        encoding='utf-8'
    )
    assert 'Content-Security-Policy' in report and str(ROOT) not in report
    assert (place.folder / 'products/index.html').exists()


def test_a_table_that_is_read_in_pieces_gives_the_same_model_and_figures(first, tmp_path):
    place, _ = first
    pieces = Place(tmp_path)
    done = pieces.run(*SMALL, '--until', 'evaluate', CD4ML_PIECE_ROWS='100')
    assert done.returncode == 0, done.stderr
    for stage, file in (
        ('split', 'split.json'), ('sweep', 'best.json'), ('train', 'model.json'),
        ('evaluate', 'metrics.json'),
    ):
        found = (each.json('breast_cancer', stage, file) for each in (place, pieces))
        assert len({json.dumps(content) for content in found}) == 1, file


def test_the_model_is_one_tracked_run_registered_as_candidate(first):
    place, _ = first
    registration = place.json('breast_cancer', 'register', 'registration.json')
    training = place.json('breast_cancer', 'train', 'training.json')
    client = MlflowClient(f'sqlite:///{place.folder}/mlflow.db')
    run = client.get_run(training['run_id'])
    version = client.get_model_version_by_alias('breast_cancer', 'candidate')
    assert (
        version.run_id == run.info.run_id == registration['run_id']
        and run.info.status == 'FINISHED'
    )
    assert (
        run.data.tags['cd4ml.model'] == training['model_sha256']
        and run.data.tags['cd4ml.commit'] == training['commit']
    )
    metrics = place.json('breast_cancer', 'evaluate', 'metrics.json')['holdout']
    assert run.data.metrics['holdout.auc'] == pytest.approx(metrics['auc']['value'])
    kept = {file.path for file in client.list_artifacts(run.info.run_id, 'model')}
    assert len(client.list_artifacts(run.info.run_id, 'figures')) == 2
    assert kept == {
        f'model/{name}'
        for name in (
            'model.json', 'contract.json', 'features.json', 'golden.jsonl', 'manifest.json',
            'MLmodel', 'input_example.json',
        )
    }


def test_mlflow_shows_the_data_that_the_model_learned_from_and_was_judged_on(first):
    place, _ = first
    training = place.json('breast_cancer', 'train', 'training.json')
    split = place.json('breast_cancer', 'split', 'split.json')
    client = MlflowClient(f'sqlite:///{place.folder}/mlflow.db')
    shown = {}
    for given in client.get_run(training['run_id']).inputs.dataset_inputs:
        (context,) = [tag.value for tag in given.tags if tag.key == 'mlflow.data.context']
        shown[context] = (given.dataset.name, given.dataset.digest)
    parts = ('train.parquet', 'validation.parquet')
    tables = [read_table(place.product('breast_cancer', 'split', part)) for part in parts]
    seen = pd.concat(tables, ignore_index=True)
    assert shown == {
        'training': ('breast_cancer train', table_hash(seen)[:32]),
        'evaluation': ('breast_cancer holdout', split['hash']['holdout'][:32]),
    }
    sealed_rows = unseal(place.product('breast_cancer', 'split', 'holdout.sealed'), 'test', 'hash')
    assert split['hash']['holdout'] == table_hash(sealed_rows)


def test_an_opened_notebook_works_on_the_current_products_without_injection(first, tmp_path):
    place, _ = first
    seed = yaml.safe_load((ROOT / 'scenarios/breast_cancer.yaml').read_text(encoding='utf-8'))[
        'seed'
    ]
    done = place.run(
        'notebooks/stages/12_split.ipynb',
        str(tmp_path / 'out.ipynb'),
        '--cwd',
        'notebooks',
        '--engine',
        'cd4ml',
        '--no-progress-bar',
        '-p',
        'scenario',
        'scenarios/breast_cancer.yaml',
        '-p',
        'seed',
        str(seed),
        command=PAPERMILL,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    draft = place.folder / 'products/breast_cancer/split/draft'
    assert (draft / 'train.parquet').read_bytes() == place.product(
        'breast_cancer', 'split', 'train.parquet'
    ).read_bytes()
    shutil.rmtree(draft)


def test_a_second_run_does_nothing(first):
    place, _ = first
    before = place.record('breast_cancer')
    again = place.run(*SMALL)
    assert again.returncode == 0 and '0 stages run, 10 unchanged' in again.stdout
    assert place.record('breast_cancer') == before  # and leaves no record, as nothing has happened


def test_the_packaged_model_answers_its_golden_cases_to_the_bit(first):
    place, _ = first
    folder = place.product('breast_cancer', 'package', 'model')
    booster, contract = load_model(folder)
    cases = read_golden(folder / 'golden.jsonl')
    columns = as_columns([case['input'] for case in cases])
    answers = np.float32(predict(booster, contract, columns))
    assert np.array_equal(answers, np.float32([case['output'] for case in cases]))
    assert verify_golden(folder) == len(cases) > 32


def test_the_packaged_model_is_served_with_numpy_and_xgboost_only(first, tmp_path):
    place, _ = first
    folder = place.product('breast_cancer', 'package', 'model')
    done = served_light(light_environment(tmp_path / 'site'), folder)
    assert done['loaded'] == ['cd4ml_nb', 'numpy', 'scipy', 'xgboost']
    booster, contract = load_model(folder)
    columns = as_columns([case['input'] for case in read_golden(folder / 'golden.jsonl')])
    answers = predict(booster, contract, columns)
    assert done['answer']['predicted'] == answers.tobytes().hex()
    assert done['answer']['golden'] == len(answers)
    assert done['answer']['drivers'][0]['share'] > 0


def test_no_golden_case_and_no_input_example_is_a_row_of_the_data(first):
    place, _ = first
    folder = place.product('breast_cancer', 'package', 'model')
    _, contract = load_model(folder)
    names = [spec.name for spec in contract.inputs]
    parts = ('train.parquet', 'validation.parquet')
    tables = [pd.read_parquet(place.product('breast_cancer', 'split', part)) for part in parts]
    persons = pd.concat(tables)[names].to_numpy()
    cases = [case['input'] for case in read_golden(folder / 'golden.jsonl')]
    drawn = np.array([[case[name] for name in names] for case in cases], dtype=float)
    example = json.loads((folder / 'input_example.json').read_text(encoding='utf-8'))
    assert example['columns'] == names
    assert example['data'] == [list(case.values()) for case in cases[:3]]
    # even a quarter of a person's thirty values would be a person
    assert (drawn[:, None, :] == persons[None, :, :]).sum(axis=2).max() < 8


def test_E14_mlflow_loads_the_candidate_and_predicts_as_we_do_to_the_bit(first):
    place, _ = first
    booster, contract = load_model(place.product('breast_cancer', 'package', 'model'))
    rows = pd.read_parquet(place.product('breast_cancer', 'split', 'train.parquet'))
    registration = place.json('breast_cancer', 'register', 'registration.json')
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f'sqlite:///{place.folder}/mlflow.db')
    try:
        loads = [mlflow.pyfunc.load_model('models:/breast_cancer@candidate') for _ in range(2)]
    finally:
        mlflow.set_tracking_uri(before)
    for model in loads:         # the second finds the note that MLflow has left for the first
        said = model.predict(rows)
        assert said.tobytes() == predict(booster, contract, rows).tobytes()
        assert model.metadata.run_id == registration['run_id']
        assert model.metadata.signature.inputs.input_names() == [i.name for i in contract.inputs]
        assert len(model.input_example) == len(model.predict(model.input_example)) == 3


def test_the_holdout_is_sealed_and_each_look_is_counted(first):
    place, _ = first
    with pytest.raises(Exception, match='(?i)parquet|magic|sealed'):
        pd.read_parquet(place.product('breast_cancer', 'split', 'holdout.sealed'))
    looks = [
        json.loads(line)
        for line in (place.folder / 'products/breast_cancer/looks.jsonl').read_text().splitlines()
    ]
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
    rows = {
        line.split()[0]: line
        for line in changed.stdout.splitlines()
        if line.split() and line.split()[0] in STAGES
    }
    assert [stage for stage in STAGES if 'stale' in rows[stage]] == [
        'sweep', 'train', 'evaluate', 'package', 'register', 'report',
    ]
    assert 'trials: 3 → 4' in rows['sweep']


def test_a_tampered_product_is_noticed_and_made_again(first):
    place, _ = first
    path = place.product('breast_cancer', 'split', 'train.parquet')
    before = path.read_bytes()
    path.write_bytes(before[:-100])
    again = place.run(*SMALL, '--until', 'split')
    assert again.returncode == 0, again.stderr
    assert {stage: s['status'] for stage, s in place.record('breast_cancer')['stages'].items()} == {
        'ingest': 'kept',
        'validate': 'kept',
        'split': 'done',
    }
    assert path.read_bytes() == before


@pytest.mark.slow
def test_two_fresh_folders_give_the_same_model_also_with_kernels(first, tmp_path):
    place, _ = first
    other = Place(tmp_path)
    done = other.run(*SMALL, '--until', 'train', '--engine', 'kernel')
    assert done.returncode == 0, done.stderr
    for stage, file in (
        ('ingest', 'table.parquet'),
        ('split', 'train.parquet'),
        ('sweep', 'best.json'),
        ('train', 'model.json'),
        ('train', 'contract.json'),
    ):
        assert (
            other.product('breast_cancer', stage, file).read_bytes()
            == place.product('breast_cancer', stage, file).read_bytes()
        ), (stage, file)


@pytest.mark.slow
def test_a_stage_run_anew_takes_those_along_that_read_it(first):
    place, _ = first
    done = place.run(*SMALL, '--force', 'train')
    assert done.returncode == 0, done.stderr
    assert {stage: s['status'] for stage, s in place.record('breast_cancer')['stages'].items()} == {
        stage: 'kept' if stage in ('ingest', 'validate', 'split', 'features', 'sweep') else 'done'
        for stage in STAGES
    }
    runs = {
        place.json('breast_cancer', *where)['run_id']
        for where in (
            ('train', 'training.json'),
            ('package', 'model/manifest.json'),
            ('register', 'registration.json'),
        )
    }
    assert len(runs) == 1


def scenario_with(folder, shipped, **changes):
    """A copy of a shipped scenario with some keys replaced."""
    value = (
        yaml.safe_load((ROOT / 'scenarios' / f'{shipped}.yaml').read_text(encoding='utf-8'))
        | changes
    )
    path = folder / f'{value["name"]}.yaml'
    path.write_text(yaml.safe_dump(value), encoding='utf-8')
    return path


def test_a_refused_model_gets_its_report_and_exit_code_3(first, tmp_path):
    place, _ = first
    path = scenario_with(
        tmp_path, 'breast_cancer', gates=[{'metric': 'auc', 'min': 0.9999}], name='too_strict'
    )
    done = place.run('run', '--scenario', str(path), '-p', 'trials=2')
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith('ERROR GATE') and 'auc' in done.stderr
    registration = place.json('too_strict', 'register', 'registration.json')
    assert not registration['accepted'] and registration['version'] is None
    assert 'Not released' in place.product('too_strict', 'report', 'report.html').read_text(
        encoding='utf-8'
    )
    versions = MlflowClient(f'sqlite:///{place.folder}/mlflow.db').search_model_versions(
        "name='too_strict'"
    )
    assert list(versions) == []


def test_bad_data_ends_in_one_line_before_any_training(tmp_path):
    (tmp_path / 'bad.csv').write_text(
        'age,target\n' + ''.join(f'{n},{n % 2}\n' for n in range(60)) + 'unknown,1\n',
        encoding='utf-8',
    )
    path = scenario_with(
        tmp_path,
        'breast_cancer',
        name='bad',
        data={'source': str(tmp_path / 'bad.csv')},
        columns={'age': {'type': 'number'}},
        target={'column': 'target'},
    )
    place = Place(tmp_path)
    done = place.run('run', '--scenario', str(path))
    last = done.stderr.strip().splitlines()[-1]
    assert (
        done.returncode == 2
        and last.startswith('ERROR D14')
        and "line 62: 'unknown'" in last
        and 'Traceback' not in done.stderr
    )
    assert list(place.record('bad')['stages']) == ['ingest']


def test_a_cell_that_fails_is_named_with_its_notebook(tmp_path):
    project = copied_project(tmp_path / 'project', 'scenarios/breast_cancer.yaml')
    notebook = project / 'notebooks/stages/12_split.ipynb'
    notebook.write_text(
        notebook.read_text(encoding='utf-8').replace(
            'assert not any(shared.values())', 'assert any(shared.values())'
        ),
        encoding='utf-8',
    )
    done = Place(tmp_path).run(*SMALL, '--until', 'split', cwd=project)
    last = done.stderr.strip().splitlines()[-1]
    assert (
        done.returncode == 1
        and last.startswith('ERROR N07')
        and 'notebooks/stages/12_split.ipynb:cell' in last
    )
    kept = tmp_path / 'products/breast_cancer/split/failed'
    assert (
        'AssertionError' in (kept / 'traceback.txt').read_text() and (kept / 'page.ipynb').exists()
    )
