"""A small contract with an input of every type, a table for it, and directories of models."""

from pathlib import Path

import numpy as np
import pandas as pd
import xgboost as xgb

from cd4ml_nb.artefacts.schema import Schema
from cd4ml_nb.core.files import write_json, write_text
from cd4ml_nb.model.contract import Contract
from cd4ml_nb.model.from_schema import make_contract
from cd4ml_nb.model.golden import (
    as_columns,
    golden_inputs,
    golden_lines,
    golden_type,
    more_answers,
)
from cd4ml_nb.model.intervals import load_ends
from cd4ml_nb.model.manifest import MANIFEST, Manifest, hashes_of
from cd4ml_nb.model.prediction import predict
from cd4ml_nb.model.pyfunc import input_example, mlflow_model
from cd4ml_nb.training.training import base_parameters, fit, matrix, save_model

MAKE = '<b>make</b> [x]'
SCHEMA = Schema.model_validate({
    'target': {'name': 'y', 'task': 'regression', 'scale': 'linear', 'classes': None},
    'columns': [
        {
            'name': '<b>make</b> [x]',
            'type': 'category',
            'role': 'feature',
            'categories': ['BMW', 'Audi', '', 'NA'],
        },
        {'name': 'km', 'type': 'number', 'role': 'feature'},
        {'name': 'new', 'type': 'boolean', 'role': 'feature'},
        {'name': 'day', 'type': 'date', 'role': 'feature'},
        {'name': 'note', 'type': 'text', 'role': 'feature'},
    ],
})
CONTRACT = make_contract(SCHEMA, 'cars', 'Cars', '1.0.0')


def cars(n: int = 500) -> pd.DataFrame:
    """A table that the contract fits."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        MAKE: rng.choice(['BMW', 'Audi', ''], n),
        'km': rng.random(n) * 1e5,
        'new': pd.array(rng.random(n) < 0.2, dtype='boolean'),
        'day': pd.Timestamp('2020-01-01') + pd.to_timedelta(rng.integers(0, 900, n), unit='D'),
    })
    table['y'] = table['km'] / 1e4 + (table[MAKE] == 'BMW') * 5 + 1
    return table


def write_model(
    folder: Path, booster: xgb.Booster, contract: Contract, run_id: str = '8f3c' * 8
) -> Path:
    """A model's directory, as the stage `package` writes it."""
    inputs = golden_inputs(contract)
    save_model(booster, folder / 'model.json')
    write_json(folder / 'contract.json', contract.to_json())
    columns = as_columns(inputs)
    predicted = predict(booster, contract, columns)
    more = more_answers(booster, contract, columns, load_ends(folder, contract))
    kind = golden_type(contract.output)
    write_text(folder / 'golden.jsonl', golden_lines(inputs, predicted, kind, more))
    write_json(folder / 'input_example.json', input_example(inputs[:3]))
    write_json(folder / 'MLmodel', mlflow_model(contract, run_id))
    manifest = Manifest(hashes_of(sorted(folder.iterdir())), name=contract.name, run_id=run_id)
    write_json(folder / MANIFEST, manifest.to_json())
    return folder


def fitted_cars(contract: Contract = CONTRACT, table: pd.DataFrame | None = None) -> xgb.Booster:
    """A model of the table, or of another one."""
    base = base_parameters(contract.task, len(contract.output.classes or ()), 'cpu', 1, 0)
    rows = cars() if table is None else table
    return fit(base | {'max_depth': 4}, matrix(contract, rows), 30)
