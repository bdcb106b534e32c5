"""What single parts cost, each against a peer that is measured in the same run.

    python benchmarks/parts.py [--rows 1000000] [--repeat 3] [--only reading]

Printed are the processor's seconds of both, best of `--repeat`, and their ratio: the clock of a
busy machine tells nothing, and a ratio is the same on any.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv

ROOT = Path(__file__).resolve().parent.parent
Part = tuple[str, Callable[[], Any], str, Callable[[], Any]]     # ours, call, the peer, call
SCENARIO = """\
name: cars
gates:
  - {metric: mae, max: 1_700}
  - {metric: r2, min: 0.9}
"""


def table_of(rows: int) -> pd.DataFrame:
    """Six numbers, two categories, a date."""
    rng = np.random.default_rng(0)
    numbers = {f'x{k}': rng.normal(size=rows).round(4) for k in range(6)}
    names = {f'c{k}': rng.choice(list('abcdef'), rows) for k in range(2)}
    days = np.datetime64('2020-01-01', 's') + rng.integers(0, 1500, rows) * 86_400
    return pd.DataFrame({**numbers, **names, 'day': days})


def imports(rows: int) -> Iterator[Part]:
    """A process that imports the package alone, and one that imports a small module."""
    def importing(module: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, '-c', f'import {module}'], cwd=ROOT)
    yield 'import cd4ml_nb', importing('cd4ml_nb'), 'import json', importing('json')


def hashing(rows: int) -> Iterator[Part]:
    """The identity of a table, and of each of its rows."""
    from cd4ml_nb.columns.table import row_hashes, table_hash
    from cd4ml_nb.rows.identity import row_keys
    table = table_of(rows)

    def usual() -> Any:
        return pd.util.hash_pandas_object(table, index=False)
    for ours, call in (
        ('table_hash', lambda: table_hash(table)),
        ('row_hashes', lambda: row_hashes(table)),
        ('row_keys', lambda: row_keys(table, list(table))),
    ):
        yield ours, call, 'pandas.util.hash_pandas_object', usual


def reading(rows: int) -> Iterator[Part]:
    """A CSV file, read and typed."""
    from cd4ml_nb.columns.typed_table import typed_table
    from cd4ml_nb.formats.reading import read_file
    from cd4ml_nb.scenario.definition import Data, Target
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'a.csv'
        table_of(rows).to_csv(path, index=False)
        data = Data(source=str(path))

        def read() -> Any:
            return read_file(str(path), data, Path(folder), 8)

        def typed() -> Any:
            return typed_table(read(), {}, 'infer', Target(column='x0'), data)

        def by_arrow() -> Any:
            return pyarrow.csv.read_csv(path).to_pandas()
        yield 'read_file (texts)', read, 'pyarrow.csv', by_arrow
        yield 'read_file and typed_table', typed, 'pyarrow.csv', by_arrow
        dated = ['day']
        yield (
            'read_file and typed_table', typed,
            'pandas.read_csv', lambda: pd.read_csv(path, parse_dates=dated),
        )


def checking(rows: int) -> Iterator[Part]:
    """The cleaning and checks of a table."""
    from cd4ml_nb.artefacts.catalogue import CatalogueColumn
    from cd4ml_nb.checks.checks import check_table
    from cd4ml_nb.checks.cleaning import clean_table, described
    from cd4ml_nb.scenario.definition import Column, Scenario
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {f'x{k}': rng.normal(size=rows) for k in range(7)}
        | {f'c{k}': rng.choice(list('abcdef'), rows) for k in range(4)}
    )
    table['price'] = table['x0'] + rng.normal(size=rows)
    declared = {
        'x0': Column(min=-4, max=4, outside='drop'),
        'x1': Column(min=-4, outside='missing'),
        'c0': Column(values=list('abcde')),
    }
    plan = Scenario(
        name='toy', title='A toy', task='regression', data={'source': 'a.csv'},
        target={'column': 'price'}, columns=declared, duplicates='drop',
    )
    infos = [
        CatalogueColumn(
            name=name, type='number' if name[0] == 'x' else 'category', role='feature'
        )
        for name in table if name != 'price'
    ]
    columns = described(infos, declared, 'price')
    today = pd.Timestamp('2026-01-01')

    def checked() -> Any:
        clean = clean_table(table, plan, columns)[0]
        return check_table(clean, plan, columns, today, len(table))
    yield (
        'clean_table and check_table', checked,
        'DataFrame.describe', lambda: table.describe(include='all'),
    )


def drawing(rows: int) -> Iterator[Part]:
    """Two models compared on ten thousand rows: in each of sixty groups, and on the whole."""
    from cd4ml_nb.scenario.comparison import paired_draws
    n = 10_000
    rng = np.random.default_rng(0)
    y = rng.normal(100, 20, n)
    models = [y + rng.normal(0, 5, n) for _ in range(2)]
    group = np.arange(n) % 60

    def of_groups() -> None:
        for k in range(60):
            inside = group == k
            paired_draws('regression', y[inside], [m[inside] for m in models], ['mae'])
    whole = 'the whole'
    yield '60 groups, one metric', of_groups, whole, lambda: paired_draws('regression', y, models)


def releasing(rows: int) -> Iterator[Part]:
    """The page of 300 releases, and the plain reading of their records."""
    from cd4ml_nb.show.trend import write_trend
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / 'cars'
        (home / 'runs').mkdir(parents=True)
        for k in range(300):
            (home / f'runs/run{k:04}.json').write_text(json.dumps(release(k)))
        write_trend(folder, 'cars')

        def load() -> Any:
            return [json.loads(path.read_text()) for path in (home / 'runs').glob('*.json')]
        yield 'trend of 300 releases', lambda: write_trend(folder, 'cars'), 'json.loads', load


def release(k: int) -> dict[str, Any]:
    """The record of a run, one of many."""
    value = 1600 * (1 + 0.003 * float(np.random.default_rng(k).normal()))
    started = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=k)
    return {
        'run': f'run{k:04}', 'scenario': 'cars', 'title': 'Cars', 'started': started.isoformat(),
        'exit_code': 0, 'accepted': True, 'holdout': 'h', 'scenario_text': SCENARIO,
        'metrics': {'mae': value, 'r2': 1 - value / 30_000},
        'metric': {'name': 'mae', 'unit': 'EUR', 'value': value, 'low': value, 'high': value},
        'stages': {'evaluate': {'stable': {'metrics': f'{k:064x}'}}},
        'parameters': {'sweep': {'trials': 20 + k // 5}},
        'code': {'commit': f'{k // 4:040x}', 'dirty': False},
    }


def seconds_of(call: Callable[[], Any], repeat: int) -> float:
    """The processor's seconds of a call with its child processes, the best of several."""
    taken = []
    for _ in range(repeat):
        before = spent()
        call()
        taken.append(spent() - before)
    return min(taken)


def spent() -> float:
    """The processor's seconds of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


PARTS = {
    'import': imports, 'hashing': hashing, 'reading': reading, 'checking': checking,
    'drawing': drawing, 'trend': releasing,
}


def main() -> None:
    """Measure the parts and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=1_000_000)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--only', choices=list(PARTS))
    chosen = parser.parse_args()
    print(f'{"part":<28}{"seconds":>9}  {"peer":<32}{"seconds":>9}{"ratio":>8}')
    for name in [chosen.only] if chosen.only else PARTS:
        known: dict[str, float] = {}          # of each peer
        for ours, call, peer, usual in PARTS[name](chosen.rows):
            if peer not in known:
                known[peer] = seconds_of(usual, chosen.repeat)
            mine = seconds_of(call, chosen.repeat)
            ratio = mine / max(known[peer], 1e-3)
            print(f'{ours:<28}{mine:>9.3f}  {peer:<32}{known[peer]:>9.3f}{ratio:>8.2f}', flush=True)


if __name__ == '__main__':
    main()
