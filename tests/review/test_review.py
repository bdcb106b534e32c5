"""The review of a pull request, from a fresh clone with no products: better, worse, broken, and
what it is compared with."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from html_checks import check
from projects import (
    clean_environment,
    copied_project,
    copy_parts,
    edited,
    edited_notebook,
    notebook,
    write_features,
    write_notebook,
)
from stores import give_store

SCENARIO = '''name: cars
title: Cars <b>|</b>
task: regression
data: {source: cars.csv}
target: {column: y, unit: EUR}
columns: {km: {type: number}, kw: {type: number}, make: {type: category}}
search: {rounds: 20}
evaluate: {groups: [make], replicates: 100}
compare: {trainings: 0, replicates: 300}
gates:
  - {metric: r2, min: -5}
'''
FEATURES = (
    'from cd4ml_nb.model.features import feature',
    "@feature('km', 'kw', words='power left')\ndef left(km, kw):\n    return kw / 2 - km",
)
STUDY = notebook(
    ("scenario = 'boats'\ntimes = 1", {'tags': ['parameters']}),
    'print(scenario, "x" * times)',
)
GITIGNORE = '/.models/\n/page.md\n/page_files/\n__pycache__/\n'


def git(folder: Path, *words: str) -> str:
    who = ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.org']
    done = subprocess.run(
        ['git', '-C', str(folder), *who, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@dataclass
class Reviewed:
    """What the review of a pull request left."""

    code: int
    last: str
    page: str
    folder: Path

    @property
    def head(self) -> str:
        return self.page.split('\n')[0]


class Team:
    """A project under git, whose pull requests are reviewed each in a fresh clone."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.project = copied_project(folder / 'project', 'scenarios/cars.yaml')
        for path in (self.project / 'scenarios').iterdir():
            path.unlink()
        (self.project / 'scenarios/cars.yaml').write_text(SCENARIO)
        copy_parts(self.project, '.ci')
        (self.project / '.gitignore').write_text(GITIGNORE)
        edited(self.project / 'settings.ini', 'trials = 20', 'trials = 1')
        write_features(self.project, 'cars', *FEATURES)
        write_notebook(self.project / 'explore/look.ipynb', STUDY)
        (self.project / 'explore/ci.yaml').write_text('look.ipynb: {scenario: cars, times: 3}\n')
        rng = np.random.default_rng(0)
        km, kw = rng.uniform(0, 100, 900), rng.uniform(40, 200, 900)
        rows = {'km': km, 'kw': kw, 'make': rng.choice(['a|x', '<i>b'], 900)}
        rows['y'] = 300 - km + kw / 2 + rng.normal(0, 3, 900)
        (folder / 'data').mkdir()
        pd.DataFrame(rows).to_csv(folder / 'data/cars.csv', index=False)
        git(self.project, 'init', '-q', '-b', 'main')
        self.commit(self.project)

    def commit(self, folder: Path) -> None:
        git(folder, 'add', '-A')
        git(folder, 'commit', '-qm', 'A change')

    def clone(self, name: str) -> Path:
        folder = self.folder / name
        subprocess.run(['git', 'clone', '-q', str(self.project), str(folder)], check=True)
        (folder / '.models').mkdir()
        give_store(folder / '.models')
        return folder

    def models(self, folder: Path, *words: str) -> subprocess.CompletedProcess:
        surroundings = clean_environment(
            CD4ML_DATA_ROOT=str(self.folder / 'data'), CD4ML_THREADS='1',
            BIN=str(Path(sys.executable).parent),
        )
        return subprocess.run(
            [str(folder / '.ci/models'), *words], cwd=folder, env=surroundings,
            capture_output=True, text=True, timeout=900, check=False,
        )

    def review(self, folder: Path) -> Reviewed:
        """Commit what was edited in a clone, and review it against the main branch."""
        self.commit(folder)
        done = self.models(folder, 'origin/main', 'page.md')
        page = folder / 'page.md'
        assert page.is_file(), done.stderr
        last = done.stderr.strip().split('\n')[-1]
        return Reviewed(done.returncode, last, page.read_text(encoding='utf-8'), folder)


@pytest.fixture(scope='module')
def team(tmp_path_factory) -> Team:
    return Team(tmp_path_factory.mktemp('team'))


def scenario_of(folder: Path) -> Path:
    return folder / 'scenarios/cars.yaml'


@pytest.mark.slow
def test_S9_a_better_change_is_green_with_its_feature_its_cells_and_a_notebook_of_their_own(team):
    folder = team.clone('better')
    edited(scenario_of(folder), 'search:', 'features: {from: cars, use: [left]}\nsearch:')
    edited(scenario_of(folder), 'rounds: 20', 'rounds: 60')
    stage = folder / 'notebooks/stages/16_evaluate.ipynb'
    edited_notebook(stage, 'naive = baseline(', '\nnaive = baseline(')
    found = team.review(folder)
    assert (found.code, found.head) == (0, '# Cars &lt;b&gt;\\|&lt;/b&gt;: ▲ better'), found.page
    assert 'The new model is better than the current model' in found.page
    assert '| features.use |  | + left |' in found.page
    assert '| search.rounds | 20 | 60 |' in found.page
    assert '| inputs of the model |  | + left |' in found.page
    assert 'make: a\\|x' in found.page and '<i>' not in found.page
    assert '@@ cell' in found.page and '16_evaluate.ipynb: 1' in found.page
    assert 'rebuilt here from the base commit' in found.page
    assert "| explore/look.ipynb | scenario = 'cars', times = 3 |" in found.page
    study = (folder / 'page_files/explore/look.html').read_text(encoding='utf-8')
    assert 'cars xxx' in check(study).text
    for name in ('report', 'comparison'):
        assert f'`page_files/cars/{name}.html`' in found.page
        assert (folder / f'page_files/cars/{name}.html').is_file()
    assert git(folder, 'worktree', 'list').count('\n') == 0


