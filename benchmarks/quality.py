"""How good our models are, against FLAML and AutoGluon in the same time, on the same rows.

    python benchmarks/quality.py --data FOLDER [--only titanic …] [--trials 30] [--seeds 3]
                                 [--times 1] [--peers flaml autogluon] [--search 'blend: 5' …]
                                 [--margin 0] [--keep FOLDER] [--out FILE]

Of each data set `cd4ml new` writes the scenario, and nothing is edited but the limits of the prices
of `cars_eu`, where a few cars of a million decide the mean. Stages `ingest` to `split` divide the
rows, with each seed anew; where the holdout is what comes last, it stays that. A sweep of so many
trials and the training of its winner take what they take, by the clock; a peer gets the same
seconds, or `--times` as many, the same rows, inputs and threads, and the same metric to improve.
Judged are all of them on the sealed holdout: mean error of numbers, AUC of two classes, log loss of
several.

The gain, its mean over the seeds, has a paired interval: the same draws of rows for both sides and
for all seeds, so that a row counts in every holdout it is in. Rows of a group, and blocks of
successive rows where the holdout is what comes last, are drawn together. What the gains of the
seeds differ beyond that is the luck of training and counts as well. Better or worse is what lies
beyond the margin, a share of the peer's value; all else is undecided.

`--keep` keeps every prediction, by the version of cd4ml_nb and by the options: the same command
with more seeds, or after a stop, goes on where it was.

Each peer lives in an environment of its own, made once in `--cache` by uv. `--search` adds lines to
the section `search` of each scenario. Data that is not in FOLDER is left out; the built-in market
needs none. The table goes to the screen, every figure to `--out` as JSON.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SETS: dict[str, tuple[str, str, dict[str, Any]]] = {      # name -> file, target, further words
    'ames_housing': ('ames_housing.csv', 'SalePrice', {}),
    'california_housing': ('california_housing.csv', 'median_house_value', {}),
    'bike_sharing_hour': ('bike_sharing_hour.csv', 'cnt', {}),
    'diamonds': ('diamonds.csv', 'price', {}),
    'adult': ('adult.csv', 'income', {}),
    'telco_churn': ('telco_churn.csv', 'Churn', {}),
    'bank_customer_churn': ('bank_customer_churn.csv', 'Exited', {}),
    'german_credit': ('german_credit.csv', 'class-label', {}),
    'titanic': ('titanic.csv', 'Survived', {}),
    'electricity_elec2': ('electricity_elec2.csv', 'class', {'split': 'time'}),
    'wine_quality': ('wine_quality.csv', 'quality', {'task': 'multiclass'}),
    'penguins': ('penguins.csv', 'species', {}),
    'cars_eu': ('cars_autoscout24_eu_2023_24.csv', 'price_eur', {'limits': (2_000, 45_000)}),
    'cars_nz': ('cars_nz_manheim_vehicles.csv', 'final_bid_nzd', {}),
}
SCENARIOS = {     # name -> the data that its scenario needs; the built-in market needs none
    'used_cars': '',
    'used_cars_de': 'cars_autoscout24_de_2021.csv',
}
NEEDS = {
    'flaml': ['flaml[automl]==2.*', 'pyarrow'],
    'autogluon': ['autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.*', 'pyarrow'],
}
METRIC = {'regression': 'mae', 'binary': 'auc', 'multiclass': 'log_loss'}


@dataclass
class Side:
    """What one side has predicted on the holdout, a table for each seed."""
    predicted: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, file: Path, made: Callable[[], tuple[np.ndarray, float]]) -> None:
        """Add predictions and seconds from a file, or make them and write it."""
        if not file.exists():
            predicted, took = made()
            unfinished = file.with_suffix('.part.npz')
            np.savez(unfinished, predicted=predicted, seconds=took)
            unfinished.rename(file)
        with np.load(file) as kept:
            self.predicted.append(kept['predicted'])
            self.seconds.append(float(kept['seconds']))


def environment_of(
    peer: str, needs: Sequence[str], cache: Path, base: str = sys.executable
) -> Path:
    """The interpreter of a peer's environment, made where it is not there yet."""
    made_of = [*needs, sys.version if base == sys.executable else base]
    digest = hashlib.sha256('\n'.join(made_of).encode()).hexdigest()[:10]
    folder = cache / f'{peer}-{digest}'
    python = folder / 'bin/python'
    if (folder / '.ready').exists():
        return python
    uv = str(BIN / 'uv')
    print(f'making an environment for {peer} in {folder}', file=sys.stderr, flush=True)
    subprocess.run([uv, 'venv', '-q', '--python', base, str(folder)], check=True)
    subprocess.run([uv, 'pip', 'install', '-q', '--python', str(python), *needs], check=True)
    (folder / '.ready').touch()
    return python


