"""MLflow loads a model's directory, and its prediction equals ours to the bit."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from cars import CONTRACT, MAKE, cars, fitted_cars, write_model

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import file_hash
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.model.golden import read_golden
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.runs.products import stable_hash


def of_task(task: str) -> Contract:
    """The contract, for another target of the same rows."""
    output = {
        'regression': {'scale': 'log'},
        'binary': {'classes': ('no', 'yes'), 'positive': 'yes'},
        'multiclass': {'classes': ('a', 'b', 'c')},
    }[task]
    return replace(CONTRACT, task=task, output=replace(CONTRACT.output, **output))


def directory(folder, contract=CONTRACT):
    """A model's directory for a contract."""
    table = cars()
    classes = contract.output.classes
    if classes:
        table['y'] = [classes[k % len(classes)] for k in table['km'].astype(int) // 1000]
    return write_model(folder, fitted_cars(contract, table=table), contract)


def frames() -> dict[str, pd.DataFrame]:
    """The same inputs in the types that people's tables have."""
    table = cars(40).drop(columns='y')
    table.loc[3, 'km'] = np.nan
    table.loc[4, MAKE] = 'Trabant'
    whole = table.assign(km=np.arange(40))
    return {
        'as read': table,
        'categories': table.astype({MAKE: 'category'}),
        'objects': table.astype(object),
        'single precision': table.astype({'km': 'float32'}),
        'whole numbers': whole,
        'nullable whole numbers': whole.astype({'km': 'Int64'}),
        'another order': table[table.columns[::-1]],
        'with further columns': table.assign(note='x', price=1.0),
        'one row': table.iloc[:1],
        'missing': table.iloc[:2].assign(**{'km': np.nan, MAKE: None, 'new': None, 'day': None}),
    }


@pytest.fixture(scope='module')
def loaded(tmp_path_factory):
    """A directory, as MLflow loads it and as we do."""
    folder = directory(tmp_path_factory.mktemp('model'))
    return mlflow.pyfunc.load_model(str(folder)), load_model(folder)


@pytest.mark.parametrize('name', list(frames()))
def test_E14_mlflow_predicts_as_we_do_to_the_bit_for_any_types(loaded, name):
    theirs, (booster, contract) = loaded
    frame = frames()[name]
    ours = predict(booster, contract, frame)
    said = theirs.predict(frame)
    assert said.dtype == ours.dtype and said.tobytes() == ours.tobytes() and len(said) == len(frame)


@pytest.mark.parametrize('task', ['regression', 'binary', 'multiclass'])
def test_E14_every_task_has_signature_example_and_the_same_answers(task, tmp_path):
    folder = directory(tmp_path, of_task(task))
    model = mlflow.pyfunc.load_model(str(folder))
    cases = read_golden(folder / 'golden.jsonl')[:3]
    said = model.predict(model.input_example)
    assert np.float32(said).tolist() == [case['output'] for case in cases]
    assert model.metadata.signature.inputs.input_names() == [i.name for i in CONTRACT.inputs]
    outputs = model.metadata.signature.outputs.inputs[0]
    assert outputs.type == said.dtype and outputs.shape == (-1, *said.shape[1:])


def test_MLmodel_is_yaml_that_names_our_loader_and_brings_no_code(tmp_path):
    odd = replace(CONTRACT.inputs[1], name='kilométrage "✈️" \x7f\n- km: {')
    contract = replace(CONTRACT, inputs=(CONTRACT.inputs[0], odd, *CONTRACT.inputs[2:]))
    folder = write_model(tmp_path, fitted_cars(), contract, run_id='ab' * 16)
    text = (folder / 'MLmodel').read_text(encoding='utf-8')
    described = yaml.safe_load(text)
    assert described == json.loads(text)
    loader = described['flavors']['python_function']
    assert loader['loader_module'] == 'cd4ml_nb.model.pyfunc'
    assert set(loader) == {'loader_module', 'python_version'}
    model = mlflow.pyfunc.load_model(str(folder))
    assert model.metadata.run_id == 'ab' * 16
    assert model.metadata.signature.inputs.input_names()[1] == odd.name


def test_a_run_that_waits_for_its_store_is_not_named_by_an_id_that_mlflow_does_not_know(tmp_path):
    folder = write_model(tmp_path, fitted_cars(), CONTRACT, run_id='local-' + 'ab' * 16)
    assert mlflow.pyfunc.load_model(str(folder)).metadata.run_id is None


def test_G05_mlflow_does_not_load_what_our_loader_refuses(tmp_path):
    folder = directory(tmp_path)
    text = (folder / 'model.json').read_text()
    (folder / 'model.json').write_text(text.replace('"num_trees":"30"', '"num_trees":"29"'))
    with pytest.raises(UserError, match='content differs from the manifest'):
        mlflow.pyfunc.load_model(str(folder))


def test_our_loader_never_reads_MLmodel(tmp_path):
    folder = directory(tmp_path)
    manifest = json.loads((folder / 'manifest.json').read_text())
    (folder / 'MLmodel').unlink()
    del manifest['files']['MLmodel']
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    booster, contract = load_model(folder)
    assert contract == CONTRACT and booster.num_boosted_rounds() == 30


def test_the_same_model_of_another_run_has_the_same_stable_content(tmp_path):
    booster = fitted_cars()
    names = ('manifest', 'mlmodel', 'example')
    files = ('manifest.json', 'MLmodel', 'input_example.json')
    stable = []
    for run_id in ('ab' * 16, 'cd' * 16):
        folder = tmp_path / run_id
        folder.mkdir()
        write_model(folder, booster, CONTRACT, run_id)
        paths = [folder / file for file in files]
        stable.append([
            stable_hash(name, path, file_hash(path))
            for name, path in zip(names, paths, strict=True)
        ])
    assert stable[0] == stable[1] and None not in stable[0]
