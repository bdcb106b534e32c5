"""The current model and the registry's candidate are the same one: after going back, after a draft,
and with the store down."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
import yaml
from engine_notebooks import Tiny
from mlflow.tracking import MlflowClient
from runs import PAPERMILL
from stores import give_store

PARAMETERS = 'depth = 3\nupstream = None\nproduct = None'
IMPORTS = '''import hashlib, json
from pathlib import Path
from cd4ml_nb.tracking.sender import open_run, register_model
from cd4ml_nb.runs.paths import stage_paths
from cd4ml_nb.core.settings import load_settings'''
REGISTER = '''_, written = stage_paths('register', 'tiny', upstream, product)
digest = hashlib.sha256(str(depth).encode()).hexdigest()
folder = written['registration'].parent
with open_run(load_settings(), 'tiny', 'final', {'depth': depth}, {}, folder) as run:
    (folder / 'model.json').write_text(str(depth))
    run.add_files([folder / 'model.json'], 'model')
    version = register_model(run, 'tiny', digest, {'verdict': 'accepted'})
registration = {
    'accepted': True, 'verdict': 'accepted', 'gates': [], 'model_name': 'tiny',
    'version': version, 'run_id': run.run_id, 'manifest_sha256': digest,
}
written['registration'].write_text(json.dumps(registration))'''


@pytest.fixture
def tiny(tmp_path):
    """A project of one notebook, which registers a model of a depth."""
    project = Tiny(tmp_path / 'project')
    project.add('register', IMPORTS, REGISTER, parameters=PARAMETERS, params={'depth': 3})
    project.stages['register']['product'] = {
        'nb': 'products/x/register/page.ipynb',
        'registration': 'products/x/register/registration.json',
    }
    (project.folder / 'pipeline.yaml').write_text(
        yaml.safe_dump({'tasks': list(project.stages.values())})
    )
    give_store(project.folder)
    yield project
    project.end_all()


def both(project: Tiny) -> tuple[int, int]:
    """The version of the current products, and the one that the registry names as candidate."""
    registration = json.loads((project.published('register') / 'registration.json').read_text())
    client = MlflowClient(f'sqlite:///{project.folder}/mlflow.db')
    return registration['version'], int(
        client.get_model_version_by_alias('tiny', 'candidate').version
    )


def depth(number: int) -> tuple[str, str]:
    return '-p', f'register.depth={number}'


@pytest.mark.slow
def test_after_going_back_the_registry_names_the_current_model(tiny):
    for number, version in ((3, 1), (4, 2)):
        tiny.run(*depth(number)).check(0)
        assert both(tiny) == (version, version)
    back = tiny.run(*depth(3)).check(0)
    assert (
        'unchanged' in back.out
        and 'register   tiny version 1 is the candidate again' in back.out
        and 'tracking ' not in back.out
    )
    assert both(tiny) == (1, 1)
    assert tiny.record()['stages']['register']['remarks'] == [
        'tiny version 1 is the candidate again'
    ]
    n_runs = len(list((tiny.home / 'runs').glob('*.json')))
    assert 'candidate' not in tiny.run(*depth(3)).check(0).out and both(tiny) == (1, 1)
    assert len(list((tiny.home / 'runs').glob('*.json'))) == n_runs
    assert 'version 2 is the candidate again' in tiny.run(*depth(4)).check(0).out and both(
        tiny
    ) == (2, 2)


@pytest.mark.slow
def test_with_the_store_down_going_back_waits_for_it_and_is_not_undone_by_what_waited_before(tiny):
    for number in (3, 4):
        tiny.run(*depth(number)).check(0)
    with closing(sqlite3.connect(tiny.folder / 'mlflow.db', isolation_level=None)) as busy:
        busy.execute('begin immediate')
        down = {'CD4ML_TEST_TRACKING_SECONDS': '1'}
        later = tiny.run(*depth(5), **down).check(0)        # its registration waits
        back = tiny.run(*depth(3), **down).check(0)
    assert (
        'wait' in later.out
        and 'as soon as the tracking store has it' in back.out
        and 'for the tracking store wait' in back.out
    )
    assert both(tiny) == (1, 2)
    sent = tiny.end(tiny.begin(command='cd4ml', options=('sync',))).check(0)
    assert 'messages sent' in sent.out and both(tiny) == (1, 1)
    versions = MlflowClient(f'sqlite:///{tiny.folder}/mlflow.db').search_model_versions(
        "name='tiny'"
    )
    assert sorted(int(version.version) for version in versions) == [1, 2, 3]


@pytest.mark.slow
def test_a_draft_that_was_registered_by_hand_gives_the_alias_back_to_the_accepted_model(tiny):
    tiny.run(*depth(3)).check(0)
    words = ('pages/register.ipynb', 'out.ipynb', '-p', 'depth', '9', '--engine', 'cd4ml')
    done = tiny.end(tiny.begin(command=PAPERMILL, options=words))
    assert done.code == 0, done.err
    assert both(tiny) == (1, 2) and (tiny.home / 'register/draft/registration.json').is_file()
    assert 'version 1 is the candidate again' in tiny.run(*depth(3)).check(0).out
    assert both(tiny) == (1, 1) and not (tiny.home / 'register/draft').exists()


def test_the_notebook_of_a_run_says_nothing_of_drafts(tiny):
    tiny.run(*depth(3)).check(0)
    notebook: Path = tiny.published('register') / 'page.ipynb'
    cells = nbformat.read(notebook, as_version=4).cells
    assert 'draft' not in str([cell.outputs for cell in cells if cell.cell_type == 'code'])