def scenario_of(name: str, place: Path, data: Path | None, search: Sequence[str]) -> Path:
    """The scenario of a data set, with lines added to its section `search`."""
    if name in SCENARIOS:
        text = (ROOT / 'scenarios' / f'{name}.yaml').read_text()
    else:
        text = new_text(name, Path(str(data)))
    lines = text.split('\n')
    at = lines.index('search:') + 1
    lines[at:at] = [f'  {line}' for line in search]
    path = place / f'{name}.yaml'
    path.write_text('\n'.join(lines))
    return path


def new_text(name: str, data: Path) -> str:
    """The scenario that `cd4ml new` would write."""
    from cd4ml_nb.core.settings import load_settings
    from cd4ml_nb.proposing.data_section import place_words
    from cd4ml_nb.proposing.new import draft_scenario, read_as_written
    from cd4ml_nb.proposing.scenario_file import scenario_text
    file, target, words = SETS[name]
    settings = load_settings()
    section = place_words([str(data / file)], '', '', settings, {})
    section, raw = read_as_written(section, target, {}, settings, {})
    draft = draft_scenario(name, raw, section, target, words.get('task'), words.get('split'))
    text = scenario_text(draft)
    if 'limits' in words:
        low, high = words['limits']
        line = f'  column: {target} '
        assert line in text
        text = text.replace(line, f'  min: {low}\n  max: {high}\n  outside: drop\n{line}', 1)
    return text


def cd4ml(place: Path, data: Path | None, *words: str) -> None:
    """Run our command, with products and tracking in a folder of their own."""
    surroundings = os.environ | {
        'CD4ML_PRODUCTS': str(place / 'products'),
        'CD4ML_TRACKING_URI': f'sqlite:///{place}/m.db',
        'CD4ML_ARTIFACT_ROOT': str(place / 'files'),
    }
    if data:
        surroundings['CD4ML_DATA_ROOT'] = str(data)
    command = [str(BIN / 'cd4ml'), *words]
    done = subprocess.run(
        command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-1000:])


def current(place: Path, name: str, stage: str) -> Path:
    """The products of a stage."""
    home = place / 'products' / name / stage
    return home / (home / 'current').read_text().strip()


def ours(name: str, kept: Path, args: argparse.Namespace) -> Side:
    """Our sweep and the training of its winner, for each seed; then its predictions."""
    side = Side()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        scenario = scenario_of(name, place, args.data, args.search)
        for seed in range(args.seeds):
            made = partial(our_seed, place, scenario, kept, seed, args)
            side.add(kept / f'ours-{seed}.npz', made)
    return side


def our_seed(
    place: Path, scenario: Path, kept: Path, seed: int, args: argparse.Namespace
) -> tuple[np.ndarray, float]:      # predicted, seconds
    """What our side predicts with one seed; it leaves the tables for the peers."""
    given = [
        '-p', f'split.seed={seed}', '-p', f'sweep.seed={seed}', '-p', f'train.seed={seed}',
        '-p', f'sweep.trials={args.trials}', '-p', f'sweep.threads={args.threads}',
        '-p', f'train.threads={args.threads}',
    ]
    run = ['run', '-q', '-s', str(scenario), *given, '--until']
    cd4ml(place, args.data, *run, 'split')
    begun = time.perf_counter()
    cd4ml(place, args.data, *run, 'train')
    took = time.perf_counter() - begun
    cd4ml(place, args.data, *run, 'evaluate')
    write_tables(place, scenario.stem, kept, seed)
    table = pd.read_parquet(current(place, scenario.stem, 'evaluate') / 'predictions.parquet')
    columns = [c for c in table.columns if str(c).startswith('p_')] or ['predicted']
    predicted = table[columns].to_numpy(dtype=float)
    return (predicted[:, 0] if columns == ['predicted'] else predicted), took


@dataclass
class Judged:
    """The rows of the holdout of one seed."""
    task: str
    y: np.ndarray          # observed, shape (n,); classes by their place
    unit: np.ndarray       # what each row is drawn with, the same for all seeds, shape (n,)


def read_judged(kept: Path, seed: int) -> Judged:
    """As `write_tables` has written it."""
    with np.load(kept / f'judged-{seed}.npz') as file:
        return Judged(str(file['task']), file['y'], file['unit'])


