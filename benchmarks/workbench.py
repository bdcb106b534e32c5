"""A scientist's day with cd4ml_nb, PyCaret and skore: lines, seconds, what is shown, what is lost.

    python benchmarks/workbench.py [--data FOLDER] [--only market titanic] [--sides cd4ml …]
                                   [--repeats 3] [--threads 1] [--cache FOLDER] [--out FILE]

Each side has one script of cells, `day_SIDE.py`, which does the same with the same rows: load,
look, a first model with an estimate, a variant of it, their comparison, a column of one's own,
errors by group, a search over ten combinations, and the best kept so that another process predicts
with it. Peers are used as their own tutorials do it: PyCaret's `setup`, `create_model`,
`compare_models`, `check_fairness`, `tune_model`; skore's `evaluate`, `compare`, `checks`, a
`Project` that each report is put into, with skrub's `tabular_pipeline`. `pycaret+log` is PyCaret
with `log_experiment=True`.

Rows are the built-in market, and titanic where FOLDER has it. A fifth is held back from all sides;
the models that they keep are judged on it. Counted is what can be counted:

- lines: of the cells of the day, after `ruff format`, without blank lines and comments;
- to the first model: from the start of a process that runs the cells `open` and `first` and nothing
  else, the median of `--repeats`, the sides in turn; seconds by the clock, and CPU seconds of all
  processes, which say more where the machine is busy;
- what is shown: each yes or no is the answer of a cell `proof …` of the script, or of the cell
  `apart faults`, where a column nearly knows the target and some rows came twice under another id;
- after a kill: another process runs the day up to the search, and is killed with SIGKILL when the
  search has used half of the CPU seconds that it took before; a new process lists what is there;
- the kept model, in a new process: whether it predicts without the cell of the own column.

Each peer lives in an environment of its own, made once in `--cache` by uv. A side that fails says
where. The table goes to the screen, every figure to `--out` as JSON.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from day_cells import cells_of
from own_project import environment, project
from quality import environment_of

HERE = Path(__file__).resolve().parent
NEEDS = {      # PyCaret 3.3 works with no later ones; its pandas cuts no gaps without bottleneck
    'pycaret': [
        'pycaret[analysis]==3.*', 'mlflow<2.14', 'setuptools<81', 'sqlalchemy<2.1', 'bottleneck',
    ],
    'skore': ['skore[jupyter]==0.*'],
}
BASE = {'pycaret': sys.executable if sys.version_info < (3, 12) else '3.11'}
SIDES = ['cd4ml', 'pycaret', 'pycaret+log', 'skore']
TO_THE_SEARCH = ['open', 'first', 'variant', 'feature', 'search']
SHOWN = {      # proof -> what it proves
    'profile': 'each column, its gaps, and what it has to do with the target',
    'spread': 'spread of the estimate between folds',
    'interval': 'interval of the estimate',
    'verdict': 'verdict of a comparison',
    'allowance': 'allowance for how many were tried',
    'groups': 'errors by group, in one call',
    'groups_interval': 'interval of each group',
    'worst': 'the rows with the largest errors',
    'curves': 'curve of a trial model: residuals, ROC',
    'untouched': 'holdout not asked before the best was kept',
    'sealed': 'holdout refused to a curious cell',
    'leak': 'a column that nearly knows the target is named',
    'copies': 'rows listed twice under another id are named',
    'travels': 'kept model predicts without the cell of the own column',
    'kinds': 'kinds of model to choose from',
}


@dataclass(frozen=True)
class Day:
    """The same task for all sides."""
    name: str
    table: pd.DataFrame
    target: str
    ids: list[str]         # a scientist who has looked leaves them out
    dates: list[str]
    group: str
    metric: str            # as PyCaret names it

    def given(self, logged: bool) -> dict[str, Any]:
        """What a scientist would write as literals."""
        return {
            'day': self.name, 'name': self.name, 'file': f'{self.name}.csv', 'target': self.target,
            'ids': self.ids, 'dates': self.dates, 'group': self.group, 'metric': self.metric,
            'logged': logged, 'columns': [str(column) for column in self.table],
            'values': sorted(str(value) for value in self.table[self.group].unique()),
        }

    @property
    def parts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of the day, and a fifth that no side sees."""
        fresh = self.table.sample(frac=0.2, random_state=1)
        return self.table.drop(fresh.index), fresh

    def faulty(self) -> pd.DataFrame:
        """The day's rows with a column that nearly knows the target, and a fiftieth twice."""
        rng = np.random.default_rng(0)
        rows = self.parts[0].copy()
        y = rows[self.target]
        if y.nunique() == 2:
            known = y.where(rng.random(len(y)) >= 0.03, 1 - y)
            rows['zz_after'] = known.map({0: 'no', 1: 'yes'})
        else:
            rows['zz_after'] = (y * np.exp(rng.normal(0, 0.1, len(y)))).round()
        again = rows.sample(frac=0.02, random_state=0)
        again[self.ids[0]] += 1_000_000
        return pd.concat([rows, again], ignore_index=True)


