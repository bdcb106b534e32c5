"""Projects for tests: small functions that write a part of one each, and whose processes are alive.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
IGNORED = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
KERNEL = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
PARAMETERS = 'upstream = None\nproduct = None'
# in the environment of every process that descends from a command of a project
MARK = 'CD4ML_TEST_MARK'

Source = str | tuple[str, dict[str, Any]]       # of a cell; or with its metadata


# ---- parts of this project

def copy_parts(folder: Path, *names: str) -> Path:
    """Copy files and folders of this project into another one; `folder` is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def copied_project(folder: Path, scenario: str) -> Path:
    """A copy of what a run reads, whose pipeline.yaml names another scenario."""
    copy_parts(folder, 'notebooks', 'scenarios', 'cd4ml_nb', 'settings.ini', 'pipeline.yaml')
    edited(folder / 'pipeline.yaml', 'scenarios/used_cars.yaml', scenario, most=-1)
    return folder


def copy_of(project: Path, folder: Path) -> Path:
    """A copy of a whole project with its products; links stay links."""
    return shutil.copytree(project, folder, symlinks=True)


# ---- what a person writes

def write_scenario(folder: Path, name: str, words: dict[str, Any] | str) -> Path:
    """Write `scenarios/NAME.yaml` from its text or its content."""
    path = folder / 'scenarios' / f'{name}.yaml'
    path.parent.mkdir(parents=True, exist_ok=True)
    text = words if isinstance(words, str) else yaml.safe_dump(words, sort_keys=False)
    path.write_text(text, encoding='utf-8')
    return path


def write_features(project: Path, name: str, *cells: str) -> None:
    """Write `notebooks/features/NAME.ipynb` with exported cells, and its module."""
    path = f'notebooks/features/{name}.ipynb'
    content = notebook(f'#| default_exp features.{name}', *(f'#| export\n{c}' for c in cells))
    write_notebook(project / path, content)
    export_features(project, path)


def export_features(project: Path, path: str) -> None:
    """Export one notebook of features, as `make export` does."""
    code = 'from pathlib import Path; from cd4ml_nb.workbench import feature_notebook as f'
    command = [sys.executable, '-c', f'{code}; f.export_features(Path({path!r}))']
    subprocess.run(command, cwd=project, check=True)


def write_settings(folder: Path, **values: str) -> None:
    """Write `settings.ini` with one section."""
    lines = [f'{name} = {value}\n' for name, value in values.items()]
    (folder / 'settings.ini').write_text('[DEFAULT]\n' + ''.join(lines), encoding='utf-8')


def write_pipeline(folder: Path, tasks: Iterable[dict[str, Any]]) -> None:
    """Write `pipeline.yaml`; JSON is YAML."""
    text = json.dumps({'tasks': list(tasks)}, indent=1)
    (folder / 'pipeline.yaml').write_text(text, encoding='utf-8')


def task(
    stage: str,
    source: str,
    files: dict[str, str],          # product -> file name; the executed page `nb` is added
    upstream: Iterable[str] = (),
    params: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One stage of a pipeline."""
    products = {'nb': 'page.ipynb', **files}
    return {
        'name': stage,
        'source': source,
        'upstream': list(upstream),
        'params': params or {},
        'product': {n: f'products/ploomber/{stage}/{file}' for n, file in products.items()},
    }


def cell(source: Source, number: int) -> dict[str, Any]:
    """A cell of a notebook; a source that begins like a heading is Markdown."""
    text, metadata = source if isinstance(source, tuple) else (source, {})
    made = {'id': f'cell-{number}', 'metadata': metadata, 'source': text}
    if isinstance(source, str) and text.startswith(('# ', '## ')):
        return {'cell_type': 'markdown', **made}
    return {'cell_type': 'code', **made, 'outputs': [], 'execution_count': None}


def notebook(*sources: Source) -> dict[str, Any]:
    """A notebook of cells, as JSON."""
    return {
        'cells': [cell(source, number) for number, source in enumerate(sources)],
        'metadata': {'kernelspec': KERNEL, 'language_info': {'name': 'python'}},
        'nbformat': 4,
        'nbformat_minor': 5,
    }


def stage_notebook(title: str, *sources: Source, parameters: str = PARAMETERS) -> dict[str, Any]:
    """A notebook with title and parameters; cell 3, counted from 1, is the first of `sources`."""
    return notebook(f'# {title}', (parameters, {'tags': ['parameters']}), *sources)


def write_notebook(path: Path, content: dict[str, Any]) -> None:
    """Write a notebook into a folder, which is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')


def edited(path: Path, old: str, new: str, most: int = 1) -> None:
    """Replace text in a file; it must be there."""
    text = path.read_text(encoding='utf-8')
    assert old in text, f'{old!r} is not in {path}'
    path.write_text(text.replace(old, new, most), encoding='utf-8')


def edited_notebook(path: Path, old: str, new: str) -> None:
    """Replace text within the cells of a notebook; it must be there."""
    edited(path, json.dumps(old)[1:-1], json.dumps(new)[1:-1])


# ---- what runs leave

def current_folder(home: Path, stage: str) -> Path | None:
    """The folder that a stage's pointer names, there or not; None where nothing was accepted."""
    pointer = home / stage / 'current'
    if not pointer.is_file():
        return None
    return pointer.parent / pointer.read_text(encoding='utf-8').strip()


def run_records(home: Path) -> list[dict[str, Any]]:
    """The records of all runs of a scenario, the oldest first."""
    paths = sorted((home / 'runs').glob('*.json'))
    return [json.loads(path.read_text(encoding='utf-8')) for path in paths]


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of the tool, and more."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith('CD4ML_TEST_') or not name.startswith(('CD4ML_', 'PYTEST_'))
    }
    return kept | {'CI': 'true', 'COLUMNS': '200'} | more


@dataclass
class Marked:
    """A project whose commands, and all that descends from them, carry a mark of their own."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid4().hex, kw_only=True)

    def alive(self) -> list[psutil.Process]:
        """The processes that carry the mark, whoever their parent is now."""
        wanted = f'{MARK}={self.mark}'.encode()
        found = []
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                with suppress(OSError, psutil.Error):      # ended meanwhile, or somebody else's
                    if wanted in (entry / 'environ').read_bytes():
                        found.append(psutil.Process(int(entry.name)))
        return [process for process in found if lives(process)]

    def end_all(self) -> None:
        """Kill every process that carries the mark."""
        for process in self.alive():
            with suppress(psutil.Error):
                process.kill()


def lives(process: psutil.Process) -> bool:
    """Whether a process is there and no zombie."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
