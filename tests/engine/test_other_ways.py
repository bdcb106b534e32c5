"""The same pipeline by other means (Ploomber, Papermill notebook by notebook), and other tasks and
splits, from end to end."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import ROOT, copied_project, write_scenario
from runs import PAPERMILL, PLOOMBER, SMALL, Place
from sweeps import forked

from cd4ml_nb.columns.table import read_table


@pytest.mark.slow
@pytest.mark.parametrize(
    'name,metric,least',
    [
        ('wine_cultivars', 'accuracy', 0.9),
        ('used_cars_in_time', 'r2', 0.85),
    ],
)
def test_other_tasks_and_splits_run_from_end_to_end(tmp_path, name, metric, least):
    place = Place(tmp_path)
    done = place.run(
        'run', '--scenario', f'scenarios/{name}.yaml', '-p', 'trials=2', '-p', 'rows=4000'
    )
    # a small sample may miss a gate; the run itself is whole
    assert done.returncode in (0, 3), done.stderr
    assert place.json(name, 'evaluate', 'metrics.json')['holdout'][metric]['value'] > least
    if name == 'used_cars_in_time':
        span = place.json(name, 'split', 'split.json')['span']
        assert (
            span['train'][1] < span['validation'][0] and span['validation'][1] < span['holdout'][0]
        )


RECIPES: dict[str, dict[str, Any]] = {
    'breast_cancer': {
        'search': {'algorithms': ['trees', 'forest', 'linear'], 'blend': 4, 'rounds': 60},
        'validation': {'folds': 3},
        'class_weights': 'balanced',
    },
    'used_cars': {
        'search': {'algorithms': ['trees', 'dart'], 'blend': 3, 'rounds': 60},
        'monotone': ('mileage_km', 'decreasing'),
        'partitions': {'models': 'each', 'min_rows': 300},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_other_recipes_run_from_end_to_end(tmp_path, name):
    recipe = RECIPES[name]
    project = copied_project(tmp_path / 'project', f'scenarios/{name}.yaml')
    scenario = yaml.safe_load((ROOT / f'scenarios/{name}.yaml').read_text(encoding='utf-8'))
    scenario['search'] = recipe['search']
    scenario['gates'] = []
    if 'validation' in recipe:
        scenario['validation'] = recipe['validation']
        scenario['target']['class_weights'] = recipe['class_weights']
    if 'monotone' in recipe:
        scenario['partitions'] = recipe['partitions']
        column, direction = recipe['monotone']
        scenario['columns'][column]['monotone'] = direction
    write_scenario(project, name, scenario)
    place = Place(tmp_path)
    rows = ('-p', 'rows=3000') if name == 'used_cars' else ()
    words = ('run', '-s', name, '-p', 'trials=9', *rows)
    done = place.run(*words, cwd=project)
    assert done.returncode == 0, done.stderr
    best = place.json(name, 'sweep', 'best.json')
    trials = place.json(name, 'sweep', 'trials.json')['trials']
    assert {t['params']['algorithm'] for t in trials} == set(recipe['search']['algorithms'])
    report = place.product(name, 'report', 'report.html').read_text(encoding='utf-8')
    assert 'Algorithms that were tried' in report
    raw = place.product(name, 'package', 'model/model.json').read_bytes()
    if best['members']:
        assert raw.startswith(b'{"ensemble"') and 'a weighted average of' in report
    if 'validation' in recipe:
        low, high = best['interval']
        assert low < best['value'] < high or best['members']
        assert 'by cross-validation' in report and 'In training a row counted' in report
    if 'monotone' in recipe:
        assert 'A higher mileage never raises the predicted price' in report
        record = place.json(name, 'train', 'training.json')['partitions']
        kept = [trial for trial in record['trials'] if trial['kept']]
        assert kept and all(trial['n_rows'] >= 300 for trial in kept)
        assert len(json.loads(raw)['parts']) == len(kept) + 1 and 'Models of their own' in report
    again = place.run(*words, cwd=project)
    assert again.returncode == 0 and '0 stages run' in again.stdout + again.stderr


BYTES = (  # products that are the same, whoever made them
    ('ingest', 'table.parquet'),
    ('validate', 'table.parquet'),
    ('validate', 'schema.json'),
    ('split', 'train.parquet'),
    ('sweep', 'best.json'),
    ('train', 'model.json'),
    ('train', 'contract.json'),
    ('package', 'model/golden.jsonl'),
    ('evaluate', 'metrics.json'),
    ('evaluate', 'explanation.json'),
)


@pytest.mark.parametrize('last', ['split', pytest.param('report', marks=pytest.mark.slow)])
def test_ploomber_builds_the_same_products_from_the_same_pipeline(tmp_path, last):
    pytest.importorskip('ploomber')
    project = copied_project(tmp_path / 'project', 'scenarios/breast_cancer.yaml')
    place = Place(tmp_path)
    built = place.run(
        'build',
        '--partially',
        last,
        command=PLOOMBER,
        cwd=project,
        CD4ML_TRIALS='3',
        PLOOMBER_STATS_ENABLED='false',
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    done = place.run(*SMALL, '--until', last, cwd=project)
    assert done.returncode == 0, done.stderr
    theirs = project / 'products/ploomber'
    made = [(stage, file) for stage, file in BYTES if (theirs / stage / file).exists()]
    assert len(made) == (len(BYTES) if last == 'report' else 4)
    for stage, file in made:
        ours = place.product('breast_cancer', stage, file)
        assert (theirs / stage / file).read_bytes() == ours.read_bytes(), (stage, file)
    if last == 'report':
        predictions = 'evaluate/predictions.parquet'
        ours = place.product('breast_cancer', 'evaluate', 'predictions.parquet')
        assert read_table(theirs / predictions).equals(read_table(ours))
        assert (theirs / 'report/report.html').exists()


def papermill(place: Place, notebook: Path, *words: str) -> None:
    """Run a notebook with the command `papermill`."""
    executed = place.folder / notebook.name
    scenario = ('-p', 'scenario', 'scenarios/breast_cancer.yaml')
    given = (notebook.relative_to(ROOT), executed, '--no-progress-bar', *scenario, *words)
    done = place.run(*map(str, given), command=PAPERMILL)
    assert done.returncode == 0, (notebook.name, done.stderr[-3000:])


def papermill_in_a_child(place: Place, notebook: Path, **parameters: Any) -> None:
    """Run a notebook with papermill's function and the engine `cd4ml`, in a child of this process,
    which has the libraries."""
    import papermill

    import cd4ml_nb.engine.warm  # noqa: F401  registers the engine

    def work() -> None:
        os.environ.update(place.environment)
        papermill.execute_notebook(
            notebook,
            place.folder / notebook.name,
            {'scenario': 'scenarios/breast_cancer.yaml', **parameters},
            engine_name='cd4ml',
            progress_bar=False,
        )

    assert forked(work).code == 0, notebook.name


def test_notebooks_run_one_by_one_with_papermill(tmp_path):
    place = Place(tmp_path)
    paths = (ROOT / 'notebooks/stages').glob('1*.ipynb')
    notebooks = {path.stem[3:]: path for path in paths}
    papermill(place, notebooks['ingest'], '-p', 'rows', '0')                    # with a kernel
    papermill(place, notebooks['validate'], '--engine', 'cd4ml')
    for stage in (
        'split', 'features', 'sweep', 'train', 'evaluate', 'package', 'register', 'report'
    ):
        papermill_in_a_child(place, notebooks[stage], **({'trials': 3} if stage == 'sweep' else {}))
    draft = tmp_path / 'products/breast_cancer'
    assert (draft / 'report/draft/report.html').exists()
    assert (draft / 'package/draft/model/manifest.json').exists()
    text = (draft / 'register/draft/registration.json').read_text(encoding='utf-8')
    assert json.loads(text)['version'] == 1