def days(args: argparse.Namespace) -> Iterator[Day]:
    """The tasks that are asked for and can be had."""
    from cd4ml_nb.sources.market import market_options, market_table
    if 'market' in args.only:
        table = market_table(market_options({'rows': args.rows}), seed=7)
        dates = ['listing_date', 'first_registration']
        yield Day('market', table, 'price_eur', ['offer_id'], dates, 'seller', 'MAE')
    file = args.data / 'titanic.csv' if args.data else None
    if 'titanic' in args.only and file and file.is_file():
        ids = ['PassengerId', 'Name', 'Ticket']
        yield Day('titanic', pd.read_csv(file), 'Survived', ids, [], 'Sex', 'AUC')


class Place:
    """A folder in which one side works, and how its processes are started."""

    def __init__(self, folder: Path, side: str, python: Path, day: Day, threads: int):
        self.side = side
        self.python = python
        self.script = HERE / f'day_{side.partition("+")[0]}.py'
        self.root = project(folder) if side == 'cd4ml' else folder
        self.out = folder / 'cells.jsonl'
        rows, fresh = day.parts
        rows.to_csv(self.root / f'{day.name}.csv', index=False)
        fresh.drop(columns=day.target).to_csv(self.root / 'fresh.csv', index=False)
        day.faulty().to_csv(self.root / 'faulty.csv', index=False)
        self.given = folder / 'given.json'
        self.given.write_text(json.dumps(day.given(side.endswith('+log'))))
        few = dict.fromkeys(('OMP_NUM_THREADS', 'LOKY_MAX_CPU_COUNT', 'CD4ML_THREADS'), threads)
        self.environment = environment(folder) | {
            'IPYTHONDIR': str(folder / 'ipython'), 'MPLBACKEND': 'agg',
            'MLFLOW_TRACKING_URI': f'sqlite:///{folder}/mlflow.db', 'DO_NOT_TRACK': 'true',
            'MLFLOW_DISABLE_TELEMETRY': 'true', 'YDATA_PROFILING_NO_ANALYTICS': 'true',
        } | {name: str(value) for name, value in few.items()}

    def start(self, *cells: str) -> subprocess.Popen:
        """Begin to run cells, or the whole day."""
        self.out.unlink(missing_ok=True)
        command = [self.python, '-W', 'ignore', HERE / 'day_cells.py', self.script]
        log = (self.out.parent / 'log.txt').open('w')
        return subprocess.Popen(
            [str(word) for word in [*command, self.given, self.out, *cells]], cwd=self.root,
            env=self.environment, stdout=log, stderr=log, start_new_session=True,
        )

    def notes(self) -> list[dict[str, Any]]:
        """What the cells have noted so far."""
        lines = self.out.read_text().splitlines() if self.out.is_file() else []
        return [json.loads(line) for line in lines]

    def run(self, *cells: str) -> list[dict[str, Any]]:
        """Run cells to their end; what they note, with the time since the start."""
        begun = time.time()
        process = self.start(*cells)
        try:
            code = process.wait()
        finally:
            end_all(process)
        notes = self.notes()
        if code:
            last = (self.out.parent / 'log.txt').read_text().strip().splitlines()[-1:]
            at = notes[-1]['cell'] if notes else 'start'
            raise RuntimeError(f'cell {at}: {"".join(last)[:300]}')
        return [note | {'at': note['at'] - begun} for note in notes]

    def answer(self, *cells: str) -> dict[str, Any]:
        """Run cells; what the last one says."""
        return self.run(*cells)[-1]['answer']


def end_all(process: subprocess.Popen) -> None:
    """End whatever a process has left in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def spans(notes: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds of each cell, by the clock and of CPUs; `start` is what comes before the first."""
    begun = {note['cell']: note for note in notes if note['state'] == 'begun'}
    ended = {note['cell']: note for note in notes if note['state'] == 'ended'}
    found = {'start': {'clock': notes[0]['at'], 'cpu': notes[0]['used']}}
    for name, note in ended.items():
        clock = note['at'] - begun[name]['at']
        found[name] = {'clock': clock, 'cpu': note['used'] - begun[name]['used']}
    return found


