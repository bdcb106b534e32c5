"""Sweeps for tests: a tiny project whose second notebook is the real sweep, and what must hold of
it, whoever was killed."""

import json
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from projects import (
    PARAMETERS,
    ROOT,
    lives,
    stage_notebook,
    write_notebook,
    write_pipeline,
    write_scenario,
    write_settings,
)
from projects import (
    task as pipeline_task,
)
from tiny import Tiny

from cd4ml_nb.columns.table import write_table
from cd4ml_nb.core.errors import revived
from cd4ml_nb.core.files import write_json
from cd4ml_nb.core.log import decoded
from cd4ml_nb.model.contract import FeatureSet
from cd4ml_nb.search.workers import pause_openmp

TARGETS = {
    'regression': {'column': 'y', 'scale': 'log'},
    'binary': {'column': 'y', 'classes': ['no', 'yes'], 'positive': 'yes'},
    'multiclass': {'column': 'y', 'classes': ['few', 'some', 'many']},
}
SPACE = {
    'learning_rate': {'low': 0.1, 'high': 0.6, 'log': True},
    'max_depth': {'low': 1, 'high': 4, 'integer': True},
    'subsample': {'low': 0.5, 'high': 1.0},
}
SPLIT = {
    'train': 'train.parquet',
    'validation': 'validation.parquet',
    'schema': 'schema.json',
    'split': 'split.json',
}
FEATURES = {'features': 'feature_set.json', 'code': 'features.whl'}      # there are none
PAGE = 'notebooks/stages/14_sweep.ipynb'
COPY = '''import shutil
from pathlib import Path

for name, path in product.items():
    if name != 'nb':
        shutil.copy(f'data/{Path(path).name}', path)'''
ONCE = ('at', 'seconds', 'run_id')  # what no two sweeps have in common


def table(task: str, n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows with two numbers, a category and a weight, from which `y` can be learned."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            'a': rng.random(n),
            'b': rng.random(n),
            'kind': rng.choice(['u', 'v', 'w'], n),
            'w': rng.uniform(0.5, 2.0, n),
        }
    )
    level = rows['a'] * 2 + (rows['b'] > 0.5) + (rows['kind'] == 'u') * 0.5 + rng.normal(0, 0.3, n)
    if task == 'regression':
        return rows.assign(y=np.exp(level))
    ends = np.quantile(level, [0.6] if task == 'binary' else [0.4, 0.7])
    return rows.assign(y=np.array(TARGETS[task]['classes'], dtype=object)[np.digitize(level, ends)])


def schema(task: str, **target: Any) -> dict[str, Any]:
    """What validation would write of such a table."""
    columns = [
        {'name': 'a', 'type': 'number', 'role': 'feature'},
        {'name': 'b', 'type': 'number', 'role': 'feature'},
        {'name': 'kind', 'type': 'category', 'role': 'feature', 'categories': ['u', 'v', 'w']},
        {'name': 'w', 'type': 'number', 'role': 'weight'},
    ]
    return {'target': {'name': 'y', 'task': task, **TARGETS[task], **target}, 'columns': columns}


def needed(cell: dict[str, Any]) -> bool:
    """Whether a run needs a cell: an example has sweeps of its own, and nothing is exported from
    here."""
    source = ''.join(cell['source'])
    return (
        'tags' in cell['metadata']
        or re.match(r'#\| (export|pipeline)\n|import |from ', source) is not None
    )


