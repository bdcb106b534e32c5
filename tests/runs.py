"""Whole runs for tests: the command in a process of its own, with products and tracking store in a
folder of their own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects import ROOT, clean_environment, copied_project, current_folder, run_records
from stores import give_store

__all__ = ['CD4ML', 'PAPERMILL', 'PLOOMBER', 'ROOT', 'SMALL', 'Place', 'copied_project']

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
        return clean_environment() | {
            'CD4ML_PRODUCTS': str(self.folder / 'products'),
            'CD4ML_TRACKING_URI': f'sqlite:///{self.folder}/mlflow.db',
            'CD4ML_ARTIFACT_ROOT': str(self.folder / 'files'),
            'CD4ML_THREADS': '1',
        }

    def run(
        self, *words: str, cwd: Path = ROOT, command: Path | str = CD4ML, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a command to its end; stdout and stderr as text."""
        give_store(self.folder)
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
        folder = current_folder(self.folder / 'products' / scenario, stage)
        assert folder, f'{stage} of {scenario} has accepted nothing'
        return folder / file

    def json(self, scenario: str, stage: str, file: str) -> Any:
        return json.loads(self.product(scenario, stage, file).read_text(encoding='utf-8'))

    def record(self, scenario: str) -> dict:
        """The record of the newest run."""
        return run_records(self.folder / 'products' / scenario)[-1]
