"""A model's directory: what is damaged is refused before it is loaded, what is old still loads."""

import json

import numpy as np
import pytest
from cars import CONTRACT, MAKE, cars, fitted_cars, write_model

from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import file_hash
from cd4ml_nb.model.contract import Contract, read_contract
from cd4ml_nb.model.loading import load_model, load_model_file
from cd4ml_nb.model.manifest import Manifest, read_manifest, verify_model
from cd4ml_nb.model.prediction import predict


@pytest.fixture(scope='module')
def fitted():
    return fitted_cars()


def test_G05_any_flipped_byte_of_a_model_directory_is_refused(fitted, tmp_path):
    write_model(tmp_path, fitted, CONTRACT)
    names = sorted(verify_model(tmp_path).files)
    assert names == ['MLmodel', 'contract.json', 'golden.jsonl', 'input_example.json', 'model.json']
    rng = np.random.default_rng(0)
    for name in names:
        good = (tmp_path / name).read_bytes()
        for position in rng.integers(0, len(good), 25):
            (tmp_path / name).write_bytes(
                good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
            )
            with pytest.raises(UserError, match='differs from the manifest'):
                verify_model(tmp_path)
        (tmp_path / name).write_bytes(good)
    (tmp_path / 'extra.py').write_text('')
    with pytest.raises(UserError, match='files differ from the manifest: extra.py'):
        verify_model(tmp_path)


def test_only_json_models_are_loaded(fitted, tmp_path):
    fitted.save_model(tmp_path / 'model.ubj')
    with pytest.raises(UserError, match='JSON only'):
        load_model_file(tmp_path / 'model.ubj')
    (tmp_path / 'model.json').write_text('{"learner": {}}')
    with pytest.raises(UserError, match='not a model of XGBoost'):
        load_model_file(tmp_path / 'model.json')


# what an earlier version wrote: no limits, no link, no words of the target
OLD_CONTRACT = {
    'schema': 1, 'name': 'cars', 'title': 'Cars', 'version': '1.0.0', 'task': 'regression',
    'inputs': [
        {
            'name': name, 'internal': f'f{k:04d}', 'type': kind, 'unit': '', 'words': '',
            'min': None, 'max': None, 'missing': True, 'categories': categories,
        }
        for k, (name, kind, categories) in enumerate(
            [
                (MAKE, 'category', ['BMW', 'Audi', '', 'NA']), ('km', 'number', None),
                ('new', 'boolean', None), ('day', 'date', None),
            ],
            start=1,
        )
    ],
    'output': {'name': 'y', 'unit': None, 'scale': 'linear', 'classes': None, 'positive': None},
}


def test_a_directory_of_an_earlier_version_still_loads(fitted, tmp_path):
    fitted.save_model(tmp_path / 'model.json')
    (tmp_path / 'contract.json').write_text(json.dumps(OLD_CONTRACT))
    (tmp_path / 'golden.jsonl').write_text('')
    names = ('model.json', 'contract.json', 'golden.jsonl')
    (tmp_path / 'manifest.json').write_text(
        json.dumps({
            'name': 'cars', 'title': 'Cars', 'version': '1.0.0', 'run_id': '8f3c',
            'files': {name: file_hash(tmp_path / name) for name in names},
            'data': {'source': 'ab', 'train': 'cd', 'holdout': 'ef'},
            'code': {'commit': '12', 'dirty': True, 'modules': {'cd4ml_nb/model.py': '34'}},
            'xgboost': '3.2.0',
            'gates': [{'metric': 'mae', 'bound': 3, 'value': 2.5, 'passed': True}],
        })
    )
    booster, contract = load_model(tmp_path)
    assert contract.output.unit == '' and contract.inputs[1].limits is None
    assert np.array_equal(predict(booster, contract, cars()), predict(fitted, CONTRACT, cars()))
    assert read_manifest(tmp_path).gates[0]['passed'] is True


def test_contract_and_manifest_come_back_from_json_as_they_were():
    contract = Contract.from_json(json.loads(json.dumps(CONTRACT.to_json())))
    assert contract == CONTRACT and hash(contract) == hash(CONTRACT)
    manifest = Manifest({'a': 'b'}, gates=({'metric': 'mae', 'value': None},), code={'dirty': True})
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_the_form_of_contract_json_has_not_changed():
    there = CONTRACT.to_json()
    assert set(there) == {
        'schema', 'name', 'title', 'version', 'task', 'inputs', 'output', 'partition'
    }
    assert set(there['output']) == {
        'name', 'unit', 'words', 'scale', 'classes', 'positive', 'link'
    }
    assert there['inputs'][0] == {
        'name': MAKE, 'internal': 'f0001', 'type': 'category', 'unit': '', 'words': '',
        'min': None, 'max': None, 'missing': True, 'sentinels': [], 'limits': None,
        'time_zone': '', 'categories': ['BMW', 'Audi', '', 'NA'],
    }


@pytest.mark.parametrize(
    ('changed', 'why'),
    [
        (lambda c: c['inputs'][1].update(type='texts'), r"key 'inputs\.2\.type' is 'texts', not"),
        (lambda c: c['inputs'][0].update(categories='BMW'), r"'inputs\.1\.categories' is 'BMW'"),
        (lambda c: c['inputs'][2].pop('internal'), r"key 'inputs\.3\.internal' is missing"),
        (lambda c: c['output'].update(scael='log'), r"'output\.scael' — did you mean 'scale'"),
        (lambda c: c.update(inputs=None), "key 'inputs' is None, not a list"),
        (lambda c: c.update(schema=2), 'written by a newer cd4ml_nb: schema 2, known is 1'),
    ],
)
def test_I13_a_damaged_contract_is_named_by_file_and_key(changed, why, tmp_path):
    value = CONTRACT.to_json()
    changed(value)
    (tmp_path / 'contract.json').write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf'^I13 .*contract\.json: .*{why}'):
        read_contract(tmp_path / 'contract.json')


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('{"files": ', 'not valid JSON'),
        ('[]', 'not an object'),
        ('{"files": {"model.json": 3}}', r"key 'files\.model\.json' is 3, not a text"),
        ('{"name": "cars"}', "key 'files' is missing"),
        (None, 'cannot be read: No such file'),
    ],
)
def test_I13_a_damaged_manifest_is_named_by_file_and_key(text, why, tmp_path):
    if text is not None:
        (tmp_path / 'manifest.json').write_text(text)
    with pytest.raises(UserError, match=rf'^I13 .*manifest\.json: {why}'):
        load_model(tmp_path)
