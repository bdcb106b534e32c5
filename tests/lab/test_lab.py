"""JupyterLab as a place: a page to begin on, and tiles that lead where they say."""

import json
import os
import subprocess
import urllib.error
import urllib.request

from projects import ROOT, copy_parts
from runs import CD4ML, Place
from waiting import wait_for

from cd4ml_nb.core.files import write_json
from cd4ml_nb.core.settings import Settings
from cd4ml_nb.lab.servers import free_port
from cd4ml_nb.runs.identities import outbox
from cd4ml_nb.tracking.queue import store_name
from cd4ml_nb.tracking.views import Saved

TILES = ['comparisons', 'mlflow', 'new-study', 'optuna', 'reports', 'tour', 'workbench']


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_):
        return None


def asked(address: str) -> tuple[int, str, str]:      # status, where to, body
    opener = urllib.request.build_opener(Stay)
    try:
        with opener.open(address, timeout=60) as answer:
            return answer.status, '', answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get('Location', ''), ''


def answers(address: str) -> bool:
    try:
        return asked(address)[0] < 500
    except OSError:
        return False


def test_lab_begins_on_the_start_page_and_its_tiles_lead_where_they_say(tmp_path):
    project = copy_parts(
        tmp_path / 'project', 'notebooks', 'explore', 'settings.ini', 'pipeline.yaml', 'scenarios',
        'cd4ml_nb',
    )
    port = free_port()
    environment = Place(tmp_path).environment | {'JUPYTER_TOKEN': 'tried', 'HOME': str(tmp_path)}
    (tmp_path / 'products').mkdir()
    (tmp_path / 'products/index.html').write_text('the reports')
    here = Settings(
        products=str(tmp_path / 'products'), tracking_uri=f'sqlite:///{tmp_path}/mlflow.db'
    )
    saved = Saved(store_name(here), 'cars', '3', 'cd4ml-models', 'Models', 0)
    write_json(outbox(here) / 'views/cars/cd4ml-models.json', vars(saved))
    lab = subprocess.Popen(
        [str(CD4ML), 'lab', '--no-browser', '--port', str(port)], cwd=project, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    base = f'http://127.0.0.1:{port}'
    try:
        wait_for(lambda: answers(f'{base}/api'))
        assert asked(f'{base}/?token=tried')[1].startswith('/lab/tree/explore/START.md')
        servers = json.loads(asked(f'{base}/server-proxy/servers-info?token=tried')[2])
        ours = [one for one in servers['server_processes'] if one['name'].startswith('cd4ml-')]
        assert sorted(one['name'].removeprefix('cd4ml-') for one in ours) == TILES
        for one in ours:
            assert '<svg' in asked(f'{base}{one["launcher_entry"]["icon_url"]}?token=tried')[2]
        assert asked(f'{base}/cd4ml-tour/')[0] in (302, 403)      # not without the password
        _, where, _ = asked(f'{base}/cd4ml-tour/?token=tried')
        assert where.endswith('lab/tree/notebooks/index.ipynb')
        _, where, _ = asked(f'{base}/cd4ml-new-study/?token=tried')
        study = project / where.partition('lab/tree/')[2]
        assert study.is_file() and study.parent.name == 'explore'
        assert asked(f'{base}/cd4ml-reports/?token=tried')[2] == 'the reports'
        shown = asked(f'{base}/cd4ml-comparisons/?token=tried')[2]
        assert 'href="../cd4ml-mlflow/#/experiments/3/runs?viewStateShareKey=cd4ml-models' in shown
    finally:
        lab.terminate()
        lab.wait(30)


def test_the_start_page_leads_to_files_that_are_there():
    text = (ROOT / 'explore/START.md').read_text()
    targets = [part.partition(')')[0] for part in text.split('](')[1:]]
    assert len(targets) >= 5
    tiles = [f'/cd4ml-{name}/' for name in TILES]
    for target in targets:
        assert target in tiles or os.path.exists(ROOT / 'explore' / target), target
