"""Where time and memory go as a table grows: a folder of Parquet files, from ingest to the report.

    python benchmarks/scale.py [--rows 100000 1000000 10000000] [--limit-gb 8] [--trials 3]
                               [--features]

For each size the stages run one after the other, each by a command of its own; printed are the
seconds of the stage itself and the peak memory (proportional set size) of all processes that the
command has started. A stage that ends badly is named, and the next size begins. `--limit-gb` bounds
the address space of each process (RLIMIT_AS). With `--features` the model learns from two features
of its own as well: a ratio, and the mean of the target by make, fitted out of fold.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from own_project import CD4ML, environment, project, write_features

PIECE = 100_000                        # rows of a file
STAGES = [
    'ingest', 'validate', 'split', 'features', 'sweep', 'train', 'evaluate', 'package', 'register',
    'report',
]
SCENARIO = """\
name: scale
title: A table that grows
task: regression
data: {{source: {folder}}}
target: {{column: y}}
columns:
  make: {{type: category}}
search: {{rounds: 100}}       # the same work for each row, however long boosting would go on
evaluate: {{replicates: 50}}
gates:
  - {{metric: r2, min: 0.0}}
"""
USE = 'features: {from: scale, use: [ratio, usual]}\n'
FEATURES = (
    'from cd4ml_nb.model.ready_made import ratio as ratio_of, target_mean',
    "ratio = ratio_of('x1', 'x2')",
    "usual = target_mean('make')",
)


def piece(rows: int, seed: int) -> pa.Table:
    """Some rows: eight numbers, a category, and what follows from three of them."""
    rng = np.random.default_rng(seed)
    table = {f'x{k}': rng.random(rows, np.float32) for k in range(8)}
    make = rng.integers(0, 20, rows)
    noise = rng.normal(0, 0.1, rows)
    y = 3 * table['x0'] + table['x1'] * table['x2'] + make / 10 + noise
    names = np.array([f'make {k}' for k in range(20)])
    return pa.table({**table, 'make': names[make], 'y': y})


def write_folder(folder: Path, rows: int) -> float:
    """Write so many rows as Parquet files; their size in MB."""
    folder.mkdir()
    for k in range(0, rows, PIECE):
        path = folder / f'part-{k // PIECE:05}.parquet'
        pq.write_table(piece(min(PIECE, rows - k), k), path)
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


class Peak:
    """The largest memory of a process and all that it has started, in bytes."""

    def __init__(self, process: psutil.Process):
        self.process = process
        self.bytes = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.done.wait(0.5):
            self.bytes = max(self.bytes, self.now())

    def now(self) -> int:
        total = 0
        try:
            for process in [self.process, *self.process.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.Error, OSError):
                    continue
        except psutil.Error:
            pass
        return total

    def end(self) -> int:
        self.done.set()
        self.thread.join()
        return self.bytes


def bounded(limit_gb: float):
    """What a process does before it begins: bound its address space."""
    n_bytes = int(limit_gb * 1e9)
    return (lambda: resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))) if n_bytes else None


def stage(name: str, place: Path, scenario: Path, args: argparse.Namespace) -> tuple[float, int]:
    """Run one stage; its seconds by the run's record, and the peak in bytes."""
    command = [str(CD4ML), 'run', '-s', str(scenario), '--until', name, '-q']
    command += ['-p', f'trials={args.trials}']
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=place / 'project', env=environment(place), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=bounded(args.limit_gb),
    )
    peak = Peak(psutil.Process(process.pid))
    said, _ = process.communicate()
    most = peak.end()
    seconds = time.perf_counter() - begun
    if process.returncode not in (0, 3):
        raise RuntimeError(said.strip().splitlines()[-1])
    records = sorted((place / 'products/scale/runs').glob('*.json'))
    record = json.loads(records[-1].read_text(encoding='utf-8'))
    return record['stages'].get(name, {}).get('seconds') or seconds, most


def measure(rows: int, args: argparse.Namespace) -> dict[str, float]:
    """All stages for so many rows, a line each; stage -> seconds."""
    seconds = {}
    with tempfile.TemporaryDirectory(prefix='cd4ml-scale-') as folder:
        place = Path(folder)
        size = write_folder(place / 'data', rows)
        root = project(place)
        scenario = root / 'scenarios/scale.yaml'
        text = SCENARIO.format(folder=place / 'data')
        if args.features:
            write_features(root, 'scale', *FEATURES)
            text += USE
        scenario.write_text(text, encoding='utf-8')
        print(f'\n{rows:,} rows, {size:,.0f} MB of Parquet')
        for name in STAGES:
            try:
                took, peak = stage(name, place, scenario, args)
            except RuntimeError as error:
                print(f'  {name:<10} {error}')
                break
            seconds[name] = took
            print(f'  {name:<10} {took:9.1f} s  {peak / 1e6:9,.0f} MB', flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, nargs='+', default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument('--limit-gb', type=float, default=0.0, help='0: none')
    parser.add_argument('--trials', type=int, default=3)
    parser.add_argument('--features', action='store_true', help='two features of its own')
    args = parser.parse_args()
    before: dict[str, float] = {}
    last = 0
    for rows in args.rows:
        seconds = measure(rows, args)
        if before:
            print(f'  growth from {last:,} rows, {rows / last:g} times as many:')
            for name in seconds.keys() & before.keys():
                print(f'    {name:<10} {seconds[name] / max(before[name], 0.01):6.1f} times')
        before, last = seconds, rows


if __name__ == '__main__':
    main()
