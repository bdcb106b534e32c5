"""A project of a benchmark's own: a copy of this one, for scenarios and features to be written in.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
CD4ML = Path(sys.executable).with_name('cd4ml')
EXPORT = 'from pathlib import Path; from cd4ml_nb.workbench.feature_notebook import export_features'


def project(place: Path) -> Path:
    """Copy the project to `place/project`, without scenarios."""
    root = place / 'project'
    (root / 'scenarios').mkdir(parents=True)
    for name in ('cd4ml_nb', 'notebooks'):
        shutil.copytree(ROOT / name, root / name)
    for name in ('pipeline.yaml', 'settings.ini', 'pyproject.toml'):
        shutil.copy(ROOT / name, root / name)
    return root


def environment(place: Path) -> dict[str, str]:
    """The environment of its commands: products, tracking store and files in `place`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith('CD4ML_')}
    return clean | {
        'CD4ML_PRODUCTS': str(place / 'products'),
        'CD4ML_TRACKING_URI': f'sqlite:///{place}/mlflow.db',
        'CD4ML_ARTIFACT_ROOT': str(place / 'files'),
        'CI': 'true',
    }


def write_features(root: Path, module: str, *cells: str) -> None:
    """Write a notebook of features, and its module."""
    notebook = new_notebook(cells=[
        new_code_cell(f'#| default_exp features.{module}'),
        *(new_code_cell(f'#| export\n{cell}') for cell in cells),
    ])
    path = root / 'notebooks' / 'features' / f'{module}.ipynb'
    nbformat.write(notebook, path)
    code = f'{EXPORT}; export_features(Path({str(path)!r}))'
    subprocess.run([sys.executable, '-c', code], cwd=root, check=True)