def sweep_project(folder: Path, task: str = 'regression', **search: Any) -> Tiny:
    """Write a project that splits, by copying, and sweeps."""
    (folder / 'data').mkdir(parents=True)
    params = {'scenario': 'scenarios/used_cars.yaml'}  # the command's default
    own = dict.fromkeys(('trials', 'device', 'threads', 'seed', 'mode'))
    files = {'trials': 'trials.json', 'best': 'best.json'}
    write_pipeline(
        folder,
        [
            pipeline_task('split', 'notebooks/split.ipynb', SPLIT, params=params),
            pipeline_task('features', 'notebooks/features.ipynb', FEATURES, ['split'], params),
            pipeline_task('sweep', PAGE, files, ['split', 'features'], params | own),
        ],
    )
    write_settings(folder, products='products')
    parameters = "scenario = ''\n" + PARAMETERS
    split = stage_notebook('Split', COPY, parameters=parameters)
    write_notebook(folder / 'notebooks/split.ipynb', split)
    write_notebook(
        folder / 'notebooks/features.ipynb', stage_notebook('Features', COPY, parameters=parameters)
    )
    notebook = json.loads((ROOT / PAGE).read_text())
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    notebook['cells'] = [cell for cell in code if needed(cell)]
    write_notebook(folder / PAGE, notebook)
    definition = {
        'name': 'used_cars',
        'title': 'A tiny sweep',
        'task': task,
        'data': {'source': 'data/train.parquet'},
        'target': TARGETS[task],
    }
    write_scenario(
        folder,
        'used_cars',
        definition
        | {'search': {'space': SPACE, 'rounds': 60, 'early_stopping': 60, 'startup': 3, **search}},
    )
    rows = table(task)
    write_table(rows[:160], folder / 'data/train.parquet')
    write_table(rows[160:].reset_index(drop=True), folder / 'data/validation.parquet')
    (folder / 'data/schema.json').write_text(json.dumps(schema(task)))
    (folder / 'data/split.json').write_text(
        json.dumps({'by': 'random', 'n': {}, 'hash': {'train': task, 'validation': task}})
    )
    write_json(folder / 'data/feature_set.json', FeatureSet().to_json())
    (folder / 'data/features.whl').touch()
    return Tiny(folder)


# ---- the notebook in a process of its own, forked from this one, which has the libraries


@dataclass
class Ended:
    """How a child ended."""

    code: int  # of the command, had it run the notebook; below 0: killed
    error: str = ''  # the one line
    printed: str = ''  # by the notebook's cells
    left: int = 0  # descendants that live on


