"""Sweeps for tests: a project of two pages, the second of which is the real sweep, and what must hold of it whatever was killed."""

import json
import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from runs import ROOT
from tiny import Tiny

from cd4ml_nb.data import write_table

TARGETS = {'regression': {'column': 'y', 'scale': 'log'}, 'binary': {'column': 'y', 'classes': ['no', 'yes'], 'positive': 'yes'},
           'multiclass': {'column': 'y', 'classes': ['few', 'some', 'many']}}
SPACE = {'learning_rate': {'low': 0.1, 'high': 0.6, 'log': True}, 'max_depth': {'low': 1, 'high': 4, 'integer': True},
         'subsample': {'low': 0.5, 'high': 1.0}}
FILES = {'train': 'train.parquet', 'validation': 'validation.parquet', 'schema': 'schema.json', 'split': 'split.json'}
COPY = '''import shutil
for name, path in product.items():
    if name != 'nb':
        shutil.copy(f'data/{Path(path).name}', path)'''


def table(task: str, n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows with two numbers, a category and a weight, from which `y` can be learned."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({'a': rng.random(n), 'b': rng.random(n), 'kind': rng.choice(['u', 'v', 'w'], n), 'w': rng.uniform(0.5, 2.0, n)})
    level = rows['a'] * 2 + (rows['b'] > 0.5) + (rows['kind'] == 'u') * 0.5 + rng.normal(0, 0.3, n)
    if task == 'regression':
        return rows.assign(y=np.exp(level))
    ends = np.quantile(level, [0.6] if task == 'binary' else [0.4, 0.7])
    return rows.assign(y=np.array(TARGETS[task]['classes'], dtype=object)[np.digitize(level, ends)])


def schema(task: str, weight: bool = True) -> dict[str, Any]:
    """What validation would write of such a table."""
    columns = [{'name': 'a', 'type': 'number', 'role': 'feature'}, {'name': 'b', 'type': 'number', 'role': 'feature'},
               {'name': 'kind', 'type': 'category', 'role': 'feature', 'categories': ['u', 'v', 'w']},
               {'name': 'w', 'type': 'number', 'role': 'weight' if weight else 'ignore'}]
    target = {key: value for key, value in TARGETS[task].items() if key != 'column'}
    return {'target': {'name': 'y', 'task': task, **target}, 'columns': columns}


def page(*cells: str) -> str:
    """A notebook whose second cell has the parameters."""
    made = [{'cell_type': 'code', 'id': f'cell{k}', 'metadata': {'tags': ['parameters']} if k == 1 else {}, 'source': source, 'outputs': [],
             'execution_count': None} for k, source in enumerate(cells)]
    return json.dumps({'cells': made, 'metadata': {'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}},
                       'nbformat': 4, 'nbformat_minor': 5})


def sweep_project(folder: Path, task: str = 'regression', weight: bool = True, scenario: dict[str, Any] | None = None, **search: Any) -> Tiny:
    """Write a project that splits, which is quick, and sweeps."""
    for name in ('notebooks', 'scenarios', 'data'):
        (folder / name).mkdir(parents=True)
    product = {'split': {'nb': 'page.ipynb', **FILES}, 'sweep': {'nb': 'page.ipynb', 'trials': 'trials.json', 'best': 'best.json'}}
    params = {'scenario': 'scenarios/used_cars.yaml'}
    tasks = [{'name': 'split', 'source': 'notebooks/split.ipynb', 'params': params},
             {'name': 'sweep', 'source': 'notebooks/13_sweep.ipynb', 'upstream': ['split'],
              'params': params | dict.fromkeys(('trials', 'device', 'threads', 'seed', 'mode'))}]
    for one in tasks:
        one['product'] = {name: f'products/ploomber/{one["name"]}/{file}' for name, file in product[one['name']].items()}
    (folder / 'pipeline.yaml').write_text(json.dumps({'tasks': tasks}, indent=1))
    (folder / 'notebooks/split.ipynb').write_text(page('from pathlib import Path', "scenario = ''\nupstream = None\nproduct = None", COPY))
    real = (ROOT / 'notebooks/13_sweep.ipynb').read_text()
    (folder / 'notebooks/13_sweep.ipynb').write_text(real.replace('#| default_exp sweep', '# as the project has it'))     # there is no package to export to
    told = {'name': 'tiny', 'title': 'A tiny sweep', 'task': task, 'data': {'source': 'data/train.parquet'}, 'target': TARGETS[task],
            'search': {'space': SPACE, 'rounds': 60, 'early_stopping': 60, 'startup': 3, **search}, **(scenario or {})}
    (folder / 'scenarios/used_cars.yaml').write_text(yaml.safe_dump(told))      # the command's default
    (folder / 'settings.ini').write_text('[DEFAULT]\nproducts = products\n')
    rows = table(task)
    write_table(rows[:160], folder / 'data/train.parquet')
    write_table(rows[160:].reset_index(drop=True), folder / 'data/validation.parquet')
    (folder / 'data/schema.json').write_text(json.dumps(schema(task, weight)))
    (folder / 'data/split.json').write_text(json.dumps({'hash': {'train': task, 'validation': task}}))
    return Tiny(folder)