def source_of(script: Path, day: str) -> str:
    """The cells that a scientist writes for the day."""
    cells = cells_of(script.read_text(), day)
    return '\n'.join(
        source for name, source in cells.items()
        if name.partition(' ')[0] not in ('proof', 'apart')
    )


def written(source: str) -> dict[str, int]:
    """How much code that is, in one style."""
    style = ['--line-length', '100', '--config', 'format.skip-magic-trailing-comma=true']
    ruff = Path(sys.executable).with_name('ruff')
    done = subprocess.run(
        [str(ruff), 'format', '--isolated', *style, '-'], input=source, capture_output=True,
        text=True, check=True,
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    kinds = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP)
    tokens = tokenize.generate_tokens(io.StringIO(done.stdout).readline)
    return {
        'lines': sum(bool(line) and not line.startswith('#') for line in lines),
        'tokens': sum(token.type in kinds for token in tokens),
    }


def tree_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and all below it."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += sum(one.cpu_times()[:4])
    return total


def killed(place: Place, seconds: float) -> dict[str, Any]:
    """Kill a kernel when its search has used so many CPU seconds; what a new one lists."""
    process = place.start(*TO_THE_SEARCH)
    family = psutil.Process(process.pid)
    before = None
    while process.poll() is None:
        last = place.notes()[-1:]
        if last and (last[0]['cell'], last[0]['state']) == ('search', 'begun'):
            before = tree_seconds(family) if before is None else before
            if tree_seconds(family) - before >= seconds:
                break
        time.sleep(0.02)
    process.kill()
    process.wait()
    last = place.notes()[-1]
    if (last['cell'], last['state']) != ('search', 'begun'):
        raise RuntimeError(f'killed where {last["cell"]} had {last["state"]}, not in the search')
    time.sleep(1)
    listed = place.answer('apart list')
    end_all(process)
    return listed


def judged(day: Day, predicted: list[float]) -> float:
    """The metric on the rows that no side has seen."""
    actual = day.parts[1][day.target].to_numpy(dtype=float)
    if day.metric == 'MAE':
        return float(np.mean(np.abs(actual - np.array(predicted))))
    from sklearn.metrics import roc_auc_score
    return float(roc_auc_score(actual, predicted))


def used(place: Place) -> tuple[str, list[float]]:
    """Whether a new process predicts without the own column's cell, and what it predicts."""
    try:
        return 'yes', place.answer('apart rows', 'apart use')['predicted']
    except RuntimeError:
        return 'no', place.answer('apart rows', 'apart own', 'apart use')['predicted']


def word(answer: Any) -> str:
    """An answer of a proof as the table shows it."""
    return {True: 'yes', False: 'no'}[answer] if isinstance(answer, bool) else str(answer)


def whole_day(side: str, python: Path, day: Day, threads: int) -> dict[str, Any]:
    """The day from its start to its end, what was shown, and what another process can use."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), side, python, day, threads)
        notes = place.run()
        proofs = {note['cell'].partition(' ')[2]: note['answer'] for note in notes
                  if note['state'] in ('proved', 'failed')}
        estimate = proofs.pop('estimate')
        travels, predicted = used(place)
        faults = place.answer('apart faults')
        shown = proofs | {'travels': travels, 'leak': faults['leak'], 'copies': faults['copies']}
        seconds = spans(notes)
        return {
            'seconds': seconds,
            'day': {kind: sum(one[kind] for one in seconds.values()) for kind in ('clock', 'cpu')},
            'shown': {name: word(answer) for name, answer in shown.items()},
            'faults': faults,
            'estimate': estimate,
            'fresh': judged(day, predicted),
        }


def first_model(side: str, python: Path, day: Day, threads: int) -> dict[str, Any]:
    """From the start of a process to its first model."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), side, python, day, threads)
        seconds = spans(place.run('open', 'first'))
    total = {kind: sum(one[kind] for one in seconds.values()) for kind in ('clock', 'cpu')}
    return seconds | {'total': total}


def after_a_kill(
    side: str, python: Path, day: Day, threads: int, seconds: float
) -> dict[str, Any]:
    """What is left of a day whose kernel is killed in the search."""
    with tempfile.TemporaryDirectory() as folder:
        return killed(Place(Path(folder), side, python, day, threads), seconds)


