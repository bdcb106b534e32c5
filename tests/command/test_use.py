"""What `from cd4ml_nb import …` offers, as README shows it, on a small market."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from engine_notebooks import Tiny
from runs import ROOT, Place, copied_project

import cd4ml_nb
from cd4ml_nb import UserError, compare, find_run, load_model, load_scenario, predict
from cd4ml_nb.command.use import candidate_run

PUBLIC = [
    'new', 'load_scenario', 'run', 'find_run', 'compare', 'load_model', 'predict', 'Workbench',
    'Cd4mlError', 'UserError', 'GateRefused', 'InfrastructureError', 'feature',
]
BEFORE = """
import json
from pathlib import Path
import cd4ml_nb
lines = []
first = cd4ml_nb.run('used_cars', trials=1, until='register', say=lines.append)
path = Path('scenarios/used_cars.yaml')
path.write_text(path.read_text().replace('max: 1', 'max: 1000000'))
"""
AFTER = """
print(json.dumps({
    'first': first.id, 'lines': lines, 'refused': [first.accepted, first.verdict],
    'price': float(model.predict(car)[0]), 'reasons': model.explain(car)[0],
    'range': model.interval(car)[0].tolist(),
    'mae': newer.metrics['mae'], 'verdict': compare(first, newer).verdict,
}))
"""


def snippets() -> list[str]:
    """The Python under the heading "Use the model" in README, as far as it is ours."""
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    section = readme.split('## Use the model\n')[1].split('\n## ')[0]
    blocks = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    return [block for block in blocks if block.startswith('from cd4ml_nb')]


# ---- a project with a small market, in which README's lines have run

@pytest.fixture(scope='module')
def project(tmp_path_factory) -> tuple[Place, Path]:
    folder = tmp_path_factory.mktemp('use')
    root = copied_project(folder / 'project', 'scenarios/used_cars.yaml')
    path = root / 'scenarios/used_cars.yaml'
    scenario = yaml.safe_load(path.read_text(encoding='utf-8'))
    scenario['data']['options'] |= {'rows': 1500}
    scenario['search'] |= {'rounds': 15}
    scenario['evaluate'] |= {'replicates': 50}
    scenario['compare'] |= {'trainings': 0}
    scenario['interval'] = {'coverage': 0.8}
    scenario['gates'] = [{'metric': 'mae', 'max': 1}, {'metric': 'coverage', 'min': 0.6}]
    path.write_text(yaml.safe_dump(scenario), encoding='utf-8')
    return Place(folder), root


@pytest.fixture(scope='module')
def said(project) -> dict:
    """What the functions said, in a program of its own."""
    place, root = project
    program = [BEFORE, *snippets()[::-1], AFTER]      # a run that is accepted comes first
    done = place.run('-c', '\n'.join(program), cwd=root, command=sys.executable)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    place, root = project
    for name, value in place.environment.items():
        if name.startswith('CD4ML_'):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    return root


def test_readme_has_the_lines_that_are_run_here():
    assert len(snippets()) == 2
    assert all(len(block.splitlines()) < 12 for block in snippets())


def test_readmes_lines_predict_run_and_compare(said):
    assert 1_000 < said['price'] < 100_000
    assert said['range'][0] < said['price'] < said['range'][1]
    assert {'name', 'words', 'unit', 'value', 'contribution', 'effect'} <= set(said['reasons'][0])
    assert said['verdict'] in ('better', 'worse', 'undecided')
    assert said['mae'] > 0


def test_a_run_tells_its_stages_and_returns_what_the_record_says(said, inside):
    stages = [line.split()[0] for line in said['lines'] if ' done' in line]
    assert stages[:2] == ['ingest', 'validate'] and stages[-1] == 'register'
    newest = find_run('latest', 'used_cars')
    assert (newest.scenario, newest.accepted) == ('used_cars', True)
    assert newest.verdict.startswith('accepted')
    assert newest.report and newest.report.is_file() and newest.model and newest.model.is_dir()
    home = newest.report.parents[2]
    record = json.loads((home / 'runs' / f'{newest.id}.json').read_text(encoding='utf-8'))
    assert newest.metrics == record['metrics']


def test_a_refused_run_is_a_result_and_no_candidate(said, inside):
    assert said['refused'][0] is False and 'mae' in said['refused'][1]
    assert find_run(said['first']).accepted is False
    assert candidate_run('used_cars').id != said['first']
    with pytest.raises(UserError, match='no run of it was accepted yet'):
        load_model('wine_cultivars@candidate')


def test_every_name_of_a_model_leads_to_it(said, inside):
    newest = find_run('latest', 'used_cars')
    assert newest.model is not None
    names = ['used_cars@candidate', newest, newest.id, newest.model, str(newest.model)]
    models = [load_model(name) for name in names]
    raw = [bytes(model.booster.save_raw('json')) for model in models]
    assert len(set(raw)) == 1


def test_rows_in_every_form_give_the_same_predictions(said, inside):
    model = load_model('used_cars@candidate')
    split = inside.parent / 'products/used_cars/split'
    table = pd.read_parquet(next(split.glob('*/train.parquet'))).head(5)
    inputs = [spec.name for spec in model.contract.inputs]
    expected = model.predict(table)
    assert expected.shape == (5,)
    forms = [
        {name: list(table[name]) for name in inputs},
        table[inputs].to_dict('records'),
    ]
    for rows in forms:
        assert np.array_equal(predict(model, rows), expected)
    assert np.array_equal(predict('used_cars@candidate', forms[1][0]), expected[:1])
    reasons = model.explain(table, most=3)
    assert [len(one) for one in reasons] == [3] * 5
    with pytest.raises(UserError, match=r"inputs 'make', .* and \d+ more are missing — give each"):
        model.predict([{'mileage_km': 3}])


def test_a_model_that_was_changed_is_refused(said, inside, tmp_path):
    import shutil
    folder = find_run('latest', 'used_cars').model
    assert folder is not None
    copy = shutil.copytree(folder, tmp_path / 'model')
    (copy / 'model.json').write_bytes((copy / 'model.json').read_bytes() + b' ')
    with pytest.raises(UserError, match='content differs from the manifest'):
        load_model(copy)


def test_a_comparison_names_verdict_interval_and_page(said, inside):
    found = compare(said['first'], find_run('latest', 'used_cars'), trainings=0)
    assert (found.verdict, found.metric) == (said['verdict'], 'mae')
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert found.page.is_file() and found.sentences


def test_mistakes_are_user_errors(inside):
    with pytest.raises(UserError, match='no such run'):
        find_run('no-such-run')
    with pytest.raises(UserError, match='file not found'):
        load_scenario('used_cats')
    with pytest.raises(UserError, match="unknown parameter 'trails'"):
        cd4ml_nb.run('used_cars', trails=3)


FAILS = """
import json
import cd4ml_nb
above = cd4ml_nb.UserError.__bases__[0]
try:
    cd4ml_nb.run('tiny', say=lambda line: None)
