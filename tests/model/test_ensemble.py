"""A model of several boosters: one file, one answer whatever the batch, contributions that add
up."""

import json

import numpy as np
import pandas as pd
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import schema, table

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.artefacts.sweep import BlendMember
from cd4ml_nb.core.errors import UserError
from cd4ml_nb.core.files import write_json
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.model.encoding import encode
from cd4ml_nb.model.ensemble import Ensemble, learned, margins, model_bytes, model_from
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.loading import load_model
from cd4ml_nb.model.manifest import Manifest, hashes_of
from cd4ml_nb.model.prediction import contributions, predict
from cd4ml_nb.model.pyfunc import PyfuncModel
from cd4ml_nb.scenario.search_space import OWN, of_algorithm
from cd4ml_nb.training.members import fit_winner
from cd4ml_nb.training.training import base_parameters, save_model

ROUNDS = {'trees': 12, 'forest': 1, 'dart': 12, 'linear': 12}
TASKS = ['regression', 'binary', 'multiclass']


def blend(task: str) -> tuple[Ensemble, Contract, pd.DataFrame]:
    """A model of all four algorithms, fitted on rows with gaps and a category that is unseen."""
    rows = table(task)
    rows.loc[::7, 'a'] = np.nan
    rows.loc[::11, 'kind'] = None
    contract = make_contract(Schema.model_validate(schema(task)), 'toy', 'Toy', '1.0.0')
    base = base_parameters(task, len(contract.output.classes or ()), 'cpu', 1, 0)
    base |= {'max_depth': 3}
    members = [
        BlendMember(number=k, weight=0.25, params=of_algorithm(name, base), rounds=ROUNDS[name])
        for k, name in enumerate(OWN)
    ]
    technical = {'device': 'cpu', 'nthread': 1, 'seed': 3}
    model = fit_winner(contract, rows[:160], {}, 0, 'w', members, **technical)
    assert isinstance(model, Ensemble)
    return model, contract, rows


BLENDS = {task: blend(task) for task in TASKS}


@settings(max_examples=examples(10), deadline=None)
@given(task=st.sampled_from(TASKS), data=st.data())
def test_a_blend_answers_a_row_alone_as_in_any_batch_and_its_contributions_add_up(task, data):
    model, contract, rows = BLENDS[task]
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=12))
    batch = rows.iloc[chosen].reset_index(drop=True)
    numbers, _ = encode(contract, batch)
    answers = learned(model, contract, numbers)
    alone = np.concatenate([learned(model, contract, row[None]) for row in numbers])
    assert np.array_equal(alone, answers)
    added = contributions(model, contract, batch).sum(axis=-1)
    assert np.abs(added - margins(model, contract, numbers)).max() < 1e-4
    if task == 'multiclass':
        assert np.abs(answers.sum(axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize('task', TASKS)
def test_a_blend_is_one_directory_that_every_way_of_loading_reads_alike(task, tmp_path):
    model, contract, rows = BLENDS[task]
    save_model(model, tmp_path / 'model.json')
    write_json(tmp_path / 'contract.json', contract.to_json())
    files = hashes_of([tmp_path / 'model.json', tmp_path / 'contract.json'])
    write_json(tmp_path / 'manifest.json', Manifest(files).to_json())
    again, its_contract = load_model(tmp_path)
    expected = predict(model, contract, rows)
    assert np.array_equal(predict(again, its_contract, rows), expected)
    assert np.array_equal(PyfuncModel(again, its_contract).predict(rows), expected)
    assert model_bytes(again) == (tmp_path / 'model.json').read_bytes()
    # fitted again it is the same file
    assert model_bytes(blend(task)[0]) == model_bytes(model)


def test_a_blend_whose_file_is_damaged_is_refused_by_name():
    raw = model_bytes(BLENDS['regression'][0])
    assert len(json.loads(raw)['boosters']) == 4
    for damaged, words in (
        (raw[:-9], 'not a model of this program'),
        (b'\n'.join(raw.split(b'\n')[:-2]), 'not a model of this program'),
        (raw.replace(b'"kind": "number"', b'"kind": "text"'), "columns.kind' is 'text'"),
        (raw.replace(b'"learner"', b'"lerner"'), 'not a model of XGBoost'),
    ):
        with pytest.raises(UserError, match=words):
            model_from(damaged, 'model.json')
