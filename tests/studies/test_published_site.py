"""The site of five scenarios of different kinds as its readers open it: from a folder, with the
network blocked, in the light, in the dark, on a phone and on paper."""

import json
from pathlib import Path

import pandas as pd
import pytest
from accessibility import as_usual, axe_findings, is_too_wide, opened
from browsers import visited
from conftest import REAL
from projects import edited
from runs import Place, copied_project

from cd4ml_nb.studies.publishing import place_of, targets

pytestmark = pytest.mark.slow

NEW = {
    'titanic': ('titanic.csv', 'Survived'),
    'penguins': ('penguins.csv', 'species'),
    'bikes': ('bike_sharing_hour.csv', 'cnt'),
    'credit': ('german_credit.csv', 'class-label'),
}
CUT = """
return [...document.querySelectorAll('.scroll, pre, dl')]
  .filter(part => part.checkVisibility() && part.scrollWidth > part.clientWidth + 1)
  .map(part => part.getAttribute('aria-label') || part.tagName);
"""
PRINTED = {
    'media': 'print', 'features': [{'name': 'prefers-color-scheme', 'value': 'dark'}],
}
PAPER = {'width': 672, 'height': 950, 'deviceScaleFactor': 1, 'mobile': False}


@pytest.fixture(scope='module')
def five(tmp_path_factory):
    """The products of five scenarios, and their site."""
    if not all((REAL / file).is_file() for file, _ in NEW.values()):
        pytest.skip('real data sets are not here; set CD4ML_TEST_DATA to a folder that has them')
    folder = tmp_path_factory.mktemp('five')
    place = Place(folder)
    project = copied_project(folder / 'project', 'scenarios/used_cars.yaml')

    def command(*words: str) -> None:
        done = place.run(*words, cwd=project, CD4ML_DATA_ROOT=str(REAL))
        assert done.returncode in (0, 3), done.stderr

    for name, (file, target) in NEW.items():
        command('new', name, '--data', file, '--target', target)
    scenarios = project / 'scenarios'
    edited(scenarios / 'bikes.yaml', 'split: {by: random,', 'split: {by: time, column: dteday,')
    edited(scenarios / 'credit.yaml', '# features: {from: credit', 'features: {from: credit')
    for name in (*NEW, 'used_cars'):
        command('run', '-s', name, '-p', 'sweep.trials=5')
    for name in ('credit', 'used_cars'):
        command('run', '-s', name, '-p', 'sweep.trials=9')
        command('compare', '-s', name, 'latest~1', 'latest', '--trainings', '0')
    command('publish', str(folder / 'site'))
    return folder / 'products', folder / 'site'


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def test_E15_five_scenarios_are_a_few_megabytes_whose_links_are_right(five):
    products, site = five
    pages = {p.relative_to(site).as_posix(): p.read_text() for p in site.rglob('*.html')}
    kinds = [Path(name).name for name in pages]
    assert kinds.count('report.html') == 7 and kinds.count('comparison.html') == 2
    assert kinds.count('trend.html') == kinds.count('data_report.html') == 5
    assert size_of(site) < 4e6 and size_of(site) < size_of(products) / 8
    for name, page in pages.items():
        for href in targets(page):
            assert place_of(name, href) in pages, (name, href)
    passengers = pd.read_csv(REAL / 'titanic.csv')['Name']
    text = ' '.join(pages.values())
    assert not [name for name in passengers if name in text]


def test_E15_every_page_of_them_can_be_read_by_everyone_everywhere(five, browser):
    _, site = five
    browser.execute_cdp_cmd('Network.enable', {})
    browser.execute_cdp_cmd('Network.setBlockedURLs', {'urls': ['http://*', 'https://*']})
    found: dict[str, list[str]] = {}
    try:
        for page in sorted(site.rglob('*.html')):
            assert visited(browser, page) == ([], []), page
            for scheme, width in (('light', 1200), ('dark', 1200), ('light', 390)):
                opened(browser, page, scheme, width)
                said = axe_findings(browser) + ['wider than the screen'] * is_too_wide(browser)
                if said:
                    found[f'{page.relative_to(site)}, {scheme}, {width}'] = said
            browser.execute_cdp_cmd('Emulation.setEmulatedMedia', PRINTED)
            browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', PAPER)
            browser.get(page.as_uri())
            colour = 'return getComputedStyle(document.body).backgroundColor'
            assert browser.execute_script(colour) == 'rgb(255, 255, 255)', page
            assert browser.execute_script(CUT) == [], page
    finally:
        as_usual(browser)
        browser.execute_cdp_cmd('Network.setBlockedURLs', {'urls': []})
    assert found == {}, json.dumps(found, indent=1)
