"""Small tables with a scenario of their own, read and validated as a run does it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cd4ml_nb.checks.validation import Validated, validate_table
from cd4ml_nb.columns.typed_table import typed_table
from cd4ml_nb.formats.reading import read_file
from cd4ml_nb.scenario.definition import Scenario, load_scenario

TODAY = pd.Timestamp('2025-01-01')


def offers(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Cars whose price falls with age and mileage: nothing wrong with them."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, 20, n).round(1)
    km = (age * 14_000 * rng.uniform(0.5, 1.5, n)).round()
    return pd.DataFrame({
        'age': age,
        'km': km,
        'fuel': rng.choice(['Diesel', 'Petrol', 'Electric'], n),
        'price': (30_000 * 0.9 ** age * rng.uniform(0.8, 1.2, n)).round(2),
    })


def labelled(n: int = 300, classes: tuple = ('no', 'yes'), seed: int = 0) -> pd.DataFrame:
    """Offers that were sold or not, which hardly depends on anything."""
    table = offers(n, seed).drop(columns='price')
    return table.assign(
        sold=np.random.default_rng(seed + 1).choice(np.array(classes, dtype=object), n)
    )


def scenario_for(
    folder: Path, source: Path, target: str | dict, task: str = 'regression', **sections: Any
) -> Scenario:
    """A scenario as a file, read as the program reads it."""
    words = {'name': 'toy', 'title': 'A toy problem', 'task': task, 'data': {'source': str(source)},
             'target': {'column': target} if isinstance(target, str) else target, **sections}
    (folder / 'toy.yaml').write_text(json.dumps(words))   # JSON is YAML
    return load_scenario(folder / 'toy.yaml')


def validated_file(
    folder: Path, source: Path, target: str | dict, task: str = 'regression', **sections: Any
) -> Validated:
    """What validation makes of a file."""
    plan = scenario_for(folder, source, target, task, **sections)
    raw = read_file(str(source), plan.data, folder, 1.0)
    table, infos = typed_table(raw, plan.columns, plan.undeclared, plan.target, plan.data)
    return validate_table(table, plan, infos, TODAY)


def validated(
    folder: Path,
    table: pd.DataFrame,
    target: str | dict = 'price',
    task: str = 'regression',
    kind: str = 'csv',
    **sections: Any,
) -> Validated:
    """What validation makes of a table, by way of a CSV or Parquet file."""
    source = folder / f'toy.{kind}'
    if kind == 'csv':
        table.to_csv(source, index=False)
    else:
        table.to_parquet(source)
    return validated_file(folder, source, target, task, **sections)


def said(result: Validated, code: str, level: str | None = None) -> list[str]:
    """The lines of the findings with a code."""
    return [f.line for f in result.findings if f.code == code and level in (None, f.level)]
