"""Whole runs for tests: the command in a process of its own, with products and tracking store in a
folder of their own."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CD4ML, PAPERMILL, PLOOMBER = (
    Path(sys.executable).with_name(name) for name in ('cd4ml', 'papermill', 'ploomber')
)
SMALL = ('run', '--scenario', 'scenarios/breast_cancer.yaml', '-p', 'trials=3')


@dataclass
class Place:
    """Where one test's runs happen."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith('CD4ML_') or k.startswith('CD4ML_TEST_')
        }
        return clean | {
            'CD4ML_PRODUCTS': str(self.folder / 'products'),
            'CD4ML_TRACKING_URI': f'sqlite:///{self.folder}/mlflow.db',
            'CD4ML_ARTIFACT_ROOT': str(self.folder / 'files'),
            'CD4ML_THREADS': '1',
            'CI': 'true',
            'COLUMNS': '200',
        }

    def run(
        self, *words: str, cwd: Path = ROOT, command: Path | str = CD4ML, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a command to its end; stdout and stderr as text."""
        return subprocess.run(
            [str(command), *words],
            cwd=cwd,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def product(self, scenario: str, stage: str, file: str) -> Path:
        """A file among the current products of a stage."""
        home = self.folder / 'products' / scenario / stage
        return home / (home / 'current').read_text(encoding='utf-8').strip() / file

    def json(self, scenario: str, stage: str, file: str):
        return json.loads(self.product(scenario, stage, file).read_text(encoding='utf-8'))

    def record(self, scenario: str) -> dict:
        """The record of the newest run."""
        return json.loads(
            sorted((self.folder / 'products' / scenario / 'runs').glob('*.json'))[-1].read_text(
                encoding='utf-8'
            )
        )


def copied_project(folder: Path, scenario: str) -> Path:
    """A copy of what a run reads, whose pipeline.yaml names another scenario."""
    for name in ('notebooks', 'scenarios', 'cd4ml_nb'):
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'),
        )
    shutil.copy(ROOT / 'settings.ini', folder)
    text = (ROOT / 'pipeline.yaml').read_text(encoding='utf-8')
    (folder / 'pipeline.yaml').write_text(
        text.replace('scenarios/used_cars.yaml', scenario), encoding='utf-8'
    )
    return folder
