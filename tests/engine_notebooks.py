"""Tiny projects whose notebooks can go wrong in any way, notebooks made of sources, and a look at
what a run has left alive."""

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import projects
from projects import (
    MARK,
    PARAMETERS,
    Marked,
    Source,
    clean_environment,
    current_folder,
    stage_notebook,
    task,
    write_notebook,
    write_pipeline,
    write_scenario,
    write_settings,
)
from runs import CD4ML
from waiting import wait_for

SCENARIO = {
    'name': 'tiny',
    'title': 'A tiny problem',
    'task': 'regression',
    'data': {'source': 'builtin:used_cars'},
    'target': {'column': 'price'},
}
WRITE = "from pathlib import Path\nPath(product['out']).write_text('whole')"


def notebook(*sources: Source) -> nbformat.NotebookNode:
    """A notebook of code cells, or of pairs of source and metadata; headings are Markdown."""
    return nbformat.from_dict(projects.notebook(*sources))


@dataclass
class Tiny(Marked):
    """A project of a few tiny notebooks."""

    stages: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / 'pages').mkdir(parents=True)
        write_settings(self.folder, device='cpu')
        write_scenario(self.folder, 'tiny', SCENARIO)

    def add(
        self,
        stage: str,
        *sources,
        upstream: tuple[str, ...] = (),
        parameters: str = PARAMETERS,
        params: dict | None = None,
        out: str = 'out.txt',
    ) -> None:
        """Add a stage, or replace its notebook."""
        path = f'pages/{stage}.ipynb'
        content = stage_notebook('A page', *sources, parameters=parameters)
        write_notebook(self.folder / path, content)
        self.stages[stage] = task(stage, path, {'out': out}, upstream, params)
        write_pipeline(self.folder, self.stages.values())

    @property
    def environment(self) -> dict[str, str]:
        path = f'{CD4ML.parent}{os.pathsep}{os.environ["PATH"]}'
        return clean_environment(PATH=path, **{MARK: self.mark})

    def begin(
        self,
        *words: str,
        command: str | Path = CD4ML,
        options: tuple[str, ...] = ('run', '-s', 'tiny'),
        **environment: str,
    ) -> subprocess.Popen:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [str(command), *options, *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, running: subprocess.Popen, patience: float = 300) -> 'Ended':
        """Wait for a command's end, and look at what it has left."""
        begun = time.monotonic()
        try:
            out, err = running.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.end_all()
            raise
        return Ended(self, running.returncode, out, err, time.monotonic() - begun)

    def run(self, *words: str, **environment: str) -> 'Ended':
        return self.end(self.begin(*words, **environment))

    # ---- what is there

    @property
    def home(self) -> Path:
        return self.folder / 'products/tiny'

    def published(self, stage: str) -> Path | None:
        """The folder of a stage's current products."""
        return current_folder(self.home, stage)

    def failed(self, stage: str) -> nbformat.NotebookNode:
        """The notebook of a stage that failed, as it was kept."""
        return nbformat.read(self.home / stage / 'failed/page.ipynb', as_version=4)

    def record(self) -> dict:
        """The record of the newest run."""
        return json.loads(
            max((self.home / 'runs').glob('*.json'), key=lambda p: p.stat().st_mtime_ns).read_text()
        )

    def when(self, file: str, patience: float = 120) -> None:
        """Wait until a notebook has made a file in its project."""
        wait_for((self.folder / file).exists, patience, file)

    # ---- what is alive

    def locked(self) -> bool:
        """Whether anybody holds the scenario's lock."""
        import fcntl
        path = self.folder / 'products/tiny/lock.json'
        if not path.exists():
            return False
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def assert_quiet(self, patience: float = 2, swept: bool = True) -> None:
        """Nothing of ours is alive, the lock is free, and nothing half done is left (unless it is
        for the next run to sweep out)."""
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: not self.alive(), patience)
        left = [' '.join(one.cmdline())[:200] for one in self.alive()]
        self.end_all()
        assert not left, left
        assert not self.locked()
        lock = self.folder / 'products/tiny/lock.json'
        assert not lock.exists() or not lock.read_text()
        assert not swept or not list(self.folder.glob('products/*/*/.running-*'))


@dataclass
class Ended:
    """How a command ended."""

    project: Tiny
    code: int
    out: str
    err: str
    seconds: float

    @property
    def last(self) -> str:
        return (self.err.rstrip('\n').split('\n') or [''])[-1]

    def line(self, key: str) -> str:
        """What the command says behind a word such as `notebook` or `again`."""
        found = [
            line.split(maxsplit=1)[1]
            for line in self.out.splitlines()
            if line.split(maxsplit=1)[:1] == [key]
        ]
        assert len(found) == 1, self.out
        return found[0]

    def check(self, code: int, *words: str, swept: bool = True) -> 'Ended':
        """The exit code is this, the last line says these words, nobody sees a traceback, and
        nothing is left."""
        assert self.code == code, (self.code, self.out, self.err)
        assert not [word for word in words if word not in self.last], self.last
        assert 'Traceback' not in self.out + self.err
        self.project.assert_quiet(swept=swept)
        return self