@pytest.mark.slow
def test_S9_a_worse_change_is_red_and_says_for_whom(team):
    folder = team.clone('worse')
    edited(scenario_of(folder), 'kw: {type: number}', 'kw: {type: number, role: ignore}')
    found = team.review(folder)
    assert found.code == 3 and found.head.endswith(': ▼ worse'), found.page
    assert 'ERROR PULL' in found.last and 'cars ▼ worse' in found.last and 'page.md' in found.last
    assert '| ▼ ' in found.page.partition('**For whom**')[2].split('</details>')[0]
    assert '| inputs of the model | − kw |  |' in found.page


@pytest.mark.slow
def test_S9_a_feature_that_raises_is_red_with_its_cell_and_its_notebook_as_a_page(team):
    folder = team.clone('broken')
    edited(scenario_of(folder), 'search:', 'features: {from: cars, use: [left]}\nsearch:')
    for path in ('notebooks/features/cars.ipynb', 'cd4ml_nb/features/cars.py'):
        edited_notebook(folder / path, 'return kw / 2 - km', 'return kw / 2 - kn')
    found = team.review(folder)
    assert found.code != 0 and found.head.endswith('✖ the run failed'), found.page
    assert '**Nothing was compared**' in found.page and '▲' not in found.page
    assert 'It stopped in `notebooks/features/cars.ipynb`, cell 3' in found.page
    assert 'return kw / 2 - kn' in found.page and 'called from `notebooks/stages/' in found.page
    failed = folder / 'page_files/cars/failed_features.html'
    assert f'`{failed.relative_to(folder)}`' in found.page
    assert 'kn' in check(failed.read_text(encoding='utf-8')).text


@pytest.mark.slow
def test_a_scenario_that_is_wrong_or_new_has_no_model_or_no_reference_and_nothing_is_green(team):
    folder = team.clone('wrong')
    edited(scenario_of(folder), 'rounds: 20', 'ruonds: 20')
    text = SCENARIO.replace('name: cars', 'name: trucks').replace('Cars <b>|</b>', 'Trucks')
    (folder / 'scenarios/trucks.yaml').write_text(text)
    (folder / 'explore/ci.yaml').write_text('look.ipynb: {timse: 3}\n')
    found = team.review(folder)
    assert (found.code, found.head) == (2, '# Models: 2 of 2 red'), found.page
    assert "unknown key 'search.ruonds'" in found.page and 'before it began' in found.page
    assert '## Trucks: ✖ nothing to compare with' in found.page
    assert 'the scenario is new' in found.page and '▲' not in found.page
    assert "unknown parameter 'timse'" in found.page and 'explore/ci.yaml ✖ failed' in found.last


@pytest.mark.slow
def test_text_alone_runs_nothing_and_another_gate_leaves_the_model_the_same(team):
    folder = team.clone('words')
    stage = folder / 'notebooks/stages/16_evaluate.ipynb'
    content = json.loads(stage.read_text(encoding='utf-8'))
    content['cells'][0]['source'] = ['# Evaluate\n', '\n', '> Otherwise.']
    stage.write_text(json.dumps(content), encoding='utf-8')
    found = team.review(folder)
    assert (found.code, found.head) == (0, '# Models: nothing to run')
    assert '16\\_evaluate.ipynb: 1 cell of text' in found.page
    edited(scenario_of(folder), 'min: -5', 'min: -6')
    found = team.review(folder)
    assert (found.code, found.head[-16:]) == (0, '= the same model'), found.page
    assert '− {"metric": "r2", "min": -5} | + {"metric": "r2", "min": -6}' in found.page


@pytest.mark.slow
def test_what_the_main_branch_keeps_is_the_reference_where_its_hashes_hold_else_rebuilt(team):
    main = team.clone('runner')      # CI checks out into the same folder each time
    commit = git(main, 'rev-parse', 'HEAD')[:12]
    done = team.models(main, '--keep')
    assert (done.returncode, done.stdout) == (0, 'cars: kept\n'), done.stderr
    kept = shutil.copytree(main / '.models', team.folder / 'artefact')
    for damaged in (False, True):
        shutil.rmtree(main)
        folder = team.clone('runner')
        shutil.rmtree(folder / '.models')
        shutil.copytree(kept, folder / '.models')
        (record,) = (folder / '.models/products/cars/runs').glob('*.json')
        if damaged:
            edited(record, '"title": "Cars', '"title": "Cats')
        edited(scenario_of(folder), 'rounds: 20', 'rounds: 60')
        found = team.review(folder)
        assert (found.code, found.head[-8:]) == (0, '▲ better'), found.page
        if damaged:
            assert 'rebuilt here from the base commit' in found.page
            assert 'does not hold (record: it was changed after it was written)' in found.page
        else:
            words = f'run `{record.stem}` of `{commit}`, which was kept: all its hashes hold'
            assert words in found.page
