"""A tiny project: five notebooks with a diamond, done in under two seconds, whose products are the
same in every run."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from projects import (
    MARK,
    PARAMETERS,
    Marked,
    clean_environment,
    current_folder,
    run_records,
    stage_notebook,
    task,
    write_notebook,
    write_pipeline,
    write_scenario,
    write_settings,
)
from waiting import wait_for

# a copy, while the package is being worked on
CD4ML = Path(os.environ.get('CD4ML_TEST_COMMAND') or Path(sys.executable).with_name('cd4ml'))
STAGES = {
    'source': [],
    'left': ['source'],
    'right': ['source'],
    'join': ['left', 'right'],
    'last': ['source', 'join'],
}
FILES = {'nb': 'page.ipynb', 'told': 'told.json', 'rows': 'rows.csv', 'blob': 'sub/blob.bin'}
SCENARIO = {
    'name': 'used_cars',
    'title': 'Kill me',
    'task': 'regression',
    'data': {'source': 'data.csv'},
    'target': {'column': 'y'},
}
LIGHT = '''"""Libraries that the tool would load and this project does not need: a run takes half
the time without them."""
import importlib.abc
import importlib.machinery
import sys
import types


class Empty(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('matplotlib', 'nbconvert', 'pandas', 'pyarrow'):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Empty(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Finder())
'''
DIGEST = '''digest = hashlib.sha256(f'{stage} {scale}'.encode())
for above in sorted(upstream):
    for name in sorted(set(upstream[above]) - {'nb'}):
        digest.update(Path(upstream[above][name]).read_bytes())
if not upstream:
    digest.update(Path('data.csv').read_bytes())
digest = digest.hexdigest()
time.sleep(pause)'''
TOLD = '''text = json.dumps({'stage': stage, 'scale': scale, 'digest': digest, 'more': digest * 20})
with open(product['told'], 'w') as file:
    file.write(text[:700])
    file.flush()
    time.sleep(pause)
    file.write(text[700:])'''
ROWS = '''with open(product['rows'], 'w') as file:
    for k in range(400):
        file.write(f'{k},{hashlib.sha256(f"{digest}{k}".encode()).hexdigest()}\\n')
        if k % 100 == 0:
            file.flush()
            time.sleep(pause / 4)'''
BLOB = '''with open(product['blob'], 'wb') as file:
    for k in range(6):
        file.write(random.Random(f'{digest}{k}').randbytes(40_000))
        file.flush()
        time.sleep(pause / 6)'''


def notebook(stage: str) -> dict[str, Any]:
    """The notebook of a stage: it writes piece by piece, so that a kill finds something half
    written."""
    parameters = (
        'scale = 1          # changes every product\npause = 0.02       # s in each cell\n'
        + PARAMETERS
    )
    imports = 'import hashlib, json, random, time\nfrom pathlib import Path'
    begin = f'stage = {stage!r}\ntime.sleep(pause)'
    cells = (imports, begin, DIGEST, TOLD, ROWS, BLOB, 'digest')
    return stage_notebook(stage, *cells, parameters=parameters)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return (self.err.strip().splitlines() or [''])[-1]


@dataclass
class Tiny(Marked):
    """A tiny project, and the commands that were started in it."""

    @property
    def home(self) -> Path:
        return self.folder / 'products/used_cars'

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(self.folder / '.light'), os.environ.get('PYTHONPATH', '')]
        return clean_environment(
            PYTHONPATH=os.pathsep.join(path for path in paths if path),
            CD4ML_JOBS='2',
            CD4ML_THREADS='1',
            **{MARK: self.mark},
        )

    def start(self, *words: str, environment: dict[str, str] | None = None, **options) -> 'Started':
        """Start a command in a session of its own."""
        return Started(self, words, self.environment | (environment or {}), options)

    def run(self, *words: str, environment: dict[str, str] | None = None, **options) -> Done:
        """Run a command to its end."""
        return self.start(*words, environment=environment, **options).end()

    def edit(self, stage: str, old: str, new: str) -> None:
        """Change the source of a stage's notebook."""
        path = self.folder / f'notebooks/{stage}.ipynb'
        notebook = json.loads(path.read_text())
        assert any(old in cell['source'] for cell in notebook['cells']), old
        for cell in notebook['cells']:
            cell['source'] = cell['source'].replace(old, new)
        path.write_text(json.dumps(notebook))

    def current(self, stage: str) -> Path | None:
        """The directory that a stage's pointer names, there or not."""
        return current_folder(self.home, stage)

    def content(self) -> dict[str, dict[str, str]]:
        """Stage -> product -> SHA-256, of what is current; executed notebooks show times and are
        left out."""
        found = {}
        for stage in STAGES:
            folder = self.current(stage)
            if folder:
                products = {name: folder / file for name, file in FILES.items() if name != 'nb'}
            else:
                products = {}
            found[stage] = {
                name: sha(path) if path.is_file() else 'absent' for name, path in products.items()
            }
        return found

    def records(self) -> list[dict]:
        """The records of all runs, the oldest first."""
        return run_records(self.home)

    def still_alive(self, patience: float = 5.0) -> list[psutil.Process]:
        """Processes that live on after a while."""
        with suppress(TimeoutError):
            wait_for(lambda: not self.alive(), patience)
        return self.alive()


class Started:
    """A command that is running."""

    def __init__(
        self, project: Tiny, words: tuple[str, ...], environment: dict[str, str], options: dict
    ):
        self.project = project
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [CD4ML, *words],
            **{
                'cwd': project.folder,
                'env': environment,
                'stdin': subprocess.DEVNULL,
                'stdout': self.out,
                'stderr': self.err,
                'start_new_session': True,
            }
            | options,
        )

    def family(self) -> list[psutil.Process]:
        """Its descendants: the fork server first, then notebooks."""
        with suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self, timeout: float = 300) -> Done:
        """Wait for its end."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait() and -99          # it hung
        with self.out, self.err:
            texts = [
                (file.seek(0), file.read().decode(errors='replace'))[1]
                for file in (self.out, self.err)
            ]
        return Done(code, *texts)

    def abandon(self) -> None:
        """End it and all that it started."""
        self.project.end_all()


def tiny_project(folder: Path, pause: float = 0.02) -> Tiny:
    """Write a tiny project."""
    params = {'scale': 1, 'pause': pause}
    files = {name: file for name, file in FILES.items() if name != 'nb'}
    tasks = [
        task(stage, f'notebooks/{stage}.ipynb', files, above, params)
        for stage, above in STAGES.items()
    ]
    for stage in STAGES:
        write_notebook(folder / f'notebooks/{stage}.ipynb', notebook(stage))
    write_pipeline(folder, tasks)
    write_scenario(folder, 'used_cars', SCENARIO)           # the command's default
    write_settings(folder, products='products')
    (folder / '.light').mkdir()
    (folder / '.light/sitecustomize.py').write_text(LIGHT)
    rows = ''.join(f'{k},{k * k}\n' for k in range(2000))
    (folder / 'data.csv').write_text('x,y\n' + rows)
    return Tiny(folder)