def middle(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The medians of several runs."""
    return {
        part: {kind: statistics.median(one[part][kind] for one in found)
               for kind in ('clock', 'cpu')}
        for part in found[0]
    }


def measured(day: Day, pythons: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one task: side -> figures."""
    sides: dict[str, Any] = {side: {'first': []} for side in pythons}
    for _ in range(args.repeats):
        for side, python in pythons.items():
            with noted(sides[side]):
                sides[side]['first'].append(first_model(side, python, day, args.threads))
    for side, python in pythons.items():
        figures = sides[side]
        figures['written'] = written(source_of(HERE / f'day_{side.partition("+")[0]}.py', day.name))
        with noted(figures):
            figures |= whole_day(side, python, day, args.threads)
            half = figures['seconds']['search']['cpu'] / 2
            figures['killed'] = after_a_kill(side, python, day, args.threads, half)
        if figures['first']:
            figures['first_median'] = middle(figures['first'])
    return sides


@contextlib.contextmanager
def noted(figures: dict[str, Any]) -> Iterator[None]:
    """Note where a side fails, and go on."""
    try:
        yield
    except RuntimeError as error:
        figures.setdefault('failed', []).append(str(error))


def seconds_of(found: dict[str, float] | None) -> str:
    return f'{found["clock"]:.0f} / {found["cpu"]:.1f}' if found else '?'


def rows_of(sides: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The rows of the table: a title, and a word for each side."""
    every = list(sides.values())
    yield 'lines (tokens) of the day', [
        f'{one["written"]["lines"]} ({one["written"]["tokens"]})' for one in every
    ]
    first = [one.get('first_median', {}) for one in every]
    yield 'to the first model, s (CPU)', [seconds_of(one.get('total')) for one in first]
    for part, title in [('start', 'Python and IPython'), ('open', 'imports, rows, split'),
                        ('first', 'the first model')]:
        yield f'  {title}', [seconds_of(one.get(part)) for one in first]
    yield 'the whole day, s (CPU)', [seconds_of(one.get('day')) for one in every]
    for part in ('look', 'variant', 'compare', 'check', 'feature', 'groups', 'search', 'keep'):
        yield f'  {part}', [
            seconds_of(one['seconds'].get(part)) if 'seconds' in one else '?' for one in every
        ]
    for name, title in SHOWN.items():
        yield title, [one.get('shown', {}).get(name, '?') for one in every]
    yield 'killed in the search: models listed', [
        f'{one["killed"]["models"]} of 3' if 'killed' in one else '?' for one in every
    ]
    yield 'killed in the search: trials listed', [
        f'{one["killed"]["trials"]} of 10' if 'killed' in one else '?' for one in every
    ]
    yield 'the kept model, on rows nobody saw', [
        f'{one["fresh"]:.4g}' if 'fresh' in one else '?' for one in every
    ]


def table_of(day: Day, sides: dict[str, Any]) -> str:
    """The table of one task."""
    rows, _ = day.parts
    head = f'{day.name}: {len(rows):,} rows, {day.target}; {day.metric}'
    lines = [f'{head:<56}' + ''.join(f'{side:>15}' for side in sides)]
    lines += [f'{title:<56}' + ''.join(f'{cell:>15}' for cell in cells)
              for title, cells in rows_of(sides)]
    for side, one in sides.items():
        lines += [f'{side} failed: {why}' for why in one.get('failed', [])]
    return '\n'.join(lines)


def environments(args: argparse.Namespace) -> dict[str, Path]:      # side -> interpreter
    """The sides that are asked for and can be had."""
    found = {}
    for side in args.sides:
        peer = side.partition('+')[0]
        if peer == 'cd4ml':
            found[side] = Path(sys.executable)
            continue
        try:
            base = BASE.get(peer, sys.executable)
            found[side] = environment_of(peer, NEEDS[peer], args.cache, base)
        except subprocess.CalledProcessError as error:
            print(f'{side} is left out: {error}', file=sys.stderr)
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    parser.add_argument('--data', type=Path, default=None)
    parser.add_argument('--only', nargs='+', default=['market', 'titanic'])
    parser.add_argument('--sides', nargs='+', choices=SIDES, default=SIDES)
    parser.add_argument('--rows', type=int, default=20_000, help='of the market')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--cache', type=Path, default=home / 'cd4ml_nb' / 'workbench')
    parser.add_argument('--out', type=Path, default=None)
    return parser.parse_args()


def main() -> None:
    args = options()
    pythons = environments(args)
    found = {}
    for day in days(args):
        found[day.name] = measured(day, pythons, args)
        print(table_of(day, found[day.name]) + '\n', flush=True)
        if args.out:
            settings = {name: str(value) for name, value in vars(args).items()}
            args.out.write_text(json.dumps({'options': settings, 'days': found}, indent=1))


if __name__ == '__main__':
    main()