def write_tables(place: Path, name: str, kept: Path, seed: int) -> None:
    """Write what the peers learn from and are judged on: the inputs of our model, and `y`."""
    from cd4ml_nb.artefacts.split_record import read_split
    from cd4ml_nb.columns.table import read_table, unseal
    from cd4ml_nb.model.contract import read_contract
    from cd4ml_nb.rows.clusters import bootstrap_clusters
    from cd4ml_nb.training.training import observed
    contract = read_contract(current(place, name, 'train') / 'contract.json')
    split = current(place, name, 'split')
    learned = [read_table(split / f'{part}.parquet') for part in ('train', 'validation')]
    tables = {
        'learn': pd.concat(learned, ignore_index=True),
        'judge': unseal(split / 'holdout.sealed', 'evaluate', 'quality'),
    }
    y = np.zeros(0)
    for part, table in tables.items():
        inputs = [spec.name for spec in contract.inputs if spec.name in table]
        y = observed(contract.output, table[contract.output.name])
        plain = table[inputs].rename(columns={c: f'c{k}' for k, c in enumerate(inputs)})
        plain.assign(y=y).to_parquet(kept / f'{part}-{seed}.parquet', index=False)
    unit = pd.util.hash_pandas_object(tables['judge'].astype(str), index=False)
    clusters = bootstrap_clusters(tables['judge'], read_split(split / 'split.json'))
    if clusters is not None:
        unit = unit.groupby(clusters).transform('min')
    np.savez(kept / f'judged-{seed}.npz', task=contract.task, y=y, unit=unit.to_numpy())


def theirs(
    peer: str, python: Path, kept: Path, task: str, seconds: Sequence[float],
    args: argparse.Namespace,
) -> Side:
    """What a peer predicts in the seconds that our side took, or a multiple of them."""
    side = Side()
    for seed, ours_took in enumerate(seconds):
        words = [task, f'{args.times * ours_took:.1f}', str(seed), str(args.threads)]
        made = partial(their_seed, peer, python, kept, seed, words)
        side.add(kept / f'{peer}-{args.times:g}-{seed}.npz', made)
    return side


def their_seed(
    peer: str, python: Path, kept: Path, seed: int, words: Sequence[str]
) -> tuple[np.ndarray, float]:      # predicted, seconds
    """What a peer predicts with one seed."""
    with tempfile.TemporaryDirectory(dir=kept) as folder:
        for part in ('learn', 'judge'):
            os.link(kept / f'{part}-{seed}.parquet', Path(folder) / f'{part}.parquet')
        done = subprocess.run(
            [str(python), str(ROOT / 'benchmarks/quality_peer.py'), peer, folder, *words],
            cwd=folder, capture_output=True, text=True, check=False,
        )
        if done.returncode:
            raise RuntimeError(f'{peer}: {done.stderr.strip()[-1000:]}')
        took = json.loads(done.stdout.strip().split('\n')[-1])['seconds']
        return np.load(Path(folder) / 'predicted.npy'), took


def verdict(
    rows: Sequence[Judged], peer: Side, own: Side, share: float
) -> dict[str, Any]:      # reference: the peer's value; challenger: ours; value: the gain
    """Better, worse or undecided, over all seeds."""
    from cd4ml_nb.scenario import comparison
    metric = METRIC[rows[0].task]
    draws, units = drawn(rows, peer, own)
    found = comparison.difference(metric, draws.mean(axis=0), units)
    if len(draws) > 1:
        found = with_luck(found, comparison.gain_of(metric, draws[:, 0], draws[:, 1]))
    return comparison.judged(found, comparison.margin_of(metric, found.reference, share))


def drawn(
    rows: Sequence[Judged], peer: Side, own: Side, replicates: int = 1000
) -> tuple[np.ndarray, int]:   # shape (seeds, 2, 1 + replicates), first the rows as they are; units
    """The metric of both sides under the same draws."""
    from cd4ml_nb.scenario.metrics import bootstrap_weights, evaluator
    task = rows[0].task
    units, places = np.unique(np.concatenate([r.unit for r in rows]), return_inverse=True)
    of_seed = np.split(places, np.cumsum([len(r.y) for r in rows])[:-1])
    sides = [
        [evaluator(task, r.y, predicted) for predicted in pair]
        for r, *pair in zip(rows, peer.predicted, own.predicted, strict=True)
    ]
    blocks = []
    for times in (np.ones((1, len(units))), *bootstrap_weights(len(units), replicates, 0)):
        values = [
            [side(times[:, where])[METRIC[task]] for side in pair]
            for pair, where in zip(sides, of_seed, strict=True)
        ]
        blocks.append(np.array(values))
    return np.concatenate(blocks, axis=2), len(units)


def with_luck(found: Any, gains: np.ndarray) -> Any:     # a Difference; (seeds, 1 + replicates)
    """A difference whose error counts what the gains of the seeds differ beyond their rows.

    The variance between studies of a random-effects model, by moments (DerSimonian and Laird,
    1986): what is observed, less what the draws of rows alone would give; 0 at least.
    """
    n = len(gains)
    by_rows = (gains[:, 1:] - gains[:, :1]).var(axis=0, ddof=1).mean()
    luck = max(0.0, float(gains[:, 0].var(ddof=1) - by_rows)) / n
    total = found.error**2 + luck
    freedom = total**2 / (found.error**4 / found.freedom + luck**2 / (n - 1))
    return replace(found, error=math.sqrt(total), freedom=freedom)


