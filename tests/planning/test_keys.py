"""What re-runs after which change: exact sets of stages, found by planning alone."""

import json

import pytest
from runs import copied_project

import cd4ml_nb.planning.keys as keys_page
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.settings import load_settings
from cd4ml_nb.planning.plan import make_plan

ALL = ['ingest', 'validate', 'split', 'features', 'sweep', 'train', 'evaluate', 'package',
       'register', 'report']
SCENARIO = 'scenarios/mine.yaml'
TEXT = """name: mine
title: Mine
task: binary
data: {source: data.csv, published: 2026-01-01, max_age_days: 99999}
target: {column: y}
columns: {x: {type: number}}
evaluate: {groups: [kind]}
gates: [{metric: auc, min: 0.5}]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = copied_project(tmp_path / 'project', SCENARIO)
    (folder / SCENARIO).write_text(TEXT, encoding='utf-8')
    (folder / 'data.csv').write_text('x,kind,y\n1,a,0\n2,b,1\n', encoding='utf-8')
    monkeypatch.chdir(folder)
    return folder


def keys(*texts):
    return {stage: step.key for stage, step in make_plan(SCENARIO, texts=list(texts)).steps.items()}


def replaced(path, old, new):
    text = path.read_text(encoding='utf-8')
    assert old in text, f'{old!r} is not in {path}'
    path.write_text(text.replace(old, new, 1), encoding='utf-8')


def cell(path, kind, start, change):
    """Change the first cell of a kind whose text starts with `start`."""
    notebook = json.loads(path.read_text(encoding='utf-8'))
    one = next(
        c
        for c in notebook['cells']
        if c['cell_type'] == kind and ''.join(c['source']).startswith(start)
    )
    one['source'] = change(''.join(one['source']))
    path.write_text(json.dumps(notebook), encoding='utf-8')


def appended(name):
    """Add an empty line to a template, a style sheet or a script."""
    def change(project):
        path = project / 'cd4ml_nb/show' / name
        path.write_text(path.read_text(encoding='utf-8') + '\n', encoding='utf-8')
    return change


def from_stage(stage):
    return ALL[ALL.index(stage):]


CHANGES = {
    'prose of a page': (
        lambda p: cell(
            p / 'notebooks/stages/14_sweep.ipynb',
            'markdown',
            '# Sweep',
            lambda s: s + ' More words.',
        ),
        [],
    ),
    'a comment in a page': (
        lambda p: cell(
            p / 'notebooks/stages/14_sweep.ipynb',
            'code',
            '#| pipeline',
            lambda s: s + '\n# a comment',
        ),
        [],
    ),
    'the code of a page': (
        lambda p: cell(
            p / 'notebooks/stages/14_sweep.ipynb', 'code', '#| pipeline', lambda s: s + '\nx = 1'
        ),
        from_stage('sweep'),
    ),
    'a docstring of a helper': (
        lambda p: replaced(
            p / 'cd4ml_nb/scenario/metrics.py', '"Every metric of the task."', '"Other words."'
        ),
        [],
    ),
    'a helper that only evaluate and the report reach': (
        lambda p: replaced(
            p / 'cd4ml_nb/show/model_figures.py',
            'def calibration_curve(',
            'LEVEL = 1\n\ndef calibration_curve(',
        ),
        [],
    ),
    'a helper of package': (
        lambda p: replaced(
            p / 'cd4ml_nb/scenario/thresholds.py', 'passed=not breach,', 'passed=bool(not breach),'
        ),
        from_stage('package'),
    ),
    'a helper of a helper': (
        lambda p: replaced(
            p / 'cd4ml_nb/scenario/metrics.py',
            'np.clip(p, 1e-7, 1 - 1e-7)',
            'np.clip(p, 1e-6, 1 - 1e-6)',
        ),
        from_stage('sweep'),
    ),
    'a function that nothing reaches': (
        lambda p: replaced(
            p / 'cd4ml_nb/scenario/metrics.py',
            'def metrics_of(',
            'def unused():\n    return 1\n\n\ndef metrics_of(',
        ),
        [],
    ),
    'a template of the report': (appended('templates/report/verdict.html'), ['report']),
    'a template that others include': (appended('templates/facts.html'), ['report']),
    'a template that a helper fills': (appended('templates/table.html'), ['report']),
    'a style sheet': (appended('assets/type.css'), ['report']),
    'a template of the comparison': (appended('templates/comparison/sure.html'), []),
    'a script that the report does not run': (appended('assets/sort.js'), []),
    'a gate': (lambda p: replaced(p / SCENARIO, 'min: 0.5', 'min: 0.6'), from_stage('package')),
    'a group to judge': (
        lambda p: replaced(p / SCENARIO, 'groups: [kind]', 'groups: []'),
        from_stage('evaluate'),
    ),
    'the market to judge by': (
        lambda p: replaced(
            p / SCENARIO, 'groups: [kind]', 'groups: [kind], partition: kind, min_rows: 40'
        ),
        from_stage('evaluate'),
    ),
    'the age that data may have': (
        lambda p: replaced(p / SCENARIO, 'max_age_days: 99999', 'max_age_days: 88888'),
        [],
    ),
    'the title': (
        lambda p: replaced(p / SCENARIO, 'title: Mine', 'title: My own'),
        from_stage('package'),
    ),
    'a description and an owner': (
        lambda p: replaced(p / SCENARIO, 'task:', 'description: Words.\nowner: Ann\ntask:'),
        ['report'],
    ),
    'whose the data is': (
        lambda p: replaced(
            p / SCENARIO, 'source: data.csv', 'source: data.csv, owner: Ann, licence: MIT'
        ),
        ['report'],
    ),
    'the unit of the target': (
        lambda p: replaced(p / SCENARIO, 'column: y', 'column: y, unit: EUR, words: asked'),
        from_stage('evaluate'),
    ),
    'words and unit of a column': (
        lambda p: replaced(
            p / SCENARIO, 'x: {type: number}', 'x: {type: number, unit: km, words: distance}'
        ),
        from_stage('evaluate'),
    ),
    'what a column may hold': (
        lambda p: replaced(p / SCENARIO, 'x: {type: number}', 'x: {type: number, max: 9}'),
        ALL,
    ),
    'when the data was published': (
        lambda p: replaced(p / SCENARIO, '2026-01-01', '2026-01-02'),
        ALL,
    ),
    'the version of the contract': (
        lambda p: replaced(p / SCENARIO, 'task:', 'contract: {version: 1.0.1}\ntask:'),
        from_stage('package'),
    ),
    'when a model counts as better': (
        lambda p: replaced(
            p / SCENARIO, 'task:', 'compare: {margin: 0.5}\ntrend: {margin: 0.5}\ntask:'
        ),
        [],
    ),
    'what the sweep tries': (
        lambda p: replaced(p / SCENARIO, 'task:', 'search: {rounds: 7}\ntask:'),
        from_stage('sweep'),
    ),
    'a byte of the data': (lambda p: replaced(p / 'data.csv', '2,b,1', '3,b,1'), ALL),
    'the order of keys in the scenario': (
        lambda p: (p / SCENARIO).write_text(
            '\n'.join(reversed(TEXT.strip().split('\n'))), encoding='utf-8'
        ),
        [],
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_reruns_exactly_what_depends_on_it(project, change):
    before = keys()
    edit, expected = CHANGES[change]
    edit(project)
    after = keys()
    assert [stage for stage in ALL if before[stage] != after[stage]] == expected


def test_another_version_of_a_library_reruns_everything(project, monkeypatch):
    before = keys()
    versions = dict(keys_page.versions())
    monkeypatch.setattr(keys_page, 'versions', lambda: versions | {'xgboost': '0.0'})
    assert [stage for stage, key in keys().items() if key != before[stage]] == ALL


def test_a_parameter_reruns_its_stage_and_those_below(project):
    before = keys()
    assert [s for s in ALL if keys('sweep.seed=5')[s] != before[s]] == from_stage('sweep')
    # 0 is the scenario's seed: nothing new
    assert keys('sweep.seed=5') == keys('sweep.seed=5') and keys('sweep.seed=0') == before


def test_the_stages_are_the_same_in_every_environment(project):
    shapes = {
        env: [
            (s.stage, s.source, s.upstream, s.files)
            for s in make_plan(SCENARIO, load_settings(env)).steps.values()
        ]
        for env in ('DEFAULT', 'ci', 'team', 'sagemaker')
    }
    assert len({str(shape) for shape in shapes.values()}) == 1


def test_data_that_is_too_old_stops_a_run_even_when_all_is_done(project):
    replaced(
        project / SCENARIO,
        'published: 2026-01-01, max_age_days: 99999',
        'published: 2020-01-01, max_age_days: 30',
    )
    with pytest.raises(UserError, match='days old; 30 are allowed'):
        make_plan(SCENARIO)