except above as error:
    print(json.dumps([type(error) is above, above.__name__, str(error)]))
"""


def test_a_notebook_that_fails_raises_the_class_above_the_public_errors(tmp_path):
    tiny = Tiny(tmp_path / 'project')
    tiny.add('learn', 'rate = 1 / 0')
    done = tiny.end(tiny.begin(command=sys.executable, options=('-c', FAILS)))
    assert done.code == 0, done.err
    is_that_class, name, text = json.loads(done.out.splitlines()[-1])
    assert (is_that_class, name) == (True, 'Cd4mlError')
    assert 'pages/learn.ipynb:cell 3' in text and 'ZeroDivisionError' in text


# ---- lazy, typed, documented

def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_new_in_a_cell_writes_a_scenario_once_and_prints_what_was_found(inside, capsys):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({'id': range(200), 'km': rng.uniform(0, 9, 200)})
    table.assign(price=50 - table['km'] + rng.normal(0, 1, 200)).to_csv('cars.csv', index=False)
    path = cd4ml_nb.new('mine', str(inside / 'cars.csv'), 'price')
    assert path == inside / 'scenarios/mine.yaml' and load_scenario('mine').task == 'regression'
    said = capsys.readouterr().out
    assert said.startswith('scenarios/mine.yaml: regression') and 'D53 id: not learned' in said
    path.write_text(path.read_text() + '# mine\n')
    with pytest.raises(UserError, match='exists already'):
        cd4ml_nb.new('mine', str(inside / 'cars.csv'), 'price')
    assert path.read_text().endswith('# mine\n')


def test_the_package_alone_imports_nothing_else():
    listed = "print(*sorted(m for m in sys.modules if m.split('.')[0] in {names}))"
    own = listed.format(names={'cd4ml_nb'})
    assert fresh(f'import sys, cd4ml_nb; {own}').split() == ['cd4ml_nb']
    libraries = {'numpy', 'pandas', 'xgboost', 'pydantic', 'yaml', 'mlflow', 'typer', 'papermill'}
    program = f'import sys; from cd4ml_nb import load_model, UserError; {listed}'
    assert fresh(program.format(names=libraries)).split() == []


def test_the_command_loads_a_large_library_only_where_it_needs_it():
    listed = "print(*sorted(m for m in sys.modules if m in {names}))"
    large = {'pandas', 'pyarrow', 'pandera', 'scipy', 'sklearn', 'xgboost', 'mlflow', 'duckdb'}
    program = f'import sys, cd4ml_nb.command.cli; {listed}'
    assert fresh(program.format(names=large)).split() == []


def test_the_public_names_are_these_and_are_listed():
    assert cd4ml_nb.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(cd4ml_nb))
    assert all(getattr(cd4ml_nb, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="has no attribute 'lode_model'"):
        cd4ml_nb.lode_model  # noqa: B018


def test_a_checker_is_shown_the_names_that_are_public():
    text = (ROOT / 'cd4ml_nb/__init__.py').read_text(encoding='utf-8')
    names = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
             for alias in node.names}
    assert set(PUBLIC) <= names


@pytest.mark.slow
def test_a_checker_knows_arguments_and_results(tmp_path):
    (tmp_path / 'program.py').write_text(
        "from cd4ml_nb import find_run, load_model\n"
        "reveal_type(load_model('a').predict)\n"
        "reveal_type(find_run('latest').accepted)\n"
        "load_model(3)\n"
    )
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--ignore-missing-imports', '--follow-imports=silent',
         '--cache-dir', str(ROOT / '.mypy_cache'), str(tmp_path / 'program.py')],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {'MYPYPATH': str(ROOT)},
    )
    assert 'bool | None' in done.stdout or 'Union[bool, None]' in done.stdout, done.stdout
    assert 'ndarray' in done.stdout
    assert 'program.py:4: error: Argument 1 to "load_model"' in done.stdout
    assert 'Found 1 error' in done.stdout


@pytest.mark.parametrize('name', PUBLIC)
def test_every_public_name_says_what_it_is_for(name):
    thing = getattr(cd4ml_nb, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert signature.return_annotation is not inspect.Signature.empty
        given = [parameter.annotation for parameter in signature.parameters.values()]
        assert inspect.Parameter.empty not in given
        assert re.search(r'raises .*(Error|Refused)', inspect.getdoc(thing) or '', re.I | re.DOTALL)
