"""The worked example of a scientist's day is a test: its cells run under papermill, as given."""

import json

from projects import ROOT, copied_project
from runs import PAPERMILL, Place

EXPLORE = ROOT / 'explore'


def test_the_day_at_the_workbench_runs_under_papermill_and_is_clean(tmp_path):
    for path in EXPLORE.glob('*.ipynb'):
        for cell in json.loads(path.read_text())['cells']:
            assert not cell.get('outputs') and cell.get('execution_count') is None, path
    place = Place(tmp_path)
    project = copied_project(tmp_path / 'project', 'scenarios/used_cars.yaml')
    scenario = project / 'scenarios/used_cars.yaml'
    text = scenario.read_text().replace('rows: 20_000', 'rows: 3_000')
    for old, new in (('rounds: 2000 ', 'rounds: 60 '), ('replicates: 500 ', 'replicates: 60 ')):
        text = text.replace(old, new)
    scenario.write_text(text)
    done = place.run(
        str(EXPLORE / 'workbench.ipynb'), 'day.ipynb', '-p', 'trials', '3', '-k', 'python3',
        cwd=project, command=PAPERMILL, PYTHONPATH=str(project),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = (project / 'day.ipynb').read_text()
    assert 'trial 3 of 3' in shown and 'data:image/png' in shown
    assert 'nothing was written' in shown
    assert not (tmp_path / 'products/used_cars/looks.jsonl').exists()
