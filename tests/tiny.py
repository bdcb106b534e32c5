"""A tiny project: five pages with a diamond, done in under two seconds, whose products are the same
in every run."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

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
LIGHT = '''"""Libraries that the tool would load, and nothing in this project needs: a run takes half the time without them."""
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


def page(stage: str) -> dict:
    """The notebook of a stage: it writes piece by piece, so that a kill finds something half
    written."""
    parameters = (
        'scale = 1          # changes every product\npause = 0.02       # s in each cell\nupstream'
        ' = None\nproduct = None'
    )
    cells = [
        f'# {stage}',
        parameters,
        'import hashlib, json, random, time\nfrom pathlib import Path',
        f'stage = {stage!r}\ntime.sleep(pause)',
        DIGEST,
        TOLD,
        ROWS,
        BLOB,
        'digest',
    ]
    made = [
        {
            'cell_type': 'code',
            'id': f'cell{k}',
            'metadata': {'tags': ['parameters']} if k == 1 else {},
            'source': source,
            'outputs': [],
            'execution_count': None,
        }
        for k, source in enumerate(cells)
    ]
    made[0] = {'cell_type': 'markdown', 'id': 'title', 'metadata': {}, 'source': cells[0]}
    return {
        'cells': made,
        'metadata': {
            'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'},
            'language_info': {'name': 'python'},
        },
        'nbformat': 4,
        'nbformat_minor': 5,
    }


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
class Tiny:
    """A tiny project, and the commands that were started in it."""

    folder: Path
    # in the environment of every process that descends from one of its commands
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def home(self) -> Path:
        return self.folder / 'products/used_cars'

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith('CD4ML_') or k.startswith('CD4ML_TEST_')
        }
        light = os.pathsep.join(
            filter(None, [str(self.folder / '.light'), os.environ.get('PYTHONPATH')])
        )
        return clean | {
            'PYTHONPATH': light,
            'CD4ML_TEST_MARK': self.mark,
            'CD4ML_JOBS': '2',
            'CD4ML_THREADS': '1',
            'CI': 'true',
            'COLUMNS': '200',
        }

    def start(self, *words: str, environment: dict[str, str] | None = None, **options) -> 'Started':
        """Start a command in a session of its own."""
        return Started(self, words, self.environment | (environment or {}), options)

    def run(self, *words: str, environment: dict[str, str] | None = None, **options) -> Done:
        """Run a command to its end."""
        return self.start(*words, environment=environment, **options).end()

    def edit(self, stage: str, old: str, new: str) -> None:
        """Change the source of a stage's page."""
        path = self.folder / f'notebooks/{stage}.ipynb'
        notebook = json.loads(path.read_text())
        assert any(old in cell['source'] for cell in notebook['cells']), old
        for cell in notebook['cells']:
            cell['source'] = cell['source'].replace(old, new)
        path.write_text(json.dumps(notebook))

    def current(self, stage: str) -> Path | None:
        """The directory that a stage's pointer names, there or not."""
        pointer = self.home / stage / 'current'
        return pointer.parent / pointer.read_text().strip() if pointer.is_file() else None

    def content(self) -> dict[str, dict[str, str]]:
        """Stage -> product -> SHA-256, of what is current; executed pages show times and are left
        out."""
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
        return [
            json.loads(path.read_text()) for path in sorted((self.home / 'runs').glob('*.json'))
        ]

    def alive(self) -> list[psutil.Process]:
        """Processes that descend from any command of this project, whoever their parent is now."""
        found = []
        wanted = f'CD4ML_TEST_MARK={self.mark}'.encode()
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                with suppress(OSError, psutil.Error):      # it has ended meanwhile, or is nobody's
                    if (
                        wanted in (entry / 'environ').read_bytes()
                        and psutil.Process(int(entry.name)).status() != 'zombie'
                    ):
                        found.append(psutil.Process(int(entry.name)))
        return found

    def still_alive(self, patience: float = 5.0) -> list[psutil.Process]:
        """Processes that live on after a while."""
        until = time.monotonic() + patience
        while (left := self.alive()) and time.monotonic() < until:
            time.sleep(0.05)
        return left


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
        """Its descendants: the fork server first, then pages."""
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
        for one in self.project.alive():
            with suppress(psutil.Error):
                one.kill()


def tiny_project(folder: Path, pause: float = 0.02) -> Tiny:
    """Write a tiny project."""
    for name in ('notebooks', 'scenarios'):
        (folder / name).mkdir(parents=True)
    tasks = [
        {
            'name': stage,
            'source': f'notebooks/{stage}.ipynb',
            'upstream': above,
            'params': {'scale': 1, 'pause': pause},
            'product': {name: f'products/ploomber/{stage}/{file}' for name, file in FILES.items()},
        }
        for stage, above in STAGES.items()
    ]
    (folder / 'pipeline.yaml').write_text(json.dumps({'tasks': tasks}, indent=1))
    for stage in STAGES:
        (folder / f'notebooks/{stage}.ipynb').write_text(json.dumps(page(stage)))
    (folder / '.light').mkdir()
    (folder / '.light/sitecustomize.py').write_text(LIGHT)
    # the command's default
    (folder / 'scenarios/used_cars.yaml').write_text(yaml.safe_dump(SCENARIO))
    (folder / 'data.csv').write_text('x,y\n' + ''.join(f'{k},{k * k}\n' for k in range(2000)))
    (folder / 'settings.ini').write_text('[DEFAULT]\nproducts = products\n')
    return Tiny(folder)
