"""A scientist's place for tests: a small scenario in a project of its own, in which code runs as in
a kernel."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient
from projects import copied_project
from runs import Place

SCENARIO = '''# what a car is worth
name: cars
title: Cars
task: regression
data: {source: cars.csv}
target: {column: y}
columns:
  km: {type: number}          # as driven
  kw: {type: number}
  make: {type: category}
  owner: {type: category, personal: true}
search:
  fixed: {max_depth: 4}       # deep enough
  rounds: 80
evaluate: {groups: [make], replicates: 100}
compare: {replicates: 200}
gates:
  - {metric: r2, min: 0.1}
'''
BENCH = 'from cd4ml_nb import Workbench\nbench = Workbench("cars", say=lambda line: None)\n'


class Study:
    """A project with a small scenario, in which code runs as in a kernel of its own."""

    def __init__(self, folder: Path):
        self.place = Place(folder)
        self.project = copied_project(folder / 'project', 'scenarios/cars.yaml')
        self.scenario = self.project / 'scenarios/cars.yaml'
        self.scenario.write_text(SCENARIO)
        rng = np.random.default_rng(0)
        km, kw = rng.uniform(1, 200, 900), rng.uniform(40, 200, 900)
        y = 100 - km / kw * 20 + rng.normal(0, 3, 900)
        rows = {'km': km, 'kw': kw, 'make': rng.choice(['a', 'b'], 900), 'y': y}
        rows['owner'] = rng.choice(['Ann Ash', 'Bo Birch'], 900)
        pd.DataFrame(rows).to_csv(folder / 'cars.csv', index=False)
        self.environment = {'CD4ML_DATA_ROOT': str(folder)}

    def cd4ml(self, *words: str) -> subprocess.CompletedProcess:
        return self.place.run(*words, cwd=self.project, **self.environment)

    def code(self, text: str) -> str:
        """What a piece of code prints."""
        (self.project / 'cell.py').write_text(text)
        done = self.place.run(
            'cell.py', cwd=self.project, command=sys.executable, PYTHONPATH=str(self.project),
            **self.environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def started(self, text: str) -> subprocess.Popen:
        """Code that goes on."""
        environment = self.place.environment | self.environment
        environment |= {'PYTHONPATH': str(self.project)}
        return subprocess.Popen(
            [sys.executable, '-c', text], cwd=self.project, env=environment,
            stdout=subprocess.PIPE, text=True,
        )

    @property
    def home(self) -> Path:
        return self.place.folder / 'products/cars'

    def attempts(self) -> list[dict]:
        paths = sorted((self.home / 'attempts').glob('*/attempt.json'))
        return [json.loads(path.read_text()) for path in paths]

    def journal(self) -> Path | None:
        return next((self.home / 'attempts/sweeps').glob('*.jsonl'), None)

    @property
    def client(self) -> MlflowClient:
        """Of the tracking store."""
        return MlflowClient(f'sqlite:///{self.place.folder}/mlflow.db')

    def n_ended(self) -> int:
        path = self.journal()
        return path.read_text(errors='replace').count('"end"') if path else 0