def forked(work: Callable[[], Any], struck: Callable[[int], Any] = lambda pid: None) -> Ended:
    """Do something in a child, which may be struck; what it raises of ours is its error."""
    pause_openmp()
    (here, there), pid = os.pipe(), os.fork()
    if pid == 0:
        text = traceback_text = ''
        try:
            os.close(here)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            work()
        except BaseException as error:
            text = (
                f'{getattr(error, "ename", type(error).__name__)} {getattr(error, "evalue", error)}'
            )
            traceback_text = traceback.format_exc()
        finally:
            os.write(there, json.dumps([text, traceback_text[-3000:]]).encode())
            os._exit(1 if text else 0)
    os.close(there)
    family = set[psutil.Process]()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            family.update(descendants(pid))

    looking = threading.Thread(target=look)
    looking.start()
    struck(pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    over.set()
    looking.join()
    os.set_blocking(here, False)  # whoever lives on has the other end
    with open(here, 'rb') as pipe:
        answer = pipe.read()
    error, more = json.loads(answer) if answer else ('', '')
    name, _, line = error.partition(' ')
    ours = revived(name, line)
    if error and not ours:
        print(more, file=sys.stderr)
    return Ended(ours.exit_code if ours else code, error, left=len(alive(family)))


def descendants(pid: int) -> list[psutil.Process]:
    """The children of a process, and theirs, as Linux lists them."""
    found: list[psutil.Process] = []
    for path in Path(f'/proc/{pid}/task').glob('*/children'):
        with suppress(OSError, psutil.Error):
            for child in map(int, path.read_text().split()):
                found += [psutil.Process(child), *descendants(child)]
    return found


def generation(pid: int, n: int) -> list[psutil.Process]:
    """The children of a process; or theirs, the second generation; and so on. Of a run: its server,
    notebooks, and workers."""
    children = [one for one in descendants(pid) if parent_of(one) == pid]
    if n == 1:
        return children
    return [one for child in children for one in generation(child.pid, n - 1)]


def parent_of(process: psutil.Process) -> int:
    """A process's parent; 0 when it has ended meanwhile."""
    with suppress(psutil.Error):
        return process.ppid()
    return 0


def alive(processes: set[psutil.Process], patience: float = 5.0) -> list[psutil.Process]:
    """Those that live on after a while."""
    until = time.monotonic() + patience
    while left := [one for one in processes if lives(one)]:
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return left


def run_notebook(
    project: Tiny,
    trials: int,
    struck: Callable[[int], Any] = lambda pid: None,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Execute the sweep's notebook with papermill; its products are a draft."""
    import papermill

    import cd4ml_nb.engine.warm  # noqa: F401

    out = project.folder / 'executed.ipynb'
    given = {
        'scenario': 'scenarios/used_cars.yaml',
        'trials': trials,
        'threads': 2,
        'upstream': {
            'split': {n: f'data/{f}' for n, f in SPLIT.items()},
            'features': {n: f'data/{f}' for n, f in FEATURES.items()},
        },
    }

    def work() -> None:
        os.chdir(project.folder)
        os.environ.update(environment or {})
        papermill.execute_notebook(
            PAGE, str(out), parameters=given, engine_name='cd4ml', progress_bar=False
        )

    out.unlink(missing_ok=True)
    ended = forked(work, struck)
    cells = json.loads(out.read_text())['cells'] if out.exists() and out.stat().st_size else []
    ended.printed = ''.join(
        ''.join(o['text'])
        for cell in cells
        for o in cell.get('outputs', [])
        if o['output_type'] == 'stream'
    )
    return ended


# ---- what is known of a sweep


def journal_path(project: Tiny) -> Path:
    """The journal of the project's only sweep."""
    (path,) = [p for p in (project.home / '.studies').glob('*.jsonl') if '.earlier.' not in p.name]
    return path


def entries(project: Tiny) -> list[dict[str, Any]]:
    """What the journal holds now, without whatever is being written; empty before there is one."""
    try:
        lines = journal_path(project).read_bytes().splitlines(keepends=True)
    except (ValueError, OSError):
        return []
    return [entry for line in lines if (entry := decoded(line))]


def ends(project: Tiny) -> dict[int, dict[str, Any]]:
    """The records of all trials that have ended, by number."""
    return {entry['end']['number']: entry['end'] for entry in entries(project) if 'end' in entry}


def under_way(project: Tiny) -> set[int]:
    """The numbers of the trials that were begun and have not ended."""
    known = entries(project)
    return {entry['ask']['number'] for entry in known if 'ask' in entry} - {
        entry['end']['number'] for entry in known if 'end' in entry
    }


def repeatable(value: Any) -> Any:
    """A product without what no two sweeps have in common."""
    if isinstance(value, dict):
        return {key: repeatable(one) for key, one in value.items() if key not in ONCE}
    return [repeatable(one) for one in value] if isinstance(value, list) else value


def product(project: Tiny, name: str) -> Any:
    """A product of the sweep: the draft, or what a run has accepted."""
    folder = project.home / 'sweep/draft'
    return json.loads(
        ((folder if folder.exists() else project.current('sweep')) / f'{name}.json').read_text()
    )


def content(project: Tiny) -> Any:
    """All that two sweeps must have in common."""
    return {name: repeatable(product(project, name)) for name in ('trials', 'best')}


def shown_by_mlflow(project: Tiny) -> dict[str, Any]:
    """What MLflow shows: how many sweeps, the numbers of the trials below each, and how many runs
    are not over."""
    with closing(sqlite3.connect(project.folder / 'mlflow.db')) as database:
        tags = dict(
            ((run, key), value)
            for run, key, value in database.execute('select run_uuid, key, value from tags')
        )
        running = database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[
            0
        ]
    sweeps = [run for (run, key), value in tags.items() if (key, value) == ('cd4ml.kind', 'sweep')]
    below = [
        sorted(
            int(tags[run, 'cd4ml.trial'])
            for (run, key), value in tags.items()
            if (key, value) == ('mlflow.parentRunId', one)
        )
        for one in sweeps
    ]
    return {'sweeps': len(sweeps), 'trials': below, 'running': running}


# ---- killing


def kill_workers(
    project: Tiny,
    workers: Callable[[], list[psutil.Process]],
    goes_on: Callable[[], bool],
    chance: random.Random,
    most: int,
) -> int:
    """SIGKILL workers at random moments, each trial at most twice, while a sweep goes on; how many
    were killed."""
    kills = 0
    struck = dict[int, int]()
    while goes_on() and kills < most:
        time.sleep(chance.uniform(0, 0.06))
        there = workers()
        now = under_way(project)
        if not there or not now or any(struck.get(number, 0) >= 2 for number in now):
            continue
        victim = chance.choice(there)
        with suppress(psutil.Error):
            victim.kill()
            kills += 1
        # until it is gone, an idle worker may still be handed a trial, which then loses it
        alive({victim}, 10)
        for number in under_way(project) | now:      # one of them has lost its worker
            struck[number] = struck.get(number, 0) + 1
    return kills
