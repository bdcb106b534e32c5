"""A scientist's day in JupyterLab itself: its cells run in Chromium, then `cd4ml run`."""

import os
import re
import subprocess

import nbformat
import pytest
from benches import Study
from nbformat.v4 import new_code_cell, new_notebook
from runs import CD4ML
from waiting import wait_for

from cd4ml_nb.lab.servers import free_port

DAY = [
    'from cd4ml_nb import Workbench\nfrom cd4ml_nb.model.features import feature\n'
    "bench = Workbench('cars')\nbench",
    'bench.profile()',
    'bench.fit()',
    "@feature('km', 'kw', words='kilometres of a kilowatt')\ndef use(km, kw):\n    return km / kw\n"
    "\n\nbench.fit('with use', features=[use])",
    "bench.sweep('wide', trials=150, features=[use])",
    "bench.compare('as it is', 'with use')",
    "bench.ablate('with use')",
    'bench.table()',
    "bench.adopt('with use').write()\nprint('the end of the day')",
]


@pytest.mark.slow
def test_S1_a_day_at_the_workbench_is_lived_in_jupyterlab_and_the_pipeline_runs_what_it_adopted(
    tmp_path, browser
):
    study = Study(tmp_path)
    path = study.project / 'explore/day.ipynb'
    path.parent.mkdir(exist_ok=True)
    kernel = {'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}
    nbformat.write(new_notebook(cells=[new_code_cell(text) for text in DAY], metadata=kernel), path)
    # all cells are in the page, also those that are not in sight
    settings = tmp_path / '.jupyter/lab/user-settings/@jupyterlab/notebook-extension'
    settings.mkdir(parents=True)
    (settings / 'tracker.jupyterlab-settings').write_text('{"windowingMode": "none"}')
    port = free_port()
    environment = study.place.environment | study.environment | {
        'JUPYTER_TOKEN': 'tried', 'HOME': str(tmp_path), 'PYTHONPATH': str(study.project),
    }
    lab = subprocess.Popen(
        [str(CD4ML), 'lab', '--no-browser', '--port', str(port)], cwd=study.project,
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    browser.set_window_size(1300, 2600)

    def all_of(selector: str) -> list:
        return browser.find_elements('css selector', selector)

    def shown() -> str:
        return '\n'.join(one.text for one in all_of('.jp-OutputArea'))

    def run_all() -> bool:
        """Run all cells; a kernel that is shown as idle may not take them yet, and none runs."""
        if any(one.text.strip('[]: ') for one in all_of('.jp-InputPrompt')):
            return True
        next(one for one in all_of('.lm-MenuBar-item') if one.text == 'Run').click()
        wait_for(lambda: all_of('[data-command="runmenu:run-all"]'), words='the menu')[0].click()
        return False

    try:
        page = f'http://127.0.0.1:{port}/lab/tree/explore/day.ipynb?token=tried'
        wait_for(lambda: opened(browser, page))
        wait_for(lambda: len(all_of('.jp-CodeCell')) == len(DAY), words='the cells')
        wait_for(lambda: all_of('[data-status="idle"]'), words='an idle kernel')
        wait_for(run_all, words='a cell that runs', every=5.0)
        under_way = re.compile(r'trial (?!150)\d+ of 150')
        wait_for(lambda: under_way.search(shown()), words='a live plot')
        keep(browser, 'sweep')
        wait_for(lambda: 'the end of the day' in shown(), words='the end')
        keep(browser, 'end')
        text = shown()
        assert not all_of('.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"]')
        assert 'trial 150 of 150' in text and all_of('.jp-OutputArea img, .jp-OutputArea svg')
        assert re.search(r'with use (is better than|against) as it is', text)
        assert 'a naive guess' in text and re.search(r'use\s[-.\d\s]+(better|undecided)', text)
        assert all(name in text for name in ('km', 'kw', 'make')) and 'Ann Ash' not in text
        assert not all_of('.jp-Dialog')      # nothing has popped up
    except BaseException:
        keep(browser, 'stuck')
        raise
    finally:
        lab.terminate()
        lab.wait(30)
    assert 'use: [use]' in study.scenario.read_text()
    done = study.cd4ml('run', '-s', 'cars', '-p', 'sweep.trials=3')
    assert done.returncode == 0, done.stderr
    report = next((study.home / 'report').glob('*/report.html'))
    browser.get(report.as_uri())
    assert 'kilometres of a kilowatt' in browser.find_element('tag name', 'body').text
    keep(browser, 'report')


def opened(browser, page: str) -> bool:
    """Whether a page could be opened."""
    from selenium.common.exceptions import WebDriverException
    try:
        browser.get(page)
    except WebDriverException:      # the server is not there yet
        return False
    return True


def keep(browser, name: str) -> None:
    """A picture of the page, where somebody wants to look at it."""
    if folder := os.environ.get('CD4ML_TEST_PICTURES'):
        browser.save_screenshot(f'{folder}/day-{name}.png')
