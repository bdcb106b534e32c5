"""What a sweep costs, against the loop that everybody writes.

    python benchmarks/sweep.py [--data FOLDER] [--only used_cars_de|adult|million] [--trials 50]
                               [--million-trials 24] [--seeds 7] [--device cpu]
                               [--sides tracked untracked usual]

Both sides see the same rows, space, number of trials and seed, and write to MLflow on SQLite of
their own, which is there already. Each is a process of its own. The seconds are those from its
first look at the data to the end of its last write. They leave out the imports, which both have in
common and a pipeline or a notebook has behind it. What tracking costs is the difference between our
sweep with and without MLflow. Beside it stands how long the sweep waited in tracking's own calls,
which says more where others use the machine. Data sets that are not part of the project are looked
for in FOLDER and left out where it is absent.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SIDES = ('tracked', 'untracked', 'usual')
ADULT = """
name: adult
title: Who earns more than 50,000 dollars?
task: binary
seed: 7
data: {source: adult.csv}
target: {column: income}
columns: {fnlwgt: {role: ignore}, split: {role: ignore}}
split: {by: stratified, validation: 0.16, holdout: 0.2}
search: {metric: log_loss}
"""


def scenarios(place: Path, data: Path | None) -> dict[str, Path]:
    """The data sets that are there."""
    million = (
        (ROOT / 'scenarios/used_cars.yaml')
        .read_text()
        .replace('name: used_cars', 'name: million')
        .replace('rows: 20_000', 'rows: 1_000_000')
    )
    (place / 'million.yaml').write_text(million)
    (place / 'adult.yaml').write_text(ADULT)
    found = {
        'used_cars_de': ROOT / 'scenarios/used_cars_de.yaml',
        'adult': place / 'adult.yaml',
        'million': place / 'million.yaml',
    }
    needs = {'used_cars_de': 'cars_autoscout24_de_2021.csv', 'adult': 'adult.csv'}
    return {
        name: path
        for name, path in found.items()
        if name not in needs or (data and (data / needs[name]).is_file())
    }


def child(
    side: str, scenario: str, folder: Path, trials: int, seed: int, device: str, place: str
) -> None:
    """One side, in a process of its own; prints its seconds, by the clock and of the processors,
    and the best loss."""
    from usual_loop import described, usual_loop

    from cd4ml_nb.artefacts.schema import read_schema
    from cd4ml_nb.model.from_schema import make_contract
    from cd4ml_nb.scenario.definition import load_scenario
    plan = load_scenario(scenario, sections=['seed', 'title', 'target', 'search', 'contract'])
    contract = make_contract(
        read_schema(folder / 'schema.json'), plan.name, plan.title, plan.contract.version
    )
    if side == 'usual':
        problem = described(folder, contract.to_json(), plan.search.model_dump())
        measured = timed(
            lambda: {
                'best': usual_loop(folder, problem, trials, seed, f'sqlite:///{place}/m.db', device)
            }
        )
    else:
        for module in ('columns.table', 'tracking.sender', 'search.search'):
            importlib.import_module(f'cd4ml_nb.{module}')
        measured = timed(
            lambda: ours(plan, contract, folder, trials, seed, device, place, side == 'tracked')
        )
    print(json.dumps(measured))


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    before = os.times()
    begun = time.perf_counter()
    measured = work()
    after = os.times()
    busy = sum(after[:4]) - sum(before[:4])
    return measured | {'clock': time.perf_counter() - begun, 'busy': busy}


def ours(
    plan: Any,
    contract: Any,
    folder: Path,
    trials: int,
    seed: int,
    device: str,
    place: str,
    tracked: bool,
) -> dict[str, Any]:
    """Our sweep, as its page does it."""
    from cd4ml_nb.columns.table import read_table
    from cd4ml_nb.core.log import Log
    from cd4ml_nb.core.settings import load_settings, threads_of
    from cd4ml_nb.scenario.metrics import METRICS
    from cd4ml_nb.search.search import Course, best_of, search
    from cd4ml_nb.search.study import make_workers
    from cd4ml_nb.search.trial import make_problem, other_objective
    from cd4ml_nb.search.workers import plan_workers
    from cd4ml_nb.tracking.sender import open_sweep
    from cd4ml_nb.training.training import base_parameters
    tables = {part: read_table(folder / f'{part}.parquet') for part in ('train', 'validation')}
    base = base_parameters(
        plan.task, len(contract.output.classes or ()), device, threads_of(0), seed
    )
    problem = make_problem(
        plan.task, plan.metric, contract, base, plan.search, tables['train'], tables['validation']
    )
    with (
        Log(Path(place) / 'study.jsonl') as journal,
        make_workers(problem, plan_workers(device, threads_of(0), plan.search.window)) as workers,
    ):
        course = Course(
            plan.search, plan.metric, trials, seed, journal, sample=problem.sample_rounds,
            other=other_objective(problem),
        )
        spent: list[float] = []
        if tracked:
            run = waited(
                spent,
                open_sweep,
                load_settings(),
                plan.name,
                'sweep',
                {'trials': trials},
                {},
                plan.metric,
                journal,
            )
            records = search(
                course, workers, ended=lambda record: waited(spent, run.add, record)
            )
            waited(spent, run.close, 'FINISHED', {})
        else:
            records = search(course, workers)
    states = {
        state: sum(r['state'] == state for r in records)
        for state in ('complete', 'pruned', 'failed')
    }
    return {
        'best': best_of(records, METRICS[plan.metric].better)['value'],
        'states': states,
        'waited': sum(spent),
    }


def waited(spent: list[float], call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns; its seconds are added to the list."""
    begun = time.perf_counter()
    try:
        return call(*args)
    finally:
        spent.append(time.perf_counter() - begun)