def folder_of(name: str, args: argparse.Namespace) -> AbstractContextManager[str]:
    """The folder for the predictions of a data set: kept, or gone afterwards."""
    if args.keep is None:
        return tempfile.TemporaryDirectory()
    digest = hashlib.sha256(f'{args.trials} {args.threads} {args.search}'.encode())
    for file in sorted((ROOT / 'cd4ml_nb').rglob('*.py')):
        digest.update(file.read_bytes())
    place = args.keep.resolve() / f'{name}-{digest.hexdigest()[:10]}'
    place.mkdir(parents=True, exist_ok=True)
    return nullcontext(str(place))


def measured(name: str, args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """All figures of one data set."""
    with folder_of(name, args) as folder:
        kept = Path(folder)
        own = ours(name, kept, args)
        rows = [read_judged(kept, seed) for seed in range(args.seeds)]
        task = rows[0].task
        peers: dict[str, Any] = {}
        for peer, python in pythons.items():
            side = theirs(peer, python, kept, task, own.seconds, args)
            found = verdict(rows, side, own, args.margin)
            peers[peer] = found | {'seconds': side.seconds}
        return {
            'set': name,
            'task': task,
            'metric': METRIC[task],
            'rows': len(np.unique(np.concatenate([r.unit for r in rows]))),
            'seconds': own.seconds,
            'peers': peers,
        }


def shown(figures: dict[str, Any]) -> list[str]:
    """The lines of the table for one data set."""
    lines = []
    for peer, found in figures['peers'].items():
        took = f'{np.mean(figures["seconds"]):.0f} s : {np.mean(found["seconds"]):.0f} s'
        ends = f'{found["low"]:+.4g} to {found["high"]:+.4g}'
        lines.append(
            f'{figures["set"]:<20} {figures["metric"]:<9} {peer:<10}'
            f' {found["challenger"]:>10.5g} {found["reference"]:>10.5g}  {ends:<24}'
            f' {took:<16} {found["verdict"]}'
        )
    return lines


def wanted(args: argparse.Namespace) -> list[str]:
    """The data sets that are asked for and there."""
    files = {name: words[0] for name, words in SETS.items()} | SCENARIOS
    names = []
    for name, file in files.items():
        there = not file or (args.data is not None and (args.data / file).is_file())
        if there and (not args.only or name in args.only):
            names.append(name)
    return names


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    parser.add_argument('--data', type=Path, default=None)
    parser.add_argument('--only', nargs='+', default=[])
    parser.add_argument('--trials', type=int, default=30)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--times', type=float, default=1.0)
    parser.add_argument('--peers', nargs='+', choices=list(NEEDS), default=list(NEEDS))
    parser.add_argument('--search', nargs='+', default=[])
    parser.add_argument('--margin', type=float, default=0.0)
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1)
    parser.add_argument('--cache', type=Path, default=home / 'cd4ml_nb' / 'quality')
    parser.add_argument('--autogluon', default='', help='its requirement, such as a smaller one')
    parser.add_argument('--keep', type=Path, default=None, help='a folder for the predictions')
    parser.add_argument('--out', type=Path, default=None)
    args = parser.parse_args()
    args.data = args.data.resolve() if args.data else None
    return args


def main() -> None:
    args = options()
    if args.data:
        os.environ['CD4ML_DATA_ROOT'] = str(args.data)
    needs = NEEDS | ({'autogluon': [args.autogluon, 'pyarrow']} if args.autogluon else {})
    pythons = {peer: environment_of(peer, needs[peer], args.cache) for peer in args.peers}
    print(
        f'{"set":<20} {"metric":<9} {"peer":<10} {"ours":>10} {"theirs":>10}'
        f'  {"gain, 95 %":<24} {"time":<16} verdict'
    )
    rows = []
    for name in wanted(args):
        try:
            rows.append(measured(name, args, pythons))
        except RuntimeError as error:
            print(f'{name:<20} failed: {error}', flush=True)
            continue
        print('\n'.join(shown(rows[-1])), flush=True)
        if args.out:
            settings = {key: str(value) for key, value in vars(args).items()}
            args.out.write_text(json.dumps({'options': settings, 'sets': rows}, indent=1))
    for peer in args.peers:
        words = [row['peers'][peer]['verdict'] for row in rows]
        counts = {word: words.count(word) for word in ('better', 'worse', 'undecided')}
        said = ', '.join(f'{word} on {n}' for word, n in counts.items())
        print(f'against {peer} with {args.times:g} times the seconds: {said}')


if __name__ == '__main__':
    main()
