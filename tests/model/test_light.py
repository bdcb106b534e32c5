"""A served model needs numpy and XGBoost, and the package alone needs nothing."""

import ast
from pathlib import Path

import pytest
from cars import CONTRACT, fitted_cars, write_model
from light import ROOT, light_environment, run_light, served_light

from cd4ml_nb.model.explanation import drivers
from cd4ml_nb.model.golden import as_columns, read_golden
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.prediction import contributions, predict

SERVED = (
    'calibration', 'contract', 'decision', 'encoding', 'explanation', 'golden', 'intervals',
    'loading', 'manifest', 'prediction', 'pyfunc',
)


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    return light_environment(tmp_path_factory.mktemp('light') / 'site')


def test_a_model_is_loaded_verified_asked_and_explained_with_numpy_and_xgboost_only(
    environment, tmp_path
):
    folder = write_model(tmp_path, fitted_cars(), CONTRACT)
    done = served_light(environment, folder)
    assert done['loaded'] == ['cd4ml_nb', 'numpy', 'scipy', 'xgboost']
    booster, contract = load_model(folder)
    cases = read_golden(folder / 'golden.jsonl')
    columns = as_columns([case['input'] for case in cases])
    here = predict(booster, contract, columns).tobytes().hex()
    assert done['answer']['predicted'] == done['answer']['by mlflow'] == here
    assert done['answer']['golden'] == len(cases)
    assert done['answer']['drivers'] == drivers(contributions(booster, contract, columns), contract)
    assert len(done['answer']['reasons']) == 4


def test_a_damaged_model_ends_in_one_line_there_too(environment, tmp_path):
    folder = write_model(tmp_path, fitted_cars(), CONTRACT)
    (folder / 'contract.json').write_text('{}')
    script = '''
import json
from pathlib import Path
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.model.loading import load_model
try:
    answer = load_model(sys.argv[2])
except UserError as error:
    answer = str(error)
'''
    said = run_light(environment, script, str(folder))['answer']
    assert said.startswith('G05 ') and 'contract.json: content differs from the manifest' in said


def test_the_environment_has_nothing_else(environment):
    script = '''
import json
answer = []
for name in ('pandas', 'pydantic', 'yaml', 'mlflow', 'sklearn'):
    try:
        __import__(name)
        answer.append(name)
    except ImportError:
        pass
'''
    assert run_light(environment, script)['answer'] == []


def test_the_package_alone_imports_nothing(environment):
    script = '''
import json
import cd4ml_nb
answer = None
'''
    assert run_light(environment, script)['loaded'] == ['cd4ml_nb']


def reached(module: Path, known: set[Path]) -> set[Path]:
    """The modules of the package that a module imports, directly or not, and itself."""
    known.add(module)
    for node in ast.walk(ast.parse(module.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module.parents[node.level - 1]
            path = base.joinpath(*(node.module or '').split('.')).with_suffix('.py')
            if path not in known:
                reached(path, known)
    return known


@pytest.mark.parametrize('name', SERVED)
def test_what_is_served_reaches_model_and_core_only(name):
    package = ROOT / 'cd4ml_nb'
    modules = reached(package / f'model/{name}.py', set())
    there = {module.relative_to(package).as_posix() for module in modules}
    assert all(path.startswith(('model/', 'core/')) for path in there)
    assert not there & {'training/training.py', 'core/yaml_files.py', 'core/settings.py'}