def started(
    side: str, scenario: Path, folder: Path, trials: int, seed: int, device: str, store: Path
) -> dict[str, Any]:
    """What a child printed."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(store, Path(place) / 'm.db')
        env = os.environ | {
            'CD4ML_TRACKING_URI': f'sqlite:///{place}/m.db',
            'CD4ML_ARTIFACT_ROOT': f'{place}/files',
            'CD4ML_PRODUCTS': f'{place}/products',
            'MLFLOW_DISABLE_TELEMETRY': 'true',
            'DO_NOT_TRACK': 'true',
            'PYTHONWARNINGS': 'ignore',
        }
        command = [
            sys.executable,
            __file__,
            '--child',
            side,
            str(scenario),
            str(folder),
            str(trials),
            str(seed),
            device,
            place,
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f'{side}: {done.stderr[-3000:]}')
        return json.loads(done.stdout.strip().splitlines()[-1])


def compare(
    name: str,
    scenario: Path,
    folder: Path,
    trials: int,
    seeds: list[int],
    device: str,
    store: Path,
    sides: list[str],
) -> None:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for seed in seeds:
        for side in sides:
            runs[side].append(started(side, scenario, folder, trials, seed, device, store))
            print(f'{name} seed {seed} {side}: {runs[side][-1]}', file=sys.stderr, flush=True)
    clock, busy, best = (
        {side: statistics.median(run[what] for run in runs[side]) for side in sides}
        for what in ('clock', 'busy', 'best')
    )
    lines = [f'{trials} trials on {device}, seeds {" ".join(map(str, seeds))}']
    if {'tracked', 'usual'} <= set(sides):
        ratio = clock['tracked'] / clock['usual']
        lines += [
            (
                f'{clock["tracked"]:.1f} s ÷ {clock["usual"]:.1f} s = {ratio:.3f}   aim ≤ .25  '
                f' {"met" if ratio <= 0.25 else "MISSED"}'
            ),
            (
                f'processor time {busy["tracked"]:.1f} s ÷ {busy["usual"]:.1f} s ='
                f' {busy["tracked"] / busy["usual"]:.3f}'
            ),
            (
                f'best loss {best["tracked"]:.6g} against {best["usual"]:.6g}  '
                f' {"equal or better" if best["tracked"] <= best["usual"] else "WORSE"};'
                f' {runs["tracked"][0]["states"]}'
            ),
        ]
    if 'tracked' in sides:
        share = statistics.median(run['waited'] / run['clock'] for run in runs['tracked'])
        lines.append(f'waited for tracking {100 * share:.2f} % of the sweep')
    if {'tracked', 'untracked'} <= set(sides):
        lines.append(
            f'with tracking {clock["tracked"]:.2f} s, without {clock["untracked"]:.2f} s:'
            f' {100 * (clock["tracked"] / clock["untracked"] - 1):+.1f} %; processor time'
            f' {100 * (busy["tracked"] / busy["untracked"] - 1):+.1f} %   aim ≤ 3 %'
        )
    for k, line in enumerate(lines):
        print(f'{"" if k else name:<13} {line}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=None)
    parser.add_argument('--only', action='append')
    parser.add_argument('--trials', type=int, default=50)
    parser.add_argument('--million-trials', type=int, default=24)
    parser.add_argument('--seeds', type=int, nargs='+', default=[7])
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--sides', nargs='+', choices=SIDES, default=list(SIDES))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        code = (
            'import sys; from mlflow.tracking import MlflowClient;'
            ' MlflowClient(sys.argv[1]).search_experiments()'
        )
        subprocess.run(
            [sys.executable, '-c', code, f'sqlite:///{place}/m.db'],
            cwd=place,
            check=True,
            capture_output=True,
        )
        for name, scenario in scenarios(place, args.data).items():
            if args.only and name not in args.only:
                continue
            env = os.environ | {
                'CD4ML_PRODUCTS': str(place / 'products'),
                'CD4ML_TRACKING_URI': f'sqlite:///{place}/m.db',
            }
            env |= {'CD4ML_DATA_ROOT': str(args.data)} if args.data else {}
            subprocess.run(
                [str(BIN / 'cd4ml'), 'run', '-s', str(scenario), '--until', 'split', '-q'],
                cwd=ROOT,
                env=env,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            home = place / 'products' / name / 'split'
            split = home / (home / 'current').read_text().strip()
            compare(
                name,
                scenario,
                split,
                args.million_trials if name == 'million' else args.trials,
                args.seeds,
                args.device,
                place / 'm.db',
                args.sides,
            )


if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']:
        child(*sys.argv[2:4], Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), *sys.argv[7:9])
    else:
        main()
